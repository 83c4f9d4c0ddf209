//! What a server asks by a method of an extension reaches the client whose call causes it, if both sides have declared the extension.

use std::sync::{Arc, Mutex};

use gigmcp_mcp::{
    Aggregator, BoxFuture, Call, ClientId, DefinitionKind, FlowLabels, FlowPolicy, Notification, Request, Sink,
    StdioLimits, StreamableHttpLimits, Verdict,
};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Duration;

use crate::{
    following::{heard, posts, progress},
    notices::{ODD, answers, meta, modern_server, says, server, session, waiting},
    played::{Stage, result},
    seam::{Client, question, raw, spawn},
    seams::{built, one, policy},
    seams_pinned::But,
    serving::{Endpoint, Streamed},
    told::connected,
};

const ASK: &str = "com.example/odd/ask";

fn asks(id: &str, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

fn nested(depth: usize) -> Value {
    json!({ "x": (0..depth).fold(json!(1), |inner, _| json!([inner])) })
}

#[tokio::test]
async fn it_reaches_the_only_call_under_way_if_both_sides_have_declared_its_extension() {
    let (declared, other) = (json!({ ODD: {} }), json!({ "com.example/other": {} }));
    let held: &'static [_] = &[(DefinitionKind::Instructions, ODD)];
    let resource: &'static [_] = &[(DefinitionKind::Resource, "doc:1")];
    let (unknown, refused) = (Some("-32601"), Some("-32602"));
    for (case, method, params, extensions, pins, refusal) in [
        ("twin", ASK, json!({ "x": 1 }), &declared, None, None),
        ("the client has not declared it", ASK, json!({}), &other, None, unknown),
        ("the server has not", "com.example/other/ask", json!({}), &other, None, unknown),
        ("of no extension", "odd/ask", json!({}), &declared, None, unknown),
        ("the extension alone", ODD, json!({}), &declared, None, unknown),
        ("of the protocol", "tools/com.example/odd/ask", json!({}), &declared, None, unknown),
        ("as if it was a notification", "notifications/com.example/odd/ask", json!({}), &declared, None, unknown),
        ("what is declared of it is held back", ASK, json!({}), &declared, Some(held), unknown),
        ("twin: a resource is", ASK, json!({ "uri": "doc:2" }), &declared, Some(resource), None),
        ("of a resource that is held back", ASK, json!({ "uri": "doc:1" }), &declared, Some(resource), unknown),
        ("nested too deeply", ASK, nested(200), &declared, None, refused),
        ("twin: less deeply", ASK, nested(50), &declared, None, None),
        ("too long", ASK, json!({ "x": "a".repeat(257 << 10) }), &declared, None, refused),
        ("twin: shorter", ASK, json!({ "x": "a".repeat(255 << 10) }), &declared, None, None),
        ("no object", ASK, json!([1]), &declared, None, refused),
        ("called by what nobody sees", "com.example/odd/as\u{200b}k", json!({}), &declared, None, refused),
        ("a member by what nobody sees", ASK, json!({ "x\u{200b}": 1 }), &declared, None, refused),
    ] {
        let mut stage = server();
        let aggregator = one(&stage, |policy| policy.pins = pins.map(|pins| Arc::new(But(pins)) as _)).await;
        let (call, mut reached, _) = waiting(&aggregator, &mut stage, "one", extensions).await;
        stage.say(asks("q", method, &params));
        tokio::select! {
            (asked, answer) = question(&mut reached) => {
                assert_eq!((refusal, &*asked.method), (None, method), "{case}");
                let mut said: Value = serde_json::from_str(asked.params.unwrap().get()).unwrap();
                assert_eq!(said["_meta"]["gigmcp/server"], "srv", "{case}: it says who asks");
                said.as_object_mut().unwrap().remove("_meta");
                assert_eq!(said, params, "{case}");
                answer.send(Verdict::Result(raw(r#"{"n":1.0}"#))).unwrap();
                assert_eq!(stage.heard_answer().await, r#"{"jsonrpc":"2.0","id":"q","result":{"n":1.0}}"#, "{case}");
            }
            answered = stage.heard_answer() => {
                assert!(refusal.is_some_and(|code| answered.contains(code)), "{case}: {answered}");
            }
        }
        call.abort();
    }
}

#[tokio::test]
async fn its_words_are_clean_and_its_name_is_the_servers() {
    for (params, expected) in [
        (Some(json!({ "x": "a\u{1b}[31mb\u{200b}" })), json!({ "x": "ab", "_meta": { "gigmcp/server": "srv" } })),
        (
            Some(json!({ "_meta": { "gigmcp/server": "bank", "a": 1 } })),
            json!({ "_meta": { "gigmcp/server": "srv", "a": 1 } }),
        ),
        (None, json!({ "_meta": { "gigmcp/server": "srv" } })),
    ] {
        let mut stage = server();
        let aggregator = one(&stage, |_| {}).await;
        let (_call, mut reached, _) = waiting(&aggregator, &mut stage, "one", &json!({ ODD: {} })).await;
        let mut request = json!({ "jsonrpc": "2.0", "id": "q", "method": ASK });
        params.into_iter().for_each(|params| request["params"] = params);
        stage.say(request.to_string());
        let asked = question(&mut reached).await.0.params.unwrap();
        assert_eq!(serde_json::from_str::<Value>(asked.get()).unwrap(), expected);
    }
}

/// A client that has declared no extension, and the methods that it was asked by.
#[derive(Debug, Default)]
struct Plain(Mutex<Vec<String>>);

impl Sink for Plain {
    fn notify(&self, _: Notification) {}

    fn ask<'a>(&'a self, request: Request) -> BoxFuture<'a, Verdict> {
        self.0.lock().unwrap().push(request.method.into());
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn of_several_calls_it_is_nobodys_and_one_without_the_extension_costs_no_turns() {
    let (upstream, mut server) = connected().await;
    let plain = Arc::new(Plain::default());
    let calling = |sink: Arc<dyn Sink>| Call::new("tools/call", None).with_sink(sink).of_client(ClientId::new());
    server.say(&asks("q", ASK, &json!({}))).await;
    assert!(server.hear_line().await.contains("-32601"), "no call is under way");
    let _first = spawn(&upstream, calling(plain.clone()));
    server.hear().await;
    let _second = spawn(&upstream, calling(plain.clone()));
    server.hear().await;
    server.say(&asks("q", ASK, &json!({}))).await;
    assert!(server.hear_line().await.contains("-32601"));
    assert!(!upstream.is_interactive(), "its calls go on together");

    // Of one who has it as well as of the others, for all that anybody can tell.
    let (sink, mut reached) = Client::connect();
    let _third = spawn(&upstream, calling(sink));
    server.hear().await;
    server.say(&asks("q", ASK, &json!({}))).await;
    let refused = server.hear_line().await;
    assert!(refused.contains("request-ambiguous"), "{refused}");
    assert!(upstream.is_interactive());
    assert!(reached.try_recv().is_err() && plain.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_may_be_of_a_call_that_was_given_up_reaches_no_other_client() {
    for (same, reaches) in [(false, false), (true, true)] {
        let (upstream, mut server) = connected().await;
        let client = ClientId::new();
        let (sink, mut reached) = Client::connect();
        let calling = |client| Call::new("tools/call", None).with_sink(Arc::clone(&sink)).of_client(client);
        let first = spawn(&upstream, calling(client));
        server.hear().await;
        first.abort();
        assert_eq!(server.hear().await.method, "notifications/cancelled");
        let _second = spawn(&upstream, calling(if same { client } else { ClientId::new() }));
        server.hear().await;
        server.say(&asks("q", ASK, &json!({}))).await;
        tokio::select! {
            _ = question(&mut reached) => assert!(reaches),
            refused = server.hear_line() => assert!(!reaches && refused.contains("request-ambiguous"), "{refused}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_bounded_like_any_other_question() {
    let limits = StdioLimits::default();
    let (upstream, mut server) = connected().await;
    let (sink, mut reached) = Client::connect();
    let _call = spawn(&upstream, Call::new("tools/call", None).with_sink(sink));
    server.hear().await;
    server.say(&asks("q", "com.example/other/ask", &json!({}))).await;
    assert!(server.hear_line().await.contains("-32601"), "the server has not declared it, whatever the client has");
    assert!(!upstream.is_interactive());
    // As many as may wait, and one more.
    let mut waits = Vec::new();
    for id in 0..limits.max_asks {
        server.say(&asks(&id.to_string(), ASK, &json!({}))).await;
        waits.push(question(&mut reached).await.1);
    }
    server.say(&asks("more", ASK, &json!({}))).await;
    assert!(server.hear_line().await.contains("too many requests of the server wait"));
    tokio::time::advance(limits.ask_timeout + Duration::from_secs(1)).await;
    let late = server.hear_line().await;
    assert!(late.contains("the client did not answer in time"), "{late}");
    assert!(waits.iter().all(|answer| answer.is_closed()), "{waits:?}");
}

/// A session with a call under way, in which its server has asked by a method of the extension.
async fn asked(endpoint: &Endpoint, stage: &mut Stage, session: &str, method: &str) -> Streamed {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "name": "srv_wait" } });
    let headers = [("mcp-session-id", session)];
    let opening = endpoint.open(Method::POST, &headers, body.to_string());
    let (stream, ()) = tokio::join!(opening, async {
        stage.heard(&[method]).await;
        stage.say(asks("q", ASK, &json!({ "x": 1, "_meta": { "progressToken": "t" } })));
    });
    stream
}

#[tokio::test]
async fn a_session_is_asked_on_the_stream_of_its_call_and_answers_for_itself() {
    for method in ["tools/call", "com.example/odd/do"] {
        let mut stage = server();
        let endpoint = Endpoint::serve(one(&stage, |_| {}).await, StreamableHttpLimits::default()).await;
        let declared = json!({ ODD: {} });
        let (this, other) = (session(&endpoint, "one", &declared).await, session(&endpoint, "one", &declared).await);
        let mut stream = asked(&endpoint, &mut stage, &this, method).await;
        let request: Value = serde_json::from_str(&stream.next().await.unwrap()).unwrap();
        assert_eq!((&request["method"], &request["params"]["x"]), (&json!(ASK), &json!(1)));
        let token = &request["params"]["_meta"]["progressToken"];
        assert_ne!(*token, "t", "of ours");
        let answer = |said: &str| json!({ "jsonrpc": "2.0", "id": request["id"], "result": { "said": said } });
        posts(&endpoint, &other, answer("by another session")).await;
        posts(&endpoint, &this, progress(&json!({ "progressToken": token, "progress": 1 }))).await;
        posts(&endpoint, &this, answer("by its own")).await;
        assert_eq!(heard(&mut stage).await, [json!({ "progressToken": "t", "progress": 1 })]);
        stage.say(asks("q2", ASK, &json!({})));
        let request: Value = serde_json::from_str(&stream.next().await.unwrap()).unwrap();
        stage.say(
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "q2" } })
                .to_string(),
        );
        let cancelled: Value = serde_json::from_str(&stream.next().await.unwrap()).unwrap();
        assert_eq!(
            (&cancelled["method"], &cancelled["params"]["requestId"]),
            (&json!("notifications/cancelled"), &request["id"])
        );
    }
}

#[tokio::test]
async fn a_session_that_has_not_declared_the_extension_is_asked_nothing() {
    for (declares, reaches) in [(json!({ "com.example/other": {} }), false), (json!({ ODD: {} }), true)] {
        let mut stage = server();
        let endpoint = Arc::new(Endpoint::serve(one(&stage, |_| {}).await, StreamableHttpLimits::default()).await);
        // It says that it has every other way of being asked.
        let capabilities = json!({ "elicitation": {}, "sampling": {}, "roots": {}, "extensions": declares });
        let session = endpoint.session(&capabilities.to_string()).await;
        let calling = {
            let endpoint = Arc::clone(&endpoint);
            let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "srv_wait" } });
            tokio::spawn(
                async move { endpoint.open(Method::POST, &[("mcp-session-id", &session)], body.to_string()).await },
            )
        };
        stage.heard(&["tools/call"]).await;
        stage.say(asks("q", ASK, &json!({})));
        if reaches {
            assert!(calling.await.unwrap().next().await.unwrap().contains(ASK));
        } else {
            assert!(stage.heard_answer().await.contains("-32601"));
            calling.abort();
        }
    }
}

/// The endpoint alone, over one server: nobody else judges what its client has declared.
#[tokio::test]
async fn an_endpoint_knows_itself_what_its_sessions_have_declared() {
    for (declares, reaches) in [(json!({}), false), (json!({ ODD: {} }), true)] {
        let (upstream, mut server) = connected().await;
        let endpoint = Arc::new(Endpoint::serve(upstream.clone(), StreamableHttpLimits::default()).await);
        let session = session(&endpoint, "one", &declares).await;
        let calling = {
            let endpoint = Arc::clone(&endpoint);
            let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "do" } });
            tokio::spawn(
                async move { endpoint.open(Method::POST, &[("mcp-session-id", &session)], body.to_string()).await },
            )
        };
        assert_eq!(server.hear().await.method, "tools/call");
        server.say(&asks("q", ASK, &json!({}))).await;
        if reaches {
            assert!(calling.await.unwrap().next().await.unwrap().contains(ASK));
        } else {
            assert!(server.hear_line().await.contains("-32601"));
            calling.abort();
        }
        assert_eq!(upstream.is_interactive(), reaches);
    }
}

