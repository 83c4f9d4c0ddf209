//! URIs that two servers want, and subscriptions that two clients have.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use gigmcp_mcp::{Aggregator, Call, CatalogueStore, ClientId, DefinitionKind, Outcome, Prefixes, Upstream};
use serde_json::{Value, json};

use crate::{
    pins_cold::Shelf,
    played::{Reply, Stage, result},
    seam::raw,
    seams::{self, built, policy, task},
    seams_pinned::But,
};

const ALL: &str = r#""capabilities":{"tools":{},"resources":{"subscribe":true}}"#;

/// A server with these resources, which says in each that it is this one.
pub(crate) fn listing(name: &'static str, uris: &[&str]) -> Stage {
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

pub(crate) async fn ask(aggregator: &Aggregator, method: &str, params: &Value) -> Value {
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
fn pointing(name: &'static str, template: Option<&str>) -> Stage {
    offering(name, (&[], template), &link("doc://7"))
}

pub(crate) fn link(uri: &str) -> String {
    json!({ "type": "resource_link", "uri": uri, "name": "d" }).to_string()
}

/// A server with these resources and this template, whose tool gives this content; it says in each resource that it is this one.
pub(crate) fn offering(name: &'static str, (listed, template): (&[&str], Option<&str>), content: &str) -> Stage {
    let listed: Vec<_> =
        listed.iter().map(|uri| json!({ "uri": uri, "name": "n", "description": "Something." })).collect();
    let templates: Vec<_> = template.iter().map(|uri| json!({ "uriTemplate": uri, "name": "t" })).collect();
    let (listed, templates) = (json!({ "resources": listed }), json!({ "resourceTemplates": templates }));
    let content = format!(r#"{{"content":[{content}]}}"#);
    Stage::new(ALL, move |method, params| match method {
        "tools/list" => result(r#"{"tools":[{"name":"point","inputSchema":{"type":"object"}}]}"#),
        "resources/list" => result(listed.to_string()),
        "resources/templates/list" => result(templates.to_string()),
        "tools/call" => result(content.clone()),
        "resources/read" => {
            let params: Value = serde_json::from_str(params).unwrap();
            result(json!({ "contents": [{ "uri": params["uri"], "text": name }] }).to_string())
        }
        _ => result("{}"),
    })
}

pub(crate) async fn called(aggregator: &Aggregator, tool: &str) -> Vec<String> {
    let called = ask(aggregator, "tools/call", &json!({ "name": tool })).await;
    let uri = |block: &Value| block["uri"].as_str().or(block["resource"]["uri"].as_str()).unwrap().to_owned();
    called["content"].as_array().unwrap().iter().map(uri).collect()
}

/// Whose a resource is that is read under this URI; nobody's, if it cannot be read.
pub(crate) async fn read(aggregator: &Aggregator, uri: &str) -> Option<String> {
    let read = ask(aggregator, "resources/read", &json!({ "uri": uri })).await;
    let content = read["contents"].get(0)?;
    assert_eq!(content["uri"], uri);
    content["text"].as_str().map(String::from)
}

#[tokio::test]
async fn a_link_draws_nothing_to_its_server_that_another_one_has() {
    for (theirs, linked, bare) in [(Some("doc://{id}"), "a+doc://7", "b"), (Some("other://{id}"), "doc://7", "a")] {
        let (one, two) = (pointing("a", None), pointing("b", theirs));
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        aggregator.tools().await;
        ask(&aggregator, "resources/templates/list", &json!({})).await;
        assert_eq!(called(&aggregator, "a_point").await, [linked], "{theirs:?}");
        for (uri, owner) in [(linked, "a"), ("doc://7", bare)] {
            assert_eq!(read(&aggregator, uri).await.as_deref(), Some(owner));
        }
    }
}

#[tokio::test]
async fn a_link_leads_to_its_own_server_however_it_is_told() {
    let long = format!("doc://{}", "a".repeat(5000));
    let spelled = |name: &str| link("doc://7").replace(&name[..1], &format!("\\u{:04x}", name.as_bytes()[0]));
    let embedded = json!({ "type": "resource", "resource": { "uri": "doc://7", "text": "t" } }).to_string();
    for (case, content, uri, template) in [
        ("as usual", link("doc://7"), "doc://7", None),
        ("a letter of its type is spelled otherwise", spelled("resource_link"), "doc://7", None),
        ("embedded", embedded, "doc://7", None),
        ("longer than what is remembered", link(&long), &*long, None),
        ("its server has a template for everything", link("doc://7"), "doc://7", Some("{+any}")),
    ] {
        for theirs in [uri, "other://7"] {
            let (one, two) = (offering("a", (&[], template), &content), offering("b", (&[theirs], None), ""));
            let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
            aggregator.tools().await;
            let linked = called(&aggregator, "a_point").await.remove(0);
            let is_anothers = theirs == uri;
            assert_eq!(linked.starts_with("a+"), is_anothers, "{case}: {theirs}: {linked}");
            if is_anothers {
                assert_eq!(read(&aggregator, uri).await.as_deref(), Some("b"), "{case}");
            }
            // What is so long is not remembered, and cannot be read.
            if uri.len() < 4096 {
                assert_eq!(read(&aggregator, &linked).await.as_deref(), Some("a"), "{case}: {theirs}");
            }
        }
    }
}

#[tokio::test]
async fn a_link_is_not_led_to_who_has_named_it_before() {
    for (named_before, linked, bare) in [(true, "a+doc://7", "b"), (false, "doc://7", "a")] {
        let (one, two) = (pointing("a", None), pointing("b", None));
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        aggregator.tools().await;
        if named_before {
            assert_eq!(called(&aggregator, "b_point").await, ["doc://7"]);
        }
        assert_eq!(called(&aggregator, "a_point").await, [linked], "{named_before}");
        assert_eq!(read(&aggregator, linked).await.as_deref(), Some("a"));
        assert_eq!(read(&aggregator, "doc://7").await.as_deref(), Some(bare));
    }
}

#[tokio::test]
async fn a_link_draws_nothing_to_its_server_that_is_held_back_of_another() {
    let resource: &'static [_] = &[(DefinitionKind::Resource, "doc://7")];
    let of_template: &'static [_] = &[(DefinitionKind::Template, "doc://{id}")];
    for (case, listed, template, held, linked, bare) in [
        ("a resource", "doc://7", "x://{id}", resource, "a+doc://7", None),
        ("a template", "x://7", "doc://{id}", of_template, "a+doc://7", None),
        ("twin: another one", "doc://8", "x://{id}", resource, "doc://7", Some("a")),
        ("twin: another template", "x://7", "x://{id}", of_template, "doc://7", Some("a")),
    ] {
        let (one, mut two) = (pointing("a", None), offering("b", (&[listed], Some(template)), ""));
        let policy = policy(|policy| policy.pins = Some(Arc::new(But(held))));
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b").with_policy(policy)]).unwrap();
        aggregator.tools().await;
        assert_eq!(called(&aggregator, "a_point").await, [linked], "{case}");
        assert_eq!(read(&aggregator, linked).await.as_deref(), Some("a"), "{case}");
        assert_eq!(read(&aggregator, "doc://7").await.as_deref(), bare, "{case}");
        let refused = ask(&aggregator, "resources/read", &json!({ "uri": "doc://7" })).await;
        assert_eq!(refused["data"]["code"] == "definition-changed", bare.is_none(), "{case}: {refused}");
        assert_eq!(read(&aggregator, "b+doc://7").await, None, "{case}: nor by its own server's name");
        assert!(two.heard_so_far(&["resources/read"]).is_empty(), "{case}");
    }
}

#[tokio::test]
async fn what_a_server_has_that_nobody_has_looked_at_yet_is_its_own() {
    for theirs in ["doc://7", "other://7"] {
        let shelf = Arc::<Shelf>::default();
        let two = offering("b", (&[theirs], None), "");
        let kept = || two.backend("b").with_store(Arc::clone(&shelf) as Arc<dyn CatalogueStore>);
        drop(Aggregator::new(vec![kept()]).unwrap().tools().await);
        let one = pointing("a", None);
        let aggregator = Aggregator::new(vec![one.backend("a"), kept()]).unwrap();
        // Of the second, no list has been asked for.
        assert_eq!(called(&aggregator, "a_point").await[0].starts_with("a+"), theirs == "doc://7", "{theirs}");
    }
}

#[tokio::test]
async fn a_link_in_the_result_of_a_task_leads_to_its_own_server() {
    for theirs in ["doc://7", "other://7"] {
        let (stage, two) = (seams::server(), offering("b", (&[theirs], None), ""));
        let aggregator = built(Aggregator::builder().backends([stage.backend("srv"), two.backend("b")])).await;
        let linked: Value = serde_json::from_str(&link("doc://7")).unwrap();
        let done = json!({ "status": "completed", "result": { "content": [linked], "structuredContent": { "n": 1 } } });
        let id = task(&aggregator, "one", &done).await;
        let got = seams::ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await;
        let uri = got["result"]["content"][0]["uri"].as_str().unwrap_or_else(|| panic!("{got}"));
        assert_eq!(uri.starts_with("srv+"), theirs == "doc://7", "{theirs}: {got}");
        let read = ask(&aggregator, "resources/read", &json!({ "uri": uri })).await;
        assert_eq!(read["contents"], json!([]), "it is the one that says nothing: {read}");
    }
}

#[tokio::test]
async fn of_links_that_would_take_too_long_to_compare_the_rest_have_their_servers_name() {
    let links: Vec<_> = (0..100).map(|number| link(&format!("doc://{number}"))).collect();
    let one = offering("a", (&[], None), &links.join(","));
    for (template, compared) in [(format!("other://{{id}}{}", "a".repeat(400_000)), false), ("x://{id}".into(), true)] {
        let two = offering("b", (&[], Some(&template)), "");
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        aggregator.tools().await;
        let uris = called(&aggregator, "a_point").await;
        assert_eq!((&*uris[0], uris[99].starts_with("a+")), ("doc://0", !compared));
        for uri in [&uris[0], &uris[99]] {
            assert_eq!(read(&aggregator, uri).await.as_deref(), Some("a"), "{uri}");
        }
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
