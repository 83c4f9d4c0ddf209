//! `server install|upgrade|rollback|diff`.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use gigmcp_registry::{Bearing, Change, Digest, Manifest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{catalog::fresh, progress::progress};
use crate::{
    host::Host,
    install::{
        CatalogError, Consent, Entitlements, InstallError, Installs, Outcome, Proposal, Request, Said, ServerReference,
        Standing, check_consent, hash,
    },
    output::{Failure, Output, harmless, quiet},
    people::{Actor, People, Terms},
    spec::{ProfileSlug, ServerName},
};

#[derive(Args)]
pub(crate) struct Install {
    /// NAME, NAME@VERSION or NAME@sha256:HEX of the registry
    pub(super) server: ServerReference,

    /// Profile to put the server into
    #[arg(long, value_name = "PROFILE")]
    pub(super) profile: Vec<ProfileSlug>,

    #[command(flatten)]
    pub(super) agreement: Agreement,
}

#[derive(Args)]
pub(crate) struct Upgrade {
    /// Name of the server
    pub(super) server: ServerName,

    #[command(flatten)]
    pub(super) agreement: Agreement,
}

/// How somebody agrees.
#[derive(Args)]
pub(super) struct Agreement {
    /// What the manifest asks you to say, such as a tenant's name
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) variables: Vec<(String, String)>,

    /// Agree to the manifest with this hash, as `catalog show` prints it, without being asked
    #[arg(long, value_name = "sha256:HEX")]
    accept: Option<Digest>,

    /// The same, where the server is named by that hash: NAME@sha256:HEX
    #[arg(long, conflicts_with = "accept")]
    yes: bool,

    /// Agree that an entrusted server gets your real credentials
    #[arg(long)]
    entrust: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `server install`.
pub(super) async fn install(host: &Host, install: Install, out: &Output) -> Result<(), Failure> {
    let Install { server, profile, agreement } = install;
    let catalog = fresh(host).await?;
    let manifest = server.find(catalog.index().ok_or(CatalogError::NotSet)?)?;
    put(host, &server, manifest, agreement, profile, out).await
}

/// `server upgrade`: to the latest version.
pub(super) async fn upgrade(host: &Host, upgrade: Upgrade, out: &Output) -> Result<(), Failure> {
    let Upgrade { server, agreement } = upgrade;
    installed(host, &server).await?;
    let reference = ServerReference::latest(server);
    let catalog = fresh(host).await?;
    let manifest = reference.find(catalog.index().ok_or(CatalogError::NotSet)?)?;
    put(host, &reference, manifest, agreement, Vec::new(), out).await
}

async fn put(
    host: &Host,
    reference: &ServerReference,
    manifest: &Manifest,
    agreement: Agreement,
    profiles: Vec<ProfileSlug>,
    out: &Output,
) -> Result<(), Failure> {
    let given = agreement.given(reference, hash(manifest))?;
    if let Some(consent) = &given {
        // Before anything is asked for.
        check_consent(manifest, consent)?;
    }
    let people = People::new(host.store.clone(), Terms::of(host.settings().session_ttl));
    let joins = people.joins(&Actor::local(), profiles, &manifest.name).await?;
    let installs = Installs::open(host).await?;
    let request = Request { variables: agreement.variables };
    let proposal = installs.propose(manifest, &request, progress()).await?;
    let plan = Plan::of(&proposal);
    let outcome = if proposal.needs_consent() {
        if !out.json {
            show(&plan)?;
        }
        let consent = match given {
            Some(consent) => consent,
            None => match ask(&plan, out) {
                Ok(consent) => consent,
                Err(refused) => {
                    installs.decline(proposal).await;
                    return Err(refused);
                }
            },
        };
        installs.accept(proposal, &consent, &Actor::local(), joins).await?
    } else {
        installs.use_as_agreed(&proposal, joins).await?
    };
    print_installed(plan, outcome.into(), out)
}

/// What somebody is to agree to, and what it changes.
pub(super) struct Plan {
    pub(super) entitlements: Entitlements,
    pub(super) hash: Digest,
    /// The version that is installed, if this is another.
    pub(super) before: Option<String>,
    pub(super) changes: Vec<Changed>,
    pub(super) notes: Vec<String>,
    pub(super) unpacked_bytes: Option<u64>,
}

