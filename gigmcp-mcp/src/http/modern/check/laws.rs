//! What passes the check says the same in its headers and in its body, and reaches the server as it was.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a broken law")]

use http::{HeaderName, HeaderValue, Uri};

use super::*;
use crate::{
    http::guard::{self, LOOPBACK},
    message::Message,
};

/// Lines of headers, an empty line, and the message that comes with them.
pub fn mcp_headers(input: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = input;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line;
        (line, rest) = (&rest[..end], &rest[end + 1..]);
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    only_local_names(&headers);
    let Ok(Message::Request(request)) = Message::parse(rest) else { return };
    if let Ok(checked) = check(&headers, &request) {
        says_the_same(&headers, &request);
        reaches_the_server(&request, &checked);
    }
    a_true_name_passes(&request);
}

fn the_only<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let all: Vec<_> = headers.get_all(name).iter().collect();
    assert_eq!(all.len(), 1, "{name}");
    all[0].to_str().unwrap().trim()
}

fn says_the_same(headers: &HeaderMap, request: &Request) {
    let params: serde_json::Value = serde_json::from_str(request.params.as_ref().unwrap().get()).unwrap_or_default();
    assert_eq!(the_only(headers, "mcp-protocol-version"), MODERN);
    assert_eq!(the_only(headers, "mcp-method"), &*request.method);
    if params.is_null() {
        return; // a number that no other reader takes
    }
    assert_eq!(params["_meta"][PROTOCOL_VERSION], MODERN);
    assert!(params["_meta"][CLIENT_CAPABILITIES].is_object());
    let member = match &*request.method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return,
    };
    let Some(name) = params[member].as_str() else { return };
    let said = the_only(headers, "mcp-name");
    let plain = said == name && !(said.starts_with("=?base64?") && said.ends_with("?="));
    let encoded = format!("=?base64?{}?=", BASE64_STANDARD.encode(name));
    assert!(plain || said == encoded, "{said:?} is not {name:?}");
}

/// Every member but ours is as it was, in its place.
fn reaches_the_server(request: &Request, checked: &Checked) {
    let (before, after) = (request.params.as_ref().unwrap(), &checked.params);
    let listed = |raw: &RawValue, but: &[&str]| -> Vec<(String, String)> {
        let members = Members::of(raw).unwrap();
        let kept = members.iter().filter(|(name, _)| !but.contains(name));
        kept.map(|(name, value)| (name.to_owned(), value.get().to_owned())).collect()
    };
    let top = ["inputResponses", "requestState"];
    assert_eq!(listed(after, &["_meta"]), listed(before, &[top[0], top[1], "_meta"]));
    let meta = |raw: &RawValue| Members::of(raw).unwrap().value("_meta").map(ToOwned::to_owned);
    let ours = [PROTOCOL_VERSION, CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL];
    let left = listed(&meta(before).unwrap(), &ours);
    assert_eq!(meta(after).map(|meta| listed(&meta, &[])).unwrap_or_default(), left);
}

/// Whatever the name is, there is a header for it that is accepted.
fn a_true_name_passes(request: &Request) {
    let name = request.params.as_deref().and_then(|params| Members::of(params).ok()?.string("name").map(String::from));
    let Some(name) = name else { return };
    let params = json!({
        "name": name,
        "_meta": { PROTOCOL_VERSION: MODERN, CLIENT_CAPABILITIES: {} },
    });
    let params = serde_json::value::to_raw_value(&params).unwrap();
    let request = Request { id: 1.into(), method: "tools/call".into(), params: Some(params) };
    let encoded = format!("=?base64?{}?=", BASE64_STANDARD.encode(&name));
    let mut headers = HeaderMap::new();
    for (name, value) in [(VERSION_HEADER, MODERN), ("mcp-method", "tools/call"), ("mcp-name", &*encoded)] {
        headers.insert(name, value.parse().unwrap());
    }
    assert!(check(&headers, &request).is_ok(), "{name:?}");
    headers.insert("mcp-name", format!("=?base64?{}?=", BASE64_STANDARD.encode(name + "x")).parse().unwrap());
    assert!(check(&headers, &request).is_err(), "twin: another name");
}

/// A host that is served is one of the names of this machine, with a port or without, and nothing else.
fn only_local_names(headers: &HeaderMap) {
    let allowed = LOOPBACK.into_iter().map(Into::into).collect();
    let is_local = |text: &str| {
        let text = text.to_ascii_lowercase();
        let rest = LOOPBACK.iter().find_map(|name| text.strip_prefix(name));
        let port = rest.map(|rest| rest.strip_prefix(':').unwrap_or(if rest.is_empty() { "0" } else { "x" }));
        port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if guard::host_is_allowed(&allowed, &Uri::from_static("/"), headers) {
        assert!(is_local(the_only(headers, "host")));
    }
    if guard::origin_is_allowed(&Default::default(), headers) && headers.contains_key("origin") {
        let origin = the_only(headers, "origin").to_ascii_lowercase();
        assert!(is_local(origin.split_once("://").unwrap().1), "{origin}");
    }
}
