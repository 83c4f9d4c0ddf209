//! What can be wrong with settings.

use std::path::PathBuf;

use super::oidc::InvalidOidc;
use crate::store::InvalidAddress;

/// What is wrong with the settings. Every text names the setting and the fix, and quotes no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SettingsError {
    #[error("{name} is not a setting of gigmcp{}; unset it, or see `gigmcp-gateway help`", suggestion(.nearest))]
    Unknown { name: String, nearest: Option<String> },
    #[error("{name} has no meaning here, and would be ignored; unset it: {instead}")]
    Replaced { name: String, instead: &'static str },
    #[error("{name} is `{value}`: {reason}")]
    Malformed { name: String, value: String, reason: String },
    #[error("{name} is set but is not valid UTF-8")]
    NotText { name: String },
    #[error("{file}, which {name} or {name}_FILE names, cannot be read", file = .path.display())]
    Unreadable { name: String, path: PathBuf, source: std::io::Error },
    #[error("{file}, which {name}_FILE names, has more than 64 KiB; that is no secret", file = .path.display())]
    TooLong { name: String, path: PathBuf },
    #[error("{file}, which {name}_FILE names, is empty; write the secret into it, or do not name it", file = .path.display())]
    Empty { name: String, path: PathBuf },
    #[error("{name} and {name}_FILE are both set; keep one of them")]
    Twice { name: String },
    #[error("GIG_MASTER_KEY must be exactly 64 hexadecimal digits (32 bytes), for example from `openssl rand -hex 32`")]
    MasterKey,
    #[error("GIG_DATABASE_URL and GIG_DB_PATH are both set; keep the one whose database is meant")]
    TwoDatabases,
    #[error("GIG_DATABASE_CA is set, but no GIG_DATABASE_URL that it would be for; unset it, or set that")]
    NoDatabase,
    #[error("{}, which GIG_DATABASE_CA names, holds no certificates", .path.display())]
    DatabaseCa { path: PathBuf, source: InvalidAddress },
    #[error("GIG_DATABASE_URL is not understood")]
    DatabaseUrl { source: InvalidAddress },
    #[error("{name} is set, and systemd gave the credential `{credential}`; keep one of them")]
    CredentialToo { name: String, credential: String },
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
    #[error(transparent)]
    Oidc(#[from] InvalidOidc),
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}