/// There are no requests of servers in revision 2026-07-28, and what a result can ask for is a closed list.
#[tokio::test]
async fn nobody_of_the_newer_era_asks_or_is_asked_so() {
    let body = |method: &str| {
        let mut params = json!({ "name": "srv_wait", "_meta": meta(&json!({ ODD: {} })) });
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"]["elicitation"] = json!({});
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
    };
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "srv_wait")];
    for (method, refused) in [(ASK, true), ("elicitation/create", false)] {
        // A client of the newer era, whose call then fails for the server's own reason.
        let mut stage = server();
        let endpoint = Endpoint::serve(one(&stage, |_| {}).await, StreamableHttpLimits::default()).await;
        let (reply, ()) = tokio::join!(endpoint.send(Method::POST, &headers, body("tools/call")), async {
            stage.heard(&["tools/call"]).await;
            let id = stage.heard_requests();
            stage.say(asks("q", method, &json!({ "message": "?" })));
            if refused {
                assert!(stage.heard_answer().await.contains("-32601"));
                let error = json!({ "code": 7, "message": "over" });
                stage.say(json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string());
            }
        });
        let reply = reply.json();
        assert_eq!(
            (reply["error"]["code"] == 7, reply["result"]["inputRequests"]["q"].is_object()),
            (refused, !refused)
        );

        // A server of the newer era that sends a request, which none may.
        let mut stage = modern_server();
        let aggregator = one(&stage, |_| {}).await;
        let (call, mut reached, _) = waiting(&aggregator, &mut stage, "one", &json!({ ODD: {} })).await;
        stage.say(asks("q", method, &json!({})));
        assert!(stage.heard_answer().await.contains("-32601"));
        assert!(reached.try_recv().is_err());
        call.abort();

        // One that asks by its result, of a client of the older era.
        let asking = json!({ "resultType": "input_required", "inputRequests": { "q": { "method": method, "params": { "message": "?" } } } });
        let capabilities = json!({ "tools": {}, "extensions": { ODD: {} } });
        let stage = Stage::modern(&format!(r#""capabilities":{capabilities}"#), move |method, params| match method {
            "tools/call" => result(asking.to_string()),
            _ => answers(method, params),
        });
        let endpoint = Endpoint::serve(one(&stage, |_| {}).await, StreamableHttpLimits::default()).await;
        let session = endpoint.session(&json!({ "elicitation": {}, "extensions": { ODD: {} } }).to_string()).await;
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "srv_wait" } });
        let mut stream = endpoint.open(Method::POST, &[("mcp-session-id", &session)], call.to_string()).await;
        match refused {
            true => assert_eq!(stream.headers["content-type"], "application/json", "it is asked nothing"),
            false => assert!(stream.next().await.unwrap().contains("elicitation/create"), "twin"),
        }
    }
}