impl Plan {
    fn of(proposal: &Proposal) -> Self {
        Self {
            entitlements: proposal.entitlements.clone(),
            hash: proposal.hash(),
            before: match &proposal.standing {
                Standing::Other { before, .. } => Some(before.to_string()),
                Standing::New | Standing::Agreed => None,
            },
            changes: [Bearing::Behaviour, Bearing::Presentation]
                .into_iter()
                .flat_map(|bearing| proposal.changes(bearing))
                .map(Changed::from)
                .chain(proposal.said.iter().map(Changed::from))
                .collect(),
            notes: proposal.notes.clone(),
            unpacked_bytes: proposal.unpacked_bytes,
        }
    }
}

/// One thing that is another now.
#[derive(Deserialize, Serialize)]
pub(super) struct Changed {
    path: String,
    before: Option<Value>,
    after: Option<Value>,
    bearing: String,
}

impl Changed {
    fn is_shown_only(&self) -> bool {
        self.bearing == Bearing::Presentation.as_str()
    }

    fn line(&self) -> String {
        let text = |value: &Option<Value>| value.as_ref().map(|value| value.as_str().unwrap_or_default().to_owned());
        match self.path.strip_prefix(VARIABLES) {
            Some(variable) => {
                let said = Said { variable: variable.to_owned(), before: text(&self.before), after: text(&self.after) };
                harmless(&said.to_string())
            }
            None => {
                let shown = |value: &Value| quiet(&value.to_string());
                let path = harmless(&self.path);
                match (&self.before, &self.after) {
                    (Some(before), Some(after)) => format!("~ {path}: {} -> {}", shown(before), shown(after)),
                    (Some(before), None) => format!("- {path}: {}", shown(before)),
                    (None, Some(after)) => format!("+ {path}: {}", shown(after)),
                    (None, None) => format!("~ {path}"),
                }
            }
        }
    }
}

impl From<&Change> for Changed {
    fn from(change: &Change) -> Self {
        Self {
            path: change.path.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
            bearing: change.bearing.as_str().to_owned(),
        }
    }
}

impl From<&Said> for Changed {
    fn from(said: &Said) -> Self {
        Self {
            path: format!("{VARIABLES}{}", said.variable),
            before: said.before.clone().map(Value::from),
            after: said.after.clone().map(Value::from),
            bearing: Bearing::Behaviour.as_str().to_owned(),
        }
    }
}

/// What is installed now.
#[derive(Deserialize, Serialize)]
pub(super) struct Installed {
    pub(super) server: String,
    version: String,
    revision: i64,
    #[serde(skip_serializing)]
    changed: bool,
    #[serde(rename(serialize = "secrets_to_set", deserialize = "credentials_to_set"))]
    secrets: Vec<String>,
}

impl From<Outcome> for Installed {
    fn from(outcome: Outcome) -> Self {
        Self {
            server: outcome.server.to_string(),
            version: outcome.version.to_string(),
            revision: outcome.revision,
            changed: outcome.changed,
            secrets: outcome.secrets,
        }
    }
}

impl Installed {
    fn to_set(&self) -> impl Iterator<Item = String> {
        let set = |name| format!("set its secret: gigmcp-gateway secret set {} {name} < FILE", self.server);
        self.secrets.iter().map(set)
    }
}

/// An installation as it is told.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    installed: Installed,
    changed: bool,
    entitlements: Entitlements,
    changes: Vec<Changed>,
    notes: Vec<String>,
}

pub(super) fn print_installed(plan: Plan, installed: Installed, out: &Output) -> Result<(), Failure> {
    let Plan { entitlements, changes, notes, .. } = plan;
    let told = Told { changed: installed.changed, installed, entitlements, changes, notes };
    out.print(&told, |Told { installed, .. }| {
        let Installed { server, version, .. } = installed;
        let done = match installed.changed {
            true => format!("{server} {version} is installed"),
            false => format!("{server} {version} is installed as it was agreed to"),
        };
        [done].into_iter().chain(installed.to_set()).collect()
    })
}

impl Agreement {
    /// What somebody agrees to by the command line alone.
    pub(super) fn given(&self, reference: &ServerReference, hash: Digest) -> Result<Option<Consent>, Failure> {
        let entrusted = self.entrust;
        match (self.accept, self.yes) {
            (Some(manifest), _) => Ok(Some(Consent { manifest, entrusted })),
            (None, true) if reference.names_exactly(hash) => Ok(Some(Consent { manifest: hash, entrusted })),
            (None, true) => Err(format!(
                "--yes agrees to whatever comes; name what you looked at: {}@{hash} --yes, or --accept {hash}",
                reference.name
            )
            .into()),
            (None, false) => Ok(None),
        }
    }
}

