//! `pin list|diff|accept|reset|digest`.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use gigmcp_mcp::{Definition, DefinitionDigest, DefinitionKind};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::read_input;
use crate::{
    host::{Host, HostError},
    output::{Failure, Output, columns, harmless},
    people::Actor,
    pins::{self, Accepted, Difference, Pinned, Selection},
    spec::{Owner, ServerName},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what was agreed to of what servers say of themselves, and what is held back
    List {
        /// Only of this server
        #[arg(long)]
        server: Option<ServerName>,
    },
    /// Show word by word what is held back, and how to accept it; if it is nothing, what the last upgrade has changed
    Diff {
        /// Name of the server
        server: ServerName,
        /// Only this tool, prompt, resource or template, as its server calls it: NAME or KIND:NAME, or `instructions`
        name: Vec<String>,
    },
    /// Agree to what is held back; gateways that run show it within two seconds
    Accept(Accept),
    /// Forget what was agreed to: what the server says next is pinned unseen
    Reset {
        /// Name of the server
        server: ServerName,
    },
    /// Print the digests of definitions, as `tools[].definition` of a manifest has them
    Digest {
        /// File with the result of `tools/list`, a list of tools, or one tool, as JSON; - reads standard input
        file: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Accept {
    /// Name of the server
    pub(super) server: ServerName,

    /// What is accepted, as its server calls it: NAME or KIND:NAME, or `instructions`
    #[arg(required_unless_present = "all")]
    pub(super) name: Vec<String>,

    /// Accept all that is held back
    #[arg(long, conflicts_with = "name")]
    all: bool,

    /// Agree to the definitions with this digest, as `pin diff` prints it, without being asked
    #[arg(long, value_name = "sha256:HEX")]
    pub(super) digest: Option<DefinitionDigest>,
}

/// Does what was asked.
pub(crate) async fn run(
    open: impl FnOnce() -> Result<Host, HostError>,
    command: Command,
    out: &Output,
) -> Result<(), Failure> {
    match command {
        Command::List { server } => {
            let listed = pins::list(&open()?.store, &Owner::local(), server).await?;
            print_list(&listed, out)
        }
        Command::Diff { server, name } => {
            let selection = selection(name);
            let differences = pins::differences(&open()?.store, &Owner::local(), &server, selection.clone()).await?;
            print_differences(&server, &selection, &differences, out)
        }
        Command::Accept(accept) => self::accept(&open()?, accept, out).await,
        Command::Reset { server } => {
            pins::reset(&open()?.store, &Owner::local(), &server, &Actor::local()).await?;
            print_reset(&server, out)
        }
        Command::Digest { file } => digests(&file, out),
    }
}

pub(super) fn selection(names: Vec<String>) -> Selection {
    if names.is_empty() { Selection::All } else { Selection::Names(names) }
}

async fn accept(host: &Host, accept: Accept, out: &Output) -> Result<(), Failure> {
    let Accept { server, name, digest, .. } = accept;
    let (owner, selection) = (Owner::local(), selection(name));
    let digest = match digest {
        Some(digest) => digest,
        None => {
            ask(&server, &selection, &pins::differences(&host.store, &owner, &server, selection.clone()).await?, out)?
        }
    };
    let accepted = pins::accept(&host.store, &owner, &server, selection, digest, &Actor::local()).await?;
    print_accepted(&accepted, out)
}

pub(super) fn print_list(listed: &[Pinned], out: &Output) -> Result<(), Failure> {
    out.print(&listed, |listed| {
        columns(&["SERVER", "KIND", "NAME", "STANDING", "DIGEST"], &listed.iter().map(cells).collect::<Vec<_>>())
    })
}

pub(super) fn print_differences(
    server: &ServerName,
    selection: &Selection,
    differences: &[Difference],
    out: &Output,
) -> Result<(), Failure> {
    out.print(&differences, |differences| {
        let mut lines = shown(server, differences);
        lines.extend(hint(server, selection, differences));
        lines
    })
}

pub(super) fn print_reset(server: &ServerName, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "reset": server.as_str() }), |_| {
        vec![format!("what {server} says of itself next is pinned, whatever it is")]
    })
}

