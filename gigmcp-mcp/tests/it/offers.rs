//! Prompts, resources, completions, logging and subscriptions of many servers as one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gigmcp_mcp::{
    Aggregator, AggregatorLimits, Call, Capabilities, ClientId, Event, FaultKind, Outcome, Remedy, Upstream, Verdict,
};
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

async fn ask(aggregator: &Aggregator, method: &str, params: &str) -> Result<String, Value> {
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
    assert_eq!(found.unwrap(), r#"{"contents":["two"]}"#);
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

async fn event(events: &mut Receiver<Event>) -> (String, String) {
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

#[tokio::test(start_paused = true)]
async fn a_changed_list_is_told_once_it_has_settled_and_only_if_it_is_another() {
    let size = Arc::new(AtomicUsize::new(1));
    let counted = size.clone();
    let mut server = Stage::new(r#""capabilities":{"tools":{},"prompts":{}}"#, move |method, _| match method {
        "tools/list" => {
            let tools = (0..counted.load(Ordering::SeqCst))
                .map(|n| json!({"name": format!("t{n}"), "inputSchema": {"type": "object"}}));
            result(json!({ "tools": tools.collect::<Vec<_>>() }).to_string())
        }
        "prompts/list" => result(r#"{"prompts":[]}"#),
        _ => Reply::Never,
    });
    let aggregator = Aggregator::new(vec![server.backend("srv")]).unwrap();
    let mut events = aggregator.events().unwrap();
    aggregator.tools().await;
    server.heard_so_far(&[]);
    let changed = |list: &str| format!(r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed"}}"#);
    size.store(2, Ordering::SeqCst);
    for list in ["tools", "prompts", "tools", "tools"] {
        server.say(changed(list));
    }
    assert_eq!(event(&mut events).await, ("notifications/tools/list_changed".to_owned(), String::new()));
    let lists: Vec<_> = server.heard_so_far(&["tools/list", "prompts/list"]).into_iter().map(|heard| heard.0).collect();
    assert_eq!(lists, ["tools/list", "prompts/list"], "each once");
    server.say(changed("tools")); // but it is the same
    server.heard(&["tools/list"]).await;
    size.store(3, Ordering::SeqCst);
    server.say(changed("tools"));
    event(&mut events).await;
    assert_eq!(aggregator.tools().await.tools.len(), 3);
    assert!(events.try_recv().is_err());
    server.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#);
    assert_eq!(event(&mut events).await.1, r#"{"logger":"srv","level":"info","data":1}"#);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_too_late_for_a_list_is_told_of_when_it_is_there() {
    use crate::scripted::{Launcher, Plan};
    let (slow, mut launched) = Launcher::new([Plan::Play]);
    let aggregator = Aggregator::new(vec![slow.backend("slow")]).unwrap();
    let mut events = aggregator.events().unwrap();
    assert!(aggregator.tools().await.tools.is_empty());
    let mut server = launched.recv().await.unwrap();
    server.greet().await;
    let id = server.hear().await.id;
    server.answer(&id, r#"{"tools":[{"name":"do","inputSchema":{}}]}"#).await;
    assert_eq!(event(&mut events).await.0, "notifications/tools/list_changed");
    assert_eq!(aggregator.tools().await.tools.len(), 1);
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn long_lists_come_in_pages_whose_cursors_are_ours_alone() {
    let server = || {
        Stage::new(r#""capabilities":{"tools":{},"prompts":{}}"#, |method, _| {
            let items: Vec<_> =
                (0..5).map(|n| json!({"name": format!("n{n}"), "inputSchema": {"type": "object"}})).collect();
            match method {
                "tools/list" => result(json!({ "tools": items }).to_string()),
                "prompts/list" => result(json!({ "prompts": items }).to_string()),
                _ => Reply::Never,
            }
        })
    };
    let limits = AggregatorLimits { page_items: 2, ..AggregatorLimits::default() };
    let (mine, other) = (server(), server());
    let aggregator = Aggregator::builder().backends(vec![mine.backend("srv")]).limits(limits).build().unwrap();
    let elsewhere = Aggregator::builder().backends(vec![other.backend("srv")]).limits(limits).build().unwrap();
    let page = async |from: &Aggregator, method: &str, cursor: &Value| {
        let params = if cursor.is_null() { String::new() } else { json!({ "cursor": cursor }).to_string() };
        ask(from, method, &params).await.map(|text| serde_json::from_str::<Value>(&text).unwrap())
    };
    let mut names = Vec::new();
    let mut cursor = Value::Null;
    let mut cursors = Vec::new();
    loop {
        let found = page(&aggregator, "tools/list", &cursor).await.unwrap();
        names.extend(found["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
        cursor = found["nextCursor"].clone();
        match cursor.is_null() {
            true => break,
            false => cursors.push(cursor.clone()),
        }
    }
    assert_eq!(names, ["srv_n0", "srv_n1", "srv_n2", "srv_n3", "srv_n4"]);
    assert_eq!(cursors.len(), 2);
    for (case, from, method, cursor) in [
        ("of another list", &aggregator, "prompts/list", &cursors[0]),
        ("of another aggregator", &elsewhere, "tools/list", &cursors[0]),
        ("made up", &aggregator, "tools/list", &json!("x")),
        ("a number", &aggregator, "tools/list", &json!(2)),
    ] {
        assert_eq!(page(from, method, cursor).await.unwrap_err()["code"], -32602, "{case}");
    }
    assert!(page(&aggregator, "tools/list", &cursors[0]).await.is_ok(), "twin");
}

#[tokio::test]
async fn a_cursor_of_a_list_that_has_changed_is_unknown() {
    let size = Arc::new(AtomicUsize::new(3));
    let counted = size.clone();
    let server = Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
        "tools/list" => {
            let tools =
                (0..counted.load(Ordering::SeqCst)).map(|n| json!({"name": format!("t{n}"), "inputSchema": {}}));
            result(json!({ "tools": tools.collect::<Vec<_>>() }).to_string())
        }
        _ => Reply::Never,
    });
    let limits = AggregatorLimits { page_items: 2, ..AggregatorLimits::default() };
    let aggregator = Aggregator::builder().backends(vec![server.backend("srv")]).limits(limits).build().unwrap();
    let first: Value = serde_json::from_str(&ask(&aggregator, "tools/list", "").await.unwrap()).unwrap();
    let cursor = json!({ "cursor": first["nextCursor"] }).to_string();
    assert!(ask(&aggregator, "tools/list", &cursor).await.is_ok(), "twin");
    let mut events = aggregator.events().unwrap();
    size.store(4, Ordering::SeqCst);
    server.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    event(&mut events).await;
    assert_eq!(ask(&aggregator, "tools/list", &cursor).await.unwrap_err()["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn all_servers_together_can_do_what_any_can() {
    let tools = Stage::new(r#""capabilities":{"tools":true},"instructions":"Use it.""#, |method, _| match method {
        "tools/list" => result(r#"{"tools":[]}"#),
        _ => Reply::Never,
    });
    let prompts = Stage::new(r#""capabilities":{"prompts":{}},"instructions":" ""#, |method, _| match method {
        "tools/list" => result(r#"{"tools":[]}"#),
        "prompts/list" => result(r#"{"prompts":[]}"#),
        _ => Reply::Never,
    });
    let aggregator = Aggregator::new(vec![tools.backend("one"), prompts.backend("two")]).unwrap();
    let description = aggregator.describe().await;
    let mut expected = Capabilities::default();
    (expected.tools, expected.prompts, expected.list_changed) = (true, true, true);
    assert_eq!(description.capabilities, expected);
    assert_eq!(description.instructions.as_deref(), Some("## one\nUse it."));
    // One that is not there yet may be able to do anything.
    let hanging = Stage::new("", |_, _| Reply::Never);
    let (late, _launched) = crate::scripted::Launcher::new([crate::scripted::Plan::Hang]);
    let aggregator = Aggregator::new(vec![tools.backend("one"), late.backend("late")]).unwrap();
    assert_eq!(aggregator.describe().await.capabilities, Capabilities::ALL);
    drop(hanging);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_costs_only_itself() {
    let server = Stage::new(r#""capabilities":{"prompts":{},"resources":{}}"#, |method, _| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do"}]}"#),
        "prompts/list" => Reply::Never,
        "resources/list" => Reply::Error(r#"{"code":1,"message":"no"}"#.to_owned()),
        "resources/templates/list" => result(r#"{"resourceTemplates":[{"uriTemplate":"a://{x}"}]}"#),
        _ => Reply::Never,
    });
    let aggregator = Aggregator::new(vec![server.backend("srv")]).unwrap();
    let listing = aggregator.tools().await;
    assert_eq!(listing.tools.len(), 1);
    let kinds: Vec<_> = listing.faults.iter().map(|fault| fault.kind.to_string()).collect();
    assert_eq!(
        kinds,
        [
            "the list of prompts was not complete within 10 s",
            "the server refused to list its resources",
            "item 0 of tools: it has no inputSchema (mended)",
            "item 0 of resourceTemplates: it has no name (mended)",
        ]
    );
    assert!(
        listing.faults.iter().any(|fault| matches!(&fault.kind, FaultKind::Item(odd) if odd.remedy == Remedy::Mended))
    );
    assert_eq!(ask(&aggregator, "prompts/list", "").await.unwrap(), r#"{"prompts":[]}"#);
    assert_eq!(
        ask(&aggregator, "resources/templates/list", "").await.unwrap(),
        r#"{"resourceTemplates":[{"name":"a://{x}","uriTemplate":"a://{x}"}]}"#
    );
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
    tokio::time::timeout(Duration::from_secs(5), async {
        server.heard(&[""]).await; // the answer is no request
    })
    .await
    .unwrap();
    calling.abort();
}
