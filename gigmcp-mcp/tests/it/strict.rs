//! What servers get wrong, and what a strict client makes of it: directly it loses the whole answer, through us it reads
//! everything but the one odd thing. The strict client is another implementation's typed reader.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, Call, CallError, ClientContext, Outcome, StreamableHttpLimits, Upstream};
use rmcp::model::{
    CallToolResult, CompleteResult, ErrorData, GetPromptResult, InitializeResult, InputRequiredResult,
    ListPromptsResult, ListResourcesResult, ListToolsResult, ReadResourceResult,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    seam::raw,
    serving::Endpoint,
};

fn parses<T: DeserializeOwned>(text: &str) -> Result<(), String> {
    serde_json::from_str::<T>(text).map(drop).map_err(|error| error.to_string())
}

type Reader = fn(&str) -> Result<(), String>;

/// What each method's result is read as.
fn reader(method: &str) -> Reader {
    match method {
        "tools/list" => parses::<ListToolsResult>,
        "prompts/list" => parses::<ListPromptsResult>,
        "resources/list" => parses::<ListResourcesResult>,
        "tools/call" => parses::<CallToolResult>,
        "prompts/get" => parses::<GetPromptResult>,
        "resources/read" => parses::<ReadResourceResult>,
        _ => parses::<CompleteResult>,
    }
}

