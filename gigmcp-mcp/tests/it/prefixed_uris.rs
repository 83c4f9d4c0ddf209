//! URIs that begin with a server's name lead to that server, whoever lists or names something that is called so; and what a server
//! only names and does not list leads to no other.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, Call, CatalogueStore, ClientId, Outcome, Upstream};
use serde_json::{Value, json};

use crate::{
    pins_cold::Shelf,
    played::{Reply, Stage, result},
    seam::raw,
    seams::built,
    shared_uris::{ask, called, link, offering, read},
};

#[tokio::test]
async fn no_server_lists_what_another_ones_link_or_template_is_called_here() {
    for (case, template, lists, uri, owner) in [
        ("its link", None, &["doc://7", "a+doc://7"][..], "a+doc://7", "a"),
        ("its template", Some("doc://{id}"), &["doc://7", "a+doc://7"], "a+doc://7", "a"),
        ("twin: what it does not have", Some("other://{id}"), &["a+doc://8"], "a+doc://8", "b"),
    ] {
        let (one, two) = (offering("a", (&[], template), &link("doc://7")), offering("b", (lists, None), ""));
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        aggregator.tools().await;
        if template.is_none() {
            assert_eq!(called(&aggregator, "a_point").await, [uri], "{case}");
        }
        assert_eq!(read(&aggregator, uri).await.as_deref(), Some(owner), "{case}");
        // What is listed can still be read, of who has it.
        let listed = ask(&aggregator, "resources/list", &json!({})).await;
        let listed: Vec<&str> =
            listed["resources"].as_array().unwrap().iter().map(|one| one["uri"].as_str().unwrap()).collect();
        assert_eq!(listed.contains(&uri), owner == "b", "{case}: {listed:?}");
        for uri in listed {
            assert_eq!(read(&aggregator, uri).await.as_deref(), Some("b"), "{case}: {uri}");
        }
    }
}

#[tokio::test]
async fn no_server_has_what_another_ones_template_is_called_here() {
    let one = offering("a", (&[], Some("doc://{id}")), "");
    let two = offering("b", (&[], Some("doc://{id}")), "");
    for (lists, uri, owner) in [("b+doc://7", "b+doc://7", "b"), ("b+x://7", "b+x://7", "c")] {
        let three = offering("c", (&[lists], None), "");
        let backends = vec![one.backend("a"), two.backend("b"), three.backend("c")];
        let aggregator = Aggregator::new(backends).unwrap();
        aggregator.tools().await;
        assert_eq!(read(&aggregator, uri).await.as_deref(), Some(owner), "{uri}");
        let templates = ask(&aggregator, "resources/templates/list", &json!({})).await;
        assert_eq!(templates["resourceTemplates"][1]["uriTemplate"], "b+doc://{id}");
    }
}

#[tokio::test]
async fn a_link_in_the_name_of_another_server_leads_to_its_own() {
    for (case, template, named, linked) in [
        ("the other has a template for it", Some("doc://{id}"), false, "b+a+doc://7"),
        ("the other has named it", None, true, "b+a+doc://7"),
        ("twin: the other has not", None, false, "a+doc://7"),
    ] {
        let (one, two) =
            (offering("a", (&[], template), &link("doc://7")), offering("b", (&[], None), &link("a+doc://7")));
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        aggregator.tools().await;
        if named {
            assert_eq!(called(&aggregator, "a_point").await, ["doc://7"], "{case}");
        }
        assert_eq!(called(&aggregator, "b_point").await, [linked], "{case}");
        assert_eq!(read(&aggregator, linked).await.as_deref(), Some("b"), "{case}");
        // The other's own come in between, and the link is still no way to them.
        assert!(called(&aggregator, "a_point").await[0].ends_with("doc://7"), "{case}");
        assert_eq!(read(&aggregator, &called(&aggregator, "b_point").await[0]).await.as_deref(), Some("b"), "{case}");
    }
}

#[tokio::test]
async fn a_link_leads_to_its_server_although_others_have_named_it_first() {
    for (template, linked) in [(Some("doc://{id}"), "a+doc://7"), (Some("other://{id}"), "doc://7")] {
        let one = offering("c", (&[], template), "");
        let two = offering("a", (&[], Some("doc://{id}")), &link("doc://7"));
        let three = offering("b", (&[], None), &link("doc://7"));
        let backends = vec![one.backend("c"), two.backend("a"), three.backend("b")];
        let aggregator = Aggregator::new(backends).unwrap();
        aggregator.tools().await;
        assert_eq!(called(&aggregator, "b_point").await, ["b+doc://7"]);
        assert_eq!(called(&aggregator, "a_point").await, [linked], "{template:?}");
        assert_eq!(read(&aggregator, linked).await.as_deref(), Some("a"), "{template:?}");
    }
}

#[tokio::test]
async fn whoever_is_subscribed_is_told_by_the_name_they_know() {
    let names = ["doc://7", "a+doc://7"];
    for subscribed in [&names[..1], &names[1..], &names] {
        let (one, two) = (offering("a", (&[], Some("doc://{id}")), ""), offering("b", (&[], None), ""));
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        aggregator.tools().await;
        let mut events = aggregator.events().unwrap();
        let client = ClientId::new();
        for name in subscribed {
            let params = Some(raw(&json!({ "uri": name }).to_string()));
            let subscribe = Call::new("resources/subscribe", params).of_client(client);
            assert!(matches!(aggregator.call(subscribe).await, Outcome::Complete(_)));
        }
        one.say(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"doc://7"}}"#);
        one.say(r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"end"}}"#);
        let mut told = Vec::new();
        loop {
            let event = events.recv().await.unwrap();
            let params: Value = serde_json::from_str(event.params.as_deref().unwrap().get()).unwrap();
            let Some(uri) = params["uri"].as_str() else { break };
            told.push(uri.to_owned());
        }
        told.sort_unstable_by_key(String::len);
        assert_eq!(told, subscribed);
    }
}

