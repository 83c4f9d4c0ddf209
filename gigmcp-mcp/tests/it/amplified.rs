//! Short texts that could become much work, or long ones: of clients and of servers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gigmcp_mcp::{Aggregator, BoxFuture, Call, Outcome, Request, RequestId, StreamableHttpLimits, ToolMode, Upstream};
use serde_json::json;

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, question, raw},
    serving::Endpoint,
};

const ALL: &str = r#""capabilities":{"tools":{},"prompts":{},"resources":{}}"#;

/// A server that answers everything but lists with this.
fn answering(text: impl Into<String>) -> (Aggregator, Stage) {
    let text = text.into();
    let stage = Stage::new(ALL, move |method, _| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "prompts/list" => result(r#"{"prompts":[{"name":"ask"}]}"#),
        "resources/list" | "resources/templates/list" => result(r#"{"resources":[],"resourceTemplates":[]}"#),
        "tools/call" | "prompts/get" | "resources/read" => result(text.clone()),
        _ => Reply::Never,
    });
    (Aggregator::new(vec![stage.backend("srv")]).unwrap(), stage)
}

async fn answer(aggregator: &Aggregator, method: &str, params: &str) -> String {
    match aggregator.call(Call::new(method, Some(raw(params)))).await {
        Outcome::Complete(result) | Outcome::Error(result) => result.get().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn many_names_of_tools_are_not_compared_with_each_other() {
    let (_, stage) = answering("{}");
    let aggregator = Aggregator::builder().backends([stage.backend("srv")]).tool_mode(ToolMode::Meta).build().unwrap();
    let describe = async |names: &[String]| {
        let params = json!({ "name": "describe_tools", "arguments": { "names": names } });
        answer(&aggregator, "tools/call", &params.to_string()).await
    };
    // As many as go into one request.
    let many: Vec<String> = (0..350_000).map(|number| format!("n{number}")).collect();
    let began = Instant::now();
    assert!(describe(&many).await.contains("names are 1 to 20"));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(describe(&["srv_do".to_owned()]).await.contains("inputSchema"), "twin");
}

#[tokio::test]
async fn a_message_of_many_blocks_is_not_repeated_whole_for_each() {
    let message = |blocks: usize, beside: usize| {
        let blocks = vec![r#"{"type":"text","text":"x"}"#; blocks].join(",");
        format!(r#"{{"messages":[{{"role":"user","x":"{}","content":[{blocks}]}}]}}"#, "y".repeat(beside))
    };
    let (aggregator, _stage) = answering(message(2_000, 100_000));
    let found = answer(&aggregator, "prompts/get", r#"{"name":"srv_ask"}"#).await;
    assert!(found.len() < 2 << 20, "{} bytes", found.len());
    let (aggregator, _stage) = answering(message(2, 10));
    let found = answer(&aggregator, "prompts/get", r#"{"name":"srv_ask"}"#).await;
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["messages"].as_array().unwrap().len(), 2, "twin");
    assert_eq!(found["messages"][0]["x"], "yyyyyyyyyy");
}

#[tokio::test]
async fn contents_without_a_uri_do_not_repeat_a_long_one_for_each() {
    let (aggregator, _stage) = answering(format!(r#"{{"contents":[{}]}}"#, vec!["1"; 5_000].join(",")));
    let read = async |uri: &str| answer(&aggregator, "resources/read", &json!({ "uri": uri }).to_string()).await;
    let found = read(&format!("a:{}", "x".repeat(100_000))).await;
    assert!(found.len() < 2 << 20, "{} bytes", found.len());
    let (aggregator, _stage) = answering(r#"{"contents":[1]}"#);
    let read = async |uri: &str| answer(&aggregator, "resources/read", &json!({ "uri": uri }).to_string()).await;
    assert_eq!(read("a:1").await, r#"{"contents":[{"uri":"a:1","text":"1"}]}"#, "twin");
}

#[tokio::test]
async fn content_that_is_no_blocks_does_not_become_many() {
    let (aggregator, _stage) = answering(format!(r#"{{"content":[{}]}}"#, vec!["1"; 500_000].join(",")));
    let found = answer(&aggregator, "tools/call", r#"{"name":"srv_do"}"#).await;
    assert!(found.len() < 2 << 20, "{} bytes", found.len());
    let (aggregator, _stage) = answering(r#"{"content":[1,2]}"#);
    let found = answer(&aggregator, "tools/call", r#"{"name":"srv_do"}"#).await;
    assert_eq!(found, r#"{"content":[{"type":"text","text":"1"},{"type":"text","text":"2"}]}"#, "twin");
}

#[tokio::test]
async fn large_arguments_are_checked_in_little_time_whatever_the_schema() {
    let schemas = [
        r#"{"type":"object","properties":{"a":{"type":"array","uniqueItems":true}}}"#,
        r#"{"type":"object","properties":{"a":{"type":"array","items":{"enum":[1,{"x":2},[3]]}}}}"#,
        r#"{"type":"object","properties":{"n":{"multipleOf":1e-300}}}"#,
        r#"{"type":"object","patternProperties":{"(a+)+$":{"type":"string"}},"additionalProperties":{"not":{"type":"null"}}}"#,
        r#"{"type":"object","properties":{"a":{"contains":{"const":-1},"maxContains":3}}}"#,
    ];
    let many: Vec<_> = (0..150_000).map(|number| json!({ "x": number })).collect();
    let arguments = json!({ "a": many, "n": 1e308, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!": 1 }).to_string();
    for schema in schemas {
        let stage = Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(format!(r#"{{"tools":[{{"name":"do","inputSchema":{schema}}}]}}"#)),
            _ => result(r#"{"content":[]}"#),
        });
        let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
        let began = Instant::now();
        answer(&aggregator, "tools/call", &format!(r#"{{"name":"srv_do","arguments":{arguments}}}"#)).await;
        assert!(began.elapsed() < Duration::from_secs(60), "{schema}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_question_is_not_so_long_that_dozens_of_it_fill_the_memory() {
    for (length, asked) in [(1 << 20, false), (100 << 10, true)] {
        let mut stage = Stage::new(ALL, |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "prompts/list" | "resources/list" | "resources/templates/list" => Reply::Error(NONE.into()),
            _ => Reply::Never,
        });
        let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
        aggregator.tools().await;
        let (client, mut reached) = Client::connect();
        let calling = tokio::spawn(async move {
            aggregator.call(Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#))).with_sink(client)).await
        });
        stage.heard(&["tools/call"]).await;
        let params =
            json!({ "message": "x".repeat(length), "requestedSchema": { "type": "object", "properties": {} } });
        stage.say(format!(r#"{{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{params}}}"#));
        match asked {
            true => drop(question(&mut reached).await),
            false => assert!(stage.heard_answer().await.contains("the request is too long")),
        }
        calling.abort();
    }
}

const NONE: &str = r#"{"code":-32601,"message":"none"}"#;

/// Asks its client something long, and answers nothing.
struct Asking(usize);

impl Upstream for Asking {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let question = Request {
                id: RequestId::from_raw(&raw("1")).unwrap(),
                method: "elicitation/create".into(),
                params: Some(raw(&json!({ "message": "x".repeat(self.0) }).to_string())),
            };
            call.sink.unwrap().ask(question).await;
            std::future::pending().await
        })
    }
}

#[tokio::test]
async fn what_parked_calls_ask_is_part_of_what_waits_for_their_principal() {
    let limits =
        StreamableHttpLimits { max_waiting_answer_bytes_per_principal: 10_000, ..StreamableHttpLimits::default() };
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "do")];
    let body = r#"{"jsonrpc":"2.0","id":"r","method":"tools/call","params":{"name":"do","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}}"#;
    let endpoint = Endpoint::serve(Arc::new(Asking(4_000)), limits).await;
    let ask = async |headers: &[(&str, &str)]| {
        let reply = endpoint.post(headers, body).await.json();
        reply["result"]["resultType"] == "input_required"
    };
    assert_eq!([ask(&headers).await, ask(&headers).await, ask(&headers).await], [true, true, false]);
    let of_two = [&headers[..], &[("x-principal", "two")]].concat();
    assert!(ask(&of_two).await, "twin: another principal");
}
