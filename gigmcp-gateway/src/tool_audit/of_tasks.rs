//! The rows of what is done to tasks and by methods of extensions.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, Call, ClientContext, Outcome, Upstream};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex, split};

use super::ToolAudit;
use crate::{
    spec::{Owner, ProfileSlug, ServerName},
    store::{AuditRow, Store},
    traces::Traces,
};

const TASKS: &str = "io.modelcontextprotocol/tasks";
const ODD: &str = "com.example/odd";

/// A server of the newer era whose tool makes tasks that fail, and that has an extension with one method.
async fn play(pipe: DuplexStream) {
    let (reader, mut writer) = split(pipe);
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let request: Value = serde_json::from_str(&line).expect("the gateway writes JSON");
        let Some(id) = request.get("id") else { continue };
        let answer = match request["method"].as_str().unwrap_or_default() {
            "server/discover" => Ok(json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {}, "extensions": { TASKS: {}, ODD: {} } },
            })),
            "tools/list" => Ok(json!({ "tools": [{ "name": "do", "inputSchema": { "type": "object" } }] })),
            "tools/call" => Ok(json!({ "resultType": "task", "taskId": "1", "status": "working", "ttlMs": null })),
            "tasks/get" => Ok(json!({
                "taskId": "1", "status": "completed", "result": { "content": [], "isError": true },
            })),
            "tasks/update" | "tasks/cancel" | "com.example/odd/do" => Ok(json!({})),
            _ => Err(json!({ "code": -32601, "message": "no such method" })),
        };
        let answer = match answer {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
        };
        if writer.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn ask(aggregator: &Aggregator, method: &str, params: Value) -> Value {
    let raw = |value: Value| RawValue::from_string(value.to_string()).expect("it is JSON");
    let mut context = ClientContext::new(raw(json!({ "extensions": { TASKS: {}, ODD: {} } })));
    context.owner = Some("one".into());
    let mut call = Call::new(method, Some(raw(params)));
    call.context = Some(Arc::new(context));
    match aggregator.call(call).await {
        Outcome::Complete(json) | Outcome::Task(json) | Outcome::Error(json) => {
            serde_json::from_str(json.get()).expect("it is JSON")
        }
        other => panic!("{other:?}"),
    }
}

fn sha256(text: &str) -> Option<String> {
    Some(format!("sha256:{}", hex::encode(Sha256::digest(text))))
}

#[tokio::test]
async fn what_is_done_to_a_task_and_by_a_method_of_an_extension_is_found_with_the_call_that_it_was() {
    let (store, _directory) = Store::open_for_test();
    let slug: ProfileSlug = "work".parse().expect("a profile name");
    let members: Vec<ServerName> = Vec::new();
    store.create_profile(slug.clone(), Owner::local(), members, slug.to_string()).await.expect("a new profile");
    let profile = store.profile(slug).await.expect("it was created");
    let audit = Arc::new(ToolAudit::new(&store, &profile, Traces::default()));
    let open = || async {
        let (ours, theirs) = duplex(1 << 16);
        tokio::spawn(play(theirs));
        Ok(split(ours))
    };
    let builder = Aggregator::builder().stdio("srv".parse().expect("a name"), open).observed_by(audit);
    let aggregator = builder.build().expect("no server twice");
    aggregator.tools().await;

    let made = ask(&aggregator, "tools/call", json!({ "name": "srv_do", "arguments": { "x": 1 } })).await;
    let task = made["taskId"].clone();
    ask(&aggregator, "tasks/update", json!({ "taskId": task, "inputResponses": { "k": 1 } })).await;
    ask(&aggregator, "tasks/get", json!({ "taskId": task })).await;
    ask(&aggregator, "tasks/cancel", json!({ "taskId": task })).await;
    ask(&aggregator, "com.example/odd/do", json!({ "x": 2 })).await;
    ask(&aggregator, "com.example/odd/\u{1b}[31m\u{202e}", json!({})).await;
    ask(&aggregator, "tasks/get", json!({ "taskId": "srv.another" })).await; // it leads nowhere, and nothing is done

    let rows = store.audit_tail(20).await.expect("it can be read");
    let rows: Vec<AuditRow> = rows.into_iter().map(|row| row.row).collect();
    let told: Vec<_> = rows.iter().map(|row| (&*row.kind, &*row.subject, &*row.verdict)).collect();
    assert_eq!(
        told,
        [
            ("tool", "srv_do", "allowed"),
            ("task", "tasks/update srv_do", "allowed"),
            ("task", "tasks/end srv_do", "tool-error"),
            ("task", "tasks/cancel srv_do", "allowed"),
            ("extension", "com.example/odd/do", "allowed"),
            ("extension", r"com.example/odd/\u{1b}[31m\u{202e}", "error-32601"),
        ]
    );
    let (tasks, extensions) = rows.split_at(4);
    assert!(tasks.iter().all(|row| row.calls.is_some() && row.calls == rows[0].calls), "one call: {rows:?}");
    assert!(tasks.iter().all(|row| row.definition.is_some() && row.definition == rows[0].definition));
    assert!(extensions.iter().all(|row| row.calls != rows[0].calls && row.definition.is_none()));
    assert_ne!(extensions[0].calls, extensions[1].calls);
    let arguments: Vec<_> = rows.iter().map(|row| row.arguments.clone()).collect();
    assert_eq!(arguments[..3], [sha256(r#"{"x":1}"#), sha256(r#"{"k":1}"#), sha256("")]);
    assert_eq!(arguments[4], sha256(r#"{"x":2}"#), "all that it was given");
    assert!(rows.iter().all(|row| row.server == "srv" && row.profile == "work" && !row.alarm));
    assert!(rows[1].bytes_up > 0 && rows[2].bytes_up == 0 && rows[2].bytes_down > 0);
}