#[tokio::test]
async fn that_a_linked_resource_has_changed_is_told_as_the_link_says() {
    for (theirs, linked) in [("doc://7", "a+doc://7"), ("other://7", "doc://7")] {
        let (one, two) = (offering("a", (&[], None), &link("doc://7")), offering("b", (&[theirs], None), ""));
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        aggregator.tools().await;
        assert_eq!(called(&aggregator, "a_point").await, [linked]);
        let params = Some(raw(&json!({ "uri": linked }).to_string()));
        let subscribe = Call::new("resources/subscribe", params).of_client(ClientId::new());
        assert!(matches!(aggregator.call(subscribe).await, Outcome::Complete(_)));
        let mut events = aggregator.events().unwrap();
        one.say(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"doc://7"}}"#);
        let told: Value = serde_json::from_str(events.recv().await.unwrap().params.as_ref().unwrap().get()).unwrap();
        assert_eq!(told, json!({ "uri": linked }), "{theirs}");
    }
}

#[tokio::test]
async fn what_another_one_has_only_named_is_told_as_who_has_it_calls_it() {
    let (one, two) = (offering("a", (&[], Some("doc://{id}")), ""), offering("b", (&[], None), &link("doc://7")));
    let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
    aggregator.tools().await;
    assert_eq!(called(&aggregator, "b_point").await, ["b+doc://7"]);
    let subscribe = Call::new("resources/subscribe", Some(raw(r#"{"uri":"doc://7"}"#))).of_client(ClientId::new());
    assert!(matches!(aggregator.call(subscribe).await, Outcome::Complete(_)));
    let mut events = aggregator.events().unwrap();
    one.say(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"doc://7"}}"#);
    assert_eq!(events.recv().await.unwrap().params.as_ref().unwrap().get(), r#"{"uri":"doc://7"}"#);
}

/// A server whose tool has a page that it does not list.
fn with_page() -> Stage {
    Stage::new(r#""capabilities":{"tools":{},"resources":{}}"#, |method, params| match method {
        "tools/list" => result(
            r#"{"tools":[{"name":"show","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://page"}}}]}"#,
        ),
        "resources/list" => result(r#"{"resources":[]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "resources/read" => {
            let params: Value = serde_json::from_str(params).unwrap();
            result(json!({ "contents": [{ "uri": params["uri"], "text": "a" }] }).to_string())
        }
        _ => Reply::Never,
    })
}

#[tokio::test]
async fn a_page_that_is_not_listed_is_its_own_servers() {
    for (theirs, page) in [("ui://page", "a+ui://page"), ("ui://other", "ui://page")] {
        let (one, two) = (with_page(), offering("b", (&[theirs], None), ""));
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        let listed = ask(&aggregator, "tools/list", &json!({})).await;
        assert_eq!(listed["tools"][0]["_meta"]["ui"]["resourceUri"], page, "{theirs}");
        assert_eq!(read(&aggregator, page).await.as_deref(), Some("a"), "{theirs}");
        assert_eq!(read(&aggregator, theirs).await.as_deref(), Some("b"));
    }
}

#[tokio::test]
async fn what_a_server_without_resources_names_is_not_its_own() {
    for (resources, listed) in [("", "a+ui://page"), (r#","resources":{}"#, "b+a+ui://page")] {
        let one = Stage::new(&format!(r#""capabilities":{{"tools":{{}}{resources}}}"#), |method, _| match method {
            "tools/list" => result(
                r#"{"tools":[{"name":"show","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://page"}}}]}"#,
            ),
            "resources/list" => result(r#"{"resources":[]}"#),
            "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
            _ => Reply::Never,
        });
        let two = offering("b", (&["a+ui://page"], None), "");
        let aggregator = Aggregator::new(vec![one.backend("a"), two.backend("b")]).unwrap();
        ask(&aggregator, "tools/list", &json!({})).await;
        assert_eq!(ask(&aggregator, "resources/list", &json!({})).await["resources"][0]["uri"], listed);
        assert_eq!(read(&aggregator, listed).await.as_deref(), Some("b"));
    }
}

#[tokio::test]
async fn what_is_kept_of_a_server_has_its_name_before_anybody_has_looked_at_it() {
    for (template, owner) in [("doc://{id}", "a"), ("other://{id}", "b")] {
        let (one, two) = (offering("a", (&[], Some(template)), ""), offering("b", (&["a+doc://7"], None), ""));
        let shelves = [Arc::<Shelf>::default(), Arc::default()];
        let kept = |stage: &Stage, name: &str, at: usize| {
            stage.backend(name).with_store(Arc::clone(&shelves[at]) as Arc<dyn CatalogueStore>)
        };
        let backends = || vec![kept(&one, "a", 0), kept(&two, "b", 1)];
        drop(built(Aggregator::builder().backends(backends())).await);
        let aggregator = Aggregator::new(backends()).unwrap();
        assert_eq!(read(&aggregator, "a+doc://7").await.as_deref(), Some(owner), "{template}");
    }
}
