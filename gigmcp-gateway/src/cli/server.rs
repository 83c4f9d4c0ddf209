//! `server install|upgrade|rollback|diff|add|list|instances|remove`.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use gigmcp_registry::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{install, progress::Waiting};
use crate::{
    declare::Declaration,
    host::Host,
    install::{ServerReference, Which},
    launch::era,
    output::{Failure, Output, columns, whole},
    people::{Actor, Kind, People, Terms, done},
    serve,
    spec::{self, InvalidSpec, ProfileSlug, ServerName, ServerSpec, Source},
    store::AuditRow,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Install a server from the registry, once you agreed to what it asks for
    ///
    /// Nothing runs that nobody agreed to. At a terminal you are asked; elsewhere, name what you looked at by --accept.
    Install(install::Install),
    /// Go to the latest version of a server, once you agreed to what changes
    Upgrade(install::Upgrade),
    /// Go back to the version of a server that you agreed to before
    Rollback {
        /// Name of the server
        name: ServerName,
    },
    /// Show what another version of a server changes
    Diff {
        /// Name of the server
        name: ServerName,
        /// The version to compare with [default: the latest]
        #[arg(id = "with", value_name = "VERSION")]
        version: Option<Version>,
    },
    /// Add a server that is in no registry
    ///
    /// With --command the server runs from this host's own tools, read-only and unreviewed: nobody has checked
    /// what it is. With --binary one static executable is copied and runs in an otherwise empty root.
    Add(Box<Add>),
    /// List servers
    List,
    /// List the sandboxes that were started, newest first
    Instances {
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        limit: u64,
    },
    /// Remove a server, its secrets, its place in profiles, what it kept and its image
    Remove {
        /// Name of the server
        name: ServerName,
    },
}

#[derive(Args)]
pub(crate) struct Add {
    /// Name of the server; its tools appear as NAME_tool
    name: ServerName,

    /// Command line that speaks MCP on standard input and output, in one argument
    #[arg(long, value_name = "COMMAND", conflicts_with = "binary")]
    command: Option<String>,

    /// Static executable to run instead of a host tool
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    #[command(flatten)]
    declaration: Declaration,

    /// Profile to put the server into
    #[arg(long, value_name = "PROFILE")]
    profile: Vec<ProfileSlug>,

    /// The command where no --command is given, else arguments after its own
    #[arg(last = true, value_name = "WORD")]
    words: Vec<String>,
}

/// Does what was asked.
pub(crate) async fn run(host: Host, command: Command, out: &Output) -> Result<(), Failure> {
    match command {
        Command::Add(add) => {
            let name = add.name.clone();
            self::add(&host, *add, out).await?;
            find_out(host, &name).await;
            Ok(())
        }
        Command::List => list(&host, out).await,
        Command::Instances { limit } => instances(&host, limit, out).await,
        Command::Install(command) => {
            let name = command.server.name.clone();
            install::install(&host, command, out).await?;
            find_out(host, &name).await;
            Ok(())
        }
        Command::Upgrade(command) => {
            let name = command.server.clone();
            install::upgrade(&host, command, out).await?;
            find_out(host, &name).await;
            Ok(())
        }
        Command::Rollback { name } => install::rollback(&host, &name, out).await,
        Command::Diff { name, version } => {
            let which = version.map_or(Which::Latest, Which::Version);
            install::diff(&host, &ServerReference { name, which }, out).await
        }
        Command::Remove { name } => {
            let collected = crate::install::remove(&host, &name, &Actor::local()).await?;
            print_removed(&name, Some((collected.trees, collected.leased)), out)
        }
    }
}

async fn add(host: &Host, add: Add, out: &Output) -> Result<(), Failure> {
    spec::check_free(&add.name)?;
    let mut words = match &add.command {
        Some(line) => shlex::split(line).ok_or(InvalidSpec::Unquoted)?,
        None => Vec::new(),
    };
    words.extend(add.words);
    let source = match &add.binary {
        Some(path) => Source::Binary { sha256: host.keep_binary(path)? },
        None => Source::HostTools,
    };
    let (spec, notes) = add.declaration.into_spec(source, words)?;
    host.check_paths(&spec)?;
    let (name, actor) = (&add.name, Actor::local());
    let people = People::new(host.store.clone(), Terms::of(host.settings().session_ttl));
    let joins = people.joins(&actor, add.profile, name).await?;
    let row = done(Kind::Server, &actor.user, format!("adds {name}, which nobody reviewed"), &actor);
    let row = AuditRow { server: name.to_string(), ..row };
    host.store.add_server_told(name.clone(), spec.clone(), joins, row).await?;
    out.print(&json!({ "added": name.as_str(), "spec": spec, "reviewed": false }), |_| {
        let mut lines = vec![format!("added {name}; nobody reviewed it, it runs with what you declared and no more")];
        lines.extend(notes);
        for slot in &spec.secrets {
            lines.push(format!("set its secret: gigmcp-gateway secret set {name} {} < FILE", slot.name));
        }
        lines
    })
}

