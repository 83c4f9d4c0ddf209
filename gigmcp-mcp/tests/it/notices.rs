//! Notifications of extensions pass where both sides have declared the extension, and reach whom they can only belong to.

use std::sync::Arc;

use gigmcp_mcp::{
    Aggregator, Asked, Call, ClientContext, ClientId, DefinitionKind, FlowLabels, FlowPolicy, Outcome, Sink,
    StreamableHttpLimits, Upstream,
};
use http::Method;
use serde_json::{Value, json};
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinHandle};

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, Reached, note, raw},
    seams::{Notes, built, one, policy},
    seams_pinned::But,
    serving::{Endpoint, Streamed},
};

pub(crate) const ODD: &str = "com.example/odd";
pub(crate) const CHANGED: &str = "com.example/odd/changed";

pub(crate) fn answers(method: &str, params: &str) -> Reply {
    match method {
        "tools/list" => result(
            r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}},{"name":"wait","inputSchema":{"type":"object"}}]}"#,
        ),
        "resources/list" => result(r#"{"resources":[{"uri":"doc:1","name":"d","description":"Held."}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "tools/call" if params.contains(r#""do""#) => result(r#"{"content":[]}"#),
        "resources/subscribe" => result("{}"),
        _ => Reply::Never,
    }
}

