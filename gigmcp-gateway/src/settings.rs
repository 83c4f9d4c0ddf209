//! Settings: `GIG_*` variables, each also as a flag. Unknown `GIG_*` names are errors.

mod allowed;
mod error;
mod front;
pub(crate) mod keys;
pub(crate) mod listed;
mod log;
mod names;
mod oidc;
#[cfg(test)]
mod page;
mod public_url;
mod registry;
mod remote;
mod secret;
#[cfg(test)]
mod tests;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args, FromArgMatches};
use gigmcp_sandbox::HostUids;
use zeroize::Zeroizing;

pub(crate) use allowed::{AllowedHost, AllowedOrigin};
pub(crate) use error::SettingsError;
pub(crate) use front::FrontSettings;
use keys::KeySettings;
pub(crate) use log::LogFilter;
use oidc::OidcSettings;
pub(crate) use public_url::PublicUrl;
pub(crate) use registry::RegistrySettings;
use remote::RemoteSettings;
pub(crate) use secret::{Kept, PrivateFile, SecretFile, kept, secret};

use crate::{
    people::Lifetime,
    store::{Address, Database},
    traces::OtlpSettings,
};

/// Where things are and how the gateway listens.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings, each also a variable")]
pub(crate) struct Settings {
    /// Directory of the database, the master key and installed servers [default: data; for exec,
    /// gigmcp in the user's data directory]
    #[arg(long, env = "GIG_DATA_DIR", value_name = "DIRECTORY", global = true)]
    pub(crate) data_dir: Option<PathBuf>,

    /// SQLite database file [default: gigmcp.db in the data directory]
    #[arg(long, env = "GIG_DB_PATH", value_name = "FILE", global = true)]
    pub(crate) db_path: Option<PathBuf>,

    /// File holding the PostgreSQL database to use instead of SQLite, as postgres://USER:PASSWORD@HOST/NAME; or the variable
    /// GIG_DATABASE_URL, but no flag, as it may hold a password. TLS is demanded unless the host is this machine or
    /// `?sslmode=disable` is given
    #[arg(long, env = "GIG_DATABASE_URL_FILE", value_name = "FILE", global = true)]
    pub(crate) database_url_file: Option<SecretFile>,

    /// PEM file of the certificate authorities that PostgreSQL is checked against, instead of those of this machine
    #[arg(long, env = "GIG_DATABASE_CA", value_name = "FILE", global = true)]
    pub(crate) database_ca: Option<PathBuf>,

