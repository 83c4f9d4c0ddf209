//! An independent implementation at both ends: its server behind our pipes, and its client before our endpoint.

use std::sync::Arc;

use gigmcp_mcp::{
    Aggregator, Backend, BoxFuture, Launch, LaunchError, StdioLimits, StdioUpstream, StreamableHttpLimits, Upstream,
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex, split};

use crate::serving::Endpoint;

/// A server of the other implementation with one tool, on two pages.
struct Other;

impl ServerHandler for Other {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let second = request.and_then(|request| request.cursor).is_some();
        let name = if second { "shout" } else { "greet" };
        let mut result = ListToolsResult::with_all_items(vec![Tool::new(name, "says it", serde_json::Map::new())]);
        result.next_cursor = (!second).then(|| "more".to_owned());
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = format!("{} {:?}", request.name, request.arguments.and_then(|map| map.get("who").cloned()));
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

struct LaunchOther;

impl Launch for LaunchOther {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            let (ours, theirs) = duplex(64 << 10);
            tokio::spawn(async move {
                let server = Other.serve(split(theirs)).await.unwrap();
                server.waiting().await.unwrap();
            });
            let (stdout, stdin) = split(ours);
            let upstream = StdioUpstream::connect(stdin, stdout, StdioLimits::default()).await?;
            Ok(Arc::new(upstream) as Arc<dyn Upstream>)
        })
    }
}

/// Carries a client's lines to the endpoint and its answers back.
async fn carry(client: DuplexStream, endpoint: Endpoint) {
    let (input, mut output) = split(client);
    let mut lines = BufReader::new(input).lines();
    let mut session: Option<String> = None;
    while let Ok(Some(line)) = lines.next_line().await {
        let headers: Vec<_> = session.iter().map(|id| ("mcp-session-id", &**id)).collect();
        let reply = endpoint.post(&headers, &line).await;
        if reply.headers.contains_key("mcp-session-id") {
            session = Some(reply.session());
        }
        if !reply.body.is_empty() {
            output.write_all(format!("{}\n", reply.body).as_bytes()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn another_implementations_client_and_server_meet_through_us() {
    let backend = |name: &str| Backend::new(name.parse().unwrap(), Arc::new(LaunchOther));
    let aggregator = Arc::new(Aggregator::new(vec![backend("one"), backend("two")]).unwrap());
    let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
    let (near, far) = duplex(64 << 10);
    tokio::spawn(carry(far, endpoint));
    let client = ().serve(split(near)).await.unwrap();

    let tools = client.list_all_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["one_greet", "one_shout", "two_greet", "two_shout"]);

    let arguments = serde_json::from_str(r#"{"who":"you"}"#).unwrap();
    let called = client.call_tool(CallToolRequestParams::new("two_shout").with_arguments(arguments)).await.unwrap();
    let text = called.content[0].as_text().unwrap();
    assert_eq!(text.text, r#"shout Some(String("you"))"#);

    let unknown = client.call_tool(CallToolRequestParams::new("three_shout")).await.unwrap_err();
    assert!(unknown.to_string().contains("Unknown tool: three_shout"), "{unknown}");
}
