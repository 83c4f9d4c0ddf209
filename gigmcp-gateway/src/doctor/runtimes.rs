//! `doctor --runtimes`: each runtime that is installed fetches something through the proxy from inside a real sandbox.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use gigmcp_egress::{HostPattern, Identity};
use gigmcp_sandbox::{Exit, HostUids, Limits, Network, Rootfs, Sandbox};
use serde_json::json;
use tokio::{io::AsyncReadExt, process::Command, time::timeout};

use super::{
    internet::{HOST, Internet, answer},
    probes::{ABSENT, DIRECTORY, PROBES, Probe},
};
use crate::{
    output::{Failure, Output, columns},
    runtime,
    settings::Settings,
    supervisor::handed_over,
};

/// What came of one runtime.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Outcome {
    /// The answer arrived.
    Works,
    /// Something else happened; the runtime's last words.
    Fails(String),
    /// It is not installed, so nothing is known.
    Absent,
    /// It could not be tried; why.
    Skipped(&'static str),
}

/// Prints what works; the exit code is 1 when a runtime that is installed does not.
pub(super) async fn run(settings: &Settings, out: &Output) -> Result<ExitCode, Failure> {
    let internet = Internet::start().await?;
    let uids = settings.sandbox_uids.clone();
    let mut tried = Vec::new();
    for probe in PROBES {
        let (version, outcome) = match find(probe.program) {
            None => (String::new(), Outcome::Absent),
            Some(program) => match attempt(&internet, probe, &program, &uids).await? {
                Outcome::Absent => (String::new(), Outcome::Absent),
                outcome => (version(probe, &program).await, outcome),
            },
        };
        tried.push((probe, version, outcome));
    }
    let works = tried.iter().all(|(_, _, outcome)| !matches!(outcome, Outcome::Fails(_)));
    let rows = tried.iter().map(|(probe, version, outcome)| {
        let (result, detail) = outcome.shown();
        let hint = if matches!(outcome, Outcome::Fails(_)) { probe.hint } else { "" };
        json!({ "runtime": probe.name, "version": version, "result": result, "detail": detail, "hint": hint })
    });
    let document = json!({ "works": works, "runtimes": rows.collect::<Vec<_>>() });
    out.print(&document, |_| {
        let rows: Vec<_> = tried.iter().map(|(probe, version, outcome)| row(probe, version, outcome)).collect();
        columns(&["RUNTIME", "VERSION", "RESULT", "HINT"], &rows)
    })?;
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Outcome {
    fn shown(&self) -> (&'static str, &str) {
        match self {
            Self::Works => ("works", ""),
            Self::Fails(said) => ("fails", said),
            Self::Absent => ("absent", ""),
            Self::Skipped(why) => ("skipped", why),
        }
    }
}

fn row(probe: &Probe, version: &str, outcome: &Outcome) -> Vec<String> {
    let (result, detail) = outcome.shown();
    let hint = match outcome {
        Outcome::Fails(_) => format!("{} ({detail})", probe.hint),
        Outcome::Works | Outcome::Absent | Outcome::Skipped(_) => detail.to_owned(),
    };
    vec![probe.name.to_owned(), version.to_owned(), result.to_owned(), hint]
}

/// Where a program lies that a sandbox sees too.
fn find(program: &str) -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join(program)).find(|path| path.is_file())
}

/// The first line in which it says something of itself.
async fn version(probe: &Probe, program: &Path) -> String {
    let mut command = Command::new(program);
    command.args(probe.version).env_clear().env("PATH", PLACES.join(":")).env("HOME", "/nonexistent");
    let output = timeout(VERSION_DEADLINE, command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    let Ok(Ok(output)) = output else { return String::new() };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().chars().take(60).collect()
}

async fn attempt(internet: &Internet, probe: &Probe, program: &Path, uids: &HostUids) -> Result<Outcome, Failure> {
    let host: HostPattern = HOST.parse().expect("a host");
    let authority = internet.proxy.authority([host])?;
    let mut environment = runtime::environment(&BTreeMap::new(), []);
    environment.insert("PATH".to_owned(), PLACES.join(":"));
    // Go needs a place for what it builds, and must fetch nothing.
    let go = [("GOCACHE", "/tmp/go"), ("GO111MODULE", "off"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")];
    environment.extend(go.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut limits = Limits::default();
    limits.memory_bytes = probe.memory_bytes;
    limits.cpu_percent = 200;
    let mut sandbox = Sandbox::builder(Rootfs::host_tools())
        .command([vec![program.display().to_string()], probe.filled()].concat())
        .network(Network::handoff())
        .limits(limits)
        .sized_proc()
        .host_uids(uids.clone())
        .working_dir("/tmp")
        .ca_bundle(authority.ca_bundle_pem());
    for (path, content) in authority.files(&runtime::trust()) {
        sandbox = sandbox.file(path, content);
    }
    if let Some((name, text)) = probe.file {
        sandbox = sandbox.file(format!("{DIRECTORY}/{name}"), text);
    }
    for (name, value) in environment {
        sandbox = sandbox.env(name, value);
    }
    let mut sandbox = sandbox.spawn().await?;
    let intake = sandbox.network().take().expect("a new sandbox has its listeners");
    let attachment = internet.proxy.attach(Identity::new(probe.name), handed_over(intake), authority)?;
    let (stdin, mut stdout) = sandbox.stdio().expect("a new sandbox has its pipes");
    drop(stdin);
    let mut said = Vec::new();
    let ended = timeout(DEADLINE, async {
        // A program that says more than this does not say what was asked.
        let read = (&mut stdout).take(MAX_OUTPUT_BYTES).read_to_end(&mut said).await;
        (read, sandbox.wait().await)
    })
    .await;
    let outcome = match ended {
        Err(_) if probe.program == "go" => Outcome::Skipped("it did not build the probe in time"),
        Err(_) => Outcome::Fails(last_line(&sandbox, "it did not end in time")),
        Ok((_, Exit::Exited(code))) if code == ABSENT => Outcome::Absent,
        Ok(_) if String::from_utf8_lossy(&said).contains(answer(&probe.path()).trim()) => Outcome::Works,
        Ok((_, exit)) => Outcome::Fails(last_line(&sandbox, &format!("{exit:?}"))),
    };
    sandbox.kill().await;
    attachment.close().await;
    Ok(outcome)
}

fn last_line(sandbox: &Sandbox, otherwise: &str) -> String {
    let said = sandbox.stderr_tail();
    let line = said.iter().rev().find(|line| !line.trim().is_empty()).map_or(otherwise, |line| line.trim());
    line.chars().take(160).collect()
}

/// Where programs are looked for: on this host's side of what a sandbox sees.
const PLACES: &[&str] = &["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/go/bin"];
const DEADLINE: Duration = Duration::from_secs(60);
const VERSION_DEADLINE: Duration = Duration::from_secs(20);
const MAX_OUTPUT_BYTES: u64 = 64 << 10;