/// Finds out what a server speaks, so that nobody has to wait for that at its first call. Where it cannot be found out now,
/// for want of a key or of a sandbox, it will be when the server is started for somebody.
async fn find_out(host: Host, name: &ServerName) {
    let found = async {
        let settings = host.settings().clone();
        let secrets = Arc::new(host.existing_secrets().await?);
        let supervisor = Arc::new(serve::assemble(&settings, host, secrets, HashMap::new())?);
        let limit = FINDING_OUT.min(Duration::from_secs(settings.start_timeout));
        Ok::<_, Failure>(era::find_out(&supervisor, name, limit).await?)
    };
    let waiting = Waiting::begin("finding out what it speaks; it is there already");
    let found = found.await;
    drop(waiting);
    match found {
        Ok(Some(_)) => {}
        Ok(None) => tracing::info!("{name} did not answer within {} s, or not what it should", FINDING_OUT.as_secs()),
        Err(error) => tracing::debug!("what {name} speaks is not known yet: {}", whole(&*error)),
    }
}

/// What became of a server's image is known on the machine of the gateway only.
pub(super) fn print_removed(name: &ServerName, images: Option<(u64, u64)>, out: &Output) -> Result<(), Failure> {
    let document = match images {
        Some((images, in_use)) => json!({ "removed": name.as_str(), "images": images, "in_use": in_use }),
        None => json!({ "removed": name.as_str() }),
    };
    out.print(&document, |_| {
        let mut lines = vec![format!("removed {name}")];
        if images.is_some_and(|(_, in_use)| in_use > 0) {
            lines.push("its image still runs; `gigmcp-gateway images gc` removes it later".to_owned());
        }
        lines
    })
}

/// A server, in a list.
#[derive(Serialize)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) revision: i64,
    pub(super) created_at: i64,
    /// Not shown to everybody over the network.
    pub(super) spec: Option<Value>,
    #[serde(skip)]
    pub(super) cells: [String; 4],
}

async fn list(host: &Host, out: &Output) -> Result<(), Failure> {
    let servers = host.store.servers().await?;
    let listed: Result<Vec<_>, serde_json::Error> = servers
        .iter()
        .map(|server| {
            Ok(Listed {
                name: server.name.to_string(),
                revision: server.revision,
                created_at: server.created_at,
                spec: Some(serde_json::to_value(&server.spec)?),
                cells: cells(&server.spec),
            })
        })
        .collect();
    print_list(&listed?, out)
}

/// Where it comes from, what it reaches and holds, and what runs.
pub(super) fn cells(spec: &ServerSpec) -> [String; 4] {
    let source = match &spec.source {
        Source::Binary { sha256 } => format!("binary {}", sha256.get(..12).unwrap_or(sha256)),
        Source::HostTools => "host tools, unreviewed".to_owned(),
        Source::Image(image) => format!("image of {}", image.version),
    };
    let read = spec.allow_read.iter().map(|host| format!("{host} (read)"));
    let some = spec.rules.iter().flat_map(|rule| &rule.hosts).map(|host| format!("{host} (some)"));
    let tcp = spec.tcp.iter().map(|rule| format!("{}:{}", rule.host, rule.port));
    let all = spec.hosts();
    let hosts = all.iter().map(ToString::to_string).chain(read).chain(some).chain(tcp).collect::<Vec<_>>();
    let secrets = spec.secrets.iter().map(|slot| slot.name.to_string()).collect::<Vec<_>>();
    [source, hosts.join(","), secrets.join(","), spec.command.join(" ")]
}

pub(super) fn print_list(servers: &[Listed], out: &Output) -> Result<(), Failure> {
    out.print(&servers, |servers| {
        let rows = servers.iter().map(|server| [std::slice::from_ref(&server.name), &server.cells[..]].concat());
        columns(&["NAME", "SOURCE", "HOSTS", "SECRETS", "COMMAND"], &rows.collect::<Vec<_>>())
    })
}

/// A sandbox that was started, in a list.
#[derive(Deserialize, Serialize)]
pub(super) struct Instance {
    id: String,
    owner: String,
    profile: String,
    server: String,
    revision: i64,
    started_at: i64,
    ended_at: Option<i64>,
}

async fn instances(host: &Host, limit: u64, out: &Output) -> Result<(), Failure> {
    let instances = host.store.instances(limit).await?;
    let listed = instances.into_iter().map(|instance| Instance {
        id: instance.id.as_str().to_owned(),
        owner: instance.owner.to_string(),
        profile: instance.profile,
        server: instance.server.to_string(),
        revision: instance.revision,
        started_at: instance.started_at,
        ended_at: instance.ended_at,
    });
    print_instances(&listed.collect::<Vec<_>>(), out)
}

pub(super) fn print_instances(instances: &[Instance], out: &Output) -> Result<(), Failure> {
    out.print(&instances, |instances| {
        let rows = instances.iter().map(|instance| {
            vec![
                utc(instance.started_at),
                instance.ended_at.map_or_else(|| "running, or its gateway was killed".to_owned(), utc),
                instance.server.clone(),
                instance.profile.clone(),
                instance.revision.to_string(),
                instance.id.clone(),
            ]
        });
        columns(&["STARTED (UTC)", "ENDED", "SERVER", "PROFILE", "REVISION", "INSTANCE"], &rows.collect::<Vec<_>>())
    })
}

fn utc(seconds: i64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default()
}

/// How long a new server may take to say what it speaks.
const FINDING_OUT: Duration = Duration::from_secs(15);
