//! What a server says that belongs to no call, a notification of an extension or a line of its log, reaches the only one whose it can be.

use std::sync::Arc;

use gigmcp_mcp::{
    Aggregator, BoxFuture, Call, Event, FlowLabels, FlowPolicy, Notification, Outcome, StreamableHttpLimits, Upstream,
};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::{
    notices::{CHANGED, ODD, answers, call, context, line, meta, modern_server, says, server, session, waiting},
    played::{Stage, result},
    seam::{note, raw},
    seams::{built, one, policy},
    serving::{Endpoint, Streamed},
};

#[tokio::test]
async fn of_no_call_it_is_of_the_only_one_who_has_ever_asked_the_process_for_anything() {
    for stage in [server(), modern_server()] {
        let aggregator = one(&stage, |_| {}).await;
        let mut events = aggregator.events().unwrap();
        let mut next = async |method: &str, params: Value| {
            stage.say(says(method, &params));
            stage.say(says("notifications/elicitation/complete", &json!({ "elicitationId": "1" })));
            let first = events.recv().await.unwrap();
            if &*first.method == method {
                let told: Value = serde_json::from_str(first.params.as_ref().unwrap().get()).unwrap();
                assert!(params.as_object().unwrap().iter().all(|(name, value)| told[name] == *value), "{told}");
                assert_eq!(&*events.recv().await.unwrap().method, "notifications/elicitation/complete");
                return Some(first.owner().map_or_else(|| "everybody".into(), Arc::clone));
            }
            None
        };
        let line = json!({ "level": "info", "data": "line" });
        assert_eq!(next(CHANGED, json!({ "x": 1 })).await, None, "nobody has");
        assert_eq!(next("notifications/message", line.clone()).await, None, "nobody has");
        for (owner, expected) in [("one", Some("one")), ("one", Some("one")), ("two", None), ("one", None)] {
            aggregator.call(call(owner, &json!({}), "do", None)).await;
            assert_eq!(next(CHANGED, json!({ "x": 1 })).await.as_deref(), expected, "{owner}");
            assert_eq!(next("notifications/message", line.clone()).await.as_deref(), expected, "its log, {owner}");
        }
    }
}

#[tokio::test]
async fn what_names_no_call_is_not_of_the_one_under_way_if_another_has_asked_before() {
    for (before, passes) in [("two", false), ("one", true)] {
        let mut stage = server();
        let aggregator = one(&stage, |_| {}).await;
        let declared = json!({ ODD: {} });
        aggregator.call(call(before, &declared, "do", None)).await;
        stage.heard(&["tools/call"]).await;
        let (_call, mut reached, _) = waiting(&aggregator, &mut stage, "one", &declared).await;
        stage.say(says(CHANGED, &json!({ "x": 1 })));
        line(&stage);
        assert_eq!(note(&mut reached).await.0 == CHANGED, passes, "{before}");
    }
}

