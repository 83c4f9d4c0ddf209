//! Arguments that a tool wants in headers too.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, StreamableHttpLimits};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    serving::Endpoint,
};

#[tokio::test]
async fn a_header_that_is_not_what_the_argument_is_is_refused_before_the_server_hears_of_it() {
    let mut stage = Stage::new(r#""capabilities":{"tools":{}}"#, |method, params| {
        match method {
        "tools/list" => result(
            json!({ "tools": [
                { "name": "go", "inputSchema": { "type": "object", "properties": {
                    "region": { "type": ["string", "null"], "x-mcp-header": "Region" }, "n": { "type": "integer" } } } },
                { "name": "plain", "inputSchema": { "type": "object" } },
            ] })
            .to_string(),
        ),
        "tools/call" => result(params),
        _ => Reply::Never,
    }
    });
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
    let region = json!({ "region": "eu" });
    for (case, tool, arguments, header, right) in [
        ("the same", "srv_go", &region, Some("eu"), true),
        ("the same in base64", "srv_go", &region, Some("=?base64?ZXU=?="), true),
        ("neither", "srv_go", &json!({ "n": 1 }), None, true),
        ("null is none", "srv_go", &json!({ "region": null }), None, true),
        ("a tool without", "srv_plain", &region, None, true),
        ("no header", "srv_go", &region, None, false),
        ("another value", "srv_go", &region, Some("us"), false),
        ("base64 without its padding", "srv_go", &region, Some("=?base64?ZXU?="), false),
        ("no argument", "srv_go", &json!({}), Some("eu"), false),
    ] {
        let mut headers =
            vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", tool)];
        headers.extend(header.map(|value| ("Mcp-Param-Region", value)));
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": tool, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            } } });
        let reply = endpoint.post(&headers, &body.to_string()).await;
        let calls = stage.heard_so_far(&["tools/call"]).len();
        if right {
            assert_eq!((reply.status, calls), (StatusCode::OK, 1), "{case}: {}", reply.body);
        } else {
            let code: &Value = &reply.json()["error"]["code"];
            assert_eq!((reply.status, code, calls), (StatusCode::BAD_REQUEST, &json!(-32020), 0), "{case}");
        }
    }
}
