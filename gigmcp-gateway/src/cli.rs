//! The command line: what can be asked.

mod api_key;
mod audit;
mod backup;
mod catalog;
mod config;
mod examples;
mod help;
mod images;
mod install;
mod key;
mod pin;
mod profile;
pub(crate) mod progress;
mod registry;
mod remote;
mod secret;
mod server;
mod token;
mod tokens;
mod user;

pub(crate) use progress::progress;
use remote::Remote;
pub(crate) use remote::RemoteError;

use std::{env, io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    demo, doctor, exec, health,
    host::{Host, HostError},
    output::{Failure, Output, fail},
    serve,
    settings::{
        DEFAULT_LOG, LogFilter, Settings, SettingsError,
        listed::{self, Setting},
    },
    store::{Moment, StoreError},
};

/// Runs other people's MCP servers without giving them your keys, files or network
///
/// Commands are for the data directory here, or with --url for a gateway elsewhere.
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
    /// Print what makes a shell complete commands and flags
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the settings in force, and where each came from; secrets are hidden
    Config(config::Config),
    /// Install two servers of the registry, serve them in a profile `demo`, and print how to connect
    Demo,
    /// Run one stdio MCP server in the sandbox; put this before the command in a client's configuration
    Exec(exec::Exec),
    /// Show which protections this host can enforce, and the fix for what it cannot
    Doctor(doctor::Doctor),
    /// Ask the gateway that listens at GIG_LISTEN whether it is ready; exits with 0 if it is
    Health,
    /// Show what servers the registry has
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// Install servers from the registry, add others, list and remove them
    #[command(subcommand)]
    Server(server::Command),
    /// Create, list and delete profiles, and renew their tokens
    #[command(subcommand)]
    Profile(profile::Command),
    /// Make, list and end the tokens of profiles
    #[command(subcommand)]
    Token(token::Command),
    /// Invite people, say what they are, and let them in no more
    #[command(subcommand)]
    User(user::Command),
    /// Make, list and end keys of the control plane
    #[command(subcommand)]
    ApiKey(api_key::Command),
    /// Show what has changed of what servers say of themselves, and accept it
    #[command(subcommand)]
    Pin(pin::Command),
    /// Set, list and delete the credentials that servers use without holding them
    #[command(subcommand)]
    Secret(secret::Command),
    /// Keep credentials for private registries of images
    #[command(subcommand)]
    Registry(registry::Command),
    /// Clean up the images that servers run from
    #[command(subcommand)]
    Images(images::Command),
    /// Make, check and rotate the master key
    #[command(subcommand)]
    Key(key::Command),
    /// Show the newest rows of the audit trail, oldest of them first; verify or export it
    Audit(audit::Audit),
    /// Write everything in the database, and the executables of servers, into one file, also while the gateway runs
    ///
    /// Secrets are in it sealed, and the master key is not: keep that in another place.
    Backup(backup::Backup),
    /// Put what is in a backup into an empty database, of either kind
    ///
    /// If the master key at hand does not open its secrets, everything is restored all the same, and the exit code is 1.
    Restore(backup::Restore),
}

/// Parses the command line and does what it says.
pub(crate) fn run() -> ExitCode {
    let listed = settings();
    let command = listed::without_empty_variables(examples::with(Cli::command()));
    let (matches, faults) = match help::with(command.clone()).try_get_matches() {
        Ok(matches) => (matches, listed::faults(&listed, env::vars_os())),
        // Help and version are printed here, also to somebody whose settings are wrong.
        Err(error) if !error.use_stderr() => error.exit(),
        // What is left to be wrong without variables is wrong with the flags.
        Err(error) => match listed::without_variables(command).try_get_matches() {
            Ok(matches) => match listed::faults(&listed, env::vars_os()) {
                faults if faults.is_empty() => return usage(&error),
                faults => (matches, faults),
            },
            Err(error) => return usage(&error),
        },
    };
    let out = Output { json: matches.get_flag("json") };
    let done = match is_config_check(&matches) {
        true => check(&listed, &matches, faults, &out),
        false => match faults.first() {
            Some(fault) => return fail(fault, out.json),
            None => obey(&listed, &matches, &out),
        },
    };
    done.unwrap_or_else(|error| fail(&*error, out.json))
}

/// Every setting of every command.
pub(crate) fn settings() -> Vec<Setting> {
    listed::all(&Cli::command())
}

fn is_config_check(matches: &ArgMatches) -> bool {
    matches.subcommand_matches("config").is_some_and(|matches| matches.subcommand_name() == Some("check"))
}

