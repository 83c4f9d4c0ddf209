//! Settings: `GIG_*` variables, each also as a flag. Unknown `GIG_*` names are errors.

mod front;
pub(crate) mod keys;
mod public_url;
mod registry;

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use gigmcp_sandbox::HostUids;
use zeroize::Zeroizing;

pub(crate) use front::FrontSettings;
use keys::KeySettings;
pub(crate) use public_url::PublicUrl;
pub(crate) use registry::RegistrySettings;

use crate::{
    people::Lifetime,
    store::{Address, Database, InvalidAddress},
};

/// Where things are and how the gateway listens.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings, each also a variable")]
pub(crate) struct Settings {
    /// Directory of the database, the master key and installed servers [default: data; for exec,
    /// gigmcp in the user's data directory]
    #[arg(long, env = "GIG_DATA_DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,

    /// SQLite database file [default: gigmcp.db in the data directory]
    #[arg(long, env = "GIG_DB_PATH", global = true)]
    pub(crate) db_path: Option<PathBuf>,

    /// File holding the PostgreSQL database to use instead of SQLite, as postgres://USER:PASSWORD@HOST/NAME; or the variable
    /// GIG_DATABASE_URL, but no flag, as it may hold a password. TLS is demanded unless the host is this machine or
    /// `?sslmode=disable` is given
    #[arg(long, env = "GIG_DATABASE_URL_FILE", global = true)]
    pub(crate) database_url_file: Option<PathBuf>,

    /// PEM file of the certificate authorities that PostgreSQL is checked against, instead of those of this machine
    #[arg(long, env = "GIG_DATABASE_CA", global = true)]
    pub(crate) database_ca: Option<PathBuf>,

    /// Address the gateway listens on
    #[arg(long, env = "GIG_LISTEN", default_value = "127.0.0.1:8080", global = true)]
    pub(crate) listen: SocketAddr,

    /// Host names under which clients reach the gateway, besides loopback names (comma separated)
    #[arg(long, env = "GIG_ALLOWED_HOSTS", value_delimiter = ',', global = true)]
    pub(crate) allowed_hosts: Vec<String>,

    /// Browser origins that may call the gateway (comma separated); none by default
    #[arg(long, env = "GIG_ALLOWED_ORIGINS", value_delimiter = ',', global = true)]
    pub(crate) allowed_origins: Vec<String>,

    /// End the stream of an answer after this many seconds and let its client come back for the rest, for proxies that end
    /// long connections; clients of 2025-11-25 can do that. By default, streams stay open
    #[arg(long, env = "GIG_STREAM_SECONDS", value_parser = clap::value_parser!(u64).range(1..), global = true)]
    pub(crate) stream_seconds: Option<u64>,

    /// Where browsers reach the gateway, as https://gig.example.com; its host name is served too. Without it, sessions of the API
    /// work over https, or on a loopback address
    #[arg(long, env = "GIG_PUBLIC_URL", value_name = "URL", global = true)]
    pub(crate) public_url: Option<PublicUrl>,

    /// PEM file of certificate authorities trusted upstream, besides those of this machine
    #[arg(long, env = "GIG_UPSTREAM_EXTRA_ROOTS", global = true)]
    pub(crate) upstream_extra_roots: Option<PathBuf>,

    /// Host user ids for sandboxes when the gateway runs as root, as FIRST-LAST [default: 61184-65519]
    #[arg(long, env = "GIG_SANDBOX_UIDS", global = true)]
    pub(crate) sandbox_uids: Option<String>,

    /// File holding the bearer token of the transitional mounts `/mcp` and `/`
    #[arg(long, env = "GIG_BEARER_TOKEN_FILE", global = true)]
    pub(crate) bearer_token_file: Option<PathBuf>,

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
    #[arg(long, env = "GIG_LOG", global = true)]
    pub(crate) log: Option<String>,

    #[command(flatten)]
    pub(crate) front: FrontSettings,

    #[command(flatten)]
    pub(crate) registry: RegistrySettings,

    #[command(flatten)]
    pub(crate) key: KeySettings,
}

