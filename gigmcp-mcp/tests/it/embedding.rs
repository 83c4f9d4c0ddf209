//! The crate in somebody else's program: the example, with real processes and a real socket.

#[allow(dead_code, unreachable_pub, reason = "it is a program of its own")]
#[path = "../../examples/aggregate.rs"]
mod aggregate;

use std::{io::Write, sync::Arc};

use gigmcp_mcp::{Aggregator, Features, Passing, StdioLaunch};
use serde_json::{Value, json};
use tokio::{io::split, net::TcpListener};

use crate::{
    scripted::Scripted,
    serving::{Endpoint, initialize},
};

/// A whole server in a shell's own words; it says its first argument.
const SERVER: &str = r#"
say() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$1" "$2"; }
while read -r line; do
  id=${line#*'"id":'}; id=${id%%[,\}]*}
  case $line in
    *'"initialize"'*) say "$id" '{"protocolVersion":"2025-11-25","capabilities":{"tools":{}}}' ;;
    *'"tools/list"'*) say "$id" '{"tools":[{"name":"greet","inputSchema":{"type":"object"}}]}' ;;
    *'"tools/call"'*) say "$id" '{"content":[{"type":"text","text":"'"$1"'"}]}' ;;
  esac
done
"#;

#[tokio::test]
async fn the_example_aggregates_two_servers_in_fifty_lines() {
    assert!(include_str!("../../examples/aggregate.rs").lines().count() <= 50);
    let mut script = tempfile::NamedTempFile::new().unwrap();
    script.write_all(SERVER.as_bytes()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint { address: listener.local_addr().unwrap() };
    let server = |name: &str| format!("{name}=sh {} {name}", script.path().display());
    let servers = vec![server("one"), server("two")];
    let serving = tokio::spawn(async move { aggregate::serve(listener, servers).await.unwrap() });
    let session = endpoint.post(&[], &initialize("2025-11-25")).await.session();
    let request = async |method: &str, params: Value| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        endpoint.post(&[("mcp-session-id", &*session)], &body).await.json()["result"].clone()
    };
    let listed = request("tools/list", json!({})).await;
    let names: Vec<_> = listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one_greet", "two_greet"]);
    let said = request("tools/call", json!({ "name": "two_greet" })).await;
    assert_eq!(said["content"][0]["text"], "two");
    serving.abort();
}

#[tokio::test]
async fn a_server_behind_pipes_is_spoken_to_in_the_era_it_knows() {
    let (servers, mut opened) = tokio::sync::mpsc::unbounded_channel();
    let launch = StdioLaunch::new(move || {
        let (ours, server) = Scripted::pipes();
        servers.send(server).unwrap();
        std::future::ready(Ok(split(ours)))
    });
    let mut features = Features::default();
    features.elicitation = Passing::Forward;
    let launch = Arc::new(launch.features(features).may_run_beside_itself());
    let aggregator = Aggregator::builder().server("srv".parse().unwrap(), launch).build().unwrap();
    let (listing, ()) = tokio::join!(aggregator.tools(), async {
        // A server of the newer era, which does not know the first word.
        let mut old = opened.recv().await.unwrap();
        let heard = old.hear().await;
        assert!(heard.method == "initialize" && heard.params.contains("elicitation"), "{}", heard.params);
        old.say(&format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"no"}}}}"#, heard.id)).await;
        let mut new = opened.recv().await.unwrap();
        let heard = new.hear().await;
        assert_eq!(heard.method, "server/discover");
        let said = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#;
        new.answer(&heard.id, said).await;
        loop {
            let heard = new.hear().await;
            if heard.method == "tools/list" {
                let tools = r#"{"resultType":"complete","tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#;
                return new.answer(&heard.id, tools).await;
            }
        }
    });
    assert_eq!(listing.tools.len(), 1, "{:?}", listing.faults);
}

#[tokio::test]
async fn pipes_that_do_not_open_are_told_of() {
    let open =
        || std::future::ready(Err::<(tokio::io::Empty, tokio::io::Sink), _>(std::io::ErrorKind::NotFound.into()));
    let aggregator = Aggregator::builder().stdio("srv".parse().unwrap(), open).build().unwrap();
    let listing = aggregator.tools().await;
    assert_eq!(listing.faults[0].kind.to_string(), "start: it did not start");
}