/// Tells all that is wrong, of which a part can only be seen once the rest is right.
fn check(
    listed: &[Setting],
    matches: &ArgMatches,
    mut faults: Vec<SettingsError>,
    out: &Output,
) -> Result<ExitCode, Failure> {
    if faults.iter().all(|fault| matches!(fault, SettingsError::Unknown { .. } | SettingsError::Replaced { .. })) {
        faults.extend(Settings::of(listed, matches)?.faults());
    }
    config::check(&faults, out)
}

fn obey(listed: &[Setting], matches: &ArgMatches, out: &Output) -> Result<ExitCode, Failure> {
    let settings = Settings::of(listed, matches)?;
    let command = Command::from_arg_matches(matches)?;
    settings.check()?;
    let default = if matches!(command, Command::Exec(_)) { "warn" } else { DEFAULT_LOG };
    let filter = settings.log.clone().unwrap_or_else(|| default.parse().expect("a level"));
    start_log(&filter);
    execute(settings, command, &|settings| config::show(listed, matches, settings, out), out)
}

fn execute(
    settings: Settings,
    command: Command,
    show: &dyn Fn(&Settings) -> Result<ExitCode, Failure>,
    out: &Output,
) -> Result<ExitCode, Failure> {
    let runtime = match &command {
        Command::Serve | Command::Demo => tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
    };
    let done = runtime.block_on(async {
        // What is about this program and no gateway is here in any case.
        let is_here = matches!(command, Command::Config(_) | Command::Completions { .. });
        let remote = if is_here { None } else { Remote::of(&settings)? };
        if let Some(remote) = remote {
            return remote::run(&remote, command, out).await;
        }
        match command {
            Command::Config(_) => show(&settings),
            Command::Completions { shell } => complete(shell),
            Command::Serve => serve::run(settings).await.map(|()| ExitCode::SUCCESS),
            Command::Demo => demo::run(settings).await.map(|()| ExitCode::SUCCESS),
            Command::Exec(exec) => exec::run(settings, exec).await,
            Command::Doctor(doctor) => doctor::run(&settings, &doctor, out).await,
            Command::Health => health::run(&settings, out).await,
            Command::Server(command) => {
                server::run(Host::open(&settings)?, command, out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Profile(command) => profile::run(&settings, command, out).await.map(|()| ExitCode::SUCCESS),
            Command::Token(command) => {
                token::run(Host::open(&settings)?, command, out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::User(command) => user::run(Host::open(&settings)?, command, out).await.map(|()| ExitCode::SUCCESS),
            Command::ApiKey(command) => {
                api_key::run(Host::open(&settings)?, command, out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Pin(command) => pin::run(|| Host::open(&settings), command, out).await.map(|()| ExitCode::SUCCESS),
            Command::Secret(command) => {
                secret::run(Host::open(&settings)?, command, out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Catalog(command) => {
                catalog::run(Host::open(&settings)?, command, out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Registry(command) => {
                registry::run(Host::open(&settings)?, command, out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Images(command) => {
                images::run(Host::open(&settings)?, command, out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Backup(backup) => backup::backup(&settings, &backup, out).await,
            Command::Restore(restore) => backup::restore(&settings, &restore, out).await,
            Command::Key(command) => key::run(&settings, command, out).await,
            Command::Audit(audit) => audit::run(|| open_existing(&settings), audit, out).await,
        }
    });
    // A read of standard input cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    done
}

/// Opens a database that is there: who only looks makes neither a database nor a key.
fn open_existing(settings: &Settings) -> Result<Host, HostError> {
    let database = settings.database()?;
    let looked = std::thread::scope(|scope| scope.spawn(|| Moment::of(&database).map(drop)).join());
    looked.unwrap_or(Err(StoreError::Stopped))?;
    Host::open(settings)
}

fn complete(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    use std::io::Write;
    // All at once, as whoever reads it may have enough.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gigmcp-gateway", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with the words of a command, with the exit code 2, or what was asked for instead of doing something.
fn usage(error: &clap::Error) -> ExitCode {
    let is_json = env::args_os().take_while(|word| word != "--").any(|word| word == "--json");
    if !is_json || !error.use_stderr() {
        error.exit();
    }
    let text = error.to_string();
    let text = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default().trim();
    eprintln!("{}", serde_json::json!({ "error": text, "causes": [] }));
    ExitCode::from(2)
}

fn start_log(filter: &LogFilter) {
    tracing_subscriber::fmt()
        .with_env_filter(filter.filter())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Reads a whole file or, for `-`, standard input, up to `max_bytes`.
pub(crate) fn read_input(path: &PathBuf, max_bytes: u64) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    use std::io::Read;
    // Room for all of it: a buffer that grows leaves what it held before, and there may be a secret in it.
    let room = usize::try_from(max_bytes)?.saturating_add(1).min(ROOM_FOR_SECRETS);
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(room));
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

/// More than any input with a secret in it.
const ROOM_FOR_SECRETS: usize = 2 << 20;

#[cfg(test)]
mod tests;