/// What is wrong with the settings. Every text names the setting and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SettingsError {
    #[error("{name} is not a setting of gigmcp{}; unset it, or see `gigmcp-gateway help`", suggestion(.nearest))]
    Unknown { name: String, nearest: Option<&'static str> },
    #[error("{name} is set but is not valid UTF-8")]
    NotText { name: String },
    #[error("{file}, which {name} or {name}_FILE names, cannot be read", file = .path.display())]
    Unreadable { name: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{name} and {name}_FILE are both set; keep one of them")]
    Twice { name: &'static str },
    #[error("GIG_SANDBOX_UIDS is `{text}`; write FIRST-LAST without 0, for example 61184-65519")]
    HostUids { text: String },
    #[error("GIG_MASTER_KEY must be exactly 64 hexadecimal digits (32 bytes), for example from `openssl rand -hex 32`")]
    MasterKey,
    #[error("GIG_DATABASE_URL and GIG_DB_PATH are both set; keep the one whose database is meant")]
    TwoDatabases,
    #[error("{}, which GIG_DATABASE_CA names, holds no certificates", .path.display())]
    DatabaseCa { path: PathBuf, source: InvalidAddress },
    #[error("GIG_DATABASE_URL is not understood")]
    DatabaseUrl { source: InvalidAddress },
    #[error("{name} is set, and systemd gave the credential `{credential}`; keep one of them")]
    CredentialToo { name: &'static str, credential: &'static str },
    #[error(
        "more than one thing is to wrap the master key file; keep one of GIG_MASTER_KEY_PASSPHRASE, GIG_MASTER_KEY_WRAP and GIG_TRANSIT_URL (or their files and credentials)"
    )]
    Wraps,
    #[error(
        "GIG_MASTER_KEY is set, so there is no key file to wrap; write one with `gigmcp-gateway key create --from-environment`, then unset GIG_MASTER_KEY"
    )]
    NothingToWrap,
    #[error("GIG_TRANSIT_URL needs a token; set GIG_TRANSIT_TOKEN_FILE or GIG_TRANSIT_TOKEN")]
    TransitToken,
    #[error("GIG_BEARER_TOKEN must be 16 to 512 visible ASCII characters without spaces")]
    BearerToken,
}

/// Every variable this program reads.
const NAMES: [&str; 47] = [
    "GIG_ALLOWED_HOSTS",
    "GIG_ALLOWED_ORIGINS",
    "GIG_AUDIT_DAYS",
    "GIG_AUDIT_MAX_ROWS",
    "GIG_BEARER_TOKEN",
    "GIG_BEARER_TOKEN_FILE",
    "GIG_DATABASE_CA",
    "GIG_DATABASE_URL",
    "GIG_DATABASE_URL_FILE",
    "GIG_DATA_DIR",
    "GIG_DB_PATH",
    "GIG_DRAIN_DELAY",
    "GIG_DRAIN_TIMEOUT",
    "GIG_IDLE_TIMEOUT",
    "GIG_IMAGE_LAYOUTS",
    "GIG_IMAGE_MIRROR",
    "GIG_LISTEN",
    "GIG_LOG",
    "GIG_MASTER_KEY",
    "GIG_MASTER_KEY_FILE",
    "GIG_MASTER_KEY_PASSPHRASE",
    "GIG_MASTER_KEY_PASSPHRASE_FILE",
    "GIG_MASTER_KEY_WRAP",
    "GIG_MASTER_KEY_WRAP_FILE",
    "GIG_MAX_CONNECTIONS",
    "GIG_MAX_CONNECTIONS_PER_ADDRESS",
    "GIG_MAX_SERVERS",
    "GIG_PUBLIC_URL",
    "GIG_REGISTRY_ALLOW",
    "GIG_REGISTRY_ROOT",
    "GIG_REGISTRY_URL",
    "GIG_SANDBOX_UIDS",
    "GIG_SESSION_TTL",
    "GIG_START_TIMEOUT",
    "GIG_STREAM_SECONDS",
    "GIG_TLS_CERT_FILE",
    "GIG_TLS_KEY_FILE",
    "GIG_TRANSIT_CA_FILE",
    "GIG_TRANSIT_KEY",
    "GIG_TRANSIT_MIN_VERSION",
    "GIG_TRANSIT_MOUNT",
    "GIG_TRANSIT_NAMESPACE",
    "GIG_TRANSIT_TOKEN",
    "GIG_TRANSIT_TOKEN_FILE",
    "GIG_TRANSIT_URL",
    "GIG_TRUSTED_PROXIES",
    "GIG_UPSTREAM_EXTRA_ROOTS",
];

