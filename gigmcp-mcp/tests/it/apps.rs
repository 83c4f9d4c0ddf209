//! What points to a resource leads to it, also if another server has one of the same URI.

use gigmcp_mcp::{Aggregator, Call, Outcome, Upstream};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    seam::raw,
};

/// A server with a tool that has a page, and a resource beside it, that may write some letters otherwise.
fn server(name: &'static str, spelled: bool) -> Stage {
    Stage::new(r#""capabilities":{"tools":{},"prompts":{},"resources":{}}"#, move |method, params| {
        let reply = match method {
        "tools/list" => result(
            json!({ "tools": [
                { "name": "show", "inputSchema": { "type": "object" }, "_meta": {
                    "ui": { "resourceUri": "ui://page", "csp": { "x": 1.5 } }, "ui/resourceUri": "ui://page", "kept": 1.0 } },
                { "name": "own", "inputSchema": { "type": "object" }, "_meta": { "ui": { "resourceUri": format!("ui://{name}") } } },
            ] })
            .to_string(),
        ),
        "prompts/list" => result(r#"{"prompts":[{"name":"ask"}]}"#),
        "resources/list" => result(
            json!({ "resources": [{ "uri": "ui://page", "name": "page" }, { "uri": format!("ui://{name}"), "name": "own" }] })
                .to_string(),
        ),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "resources/read" => {
            let params: Value = serde_json::from_str(params).unwrap();
            result(json!({ "contents": [{ "uri": params["uri"], "text": name }] }).to_string())
        }
        "tools/call" => result(
            json!({ "content": [
                { "type": "resource_link", "uri": "ui://page", "name": "page" },
                { "type": "resource", "resource": { "uri": "ui://page", "text": "x" } },
                { "type": "resource_link", "uri": format!("ui://{name}"), "name": "own" },
                { "type": "text", "text": "ui://page" },
            ] })
            .to_string(),
        ),
        "prompts/get" => result(
            r#"{"messages":[{"role":"user","content":{"type":"resource_link","uri":"ui://page","name":"page"}}]}"#,
        ),
        _ => Reply::Never,
    };
        match reply {
            Reply::Result(text) if spelled => {
                result(text.replace(r#""resource"#, r#""\u0072esource"#).replace("esourceUri", r"esource\u0055ri"))
            }
            reply => reply,
        }
    })
}

async fn ask(aggregator: &Aggregator, method: &str, params: Value) -> Value {
    match aggregator.call(Call::new(method, Some(raw(&params.to_string())))).await {
        Outcome::Complete(result) => serde_json::from_str(result.get()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tools_page_and_a_results_links_are_those_of_their_own_server() {
    for spelled in [false, true] {
        let (one, two) = (server("one", spelled), server("two", spelled));
        let aggregator = Aggregator::new(vec![one.backend("one"), two.backend("two")]).unwrap();
        let listed = ask(&aggregator, "tools/list", json!({})).await;
        for (server, page) in [("one", "ui://page"), ("two", "two+ui://page")] {
            let tool = |name: String| {
                let tools = listed["tools"].as_array().unwrap();
                tools.iter().find(|tool| tool["name"] == *name).unwrap()["_meta"].clone()
            };
            assert_eq!(
                tool(format!("{server}_show")),
                json!({ "ui": { "resourceUri": page, "csp": { "x": 1.5 } }, "ui/resourceUri": page, "kept": 1.0 })
            );
            let own = format!("ui://{server}");
            assert_eq!(tool(format!("{server}_own")), json!({ "ui": { "resourceUri": own } }));
            let called = ask(&aggregator, "tools/call", json!({ "name": format!("{server}_show") })).await;
            let content = &called["content"];
            assert_eq!(
                [&content[0]["uri"], &content[1]["resource"]["uri"], &content[2]["uri"], &content[3]["text"]],
                [page, page, &own, "ui://page"]
            );
            let prompt = ask(&aggregator, "prompts/get", json!({ "name": format!("{server}_ask") })).await;
            assert_eq!(prompt["messages"][0]["content"]["uri"], page);
            for uri in [page, &own] {
                let read = ask(&aggregator, "resources/read", json!({ "uri": uri })).await;
                assert_eq!(read["contents"], json!([{ "uri": uri, "text": server }]), "{uri}");
            }
        }
    }
}
