//! Installations: what a server would be, the consent to that, and the way back.

use std::{sync::Arc, time::Duration};

use gigmcp_registry::{Bearing, Change, Digest, Manifest, Progress, PullEvent, Version};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::Instrument;

use super::super::{ApiError, Call, Code, Members, Reply, Route, State, Text, Whole, route};
use crate::{
    host::Host,
    install::{
        Between, Consent, Declared, Entitlements, InstallError, Installs, Outcome, Proposal, Request, Said,
        ServerReference, Standing, Which, check_consent, hash, revisions,
    },
    launch::era,
    output::whole,
    people::{Access, Actor, ApiScope, Area, Deed, Role, Rule},
    spec::ServerName,
};

const READ: Rule = Rule::new(Access::SignedIn, Deed::Read).with_scope(ApiScope::read(Area::Servers));
const CHANGE: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Change).with_scope(ApiScope::write(Area::Servers));

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::POST, "/installs/plan", "plan_install", CHANGE)
            .summary("What a server of the registry would be, and what changes; fetches its image, and nothing runs differently")
            .body::<Wish>()
            .answers(StatusCode::OK, plan),
        route(Method::POST, "/installs", "install", CHANGE)
            .summary("Installs or upgrades a server; `manifest_hash` is the consent to the whole of what was looked at")
            .body::<Agreed>()
            .answers(StatusCode::OK, install),
        route(Method::POST, "/servers/{name}/rollback", "roll_back_server", CHANGE)
            .summary("Goes back to the version of a server that was agreed to before, which the difference shows with `previous`")
            .path::<ServerPath>()
            .body::<Seen>()
            .answers(StatusCode::OK, roll_back),
        route(Method::GET, "/servers/{name}/diff", "diff_server", READ)
            .summary("What another version of a server would change, the latest if none is named; or what has changed since a revision that was agreed to; or what going back would change")
            .path::<ServerPath>()
            .query::<With>()
            .answers(StatusCode::OK, diff),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServerPath {
    name: Text<ServerName>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct With {
    /// A version of the registry to compare what is installed with.
    version: Option<Text<Version>>,
    /// A revision of the server, such as the one that oneself agreed to, to compare with what is installed.
    from: Option<i64>,
    /// Compares what is installed with what there would be after going back.
    #[serde(default)]
    previous: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SeenRevision")]
struct Seen {
    /// The server's revision that was looked at; if it is another by now, nothing is done.
    revision: Whole,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "InstallWish")]
struct Wish {
    /// NAME, NAME@VERSION or NAME@sha256:HEX of the registry.
    reference: Text<ServerReference>,
    /// What the manifest asks for; what was said before holds.
    #[serde(default)]
    variables: Members<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "InstallConsent")]
struct Agreed {
    reference: Text<ServerReference>,
    #[serde(default)]
    variables: Members<String>,
    /// As the plan gave it.
    manifest_hash: Text<Digest>,
    /// Agrees that an entrusted server gets real credentials.
    #[serde(default)]
    entrusted: bool,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "InstallPlan")]