    /// Address the gateway listens on
    #[arg(
        long, env = "GIG_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", global = true,
        value_parser = clap::builder::ValueParser::new(listen)
    )]
    pub(crate) listen: SocketAddr,

    /// Host names under which clients reach the gateway, besides loopback names, without a port (comma separated)
    #[arg(long, env = "GIG_ALLOWED_HOSTS", value_name = "HOST", value_delimiter = ',', global = true)]
    pub(crate) allowed_hosts: Vec<AllowedHost>,

    /// Browser origins that may call the gateway, as https://app.example.com (comma separated); none by default
    #[arg(long, env = "GIG_ALLOWED_ORIGINS", value_name = "ORIGIN", value_delimiter = ',', global = true)]
    pub(crate) allowed_origins: Vec<AllowedOrigin>,

    /// End the stream of an answer after this many seconds and let its client come back for the rest, for proxies that end
    /// long connections; clients of 2025-11-25 can do that. By default, streams stay open
    #[arg(long, env = "GIG_STREAM_SECONDS", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..), global = true)]
    pub(crate) stream_seconds: Option<u64>,

    /// Where browsers reach the gateway, as https://gig.example.com; its host name is served too. Without it, sessions of the API
    /// work over https, or on a loopback address
    #[arg(long, env = "GIG_PUBLIC_URL", value_name = "URL", global = true)]
    pub(crate) public_url: Option<PublicUrl>,

    /// PEM file of certificate authorities trusted upstream, besides those of this machine
    #[arg(long, env = "GIG_UPSTREAM_EXTRA_ROOTS", value_name = "FILE", global = true)]
    pub(crate) upstream_extra_roots: Option<PathBuf>,

    /// Host user ids for sandboxes when the gateway runs as root
    #[arg(
        long, env = "GIG_SANDBOX_UIDS", value_name = "FIRST-LAST", default_value = "61184-65519", global = true,
        value_parser = clap::builder::ValueParser::new(host_uids)
    )]
    pub(crate) sandbox_uids: HostUids,

    /// File holding the bearer token of the transitional mounts `/mcp` and `/`
    #[arg(long, env = "GIG_BEARER_TOKEN_FILE", value_name = "FILE", global = true)]
    pub(crate) bearer_token_file: Option<SecretFile>,

    /// Seconds a server may take from its start to its answer to `initialize`
    #[arg(
        long, env = "GIG_START_TIMEOUT", value_name = "SECONDS", default_value = "60", global = true,
        value_parser = clap::value_parser!(u64).range(1..=600)
    )]
    pub(crate) start_timeout: u64,

    /// Seconds without a call after which a server is ended; the next call starts it again. 0 keeps servers running
    #[arg(
        long, env = "GIG_IDLE_TIMEOUT", value_name = "SECONDS", default_value = "600", global = true,
        value_parser = clap::value_parser!(u64).range(0..=31_536_000)
    )]
    pub(crate) idle_timeout: u64,

    /// Processes of servers that may run at once, of all profiles together; of one profile 32, unless `profile set NAME
    /// max_servers=N` says otherwise
    #[arg(
        long, env = "GIG_MAX_SERVERS", value_name = "NUMBER", default_value = "128", global = true,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub(crate) max_servers: u32,

    /// Processes of servers that the profiles of one person may have together
    #[arg(
        long, env = "GIG_MAX_SERVERS_PER_USER", value_name = "NUMBER", default_value = "64", global = true,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub(crate) max_servers_per_user: u32,

    /// Days that rows of the audit trail are kept; 0 keeps them for ever
    #[arg(
        long, env = "GIG_AUDIT_DAYS", value_name = "DAYS", default_value = "90", global = true,
        value_parser = clap::value_parser!(u64).range(0..=36_500)
    )]
    pub(crate) audit_days: u64,

    /// Rows of the audit trail that are kept at most, of about 400 bytes each: the oldest go first, with an alarm if they are
    /// younger than GIG_AUDIT_DAYS; 0 sets no limit
    #[arg(
        long, env = "GIG_AUDIT_MAX_ROWS", value_name = "ROWS", default_value = "10000000", global = true,
        value_parser = clap::builder::ValueParser::new(audit_max_rows)
    )]
    pub(crate) audit_max_rows: u64,

    /// How long somebody stays signed in at most, as 12h or 7d; without use, a day
    #[arg(long, env = "GIG_SESSION_TTL", value_name = "TIME", default_value = "168h", global = true)]
    pub(crate) session_ttl: Lifetime,

    /// What to log: error, warn, info, debug, trace, or a filter such as gigmcp_egress=debug
    /// [default: info; for exec, warn]
    #[arg(long, env = "GIG_LOG", value_name = "FILTER", global = true)]
    pub(crate) log: Option<LogFilter>,

    #[command(flatten)]
    pub(crate) front: FrontSettings,

    #[command(flatten)]
    pub(crate) otlp: OtlpSettings,

    #[command(flatten)]
    pub(crate) registry: RegistrySettings,

    #[command(flatten)]
    pub(crate) key: KeySettings,

    #[command(flatten)]
    pub(crate) oidc: OidcSettings,

    #[command(flatten)]
    pub(crate) remote: RemoteSettings,

    /// The files among all of these that no server may see.
    #[arg(skip)]
    pub(crate) private_files: Vec<PathBuf>,
}

impl Settings {
    /// The settings that were given, and which of their files no server may see.
    pub(crate) fn of(listed: &[listed::Setting], matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Self::from_arg_matches(matches)?;
        settings.private_files = listed::private_files(listed, matches);
        Ok(settings)
    }

