//! `exec`: the sandbox and the egress proxy around one stdio server, for a client's configuration.
//!
//! Standard output carries the server's bytes and nothing else.

use std::{
    collections::{HashMap, HashSet},
    env,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use gigmcp_egress::{CredentialId, SecretString, Shape};
use gigmcp_sandbox::{Event, Events, Exit, SandboxStdin, SandboxStdout, SpawnError, Stage};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::Signal,
};
use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use zeroize::Zeroizing;

use crate::{
    declare::Declaration,
    egress::{Entitlement, text},
    events, exposures,
    host::Host,
    output::Failure,
    serve,
    settings::Settings,
    spec::{EXEC, Owner, SecretSlot, Source},
    store::{Asker, SecretKey},
    supervisor::{Plan, Running, StartError, Supervisor},
    trail::Custody,
};

#[derive(Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    declaration: Declaration,

    /// The server's command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the server and gives its exit code; 125 when the sandbox failed and 127 when there is no such command.
pub(crate) async fn run(settings: Settings, exec: Exec) -> Result<ExitCode, Failure> {
    match start(settings, exec).await {
        Ok((supervisor, running, custody)) => {
            let code = relay(running).await;
            drop(supervisor);
            custody.close().await;
            Ok(ExitCode::from(code))
        }
        Err(error) => {
            let code = match error.downcast_ref::<StartError>() {
                Some(StartError::Spawn { source, .. }) if is_not_found(source) => NOT_FOUND,
                _ => OUR_FAULT,
            };
            crate::output::report(&*error);
            Ok(ExitCode::from(code))
        }
    }
}

async fn start(settings: Settings, exec: Exec) -> Result<(Supervisor, Running, Custody), Failure> {
    let settings = Settings { data_dir: Some(data_dir(&settings)?), ..settings };
    let (spec, notes) = exec.declaration.into_spec(Source::HostTools, exec.command)?;
    for note in notes {
        tracing::warn!("{note}");
    }
    let mut given = HashMap::new();
    let mut shapes = Vec::new();
    for slot in &spec.secrets {
        if let Some(value) = from_environment(slot.variable())? {
            shapes.push((slot.clone(), Shape::of(&value)));
            given.insert(CredentialId::new(slot.name.as_str()), value);
        }
    }
    let (supervisor, custody) = serve::supervisor(&settings, Host::open(&settings)?, given).await?;
    for slot in &spec.secrets {
        let known = shapes.iter().any(|(known, _)| known == slot);
        if !known && stored(&supervisor, slot).await?.is_none() {
            return Err(format!(
                "there is no value for {0}: set the variable {0}, or store one with `gigmcp-gateway secret set {EXEC} {0}={1} --data-dir {2}`",
                slot.name, slot.sealed_for(), settings.data_dir().display()
            )
            .into());
        }
    }
    let entitlement = Entitlement::Declared(Box::new(spec.clone()));
    let server = EXEC.parse().expect("a server name");
    let plan = Plan { owner: Owner::local(), server, spec, entitlement, shapes, epoch: 0 };
    let running = supervisor.start(plan).await?;
    Ok((supervisor, running, custody))
}

async fn stored(supervisor: &Supervisor, slot: &SecretSlot) -> Result<Option<SecretString>, Failure> {
    let key =
        SecretKey { owner: Owner::local(), server: EXEC.parse().expect("a server name"), name: slot.name.clone() };
    let value = supervisor.secrets.open(Asker::Gateway, key, &slot.sealed_for()).await?;
    Ok(value.and_then(|value| text(value, exposures::SHAPE)))
}

/// The caller's value. It stays in this process; the sandbox starts with an empty environment.
fn from_environment(name: &str) -> Result<Option<SecretString>, Failure> {
    let Some(value) = env::var_os(name) else { return Ok(None) };
    let value = value.into_string().map_err(|_| format!("the value of {name} is not text"))?;
    let value = SecretString::new(Zeroizing::new(value).as_str());
    value.check().map_err(|error| format!("{name}: {error}"))?;
    Ok(Some(value))
}

/// A client starts us in a directory of its own choice, so `./data` would leave databases about.
fn data_dir(settings: &Settings) -> Result<PathBuf, Failure> {
    if let Some(chosen) = &settings.data_dir {
        return Ok(chosen.clone());
    }
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("gigmcp"))
        .ok_or_else(|| "neither HOME nor XDG_DATA_HOME is set; name a directory with --data-dir".into())
}

