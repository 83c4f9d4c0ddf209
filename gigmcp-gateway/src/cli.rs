//! The command line: what can be asked.

mod api_key;
mod audit;
mod backup;
mod catalog;
mod images;
mod install;
mod key;
mod pin;
mod profile;
mod progress;
mod registry;
mod secret;
mod server;
mod token;
mod tokens;
mod user;

pub(crate) use progress::progress;

use std::{env, io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{
    demo, doctor, exec,
    host::{Host, HostError},
    output::{Failure, Output, fail},
    serve,
    settings::{self, Settings},
    store::{Moment, StoreError},
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
    /// Install two servers of the registry, serve them in a profile `demo`, and print how to connect
    Demo,
    /// Run one stdio MCP server in the sandbox; put this before the command in a client's configuration
    Exec(exec::Exec),
    /// Show which protections this host can enforce, and the fix for what it cannot
    Doctor(doctor::Doctor),
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
        Command::Serve | Command::Demo => tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
    };
    let done = runtime.block_on(async {
        let out = Output { json };
        match command {
            Command::Serve => serve::run(settings).await.map(|()| ExitCode::SUCCESS),
            Command::Demo => demo::run(settings).await.map(|()| ExitCode::SUCCESS),
            Command::Exec(exec) => exec::run(settings, exec).await,
            Command::Doctor(doctor) => doctor::run(&settings, &doctor, &out).await,
            Command::Server(command) => {
                server::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Profile(command) => profile::run(&settings, command, &out).await.map(|()| ExitCode::SUCCESS),
            Command::Token(command) => {
                token::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::User(command) => {
                user::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::ApiKey(command) => {
                api_key::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Pin(command) => {
                pin::run(|| Host::open(&settings), command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Secret(command) => {
                secret::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Catalog(command) => {
                catalog::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Registry(command) => {
                registry::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Images(command) => {
                images::run(Host::open(&settings)?, command, &out).await.map(|()| ExitCode::SUCCESS)
            }
            Command::Backup(backup) => backup::backup(&settings, &backup, &out),
            Command::Restore(restore) => backup::restore(&settings, &restore, &out).await,
            Command::Key(command) => key::run(&settings, command, &out).await,
            Command::Audit(audit) => audit::run(|| open_existing(&settings), audit, &out).await,
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

#[cfg(test)]
mod tests;
