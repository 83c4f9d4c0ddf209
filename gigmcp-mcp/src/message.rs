//! JSON-RPC messages whose contents stay as they were written.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::object::{Members, is_object, string};

/// One JSON-RPC 2.0 message. Parameters, results and errors are kept byte for byte: numbers as
/// written, members in their order, unknown ones included.
#[derive(Clone, Debug)]
pub enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// The answer to a request.
    Response(Response),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names the request in its answer.
    pub id: RequestId,
    /// What is asked for.
    pub method: Box<str>,
    /// As written; absent stays absent.
    pub params: Option<Box<RawValue>>,
}

/// A notification.
#[derive(Clone, Debug)]
pub struct Notification {
    /// What happened.
    pub method: Box<str>,
    /// As written; absent stays absent.
    pub params: Option<Box<RawValue>>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The request answered; `None` is JSON's `null`, for a request that could not be read.
    pub id: Option<RequestId>,
    /// The answer.
    pub verdict: Verdict,
}

/// What a response says.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The result, as written.
    Result(Box<RawValue>),
    /// The error object, as written.
    Error(Box<RawValue>),
}

impl Verdict {
    /// An error of our own.
    #[must_use]
    pub fn refused(error: &RpcError) -> Self {
        Self::Error(error.to_raw())
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> usize {
        let (Self::Result(json) | Self::Error(json)) = self;
        json.get().len()
    }
}

impl Message {
    /// Parses one message from UTF-8 JSON.
    ///
    /// # Errors
    /// See [`InvalidMessage`]. An array (a batch) is not a message and is
    /// [`InvalidMessage::Envelope`].
    pub fn parse(json: &[u8]) -> Result<Self, InvalidMessage> {
        let raw: &RawValue = serde_json::from_slice(json).map_err(InvalidMessage::Json)?;
        Self::from_raw(raw)
    }

    /// Reads one message from JSON that was already found to be well-formed.
    ///
    /// # Errors
    /// [`InvalidMessage::Envelope`] if it is no JSON-RPC 2.0 message, or an ambiguous one.
    pub fn from_raw(raw: &RawValue) -> Result<Self, InvalidMessage> {
        let envelope = |reason| InvalidMessage::Envelope { reason };
        if !is_object(raw) {
            return Err(envelope("not an object"));
        }
        let members = Members::of(raw).map_err(|_| envelope("a member is named twice"))?;
        if members.string("jsonrpc").as_deref() != Some("2.0") {
            return Err(envelope("jsonrpc is not \"2.0\""));
        }
        let id = members.value("id");
        let (result, error) = (members.value("result"), members.value("error"));
        let Some(method) = members.value("method") else {
            let id = match id {
                None => return Err(envelope("neither method nor id")),
                Some(id) if id.get() == "null" => None,
                Some(id) => {
                    Some(RequestId::from_raw(id).ok_or(envelope("id is neither string nor integer, or too long"))?)
                }
            };
            let verdict = match (result, error) {
                (Some(result), None) => Verdict::Result(result.to_owned()),
                (None, Some(error)) if is_object(error) => Verdict::Error(error.to_owned()),
                (None, Some(_)) => return Err(envelope("error is not an object")),
                (Some(_), Some(_)) => return Err(envelope("both result and error")),
                (None, None) => return Err(envelope("neither method, result nor error")),
            };
            return Ok(Self::Response(Response { id, verdict }));
        };
        if result.is_some() || error.is_some() {
            return Err(envelope("a request cannot carry a result or an error"));
        }
        let method = string(method).ok_or(envelope("method is not a string"))?.into();
        let params = members.value("params");
        if params.is_some_and(|params| !params.get().starts_with(['{', '['])) {
            return Err(envelope("params is neither object nor array"));
        }
        let params = params.map(ToOwned::to_owned);
        Ok(match id {
            None => Self::Notification(Notification { method, params }),
            Some(id) => Self::Request(Request {
                id: RequestId::from_raw(id).ok_or(envelope("id is neither string nor integer, or too long"))?,
                method,
                params,
            }),
        })
    }
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// Not JSON, or not UTF-8. JSON-RPC's `-32700`.
    #[error("not JSON")]
    Json(#[source] serde_json::Error),
    /// JSON, but no JSON-RPC 2.0 message. JSON-RPC's `-32600`.
    #[error("not a JSON-RPC 2.0 message: {reason}")]
    Envelope {
        /// What is wrong with it; fixed text.
        reason: &'static str,
    },
}

/// A request's id: a string or an integer of at most 1,024 bytes, kept as written. It is kept and repeated in places that are
/// bounded in number only.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// An id out of a JSON value, if it may be one.
    #[must_use]
    pub fn from_raw(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        (text.len() <= MAX_ID_BYTES && (integer || text.starts_with('"'))).then(|| Self(text.into()))
    }