pub(crate) fn server() -> Stage {
    let capabilities = json!({ "tools": {}, "resources": { "subscribe": true }, "extensions": { ODD: {} } });
    Stage::new(&format!(r#""capabilities":{capabilities}"#), answers)
}

pub(crate) fn modern_server() -> Stage {
    let capabilities = json!({ "tools": {}, "resources": {}, "extensions": { ODD: {} } });
    Stage::modern(&format!(r#""capabilities":{capabilities}"#), answers)
}

pub(crate) fn says(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()
}

/// What follows it has been heard when this is.
pub(crate) fn line(stage: &Stage) {
    stage.say(says("notifications/message", &json!({ "level": "info", "data": "line" })));
}

pub(crate) fn context(owner: &str, extensions: &Value) -> Arc<ClientContext> {
    let mut context = ClientContext::new(raw(&json!({ "extensions": extensions }).to_string()));
    context.owner = Some(owner.into());
    Arc::new(context)
}

pub(crate) fn call(owner: &str, extensions: &Value, tool: &str, sink: Option<Arc<dyn Sink>>) -> Call {
    let params = json!({ "name": format!("srv_{tool}"), "_meta": { "progressToken": owner } });
    let mut call = Call::new("tools/call", Some(raw(&params.to_string())));
    (call.context, call.sink) = (Some(context(owner, extensions)), sink);
    call
}

/// A call that its server does not answer, and its client.
pub(crate) async fn waiting(
    aggregator: &Arc<Aggregator>,
    stage: &mut Stage,
    owner: &str,
    extensions: &Value,
) -> (JoinHandle<Outcome>, UnboundedReceiver<Reached>, String) {
    let (sink, reached) = Client::connect();
    let (aggregator, call) = (Arc::clone(aggregator), call(owner, extensions, "wait", Some(sink)));
    let under_way = tokio::spawn(async move { aggregator.call(call).await });
    let heard: Value = serde_json::from_str(&stage.heard(&["tools/call"]).await.1).unwrap();
    (under_way, reached, heard["_meta"]["progressToken"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_notification_reaches_the_only_call_under_way_if_both_sides_have_declared_its_extension() {
    let declared = json!({ ODD: {} });
    let held: &'static [_] = &[(DefinitionKind::Instructions, ODD)];
    let resource: &'static [_] = &[(DefinitionKind::Resource, "doc:1")];
    let (deep, shallow) = ("[".repeat(200) + &"]".repeat(200), "[[]]");
    for (case, method, params, extensions, pins, passes) in [
        ("twin", CHANGED, json!({ "x": 1 }), &declared, None, true),
        ("twin: by its other name", "notifications/com.example/odd/changed", json!({}), &declared, None, true),
        ("the client has not declared it", CHANGED, json!({}), &json!({ "com.example/other": {} }), None, false),
        (
            "the server has not",
            "com.example/other/changed",
            json!({}),
            &json!({ "com.example/other": {} }),
            None,
            false,
        ),
        ("of no extension", "notifications/odd", json!({}), &declared, None, false),
        ("what is declared of it is held back", CHANGED, json!({}), &declared, Some(held), false),
        ("twin: a resource is", CHANGED, json!({ "uri": "doc:2" }), &declared, Some(resource), true),
        ("of a resource that is held back", CHANGED, json!({ "uri": "doc:1" }), &declared, Some(resource), false),
        ("nested too deeply", CHANGED, serde_json::from_str(&deep).unwrap_or(json!(deep)), &declared, None, false),
        ("twin: less deeply", CHANGED, serde_json::from_str(shallow).unwrap(), &declared, None, true),
        ("too long", CHANGED, json!({ "x": "a".repeat(65 << 10) }), &declared, None, false),
        ("twin: shorter", CHANGED, json!({ "x": "a".repeat(63 << 10) }), &declared, None, true),
    ] {
        let mut stage = server();
        let aggregator = one(&stage, |policy| policy.pins = pins.map(|pins| Arc::new(But(pins)) as _)).await;
        let (_call, mut reached, _) = waiting(&aggregator, &mut stage, "one", extensions).await;
        // A list as the value of a member is an object to the reader of a line.
        let params = if params.is_object() { params } else { json!({ "x": params }) };
        match case {
            "nested too deeply" => {
                stage.say(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"x":{deep}}}}}"#));
            }
            _ => stage.say(says(method, &params)),
        }
        line(&stage);
        let (heard, said) = note(&mut reached).await;
        assert_eq!(heard == method, passes, "{case}: {heard}");
        if passes {
            assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), params, "{case}");
            assert_eq!(note(&mut reached).await.0, "notifications/message");
        }
    }
}

#[tokio::test]
async fn what_it_says_is_clean() {
    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let (_call, mut reached, _) = waiting(&aggregator, &mut stage, "one", &json!({ ODD: {} })).await;
    stage.say(says(CHANGED, &json!({ "x": "a\u{1b}[31mb\u{200b}" })));
    assert_eq!(note(&mut reached).await, (CHANGED.to_owned(), r#"{"x":"ab"}"#.to_owned()));
    // Two members that would become one.
    stage.say(says(CHANGED, &json!({ "x\u{200b}": 1, "x": 2 })));
    stage.say(says(&format!("{CHANGED}\u{1b}[31m"), &json!({})));
    line(&stage);
    assert_eq!(note(&mut reached).await.0, "notifications/message");
    let found = aggregator.findings();
    assert!(found[0].1.iter().any(|(finding, count)| (finding.name(), count) == ("notice-refused", 2)), "{found:?}");
}

#[tokio::test]
async fn what_is_lost_as_the_client_of_the_call_has_not_declared_the_extension_is_counted() {
    for (extensions, lost) in [(json!({}), 2), (json!({ ODD: {} }), 0)] {
        let mut stage = server();
        let aggregator = one(&stage, |_| {}).await;
        let (_call, mut reached, token) = waiting(&aggregator, &mut stage, "one", &extensions).await;
        for params in [json!({}), json!({ "progressToken": token })] {
            stage.say(says(CHANGED, &params));
        }
        line(&stage);
        while note(&mut reached).await.0 == CHANGED {}
        let found = aggregator.findings();
        let refused = found[0].1.iter().find(|(finding, _)| finding.name() == "notice-refused");
        assert_eq!(refused.map_or(0, |(_, count)| count), lost, "{extensions}: {found:?}");
    }
}

/// That would be one of our own streams, and the client may have another of this name.
#[tokio::test]
async fn it_does_not_say_to_which_stream_it_belongs() {
    for mut stage in [server(), modern_server()] {
        let aggregator = one(&stage, |_| {}).await;
        let (_call, mut reached, token) = waiting(&aggregator, &mut stage, "one", &json!({ ODD: {} })).await;
        for (meta, told) in [
            (json!({ "io.modelcontextprotocol/subscriptionId": 2, "a": 1 }), r#"{"_meta":{"a":1}}"#),
            (json!({ "io.modelcontextprotocol/subscriptionId": "2" }), "{}"),
            (json!({ "a": 1 }), r#"{"_meta":{"a":1}}"#),
        ] {
            stage.say(says(CHANGED, &json!({ "_meta": meta })));
            stage.say(says(CHANGED, &json!({ "_meta": meta })).replace("subscriptionId", "subscript\\u0069onId"));
            assert_eq!([note(&mut reached).await.1, note(&mut reached).await.1], [told, told]);
        }
        let progress =
            json!({ "progressToken": token, "progress": 1, "_meta": { "io.modelcontextprotocol/subscriptionId": 2 } });
        stage.say(says("notifications/progress", &progress));
        assert_eq!(note(&mut reached).await.1, r#"{"progressToken":"one","progress":1}"#);
    }
}

#[tokio::test]
async fn of_several_calls_it_reaches_the_one_that_it_names_and_else_nobody() {
    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let mut events = aggregator.events().unwrap();
    let declared = json!({ ODD: {} });
    let (first, mut ones, token) = waiting(&aggregator, &mut stage, "one", &declared).await;
    let (_second, mut twos, _) = waiting(&aggregator, &mut stage, "two", &declared).await;
    stage.say(says(CHANGED, &json!({ "secret": "of somebody" })));
    let unkeyed = format!("{:016x}-{}", 0, token.split_once('-').unwrap().1);
    for forged in [json!(unkeyed), json!("one"), json!(3), json!(null)] {
        stage.say(says(CHANGED, &json!({ "forged": 1, "_meta": { "progressToken": forged } })));
    }
    stage.say(says(CHANGED, &json!({ "x": 1, "_meta": { "progressToken": token, "a": 1 } })));
    let heard = note(&mut ones).await.1;
    assert_eq!(
        serde_json::from_str::<Value>(&heard).unwrap(),
        json!({ "x": 1, "_meta": { "progressToken": "one", "a": 1 } })
    );
    stage.say(says(CHANGED, &json!({ "progressToken": token })));
    assert_eq!(note(&mut ones).await.1, r#"{"progressToken":"one"}"#);
    assert!(twos.try_recv().is_err() && events.try_recv().is_err());

    // A call that is over is nobody's, and what belongs to no call is somebody's of two.
    first.abort();
    assert!(first.await.is_err());
    stage.heard(&["notifications/cancelled"]).await;
    stage.say(says(CHANGED, &json!({ "_meta": { "progressToken": token } })));
    stage.say(says(CHANGED, &json!({})));
    stage.say(says("notifications/elicitation/complete", &json!({ "elicitationId": "1" })));
    assert_eq!(&*events.recv().await.unwrap().method, "notifications/elicitation/complete");
    assert!(ones.try_recv().is_err() && twos.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_may_be_of_what_another_client_has_told_it() {
    let (this, other) = (ClientId::new(), ClientId::new());
    for (teller, heard) in [(other, CHANGED), (this, "notifications/message")] {
        let mut stage = server();
        let aggregator = one(&stage, |_| {}).await;
        let declared = json!({ ODD: {} });
        let (sink, mut reached) = Client::connect();
        let calling = call("one", &declared, "wait", Some(sink)).of_client(this);
        let caller = Arc::clone(&aggregator);
        let _call = tokio::spawn(async move { caller.call(calling).await });
        let sent: Value = serde_json::from_str(&stage.heard(&["tools/call"]).await.1).unwrap();
        let mut telling = Call::new(CHANGED, Some(raw("{}"))).of_client(teller);
        telling.context = Some(context("one", &declared));
        aggregator.notify(telling).await;
        stage.heard(&[CHANGED]).await;
        line(&stage);
        stage.say(says(CHANGED, &json!({ "_meta": { "progressToken": sent["_meta"]["progressToken"] } })));
        assert_eq!(note(&mut reached).await.0, heard);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_says_no_more_than_so_much_in_a_second() {
    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let (_call, mut reached, _) = waiting(&aggregator, &mut stage, "one", &json!({ ODD: {} })).await;
    let mut burst = async || {
        (0..100).for_each(|_| stage.say(says(CHANGED, &json!({}))));
        line(&stage);
        let mut heard = 0;
        while note(&mut reached).await.0 == CHANGED {
            heard += 1;
        }
        heard
    };
    assert_eq!(burst().await, 64);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    assert_eq!(burst().await, 64, "twin: a second later");
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_in_one_call_takes_nothing_from_another() {
    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let declared = json!({ ODD: {} });
    let (_first, mut ones, of_one) = waiting(&aggregator, &mut stage, "one", &declared).await;
    let (_second, mut twos, of_two) = waiting(&aggregator, &mut stage, "two", &declared).await;
    (0..100).for_each(|_| stage.say(says(CHANGED, &json!({ "progressToken": of_one }))));
    stage.say(says("notifications/progress", &json!({ "progressToken": of_one, "progress": 1 })));
    stage.say(says(CHANGED, &json!({ "progressToken": of_two })));
    stage.say(says("notifications/progress", &json!({ "progressToken": of_two, "progress": 1 })));
    let mut heard = 0;
    while note(&mut ones).await.0 == CHANGED {
        heard += 1;
    }
    assert_eq!(heard, 64);
    assert_eq!(note(&mut twos).await, (CHANGED.to_owned(), r#"{"progressToken":"two"}"#.to_owned()));
}

pub(crate) async fn session(endpoint: &Endpoint, principal: &str, extensions: &Value) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": { "extensions": extensions },
        "clientInfo": { "name": "t", "version": "1" },
    } });
    endpoint.post(&[("x-principal", principal)], &body.to_string()).await.session()
}

pub(crate) fn meta(extensions: &Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "extensions": extensions },
    })
}

/// The stream of a call that its server does not answer.
async fn stream_of_a_call(endpoint: &Arc<Endpoint>, extensions: &Value, modern: bool) -> JoinHandle<Streamed> {
    let mut params = json!({ "name": "srv_wait" });
    let session = session(endpoint, "one", extensions).await;
    let mut headers = vec![("mcp-session-id", session)];
    if modern {
        params["_meta"] = meta(extensions);
        headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "srv_wait")]
            .map(|(name, value)| (name, value.to_owned()))
            .to_vec();
    }
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let endpoint = Arc::clone(endpoint);
    tokio::spawn(async move {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        endpoint.open(Method::POST, &headers, body).await
    })
}

#[tokio::test]
async fn the_stream_of_a_call_tells_it_in_both_eras() {
    for (modern, declares) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut stage = server();
        let aggregator = one(&stage, |_| {}).await;
        let endpoint = Arc::new(Endpoint::serve(aggregator, StreamableHttpLimits::default()).await);
        let extensions = if declares { json!({ ODD: {} }) } else { json!({}) };
        let stream = stream_of_a_call(&endpoint, &extensions, modern).await;
        stage.heard(&["tools/call"]).await;
        stage.say(says(CHANGED, &json!({ "x": 1 })));
        let (id, error) = (stage.heard_requests(), json!({ "code": 1, "message": "over" }));
        stage.say(json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string());
        let mut stream = stream.await.unwrap();
        if !declares {
            assert_eq!(stream.headers["content-type"], "application/json", "nothing came before the answer");
            continue;
        }
        let heard = stream.next().await.unwrap();
        assert!(heard.contains(CHANGED) && heard.contains(r#"{"x":1}"#), "{heard}");
        assert!(stream.next().await.unwrap().contains("over"));
    }
}

#[tokio::test]
async fn a_request_of_an_extension_has_a_stream_too_and_its_server_can_ask_nothing_in_it() {
    for (mut stage, says) in [(server(), true), (server(), false), (modern_server(), true)] {
        let aggregator = one(&stage, |_| {}).await;
        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let mut params = json!({ "_meta": meta(&json!({ ODD: {} })) });
        params["_meta"]["progressToken"] = json!("p");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"]["elicitation"] = json!({});
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "com.example/odd/do", "params": params });
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "com.example/odd/do")];
        let opening = endpoint.open(Method::POST, &headers, body.to_string());
        let (mut stream, ()) = tokio::join!(opening, async {
            let heard: Value = serde_json::from_str(&stage.heard(&["com.example/odd/do"]).await.1).unwrap();
            let id = stage.heard_requests();
            let question = json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {} });
            stage.say(question.to_string());
            assert!(stage.heard_answer().await.contains("-32601"));
            if says {
                let token = &heard["_meta"]["progressToken"];
                stage.say(self::says(CHANGED, &json!({ "_meta": { "progressToken": token } })));
                stage.say(self::says("notifications/progress", &json!({ "progress": 1, "progressToken": token })));
            }
            stage.say(json!({ "jsonrpc": "2.0", "id": id, "result": { "over": 1 } }).to_string());
        });
        if says {
            let heard = stream.next().await.unwrap();
            assert!(heard.contains(CHANGED) && heard.contains(r#""progressToken":"p""#), "{heard}");
            assert!(stream.next().await.unwrap().contains("notifications/progress"));
            assert!(stream.next().await.unwrap().contains("over"));
        } else {
            assert_eq!(stream.headers["content-type"], "application/json", "twin: nothing came before the answer");
        }
    }
}

fn nested(depth: usize) -> Value {
    json!({ "x": (0..depth).fold(json!(1), |inner, _| json!([inner])) })
}

/// What a client posts that wants no answer; its status.
async fn posts(endpoint: &Endpoint, extensions: &Value, modern: bool, method: &str, params: &Value) -> u16 {
    let mut params = params.clone();
    let session = session(endpoint, "one", extensions).await;
    let mut headers = vec![("mcp-session-id", &*session)];
    if modern {
        params["_meta"] = meta(extensions);
        headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    }
    endpoint.post(&headers, &says(method, &params)).await.status.as_u16()
}

/// What this method said to a server until now.
async fn told(aggregator: &Aggregator, stage: &mut Stage, method: &str) -> Option<Value> {
    aggregator.call(call("one", &json!({}), "do", None)).await;
    let told = stage.heard_so_far(&[method]).pop();
    told.map(|(_, params)| serde_json::from_str(&params).unwrap())
}

#[tokio::test]
async fn what_a_client_says_reaches_the_one_server_that_has_declared_the_extension() {
    let declared = json!({ ODD: {} });
    let resource: &'static [_] = &[(DefinitionKind::Resource, "doc:1")];
    for (modern, of_newer_era) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut stage = if of_newer_era { modern_server() } else { server() };
        let notes = Arc::new(Notes::default());
        let backend = stage.backend("srv").with_policy(policy(|policy| policy.pins = Some(Arc::new(But(resource)))));
        let aggregator = built(Aggregator::builder().backends([backend]).observed_by(notes.clone())).await;
        let endpoint = Endpoint::serve(Arc::clone(&aggregator) as _, StreamableHttpLimits::default()).await;
        for (case, extensions, method, params, passes) in [
            ("twin", &declared, CHANGED, json!({ "x": 1 }), true),
            ("not declared by the client", &json!({}), CHANGED, json!({}), false),
            ("nor by the server", &json!({ "com.example/other": {} }), "com.example/other/do", json!({}), false),
            ("of the protocol", &declared, "notifications/tools/list_changed", json!({}), false),
            ("twin: with an address", &declared, CHANGED, json!({ "uri": "doc:2" }), true),
            ("of what is held back", &declared, CHANGED, json!({ "uri": "doc:1" }), false),
            ("nested too deeply", &declared, CHANGED, nested(200), false),
            ("twin: less deeply", &declared, CHANGED, nested(50), true),
        ] {
            assert_eq!(posts(&endpoint, extensions, modern, method, &params).await, 202, "{case}");
            let mut told = told(&aggregator, &mut stage, method).await;
            if let Some(told) = told.as_mut().filter(|_| of_newer_era) {
                let meta = told.as_object_mut().unwrap().remove("_meta").unwrap();
                assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28", "{case}");
                assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "gigmcp-mcp", "{case}");
            }
            assert_eq!(told, passes.then_some(params), "{case}, modern: {modern}");
        }
        let noted = notes.0.lock().unwrap().iter().filter(|record| &*record.method == CHANGED).count();
        assert_eq!(noted, 5);
        let long = json!({ "x": "a".repeat(65 << 10) });
        assert_eq!(posts(&endpoint, &declared, modern, CHANGED, &long).await, 413);
        let says_less = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "another")];
        let body = says(CHANGED, &json!({ "_meta": meta(&declared) }));
        assert_eq!(endpoint.post(&says_less, &body).await.status, 400, "a header says something else");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_says_no_more_than_so_much_in_a_second_and_each_for_itself() {
    let mut stage = server();
    let notes = Arc::new(Notes::default());
    let aggregator = built(Aggregator::builder().backends([stage.backend("srv")]).observed_by(notes.clone())).await;
    let mut burst = async |owner: &str, count: usize| {
        for _ in 0..count {
            let mut told = Call::new(CHANGED, Some(raw("{}"))).of_client(ClientId::new());
            let mut of_session = ClientContext::clone(&context(owner, &json!({ ODD: {} })));
            of_session.asked = Asked::BySink;
            told.context = Some(Arc::new(of_session));
            aggregator.notify(told).await;
        }
        aggregator.call(call("three", &json!({}), "do", None)).await;
        let noted = std::mem::take(&mut *notes.0.lock().unwrap());
        let noted = noted.iter().filter(|record| &*record.method == CHANGED).count();
        (stage.heard_so_far(&[CHANGED]).len(), noted)
    };
    assert_eq!(burst("one", 100).await, (64, 64), "in whatever sessions");
    assert_eq!(burst("two", 10).await, (10, 10), "twin: another's");
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    assert_eq!(burst("one", 10).await, (10, 10), "twin: a second later");
    let found = aggregator.findings();
    assert!(found[0].1.iter().any(|(finding, count)| (finding.name(), count) == ("rate-limited", 36)), "{found:?}");
}

#[tokio::test]
async fn what_a_client_says_reaches_none_of_several_servers_and_starts_none() {
    let (mut first, mut second) = (server(), server());
    let aggregator = built(Aggregator::builder().backends([first.backend("srv"), second.backend("other")])).await;
    let says = |aggregator: &Arc<Aggregator>| {
        let mut told = Call::new(CHANGED, Some(raw("{}")));
        told.context = Some(context("one", &json!({ ODD: {} })));
        let aggregator = Arc::clone(aggregator);
        async move { aggregator.notify(told).await }
    };
    says(&aggregator).await;
    assert_eq!(told(&aggregator, &mut first, CHANGED).await, None);
    assert_eq!(second.heard_so_far(&[CHANGED]), []);

    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    says(&aggregator).await;
    assert_eq!(told(&aggregator, &mut stage, CHANGED).await, Some(json!({})), "twin: there is one");
    let waits = call("one", &json!({}), "wait", None);
    let (waiting, _) = tokio::join!(aggregator.call(waits), async { stage.stop() });
    assert!(matches!(waiting, Outcome::Error(_)), "it has ended: {waiting:?}");
    stage.heard_so_far(&[]);
    says(&aggregator).await;
    assert_eq!(stage.heard_so_far(&["initialize", CHANGED]), []);
}

#[tokio::test]
async fn what_a_client_has_read_is_not_told_by_the_way() {
    let labels = |reads, can_send| FlowLabels { reads_untrusted: reads, reads_private: reads, can_send };
    for (flow, passes) in [(FlowPolicy::Ask, false), (FlowPolicy::Warn, true)] {
        let reads = Stage::new(r#""capabilities":{"tools":{}}"#, answers);
        let mut sends = server();
        let backends = [
            reads.backend("srv").with_policy(policy(|policy| policy.labels = labels(true, false))),
            sends.backend("sends").with_policy(policy(|policy| policy.labels = labels(false, true))),
        ];
        let aggregator = built(Aggregator::builder().backends(backends).flow(flow)).await;
        for read in [false, true] {
            if read {
                aggregator.call(call("one", &json!({}), "do", None)).await;
            }
            let mut told = Call::new(CHANGED, Some(raw("{}")));
            told.context = Some(context("one", &json!({ ODD: {} })));
            aggregator.notify(told).await;
            let mut ping = Call::new("tools/call", Some(raw(r#"{"name":"sends_do"}"#)));
            ping.context = Some(context("two", &json!({})));
            aggregator.call(ping).await;
            assert_eq!(!sends.heard_so_far(&[CHANGED]).is_empty(), passes || !read, "{flow:?}, has read: {read}");
        }
    }
}
