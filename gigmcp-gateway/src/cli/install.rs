//! `server install|upgrade|rollback|diff`.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use gigmcp_registry::{Bearing, Change, Digest, Manifest};
use serde_json::{Value, json};

use super::{catalog::fresh, progress::progress};
use crate::{
    host::Host,
    install::{
        CatalogError, Consent, InstallError, Installs, Outcome, Proposal, Request, Said, ServerReference, Standing,
        check_consent, hash,
    },
    output::{Failure, Output, harmless},
    people::{Actor, People, Terms},
    spec::{ProfileSlug, ServerName},
};

#[derive(Args)]
pub(crate) struct Install {
    /// NAME, NAME@VERSION or NAME@sha256:HEX of the registry
    pub(super) server: ServerReference,

    /// Profile to put the server into
    #[arg(long, value_name = "PROFILE")]
    profile: Vec<ProfileSlug>,

    #[command(flatten)]
    agreement: Agreement,
}

#[derive(Args)]
pub(crate) struct Upgrade {
    /// Name of the server
    pub(super) server: ServerName,

    #[command(flatten)]
    agreement: Agreement,
}

/// How somebody agrees.
#[derive(Args)]
struct Agreement {
    /// What the manifest asks you to say, such as a tenant's name
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,

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
    let given = agreement.given(reference, manifest)?;
    if let Some(consent) = &given {
        // Before anything is asked for.
        check_consent(manifest, consent)?;
    }
    let people = People::new(host.store.clone(), Terms::of(host.settings().session_ttl));
    let joins = people.joins(&Actor::local(), profiles, &manifest.name).await?;
    let installs = Installs::open(host).await?;
    let request = Request { variables: agreement.variables };
    let proposal = installs.propose(manifest, &request, progress()).await?;
    let (entitlements, changes) = (proposal.entitlements.clone(), documents(&proposal));
    let notes = proposal.notes.clone();
    let outcome = if proposal.needs_consent() {
        if !out.json {
            show(&proposal)?;
        }
        let consent = match given {
            Some(consent) => consent,
            None => match ask(&proposal, out) {
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
    let document = json!({
        "server": outcome.server.as_str(), "version": outcome.version.to_string(), "revision": outcome.revision,
        "changed": outcome.changed, "entitlements": entitlements, "changes": changes, "notes": notes,
        "secrets_to_set": outcome.secrets,
    });
    out.print(&document, |_| done(&outcome))
}

impl Agreement {
    /// What somebody agrees to by the command line alone.
    fn given(&self, reference: &ServerReference, manifest: &Manifest) -> Result<Option<Consent>, Failure> {
        let entrusted = self.entrust;
        match (self.accept, self.yes) {
            (Some(manifest), _) => Ok(Some(Consent { manifest, entrusted })),
            (None, true) if reference.names_exactly(manifest) => {
                Ok(Some(Consent { manifest: hash(manifest), entrusted }))
            }
            (None, true) => Err(format!(
                "--yes agrees to whatever comes; name what you looked at: {}@{} --yes, or --accept {1}",
                manifest.name,
                hash(manifest)
            )
            .into()),
            (None, false) => Ok(None),
        }
    }
}

/// Asks at a terminal.
fn ask(proposal: &Proposal, out: &Output) -> Result<Consent, Failure> {
    let entitlements = &proposal.entitlements;
    if out.json || !std::io::stdin().is_terminal() {
        let entrust = if entitlements.is_entrusted() { " --entrust" } else { "" };
        return Err(format!(
            "{} {} was not installed, as nobody agreed to it; if you looked at it, add --accept {}{entrust}",
            entitlements.name,
            entitlements.version,
            proposal.hash()
        )
        .into());
    }
    let refused = || Failure::from("nothing was changed");
    if entitlements.is_entrusted() {
        let question = format!("it gets your real credentials; to agree, type its name ({}): ", entitlements.name);
        if answer(&question)? != entitlements.name {
            return Err(refused());
        }
    }
    match answer("agree? [y/N] ")?.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(Consent { manifest: proposal.hash(), entrusted: entitlements.is_entrusted() }),
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
fn show(proposal: &Proposal) -> Result<(), Failure> {
    let mut lines = proposal.entitlements.lines();
    if let Some(bytes) = proposal.unpacked_bytes {
        lines.push(format!("  {:<12} {:.1} MiB unpacked", "size", ((bytes * 10) >> 20) as f64 / 10.0));
    }
    lines.extend(proposal.notes.iter().map(|note| format!("  {:<12} {}", "note", harmless(note))));
    if let Standing::Other { before, changes } = &proposal.standing {
        lines.push(String::new());
        lines.push(format!("changes since {before}, which you agreed to:"));
        lines.extend(proposal.changes(Bearing::Behaviour).map(|change| format!("  {change}")));
        lines.extend(proposal.said.iter().map(|said| format!("  {}", harmless(&said.to_string()))));
        lines.extend(proposal.changes(Bearing::Presentation).map(|change| format!("  {change} (shown only)")));
        if changes.is_empty() && proposal.said.is_empty() {
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

fn done(outcome: &Outcome) -> Vec<String> {
    let (server, version) = (&outcome.server, outcome.version);
    let mut lines = vec![match outcome.changed {
        true => format!("{server} {version} is installed"),
        false => format!("{server} {version} is installed as it was agreed to"),
    }];
    lines.extend(to_set(outcome));
    lines
}

fn to_set(outcome: &Outcome) -> impl Iterator<Item = String> {
    let set = |name| format!("set its secret: gigmcp-gateway secret set {} {name} < FILE", outcome.server);
    outcome.secrets.iter().map(set)
}

/// `server rollback`: to what was agreed to before.
pub(super) async fn rollback(host: &Host, server: &ServerName, out: &Output) -> Result<(), Failure> {
    let outcome = Installs::open(host).await?.roll_back(server, None, &Actor::local(), progress()).await?;
    let document = json!({
        "server": server.as_str(), "version": outcome.version.to_string(), "revision": outcome.revision,
        "secrets_to_set": outcome.secrets,
    });
    out.print(&document, |_| {
        let done = format!("{server} is {} again", outcome.version);
        [done].into_iter().chain(to_set(&outcome)).collect()
    })
}

/// `server diff`: what the registry's version would change.
pub(super) async fn diff(host: &Host, reference: &ServerReference, out: &Output) -> Result<(), Failure> {
    let before = installed(host, &reference.name).await?;
    let catalog = fresh(host).await?;
    let after = reference.find(catalog.index().ok_or(CatalogError::NotSet)?)?;
    let changes = before.changes_to(after);
    let document = json!({
        "server": reference.name.as_str(), "before": before.version.to_string(), "after": after.version.to_string(),
        "accept": hash(after).to_string(), "changes": changes.iter().map(document).collect::<Vec<_>>(),
    });
    out.print(&document, |_| match changes.is_empty() {
        true => vec!["no changes".to_owned()],
        false => changes.iter().map(ToString::to_string).collect(),
    })
}

/// The manifest that somebody agreed to.
async fn installed(host: &Host, server: &ServerName) -> Result<Manifest, Failure> {
    let row = host.store.server(server.clone()).await?;
    let install = host.store.installed(server.clone(), row.revision).await?;
    Ok(install.ok_or_else(|| InstallError::ByHand { server: server.clone() })?.manifest)
}

fn documents(proposal: &Proposal) -> Vec<Value> {
    [Bearing::Behaviour, Bearing::Presentation]
        .into_iter()
        .flat_map(|bearing| proposal.changes(bearing))
        .map(document)
        .chain(proposal.said.iter().map(said))
        .collect()
}

fn said(said: &Said) -> Value {
    json!({
        "path": format!("variables.{}", said.variable), "before": said.before, "after": said.after,
        "bearing": Bearing::Behaviour.as_str(),
    })
}

fn document(change: &Change) -> Value {
    json!({
        "path": change.path, "before": change.before, "after": change.after, "bearing": change.bearing.as_str(),
    })
}
