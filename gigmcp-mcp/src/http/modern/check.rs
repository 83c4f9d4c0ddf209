//! What a request says of itself, in its headers and in its body.

#[cfg(any(fuzzing, test))]
pub(super) mod laws;

use http::{HeaderMap, StatusCode};
use serde_json::{json, value::RawValue};

use super::{CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PROTOCOL_VERSION};
use crate::{
    http::{VERSION_HEADER, guard::single_header},
    message::{Request, RpcError},
    mirror::decoded,
    object::{Members, is_object, string},
    seal::STATE,
    sink::ClientContext,
    version::MODERN,
};

/// A request that says what it must.
pub(super) struct Checked {
    /// Its parameters, without what is said for us.
    pub(super) params: Box<RawValue>,
    pub(super) context: ClientContext,
    /// The state that it gives back, if any: ours.
    pub(super) state: Option<String>,
}

/// Why a request is not answered.
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) error: RpcError,
}

impl Refused {
    fn new(code: i64, text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: RpcError::new(code, text) }
    }

    fn invalid(text: &str) -> Self {
        Self::new(RpcError::INVALID_PARAMS, text)
    }

    pub(super) fn mismatch(text: impl Into<String>) -> Self {
        Self::new(RpcError::HEADER_MISMATCH, text)
    }
}

/// Checks what every request must say: its revision, its client's capabilities, and in headers what intermediaries read.
pub(super) fn check(headers: &HeaderMap, request: &Request) -> Result<Checked, Refused> {
    let header = |name| single_header(headers, name).map_err(|_| Refused::mismatch(format!("{name} is ambiguous")));
    let version = header(VERSION_HEADER)?;
    let params = request.params.as_deref();
    let members = params.map(Members::of).transpose();
    let members = members.map_err(|_| Refused::invalid("params is no object, or names a member twice"))?;
    let meta = members.as_ref().and_then(|members| members.value("_meta")).filter(|meta| is_object(meta));
    let meta = meta.map(Members::of).transpose().map_err(|_| Refused::invalid("_meta names a member twice"))?;
    let said = meta.as_ref().and_then(|meta| meta.string(PROTOCOL_VERSION));
    if let (Some(version), Some(said)) = (version, &said)
        && version != &**said
    {
        return Err(Refused::mismatch("MCP-Protocol-Version is not the revision in _meta"));
    }
    if let Some(other) = said.as_deref().or(version).filter(|version| *version != MODERN) {
        let other: String = other.chars().take(32).collect();
        let data = json!({ "supported": [MODERN], "requested": other });
        let error = RpcError::new(RpcError::UNSUPPORTED_VERSION, "Unsupported protocol version").with_data(&data);
        return Err(Refused { status: StatusCode::BAD_REQUEST, error });
    }
    let missing = |name: &str| Refused::invalid(&format!("_meta has no {name}"));
    let (Some(members), Some(meta)) = (members, meta) else { return Err(Refused::invalid("_meta is missing")) };
    said.ok_or_else(|| missing(PROTOCOL_VERSION))?;
    let capabilities = meta.value(CLIENT_CAPABILITIES).filter(|declared| is_object(declared));
    let capabilities = capabilities.ok_or_else(|| missing(CLIENT_CAPABILITIES))?;
    let level = match meta.value(LOG_LEVEL) {
        None => None,
        Some(level) => Some(
            string(level)
                .and_then(|level| level.parse().ok())
                .ok_or(Refused::invalid("logLevel is not a log level"))?,
        ),
    };
    version.ok_or_else(|| Refused::mismatch("MCP-Protocol-Version is missing"))?;
    check_routing(&header, request, &members)?;
    let responses = members.value("inputResponses");
    if responses.is_some_and(|responses| !is_object(responses)) {
        return Err(Refused { status: StatusCode::OK, ..Refused::invalid("inputResponses is no object") });
    }
    let state = match members.value("requestState") {
        None => None,
        Some(state) => {
            let state = string(state).ok_or(Refused { status: StatusCode::OK, ..Refused::invalid(STATE) })?;
            Some(state.into_owned())
        }
    };
    let mut context = ClientContext::new(capabilities.to_owned());
    (context.level, context.responses) = (level, responses.map(ToOwned::to_owned));
    Ok(Checked { params: without_ours(params.unwrap_or(RawValue::NULL)), context, state })
}

/// What intermediaries route by must be what the body says.
fn check_routing<'a>(
    header: &impl Fn(&'static str) -> Result<Option<&'a str>, Refused>,
    request: &Request,
    members: &Members<'_>,
) -> Result<(), Refused> {
    match header("mcp-method")? {
        Some(method) if method == &*request.method => {}
        Some(_) => return Err(Refused::mismatch("Mcp-Method is not the method of the body")),
        None => return Err(Refused::mismatch("Mcp-Method is missing")),
    }
    let member = match &*request.method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return Ok(()),
    };
    // Without one the parameters are refused for that.
    let Some(expected) = members.string(member) else { return Ok(()) };
    match header("mcp-name")? {
        Some(name) if decoded(name).is_some_and(|name| name == expected) => Ok(()),
        Some(_) => Err(Refused::mismatch(format!("Mcp-Name is not params.{member}"))),
        None => Err(Refused::mismatch("Mcp-Name is missing")),
    }
}

/// The parameters without what is said for whoever reads the request first.
fn without_ours(params: &RawValue) -> Box<RawValue> {
    let mut left = params.to_owned();
    let read = |raw: &RawValue, name: &str| Members::of(raw).is_ok_and(|members| members.value(name).is_some());
    for name in ["inputResponses", "requestState"] {
        if read(&left, name) {
            left = Members::grown(&left).expect("it was read before").without(name);
        }
    }
    let members = Members::grown(&left).expect("it was read before");
    let Some(meta) = members.value("_meta") else { return left };
    let mut meta = meta.to_owned();
    for name in [PROTOCOL_VERSION, CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL] {
        if read(&meta, name) {
            meta = Members::grown(&meta).expect("it was read before").without(name);
        }
    }
    match meta.get() {
        "{}" => members.without("_meta"),
        meta => members.with_raw("_meta", meta).expect("it is there"),
    }
}
