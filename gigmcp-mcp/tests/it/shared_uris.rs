//! URIs that two servers want, and subscriptions that two clients have.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use gigmcp_mcp::{Aggregator, Call, ClientId, Outcome, Prefixes, Upstream};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    seam::raw,
};

const ALL: &str = r#""capabilities":{"tools":{},"resources":{"subscribe":true}}"#;

/// A server with these resources, which says in each that it is this one.
fn listing(name: &'static str, uris: &[&str]) -> Stage {
    let uris: Vec<Value> = uris.iter().map(|uri| json!({ "uri": uri, "name": name })).collect();
    let listed = json!({ "resources": uris }).to_string();
    Stage::new(ALL, move |method, params| match method {
        "tools/list" => result(r#"{"tools":[]}"#),
        "resources/list" => result(listed.clone()),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "resources/read" => {
            let params: Value = serde_json::from_str(params).unwrap();
            result(json!({ "contents": [{ "uri": params["uri"], "text": name }] }).to_string())
        }
        _ => result("{}"),
    })
}

async fn ask(aggregator: &Aggregator, method: &str, params: &Value) -> Value {
    match aggregator.call(Call::new(method, Some(raw(&params.to_string())))).await {
        Outcome::Complete(result) | Outcome::Error(result) => serde_json::from_str(result.get()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_server_lists_what_another_ones_resource_is_called_here() {
    // The first has taken the second one's URI, so that has another; and would take that, too.
    let (first, second) = (listing("first", &["a:1", "second+a:1", "second+a:2"]), listing("second", &["a:1"]));
    let aggregator = Aggregator::new(vec![first.backend("first"), second.backend("second")]).unwrap();
    let listed = ask(&aggregator, "resources/list", &json!({})).await;
    let listed: Vec<(&str, &str)> = listed["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["uri"].as_str().unwrap(), item["name"].as_str().unwrap()))
        .collect();
    assert_eq!(
        listed,
        [("a:1", "first"), ("first+second+a:1", "first"), ("second+a:2", "first"), ("second+a:1", "second")]
    );
    for (uri, owner) in listed {
        let read = ask(&aggregator, "resources/read", &json!({ "uri": uri })).await;
        assert_eq!(read["contents"][0]["text"], owner, "{uri}: {read}");
        assert_eq!(read["contents"][0]["uri"], uri);
    }
}

/// A server with this template, or none, whose tool points at `doc://7`.
fn pointing(name: &'static str, template: Option<&'static str>) -> Stage {
    Stage::new(ALL, move |method, params| match method {
        "tools/list" => result(r#"{"tools":[{"name":"point","inputSchema":{"type":"object"}}]}"#),
        "resources/list" => result(r#"{"resources":[]}"#),
        "resources/templates/list" => {
            let templates: Vec<_> = template.iter().map(|uri| json!({ "uriTemplate": uri, "name": "t" })).collect();
            result(json!({ "resourceTemplates": templates }).to_string())
        }
        "tools/call" => result(r#"{"content":[{"type":"resource_link","uri":"doc://7","name":"d"}]}"#),
        "resources/read" => {
            let params: Value = serde_json::from_str(params).unwrap();
            result(json!({ "contents": [{ "uri": params["uri"], "text": name }] }).to_string())
        }
        _ => result("{}"),
    })
}

#[tokio::test]
async fn a_link_draws_nothing_to_its_server_that_another_one_has() {
    for (theirs, linked, bare) in [(Some("doc://{id}"), "a+doc://7", "b"), (Some("other://{id}"), "doc://7", "a")] {
        let (one, two) = (pointing("a", None), pointing("b", theirs));
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        aggregator.tools().await;
        ask(&aggregator, "resources/templates/list", &json!({})).await;
        let called = ask(&aggregator, "tools/call", &json!({ "name": "a_point" })).await;
        assert_eq!(called["content"][0]["uri"], linked, "{theirs:?}");
        for (uri, owner) in [(linked, "a"), ("doc://7", bare)] {
            let read = ask(&aggregator, "resources/read", &json!({ "uri": uri })).await;
            assert_eq!((&read["contents"][0]["text"], &read["contents"][0]["uri"]), (&json!(owner), &json!(uri)));
        }
    }
}

#[tokio::test]
async fn of_very_many_links_those_that_nobody_looks_at_have_their_servers_name() {
    let links: Vec<_> = (0..100)
        .map(|number| json!({ "type": "resource_link", "uri": format!("doc://{number}"), "name": "d" }))
        .collect();
    let links = json!({ "content": links }).to_string();
    let one = Stage::new(ALL, move |method, params| match method {
        "tools/list" => result(r#"{"tools":[{"name":"point","inputSchema":{"type":"object"}}]}"#),
        "resources/list" => result(r#"{"resources":[]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "tools/call" => result(links.clone()),
        _ => result(format!(
            r#"{{"contents":[{{"uri":{},"text":"a"}}]}}"#,
            serde_json::from_str::<Value>(params).unwrap_or_default()["uri"]
        )),
    });
    let two = pointing("b", Some("other://{id}"));
    let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
    aggregator.tools().await;
    let called = ask(&aggregator, "tools/call", &json!({ "name": "a_point" })).await;
    let uris: Vec<&str> =
        called["content"].as_array().unwrap().iter().map(|link| link["uri"].as_str().unwrap()).collect();
    assert_eq!((uris[0], uris[63], uris[64], uris[99]), ("doc://0", "doc://63", "a+doc://64", "a+doc://99"));
    for uri in [uris[0], uris[99]] {
        let read = ask(&aggregator, "resources/read", &json!({ "uri": uri })).await;
        assert_eq!(read["contents"][0]["text"], "a", "{uri}");
    }
}

#[tokio::test]
async fn names_that_look_alike_in_two_servers_have_their_servers_names() {
    let tools = |name: &'static str| {
        Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(format!(
                r#"{{"tools":[{{"name":"{name}","inputSchema":{{"type":"object"}}}},{{"name":"own_{name}","inputSchema":{{"type":"object"}}}}]}}"#
            )),
            _ => result(r#"{"content":[]}"#),
        })
    };
    for (other, expected) in
        [("Read_File", ["a_read_file", "b_Read_File"]), ("write_file", ["read_file", "write_file"])]
    {
        let (one, two) = (tools("read_file"), tools(other));
        let backends = [one.backend("a"), two.backend("b")];
        let aggregator = Aggregator::builder().backends(backends).prefixes(Prefixes::WhenNeeded).build().unwrap();
        let listed = ask(&aggregator, "tools/list", &json!({})).await;
        let names: Vec<&str> =
            listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!([names[0], names[2]], expected);
        for name in names {
            let called = ask(&aggregator, "tools/call", &json!({ "name": name })).await;
            assert!(called["content"].is_array(), "{name}: {called}");
        }
    }
}

fn of(method: &str, client: ClientId) -> Call {
    Call::new(method, Some(raw(r#"{"uri":"a:1"}"#))).of_client(client)
}

#[tokio::test]
async fn who_subscribes_beside_one_who_gives_up_is_told_to_the_server() {
    for both in [true, false] {
        let answers = Arc::new(AtomicBool::new(false));
        let does = Arc::clone(&answers);
        let mut stage = Stage::new(ALL, move |method, _| match method {
            "resources/list" => result(r#"{"resources":[{"uri":"a:1","name":"n"}]}"#),
            "resources/subscribe" if !does.load(Ordering::SeqCst) => Reply::Never,
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            _ => result("{}"),
        });
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
        aggregator.tools().await;
        let (one, two) = (ClientId::new(), ClientId::new());
        let first = {
            let aggregator = Arc::clone(&aggregator);
            tokio::spawn(async move { aggregator.call(of("resources/subscribe", one)).await })
        };
        stage.heard(&["resources/subscribe"]).await;
        answers.store(true, Ordering::SeqCst);
        if both {
            assert!(matches!(aggregator.call(of("resources/subscribe", two)).await, Outcome::Complete(_)));
        }
        first.abort();
        stage.heard(&["notifications/cancelled"]).await;
        if both {
            stage.heard(&["resources/subscribe"]).await;
        } else {
            drop(first.await);
            aggregator.call(Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#)))).await;
            assert!(stage.heard_so_far(&["resources/subscribe"]).is_empty(), "twin");
        }
    }
}

#[tokio::test]
async fn who_subscribes_while_the_last_one_leaves_stays_subscribed() {
    for both in [true, false] {
        let mut stage = listing("srv", &["a:1"]);
        let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
        let (one, two) = (ClientId::new(), ClientId::new());
        assert!(matches!(aggregator.call(of("resources/subscribe", one)).await, Outcome::Complete(_)));
        stage.heard(&["resources/subscribe"]).await;
        Upstream::forget(&aggregator, one);
        if both {
            assert!(matches!(aggregator.call(of("resources/subscribe", two)).await, Outcome::Complete(_)));
        }
        // What the server hears from now on leaves nobody out.
        ask(&aggregator, "resources/read", &json!({ "uri": "a:1" })).await;
        let heard = stage.heard_so_far(&["resources/subscribe", "resources/unsubscribe"]);
        let heard: Vec<_> = heard.iter().map(|(method, _)| &**method).collect();
        let expected: &[&str] = if both { &[] } else { &["resources/unsubscribe"] };
        assert_eq!(heard, expected, "twin: nobody is left");
        if both {
            Upstream::forget(&aggregator, two);
            stage.heard(&["resources/unsubscribe"]).await;
        }
    }
}

#[tokio::test]
async fn what_is_not_there_any_more_can_be_unsubscribed_from() {
    let gone = Arc::new(AtomicBool::new(false));
    let is_gone = Arc::clone(&gone);
    let all = r#""capabilities":{"tools":{},"resources":{"subscribe":true,"listChanged":true}}"#;
    let mut stage = Stage::new(all, move |method, _| match method {
        "tools/list" => result(r#"{"tools":[]}"#),
        "resources/list" if is_gone.load(Ordering::SeqCst) => result(r#"{"resources":[]}"#),
        "resources/list" => result(r#"{"resources":[{"uri":"a:1","name":"n"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        _ => result("{}"),
    });
    // With another server, not every URI is the only one's.
    let other = listing("other", &["b:1"]);
    let aggregator = Aggregator::new(vec![stage.backend("srv"), other.backend("other")]).unwrap();
    let (one, two) = (ClientId::new(), ClientId::new());
    assert!(matches!(aggregator.call(of("resources/subscribe", one)).await, Outcome::Complete(_)));
    gone.store(true, Ordering::SeqCst);
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#);
    while ask(&aggregator, "resources/list", &json!({})).await["resources"].as_array().unwrap().len() > 1 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(aggregator.call(of("resources/unsubscribe", two)).await, Outcome::Error(_)), "it had none");
    assert!(matches!(aggregator.call(of("resources/unsubscribe", one)).await, Outcome::Complete(_)), "twin");
    assert_eq!(stage.heard(&["resources/unsubscribe"]).await.1, r#"{"uri":"a:1"}"#);
}