#[tokio::test]
async fn what_is_subscribed_to_again_after_a_start_was_of_somebody_too() {
    for subscribes in [true, false] {
        let stage = server();
        let aggregator = one(&stage, |_| {}).await;
        if subscribes {
            let mut subscribe = Call::new("resources/subscribe", Some(raw(r#"{"uri":"doc:1"}"#)));
            subscribe.context = Some(context("one", &json!({})));
            assert!(matches!(aggregator.call(subscribe).await, Outcome::Complete(_)));
        }
        let waits = call("one", &json!({}), "wait", None);
        let (waiting, _) = tokio::join!(aggregator.call(waits), async { stage.stop() });
        assert!(matches!(waiting, Outcome::Error(_)), "it has ended: {waiting:?}");
        let mut events = aggregator.events().unwrap();
        assert!(matches!(aggregator.call(call("two", &json!({}), "do", None)).await, Outcome::Complete(_)));
        stage.say(says(CHANGED, &json!({})));
        stage.say(says("notifications/elicitation/complete", &json!({ "elicitationId": "1" })));
        let first = events.recv().await.unwrap();
        assert_eq!(first.owner().map(|owner| &**owner), (!subscribes).then_some("two"), "{}", first.method);
    }
}

#[tokio::test]
async fn where_what_sessions_have_read_is_judged_nothing_is_read_that_nobody_asked_for() {
    let labels = FlowLabels { reads_untrusted: true, ..FlowLabels::default() };
    for (flow, labels, passes) in [
        (FlowPolicy::Ask, labels, false),
        (FlowPolicy::Warn, labels, true),
        (FlowPolicy::Ask, FlowLabels::default(), true),
    ] {
        let stage = server();
        let backend = stage.backend("srv").with_policy(policy(|policy| policy.labels = labels));
        let aggregator = built(Aggregator::builder().backends([backend]).flow(flow)).await;
        let mut events = aggregator.events().unwrap();
        aggregator.call(call("one", &json!({}), "do", None)).await;
        for (method, params) in [(CHANGED, json!({})), ("notifications/message", json!({ "level": "info", "data": 1 }))]
        {
            stage.say(says(method, &params));
            stage.say(says("notifications/elicitation/complete", &json!({ "elicitationId": "1" })));
            let passed = &*events.recv().await.unwrap().method == method;
            assert_eq!(passed, passes, "{method} {flow:?} {labels:?}");
            if passed {
                events.recv().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_says_of_a_tool_that_it_reads_strangers_text_tells_nothing_unasked_where_that_is_judged() {
    for (flow, hint, passes) in [
        (FlowPolicy::Ask, json!({ "openWorldHint": true }), false),
        (FlowPolicy::Ask, json!({ "openWorldHint": "true" }), false),
        (FlowPolicy::Warn, json!({ "openWorldHint": true }), true),
        (FlowPolicy::Ask, json!({ "openWorldHint": false }), true),
        (FlowPolicy::Ask, json!({}), true),
    ] {
        let capabilities = json!({ "tools": {}, "extensions": { ODD: {} } });
        let tools = json!({ "tools": [
            { "name": "do", "inputSchema": { "type": "object" } },
            { "name": "reads", "inputSchema": { "type": "object" }, "annotations": hint },
        ] });
        let stage = Stage::new(&format!(r#""capabilities":{capabilities}"#), move |method, params| match method {
            "tools/list" => result(tools.to_string()),
            _ => answers(method, params),
        });
        let switched_off = policy(|policy| policy.disabled.extend(["reads".into()]));
        let backend = stage.backend("srv").with_policy(switched_off);
        let aggregator = built(Aggregator::builder().backends([backend]).flow(flow)).await;
        let mut events = aggregator.events().unwrap();
        aggregator.call(call("one", &json!({}), "do", None)).await;
        for method in [CHANGED, "notifications/message"] {
            stage.say(says(method, &json!({ "level": "info", "data": 1 })));
            stage.say(says("notifications/elicitation/complete", &json!({ "elicitationId": "1" })));
            let passed = &*events.recv().await.unwrap().method == method;
            assert_eq!(passed, passes, "{method} {flow:?} {hint}");
            if passed {
                events.recv().await.unwrap();
            }
        }
    }
}

/// Says what the test lets it say.
struct Speaker(broadcast::Sender<Event>);

impl Upstream for Speaker {
    fn call<'a>(&'a self, _: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(std::future::pending())
    }

    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        Some(self.0.subscribe())
    }
}

async fn listening(endpoint: &Endpoint, principal: &str, extensions: &Value, modern: bool) -> Streamed {
    if !modern {
        let session = session(endpoint, principal, extensions).await;
        let headers = [("x-principal", principal), ("mcp-session-id", &session)];
        return endpoint.open(Method::GET, &headers, "").await;
    }
    let body = json!({ "jsonrpc": "2.0", "id": "r", "method": "subscriptions/listen", "params": {
        "notifications": { "toolsListChanged": true }, "_meta": meta(extensions),
    } });
    let headers =
        [("x-principal", principal), ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    let mut stream = endpoint.open(Method::POST, &headers, body.to_string()).await;
    assert!(stream.next().await.unwrap().contains("acknowledged"));
    stream
}

#[tokio::test]
async fn streams_tell_it_to_its_owner_who_has_declared_the_extension_and_to_nobody_else() {
    let changed = || Notification { method: CHANGED.into(), params: Some(raw(r#"{"x":1}"#)) };
    for modern in [false, true] {
        let events = broadcast::Sender::new(16);
        let endpoint = Endpoint::serve(Arc::new(Speaker(events.clone())), StreamableHttpLimits::default()).await;
        let mut streams = Vec::new();
        for (case, principal, extensions, hears) in [
            ("twin: its owner", "one", json!({ ODD: {} }), true),
            ("another", "two", json!({ ODD: {} }), false),
            ("its owner, who has not declared it", "one", json!({}), false),
        ] {
            streams.push((case, listening(&endpoint, principal, &extensions, modern).await, hears));
        }
        events.send(changed().into()).unwrap(); // nobody's
        events.send(Event::of("one".into(), changed())).unwrap();
        events.send(Notification { method: "notifications/tools/list_changed".into(), params: None }.into()).unwrap();
        for (case, mut stream, hears) in streams {
            let heard = stream.next().await.unwrap();
            assert_eq!(heard.contains(CHANGED), hears, "{case}, modern: {modern}: {heard}");
            if hears {
                assert!(stream.next().await.unwrap().contains("list_changed"), "once");
            }
        }
    }
}