struct Plan {
    /// What is agreed to by naming it.
    manifest_hash: String,
    /// `new`, `agreed` if exactly this is installed, or `other`.
    standing: &'static str,
    /// The version that is installed.
    before: Option<String>,
    needs_consent: bool,
    entrusted: bool,
    entitlements: Entitlements,
    changes: Vec<Changed>,
    notes: Vec<String>,
    unpacked_bytes: Option<u64>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Change")]
struct Changed {
    path: String,
    before: Option<Value>,
    after: Option<Value>,
    /// `behaviour`, or `presentation` for what is only shown.
    bearing: &'static str,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Installed")]
struct Done {
    server: String,
    version: String,
    revision: i64,
    changed: bool,
    credentials_to_set: Vec<String>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ServerDiff")]
struct Diff {
    /// The version, or for a server that came from no registry, its revision.
    before: String,
    after: String,
    /// Of the manifest after it; none of a server that came from no registry.
    manifest_hash: Option<String>,
    /// The revision after it, if it is installed or was: what is agreed to by naming it.
    revision: Option<i64>,
    changes: Vec<Changed>,
}

async fn plan(call: Call<State, (), (), Wish>) -> Result<Reply<Plan>, ApiError> {
    let Wish { reference: Text(reference), variables } = call.body;
    let manifest = find(&call.state, &reference).await?;
    let state = Arc::clone(&call.state);
    let server = manifest.name.clone();
    one_at_a_time(&call.state, &server, async move {
        let installs = Installs::open(state.host()).await?;
        let request = Request { variables: variables.0.into_iter().collect() };
        let proposal = installs.propose(&manifest, &request, quiet()).await?;
        let plan = shown(&proposal);
        // The image is kept for who agrees to it soon; the next installation or `images gc` removes what nobody did.
        drop(proposal);
        Ok(Reply::of(plan))
    })
    .await
}

async fn install(call: Call<State, (), (), Agreed>) -> Result<Reply<Done>, ApiError> {
    let by = call.actor()?.clone();
    let Agreed { reference: Text(reference), variables, manifest_hash, entrusted } = call.body;
    let manifest = find(&call.state, &reference).await?;
    let consent = Consent { manifest: manifest_hash.0, entrusted };
    // Before anything is asked for.
    check_consent(&manifest, &consent)?;
    let state = Arc::clone(&call.state);
    let server = manifest.name.clone();
    let request = Request { variables: variables.0.into_iter().collect() };
    let done = one_at_a_time(&call.state, &server, async move { put(&state, &manifest, request, consent, by).await });
    let done = done.await?;
    find_out(&call.state, server);
    Ok(Reply::of(done.into()))
}

async fn put(
    state: &State,
    manifest: &Manifest,
    request: Request,
    consent: Consent,
    by: Actor,
) -> Result<Outcome, ApiError> {
    let installs = Installs::open(state.host()).await?;
    let proposal = installs.propose(manifest, &request, quiet()).await?;
    match proposal.needs_consent() {
        true => Ok(installs.accept(proposal, &consent, &by, Vec::new()).await?),
        false => Ok(installs.use_as_agreed(&proposal, Vec::new()).await?),
    }
}

async fn roll_back(call: Call<State, ServerPath, (), Seen>) -> Result<Reply<Done>, ApiError> {
    let (by, server, seen) = (call.actor()?.clone(), call.path.name.0.clone(), call.body.revision.0);
    let (state, of) = (Arc::clone(&call.state), server.clone());
    let done = one_at_a_time(&call.state, &server, async move {
        Ok(Installs::open(state.host()).await?.roll_back(&of, Some(seen), &by, quiet()).await?)
    });
    Ok(Reply::of(done.await?.into()))
}

async fn diff(call: Call<State, ServerPath, With>) -> Result<Reply<Diff>, ApiError> {
    let name = call.path.name.0.clone();
    let row = call.state.store().server(name.clone()).await?;
    let With { version, from, previous } = &call.query;
    if [version.is_some(), from.is_some(), *previous].iter().filter(|said| **said).count() > 1 {
        return Err(ApiError::unacceptable("compare with one of `version`, `from` and `previous`"));
    }
    let host = call.state.host();
    if let Some(from) = from {
        return Ok(Reply::of(between(host, &name, *from, row.revision).await?));
    }
    let by_hand = || InstallError::ByHand { server: name.clone() };
    let before = call.state.store().installed(name.clone(), row.revision).await?.ok_or_else(by_hand)?;
    if *previous {
        let nothing = || InstallError::NothingBefore { server: name.clone() };
        let earlier = before.replaces.ok_or_else(nothing)?;
        return Ok(Reply::of(between(host, &name, row.revision, earlier).await?));
    }
    let which = version.as_ref().map_or(Which::Latest, |version| Which::Version(version.0));
    let after = find(&call.state, &ServerReference { name, which }).await?;
    Ok(Reply::of(Diff {
        before: before.manifest.version.to_string(),
        after: after.version.to_string(),
        manifest_hash: Some(hash(&after).to_string()),
        revision: None,
        changes: before.manifest.changes_to(&after).iter().map(changed).collect(),
    }))
}

/// What differs between two revisions of a server that there are or were.
async fn between(host: &Host, server: &ServerName, from: i64, to: i64) -> Result<Diff, ApiError> {
    let Between { before, after, manifest, changes, said, declared } = revisions(host, server, from, to).await?;
    Ok(Diff {
        before,
        after,
        manifest_hash: manifest.map(|hash| hash.to_string()),
        revision: Some(to),
        changes: changes
            .iter()
            .map(changed)
            .chain(said.iter().map(self::said))
            .chain(declared.into_iter().map(self::declared))
            .collect(),
    })
}

/// The manifest that is meant, as the registry has it now or had it a moment ago.
async fn find(state: &State, reference: &ServerReference) -> Result<Manifest, ApiError> {
    state.desk.catalog(state.host().settings(), |index| Ok(reference.find(index)?.clone())).await
}

/// Does what takes long. It is not given up when whoever asked goes away.
pub(super) async fn one_at_a_time<T: Send + 'static>(
    state: &State,
    server: &ServerName,
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let changing = state.desk.change(server)?;
    let work = async move {
        let done = tokio::time::timeout(LONGEST, work).await;
        drop(changing);
        done
    };
    match tokio::spawn(work.in_current_span()).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(ApiError::new(Code::TimedOut, "it took too long and was given up; look at what is there")),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

/// Finds out what a server speaks, so that nobody waits for that at its first call.
pub(super) fn find_out(state: &State, server: ServerName) {
    let supervisor = Arc::clone(state.supervisor());
    tokio::spawn(async move {
        if let Err(error) = era::find_out(&supervisor, &server, FINDING_OUT).await {
            tracing::debug!("what {server} speaks is not known yet: {}", whole(&error));
        }
    });
}

fn quiet() -> Arc<dyn Progress> {
    Arc::new(|_: PullEvent| {})
}

fn shown(proposal: &Proposal) -> Plan {
    let (standing, before) = match &proposal.standing {
        Standing::New => ("new", None),
        Standing::Agreed => ("agreed", None),
        Standing::Other { before, .. } => ("other", Some(before.to_string())),
    };
    let bearings = [Bearing::Behaviour, Bearing::Presentation];
    let changes = bearings.into_iter().flat_map(|bearing| proposal.changes(bearing)).map(changed);
    Plan {
        manifest_hash: proposal.hash().to_string(),
        standing,
        before,
        needs_consent: proposal.needs_consent(),
        entrusted: proposal.entitlements.is_entrusted(),
        entitlements: proposal.entitlements.clone(),
        changes: changes.chain(proposal.said.iter().map(said)).collect(),
        notes: proposal.notes.clone(),
        unpacked_bytes: proposal.unpacked_bytes,
    }
}

fn changed(change: &Change) -> Changed {
    Changed {
        path: change.path.clone(),
        before: change.before.clone(),
        after: change.after.clone(),
        bearing: change.bearing.as_str(),
    }
}

fn declared(Declared { member, before, after }: Declared) -> Changed {
    Changed { path: member, before, after, bearing: Bearing::Behaviour.as_str() }
}

fn said(said: &Said) -> Changed {
    Changed {
        path: format!("variables.{}", said.variable),
        before: said.before.clone().map(Value::from),
        after: said.after.clone().map(Value::from),
        bearing: Bearing::Behaviour.as_str(),
    }
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self {
            server: outcome.server.to_string(),
            version: outcome.version.to_string(),
            revision: outcome.revision,
            changed: outcome.changed,
            credentials_to_set: outcome.secrets,
        }
    }
}

impl From<InstallError> for ApiError {
    fn from(error: InstallError) -> Self {
        let upstream = |text: &str| {
            tracing::warn!("not installed: {}", whole(&error));
            Self::new(Code::Upstream, text)
        };
        let conflict = |text: &str| Self::new(Code::Conflict, text);
        match &error {
            InstallError::NotInstalled { .. } => Self::not_found("thing"),
            InstallError::Name(invalid) => Self::unacceptable(invalid.to_string()),
            InstallError::Variables { faults } => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                Self::unacceptable(format!("the variables cannot be used: {}", faults.join("; ")))
            }
            InstallError::Platform => Self::new(Code::Unavailable, error.to_string()),
            InstallError::OtherManifest { .. } => Self::new(Code::Conflict, error.to_string()),
            InstallError::Entrusted { .. } => conflict("it gets real credentials; agree to that with `entrusted`"),
            InstallError::ByHand { .. } => conflict("a server of this name did not come from the registry"),
            InstallError::NothingBefore { .. } => conflict("there is nothing to go back to"),
            InstallError::NotConsented { .. } => conflict("what was there before is not what was agreed to"),
            InstallError::Reference { .. } | InstallError::Pull { .. } => upstream("the image cannot be had"),
            InstallError::OtherTree { .. } => upstream("the image is not the one that was agreed to"),
            InstallError::Bundle { .. } => upstream("the image holds another manifest than was signed"),
            InstallError::Lower(_) => upstream("this manifest cannot be run here"),
            _ => match error {
                InstallError::Catalog(error) => error.into(),
                InstallError::Store(error) => error.into(),
                InstallError::Secret(error) => error.into(),
                error => Self::internal(&error),
            },
        }
    }
}

/// An image of a few GiB over a slow line.
const LONGEST: Duration = Duration::from_secs(600);
const FINDING_OUT: Duration = Duration::from_secs(15);
