//! The lists of many servers as one: what has changed, pages, and what is missing of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gigmcp_mcp::{Aggregator, AggregatorLimits, Capabilities, FaultKind, Remedy, Upstream};
use serde_json::{Value, json};

use crate::{
    offers::{ask, event},
    played::{Reply, Stage, result},
};

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
    server.say(r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"1"}}"#);
    assert_eq!(event(&mut events).await.1, r#"{"elicitationId":"1"}"#);
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
