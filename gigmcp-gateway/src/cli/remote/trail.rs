//! `audit`.

mod follow;
mod reader;

use std::{io::Write, process::ExitCode, time::Duration};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{audit, audit::verify, progress},
    Asked, Path, Remote, RemoteError,
};
use crate::{
    output::{Failure, Output},
    trail::{Place, Report},
};

/// `audit`.
pub(super) async fn run(remote: &Remote, command: audit::Audit, out: &Output) -> Result<ExitCode, Failure> {
    match command.command() {
        audit::Command::List(asked) => {
            let mut rows: Vec<Value> = remote.some(&Path::of(&["audit"]), usize::try_from(asked.limit)?).await?;
            rows.reverse();
            audit::print_list(&rows, out)?;
            Ok(ExitCode::SUCCESS)
        }
        audit::Command::Verify(asked) => verify(remote, asked, out).await,
        audit::Command::Export(asked) => {
            let mut stdout = std::io::stdout().lock();
            let exported = match asked.follow {
                false => export(remote, &asked, &mut stdout).await,
                true => follow::export(remote, &asked, &mut stdout).await,
            };
            match exported {
                // Whoever read it has enough.
                Err(error) if error.downcast_ref().is_some_and(audit::export::is_broken_pipe) => {}
                exported => exported?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn verify(remote: &Remote, asked: verify::Verify, out: &Output) -> Result<ExitCode, Failure> {
    // A file is checked here, whoever wrote it.
    if asked.file.is_some() {
        return verify::of_file(asked, out);
    }
    // Whoever compares with what was kept elsewhere does not ask the gateway whether it is right.
    if asked.head.is_some() || !asked.key.is_empty() {
        return verify_here(remote, asked, out).await;
    }
    let waiting = progress::Waiting::begin("the gateway verifies its trail");
    let found: Result<Verified, _> = remote.get(&Path::of(&["audit", "verify"])).await;
    drop(waiting);
    let found = found?;
    match (found.report, found.broken) {
        (Some(report), None) if found.right => {
            let shown = verify::Found { report, keys: found.keys, trusted_keys: true };
            verify::print(&shown, found.left_unsigned, asked.strict, out)
        }
        (_, Some(broken)) => Err(format!("the audit trail is not right: row {}: {}", broken.id, broken.flaw).into()),
        _ => Err("the gateway does not say that its audit trail is right".into()),
    }
}

/// Has every row sent, and checks them here.
async fn verify_here(remote: &Remote, asked: verify::Verify, out: &Output) -> Result<ExitCode, Failure> {
    let body = exported(remote, &all(&audit::export::Export::default(), None)).await?;
    let (lines, sent) = reader::pipe();
    let strict = asked.strict;
    let checked = tokio::task::spawn_blocking(move || verify::of_lines(lines, asked.key, asked.head));
    let (checked, ()) = tokio::join!(checked, sent.send(body));
    verify::print_found(&checked??, strict, out)
}

async fn export(remote: &Remote, asked: &audit::export::Export, into: &mut impl Write) -> Result<(), Failure> {
    let mut body = exported(remote, &all(asked, asked.after)).await?;
    let mut progress = progress::Count::of_bytes();
    // One that is cut off is an error, so that nobody takes it for all.
    while let Some(bytes) = next(&mut body).await? {
        into.write_all(&bytes)?;
        progress.add(bytes.len() as u64);
    }
    Ok(into.flush()?)
}

/// What is asked for, after a row.
fn all(asked: &audit::export::Export, after: Option<Place>) -> Path {
    Path::of(&["audit", "export"])
        .with("after", after)
        .with("since_ms", asked.since)
        .with("until_ms", asked.until)
        .with("kind", asked.kind.as_ref())
        .with("owner", asked.owner.as_ref())
        .with("profile", asked.profile.as_ref())
        .with("server", asked.server.as_ref())
        .with("instance", asked.instance.as_ref())
        .with("call", asked.call.as_ref())
        .with("request", asked.request.as_ref())
        .with("alarms", asked.alarms.then_some(true))
}

/// Has an export begun.
async fn exported(remote: &Remote, path: &Path) -> Result<Incoming, RemoteError> {
    let asked = Asked::new(Method::GET, path, None)?;
    Ok(tokio::time::timeout(CHUNK_DEADLINE, remote.ask(&asked)).await.map_err(late)??.into_body())
}

/// The next part of an answer; none at its end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, RemoteError> {
    loop {
        let Some(frame) = tokio::time::timeout(CHUNK_DEADLINE, body.frame()).await.map_err(late)? else {
            return Ok(None);
        };
        if let Ok(bytes) = frame.map_err(RemoteError::Broken)?.into_data() {
            return Ok(Some(bytes));
        }
    }
}

fn late(_: tokio::time::error::Elapsed) -> RemoteError {
    RemoteError::Late { seconds: CHUNK_DEADLINE.as_secs() }
}

#[derive(Deserialize)]
struct Verified {
    right: bool,
    broken: Option<Broken>,
    left_unsigned: bool,
    report: Option<Report>,
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct Broken {
    id: i64,
    flaw: String,
}

const CHUNK_DEADLINE: Duration = Duration::from_secs(60);