/// Asks at a terminal.
pub(super) fn ask(plan: &Plan, out: &Output) -> Result<Consent, Failure> {
    let entitlements = &plan.entitlements;
    if out.json || !std::io::stdin().is_terminal() {
        let entrust = if entitlements.is_entrusted() { " --entrust" } else { "" };
        return Err(format!(
            "{} {} was not installed, as nobody agreed to it; if you looked at it, add --accept {}{entrust}",
            harmless(&entitlements.name),
            harmless(&entitlements.version),
            plan.hash
        )
        .into());
    }
    let refused = || Failure::from("nothing was changed");
    if entitlements.is_entrusted() {
        let question =
            format!("it gets your real credentials; to agree, type its name ({}): ", harmless(&entitlements.name));
        if answer(&question)? != entitlements.name {
            return Err(refused());
        }
    }
    match answer("agree? [y/N] ")?.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(Consent { manifest: plan.hash, entrusted: entitlements.is_entrusted() }),
        _ => Err(refused()),
    }
}

fn answer(question: &str) -> Result<String, Failure> {
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// What somebody is about to agree to; what changes comes last, right above the question.
pub(super) fn show(plan: &Plan) -> Result<(), Failure> {
    let mut lines = plan.entitlements.lines();
    if let Some(bytes) = plan.unpacked_bytes {
        lines.push(format!("  {:<12} {:.1} MiB unpacked", "size", ((bytes * 10) >> 20) as f64 / 10.0));
    }
    lines.extend(plan.notes.iter().map(|note| format!("  {:<12} {}", "note", harmless(note))));
    if let Some(before) = &plan.before {
        lines.push(String::new());
        lines.push(format!("changes since {}, which you agreed to:", harmless(before)));
        let (shown_only, others): (Vec<_>, Vec<_>) = plan.changes.iter().partition(|change| change.is_shown_only());
        lines.extend(others.iter().map(|change| format!("  {}", change.line())));
        lines.extend(shown_only.iter().map(|change| format!("  {} (shown only)", change.line())));
        if plan.changes.is_empty() {
            lines.push(
                "  none; but what the database says of it is not what this manifest means, or nobody agreed to that"
                    .to_owned(),
            );
        }
    }
    let mut stdout = std::io::stdout().lock();
    for line in lines {
        writeln!(stdout, "{line}")?;
    }
    Ok(())
}

/// `server rollback`: to what was agreed to before.
pub(super) async fn rollback(host: &Host, server: &ServerName, out: &Output) -> Result<(), Failure> {
    let outcome = Installs::open(host).await?.roll_back(server, None, &Actor::local(), progress()).await?;
    print_rolled_back(&outcome.into(), out)
}

pub(super) fn print_rolled_back(installed: &Installed, out: &Output) -> Result<(), Failure> {
    out.print(installed, |installed| {
        let done = format!("{} is {} again", installed.server, installed.version);
        [done].into_iter().chain(installed.to_set()).collect()
    })
}

/// What another version would change.
#[derive(Deserialize, Serialize)]
pub(super) struct Diff {
    #[serde(default)]
    pub(super) server: String,
    pub(super) before: String,
    pub(super) after: String,
    #[serde(rename(serialize = "accept", deserialize = "manifest_hash"))]
    pub(super) accept: String,
    pub(super) changes: Vec<Changed>,
}

/// `server diff`: what the registry's version would change.
pub(super) async fn diff(host: &Host, reference: &ServerReference, out: &Output) -> Result<(), Failure> {
    let before = installed(host, &reference.name).await?;
    let catalog = fresh(host).await?;
    let after = reference.find(catalog.index().ok_or(CatalogError::NotSet)?)?;
    let diff = Diff {
        server: reference.name.to_string(),
        before: before.version.to_string(),
        after: after.version.to_string(),
        accept: hash(after).to_string(),
        changes: before.changes_to(after).iter().map(Changed::from).collect(),
    };
    print_diff(&diff, out)
}

pub(super) fn print_diff(diff: &Diff, out: &Output) -> Result<(), Failure> {
    out.print(diff, |diff| match diff.changes.is_empty() {
        true => vec!["no changes".to_owned()],
        false => diff.changes.iter().map(Changed::line).collect(),
    })
}

/// The manifest that somebody agreed to.
async fn installed(host: &Host, server: &ServerName) -> Result<Manifest, Failure> {
    let row = host.store.server(server.clone()).await?;
    let install = host.store.installed(server.clone(), row.revision).await?;
    Ok(install.ok_or_else(|| InstallError::ByHand { server: server.clone() })?.manifest)
}

/// In front of what the user said, in a path.
const VARIABLES: &str = "variables.";
