//! Prompts, resources, completions, logging and subscriptions of many servers as one.

use std::{sync::Arc, time::Duration};

use gigmcp_mcp::{Aggregator, Call, ClientId, Event, Outcome, ServerPolicy, Upstream, Verdict};
use serde_json::{Value, json, value::RawValue};
use tokio::sync::broadcast::Receiver;

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, note, question, raw},
};

const ALL: &str =
    r#""capabilities":{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{}}"#;

/// A server with one of everything, which answers with what it was asked.
fn everything(name: &'static str) -> Stage {
    Stage::new(ALL, move |method, params| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "prompts/list" => result(r#"{"prompts":[{ "name":"ask", "x":1.0 ,"arguments":[]}]}"#),
        "resources/list" => result(format!(
            r#"{{"resources":[{{"uri":"shared:1","name":"s","x":1.0}},{{"uri":"{name}:1","name":"n"}}]}}"#
        )),
        "resources/templates/list" => {
            result(format!(r#"{{"resourceTemplates":[{{"uriTemplate":"{name}://{{id}}","name":"t"}}]}}"#))
        }
        "resources/read" => {
            let params: Value = serde_json::from_str(params).unwrap();
            result(format!(r#"{{"contents":[{{"uri":{},"text":"{name}"}}]}}"#, params["uri"]))
        }
        "tools/call" => {
            result(format!(r#"{{"content":[{{"type":"resource_link","uri":"hidden-{name}:1","name":"h"}}]}}"#))
        }
        "prompts/get" | "completion/complete" => result(params),
        "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => result("{}"),
        _ => Reply::Never,
    })
}

pub(crate) async fn ask(aggregator: &Aggregator, method: &str, params: &str) -> Result<String, Value> {
    let params = (!params.is_empty()).then(|| raw(params));
    match aggregator.call(Call::new(method, params)).await {
        Outcome::Complete(result) => Ok(result.get().to_owned()),
        Outcome::Error(error) => Err(serde_json::from_str(error.get()).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn two() -> (Aggregator, Stage, Stage) {
    let (one, two) = (everything("one"), everything("two"));
    (Aggregator::new(vec![one.backend("one"), two.backend("two")]).unwrap(), one, two)
}

#[tokio::test]
async fn prompts_have_their_servers_name_and_nothing_else_changes() {
    let (aggregator, _one, _two) = two();
    assert_eq!(
        ask(&aggregator, "prompts/list", "").await.unwrap(),
        r#"{"prompts":[{ "name":"one_ask", "x":1.0 ,"arguments":[]},{ "name":"two_ask", "x":1.0 ,"arguments":[]}]}"#
    );
    let found = ask(&aggregator, "prompts/get", r#"{ "arguments":{"n":1.0},"name" : "two_ask","_meta":{}}"#).await;
    assert_eq!(found.unwrap(), r#"{ "arguments":{"n":1.0},"name" : "ask","_meta":{}}"#);
    for (params, message) in [
        (r#"{"name":"two_other"}"#, "Unknown prompt: two_other"),
        (r#"{"name":"ask"}"#, "Unknown prompt: ask"),
        (r#"{"name":"two_do"}"#, "Unknown prompt: two_do"),
        (r#"{"name":1}"#, "params.name is not a string"),
        ("", "params are missing"),
    ] {
        let error = ask(&aggregator, "prompts/get", params).await.unwrap_err();
        assert_eq!(error, json!({ "code": -32602, "message": message }));
    }
}

#[tokio::test]
async fn resources_keep_their_uris_and_the_second_of_two_owners_is_told_apart() {
    let (aggregator, _one, _two) = two();
    assert_eq!(
        ask(&aggregator, "resources/list", "").await.unwrap(),
        r#"{"resources":[{"uri":"shared:1","name":"s","x":1.0},{"uri":"one:1","name":"n"},{"uri":"two+shared:1","name":"s","x":1.0},{"uri":"two:1","name":"n"}]}"#
    );
    assert_eq!(
        ask(&aggregator, "resources/templates/list", "").await.unwrap(),
        r#"{"resourceTemplates":[{"uriTemplate":"one://{id}","name":"t"},{"uriTemplate":"two://{id}","name":"t"}]}"#
    );
    for (uri, from) in [
        ("shared:1", "one"),
        ("two+shared:1", "two"),
        ("one+shared:1", "one"),
        ("two:1", "two"),
        ("one://7", "one"),
        ("two://7", "two"),
    ] {
        let found = ask(&aggregator, "resources/read", &format!(r#"{{"uri":"{uri}"}}"#)).await.unwrap();
        assert_eq!(found, format!(r#"{{"contents":[{{"uri":"{uri}","text":"{from}"}}]}}"#));
    }
    for uri in ["other:1", "three+shared:1", "two+other:1", "hidden-two:1", ""] {
        let error = ask(&aggregator, "resources/read", &format!(r#"{{"uri":"{uri}"}}"#)).await.unwrap_err();
        assert_eq!(error, json!({ "code": -32002, "message": "Resource not found", "data": { "uri": uri } }));
    }
    // What a result has named can be read, from whoever named it.
    ask(&aggregator, "tools/call", r#"{"name":"two_do"}"#).await.unwrap();
    let found = ask(&aggregator, "resources/read", r#"{"uri":"hidden-two:1"}"#).await.unwrap();
    assert_eq!(found, r#"{"contents":[{"uri":"hidden-two:1","text":"two"}]}"#);
    for params in ["", "{}", r#"{"uri":1}"#, r#"{"uri":"a:1","uri":"a:2"}"#] {
        assert_eq!(ask(&aggregator, "resources/read", params).await.unwrap_err()["code"], -32602);
    }
}

#[tokio::test]
async fn of_several_templates_that_fit_the_first_that_knows_the_resource_counts() {
    let server = |name: &'static str, knows: bool| {
        Stage::new(r#""capabilities":{"resources":{}}"#, move |method, _| match method {
            "tools/list" => Reply::Error(r#"{"code":-32601,"message":"no"}"#.to_owned()),
            "resources/list" => result(r#"{"resources":[]}"#),
            "resources/templates/list" => result(r#"{"resourceTemplates":[{"uriTemplate":"a://{+x}","name":"t"}]}"#),
            _ if knows => result(format!(r#"{{"contents":["{name}"]}}"#)),
            _ => Reply::Error(r#"{"code":-32002,"message":"not here"}"#.to_owned()),
        })
    };
    let (one, two, three) = (server("one", false), server("two", true), server("three", true));
    let backends = vec![one.backend("one"), two.backend("two"), three.backend("three")];
    let aggregator = Aggregator::new(backends).unwrap();
    let found = ask(&aggregator, "resources/read", r#"{"uri":"a://b/c"}"#).await;
    assert_eq!(found.unwrap(), r#"{"contents":[{"uri":"a://b/c","text":"two"}]}"#);
    // The only one with resources is asked for anything.
    let only = Aggregator::new(vec![two.backend("two")]).unwrap();
    assert!(ask(&only, "resources/read", r#"{"uri":"never:listed"}"#).await.is_ok());
}

#[tokio::test]
async fn completions_reach_the_owner_of_what_is_completed() {
    let (aggregator, _one, _two) = two();
    for (params, expected) in [
        (
            r#"{"argument":{"name":"a","value":"x"},"ref":{"type":"ref/prompt","name":"two_ask","title":"t"}}"#,
            r#"{"argument":{"name":"a","value":"x"},"ref":{"type":"ref/prompt","name":"ask","title":"t"}}"#,
        ),
        (
            r#"{"ref":{"type":"ref/resource","uri":"two://{id}"},"argument":{"name":"id","value":""}}"#,
            r#"{"ref":{"type":"ref/resource","uri":"two://{id}"},"argument":{"name":"id","value":""}}"#,
        ),
    ] {
        assert_eq!(ask(&aggregator, "completion/complete", params).await.unwrap(), expected);
    }
    for params in [
        "",
        "{}",
        r#"{"ref":{"type":"ref/prompt"}}"#,
        r#"{"ref":{"type":"ref/prompt","name":"two_other"}}"#,
        r#"{"ref":{"type":"ref/resource","uri":"three://{id}"}}"#,
    ] {
        assert_eq!(ask(&aggregator, "completion/complete", params).await.unwrap_err()["code"], -32602, "{params}");
    }
}

#[tokio::test]
async fn servers_log_at_the_lowest_level_any_client_wants() {
    let (aggregator, mut one, mut two) = two();
    aggregator.tools().await;
    let (first, second) = (ClientId::new(), ClientId::new());
    let set = async |client, level: &str| {
        let call = Call::new("logging/setLevel", Some(raw(&format!(r#"{{"level":"{level}"}}"#)))).of_client(client);
        aggregator.call(call).await
    };
    for (client, level, expected) in
        [(first, "warning", "warning"), (second, "error", "warning"), (first, "debug", "debug")]
    {
        assert!(matches!(set(client, level).await, Outcome::Complete(_)));
        for server in [&mut one, &mut two] {
            let heard = server.heard(&["logging/setLevel"]).await.1;
            assert_eq!(heard, format!(r#"{{"level":"{expected}"}}"#));
        }
    }
    assert!(matches!(set(first, "loud").await, Outcome::Error(_)));
    // A server that starts later is told.
    one.stop();
    while aggregator.call_tool(Some(&raw(r#"{"name":"one_do"}"#))).await.is_error() {
        tokio::task::yield_now().await;
    }
    assert_eq!(one.heard(&["logging/setLevel"]).await.1, r#"{"level":"debug"}"#);
    // And a client that has gone is no longer counted.
    Upstream::forget(&aggregator, first);
    set(ClientId::new(), "emergency").await;
    assert_eq!(two.heard(&["logging/setLevel"]).await.1, r#"{"level":"error"}"#);
}

trait IsError {
    fn is_error(&self) -> bool;
}

impl IsError for Outcome {
    fn is_error(&self) -> bool {
        matches!(self, Outcome::Error(_))
    }
}

const SUBSCRIPTIONS: &[&str] = &["resources/subscribe", "resources/unsubscribe"];

pub(crate) async fn event(events: &mut Receiver<Event>) -> (String, String) {
    let event = events.recv().await.unwrap();
    (event.method.to_string(), event.params.as_ref().map_or_else(String::new, |params| params.get().to_owned()))
}

#[tokio::test]
async fn a_resource_is_subscribed_to_once_and_as_long_as_anyone_is() {
    let (aggregator, mut one, mut two) = two();
    let mut events = aggregator.events().unwrap();
    aggregator.tools().await;
    let (first, second) = (ClientId::new(), ClientId::new());
    let send = async |client, method: &str, uri: &str| {
        let call = Call::new(method, Some(raw(&format!(r#"{{"uri":"{uri}"}}"#)))).of_client(client);
        aggregator.call(call).await
    };
    for client in [first, second, first] {
        assert!(!send(client, "resources/subscribe", "two+shared:1").await.is_error());
    }
    assert_eq!(two.heard(SUBSCRIPTIONS).await, ("resources/subscribe".to_owned(), r#"{"uri":"shared:1"}"#.to_owned()));
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"x":1.0,"uri":"shared:1"}}"#;
    two.say(updated);
    let expected = r#"{"x":1.0,"uri":"two+shared:1"}"#.to_owned();
    assert_eq!(event(&mut events).await, ("notifications/resources/updated".to_owned(), expected));
    // The same resource of another is another.
    assert!(!send(first, "resources/subscribe", "shared:1").await.is_error());
    one.say(updated);
    assert_eq!(event(&mut events).await.1, r#"{"x":1.0,"uri":"shared:1"}"#);
    two.say(updated);
    assert!(event(&mut events).await.1.contains("two+"), "it was told once");
    assert_eq!(one.heard_so_far(SUBSCRIPTIONS).len(), 1);
    send(first, "resources/unsubscribe", "two+shared:1").await;
    send(first, "resources/unsubscribe", "two+shared:1").await;
    assert_eq!(two.heard_so_far(SUBSCRIPTIONS), [], "another one still is");
    // A server that starts again is told.
    two.stop();
    while aggregator.call_tool(Some(&raw(r#"{"name":"two_do"}"#))).await.is_error() {
        tokio::task::yield_now().await;
    }
    assert_eq!(two.heard(SUBSCRIPTIONS).await.0, "resources/subscribe");
    Upstream::forget(&aggregator, second);
    assert_eq!(
        two.heard(SUBSCRIPTIONS).await,
        ("resources/unsubscribe".to_owned(), r#"{"uri":"shared:1"}"#.to_owned())
    );
    assert!(send(first, "resources/subscribe", "other:1").await.is_error());
    assert_eq!(one.heard_so_far(SUBSCRIPTIONS), []);
}

#[tokio::test]
async fn who_has_no_subscriptions_is_not_asked_for_any() {
    let plain = Stage::new(r#""capabilities":{"resources":{}}"#, |method, _| match method {
        "tools/list" => result(r#"{"tools":[]}"#),
        "resources/list" => result(r#"{"resources":[{"uri":"a:1","name":"n"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        _ => Reply::Never,
    });
    let aggregator = Aggregator::new(vec![plain.backend("srv")]).unwrap();
    let error = ask(&aggregator, "resources/subscribe", r#"{"uri":"a:1"}"#).await.unwrap_err();
    assert_eq!(error["code"], -32601);
}

#[tokio::test]
async fn what_a_server_says_and_asks_has_its_name_on_it() {
    let server = Stage::new(r#""capabilities":{"tools":{}}"#, |method, _| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{}}]}"#),
        _ => Reply::Never,
    });
    let aggregator = Arc::new(Aggregator::new(vec![server.backend("srv")]).unwrap());
    aggregator.tools().await;
    let (client, mut reached) = Client::connect();
    let params = r#"{"name":"srv_do","_meta":{"progressToken":"p"}}"#;
    let call = Call::new("tools/call", Some(raw(params))).with_sink(client);
    let calling = tokio::spawn({
        let aggregator = aggregator.clone();
        async move { aggregator.call(call).await }
    });
    let mut server = server;
    server.heard(&["tools/call"]).await;
    server.say(
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"db","data":1.0}}"#,
    );
    assert_eq!(note(&mut reached).await.1, r#"{"level":"info","logger":"srv/db","data":1.0}"#);
    server.say(r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"x":1.0}}}"#);
    let (request, answer) = question(&mut reached).await;
    assert_eq!(request.params.unwrap().get(), r#"{"message":"srv: Who?","requestedSchema":{"x":1.0}}"#);
    answer.send(Verdict::Result(RawValue::NULL.to_owned())).unwrap();
    tokio::time::timeout(Duration::from_secs(60), async {
        server.heard(&[""]).await; // the answer is no request
    })
    .await
    .unwrap();
    calling.abort();
}

#[tokio::test]
async fn whoever_may_use_some_tools_may_use_nothing_else() {
    let table = |method: &str, params: &str| match method {
        "tools/list" => result(
            r#"{"tools":[{"name":"get","inputSchema":{"type":"object"}},{"name":"drop","inputSchema":{"type":"object"}}]}"#,
        ),
        "tools/call" => result(r#"{"content":[]}"#),
        "prompts/list" => result(r#"{"prompts":[{"name":"ask"}]}"#),
        "resources/list" => result(r#"{"resources":[{"uri":"a:1","name":"a"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[{"uriTemplate":"b:{x}","name":"b"}]}"#),
        _ => result(params),
    };
    let server = Stage::new(ALL, table);
    let whole = Aggregator::new(vec![server.backend("srv")]).unwrap();
    let mut policy = ServerPolicy::default();
    policy.only = Some(["get".into()].into());
    let mut some = Stage::new(ALL, table);
    let only = Aggregator::new(vec![some.backend("srv").with_policy(policy)]).unwrap();
    for (method, params, allowed) in [
        ("tools/call", r#"{"name":"srv_get","arguments":{}}"#, true),
        ("tools/call", r#"{"name":"srv_drop","arguments":{}}"#, false),
        ("prompts/get", r#"{"name":"srv_ask"}"#, false),
        ("resources/read", r#"{"uri":"a:1"}"#, false),
        ("resources/read", r#"{"uri":"b:2"}"#, false),
        ("resources/read", r#"{"uri":"c:3"}"#, false),
        ("resources/subscribe", r#"{"uri":"a:1"}"#, false),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"srv_ask"},"argument":{"name":"x","value":""}}"#,
            false,
        ),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/resource","uri":"b:{x}"},"argument":{"name":"x","value":""}}"#,
            false,
        ),
    ] {
        if params != r#"{"uri":"c:3"}"# {
            assert!(ask(&whole, method, params).await.is_ok(), "twin: {method} {params}");
        }
        assert_eq!(ask(&only, method, params).await.is_ok(), allowed, "{method} {params}");
    }
    let listed = |method| ask(&only, method, "");
    assert!(!listed("tools/list").await.unwrap().contains("drop"));
    for method in ["prompts/list", "resources/list", "resources/templates/list"] {
        let list = listed(method).await.unwrap_or_default();
        assert!(!list.contains("ask") && !list.contains("a:1") && !list.contains("b:"), "{list}");
    }
    let can = only.describe().await.capabilities;
    assert!(can.tools && !can.prompts && !can.resources && !can.subscribe && !can.completions);
    let asked = ["prompts/get", "resources/read", "resources/subscribe", "completion/complete"];
    assert_eq!(some.heard_so_far(&asked), [], "the server was asked nothing");
}