/// Moves bytes until the server ends, and gives the exit code. The end of our input is the end of the server's.
async fn relay(mut running: Running) -> u8 {
    let (stdin, stdout) = match running.sandbox.stdio() {
        Ok(streams) => streams,
        Err(error) => {
            crate::output::report(&error);
            return OUR_FAULT;
        }
    };
    let mut lines = running.sandbox.stderr_lines();
    let input = tokio::spawn(copy_input(stdin));
    let (show, mut shown) = mpsc::channel(STDERR_LINES);
    // On a thread of its own: a client that does not read our standard error must not stop the rest.
    let (done, all_shown) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        while let Some(line) = shown.blocking_recv() {
            eprintln!("{line}");
        }
        // Nobody listens when we could not wait any longer.
        let _ = done.send(());
    });
    let told = tokio::spawn(tell(running.sandbox.events(), show.clone()));
    let errors = tokio::spawn(async move {
        while let Some(line) = lines.next().await {
            // Full means that nobody reads; what is not shown is lost, as in a log that turns over.
            drop(show.try_send(line));
        }
    });
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be watched");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be watched");
    let mut output = tokio::spawn(copy_output(stdout));
    let gone = reader_is_gone();
    tokio::pin!(gone);
    let ended = tokio::select! {
        exit = running.sandbox.wait() => Ended::Server(exit),
        () = &mut gone => Ended::Signal(Signal::PIPE),
        _ = terminate.recv() => Ended::Signal(Signal::TERM),
        _ = interrupt.recv() => Ended::Signal(Signal::INT),
    };
    // The end of its input asks a server to end, as the protocol has it; then it has to.
    input.abort();
    if let Ended::Signal(_) = ended {
        // Who asked for the end need not be told of it.
        told.abort();
        drop(tokio::time::timeout(GRACE / 2, running.sandbox.wait()).await);
        running.sandbox.shutdown(GRACE / 2).await;
    }
    // What the server wrote before it ended still goes out; its pipes are closed by now.
    tokio::select! {
        _ = &mut output => {}
        () = &mut gone, if matches!(ended, Ended::Server(_)) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.close().await;
    drop(errors.await);
    // A client that does not read our standard error is waited for no longer than this.
    drop(tokio::time::timeout(GRACE, all_shown).await);
    ended.code()
}

/// Tells the caller, once each, what the server was refused and what ended it. Unlike the server's own lines, these
/// wait for a slow reader.
async fn tell(mut happening: Events, show: mpsc::Sender<String>) {
    let mut told = HashSet::new();
    while let Some(event) = happening.next().await {
        if matches!(event, Event::Ended(Exit::Exited(_))) {
            continue;
        }
        let line = format!("gigmcp: the server {}", events::what(&event));
        if told.insert(line.clone()) {
            drop(show.send(line).await);
        }
    }
}

/// How it came to an end.
enum Ended {
    Server(Exit),
    /// A signal to us, or what would have been one.
    Signal(Signal),
}

impl Ended {
    /// As a shell gives it: the server's own code, or 128 and the signal.
    fn code(&self) -> u8 {
        let code = match self {
            Self::Server(Exit::Exited(code)) => *code,
            Self::Server(Exit::Signaled(signal)) => 128 + signal,
            Self::Server(Exit::SeccompKilled) => 128 + SIGSYS,
            Self::Signal(signal) => 128 + signal.as_raw(),
            Self::Server(_) => i32::from(OUR_FAULT),
        };
        u8::try_from(code).unwrap_or(OUR_FAULT)
    }
}

/// Ends when nobody can read our standard output any more, also while the server says nothing: a client that was
/// killed must not leave its server behind.
async fn reader_is_gone() {
    let (gone, heard) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let stdout = std::io::stdout();
        // No event is asked for; errors and hang-ups are always told.
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        while !matches!(poll(&mut watched, None), Ok(1..)) {}
        // Nobody listens when the server ended first.
        let _ = gone.send(());
    });
    if heard.await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn copy_input(mut stdin: SandboxStdin) {
    // An error means that either side is gone, which the other tasks notice.
    drop(io::copy(&mut io::stdin(), &mut stdin).await);
    drop(stdin.shutdown().await);
}

async fn copy_output(mut stdout: SandboxStdout) {
    let mut ours = io::stdout();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stdout.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if ours.write_all(&buffer[..length]).await.is_err() || ours.flush().await.is_err() {
                    return; // nobody reads it, which the other task notices
                }
            }
        }
    }
}

/// Whether the sandbox stood and only its program is missing.
fn is_not_found(error: &SpawnError) -> bool {
    matches!(error, SpawnError::Setup { stage: Stage::Exec, source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Lines of standard error that wait for a slow reader.
const STDERR_LINES: usize = 1024;
/// How long a server may take to end after its input did.
const GRACE: Duration = Duration::from_secs(2);
/// As `env` and `docker run` have it.
const OUR_FAULT: u8 = 125;
const NOT_FOUND: u8 = 127;
const SIGSYS: i32 = 31;