    /// Checks what the flag parser could not, so that a bad setting is told of by every command.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        self.faults().into_iter().next().map_or(Ok(()), Err)
    }

    /// All that the flag parser could not find.
    pub(crate) fn faults(&self) -> Vec<SettingsError> {
        let mut found = Vec::new();
        let mut look = |checked: Result<(), SettingsError>| found.extend(checked.err());
        look(self.database().map(drop));
        look(self.bearer_token().map(drop));
        look(keys::environment_key().map(drop));
        look(self.key.place(self.data_dir()).map(drop));
        look(self.key.wrap().map(drop));
        look(self.extra_roots().map(drop));
        look(self.front.check());
        look(self.otlp.check());
        look(self.oidc.config(self.public_url.as_ref()).map(drop));
        found
    }

    /// What is in force where the default depends on something else.
    pub(crate) fn worked_out(&self, variable: &str) -> Option<String> {
        Some(match variable {
            "GIG_DATA_DIR" => self.data_dir().display().to_string(),
            "GIG_DB_PATH" => match self.database().ok()? {
                Database::Sqlite(path) => path.display().to_string(),
                Database::Postgres(_) => return None,
            },
            "GIG_MASTER_KEY" => match self.key.place(self.data_dir()).ok()? {
                keys::Place::DataDirectory(path) => path.display().to_string(),
                _ => return None,
            },
            "GIG_LOG" => DEFAULT_LOG.to_owned(),
            _ => return None,
        })
    }

    /// The data directory in force.
    pub(crate) fn data_dir(&self) -> &Path {
        self.data_dir.as_deref().unwrap_or(Path::new("data"))
    }

    /// The database in force.
    pub(crate) fn database(&self) -> Result<Database, SettingsError> {
        match (secret("GIG_DATABASE_URL", self.database_url_file.as_deref())?, &self.db_path) {
            (Some(_), Some(_)) => Err(SettingsError::TwoDatabases),
            (Some(url), None) => {
                let address: Address = url.parse().map_err(|source| SettingsError::DatabaseUrl { source })?;
                let Some(path) = &self.database_ca else { return Ok(Database::Postgres(address)) };
                let unreadable = |source| SettingsError::Unreadable {
                    name: "GIG_DATABASE_CA".to_owned(),
                    path: path.clone(),
                    source,
                };
                let pem = fs::read(path).map_err(unreadable)?;
                let trusting = address.trusting(&pem);
                trusting
                    .map(Database::Postgres)
                    .map_err(|source| SettingsError::DatabaseCa { path: path.clone(), source })
            }
            (None, _) if self.database_ca.is_some() => Err(SettingsError::NoDatabase),
            (None, path) => Ok(Database::Sqlite(path.clone().unwrap_or_else(|| self.data_dir().join("gigmcp.db")))),
        }
    }

    /// What no server may see: where our keys, tokens and data are.
    pub(crate) fn own_files(&self) -> Vec<PathBuf> {
        let mut files = self.private_files.clone();
        files.extend(secret::credentials());
        files.push(self.data_dir().to_owned());
        files.extend(self.db_path.clone());
        if let Some(path) = &self.db_path {
            for end in ["-wal", "-shm", "-lock"] {
                let mut beside = path.clone().into_os_string();
                beside.push(end);
                files.push(beside.into());
            }
        }
        files
    }

    /// The token of the transitional mounts, from `GIG_BEARER_TOKEN` or its file.
    pub(crate) fn bearer_token(&self) -> Result<Option<Zeroizing<String>>, SettingsError> {
        let token = secret("GIG_BEARER_TOKEN", self.bearer_token_file.as_deref())?;
        if let Some(token) = &token {
            let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
            if !visible || !(16..=512).contains(&token.len()) {
                return Err(SettingsError::BearerToken);
            }
        }
        Ok(token)
    }

    /// The PEM text of the extra roots, empty when none are set.
    pub(crate) fn extra_roots(&self) -> Result<Vec<u8>, SettingsError> {
        let Some(path) = &self.upstream_extra_roots else { return Ok(Vec::new()) };
        fs::read(path).map_err(|source| SettingsError::Unreadable {
            name: "GIG_UPSTREAM_EXTRA_ROOTS".to_owned(),
            path: path.clone(),
            source,
        })
    }
}

/// So few that an alarm could push out the alarm before it are none.
fn audit_max_rows(text: &str) -> Result<u64, String> {
    let rows = text.parse().ok().filter(|rows| *rows == 0 || (1000..=1_000_000_000_000).contains(rows));
    rows.ok_or_else(|| "give 0, or a number of 1000 or more".to_owned())
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| match text.strip_prefix(':').filter(|port| port.parse::<u16>().is_ok()) {
        Some(port) => {
            format!("say which address: 127.0.0.1:{port} for this machine, 0.0.0.0:{port} or [::]:{port} for all")
        }
        None => "write ADDRESS:PORT, as 127.0.0.1:8080 or [::1]:8080; an address is no name".to_owned(),
    })
}

fn host_uids(text: &str) -> Result<HostUids, String> {
    let range = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let (first, last): (u32, u32) = range.ok_or("write FIRST-LAST, as 61184-65519")?;
    HostUids::new(first..=last).map_err(|error| error.to_string())
}

/// Of every command but `exec`.
pub(crate) const DEFAULT_LOG: &str = "info";