    /// The id as JSON, as it was written.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    pub(crate) fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }
}

impl From<u64> for RequestId {
    fn from(id: u64) -> Self {
        Self(id.to_string().into())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const MAX_ID_BYTES: usize = 1024;

/// The beginning of a text of a client, fit to be repeated to it.
pub(crate) fn beginning(text: &str) -> String {
    text.chars().take(128).collect()
}

/// An error object that this crate composes itself. What a server sent is forwarded as written and
/// never goes through here.
#[derive(Clone, Debug, Serialize)]
pub struct RpcError {
    /// JSON-RPC's code.
    pub code: i64,
    /// Fixed text, fit for a client.
    pub message: String,
    /// More, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl RpcError {
    /// Malformed JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// Not a JSON-RPC message, or one out of place.
    pub const INVALID_REQUEST: i64 = -32600;
    /// The method is not offered here.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters do not fit the method; also an unknown tool.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The server behind the gateway could not answer; `data.code` says why.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// There is no such resource; in the older revisions.
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// A header does not say what the body says.
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The request needs something that the client has not declared; `data.requiredCapabilities` says what.
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// The revision is not spoken here; `data.supported` says which are.
    pub const UNSUPPORTED_VERSION: i64 = -32022;
    /// The client has to open addresses and call again; `data.elicitations` says which. Of revision 2025-11-25.
    pub const URL_ELICITATION_REQUIRED: i64 = -32042;
    /// The client cancelled the request itself.
    pub const REQUEST_CANCELLED: i64 = -32800;

    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The same with `data`.
    #[must_use]
    pub fn with_data(mut self, data: &serde_json::Value) -> Self {
        self.data = serde_json::value::to_raw_value(data).ok();
        self
    }

    /// As JSON.
    #[must_use]
    pub fn to_raw(&self) -> Box<RawValue> {
        serde_json::value::to_raw_value(self).expect("strings and an integer are always JSON")
    }
}

/// The `code` of an error object, if it has one.
pub(crate) fn error_code(error: &RawValue) -> Option<i64> {
    #[derive(Deserialize)]
    struct Coded {
        #[serde(default, deserialize_with = "lenient")]
        code: Option<i64>,
    }
    fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(raw.get().parse().ok())
    }
    serde_json::from_str::<Coded>(error.get()).ok()?.code
}

/// A request, as one JSON text without a line end.
pub(crate) fn write_request(id: u64, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let mut line = format!(r#"{{"jsonrpc":"2.0","id":{id},"#).into_bytes();
    write_method(&mut line, method, params);
    line
}

/// A notification, as one JSON text without a line end.
pub(crate) fn write_notification(method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let mut line = br#"{"jsonrpc":"2.0","#.to_vec();
    write_method(&mut line, method, params);
    line
}

/// A response, as one JSON text without a line end.
pub(crate) fn write_response(id: Option<&RequestId>, verdict: &Verdict) -> Vec<u8> {
    let (key, value) = match verdict {
        Verdict::Result(result) => ("result", result),
        Verdict::Error(error) => ("error", error),
    };
    let id = id.map_or("null", RequestId::as_json);
    let mut text = Vec::with_capacity(id.len() + value.get().len() + 40);
    for part in [r#"{"jsonrpc":"2.0","id":"#, id, r#",""#, key, r#"":"#, value.get(), "}"] {
        text.extend_from_slice(part.as_bytes());
    }
    text
}

fn write_method(line: &mut Vec<u8>, method: &str, params: Option<&RawValue>) {
    line.extend_from_slice(br#""method":"#);
    line.extend_from_slice(crate::object::quoted(method).as_bytes());
    if let Some(params) = params {
        line.extend_from_slice(br#","params":"#);
        line.extend_from_slice(params.get().as_bytes());
    }
    line.push(b'}');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn messages_are_told_apart_and_odd_ones_refused() {
        for (case, text, expected) in [
            ("request", r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#, Ok("request")),
            ("string id", r#"{"jsonrpc":"2.0","id":"x","method":"a","params":{}}"#, Ok("request")),
            ("huge integer id", r#"{"jsonrpc":"2.0","id":99999999999999999999,"method":"a"}"#, Ok("request")),
            ("notification", r#"{"jsonrpc":"2.0","method":"a"}"#, Ok("notification")),
            ("result", r#"{"jsonrpc":"2.0","id":1,"result":null}"#, Ok("response")),
            ("error", r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, Ok("response")),
            ("unknown member", r#"{"jsonrpc":"2.0","id":1,"method":"a","x":1}"#, Ok("request")),
            ("null id of a request", r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#, Err("envelope")),
            ("fraction as id", r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#, Err("envelope")),
            ("no version", r#"{"id":1,"method":"a"}"#, Err("envelope")),
            ("other version", r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#, Err("envelope")),
            ("id twice", r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#, Err("envelope")),
            ("method twice, escaped", r#"{"jsonrpc":"2.0","id":1,"method":"a","m\u0065thod":"b"}"#, Err("envelope")),
            ("both answers", r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, Err("envelope")),
            ("no answer", r#"{"jsonrpc":"2.0","id":1}"#, Err("envelope")),
            ("error as text", r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#, Err("envelope")),
            ("params as text", r#"{"jsonrpc":"2.0","id":1,"method":"a","params":"x"}"#, Err("envelope")),
            ("null params", r#"{"jsonrpc":"2.0","id":1,"method":"a","params":null}"#, Err("envelope")),
            ("batch", r#"[{"jsonrpc":"2.0","id":1,"method":"a"}]"#, Err("envelope")),
            ("cut off", r#"{"jsonrpc":"2.0","id":1"#, Err("json")),
            ("two texts", r#"{"jsonrpc":"2.0","method":"a"}{}"#, Err("json")),
        ] {
            let parsed = match Message::parse(text.as_bytes()) {
                Ok(Message::Request(_)) => Ok("request"),
                Ok(Message::Notification(_)) => Ok("notification"),
                Ok(Message::Response(_)) => Ok("response"),
                Err(InvalidMessage::Json(_)) => Err("json"),
                Err(InvalidMessage::Envelope { .. }) => Err("envelope"),
            };
            assert_eq!(parsed, expected, "{case}: {text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        let text = b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}";
        assert!(matches!(Message::parse(text), Err(InvalidMessage::Json(_))));
        assert!(Message::parse("{\"jsonrpc\":\"2.0\",\"method\":\"\u{fc}\"}".as_bytes()).is_ok());
    }

    #[test]
    fn what_is_inside_stays_as_written() {
        let params = r#"{ "n":1e400,"b":-0.0, "a" : 12345678901234567890123 ,"u":"\u00e9"}"#;
        let text = format!(r#"{{"jsonrpc":"2.0","id":"a\u0062","method":"m","params":{params}}}"#);
        let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else {
            panic!("a request");
        };
        assert_eq!(request.params.as_deref().map(RawValue::get), Some(params));
        assert_eq!(request.id.as_json(), r#""a\u0062""#);
        let line = write_request(7, &request.method, request.params.as_deref());
        assert_eq!(
            String::from_utf8(line).unwrap(),
            format!(r#"{{"jsonrpc":"2.0","id":7,"method":"m","params":{params}}}"#)
        );
    }

    #[test]
    fn a_deeply_nested_message_is_read_without_deep_recursion() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{deep}}}"#);
        assert!(matches!(Message::parse(text.as_bytes()), Ok(Message::Response(_))));
    }
}
