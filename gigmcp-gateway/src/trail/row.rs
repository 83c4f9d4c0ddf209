//! One row of the audit trail.

use serde::{Deserialize, Serialize};

use super::{Link, Place, RowHash};

/// What happened, but for its place in the chain.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditRow {
    /// Milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// `request`, `connect`, `dns`, `tcp`, `tool`, `tripwire`, `credential`, `consent`, `removal`, `pin` or `audit`; of people
    /// `login`, `logout`, `account`, `invitation`, `session`, `token`, `api-key` or `view`, with whom it is about as `owner`; of
    /// what they change `profile`, `server` or `secret`.
    pub(crate) kind: String,
    pub(crate) owner: String,
    pub(crate) profile: String,
    pub(crate) server: String,
    pub(crate) instance: String,
    /// What was asked for: `GET https://host/path`, a host name, a tool, a system call, or a secret and why it was read.
    pub(crate) subject: String,
    /// `allowed`, or the stable code of the refusal.
    pub(crate) verdict: String,
    pub(crate) status: Option<i64>,
    /// Names of the credentials that were injected, comma separated; never a value.
    pub(crate) credentials: String,
    pub(crate) bytes_up: i64,
    pub(crate) bytes_down: i64,
    pub(crate) duration_us: i64,
    /// Something that an honest server never does, such as using another's placeholder.
    pub(crate) alarm: bool,
    /// The revision of the server's declaration that decided; 0 if it was the command line of `exec`, or nothing was declared
    /// any more. None if it was not read, for tool calls, and in rows of versions that did not keep it.
    pub(crate) policy_version: Option<i64>,
    /// Ids of tool calls, comma separated: of a call its own, of anything else those that were under way in its instance when
    /// it began. Which of several it belongs to, or whether to none of them, only the server knows.
    pub(crate) calls: Option<String>,
    /// The id of the request; of a credential, that of the request that it was read for.
    pub(crate) request: Option<String>,
    /// The digest of the definition of the tool that was called; of the definitions that were pinned, held back or accepted. Not
    /// kept by versions of before.
    pub(crate) definition: Option<String>,
    /// The digest of the arguments of a tool call, as the client wrote them.
    pub(crate) arguments: Option<String>,
}

/// A row as it stands in the database.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct ChainedRow {
    /// Its place in the chain.
    pub(crate) id: Place,
    #[serde(flatten)]
    pub(crate) row: AuditRow,
    /// None if it is from before the chain.
    pub(crate) hash: Option<RowHash>,
}

impl ChainedRow {
    /// The end of the chain, if this is its last row.
    pub(crate) fn link(&self) -> Option<Link> {
        self.hash.map(|hash| Link { place: self.id, hash })
    }
}