/// Everything there is, and each method's answer replaced by `odd` if it is that method's.
fn stage(odd_method: &'static str, odd: Value) -> Stage {
    Stage::new(r#""capabilities":{"tools":{},"prompts":{},"resources":{},"completions":{}}"#, move |method, _| {
        if method == odd_method {
            return result(odd.to_string());
        }
        match method {
            "tools/list" => result(r#"{"tools":[{"name":"good","inputSchema":{"type":"object"}}]}"#),
            "prompts/list" => result(r#"{"prompts":[{"name":"good"}]}"#),
            "resources/list" => result(r#"{"resources":[{"uri":"a:good","name":"good"}]}"#),
            "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
            _ => Reply::Never,
        }
    })
}

fn params(method: &str) -> Value {
    match method {
        "tools/call" | "prompts/get" => json!({ "name": "srv_good" }),
        "resources/read" => json!({ "uri": "a:good" }),
        "completion/complete" => {
            json!({ "ref": { "type": "ref/prompt", "name": "srv_good" }, "argument": { "name": "a", "value": "" } })
        }
        _ => json!({}),
    }
}

/// What comes of an odd answer through us.
async fn through(method: &'static str, odd: Value) -> String {
    let stage = stage(method, odd);
    let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
    let params = raw(&params(method).to_string());
    match aggregator.call(Call::new(method, Some(params))).await {
        Outcome::Complete(result) => result.get().to_owned(),
        other => panic!("{method}: {other:?}"),
    }
}

/// A list with a good item and an odd one.
fn list(name: &str, odd: Value) -> Value {
    let good = match name {
        "resources" => json!({ "uri": "a:good", "name": "good" }),
        _ => json!({ "name": "good", "inputSchema": { "type": "object" } }),
    };
    json!({ name: [good, odd] })
}

fn content(odd: Value) -> Value {
    json!({ "content": [{ "type": "text", "text": "good" }, odd] })
}

#[tokio::test]
async fn one_odd_thing_costs_a_strict_client_everything_directly_and_itself_at_most_through_us() {
    let schema = json!({ "type": "object" });
    let text = json!({ "type": "text", "text": "a" });
    for (case, method, odd) in [
        ("no inputSchema", "tools/list", list("tools", json!({ "name": "odd" }))),
        ("inputSchema is true", "tools/list", list("tools", json!({ "name": "odd", "inputSchema": true }))),
        (
            "outputSchema is true",
            "tools/list",
            list("tools", json!({ "name": "odd", "inputSchema": schema, "outputSchema": true })),
        ),
        (
            "an icon's sizes as one text",
            "tools/list",
            list("tools", json!({ "name": "odd", "inputSchema": schema, "icons": [{ "src": "i", "sizes": "48x48" }] })),
        ),
        ("a tool without a name", "tools/list", list("tools", json!({ "inputSchema": schema }))),
        ("a tool that is none", "tools/list", list("tools", json!(7))),
        (
            "a description that is no text",
            "tools/list",
            list("tools", json!({ "name": "odd", "inputSchema": schema, "description": ["a"] })),
        ),
        (
            "an icon of a prompt",
            "prompts/list",
            list("prompts", json!({ "name": "odd", "icons": [{ "src": "i", "sizes": "48x48" }] })),
        ),
        ("an argument without a name", "prompts/list", list("prompts", json!({ "name": "odd", "arguments": [{}] }))),
        (
            "an unknown role in the audience",
            "resources/list",
            list(
                "resources",
                json!({ "uri": "a:odd", "name": "odd", "annotations": { "audience": ["robot", "user"] } }),
            ),
        ),
        ("a resource without a name", "resources/list", list("resources", json!({ "uri": "a:odd" }))),
        ("a size as text", "resources/list", list("resources", json!({ "uri": "a:odd", "name": "odd", "size": "12" }))),
        (
            "a size with a fraction",
            "resources/list",
            list("resources", json!({ "uri": "a:odd", "name": "odd", "size": 1.5 })),
        ),
        ("an unknown type of content", "tools/call", content(json!({ "type": "hologram", "data": "x" }))),
        (
            "an unknown role in a block's audience",
            "tools/call",
            content(json!({ "type": "text", "text": "a", "annotations": { "audience": ["robot"] } })),
        ),
        ("a link without a name", "tools/call", content(json!({ "type": "resource_link", "uri": "a:b" }))),
        (
            "a link of negative size",
            "tools/call",
            content(json!({ "type": "resource_link", "uri": "a:b", "name": "b", "size": -1 })),
        ),
        ("text that is a number", "tools/call", content(json!({ "type": "text", "text": 7 }))),
        ("an image without a type", "tools/call", content(json!({ "type": "image", "data": "AA==" }))),
        ("content that is text", "tools/call", json!({ "content": "text" })),
        ("failure as text", "tools/call", json!({ "content": [text], "isError": "yes" })),
        ("_meta as text", "tools/call", json!({ "content": [text], "_meta": "x" })),
        ("a system's message", "prompts/get", json!({ "messages": [{ "role": "system", "content": text }] })),
        (
            "several blocks in one message",
            "prompts/get",
            json!({ "messages": [{ "role": "user", "content": [text, text] }] }),
        ),
        ("contents without a URI", "resources/read", json!({ "contents": [{ "text": "a" }] })),
        ("contents without anything", "resources/read", json!({ "contents": [{ "uri": "a:good" }] })),
        ("values that are no text", "completion/complete", json!({ "completion": { "values": ["a", 7] } })),
        ("a total that is no count", "completion/complete", json!({ "completion": { "values": [], "total": -1 } })),
    ] {
        let read = reader(method);
        assert!(read(&odd.to_string()).is_err(), "{case}: a strict client takes it as it is");
        let ours = through(method, odd).await;
        assert_eq!(read(&ours), Ok(()), "{case}: {ours}");
        if method.ends_with("/list") || ours.contains("\"content\":[") {
            assert!(ours.contains("good") || ours.contains("\"text\""), "{case}: {ours}");
        }
    }
}

#[tokio::test]
async fn an_odd_error_is_one_that_can_be_read() {
    for odd in
        [json!({ "code": "E_FAIL", "message": "m" }), json!({ "code": -32000, "message": 7 }), json!({ "code": 1 })]
    {
        assert!(parses::<ErrorData>(&odd.to_string()).is_err(), "{odd}");
        let text = odd.to_string();
        let stage = Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"good","inputSchema":{"type":"object"}}]}"#),
            _ => Reply::Error(text.clone()),
        });
        let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
        let outcome = aggregator.call_tool(Some(&raw(r#"{"name":"srv_good"}"#))).await;
        let Outcome::Error(error) = outcome else { panic!("{outcome:?}") };
        assert_eq!(parses::<ErrorData>(error.get()), Ok(()), "{error}");
    }
}

/// What a server says of itself is ours to say in other words, so a handshake is whatever the server's was.
#[tokio::test]
async fn an_odd_handshake_does_not_cost_the_server() {
    for odd in [
        r#""capabilities":{"tools":true}"#,
        r#""capabilities":{"tools":{}},"serverInfo":{"name":"n"}"#,
        r#""capabilities":{"tools":{},"tasks":7,"extensions":[]},"serverInfo":"n""#,
    ] {
        let direct = format!(r#"{{"protocolVersion":"2025-11-25",{odd}}}"#);
        assert!(parses::<InitializeResult>(&direct).is_err(), "{odd}");
        let stage = Stage::new(odd, |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"good","inputSchema":{"type":"object"}}]}"#),
            _ => Reply::Never,
        });
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
        let endpoint = Endpoint::serve(Arc::clone(&aggregator) as _, StreamableHttpLimits::default()).await;
        let reply = endpoint.post(&[], &crate::serving::initialize("2025-11-25")).await;
        assert_eq!(parses::<InitializeResult>(&reply.json()["result"].to_string()), Ok(()), "{odd}");
        assert_eq!(aggregator.tools().await.tools.len(), 1, "{odd}");
    }
}

