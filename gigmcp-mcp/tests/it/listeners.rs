//! One server that tells much, and many who listen to something else.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gigmcp_mcp::{BoxFuture, Call, Event, Notification, Outcome, Principal, StreamableHttpLimits, Upstream};
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::sync::broadcast;

use crate::{
    seam::raw,
    serving::{endpoint_of, initialize},
};

struct Telling(broadcast::Sender<Event>);

impl Upstream for Telling {
    fn call<'a>(&'a self, _: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async { Outcome::Complete(raw("{}")) })
    }

    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        Some(self.0.subscribe())
    }
}

fn event(method: &str, params: Option<serde_json::Value>) -> Event {
    Notification { method: method.into(), params: params.map(|params| raw(&params.to_string())) }.into()
}

#[tokio::test]
async fn a_long_event_is_not_read_anew_by_each_who_listens() {
    const LISTENERS: usize = 250;
    let limits = StreamableHttpLimits { max_sessions_per_principal: LISTENERS, ..StreamableHttpLimits::default() };
    let (endpoint, one) = (endpoint_of(limits), Principal::new("one"));
    let upstream = Arc::new(Telling(broadcast::Sender::new(64)));
    let request = |method: &str, headers: &[(&str, &str)], body: String| {
        let mut request = Request::builder().method(method).uri("/mcp").header("host", "localhost");
        request = request.header("accept", "application/json, text/event-stream");
        request = request.header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::<Bytes>::from(body)).unwrap()
    };
    let mut streams = Vec::new();
    for number in 0..LISTENERS {
        // Half of them in each era. Each is subscribed to something.
        if number % 2 == 0 {
            let made = endpoint.handle(&one, &upstream, request("POST", &[], initialize("2025-11-25"))).await;
            let session = made.headers()["mcp-session-id"].to_str().unwrap().to_owned();
            let headers = [("mcp-session-id", &*session)];
            let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a:1"}}"#;
            endpoint.handle(&one, &upstream, request("POST", &headers, subscribe.to_owned())).await;
            streams.push(endpoint.handle(&one, &upstream, request("GET", &headers, String::new())).await);
        } else {
            let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
            let body = r#"{"jsonrpc":"2.0","id":"r","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:1"]},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
            streams.push(endpoint.handle(&one, &upstream, request("POST", &headers, body.to_owned())).await);
        }
    }
    let heard = async |streams: &mut Vec<http::Response<gigmcp_mcp::ResponseBody>>, wanted: &str| {
        for stream in streams {
            loop {
                let frame = stream.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
                let text = String::from_utf8(frame.to_vec()).unwrap();
                assert!(!text.contains("a:2"), "nobody is subscribed to it");
                if text.contains(wanted) {
                    break;
                }
            }
        }
    };
    tokio::task::yield_now().await;
    let began = Instant::now();
    let updated = "notifications/resources/updated";
    for _ in 0..48 {
        let beside = vec![json!({ "x": 1 }); 7_000];
        upstream.0.send(event(updated, Some(json!({ "beside": beside, "uri": "a:2" })))).unwrap();
    }
    upstream.0.send(event("notifications/tools/list_changed", None)).unwrap();
    heard(&mut streams, "tools/list_changed").await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    upstream.0.send(event(updated, Some(json!({ "uri": "a:1" })))).unwrap();
    heard(&mut streams, r#""uri":"a:1""#).await;
}
