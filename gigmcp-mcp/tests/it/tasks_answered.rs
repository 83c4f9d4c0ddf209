//! What is sent to a task is judged and taken note of.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use gigmcp_mcp::{
    Aggregator, BoxFuture, CallObserver, CallRecord, CallVerdict, FlowPolicy, NotObserved, StreamableHttpLimits,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    played::{Reply, Stage, result},
    rounds::post,
    seams::{Notes, ask, built, policy},
    serving::Endpoint,
    tasks_played::{Until, server, task},
};

#[tokio::test]
async fn answers_to_a_task_are_judged_by_what_its_tool_says_of_itself() {
    for (tool, refused) in [("srv_open", true), ("srv_do", false)] {
        let (mut stage, _script) = server();
        let private = Stage::new(r#""capabilities":{"tools":{},"prompts":{}}"#, |method, _| match method {
            "tools/list" => result(r#"{"tools":[]}"#),
            "prompts/list" => result(r#"{"prompts":[{"name":"ok"}]}"#),
            "prompts/get" => result(r#"{"messages":[]}"#),
            _ => Reply::Never,
        });
        let reads = policy(|policy| policy.labels.reads_private = true);
        let backends = [stage.backend("srv"), private.backend("reads").with_policy(reads)];
        let aggregator = built(Aggregator::builder().backends(backends).flow(FlowPolicy::Ask)).await;
        let id = task(&aggregator, "one", tool).await;
        let update = json!({ "taskId": id, "inputResponses": {} });
        let got = ask(&aggregator, "one", "tasks/update", update.clone()).await;
        assert!(got.get("error").is_none(), "twin: nothing private was read yet: {got}");
        ask(&aggregator, "one", "prompts/get", json!({ "name": "reads_ok" })).await;
        stage.heard_so_far(&[]);
        let got = ask(&aggregator, "one", "tasks/update", update).await;
        assert_eq!(got["error"]["data"]["code"] == "flow-needs-consent", refused, "{tool}: {got}");
        assert_eq!(stage.heard_so_far(&["tasks/update"]).is_empty(), refused, "{tool}");
    }
}

#[tokio::test]
async fn where_what_is_sent_is_judged_a_look_at_a_task_sends_nothing() {
    for (flow, sent) in [(FlowPolicy::Ask, false), (FlowPolicy::Warn, true)] {
        let (mut stage, _script) = server();
        let aggregator = built(Aggregator::builder().backends([stage.backend("srv")]).flow(flow)).await;
        let id = task(&aggregator, "one", "srv_open").await;
        for method in ["tasks/get", "tasks/cancel"] {
            let smuggled = json!({ "taskId": id, "x": "private", "_meta": { "y": "private" } });
            let got = ask(&aggregator, "one", method, smuggled).await;
            assert!(got.get("error").is_none(), "{got}");
        }
        let heard = stage.heard_so_far(&["tasks/get", "tasks/cancel"]);
        assert_eq!(heard.iter().filter(|(_, params)| params.contains("private")).count(), if sent { 2 } else { 0 });
        assert_eq!(heard.len(), 2);
    }
}

#[tokio::test]
async fn answers_reach_a_task_by_an_update_of_it_and_by_no_look_at_it() {
    for flow in [FlowPolicy::Ask, FlowPolicy::Warn] {
        let (mut stage, _script) = server();
        let aggregator = built(Aggregator::builder().backends([stage.backend("srv")]).flow(flow)).await;
        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let (_, made) = post(&endpoint, "tools/call", json!({ "name": "srv_do" })).await;
        let id = &made["result"]["taskId"];
        for (method, passes) in [("tasks/get", false), ("tasks/cancel", false), ("tasks/update", true)] {
            let said =
                json!({ "taskId": id, "inputResponses": { "k": { "x": "private" } }, "requestState": "private" });
            let (_, got) = post(&endpoint, method, said).await;
            assert!(got["result"].is_object(), "{method}: {got}");
            let heard = stage.heard(&[method]).await.1;
            assert_eq!(heard.contains("private"), passes, "{method}: {heard}");
            assert!(!heard.contains("requestState"), "{method}: {heard}");
        }
    }
}

/// Takes note of what is told, while it can.
#[derive(Default)]
struct Book {
    full: AtomicBool,
    notes: Notes,
}

impl CallObserver for Book {
    fn ready<'a>(&'a self) -> BoxFuture<'a, Result<(), NotObserved>> {
        let full = self.full.load(Ordering::SeqCst);
        Box::pin(async move { if full { Err(NotObserved) } else { Ok(()) } })
    }

    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        self.notes.finished(record)
    }
}

#[tokio::test]
async fn what_is_told_to_a_task_is_taken_note_of_or_not_told_and_a_refusal_is_too() {
    for (full, held, code) in
        [(false, false, None), (true, false, Some("audit-unavailable")), (false, true, Some("definition-changed"))]
    {
        let (mut stage, _script) = server();
        let (book, pins) = (Arc::new(Book::default()), Arc::new(Until::default()));
        let policy = policy(|policy| policy.pins = Some(pins.clone()));
        let builder = Aggregator::builder().backends([stage.backend("srv").with_policy(policy)]);
        let aggregator = built(builder.observed_by(book.clone())).await;
        let id = task(&aggregator, "one", "srv_do").await;
        book.full.store(full, Ordering::SeqCst);
        if held {
            pins.hold();
        }
        let got = ask(&aggregator, "one", "tasks/update", json!({ "taskId": id, "inputResponses": {} })).await;
        assert_eq!(got["error"]["data"]["code"].as_str(), code, "{got}");
        assert_eq!(stage.heard_so_far(&["tasks/update"]).is_empty(), code.is_some());
        let verdict = book.notes.0.lock().unwrap().last().map(|record| (record.method.clone(), record.verdict.clone()));
        let expected = code.map_or(CallVerdict::Ok, |code| CallVerdict::Failed { code });
        assert_eq!(verdict, Some(("tasks/update".into(), expected)));
    }
}

#[tokio::test]
async fn of_answers_to_a_task_what_is_taken_note_of_is_their_own_digest() {
    let answers = json!({ "k": { "action": "accept" } });
    for (through, by_update) in [("the endpoint", true), ("the aggregator", true), ("the endpoint", false)] {
        let (stage, _script) = server();
        let book = Arc::new(Book::default());
        let builder = Aggregator::builder().backends([stage.backend("srv")]).observed_by(book.clone());
        let aggregator = built(builder).await;
        let id = task(&aggregator, "one", "srv_do").await;
        let said = json!({ "taskId": id, "inputResponses": answers });
        let method = if by_update { "tasks/update" } else { "tasks/cancel" };
        let got = match through {
            "the aggregator" => ask(&aggregator, "one", method, said).await,
            _ => {
                let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
                post(&endpoint, method, said).await.1["result"].clone()
            }
        };
        assert!(got.is_object() && got.get("error").is_none(), "{through}: {got}");
        let record = book.notes.0.lock().unwrap().last().unwrap().clone();
        let digest: [u8; 32] = Sha256::digest(answers.to_string()).into();
        assert_eq!((&*record.method, record.arguments == digest), (method, by_update), "{through}");
    }
}
