//! What of all this stands in the audit trail.

use super::{Actor, UserId};
use crate::store::{AuditRow, SecretKey, Told, now_millis};

/// What happened to an account.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Somebody signed in, or tried to.
    Login,
    Logout,
    /// An account, its role, or how somebody proves to be its owner.
    Account,
    Invitation,
    Session,
    /// A token of a profile.
    Token,
    ApiKey,
    /// Somebody looked at another's pages.
    View,
    /// What is in a profile, and what was said of it.
    Profile,
    /// A server was put in place, or taken away.
    Server,
    /// A credential was set or deleted; never its value.
    Secret,
    /// A process of a server was ended.
    Instance,
    /// Somebody came with what lets nobody in.
    Proof,
    /// The master key was changed, or shown.
    Key,
    /// Everything was written into a file, or put back from one.
    Backup,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Account => "account",
            Self::Invitation => "invitation",
            Self::Session => "session",
            Self::Token => "token",
            Self::ApiKey => "api-key",
            Self::View => "view",
            Self::Profile => "profile",
            Self::Server => "server",
            Self::Secret => "secret",
            Self::Instance => "instance",
            Self::Proof => "proof",
            Self::Key => "master-key",
            Self::Backup => "backup",
        }
    }
}

/// A row about somebody.
pub(super) fn of(kind: Kind, about: &str, subject: String, verdict: &str) -> AuditRow {
    AuditRow {
        at_ms: now_millis(),
        kind: kind.as_str().to_owned(),
        owner: about.to_owned(),
        subject,
        verdict: verdict.to_owned(),
        ..AuditRow::default()
    }
}

/// What somebody does with a secret; never its value.
pub(crate) fn secret_told(by: &Actor, key: &SecretKey, does: &str) -> Told {
    let row = done(Kind::Secret, &key.owner, format!("{does} {} of {}", key.name, key.server), by);
    by.does(AuditRow { server: key.server.to_string(), ..row })
}

/// A row about what somebody did to an account, which may be another's.
pub(crate) fn done(kind: Kind, about: &UserId, what: impl std::fmt::Display, by: &Actor) -> AuditRow {
    of(kind, about.as_str(), format!("{what}, by {}", by.told()), "allowed")
}