#[tokio::test]
async fn what_a_modern_server_says_oddly_of_keeping_and_asking_is_told_rightly_or_refused() {
    let modern = |tool: Value| {
        Stage::modern(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(
                r#"{"resultType":"complete","ttlMs":1.5,"cacheScope":"family","tools":[{"name":"good","inputSchema":{"type":"object"}}]}"#,
            ),
            "tools/call" => result(tool.to_string()),
            _ => Reply::Never,
        })
    };
    let call = async |tool: Value| {
        let stage = modern(tool);
        let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
        let mut call = Call::new("tools/call", Some(raw(r#"{"name":"srv_good"}"#)));
        call.context = Some(Arc::new(ClientContext::new(raw(r#"{"elicitation":{}}"#))));
        aggregator.call(call).await
    };
    let list = modern(json!({}));
    let aggregator = Arc::new(Aggregator::new(vec![list.backend("srv")]).unwrap());
    let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let reply = endpoint.post(&[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")], body).await;
    let listed = reply.json()["result"].clone();
    assert_eq!((&listed["ttlMs"], &listed["cacheScope"]), (&json!(60000), &json!("private")));
    assert_eq!(parses::<ListToolsResult>(&listed.to_string()), Ok(()));

    let elicit = json!({ "method": "elicitation/create", "params": { "mode": "form", "message": "m", "requestedSchema": { "type": "object", "properties": {} } } });
    let odd = json!({ "method": "odd/ask", "params": {} });
    let asks = |requests: Value| json!({ "resultType": "input_required", "inputRequests": requests });
    assert!(parses::<InputRequiredResult>(&asks(json!({ "a": odd })).to_string()).is_err());
    let both = call(asks(json!({ "a": odd, "b": elicit }))).await;
    let Outcome::InputRequired(both) = both else { panic!("{both:?}") };
    assert_eq!(parses::<InputRequiredResult>(both.get()), Ok(()), "{both}");
    let only = call(asks(json!({ "a": odd }))).await;
    assert!(matches!(&only, Outcome::Error(error) if error.get().contains("no client knows")), "{only:?}");
    let unknown = call(json!({ "resultType": "perhaps", "content": [] })).await;
    assert!(matches!(&unknown, Outcome::Error(error) if error.get().contains("server-protocol")), "{unknown:?}");
    assert_eq!(CallError::Protocol { reason: "" }.code(), "server-protocol");
}
