//! Whatever is said: host, method, segments and names are the toolspec's.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gigmcp_mcp::{
    BoxFuture, Call, Upstream,
    toolpack::{HttpAnswer, HttpClient, HttpFailure},
};
use http::{HeaderMap, Request, StatusCode};
use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value, json, value::RawValue};

use crate::pack::{HOST, Pack};

/// Keeps what would be sent.
#[derive(Default)]
struct Kept(Mutex<Vec<Request<Bytes>>>);

impl HttpClient for Kept {
    fn send<'a>(&'a self, request: Request<Bytes>, _: usize) -> BoxFuture<'a, Result<HttpAnswer, HttpFailure>> {
        self.0.lock().unwrap().push(request);
        let (headers, body) = (HeaderMap::new(), Bytes::from_static(b"{}"));
        Box::pin(async { Ok(HttpAnswer { status: StatusCode::OK, headers, body, is_cut: false }) })
    }
}

fn pack(encoding: &str) -> Pack {
    Pack::tool(
        "PATCH",
        "/v1/{a}/x-{b}.json/{c}",
        &format!(
            "encoding: {encoding}
params:
  - {{name: a, in: path, type: string, required: true}}
  - {{name: b, in: path, type: string, required: true}}
  - {{name: c, in: path, type: array, required: true}}
  - {{name: q, in: query, type: string}}
  - {{name: list, in: query, type: array}}
  - {{name: commas, in: query, type: array, style: comma}}
  - {{name: brackets, in: query, type: array, style: brackets}}
  - {{name: free, in: query, type: object}}
  - {{name: h, as: X-H, in: header, type: string}}
  - {{name: text, in: body, type: string}}
  - {{name: any, in: body, type: object}}
  - {{name: items, in: body, type: array}}"
        ),
    )
}

/// Text in which what means something to some reader is frequent.
fn text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "/", "..", ".", "%2e", "%2F", "%", "?", "#", "&", "=", ";", "\r\n", "\n", "\0", "\"", "\\", "@", ":", " ", "+",
        "[", "]", ",", "{a}", "{", "}", "<", "ü", "\u{2028}", "\u{202e}", "x", "1",
    ]);
    prop_oneof![2 => vec(odd, 0..8).prop_map(|parts| parts.concat()), 1 => any::<String>(), 5 => "[a-z]{1,8}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn arguments() -> impl Strategy<Value = Value> {
    let list = || vec(value(), 0..4);
    let object =
        || vec((text(), value()), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()));
    use prop::option::of as option;
    (
        (text(), text(), vec(text(), 1..3)),
        (option(text()), option(list()), option(list()), option(list()), option(object())),
        (option("[ -~]{1,20}"), option(text()), option(object()), option(list())),
    )
        .prop_map(|((a, b, c), (q, list, commas, brackets, free), (h, text, any, items))| {
            let mut said = json!({ "a": a, "b": b, "c": c });
            for (name, value) in [
                ("q", q.map(Value::from)),
                ("list", list.map(Value::from)),
                ("commas", commas.map(Value::from)),
                ("brackets", brackets.map(Value::from)),
                ("free", free),
                ("h", h.map(Value::from)),
                ("text", text.map(Value::from)),
                ("any", any),
                ("items", items.map(Value::from)),
            ] {
                said.as_object_mut().unwrap().extend(value.map(|value| (name.to_owned(), value)));
            }
            said
        })
}

fn check(request: &Request<Bytes>, said: &Value) -> Result<(), TestCaseError> {
    let uri = request.uri();
    prop_assert_eq!((uri.scheme_str(), uri.host(), uri.port()), (Some("https"), Some(HOST), None));
    prop_assert_eq!(request.method().as_str(), "PATCH");
    let segments: Vec<_> = uri.path().split('/').collect();
    prop_assert_eq!(segments.len(), 5, "{}", uri);
    prop_assert_eq!(segments[1], "v1");
    prop_assert!(segments[3].starts_with("x-") && segments[3].ends_with(".json"));
    prop_assert!(!segments[1..].iter().any(|segment| matches!(*segment, "" | "." | "..")), "{}", uri);
    let unescaped = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%,".contains(&byte));
    prop_assert!(segments.iter().all(|segment| unescaped(segment)), "{}", uri);
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap();
        let base = name.split("%5B").next().unwrap();
        prop_assert!(["q", "list", "commas", "brackets", "free"].contains(&base), "{}", uri);
        prop_assert!(said.get(base).is_some() && unescaped(value) && unescaped(name), "{}", uri);
    }
    let expected = ["x-h", "content-type", "content-length", "accept", "user-agent", "accept-encoding"];
    for (name, value) in request.headers() {
        prop_assert!(expected.contains(&name.as_str()), "{name}");
        prop_assert!(value.as_bytes().iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '), "{name}: {value:?}");
    }
    let content_type = request.headers()["content-type"].to_str().unwrap();
    match content_type.split_once("boundary=") {
        None if content_type == "application/json" => {
            let body: Value = serde_json::from_slice(request.body()).unwrap();
            for (name, value) in body.as_object().unwrap() {
                prop_assert_eq!(Some(value), said.get(name));
            }
        }
        None => {
            let body = std::str::from_utf8(request.body()).unwrap();
            for pair in body.split('&').filter(|pair| !pair.is_empty()) {
                let base = pair.split(['=', '%']).next().unwrap();
                prop_assert!(["text", "any", "items"].contains(&base), "{}", body);
            }
        }
        Some((_, boundary)) => {
            let body = String::from_utf8_lossy(request.body()).into_owned();
            let parts = body.matches(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"")).count();
            let ends = body.matches(&format!("--{boundary}--\r\n")).count();
            prop_assert_eq!((body.matches(boundary).count(), ends), (parts + 1, 1));
        }
    }
    Ok(())
}

/// How many of the cases were sent: a law about requests that never happen says nothing.
fn holds(encoding: &str) -> (usize, usize) {
    let kept = Arc::new(Kept::default());
    let upstream = pack(encoding).start_with(kept.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut cases, mut sent) = (0, 0);
    let (counted, told) = (std::cell::RefCell::new(&mut cases), std::cell::RefCell::new(&mut sent));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(600)
    });
    let outcome = runner.run(&arguments(), |said| {
        **counted.borrow_mut() += 1;
        let params = RawValue::from_string(json!({ "name": "call", "arguments": said }).to_string()).unwrap();
        runtime.block_on(upstream.call(Call::new("tools/call", Some(params))));
        let requests = std::mem::take(&mut *kept.0.lock().unwrap());
        prop_assert!(requests.len() <= 1);
        **told.borrow_mut() += requests.len();
        requests.iter().try_for_each(|request| check(request, &said))
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    (cases, sent)
}

#[test]
fn whatever_is_said_the_request_is_the_toolspecs() {
    for encoding in ["json", "form", "multipart"] {
        let (cases, sent) = holds(encoding);
        assert!(sent * 10 > cases, "{encoding}: only {sent} of {cases} were sent");
    }
}
