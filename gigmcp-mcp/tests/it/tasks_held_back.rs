//! What is held back while a call or its task goes on is of no use to it any more.

use std::sync::{Arc, Mutex};

use gigmcp_mcp::{Aggregator, Call, FlowLabels, FlowPolicy, Outcome, Upstream, Verdict};
use serde_json::json;

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, question, raw},
    seams::{ask, asking, built, listen, next, one, policy},
    tasks_played::{Until, notice, server, task},
};

#[tokio::test]
async fn a_task_is_of_no_use_once_its_tool_is_held_back() {
    for held in [false, true] {
        let (mut stage, _script) = server();
        let pins = Arc::new(Until::default());
        let aggregator = one(&stage, |policy| policy.pins = Some(pins.clone())).await;
        let id = task(&aggregator, "one", "srv_do").await;
        let mut events = aggregator.events().unwrap();
        listen(&aggregator, &mut stage, "one", &id).await;
        stage.say(notice("0", r#""status":"working","statusMessage":"before""#));
        assert_eq!(next(&mut events).await["statusMessage"], "before", "twin");
        if held {
            pins.hold();
        }
        stage.heard_so_far(&[]);
        for method in ["tasks/get", "tasks/update", "tasks/subscribe"] {
            let got = ask(&aggregator, "one", method, json!({ "taskId": id })).await;
            assert_eq!(got["error"]["data"]["code"] == "definition-changed", held, "{method}: {got}");
        }
        stage.say(notice("0", r#""status":"working","statusMessage":"after""#));
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"line"}}"#);
        let told = loop {
            let event = events.recv().await.unwrap();
            match &*event.method {
                "notifications/tasks" => break true,
                "notifications/message" => break false,
                _ => {}
            }
        };
        assert_eq!(told, !held, "who listens is told nothing");
        let got = ask(&aggregator, "one", "tasks/cancel", json!({ "taskId": id })).await;
        assert!(got.get("error").is_none(), "to stop it is no use of it: {got}");
        let heard = stage.heard_so_far(&["tasks/get", "tasks/update", "tasks/cancel", "subscriptions/listen"]);
        assert_eq!(heard.len(), if held { 1 } else { 4 }, "{heard:?}");
    }
}

#[tokio::test]
async fn a_task_that_is_waited_for_is_given_up_once_its_tool_is_held_back() {
    for held in [false, true] {
        let status = Arc::new(Mutex::new("working"));
        let told = Arc::clone(&status);
        let mut stage = Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "tools/call" => result(r#"{"task":{"taskId":"t","status":"working","pollInterval":1}}"#),
            "tasks/get" => result(json!({ "status": *told.lock().unwrap(), "pollInterval": 1 }).to_string()),
            "tasks/result" => result(r#"{"content":[]}"#),
            "tasks/cancel" => result("{}"),
            _ => Reply::Never,
        });
        let pins = Arc::new(Until::default());
        let aggregator = one(&stage, |policy| policy.pins = Some(pins.clone())).await;
        let calling = tokio::spawn({
            let aggregator = Arc::clone(&aggregator);
            async move { aggregator.call(Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#)))).await }
        });
        stage.heard(&["tasks/get"]).await;
        if held {
            pins.hold();
        } else {
            *status.lock().unwrap() = "completed";
        }
        let outcome = calling.await.unwrap();
        assert_eq!(matches!(&outcome, Outcome::Complete(_)), !held, "{outcome:?}");
        if held {
            assert!(matches!(outcome, Outcome::Error(error) if error.get().contains("definition-changed")));
            assert_eq!(stage.heard(&["tasks/cancel", "tasks/result"]).await.0, "tasks/cancel");
        }
    }
}

#[tokio::test]
async fn what_waited_for_its_users_word_is_judged_again_before_it_is_asked_of_the_server() {
    let all = FlowLabels { reads_untrusted: true, reads_private: true, can_send: true };
    for (method, name) in [("tools/call", "srv_do"), ("prompts/get", "srv_ok")] {
        for meanwhile in ["nothing", "held back", "replaced"] {
            let (mut stage, _script) = server();
            let pins = Arc::new(Until::default());
            let policy = policy(|policy| (policy.pins, policy.labels) = (Some(pins.clone() as _), all));
            let backends = [stage.backend("srv").with_policy(policy)];
            let aggregator = built(Aggregator::builder().backends(backends).flow(FlowPolicy::Ask)).await;
            let (sink, mut reached) = Client::connect();
            let agreeing = async {
                let answer = question(&mut reached).await.1;
                match meanwhile {
                    "held back" => pins.hold(),
                    "replaced" => aggregator.is_replaced(),
                    _ => {}
                }
                answer.send(Verdict::Result(raw(r#"{"action":"accept"}"#))).unwrap();
            };
            let (owner, call) = (("one", &json!({ "elicitation": {} })), (method, json!({ "name": name })));
            let (got, ()) = tokio::join!(asking(&aggregator, owner, call, Some(sink)), agreeing);
            let passes = meanwhile == "nothing";
            assert_eq!(got.get("error").is_none(), passes, "{method}, {meanwhile}: {got}");
            assert_eq!(got["error"]["data"]["code"] == "changed-meanwhile", !passes, "{method}, {meanwhile}: {got}");
            assert_eq!(stage.heard_so_far(&[method]).is_empty(), !passes, "{method}, {meanwhile}");
        }
    }
}
