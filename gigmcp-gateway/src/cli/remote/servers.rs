//! `catalog` and `server`.

use gigmcp_registry::Digest;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{catalog, install, progress, server},
    Path, Reason, Remote, RemoteError, profiles,
};
use crate::{
    install::{Entitlements, ServerReference, Which},
    output::{Failure, Output},
    spec::{ServerName, ServerSpec},
};

/// `catalog`.
pub(super) async fn catalog(remote: &Remote, command: catalog::Command, out: &Output) -> Result<(), Failure> {
    use catalog::Command;
    let all = Path::of(&["catalog"]);
    match command {
        Command::List => catalog::print_list(&remote.all(&all).await?, out),
        Command::Search { text } => catalog::print_list(&remote.all(&all.with("search", Some(text))).await?, out),
        Command::Show { server } => {
            let version = match server.which {
                Which::Latest => None,
                Which::Version(version) => Some(version),
                Which::Digest(_) => {
                    return Err(RemoteError::NoRoute {
                        command: "catalog show NAME@sha256:HEX",
                        reason: Reason::Digest,
                    }
                    .into());
                }
            };
            let path = Path::of(&["catalog", server.name.as_str()]).with("version", version);
            catalog::print_shown(&remote.get(&path).await?, out)
        }
    }
}

/// `server`.
pub(super) async fn run(remote: &Remote, command: server::Command, out: &Output) -> Result<(), Failure> {
    use server::Command;
    match command {
        Command::Add(_) => Err(RemoteError::NoRoute { command: "server add", reason: Reason::Unreviewed }.into()),
        Command::List => list(remote, out).await,
        Command::Instances { limit } => {
            let limit = usize::try_from(limit)?;
            server::print_instances(&remote.some(&Path::of(&["instances"]), limit).await?, out)
        }
        Command::Install(asked) => {
            let install::Install { server, profile, agreement } = asked;
            // Before anything is installed.
            if !profile.is_empty() {
                let command = "server install --profile";
                return Err(RemoteError::NoRoute { command, reason: Reason::Agreement }.into());
            }
            let (plan, installed) = put(remote, &server, agreement, out).await?;
            install::print_installed(plan, installed, out)
        }
        Command::Upgrade(asked) => {
            let install::Upgrade { server, agreement } = asked;
            // What is not there is not upgraded.
            remote.get::<Value>(&Path::of(&["servers", server.as_str()])).await?;
            let (plan, installed) = put(remote, &ServerReference::latest(server), agreement, out).await?;
            install::print_installed(plan, installed, out)
        }
        Command::Rollback { name } => {
            let waiting = progress::Waiting::begin("going back");
            let installed = roll_back(remote, &name).await;
            drop(waiting);
            install::print_rolled_back(&installed?, out)
        }
        Command::Diff { name, version } => {
            let path = Path::of(&["servers", name.as_str(), "diff"]).with("version", version);
            let diff: install::Diff = remote.get(&path).await?;
            install::print_diff(&install::Diff { server: name.to_string(), ..diff }, out)
        }
        Command::Remove { name } => {
            remote.tell(Method::DELETE, &Path::of(&["servers", name.as_str()])).await?;
            server::print_removed(&name, None, out)
        }
    }
}

/// Goes back from the revision that is there now, and from no other.
async fn roll_back(remote: &Remote, server: &ServerName) -> Result<install::Installed, RemoteError> {
    let revision = profiles::revision(remote, server).await?;
    let path = Path::of(&["servers", server.as_str(), "rollback"]);
    remote.send_patiently(&path, &json!({ "revision": revision })).await
}

