//! Another implementation's own HTTP client before our endpoint, in both eras, with a server of either behind it.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, Principal, StreamableHttpLimits, Upstream};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient,
    model::{
        CallToolRequestParams, ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
        GetPromptRequestParams, Implementation, ProtocolVersion, ReadResourceRequestParams, ServerNotification,
        SubscriptionFilter,
    },
    service::{RequestContext, RunningService},
    transport::{
        StreamableHttpClientTransport, UnixSocketHttpClient,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::UnixListener;

use crate::{
    played::{Reply, Stage, result},
    serving::endpoint_of,
};

/// Somebody who answers what they are asked.
pub(crate) struct Person;

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(
            ClientCapabilities::builder().enable_elicitation().build(),
            Implementation::new("person", "1"),
        )
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { message, .. } = request else { panic!("a form") };
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "asked": message })))
    }
}

/// The other implementation's client of this kind, before these servers. The directory holds the endpoint's socket.
pub(crate) async fn client_of(
    upstream: Arc<dyn Upstream>,
    lifecycle: ClientLifecycleMode,
) -> (RunningService<RoleClient, Person>, TempDir) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("endpoint");
    let listener = UnixListener::bind(&path).unwrap();
    let endpoint = Arc::new(endpoint_of(StreamableHttpLimits::default()));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (endpoint, upstream) = (endpoint.clone(), upstream.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (endpoint, upstream) = (endpoint.clone(), upstream.clone());
                async move { Ok::<_, hyper::Error>(endpoint.handle(&Principal::new("one"), &upstream, request).await) }
            });
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(TokioIo::new(connection), service));
        }
    });
    let http = UnixSocketHttpClient::new(path.to_str().unwrap(), URL);
    let transport =
        StreamableHttpClientTransport::with_client(http, StreamableHttpClientTransportConfig::with_uri(URL));
    (Person.serve_with_lifecycle(transport, lifecycle).await.unwrap(), directory)
}

const URL: &str = "http://localhost/mcp";

pub(crate) fn discover() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
}

/// Tools, prompts and resources; `ask` asks.
fn table(method: &str, params: &str) -> Reply {
    match method {
        "tools/list" => result(
            r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}},{"name":"ask","inputSchema":{"type":"object"}}]}"#,
        ),
        "prompts/list" => result(r#"{"prompts":[{"name":"p"}]}"#),
        "prompts/get" => result(r#"{"messages":[{"role":"user","content":{"type":"text","text":"Hello"}}]}"#),
        "resources/list" => result(r#"{"resources":[{"uri":"a:1","name":"one"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "resources/read" => result(r#"{"contents":[{"uri":"a:1","text":"words"}]}"#),
        "resources/subscribe" => result("{}"),
        "tools/call" if params.contains(r#""do""#) => result(r#"{"content":[{"type":"text","text":"done"}]}"#),
        // Of the newer era.
        "tools/call" if params.contains("inputResponses") => {
            assert!(params.contains(r#""asked":"srv: Who?""#) && params.contains(r#""requestState":"s""#), "{params}");
            result(r#"{"content":[{"type":"text","text":"asked"}]}"#)
        }
        "tools/call" if params.contains("clientCapabilities") => result(format!(
            r#"{{"resultType":"input_required","requestState":"s","inputRequests":{{"q":{{"method":"elicitation/create","params":{QUESTION}}}}}}}"#
        )),
        _ => Reply::Never,
    }
}

const QUESTION: &str =
    r#"{"mode":"form","message":"Who?","requestedSchema":{"type":"object","properties":{"asked":{"type":"string"}}}}"#;

#[tokio::test]
async fn another_implementations_client_is_served_in_both_eras_by_servers_of_both() {
    let capabilities = r#""capabilities":{"tools":{},"prompts":{},"resources":{"subscribe":true}}"#;
    for (modern_server, modern_client) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut stage = match modern_server {
            true => Stage::modern(capabilities, table),
            false => Stage::new(capabilities, table),
        };
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
        let lifecycle = if modern_client { discover() } else { ClientLifecycleMode::Initialize };
        let (client, _directory) = client_of(aggregator, lifecycle).await;
        let version = client.peer_info().unwrap().protocol_version.clone();
        assert_eq!(version == ProtocolVersion::V_2026_07_28, modern_client, "{version}");

        let tools = client.list_all_tools().await.unwrap();
        assert_eq!(tools.iter().map(|tool| &*tool.name).collect::<Vec<_>>(), ["srv_do", "srv_ask"]);
        let called = client.call_tool(CallToolRequestParams::new("srv_do")).await.unwrap();
        assert_eq!(called.content[0].as_text().unwrap().text, "done");
        let unknown = client.call_tool(CallToolRequestParams::new("srv_other")).await.unwrap_err();
        assert!(unknown.to_string().contains("Unknown tool: srv_other"), "{unknown}");
        assert_eq!(client.list_all_prompts().await.unwrap()[0].name, "srv_p");
        assert_eq!(client.get_prompt(GetPromptRequestParams::new("srv_p")).await.unwrap().messages.len(), 1);
        assert_eq!(client.list_all_resources().await.unwrap()[0].uri, "a:1");
        assert_eq!(client.read_resource(ReadResourceRequestParams::new("a:1")).await.unwrap().contents.len(), 1);

        stage.heard_so_far(&[]);
        let asking = client.call_tool(CallToolRequestParams::new("srv_ask"));
        let answering = async {
            if modern_server {
                return;
            }
            stage.heard(&["tools/call"]).await;
            let request = stage.heard_requests();
            stage.say(format!(r#"{{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{QUESTION}}}"#));
            let answer = stage.heard_answer().await;
            assert!(answer.contains(r#""asked":"srv: Who?""#), "{answer}");
            let text = r#"{"content":[{"type":"text","text":"asked"}]}"#;
            stage.say(format!(r#"{{"jsonrpc":"2.0","id":{request},"result":{text}}}"#));
        };
        let (asked, ()) = tokio::join!(asking, answering);
        assert_eq!(asked.unwrap().content[0].as_text().unwrap().text, "asked", "{modern_server} {modern_client}");

        if modern_client && !modern_server {
            let filter = SubscriptionFilter::builder().resource_subscription("a:1").build();
            let mut heard = client.listen(filter).await.unwrap();
            let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1"}}"#;
            stage.say(updated);
            let told = heard.next().await.unwrap().unwrap();
            assert!(matches!(told, ServerNotification::ResourceUpdatedNotification(_)), "{told:?}");
            heard.cancel().await.unwrap();
        }
        client.cancel().await.unwrap();
    }
}
