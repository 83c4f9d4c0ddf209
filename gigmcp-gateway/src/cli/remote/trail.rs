//! `audit`.

use std::{io::Write, process::ExitCode, time::Duration};

use http::Method;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{audit, audit::verify, progress},
    Path, Remote, RemoteError,
};
use crate::{
    output::{Failure, Output},
    trail::Report,
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
        audit::Command::Verify(asked) => verify(remote, &asked, out).await,
        audit::Command::Export(asked) => {
            export(remote, &asked).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn verify(remote: &Remote, asked: &verify::Verify, out: &Output) -> Result<ExitCode, Failure> {
    // Whoever compares with what was kept elsewhere does not ask the gateway whether it is right.
    if asked.file.is_some() || asked.head.is_some() || !asked.key.is_empty() {
        return Err(RemoteError::NoRoute { command: "audit verify --file, --head or --key".to_owned() }.into());
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
        (_, Some(broken)) => Err(format!("the audit trail was changed: row {}: {}", broken.id, broken.flaw).into()),
        _ => Err("the gateway does not say that its audit trail is right".into()),
    }
}

async fn export(remote: &Remote, asked: &audit::export::Export) -> Result<(), Failure> {
    if asked.follow || asked.alarms || asked.instance.is_some() || asked.call.is_some() || asked.request.is_some() {
        let command = "audit export --follow, --alarms, --instance, --call or --request".to_owned();
        return Err(RemoteError::NoRoute { command }.into());
    }
    let path = Path::of(&["audit", "export"])
        .with("after", asked.after)
        .with("since_ms", asked.since)
        .with("until_ms", asked.until)
        .with("kind", asked.kind.as_ref())
        .with("owner", asked.owner.as_ref())
        .with("profile", asked.profile.as_ref())
        .with("server", asked.server.as_ref());
    let late = |_| RemoteError::Late { seconds: CHUNK_DEADLINE.as_secs() };
    let response = tokio::time::timeout(CHUNK_DEADLINE, remote.ask(Method::GET, &path, None)).await.map_err(late)??;
    let mut body = response.into_body();
    let mut stdout = std::io::stdout().lock();
    let mut progress = progress::Count::of_bytes();
    // One that is cut off is an error, so that nobody takes it for all.
    while let Some(frame) = tokio::time::timeout(CHUNK_DEADLINE, body.frame()).await.map_err(late)? {
        let Ok(bytes) = frame.map_err(RemoteError::Broken)?.into_data() else { continue };
        match stdout.write_all(&bytes) {
            // Whoever read it has enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        progress.add(bytes.len() as u64);
    }
    Ok(stdout.flush()?)
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
