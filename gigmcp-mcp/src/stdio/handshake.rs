//! `initialize` with a server.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    StdioUpstream,
    exchange::{Asked, GivingUp},
};
use crate::{
    message::Verdict,
    upstream::{CallError, LaunchError},
    version::{Era, LATEST_LEGACY, ProtocolVersion},
};

/// What a server said of itself in `initialize` or `server/discover`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hello {
    /// What it speaks.
    pub era: Era,
    /// The revision it chose.
    pub version: &'static str,
    /// The whole result, as written: capabilities, name, instructions.
    pub result: Box<RawValue>,
}

impl Hello {
    pub(super) fn unspoken() -> Self {
        Self { era: Era::Legacy, version: LATEST_LEGACY.as_str(), result: RawValue::NULL.to_owned() }
    }
}

/// Why a server is not connected.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It did not answer the first message.
    #[error("no answer to the first message within {} s", after.as_secs_f32())]
    Timeout {
        /// The deadline.
        after: Duration,
    },
    /// Its output ended before it had answered.
    #[error("the server exited before it answered the first message")]
    Exited,
    /// It answered with an error object, which is for the operator only.
    #[error("the server refused the first message")]
    Refused {
        /// The error object, as written.
        error: Box<RawValue>,
    },
    /// It chose a revision we do not speak.
    #[error("the server speaks no known revision of the protocol")]
    Version {
        /// What it chose.
        offered: String,
    },
    /// Its answer is none.
    #[error("the server broke the protocol at the first message: {reason}")]
    Protocol {
        /// What is wrong with it; fixed text.
        reason: &'static str,
    },
}

impl From<ConnectError> for LaunchError {
    fn from(error: ConnectError) -> Self {
        let code = match &error {
            ConnectError::Timeout { .. } => "server-timeout",
            ConnectError::Exited => "server-exited",
            ConnectError::Refused { .. } => "server-refused",
            ConnectError::Version { .. } => "server-version",
            ConnectError::Protocol { .. } => "server-protocol",
        };
        Self::new("initialize", code, error.to_string()).caused_by(error)
    }
}

impl From<CallError> for ConnectError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Timeout { after } | CallError::NoTurn { after } => Self::Timeout { after },
            // Nobody's calls are given up before there are any.
            CallError::Exited | CallError::Ended { .. } | CallError::GivenUp { .. } => Self::Exited,
            CallError::TooLong { .. } => Self::Protocol { reason: "the answer is too long" },
            CallError::Protocol { reason } => Self::Protocol { reason },
        }
    }
}

pub(super) async fn initialize(upstream: &StdioUpstream) -> Result<Hello, ConnectError> {
    let params = serde_json::value::to_raw_value(&serde_json::json!({
        "protocolVersion": LATEST_LEGACY.as_str(),
        "capabilities": upstream.shared.features.capabilities(),
        "clientInfo": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
    }))
    .expect("strings are JSON");
    let timeout = upstream.limits.initialize_timeout;
    let asked = Asked {
        method: "initialize",
        params: Some(&params),
        again: None,
        caller: None,
        context: None,
        giving_up: GivingUp::Silently,
    };
    let verdict = upstream.request(asked, timeout).await.map_err(ConnectError::from)?;
    let result = match verdict {
        Verdict::Result(result) => result,
        Verdict::Error(error) => return Err(ConnectError::Refused { error }),
    };
    let Chosen { version } = serde_json::from_str(result.get())
        .map_err(|_| ConnectError::Protocol { reason: "the result has no protocolVersion" })?;
    let version: ProtocolVersion = version.parse().map_err(|_| ConnectError::Version { offered: version })?;
    upstream.notify("notifications/initialized").await.map_err(|_| ConnectError::Exited)?;
    Ok(Hello { era: Era::Legacy, version: version.as_str(), result })
}

#[derive(Deserialize)]
struct Chosen {
    #[serde(rename = "protocolVersion")]
    version: String,
}
