//! Why the database did not do what was asked.

use std::{fmt, io, path::PathBuf};

use super::SqlError;
use crate::spec::ServerName;

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    #[error("the database {} cannot be opened", .path.display())]
    Open { path: PathBuf, source: SqlError },
    #[error("the database {database} cannot be used")]
    Connect { database: String, source: SqlError },
    #[error("the database {} cannot be opened for writing; check owner and mode of the file and of its directory", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("the database {database} was written by a newer gigmcp; use that version, or restore a backup")]
    Newer { database: String },
    #[error(
        "the database {database} could not be brought to this version's schema: {}",
        super::connection::hint_of(&**source).unwrap_or("it may be another program's")
    )]
    Migrate { database: String, source: Box<refinery::Error> },
    #[error("there is no database of gigmcp: {database}")]
    Absent { database: String },
    #[error("there is something in the database already ({found}); --replace deletes it")]
    NotEmpty { found: String },
    #[error("the table `{table}` is not what it is in a database of that version")]
    Unlike { table: String },
    #[error(
        "a row of the table `{table}` refers to one that is not there, so a backup could not be restored; `PRAGMA foreign_key_check` shows which, delete it"
    )]
    Dangling { table: String },
    #[error("the database's log {} cannot be written to the disk", .path.display())]
    Sync { path: PathBuf, source: io::Error },
    #[error("the threads of the database cannot be started")]
    Runtime { source: io::Error },
    #[error("the database refused the query")]
    Query(#[from] SqlError),
    #[error("{what} `{name}` already exists")]
    Exists { what: &'static str, name: String },
    #[error("there is no {what} `{name}`{}", list(known))]
    Missing { what: &'static str, name: String, known: Vec<String> },
    #[error("{what} `{name}` in the database cannot be read; it was changed by something else")]
    Corrupt { what: &'static str, name: String },
    #[error("the secrets were changed by somebody else at the same time; try again")]
    Changed,
    #[error("the identity provider confirmed the session at the same time; try again")]
    Confirmed,
    #[error("the server {server} was changed by somebody else at the same time; look at it again")]
    Moved { server: ServerName },
    #[error(
        "this is the last administrator who can sign in; make somebody else one first (`gigmcp-gateway user role WHO admin`)"
    )]
    LastAdministrator,
    #[error("this is the only way to sign in to this account; give it a password or another identity first")]
    LastIdentity,
    #[error("sign in at the identity provider once more first, beginning with POST /api/v1/oidc/confirm")]
    NotFresh,
    #[error("the account `local` is that of this machine and stays; disable it instead")]
    LocalAccount,
    #[error(
        "the account {0} is disabled, or its identity provider refuses it, so nothing is made that lets it in; enable it first (`gigmcp-gateway user enable {0}`)"
    )]
    Disabled(crate::spec::Owner),
    #[error("the account is of the role {role}, which is more than may be given here")]
    TooMuch { role: crate::people::Role },
    #[error("whoever asked for this may not do so any more; sign in again")]
    Revoked,
    #[error("there are {max} {what} already; revoke those that are not used")]
    TooMany { what: &'static str, max: u64 },
    #[error("{what} would be longer than {max} bytes; say less")]
    TooLong { what: &'static str, max: usize },
    #[error("the last row of the audit trail could not be written")]
    AuditLost,
    #[error("the database gave no answer where it must give one")]
    NoAnswer,
    #[error("too much waits for the database already")]
    Busy,
    #[error("the database thread has ended")]
    Stopped,
}

/// What is to be told of a migration that did not go through.
pub(super) fn not_migrated(database: impl fmt::Display, source: refinery::Error) -> StoreError {
    let database = database.to_string();
    match source.kind() {
        // The database has a migration that this program does not know.
        refinery::error::Kind::MissingVersion(_) => StoreError::Newer { database },
        _ => StoreError::Migrate { database, source: Box::new(source) },
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; there are: {}", names.join(", ")),
    }
}
