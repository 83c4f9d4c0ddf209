//! What is held back is reached by no other way, and what a server says of its tools makes nothing looser.

use std::sync::{Arc, Mutex};

use gigmcp_mcp::{
    Aggregator, BoxFuture, Definition, DefinitionKind, FlowPolicy, Pins, PinsUnknown, Process, ServerPolicy, Standing,
    Upstream,
};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    seam::raw,
    seams::{ODD, TASKS, ask, built, one, policy, server},
};

/// Everything is agreed to but what is named here.
#[derive(Debug)]
struct But(&'static [(DefinitionKind, &'static str)]);

impl Pins for But {
    fn judge<'a>(
        &'a self,
        said: &'a [Arc<Definition>],
        _: Process,
    ) -> BoxFuture<'a, Result<Vec<Standing>, PinsUnknown>> {
        let held = |said: &Arc<Definition>| self.0.contains(&(said.kind, &*said.name));
        let standing = move |said| if held(said) { Standing::Changed } else { Standing::Agreed };
        Box::pin(async move { Ok(said.iter().map(standing).collect()) })
    }
}

#[tokio::test]
async fn what_is_held_back_is_not_completed_under_another_type() {
    let mut stage = server();
    let pins = But(&[(DefinitionKind::Template, "held:{x}")]);
    let aggregator = one(&stage, |policy| policy.pins = Some(Arc::new(pins))).await;
    let mut complete = async |reference: Value| {
        let argument = json!({ "name": "x", "value": "" });
        let params = json!({ "ref": reference, "argument": argument });
        let got = ask(&aggregator, "one", "completion/complete", params).await;
        let heard = stage.heard_so_far(&["completion/complete"]).pop();
        let heard = heard.map(|(_, params)| serde_json::from_str::<Value>(&params).unwrap()["ref"].clone());
        (got["completion"].is_object(), heard)
    };
    for reference in [
        json!({ "type": "ref/resource", "uri": "held:{x}" }),
        json!({ "type": "ref/resource", "uri": "held:{x}", "name": "srv_ok" }),
        json!({ "uri": "held:{x}", "name": "srv_ok" }),
        json!({ "type": "ref/other", "uri": "held:{x}", "name": "srv_ok" }),
    ] {
        assert_eq!(complete(reference.clone()).await, (false, None), "{reference}");
    }
    // The twins.
    let prompt = json!({ "type": "ref/prompt", "name": "srv_ok", "uri": "held:{x}" });
    assert_eq!(complete(prompt).await, (true, Some(json!({ "type": "ref/prompt", "name": "ok" }))));
    let free = json!({ "type": "ref/resource", "name": "srv_ok", "uri": "free:{x}" });
    assert_eq!(complete(free).await, (true, Some(json!({ "type": "ref/resource", "uri": "free:{x}" }))));
}

#[tokio::test]
async fn methods_of_extensions_lead_to_nothing_that_is_held_back() {
    let mut stage = server();
    let pins = But(&[(DefinitionKind::Template, "held:{x}"), (DefinitionKind::Resource, "doc:1")]);
    let aggregator = one(&stage, |policy| policy.pins = Some(Arc::new(pins))).await;
    for (uri, passes) in [("doc:1", false), ("held:7", false), ("free:7", true)] {
        let got = ask(&aggregator, "one", "com.example/odd/do", json!({ "uri": uri })).await;
        assert_eq!(got["error"]["data"]["code"] == "definition-changed", !passes, "{uri}: {got}");
        assert_eq!(stage.heard_so_far(&["com.example/odd/do"]).is_empty(), !passes, "{uri}");
    }
}

/// A server of the older era with these tools.
fn tools(listed: &Value) -> Stage {
    let listed = json!({ "tools": listed }).to_string();
    Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
        "tools/list" => result(listed.clone()),
        "tools/call" => result(r#"{"content":[]}"#),
        _ => Reply::Never,
    })
}

#[tokio::test]
async fn what_a_server_declares_of_an_extension_is_pinned() {
    for held in [true, false] {
        let mut stage = server();
        let pins = But(if held { &[(DefinitionKind::Instructions, ODD)] } else { &[] });
        let aggregator = one(&stage, |policy| policy.pins = Some(Arc::new(pins))).await;
        let got = ask(&aggregator, "one", "com.example/odd/do", json!({})).await;
        assert_eq!(got["error"]["data"]["code"] == "definition-changed", held, "{got}");
        assert_eq!(stage.heard_so_far(&["com.example/odd/do"]).is_empty(), held);
        assert_eq!(aggregator.describe().await.extensions.has(ODD), !held);
        assert!(aggregator.describe().await.extensions.has(TASKS), "twin: which says nothing");
    }
}

