//! The command line: what can be asked, and how answers and errors are printed.

mod audit;
mod profile;
mod secret;
mod server;

use std::{
    env,
    error::Error,
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::{
    demo, doctor, exec,
    host::Host,
    serve,
    settings::{self, Settings},
};

/// Runs other people's MCP servers without giving them your keys, files or network
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    settings: Settings,

    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the MCP endpoints of all profiles
    Serve,
    /// Serve with the bundled demo servers and a profile `demo`, and print how to connect
    Demo(demo::Demo),
    /// Run one stdio MCP server in the sandbox; put this before the command in a client's configuration
    Exec(exec::Exec),
    /// Show which protections this host can enforce, and the fix for what it cannot
    Doctor,
    /// Add, list and remove servers
    #[command(subcommand)]
    Server(server::Command),
    /// Create, list and delete profiles, and renew their tokens
    #[command(subcommand)]
    Profile(profile::Command),
    /// Set, list and delete the credentials that servers use without holding them
    #[command(subcommand)]
    Secret(secret::Command),
    /// Show the newest rows of the audit trail, oldest of them first
    Audit(audit::Audit),
}

/// An error on its way to the operator: the whole chain is printed.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Parses the command line and does what it says.
pub(crate) fn run() -> ExitCode {
    // Help and version are printed here, also to somebody whose settings are wrong.
    let matches = match without_empty_variables(Cli::command()).try_get_matches() {
        Ok(matches) => matches,
        Err(error) => error.exit(),
    };
    if let Err(error) = settings::check_names(env::vars_os()) {
        return fail(&error, matches.get_flag("json"));
    }
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let quiet = matches!(cli.command, Command::Exec(_));
    let filter = cli.settings.log.clone().unwrap_or_else(|| if quiet { "warn" } else { "info" }.to_owned());
    if let Err(error) = cli.settings.check() {
        return fail(&error, cli.json);
    }
    match start_log(&filter).and_then(|()| execute(cli.settings, cli.command, cli.json)) {
        Ok(code) => code,
        Err(error) => fail(&*error, cli.json),
    }
}

fn execute(settings: Settings, command: Command, json: bool) -> Result<ExitCode, Failure> {
    let runtime = match &command {
        Command::Serve | Command::Demo(_) => tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
    };
    let done = runtime.block_on(async {
        let out = Output { json };
        match command {
            Command::Serve => serve::run(settings).await.map(|()| ExitCode::SUCCESS),
            Command::Demo(demo) => demo::run(settings, demo).await.map(|()| ExitCode::SUCCESS),
            Command::Exec(exec) => exec::run(settings, exec).await,
            Command::Doctor => doctor::run(&out).await,
            Command::Server(command) => {
                server::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Profile(command) => {
                profile::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Secret(command) => {
                secret::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Audit(audit) => audit::run(Host::open(&settings)?, &audit, &out).await.map(|()| ExitCode::SUCCESS),
        }
    });
    // A read of standard input cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    done
}

/// An empty variable counts as unset, which `clap` does not know.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| match arg.get_env().map(env::var_os) {
        Some(Some(value)) if value.is_empty() => arg.env(clap::builder::Resettable::Reset),
        _ => arg,
    })
}

fn start_log(filter: &str) -> Result<(), Failure> {
    let filter: EnvFilter = filter.parse().map_err(|error| format!("GIG_LOG or --log: `{filter}`: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}

/// Prints the whole chain of an error to standard error.
pub(crate) fn report(error: &(dyn Error + 'static)) {
    fail(error, false);
}

/// Prints the whole chain of an error; causes go on lines of their own.
fn fail(error: &(dyn Error + 'static), json: bool) -> ExitCode {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let mut stderr = std::io::stderr().lock();
    // Nothing is left to be done about a closed standard error.
    drop(match json {
        true => writeln!(stderr, "{}", serde_json::json!({ "error": error.to_string(), "causes": causes })),
        false => causes
            .iter()
            .fold(writeln!(stderr, "gigmcp: {error}"), |done, cause| done.and(writeln!(stderr, "  because: {cause}"))),
    });
    ExitCode::FAILURE
}

/// Where answers go: text for people, or one JSON document.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Prints `value` as JSON, or the lines that `text` gives.
    pub(crate) fn print<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> Vec<String>) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        match self.json {
            true => writeln!(stdout, "{}", serde_json::to_string_pretty(value)?)?,
            false => {
                for line in text(value) {
                    writeln!(stdout, "{line}")?;
                }
            }
        }
        Ok(())
    }
}

/// Lays out rows in columns as wide as their widest cell. Some cells come from servers and models, so what could
/// steer a terminal is shown escaped.
pub(crate) fn columns(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let harmless = |cell: &String| -> String {
        let escape = |character: char| character.is_control() || !character.is_ascii();
        cell.chars().map(|c| if escape(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(harmless).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    [line(head.to_vec())].into_iter().chain(body).collect()
}

/// Reads a whole file or, for `-`, standard input, up to `max_bytes`.
pub(crate) fn read_input(path: &PathBuf, max_bytes: u64) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    use std::io::Read;
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(4096));
    let reader: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => {
            let file = std::fs::File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            Box::new(file)
        }
    };
    let read = reader.take(max_bytes + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match u64::try_from(bytes.len()).is_ok_and(|length| length <= max_bytes) {
        true => Ok(bytes),
        false => Err(format!("the input is larger than {max_bytes} bytes").into()),
    }
}