pub(super) fn print_accepted(accepted: &Accepted, out: &Output) -> Result<(), Failure> {
    out.print(accepted, |Accepted { server, definitions, .. }| {
        definitions.iter().map(|definition| format!("{} of {server} is accepted", harmless(definition))).collect()
    })
}

/// Asks at a terminal; gives the digest of what was looked at.
pub(super) fn ask(
    server: &ServerName,
    selection: &Selection,
    differences: &[Difference],
    out: &Output,
) -> Result<DefinitionDigest, Failure> {
    let held: Vec<_> = differences.iter().filter(|difference| difference.standing != "replaced").cloned().collect();
    let Some(digest) = pins::digest_of_all(&held).filter(|_| !held.is_empty()) else {
        return Err(format!("nothing of {server} is held back").into());
    };
    if out.json || !std::io::stdin().is_terminal() {
        return Err(format!(
            "nothing was accepted, as nobody agreed to it; if you looked at it (`gigmcp-gateway pin diff {server}{}`), add --digest {digest}",
            names(selection)
        )
        .into());
    }
    let mut stderr = std::io::stderr().lock();
    for line in shown(server, &held) {
        writeln!(stderr, "{line}")?;
    }
    write!(stderr, "agree? [y/N] ")?;
    stderr.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(digest),
        _ => Err("nothing was changed".into()),
    }
}

fn shown(server: &ServerName, differences: &[Difference]) -> Vec<String> {
    let mut lines = Vec::new();
    for Difference { kind, name, standing, digest, pieces } in differences {
        let what = match *standing {
            "new" => "is held back: it is new",
            "changed" => "is held back: it has changed",
            _ => "was changed with the last revision of the server, which was agreed to",
        };
        lines.push(format!("{kind} {} of {server} {what} ({digest})", harmless(name)).replace("  ", " "));
        lines.extend(pins::lines_of(pieces));
        lines.push(String::new());
    }
    lines
}

/// How to accept what was shown.
fn hint(server: &ServerName, selection: &Selection, differences: &[Difference]) -> Option<String> {
    let is_held = differences.iter().any(|difference| difference.standing != "replaced");
    let Some(digest) = pins::digest_of_all(differences).filter(|_| is_held) else {
        return differences.is_empty().then(|| format!("nothing of {server} is held back"));
    };
    let names = names(selection);
    let names = if names.is_empty() { " --all" } else { &names };
    Some(format!("to accept this: gigmcp-gateway pin accept {server}{names} --digest {digest}"))
}

fn names(selection: &Selection) -> String {
    match selection {
        Selection::All => String::new(),
        Selection::Names(names) => names.iter().map(|name| format!(" '{}'", harmless(name))).collect(),
    }
}

fn cells(pinned: &Pinned) -> Vec<String> {
    let Pinned { server, kind, name, standing, digest, held } = pinned;
    let digest = held.as_ref().or(digest.as_ref()).cloned().unwrap_or_default();
    vec![server.clone(), (*kind).to_owned(), name.clone(), (*standing).to_owned(), digest]
}

#[derive(Deserialize)]
struct ListResult<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
}

pub(super) fn digests(file: &PathBuf, out: &Output) -> Result<(), Failure> {
    let bytes = read_input(file, MAX_LIST_BYTES)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is not UTF-8", file.display()))?;
    let text = text.trim();
    let invalid = |error| {
        format!("{} is neither the result of tools/list, nor a list of tools, nor one tool: {error}", file.display())
    };
    let tools: Vec<&RawValue> = match text.starts_with('[') {
        true => serde_json::from_str(text).map_err(invalid)?,
        false => match serde_json::from_str::<ListResult<'_>>(text) {
            Ok(result) => result.tools,
            Err(_) => vec![serde_json::from_str(text).map_err(invalid)?],
        },
    };
    let mut digests = Vec::new();
    for tool in tools {
        let Tool { name } = serde_json::from_str(tool.get()).map_err(invalid)?;
        let digest = Definition::new(DefinitionKind::Tool, &name, tool).digest.to_string();
        digests.push((name.into_owned(), digest));
    }
    let document: Vec<_> = digests.iter().map(|(name, digest)| json!({ "name": name, "definition": digest })).collect();
    out.print(&document, |_| digests.iter().map(|(name, digest)| format!("{digest}  {}", harmless(name))).collect())
}

const MAX_LIST_BYTES: u64 = 32 << 20;