#[tokio::test]
async fn what_a_client_has_read_is_not_told_in_its_answer() {
    let labels = |reads, can_send| FlowLabels { reads_untrusted: reads, reads_private: reads, can_send };
    for (flow, reads_before, passes) in
        [(FlowPolicy::Ask, true, false), (FlowPolicy::Ask, false, true), (FlowPolicy::Warn, true, true)]
    {
        let (reads, mut sends) = (Stage::new(r#""capabilities":{"tools":{}}"#, answers), server());
        let backends = [
            reads.backend("reads").with_policy(policy(|policy| policy.labels = labels(true, false))),
            sends.backend("srv").with_policy(policy(|policy| policy.labels = labels(false, true))),
        ];
        let aggregator = built(Aggregator::builder().backends(backends).flow(flow)).await;
        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let session = session(&endpoint, "one", &json!({ ODD: {} })).await;
        let mut stream = asked(&endpoint, &mut sends, &session, "tools/call").await;
        let request: Value = serde_json::from_str(&stream.next().await.unwrap()).unwrap();
        if reads_before {
            let read = json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": { "name": "reads_do" } });
            let reply = endpoint.post(&[("mcp-session-id", &session)], &read.to_string()).await;
            assert!(reply.body.contains("content"), "{}", reply.body);
        }
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": { "secret": "of others" } });
        posts(&endpoint, &session, answer).await;
        let answered = sends.heard_answer().await;
        assert_eq!(answered.contains("of others"), passes, "{flow:?}, has read: {reads_before}: {answered}");
    }
}

/// The end of an elicitation is told to whom it was shown, and by this nothing was shown.
#[tokio::test]
async fn it_shows_no_elicitation() {
    let mut stage = server();
    let endpoint = Endpoint::serve(one(&stage, |_| {}).await, StreamableHttpLimits::default()).await;
    let capabilities = json!({ "elicitation": { "url": {} }, "extensions": { ODD: {} } });
    let session = endpoint.session(&capabilities.to_string()).await;
    let mut listening = endpoint.open(Method::GET, &[("mcp-session-id", &*session)], "").await;
    let mut stream = asked(&endpoint, &mut stage, &session, "tools/call").await;
    assert!(stream.next().await.unwrap().contains(ASK));
    let shown = |id: &str| json!({ "mode": "url", "url": "https://a.test/", "message": "?", "elicitationId": id });
    for (id, method) in [("one", ASK), ("two", "elicitation/create")] {
        stage.say(asks(id, method, &shown(id)));
        assert!(stream.next().await.unwrap().contains(method));
    }
    for id in ["one", "two"] {
        let complete = json!({ "elicitationId": id });
        stage.say(says("notifications/elicitation/complete", &complete));
    }
    let told = listening.next().await.unwrap();
    assert!(told.contains(r#""elicitationId":"two""#), "{told}");
}