impl Settings {
    /// Checks what the flag parser could not, so that a bad setting is told of by every command.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        self.database()?;
        self.host_uids()?;
        self.bearer_token()?;
        keys::environment_key()?;
        self.key.place(self.data_dir())?;
        self.key.wrap()?;
        self.extra_roots()?;
        Ok(())
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
                let unreadable =
                    |source| SettingsError::Unreadable { name: "GIG_DATABASE_CA", path: path.clone(), source };
                let pem = fs::read(path).map_err(unreadable)?;
                let trusting = address.trusting(&pem);
                trusting
                    .map(Database::Postgres)
                    .map_err(|source| SettingsError::DatabaseCa { path: path.clone(), source })
            }
            (None, path) => Ok(Database::Sqlite(path.clone().unwrap_or_else(|| self.data_dir().join("gigmcp.db")))),
        }
    }

    /// What no server may see: where our keys, tokens and data are.
    pub(crate) fn own_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.key.files().collect();
        files.push(self.data_dir().to_owned());
        files.extend(
            [&self.db_path, &self.database_url_file, &self.bearer_token_file, &self.front.tls_key_file]
                .into_iter()
                .flatten()
                .cloned(),
        );
        if let Some(path) = &self.db_path {
            for end in ["-wal", "-shm"] {
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

    /// The host user ids of sandboxes.
    pub(crate) fn host_uids(&self) -> Result<HostUids, SettingsError> {
        match &self.sandbox_uids {
            None => Ok(HostUids::default()),
            Some(text) => {
                let range =
                    text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
                let uids = range.and_then(|(first, last): (u32, u32)| HostUids::new(first..=last).ok());
                uids.ok_or_else(|| SettingsError::HostUids { text: text.clone() })
            }
        }
    }

    /// The PEM text of the extra roots, empty when none are set.
    pub(crate) fn extra_roots(&self) -> Result<Vec<u8>, SettingsError> {
        let Some(path) = &self.upstream_extra_roots else { return Ok(Vec::new()) };
        fs::read(path).map_err(|source| SettingsError::Unreadable {
            name: "GIG_UPSTREAM_EXTRA_ROOTS",
            path: path.clone(),
            source,
        })
    }
}

/// Refuses unknown `GIG_*` variables: a misspelled setting must not be a setting left at its default.
pub(crate) fn check_names<I: Iterator<Item = (OsString, OsString)>>(environment: I) -> Result<(), SettingsError> {
    for (name, _) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("GIG_")) else { continue };
        if NAMES.contains(&name) {
            continue;
        }
        let nearest = NAMES
            .iter()
            .map(|known| (strsim::osa_distance(name, known), *known))
            .min()
            .filter(|(distance, known)| *distance <= known.len() / 3)
            .map(|(_, known)| known);
        return Err(SettingsError::Unknown { name: name.to_owned(), nearest });
    }
    Ok(())
}

/// So few that an alarm could push out the alarm before it are none.
fn audit_max_rows(text: &str) -> Result<u64, String> {
    let rows = text.parse().ok().filter(|rows| *rows == 0 || (1000..=1_000_000_000_000).contains(rows));
    rows.ok_or_else(|| "give 0, or a number of 1000 or more".to_owned())
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

/// A secret from its variable, or from the file that the variable with `_FILE` or its flag names.
fn secret(name: &'static str, file: Option<&Path>) -> Result<Option<Zeroizing<String>>, SettingsError> {
    match (variable(name)?, file) {
        (Some(_), Some(_)) => Err(SettingsError::Twice { name }),
        (Some(text), None) => Ok(Some(text)),
        (None, Some(path)) => {
            let text = fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
                name,
                path: path.to_owned(),
                source,
            })?;
            let text = Zeroizing::new(text);
            Ok(Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned())))
        }
        (None, None) => Ok(None),
    }
}

fn variable(name: &str) -> Result<Option<Zeroizing<String>>, SettingsError> {
    match std::env::var_os(name) {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => {
            let text = value.into_string().map_err(|_| SettingsError::NotText { name: name.to_owned() })?;
            Ok(Some(Zeroizing::new(text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_refused_with_the_nearest_known_one() {
        let check = |name: &str| check_names([(OsString::from(name), OsString::from("x"))].into_iter());
        for name in NAMES {
            assert!(check(name).is_ok(), "{name} is known"); // twin of the refusals
        }
        assert!(check("PATH").is_ok(), "other programs' variables are not ours");
        for (name, expected) in [
            ("GIG_LISTN", Some("GIG_LISTEN")),
            ("GIG_DATADIR", Some("GIG_DATA_DIR")),
            ("GIG_SOMETHING_ELSE_ENTIRELY", None),
        ] {
            match check(name) {
                Err(SettingsError::Unknown { nearest, .. }) => assert_eq!(nearest, expected, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
