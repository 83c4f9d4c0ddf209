//! What a client asks for and never reads, and what it nests.

use std::sync::Arc;

use bytes::Bytes;
use gigmcp_mcp::{
    Aggregator, BoxFuture, Call, Outcome, Principal, ResponseBody, StreamableHttp, StreamableHttpLimits, Upstream,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, question, raw},
    serving::endpoint_of,
};

/// Answers with this many bytes.
struct Long(usize);

impl Upstream for Long {
    fn call<'a>(&'a self, _: Call) -> BoxFuture<'a, Outcome> {
        let text = "x".repeat(self.0);
        Box::pin(async move { Outcome::Complete(raw(&json!({ "text": text }).to_string())) })
    }
}

async fn asked(endpoint: &StreamableHttp, principal: &str, bytes: usize) -> Response<ResponseBody> {
    let body = r#"{"jsonrpc":"2.0","id":"r","method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let request = Request::post("/mcp")
        .header("host", "localhost")
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/list")
        .body(Full::<Bytes>::from(body))
        .unwrap();
    endpoint.handle(&Principal::new(principal), &Arc::new(Long(bytes)), request).await
}

#[tokio::test]
async fn answers_that_are_not_read_are_bounded_per_principal() {
    let limits =
        StreamableHttpLimits { max_unread_answer_bytes_per_principal: 100_000, ..StreamableHttpLimits::default() };
    let endpoint = endpoint_of(limits);
    let status = async |principal, bytes| asked(&endpoint, principal, bytes).await.status().as_u16();
    let mut first = asked(&endpoint, "one", 60_000).await;
    assert_eq!(first.status(), 200);
    let refused = asked(&endpoint, "one", 60_000).await;
    assert_eq!(refused.status(), 429);
    let refused = refused.into_body().collect().await.unwrap().to_bytes();
    let refused: Value = serde_json::from_slice(&refused).unwrap();
    assert_eq!(refused["error"]["data"]["code"], "answers-unread");
    // Twins: a short one, what is read at once, and another's.
    assert_eq!(status("one", 100).await, 200);
    assert_eq!([status("one", 30_000).await, status("one", 30_000).await], [200, 200]);
    assert_eq!(status("two", 90_000).await, 200);
    // What a connection has taken and not written yet is not read.
    let taken = first.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    drop(first);
    assert_eq!(status("one", 60_000).await, 429);
    drop(taken);
    assert_eq!(status("one", 60_000).await, 200, "twin: now it is");
    assert_eq!(status("one", 500_000).await, 200, "alone it may be longer");
}

#[tokio::test]
async fn what_a_client_has_nested_without_end_reaches_no_server() {
    let mut stage = Stage::new(r#""capabilities":{"tools":{}}"#, |method, params| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "tools/call" if params.contains("ask") => Reply::Never,
        _ => result(r#"{"content":[]}"#),
    });
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (depth, passes) in [(200_000, false), (50, true)] {
        let params = format!(r#"{{"name":"srv_do","arguments":{{"a":{}}}}}"#, nested(depth));
        let outcome = aggregator.call(Call::new("tools/call", Some(raw(&params)))).await;
        assert_eq!(matches!(outcome, Outcome::Complete(_)), passes, "{depth}");
        // The same as an answer.
        let (client, mut reached) = Client::connect();
        let calling = {
            let (aggregator, params) = (Arc::clone(&aggregator), raw(r#"{"name":"srv_do","arguments":{"ask":1}}"#));
            tokio::spawn(async move { aggregator.call(Call::new("tools/call", Some(params)).with_sink(client)).await })
        };
        while !stage.heard(&["tools/call"]).await.1.contains("ask") {}
        stage.say(r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}"#);
        let (_, answer) = question(&mut reached).await;
        let content = raw(&format!(r#"{{"action":"accept","content":{}}}"#, nested(depth)));
        answer.send(gigmcp_mcp::Verdict::Result(content)).unwrap();
        let heard = stage.heard_answer().await;
        assert_eq!(heard.contains("[[["), passes, "{}", &heard[..heard.len().min(200)]);
        calling.abort();
        stage.heard(&["notifications/cancelled"]).await;
    }
}

#[tokio::test]
async fn a_value_that_we_cannot_hold_is_checked_all_the_same() {
    let stage = Stage::new(r#""capabilities":{"tools":{}}"#, |method, _| match method {
        "tools/list" => result(
            r#"{"tools":[{"name":"do","inputSchema":{"type":"object","properties":{"path":{"enum":["a"]},"n":{"type":"number"}}}}]}"#,
        ),
        _ => result(r#"{"content":[]}"#),
    });
    let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
    for (arguments, passes) in [
        (r#"{"path":"b"}"#, false),
        (r#"{"path":"b","n":1e400}"#, false),
        (r#"{"path":"b","x":"\ud800"}"#, false),
        (r#"{"path":"a","n":1e400,"x":"\ud800"}"#, true),
    ] {
        let params = format!(r#"{{"name":"srv_do","arguments":{arguments}}}"#);
        let Outcome::Complete(result) = aggregator.call(Call::new("tools/call", Some(raw(&params)))).await else {
            panic!("{arguments}")
        };
        assert_eq!(!result.get().contains("isError"), passes, "{arguments}: {result}");
    }
}
