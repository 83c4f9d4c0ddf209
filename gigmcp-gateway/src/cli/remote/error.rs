//! Why a gateway elsewhere did not do what was asked.

use std::{fmt, io, path::PathBuf};

use http::StatusCode;
use serde::Deserialize;

use super::Path;

/// Why it was not done, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RemoteError {
    #[error("`{command}` is not done over the network: {reason}")]
    NoRoute { command: &'static str, reason: Reason },
    #[error("{setting} is set, but no GIG_URL that it would be for; set that or give --url, or unset {setting}")]
    NoUrl { setting: &'static str },
    #[error(
        "a gateway elsewhere lets one in with a key only; make one there (`gigmcp-gateway api-key create NAME --scopes servers:read`), and name its file by GIG_API_KEY_FILE or --api-key-file"
    )]
    NoKey,
    #[error("the key in GIG_API_KEY or its file is none: a key is one word of visible ASCII characters")]
    NotAKey,
    #[error("{}, which GIG_CA_FILE names, holds no certificate authorities", .path.display())]
    Authorities { path: PathBuf },
    #[error("{}, which GIG_CA_FILE names, cannot be read", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{host} has no address")]
    Name { host: String, source: io::Error },
    #[error("{host} is not on this machine, and a key is not sent without TLS; use https://")]
    NotHere { host: String },
    #[error("no gateway answers at {authority}")]
    Connect { authority: String, source: io::Error },
    #[error(
        "{host} did not show a certificate that can be believed, so nothing was sent; if its authority is one of your own, name it by GIG_CA_FILE or --ca-file"
    )]
    Tls { host: String, source: io::Error },
    #[error("the gateway broke off; whether it did what was asked is not known, so look before you ask again")]
    Broken(#[source] hyper::Error),
    #[error(
        "the gateway did not answer within {seconds} s; whether it does what was asked is not known, so look before you ask again"
    )]
    Late { seconds: u64 },
    #[error(
        "the connection broke, and asked again the gateway says that this is not there: it was taken away the first time, or never was there"
    )]
    GoneMeanwhile,
    #[error("the kernel gave no random bytes for a key that nobody guesses")]
    Random(getrandom::Error),
    #[error("the answer has more than {bytes} bytes")]
    TooLarge { bytes: usize },
    #[error("there are more than {items} of them; ask for less")]
    TooMany { items: usize },
    #[error("what answers at {host} is no gateway, or another version of it: status {status}")]
    NotOurs { host: String, status: StatusCode },
    #[error("what the gateway answered is not understood; its version may be another")]
    Answer(#[source] serde_json::Error),
    #[error("what the gateway sent is no line of an export; its version may be another, or it was cut off")]
    NotALine,
    #[error("there is no account `{who}`, or this key does not see it; `gigmcp-gateway user list` shows them")]
    Nobody { who: String },
    #[error("{message}{} ({code}){}", place(.code, .at), hint(.code))]
    Refused { code: String, message: String, at: String },
}

/// Why something is done on one machine only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// It is about the machine where it is said.
    Here,
    /// It tries programs in the sandbox.
    Runtimes,
    /// It reads or writes the whole database.
    Database,
    /// It reads or writes the master key.
    MasterKey,
    /// It mends what whoever has the database can damage.
    Mending,
    /// It makes the first administrator.
    First,
    /// Nobody reviewed what would run.
    Unreviewed,
    /// Somebody agrees to what a server may do with what is theirs.
    Agreement,
    /// The index is searched by name and version.
    Digest,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, what) = match self {
            Self::Here => ("it is about this machine, and no gateway elsewhere", HERE),
            Self::Runtimes => ("it tries the programs of one machine in a sandbox there", THERE),
            Self::Database => ("it needs the whole database", THERE),
            Self::MasterKey => ("the master key stays on the machine of the gateway", THERE),
            Self::Mending => ("it says that what somebody changed in the database is right, or gone", THERE),
            Self::First => ("whoever has the machine makes the first administrator", THERE),
            Self::Unreviewed => (
                "nobody reviewed such a server, so a person adds it and no key: signed in, by POST /api/v1/servers, or by this command",
                THERE,
            ),
            Self::Agreement => (
                "what a server in a profile may do, the owner of the profile agrees to and no key",
                "install it without --profile, then put it there signed in, or on the machine of the gateway by `gigmcp-gateway profile add`",
            ),
            Self::Digest => ("a catalogue elsewhere is asked by name and version", "say NAME or NAME@VERSION"),
        };
        write!(formatter, "{why}; {what}")
    }
}

const HERE: &str = "leave out --url and unset GIG_URL";
const THERE: &str = "run it on the machine of the gateway, without --url and with GIG_URL unset";

impl RemoteError {
    /// Whether it says nothing of what a gateway did with an earlier request.
    pub(super) fn is_no_answer(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Connect { .. } | Self::Name { .. } | Self::Tls { .. } | Self::NotOurs { .. } => {
                true
            }
            Self::Refused { code, .. } => code == "unavailable",
            _ => false,
        }
    }

    /// Whether the same may be answered later, by whoever answered before.
    pub(super) fn may_pass(&self) -> bool {
        self.is_no_answer() || matches!(self, Self::Late { .. })
    }

    /// What programs go by, if the gateway said no.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// What the gateway said in an error.
    pub(super) fn refused(host: &str, path: &Path, status: StatusCode, body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(Document { error: Said { code, message } }) => {
                Self::Refused { code, message, at: path.place().to_owned() }
            }
            Err(_) => Self::NotOurs { host: host.to_owned(), status },
        }
    }
}

#[derive(Deserialize)]
struct Document {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    code: String,
    message: String,
}

/// Which thing is not there.
fn place(code: &str, at: &str) -> String {
    if code == "not_found" { format!(" as {at}") } else { String::new() }
}

/// What to do, where the gateway cannot know how it was asked.
fn hint(code: &str) -> &'static str {
    match code {
        "unauthenticated" => {
            "; the key is none of this gateway, or has ended: `gigmcp-gateway api-key create` makes another there"
        }
        "forbidden" => {
            "; a key does what its scopes say and its owner may, and never what runs tools or proves who somebody is: that is done on the machine of the gateway, or signed in"
        }
        "not_found" => "; what belongs to somebody else is not shown either",
        "conflict" => "; look at what is there now",
        "idempotency_replayed" | "idempotency_unknown" => {
            "; the connection broke the first time, and this command does not ask a third time"
        }
        "unavailable" | "upstream" => "; the log of the gateway may say more, and it may be possible later",
        "internal" => "; the log of the gateway says why",
        _ => "",
    }
}
