//! A call through one of the few tools is the call itself, for clients of both eras.

use std::sync::Arc;

use gigmcp_mcp::{
    Aggregator, BoxFuture, Call, CallVerdict, Launch, LaunchError, Outcome, ServerPolicy, StreamableHttpLimits,
    ToolMode, Upstream,
};
use serde_json::{Value, json, value::RawValue};

use crate::{
    meta::{BOTH, Client, META, backend, files, scene},
    serving::Endpoint,
};

#[tokio::test]
async fn a_call_through_a_tool_of_ours_is_the_call_itself() {
    for client in BOTH {
        let scene = scene(ToolMode::Meta, &[]).await;
        for (name, arguments) in [
            ("fs_read_file", r#"{ "path":"/a" , "n":1.0e400 }"#),
            ("fs_delete_file", "{}"),
            ("fs_read_file", "null"),
            ("fs_read_file", r#"{"path":"missing"}"#), // refused by the server
            ("fs_off", "{}"),
        ] {
            let direct = scene.call(client, name, arguments).await;
            let direct_record = scene.records();
            let through = format!(r#"{{"arguments":{arguments},"name":"{name}"}}"#);
            assert_eq!(scene.call(client, "call_tool", &through).await, direct, "{client:?} {name} {arguments}");
            assert_eq!(scene.records(), direct_record, "{name}");
            assert!(direct_record.len() == 1 && direct_record[0].0 == name, "{direct_record:?}");
        }
        // The one that only reads, and its twin.
        let arguments = r#"{"name":"fs_read_file","arguments":{}}"#;
        assert_eq!(
            scene.call(client, "call_read_only_tool", arguments).await,
            scene.call(client, "fs_read_file", "{}").await
        );
        scene.records();
        let (text, failed) = scene.text("call_read_only_tool", r#"{"name":"fs_delete_file","arguments":{}}"#).await;
        assert!(
            failed && text == "fs_delete_file is not known to be read-only. If it is right to call it, use call_tool."
        );
        let refused = CallVerdict::Failed { code: "tool-not-read-only" };
        assert_eq!(scene.records(), [("fs_delete_file".to_owned(), None, refused)]);
    }
}

#[tokio::test]
async fn a_name_that_is_none_is_answered_with_the_nearest() {
    let scene = scene(ToolMode::Meta, &[]).await;
    for (name, nearest) in [
        ("fs_read_fil", "fs_read_file, "),
        ("read_file", "fs_read_file, "),
        ("call_tool", "fs_"),
        ("search_tools", "fs_"),
    ] {
        let (text, failed) = scene.text("call_tool", &json!({ "name": name }).to_string()).await;
        let expected = format!(r#"There is no tool "{name}". The nearest names: {nearest}"#);
        assert!(failed && text.starts_with(&expected) && !text.contains("fs_off"), "{text}");
    }
    assert_eq!(scene.records()[0], ("fs_read_fil".to_owned(), None, CallVerdict::ToolError));
    let (text, failed) = scene.text("call_tool", r#"{"name":"fs_read_file","path":"/"}"#).await;
    assert!(failed && text.contains("goes into `arguments`"), "{text}");
    assert_eq!(scene.records()[0].0, "call_tool");
    let direct = scene.call(Client::Modern, "fs_read_fil", "{}").await;
    assert!(direct.contains(r#""code":-32602,"message":"Unknown tool: fs_read_fil""#), "{direct}");
}

#[tokio::test]
async fn a_tool_that_is_switched_off_is_neither_listed_nor_called() {
    for client in BOTH {
        let scene = scene(ToolMode::Direct, &[]).await;
        assert!(!scene.names(client).await.contains(&"fs_off".to_owned()));
        let answer: Value = serde_json::from_str(&scene.call(client, "fs_off", "{}").await).unwrap();
        assert_eq!(
            answer["error"],
            json!({
                "code": -32602,
                "message": "The tool fs_off is switched off here; whoever set this up can switch it on",
                "data": { "code": "tool-disabled" },
            })
        );
        assert_eq!(scene.records()[0].2, CallVerdict::Failed { code: "tool-disabled" });
        assert!(scene.call(client, "fs_read_file", "{}").await.contains("result"), "twin");
    }
    let stage = files();
    let mut policy = ServerPolicy::default();
    policy.disabled.insert("fs_wait".into()); // by the name that clients see
    let aggregator = Aggregator::builder().backends([stage.backend("fs").with_policy(policy)]).build().unwrap();
    let tools = aggregator.tools().await.tools;
    assert_eq!(tools.iter().map(|tool| &*tool.name).collect::<Vec<_>>(), ["read_file", "delete_file", "off"]);
}

const ELICIT: &str =
    r#"{"jsonrpc":"2.0","id":"who","method":"elicitation/create","params":{"message":"Who?","requestedSchema":{}}}"#;

#[tokio::test]
async fn a_call_that_waits_for_its_client_goes_on_through_the_same_tool() {
    let mut scene = scene(ToolMode::Meta, &[]).await;
    scene.aggregator.tools().await;
    let wait = r#""name":"call_tool","arguments":{"name":"fs_wait","arguments":{"n":1}}"#;
    let post = async |endpoint: &Endpoint, members: &str| -> Value {
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "call_tool")];
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{members},{META}}}}}"#);
        endpoint.post(&headers, &body).await.json()
    };
    let (asked, ()) = tokio::join!(post(&scene.endpoint, wait), async {
        scene.stage.heard(&["tools/call"]).await;
        scene.stage.say(ELICIT);
    });
    let asked = &asked["result"];
    assert_eq!(asked["inputRequests"]["who"]["params"]["message"], "fs: Who?");
    let answers =
        format!(r#""requestState":{},"inputResponses":{{"who":{{"action":"accept"}}}}"#, asked["requestState"]);
    for other in [
        wait.replace("fs_wait", "fs_read_file"),
        wait.replace(r#""n":1"#, r#""n":2"#),
        wait.replace("call_tool", "fs_wait"),
    ] {
        let refused = post(&scene.endpoint, &format!("{other},{answers}")).await;
        assert!(refused["error"]["code"] == -32602 || refused["error"]["code"] == -32020, "{refused}");
    }
    let id = scene.stage.heard_requests();
    let again = format!("{wait},{answers}");
    let (done, ()) = tokio::join!(post(&scene.endpoint, &again), async {
        assert_eq!(scene.stage.heard_answer().await, r#"{"jsonrpc":"2.0","id":"who","result":{"action":"accept"}}"#);
        scene.stage.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#));
    });
    assert_eq!(done["result"], json!({ "resultType": "complete", "content": [] }));
    assert_eq!(scene.records(), [("fs_wait".to_owned(), Some("wait".to_owned()), CallVerdict::Ok)]);
}

#[tokio::test]
async fn progress_and_questions_reach_a_client_with_a_session() {
    let mut scene = scene(ToolMode::Meta, &[]).await;
    scene.aggregator.tools().await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"call_tool","arguments":{"name":"fs_wait"},"_meta":{"progressToken":"p"}}}"#;
    let headers = [("mcp-session-id", &*scene.session)];
    let (mut stream, ()) = tokio::join!(scene.endpoint.open(http::Method::POST, &headers, call), async {
        let heard: Value = serde_json::from_str(&scene.stage.heard(&["tools/call"]).await.1).unwrap();
        let token = &heard["_meta"]["progressToken"];
        scene.stage.say(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1.0}}}}"#
        ));
    });
    let progress = stream.next().await.unwrap();
    assert!(progress.contains(r#""progressToken":"p","progress":1.0"#), "{progress}");
    scene.stage.say(ELICIT);
    let question: Value = serde_json::from_str(&stream.next().await.unwrap()).unwrap();
    assert_eq!(question["params"]["message"], "fs: Who?");
}

/// A server of the newer era that asks at the first attempt, and at the second shows what it was told.
struct Asking;

impl Launch for Asking {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async { Ok(Arc::new(Self) as Arc<dyn Upstream>) })
    }
}