/// Agrees to everything, and keeps it.
#[derive(Debug, Default)]
struct Reads(Mutex<Vec<Arc<Definition>>>);

impl Pins for Reads {
    fn judge<'a>(
        &'a self,
        said: &'a [Arc<Definition>],
        _: Process,
    ) -> BoxFuture<'a, Result<Vec<Standing>, PinsUnknown>> {
        self.0.lock().unwrap().extend(said.iter().cloned());
        Box::pin(async move { Ok(vec![Standing::Agreed; said.len()]) })
    }
}

#[tokio::test]
async fn what_is_pinned_is_what_the_server_wrote_and_what_is_shown_is_clean() {
    let written = json!({ "name": "do", "description": "A\u{200b}B\u{1b}[31m", "inputSchema": { "type": "object" } });
    let (stage, reads) = (tools(&json!([written])), Arc::new(Reads::default()));
    let aggregator = one(&stage, |policy| policy.pins = Some(reads.clone())).await;
    let shown = aggregator.tools().await.tools[0].definition.to_string();
    assert!(shown.contains(r#""description":"AB""#), "{shown}");
    let expected = Definition::new(DefinitionKind::Tool, "do", &raw(&written.to_string()));
    assert_eq!(reads.0.lock().unwrap()[0].digest, expected.digest, "as a manifest has it");
}

#[tokio::test]
async fn what_a_server_says_of_its_tools_makes_things_stricter_and_never_looser() {
    let tool =
        |name: &str, hints: Value| json!({ "name": name, "annotations": hints, "inputSchema": { "type": "object" } });
    let stage = tools(&json!([
        tool("reads", json!({ "readOnlyHint": true })),
        tool("breaks", json!({ "readOnlyHint": true, "destructiveHint": true })),
        tool("boasts", json!({ "readOnlyHint": true, "destructiveHint": false })),
    ]));
    let change = |policy: &mut ServerPolicy| policy.read_only_tools = ["reads".into(), "breaks".into()].into();
    let policy = policy(change);
    let builder = Aggregator::builder().backends([stage.backend("srv").with_policy(policy)]);
    let aggregator = built(builder.tool_mode(gigmcp_mcp::ToolMode::Meta)).await;
    for (tool, passes) in [("reads", true), ("breaks", false), ("boasts", false)] {
        let params = json!({ "name": "call_read_only_tool", "arguments": { "name": format!("srv_{tool}") } });
        let got = ask(&aggregator, "one", "tools/call", params).await;
        assert_eq!(got["isError"] == true, !passes, "{tool}: {got}");
    }
    let listed = aggregator.tools().await.tools;
    let shown: Vec<Value> = listed
        .iter()
        .map(|tool| serde_json::from_str::<Value>(tool.definition.get()).unwrap()["annotations"].clone())
        .collect();
    assert_eq!(shown[0], json!({ "readOnlyHint": true }));
    assert_eq!(shown[2], json!({ "readOnlyHint": false, "destructiveHint": true }));
}

#[tokio::test]
async fn a_tool_that_says_it_deals_with_the_world_counts_as_one_that_does() {
    for (open, refused) in [(true, true), (false, false)] {
        let stage = tools(&json!([
            { "name": "do", "annotations": { "openWorldHint": open }, "inputSchema": { "type": "object" } },
        ]));
        let policy = policy(|policy| policy.labels.reads_private = true);
        let builder = Aggregator::builder().backends([stage.backend("srv").with_policy(policy)]);
        let aggregator = built(builder.flow(FlowPolicy::Ask)).await;
        let got = ask(&aggregator, "one", "tools/call", json!({ "name": "srv_do" })).await;
        assert_eq!(got["error"]["data"]["code"] == "flow-needs-consent", refused, "{open}: {got}");
    }
}

#[tokio::test]
async fn the_name_of_what_is_held_back_leads_to_no_other_server() {
    let send = json!([{ "name": "send", "inputSchema": { "type": "object" } }]);
    for held in [true, false] {
        let (one, mut two) = (tools(&send), tools(&send));
        let other = tools(&json!([]));
        let pins = policy(|policy| policy.pins = Some(Arc::new(But(&[(DefinitionKind::Tool, "send")]))));
        let first = if held { one.backend("one").with_policy(pins) } else { other.backend("one") };
        let builder = Aggregator::builder().backends([first, two.backend("two")]);
        let aggregator = built(builder.prefixes(gigmcp_mcp::Prefixes::WhenNeeded)).await;
        let got = ask(&aggregator, "one", "tools/call", json!({ "name": "send" })).await;
        assert_eq!(got["content"].is_array(), !held, "{got}");
        assert_eq!(two.heard_so_far(&["tools/call"]).is_empty(), held);
    }
}
