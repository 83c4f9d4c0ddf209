//! How a request ends.

use serde_json::{Map, Value, json};

/// Why a request has no complete result.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An answer of JSON-RPC's own.
    Error(Value),
    /// The tool failed; the text is for the model.
    Tool(String),
    /// The client has to answer questions first, and gives the state back with the answers.
    Input { requests: Map<String, Value>, state: Option<String> },
    /// The client wants no answer any more.
    Cancelled,
}

/// The complete result as JSON text, so that it is written exactly as we want it.
pub(crate) type Outcome = Result<String, Stop>;

impl Stop {
    pub(crate) fn error(code: i32, message: &str) -> Self {
        Self::Error(json!({ "code": code, "message": message }))
    }

    pub(crate) fn invalid(message: &str) -> Self {
        Self::error(INVALID_PARAMS, message)
    }

    pub(crate) fn no_method() -> Self {
        Self::error(METHOD_NOT_FOUND, "Method not found")
    }

    /// The client did not declare what the request needs.
    pub(crate) fn missing(capability: &str) -> Self {
        let mut required = Map::new();
        required.insert(capability.to_owned(), json!({}));
        let message = format!("the client did not declare `{capability}`");
        let data = json!({ "requiredCapabilities": required });
        Self::Error(json!({ "code": MISSING_CAPABILITY, "message": message, "data": data }))
    }

    pub(crate) fn unsupported(requested: &str, supported: &[&str]) -> Self {
        let data = json!({ "supported": supported, "requested": requested });
        Self::Error(json!({ "code": UNSUPPORTED_VERSION, "message": "Unsupported protocol version", "data": data }))
    }
}

/// A result with one text.
pub(crate) fn text(text: &str) -> String {
    json!({ "content": [{ "type": "text", "text": text }] }).to_string()
}

pub(crate) const INVALID_REQUEST: i32 = -32600;
pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
pub(crate) const INVALID_PARAMS: i32 = -32602;
pub(crate) const PARSE_ERROR: i32 = -32700;
/// Of the revisions before 2026-07-28.
pub(crate) const RESOURCE_NOT_FOUND: i32 = -32002;
const MISSING_CAPABILITY: i32 = -32021;
const UNSUPPORTED_VERSION: i32 = -32022;