impl Upstream for Asking {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        let raw = |text: String| RawValue::from_string(text).unwrap();
        Box::pin(async move {
            let context = call.context.clone();
            match (&*call.method, context.and_then(|context| Some((context.state.clone()?, context.responses.clone()?)))) {
                ("tools/list", _) => Outcome::Complete(raw(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#.into())),
                (_, None) => Outcome::InputRequired(raw(r#"{"resultType":"input_required","requestState":"s","inputRequests":{"k":{"method":"roots/list"}}}"#.into())),
                (_, Some((state, responses))) => {
                    let params = call.params.unwrap();
                    Outcome::Complete(raw(format!(r#"{{"state":{state},"responses":{responses},"params":{params}}}"#)))
                }
            }
        })
    }
}

#[tokio::test]
async fn a_server_that_keeps_its_state_at_the_client_gets_it_back() {
    let backends = [backend("srv", &Arc::new(Asking))];
    let aggregator = Aggregator::builder().backends(backends).tool_mode(ToolMode::Meta).build().unwrap();
    let endpoint = Endpoint::serve(Arc::new(aggregator), StreamableHttpLimits::default()).await;
    let post = async |members: &str| -> Value {
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "call_tool")];
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{members},{META}}}}}"#);
        endpoint.post(&headers, &body).await.json()["result"].clone()
    };
    let call = r#""name":"call_tool","arguments":{"name":"srv_do","arguments":{"n":1}}"#;
    let asked = post(call).await;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let answers = format!(r#"{call},"requestState":{},"inputResponses":{{"k":{{"roots":[]}}}}"#, asked["requestState"]);
    let done = post(&answers).await;
    assert_eq!(done["state"], "s", "{done}");
    assert_eq!(done["responses"], json!({ "k": { "roots": [] } }));
    assert_eq!(done["params"], json!({ "name": "do", "arguments": { "n": 1 }, "_meta": { "k": 1.0 } }));
}
