//! Answers that wait: in a batch for the others, and for a client that has to come back.

use std::sync::Arc;

use gigmcp_mcp::{BoxFuture, Call, Outcome, Request, RequestId, StreamableHttpLimits, Upstream};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use crate::{seam::raw, serving::Endpoint};

/// Answers with as much as it is asked for. First, it asks for something if it is called `ask`; it does not wait for what comes.
struct Long {
    go: Notify,
    done: mpsc::UnboundedSender<()>,
}

impl Upstream for Long {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let params: Value = serde_json::from_str(call.params.as_ref().unwrap().get()).unwrap();
            if params["name"] == "ask" {
                let question = Request {
                    id: RequestId::from_raw(&raw("1")).unwrap(),
                    method: "elicitation/create".into(),
                    params: Some(raw(r#"{"message":"?","requestedSchema":{"type":"object","properties":{}}}"#)),
                };
                let sink = call.sink.unwrap();
                tokio::select! {
                    _ = sink.ask(question) => {}
                    () = self.go.notified() => self.done.send(()).unwrap(),
                }
            }
            let text = "x".repeat(usize::try_from(params["bytes"].as_u64().unwrap()).unwrap());
            Outcome::Complete(raw(&json!({ "content": [{ "type": "text", "text": text }] }).to_string()))
        })
    }
}

async fn serve() -> (Endpoint, Arc<Long>, mpsc::UnboundedReceiver<()>) {
    let (done, is_done) = mpsc::unbounded_channel();
    let long = Arc::new(Long { go: Notify::new(), done });
    let limits =
        StreamableHttpLimits { max_waiting_answer_bytes_per_principal: 10_000, ..StreamableHttpLimits::default() };
    (Endpoint::serve(long.clone(), limits).await, long, is_done)
}

/// What came of each: whether there was an answer, or none that was kept.
fn kept(answers: &Value) -> Vec<bool> {
    let answers = answers.as_array().unwrap();
    answers
        .iter()
        .map(|answer| match &answer["error"]["data"]["code"] {
            Value::Null => answer["result"].is_object(),
            code => *code != "answer-not-kept",
        })
        .collect()
}

#[tokio::test]
async fn the_answers_of_a_batch_are_bounded_together() {
    let (endpoint, ..) = serve().await;
    let session = endpoint.initialize("2025-03-26").await;
    let batch = async |sizes: &[usize]| {
        let call =
            |size: &usize| json!({ "jsonrpc": "2.0", "id": size, "method": "tools/call", "params": { "bytes": size } });
        let all: Vec<_> = sizes.iter().map(call).collect();
        endpoint.post(&[("mcp-session-id", &session)], &json!(all).to_string()).await.json()
    };
    let mut found = kept(&batch(&[4_000, 4_001, 4_002, 4_003]).await);
    found.sort_unstable();
    assert_eq!(found, [false, false, true, true]);
    assert_eq!(kept(&batch(&[20_000]).await), [false]);
    assert_eq!(kept(&batch(&[4_000, 4_001, 100]).await), [true; 3], "twin: less, and what was taken is given back");
    let alone = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "bytes": 20_000 } }).to_string();
    let alone = endpoint.post(&[("mcp-session-id", &session)], &alone).await;
    assert!(alone.json()["result"].is_object(), "twin: alone it waits for nothing");
}

#[tokio::test]
async fn answers_that_wait_for_their_client_are_bounded_together() {
    let (endpoint, long, mut done) = serve().await;
    let post = async |mut params: Value| {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "ask")];
        endpoint.post(&headers, &body.to_string()).await.json()
    };
    let params = |size: usize| json!({ "name": "ask", "bytes": size });
    let mut parked = Vec::new();
    for size in [4_000, 4_001, 4_002] {
        let asked = post(params(size)).await;
        let mut again = params(size);
        again["requestState"] = asked["result"]["requestState"].clone();
        again["inputResponses"] = json!({});
        assert!(again["requestState"].is_string(), "{asked}");
        // The server answers, and its client is not there.
        long.go.notify_one();
        done.recv().await.unwrap();
        parked.push(again);
    }
    let mut got = Vec::new();
    for again in parked {
        got.push(post(again).await);
    }
    assert_eq!(kept(&json!(got)), [true, true, false]);
    let asked = post(params(9_000)).await;
    let mut again = params(9_000);
    again["requestState"] = asked["result"]["requestState"].clone();
    long.go.notify_one();
    done.recv().await.unwrap();
    assert_eq!(kept(&json!([post(again).await])), [true], "twin: what was taken is given back");
}
