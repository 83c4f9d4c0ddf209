//! Spans, as a collector gets them from the real gateway.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    client::{Answer, Session, post, send},
    gateway::{Gateway, Installation, demo_server},
    internet::Internet,
};

const COLLECTOR: &str = "127.0.0.1:4318";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// What a collector got.
#[derive(Clone, Default)]
struct Got(Arc<Mutex<Kept>>);

/// Spans, and the path and headers of each request.
type Kept = (Vec<Span>, Vec<(String, HeaderMap)>);

impl Got {
    /// A collector beside the gateway, until the process ends.
    fn beside(internet: &Internet) -> Self {
        let got = Self::default();
        let keeping = got.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let namespace = internet.name();
        thread::spawn(move || {
            crate::internet::within(&namespace, async move {
                let listener = TcpListener::bind(COLLECTOR).await.unwrap();
                ready.send(()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let got = keeping.clone();
                    tokio::spawn(async move {
                        let service = service_fn(move |request| got.clone().take(request));
                        let served = hyper::server::conn::http1::Builder::new();
                        drop(served.serve_connection(TokioIo::new(stream), service).await);
                    });
                }
            })
        });
        is_ready.recv().unwrap();
        got
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let message = ExportTraceServiceRequest::decode(body.collect().await.unwrap().to_bytes()).unwrap();
        let spans = message.resource_spans.into_iter().flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
        let mut got = self.0.lock().unwrap();
        got.0.extend(spans);
        got.1.push((parts.uri.path().to_owned(), parts.headers));
        Ok(Response::new(Full::default()))
    }