/// Looks at what the gateway would install, agrees to exactly that, and has it installed.
async fn put(
    remote: &Remote,
    reference: &ServerReference,
    agreement: install::Agreement,
    out: &Output,
) -> Result<(install::Plan, install::Installed), Failure> {
    let variables: serde_json::Map<String, Value> =
        agreement.variables.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let wish = json!({ "reference": reference.to_string(), "variables": variables });
    let waiting = progress::Waiting::begin("the gateway fetches the image");
    let planned: Result<Planned, _> =
        remote.send_patiently(&Path::of(&["installs", "plan"]).that_only_looks(), &wish).await;
    drop(waiting);
    let planned = planned?;
    let (needs_consent, plan) = (planned.needs_consent, planned.plan()?);
    let given = agreement.given(reference, plan.hash)?;
    if needs_consent && !out.json {
        install::show(&plan)?;
    }
    let consent = match given {
        Some(consent) => consent,
        None if needs_consent => install::ask(&plan, out)?,
        // It was agreed to before, as it is.
        None => crate::install::Consent { manifest: plan.hash, entrusted: plan.entitlements.is_entrusted() },
    };
    let agreed = json!({
        "reference": reference.to_string(), "variables": variables, "manifest_hash": consent.manifest.to_string(),
        "entrusted": consent.entrusted,
    });
    let waiting = progress::Waiting::begin("the gateway installs it");
    let installed = remote.send_patiently(&Path::of(&["installs"]), &agreed).await;
    drop(waiting);
    Ok((plan, installed?))
}

/// The declarations are shown to auditors, one by one.
async fn list(remote: &Remote, out: &Output) -> Result<(), Failure> {
    let servers: Vec<Server> = remote.all(&Path::of(&["servers"])).await?;
    let mut listed = Vec::with_capacity(servers.len());
    for server in servers {
        let detail: Detail = remote.get(&Path::of(&["servers", &server.name])).await?;
        let spec = detail.spec.filter(|spec| !spec.is_null());
        let read = spec.clone().and_then(|spec| serde_json::from_value::<ServerSpec>(spec).ok());
        let cells = read.as_ref().map_or_else(|| server.cells(&detail.credentials), server::cells);
        listed.push(server::Listed {
            name: server.name,
            revision: server.revision,
            created_at: server.created_at,
            spec,
            cells,
        });
    }
    server::print_list(&listed, out)
}

#[derive(Deserialize)]
struct Server {
    name: String,
    revision: i64,
    created_at: i64,
    source: String,
    version: Option<String>,
    reaches: Vec<Reached>,
}

#[derive(Deserialize)]
struct Reached {
    host: String,
    port: Option<u16>,
}

#[derive(Deserialize)]
struct Detail {
    credentials: Vec<Slot>,
    spec: Option<Value>,
}

#[derive(Deserialize)]
struct Slot {
    name: String,
}

impl Server {
    /// What everybody is shown.
    fn cells(&self, credentials: &[Slot]) -> [String; 4] {
        let source = match (&self.version, self.source.as_str()) {
            (Some(version), _) => format!("image of {version}"),
            (None, source) => source.replace('_', " "),
        };
        let hosts = self.reaches.iter().map(|reached| match reached.port {
            Some(port) => format!("{}:{port}", reached.host),
            None => reached.host.clone(),
        });
        let secrets = credentials.iter().map(|slot| slot.name.clone());
        [source, hosts.collect::<Vec<_>>().join(","), secrets.collect::<Vec<_>>().join(","), String::new()]
    }
}

#[derive(Deserialize)]
struct Planned {
    manifest_hash: String,
    before: Option<String>,
    needs_consent: bool,
    entitlements: Entitlements,
    changes: Vec<install::Changed>,
    notes: Vec<String>,
    unpacked_bytes: Option<u64>,
}

impl Planned {
    fn plan(self) -> Result<install::Plan, Failure> {
        let hash: Digest = self.manifest_hash.parse()?;
        Ok(install::Plan {
            entitlements: self.entitlements,
            hash,
            before: self.before,
            changes: self.changes,
            notes: self.notes,
            unpacked_bytes: self.unpacked_bytes,
        })
    }
}
