//! A few tools in place of many: what they say.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use gigmcp_mcp::{
    Aggregator, Backend, BoxFuture, Call, CallObserver, CallRecord, CallVerdict, Launch, LaunchError, ListBudget,
    Outcome, ServerPolicy, StreamableHttpLimits, ToolMode, Upstream,
};
use serde_json::{Value, json, value::RawValue};

use crate::{
    played::{Reply, Stage, result},
    serving::Endpoint,
};

const TOOLS: &str = r#"{"tools":[
    {"name":"read_file","description":"Read a file. Of any size.","inputSchema":{"type":"object","properties":{"path":{}}},"x":1.0},
    {"name":"delete_file","title":"Delete a file","inputSchema":{"type":"object","properties":{"path":{}}}},
    {"name":"wait","description":"Waits","inputSchema":{"type":"object"}},
    {"name":"off","description":"Formats the file system","inputSchema":{"type":"object"}}]}"#;
const CAPABILITIES: &str = r#""capabilities":{"tools":{}},"serverInfo":{"name":"f","version":"1","title":"Files"},"instructions":"Paths are absolute. Always.""#;

pub(crate) fn files() -> Stage {
    Stage::new(CAPABILITIES, |method, params| match method {
        "tools/list" => result(TOOLS.replace("\n    ", "")),
        "tools/call" if params.contains("missing") => {
            Reply::Error(r#"{"code":-32000,"message":"gone","data":1.0}"#.into())
        }
        "tools/call" if params.contains("_file") => result(params.to_owned()),
        _ => Reply::Never,
    })
}

fn policy() -> ServerPolicy {
    let mut policy = ServerPolicy::default();
    policy.read_only_tools.insert("read_file".into());
    policy.disabled.insert("off".into());
    policy
}

pub(crate) struct Scene {
    pub(crate) endpoint: Endpoint,
    pub(crate) stage: Stage,
    pub(crate) session: String,
    pub(crate) aggregator: Arc<Aggregator>,
    records: Arc<Notes>,
}

#[derive(Default)]
struct Notes(Mutex<Vec<CallRecord>>);

impl CallObserver for Notes {
    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        Box::pin(async { self.0.lock().unwrap().push(record.clone()) })
    }
}