    /// All spans, when the gateway has ended and sent what was left.
    fn after(&self, mut gateway: Gateway) -> Vec<Span> {
        assert!(gateway.interrupt().success());
        self.0.lock().unwrap().0.clone()
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    match found.as_slice() {
        [one] => one,
        _ => panic!("{} of {name}: {spans:#?}", found.len()),
    }
}

fn fetching(internet: &Internet, variables: &[(&str, &str)]) -> (Installation, Gateway, String) {
    let installation = Installation::new();
    let fetch = demo_server("gigmcp-demo-fetch");
    let source = ["server", "add", "fetch", "--binary", fetch.to_str().unwrap()];
    installation.json(&[&source[..], &["--secret", "API_KEY=api.example.com"]].concat(), "");
    installation.json(&["secret", "set", "fetch", "API_KEY"], "0123456789abcdef\n");
    let token = installation.profile("work", &["fetch"]);
    let gateway = installation.serve(internet, variables);
    (installation, gateway, token)
}

/// A call with this in its `_meta` and in its head.
fn call(internet: &Internet, token: &str, session: &str, meta: Option<&str>, head: Option<&str>) -> Answer {
    let mut params = json!({"name": "fetch_fetch", "arguments": {"url": "https://api.example.com/private?q=word"}});
    if let Some(traceparent) = meta {
        params["_meta"] = json!({"traceparent": traceparent, "tracestate": "a=1", "baggage": "user=ann"});
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let mut request = post("/mcp/p/work", Some(token), body.to_string());
    request.headers_mut().insert("mcp-session-id", session.parse().unwrap());
    if let Some(traceparent) = head {
        request.headers_mut().insert("traceparent", traceparent.parse().unwrap());
    }
    send(internet, request)
}

const ON: (&str, &str) = ("GIG_OTLP_ENDPOINT", "http://127.0.0.1:4318");

#[test]
fn a_call_is_one_trace_from_its_client_to_the_internet() {
    let internet = Internet::new();
    let got = Got::beside(&internet);
    let headers = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&headers, "x-tenant: blue\n").unwrap();
    let variables = [ON, ("GIG_OTLP_HEADERS_FILE", headers.path().to_str().unwrap())];
    let (_installation, gateway, token) = fetching(&internet, &variables);
    let session = Session::open(&internet, "/mcp/p/work", &token).id().to_owned();
    let answer = call(&internet, &token, &session, Some(&format!("00-{TRACE}-{PARENT}-01")), None);
    assert!(answer.text().contains("user-agent"), "{answer:?}");
    let spans = got.after(gateway);
    let within: Vec<Span> = spans.iter().filter(|span| hex::encode(&span.trace_id) == TRACE).cloned().collect();
    let request = one(&within, "POST /mcp/p/{profile}");
    let (tool, upstream, egress) =
        (one(&within, "tools/call"), one(&within, "call server"), one(&within, "egress GET"));
    assert_eq!(within.len(), 4, "{within:#?}");
    assert_eq!(hex::encode(&request.parent_span_id), PARENT);
    assert_eq!(tool.parent_span_id, request.span_id);
    assert_eq!(upstream.parent_span_id, tool.span_id);
    assert_eq!(egress.parent_span_id, upstream.span_id);
    assert_eq!(attribute(request, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(attribute(tool, "gigmcp.server").as_deref(), Some("fetch"));
    assert_eq!(attribute(tool, "gen_ai.tool.name").as_deref(), Some("fetch"));
    assert_eq!(attribute(tool, "gigmcp.verdict").as_deref(), Some("ok"));
    assert_eq!(attribute(egress, "server.address").as_deref(), Some("api.example.com"));
    for span in &spans {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
    }
    // Nothing that somebody said, and nothing secret.
    let all = format!("{spans:?}");
    for secret in ["private", "word", "ann", "0123456789abcdef", &token, "work"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    let got = got.0.lock().unwrap();
    for (path, headers) in &got.1 {
        assert_eq!(
            (path.as_str(), &headers["x-tenant"]),
            ("/v1/traces", &"blue".parse::<http::HeaderValue>().unwrap())
        );
    }
}

#[test]
fn a_context_in_the_head_counts_and_a_malformed_one_does_not() {
    let internet = Internet::new();
    let got = Got::beside(&internet);
    let (_installation, gateway, token) = fetching(&internet, &[ON]);
    let session = Session::open(&internet, "/mcp/p/work", &token).id().to_owned();
    let good = format!("00-{TRACE}-{PARENT}-01");
    let unsampled = "00-11111111111111111111111111111111-b7ad6b7169203331-00";
    for (meta, head) in [
        (None, Some(good.as_str())),
        (Some("00-xyz"), Some("no context")),
        (Some("00-ABCDEF00000000000000000000000000-b7ad6b7169203331-01"), None),
        (None, Some(unsampled)),
    ] {
        call(&internet, &token, &session, meta, head);
    }
    let spans = got.after(gateway);
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == "tools/call").collect();
    assert_eq!(calls.len(), 4, "{spans:#?}");
    // Whether a client records its own is told by the last digit, and is no matter here.
    for trace in [TRACE, "11111111111111111111111111111111"] {
        let of_trace = calls.iter().filter(|span| hex::encode(&span.trace_id) == trace);
        assert_eq!(of_trace.count(), 1, "{spans:#?}");
    }
    for span in calls {
        let request = spans.iter().find(|request| request.span_id == span.parent_span_id);
        assert_eq!(request.unwrap_or_else(|| panic!("{span:?}")).name, "POST /mcp/p/{profile}");
    }
}

#[test]
fn a_dead_collector_makes_nobody_wait() {
    let internet = Internet::new();
    // A network that swallows what is sent to it.
    let (_installation, mut gateway, token) =
        fetching(&internet, &[("GIG_OTLP_ENDPOINT", "http://93.184.215.77:4318")]);
    let session = Session::open(&internet, "/mcp/p/work", &token).id().to_owned();
    let begun = Instant::now();
    for _ in 0..20 {
        let answer = call(&internet, &token, &session, None, None);
        assert!(answer.text().contains("user-agent"), "{answer:?}");
    }
    // Each, waiting for the collector, would take ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(gateway.interrupt().success());
    // The kernel gives up a connection after two minutes.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn without_a_collector_nothing_is_sent() {
    let internet = Internet::new();
    let got = Got::beside(&internet);
    let (_installation, gateway, token) = fetching(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token).id().to_owned();
    call(&internet, &token, &session, Some(&format!("00-{TRACE}-{PARENT}-01")), None);
    assert_eq!(got.after(gateway), Vec::<Span>::new());
}