pub(crate) async fn scene(mode: ToolMode, always: &[&'static str]) -> Scene {
    let stage = files();
    let records = Arc::new(Notes::default());
    let builder = Aggregator::builder().backends([stage.backend("fs").with_policy(policy())]);
    let builder = builder.tool_mode(mode).always(always.iter().copied()).observed_by(records.clone());
    let aggregator = Arc::new(builder.build().unwrap());
    let endpoint = Endpoint::serve(aggregator.clone(), StreamableHttpLimits::default()).await;
    let session = endpoint.session(r#"{"elicitation":{}}"#).await;
    Scene { endpoint, stage, session, aggregator, records }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Client {
    Legacy,
    Modern,
}

pub(crate) const BOTH: [Client; 2] = [Client::Legacy, Client::Modern];

pub(crate) const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"roots":{}},"k":1.0}"#;

impl Scene {
    /// The answer to a request whose parameters are these members, as it is written.
    async fn ask(&self, client: Client, method: &str, name: &str, members: &str) -> String {
        let comma = if members.is_empty() { "" } else { "," };
        let meta = if client == Client::Modern { META } else { r#""_meta":{"k":1.0}"# };
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{members}{comma}{meta}}}}}"#);
        let headers = match client {
            Client::Legacy => vec![("mcp-session-id", &*self.session)],
            Client::Modern => vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("mcp-name", name)],
        };
        self.endpoint.post(&headers, &body).await.body
    }

    pub(crate) async fn call(&self, client: Client, name: &str, arguments: &str) -> String {
        self.ask(client, "tools/call", name, &format!(r#""name":"{name}","arguments":{arguments}"#)).await
    }

    pub(crate) async fn text(&self, name: &str, arguments: &str) -> (String, bool) {
        let answer: Value = serde_json::from_str(&self.call(Client::Modern, name, arguments).await).unwrap();
        let result = &answer["result"];
        let blocks = result["content"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let text: Vec<_> = blocks.iter().map(|block| block["text"].as_str().unwrap()).collect();
        (text.join("\n---\n"), result["isError"] == true)
    }

    pub(crate) async fn names(&self, client: Client) -> Vec<String> {
        let answer: Value = serde_json::from_str(&self.ask(client, "tools/list", "", "").await).unwrap();
        let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn records(&self) -> Vec<(String, Option<String>, CallVerdict)> {
        let records = std::mem::take(&mut *self.records.0.lock().unwrap());
        let said = |record: CallRecord| (record.exposed.into(), record.tool.map(Into::into), record.verdict);
        records.into_iter().map(said).collect()
    }
}

const FOUR: [&str; 4] = ["search_tools", "describe_tools", "call_tool", "call_read_only_tool"];

#[tokio::test]
async fn the_list_is_the_same_few_tools_whatever_clients_do() {
    for client in BOTH {
        let scene = scene(ToolMode::Meta, &["fs_wait", "fs_off", "fs_none", "none"]).await;
        let expected = [&FOUR[..], &["fs_wait"]].concat();
        assert_eq!(scene.names(client).await, expected);
        scene.call(client, "search_tools", r#"{"query":"read"}"#).await;
        scene.call(client, "describe_tools", r#"{"names":["fs_read_file"]}"#).await;
        scene.call(client, "call_tool", r#"{"name":"fs_read_file"}"#).await;
        assert_eq!(scene.names(client).await, expected, "{client:?}");
        let direct = self::scene(ToolMode::Direct, &[]).await;
        assert_eq!(direct.names(client).await, ["fs_read_file", "fs_delete_file", "fs_wait"], "twin");
        assert!(direct.call(client, "call_tool", r#"{"name":"fs_read_file"}"#).await.contains("Unknown tool"));
    }
}

/// A server that is counted and never starts.
#[derive(Default)]
struct Cold(AtomicUsize);

impl Launch for Cold {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(LaunchError::new("start", "cold", "no\n- forged: line")) })
    }
}

pub(crate) fn backend(name: &str, launch: &Arc<impl Launch + 'static>) -> Backend {
    Backend::new(name.parse().unwrap(), Arc::clone(launch) as Arc<dyn Launch>)
}

async fn list(aggregator: &Aggregator) -> Value {
    match aggregator.call(Call::new("tools/list", None)).await {
        Outcome::Complete(result) => serde_json::from_str(result.get()).unwrap(),
        other => panic!("a list was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn the_list_needs_no_server_to_run() {
    let cold = Arc::new(Cold::default());
    let build = |mode| Aggregator::builder().backends([backend("cold", &cold)]).tool_mode(mode).build().unwrap();
    assert_eq!(list(&build(ToolMode::Meta)).await["tools"].as_array().unwrap().len(), 4);
    assert_eq!(cold.0.load(Ordering::SeqCst), 0);
    assert_eq!(list(&build(ToolMode::Direct)).await["tools"], json!([]), "twin");
    assert_eq!(cold.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_found_is_told_in_few_words() {
    let scene = scene(ToolMode::Meta, &[]).await;
    for (arguments, expected) in [
        (
            r#"{"query":"reading? read file"}"#,
            // The last one by what people call its server.
            "3 tools fit, the best first:\nfs_read_file [read-only]: Read a file.\nfs_delete_file: Delete a file\nfs_wait: Waits",
        ),
        (r#"{"query":"read","detail":"name"}"#, "1 tool fits:\nfs_read_file [read-only]"),
        (
            r#"{"query":"file","limit":1,"server":"fs","detail":"name"}"#,
            "1 of 3 tools that fit, the best first:\nfs_delete_file",
        ),
        (
            r#"{"query":"read","detail":"schema"}"#,
            "1 tool fits:\n{\"name\":\"fs_read_file\",\"description\":\"Read a file. Of any size.\",\"inputSchema\":{\"type\":\"object\",\"properties\":{\"path\":{}}},\"x\":1.0}",
        ),
        (
            r#"{"query":"","detail":"name"}"#,
            "3 tools fit, the best first:\nfs_delete_file\nfs_read_file [read-only]\nfs_wait",
        ),
        (
            r#"{"query":"zeppelin"}"#,
            "No tool fits; try other words. An empty query lists tools by name. Servers and their tools: fs (3).",
        ),
        (
            r#"{"query":"formats system"}"#,
            "No tool fits; try other words. An empty query lists tools by name. Servers and their tools: fs (3).",
        ),
    ] {
        assert_eq!(scene.text("search_tools", arguments).await, (expected.to_owned(), false), "{arguments}");
    }
    for (arguments, expected) in [
        ("{}", "missing field `query`"),
        ("[]", "The arguments of search_tools are an object."),
        (r#"{"query":"a","limit":0}"#, "limit is 1 to 50."),
        (r#"{"query":"a","limit":51}"#, "limit is 1 to 50."),
        (r#"{"query":"a","detail":"all"}"#, "unknown variant `all`"),
        (r#"{"query":"a","querry":"b"}"#, "unknown field `querry`"),
        (r#"{"query":"a","server":"fz"}"#, "There is no server of that name. Servers: fs."),
    ] {
        let (text, failed) = scene.text("search_tools", arguments).await;
        assert!(failed && text.contains(expected), "{arguments}: {text}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_of_and_does_not_hide_the_others() {
    let (stage, cold) = (files(), Arc::new(Cold::default()));
    let mut said = ServerPolicy::default();
    said.purpose = Some("Cold\nstorage".to_owned());
    let backends = [backend("cold", &cold).with_policy(said), stage.backend("fs").with_policy(policy())];
    let aggregator = Aggregator::builder().backends(backends).tool_mode(ToolMode::Meta).build().unwrap();
    let params = json!({ "name": "search_tools", "arguments": { "query": "read", "detail": "name" } }).to_string();
    let Outcome::Complete(found) = aggregator.call_tool(Some(&RawValue::from_string(params).unwrap())).await else {
        panic!("it answers");
    };
    let found: Value = serde_json::from_str(found.get()).unwrap();
    assert_eq!(
        found["content"][0]["text"],
        "1 tool fits:\nfs_read_file [read-only]\nTools of cold could not be searched: start: no - forged: line."
    );
    assert_eq!(
        aggregator.describe().await.instructions.unwrap(),
        "The tools of these servers are not listed one by one. search_tools finds them, describe_tools is the load \
         (it gives their definitions), and call_tool or call_read_only_tool calls them. Servers:\n\
         - cold (not there now): Cold storage\n\
         - fs (3 tools): Paths are absolute."
    );
}

#[tokio::test]
async fn definitions_are_given_as_they_would_be_listed() {
    let scene = scene(ToolMode::Meta, &[]).await;
    let direct = self::scene(ToolMode::Direct, &[]).await;
    let listed = direct.ask(Client::Modern, "tools/list", "", "").await;
    let (text, failed) =
        scene.text("describe_tools", r#"{"names":["fs_read_file","fs_delete_file","fs_read_file"]}"#).await;
    let blocks: Vec<&str> = text.split("\n---\n").collect();
    assert!(!failed && listed.contains(blocks[0]) && listed.contains(blocks[1]), "{text}\n{listed}");
    assert_eq!(
        blocks[2..],
        [
            "Read-only, for call_read_only_tool: fs_read_file.",
            "How to use fs, in its own words:\nPaths are absolute. Always."
        ]
    );
    let (text, failed) = scene.text("describe_tools", r#"{"names":["fs_read","fs_off","fs_wait"]}"#).await;
    let blocks: Vec<&str> = text.split("\n---\n").collect();
    assert!(
        !failed && blocks[0].starts_with(r#"There is no tool "fs_read". The nearest names: fs_read_file, "#),
        "{text}"
    );
    assert_eq!(blocks[1], "The tool fs_off is switched off here; whoever set this up can switch it on");
    assert!(blocks[2].starts_with(r#"{"name":"fs_wait""#), "{text}");
    for (arguments, expected) in [
        (r#"{"names":[]}"#, "names are 1 to 20."),
        (r#"{"names":["fs_read"]}"#, "There is no tool"),
        (r#"{"names":"fs_read_file"}"#, "expected a sequence"),
    ] {
        let (text, failed) = scene.text("describe_tools", arguments).await;
        assert!(failed && text.contains(expected), "{arguments}: {text}");
    }
}

#[tokio::test]
async fn a_long_list_becomes_the_few_by_itself_and_stays_so() {
    let few = |max_tools| ToolMode::Auto(ListBudget { max_tools, ..ListBudget::default() });
    for (mode, is_meta) in [
        (few(3), false),
        (few(2), true),
        (ToolMode::Auto(ListBudget { max_tokens: 10, ..ListBudget::default() }), true),
    ] {
        let scene = scene(mode, &[]).await;
        for client in BOTH {
            for _ in 0..2 {
                assert_eq!(scene.names(client).await.contains(&"call_tool".to_owned()), is_meta, "{mode:?}");
                scene.call(client, "search_tools", r#"{"query":"read"}"#).await;
            }
            // Whoever still has the other list can go on with it.
            assert!(scene.call(client, "fs_read_file", "{}").await.contains("result"));
            let through = scene.call(client, "call_tool", r#"{"name":"fs_read_file"}"#).await;
            assert!(through.contains(r#""name":"read_file""#), "{through}");
        }
        assert_eq!(scene.aggregator.is_meta(), is_meta);
    }
    // A list at the edge stays what it was.
    for (was, is_meta) in [(false, false), (true, true)] {
        let stage = files();
        let builder = Aggregator::builder().backends([stage.backend("fs").with_policy(policy())]).tool_mode(few(3));
        let aggregator = builder.was_meta(was).build().unwrap();
        assert_eq!(list(&aggregator).await["tools"].as_array().unwrap().len() == 4, is_meta);
    }
}

#[tokio::test]
async fn what_lists_cost_is_counted_the_same_way_with_and_without() {
    let scene = scene(ToolMode::Meta, &["fs_wait"]).await;
    let report = scene.aggregator.token_report().await;
    assert_eq!((report.servers.len(), report.servers[0].server.as_str(), report.servers[0].tools), (1, "fs", 3));
    assert_eq!(report.direct, report.servers[0].tokens);
    let listed = async |mode, always: &[&'static str]| -> usize {
        let scene = self::scene(mode, always).await;
        let answer: Value = serde_json::from_str(&scene.ask(Client::Modern, "tools/list", "", "").await).unwrap();
        let tools = answer["result"]["tools"].as_array().unwrap().clone();
        tools.iter().map(|tool| gigmcp_mcp::estimated_tokens(&tool.to_string())).sum()
    };
    assert_eq!(report.direct, listed(ToolMode::Direct, &[]).await);
    assert_eq!(report.meta, listed(ToolMode::Meta, &["fs_wait"]).await);
    assert!(report.is_meta && report.faults.is_empty());
    let few = self::scene(ToolMode::Meta, &[]).await.aggregator.token_report().await;
    assert!(few.meta <= 650, "a model pays for every word of ours: {}", few.meta);
}

#[tokio::test]
async fn ten_thousand_tools_are_searched_whole() {
    let tools: Vec<Value> = (0..2_500)
        .map(|at| json!({ "name": format!("do_{at}"), "description": format!("Does thing number n{at} of many things"), "inputSchema": { "type": "object" } }))
        .collect();
    let tools = json!({ "tools": tools }).to_string();
    let stages: Vec<Stage> = (0..4)
        .map(|_| {
            let tools = tools.clone();
            Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
                "tools/list" => result(tools.clone()),
                _ => Reply::Never,
            })
        })
        .collect();
    let backends = stages.iter().enumerate().map(|(at, stage)| stage.backend(&format!("s{at}")));
    let aggregator = Aggregator::builder().backends(backends).tool_mode(ToolMode::Meta).build().unwrap();
    let params =
        json!({ "name": "search_tools", "arguments": { "query": "thing n2017", "detail": "name", "limit": 5 } })
            .to_string();
    let params = RawValue::from_string(params).unwrap();
    for _ in 0..2 {
        let Outcome::Complete(found) = aggregator.call_tool(Some(&params)).await else { panic!("it answers") };
        let found: Value = serde_json::from_str(found.get()).unwrap();
        assert_eq!(
            found["content"][0]["text"],
            "5 of 10000 tools that fit, the best first:\ns0_do_2017\ns1_do_2017\ns2_do_2017\ns3_do_2017\ns0_do_0"
        );
    }
}

/// Starts what is played once so many others are about to start as well.
struct Together(Stage, Arc<tokio::sync::Barrier>);

impl Launch for Together {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            self.1.wait().await;
            self.0.played.launch().await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn servers_whose_tools_are_described_start_side_by_side() {
    let starting = Arc::new(tokio::sync::Barrier::new(3));
    let backends = ["one", "two", "three"].map(|name| {
        let launch = Together(files(), Arc::clone(&starting));
        Backend::new(name.parse().unwrap(), Arc::new(launch))
    });
    let aggregator = Aggregator::builder().backends(backends).tool_mode(ToolMode::Meta).build().unwrap();
    let names = json!(["one_read_file", "two_wait", "three_none", "three_wait"]);
    let params = json!({ "name": "describe_tools", "arguments": { "names": names } });
    let params = RawValue::from_string(params.to_string()).unwrap();
    let Outcome::Complete(described) = aggregator.call_tool(Some(&params)).await else { panic!() };
    let described: Value = serde_json::from_str(described.get()).unwrap();
    let texts: Vec<_> = described["content"].as_array().unwrap().iter().map(|block| &block["text"]).collect();
    let has = |at: usize, part: &str| texts[at].as_str().unwrap().contains(part);
    assert!(has(0, "one_read_file") && has(1, "two_wait") && has(2, "three_none") && has(3, "three_wait"), "{texts:?}");
}
