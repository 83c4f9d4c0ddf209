//! A server that asks is started beside itself, so that one client's thinking does not keep others waiting.

use std::{sync::Arc, time::Duration};

use gigmcp_mcp::{Aggregator, AggregatorLimits, Call, ClientId, Outcome, ServerPolicy, Sink, Upstream, Verdict};

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, question, raw},
};

const ELICIT: &str = r#"{"jsonrpc":"2.0","id":"who","method":"elicitation/create","params":{"message":"Who?"}}"#;

fn server() -> Stage {
    Stage::new(r#""capabilities":{"tools":{}}"#, |method, params| match method {
        "tools/list" => result(
            r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}},{"name":"wait","inputSchema":{"type":"object"}}]}"#,
        ),
        "tools/call" if params.contains(r#""do""#) => result("{}"),
        _ => Reply::Never,
    })
}

fn spawn(aggregator: &Arc<Aggregator>, sink: &Arc<dyn Sink>, tool: &str) -> tokio::task::JoinHandle<Outcome> {
    let aggregator = Arc::clone(aggregator);
    let params = raw(&format!(r#"{{"name":"srv_{tool}"}}"#));
    let call = Call::new("tools/call", Some(params)).with_sink(Arc::clone(sink));
    tokio::spawn(async move { aggregator.call(call).await })
}

#[tokio::test(start_paused = true)]
async fn while_one_client_thinks_another_process_takes_the_next_call() {
    for (spares, takes) in [(1, true), (0, false)] {
        let mut stage = server();
        let limits = AggregatorLimits { max_spares: spares, ..AggregatorLimits::default() };
        let aggregator =
            Arc::new(Aggregator::builder().backends(vec![stage.backend("srv")]).limits(limits).build().unwrap());
        let ((one, mut ones), (two, mut twos)) = (Client::connect(), Client::connect());
        // Until it has asked, all calls go to one process.
        assert!(matches!(spawn(&aggregator, &two, "do").await.unwrap(), Outcome::Complete(_)));
        stage.heard(&["tools/call"]).await;
        let _thinking = spawn(&aggregator, &one, "wait");
        stage.heard(&["tools/call"]).await;
        stage.say(ELICIT);
        let (_, _answer) = question(&mut ones).await;
        assert_eq!(stage.heard_so_far(&["initialize"]), [], "one process so far");
        let next = spawn(&aggregator, &two, "do");
        if takes {
            stage.heard(&["initialize"]).await;
            assert!(matches!(next.await.unwrap(), Outcome::Complete(_)));
            // What it asks is its own call's, as everywhere.
            let _thinking = spawn(&aggregator, &two, "wait");
            stage.heard(&["tools/call"]).await;
            stage.heard(&["tools/call"]).await;
            stage.say(ELICIT);
            question(&mut twos).await;
            assert!(ones.try_recv().is_err());
        } else {
            assert!(matches!(next.await.unwrap(), Outcome::Complete(_)), "it goes beside the question");
            assert_eq!(stage.heard_so_far(&["initialize"]), [], "in the same process");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_process_may_work_on_what_was_given_up_another_takes_the_next_call() {
    for (later, beside) in [(Duration::ZERO, true), (Duration::from_secs(61), false)] {
        let mut stage = server();
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
        let ((one, mut ones), (two, mut twos)) = (Client::connect(), Client::connect());
        let gone = spawn(&aggregator, &one, "wait");
        stage.heard(&["tools/call"]).await;
        stage.say(ELICIT);
        question(&mut ones).await.1.send(Verdict::Result(raw("{}"))).unwrap();
        stage.heard_answer().await;
        gone.abort();
        stage.heard(&["notifications/cancelled"]).await;
        tokio::time::sleep(later).await; // of the paused clock: for so long it may work on what was given up
        let _next = spawn(&aggregator, &two, "wait");
        let (first, _) = stage.heard(&["initialize", "tools/call"]).await;
        assert_eq!(first == "initialize", beside, "{later:?}");
        if beside {
            stage.heard(&["tools/call"]).await;
        }
        stage.say(ELICIT);
        question(&mut twos).await;
        assert!(ones.try_recv().is_err());
    }
}

#[tokio::test]
async fn what_changes_in_any_process_is_told() {
    let mut stage = server();
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    let mut events = aggregator.events().unwrap();
    let (one, mut ones) = Client::connect();
    let _thinking = spawn(&aggregator, &one, "wait");
    stage.heard(&["tools/call"]).await;
    stage.say(ELICIT);
    let (_, _answer) = question(&mut ones).await;
    assert!(matches!(spawn(&aggregator, &one, "do").await.unwrap(), Outcome::Complete(_)));
    for _ in 0..3 {
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    }
    assert_eq!(&*events.recv().await.unwrap().method, "notifications/tools/list_changed");
    assert!(events.try_recv().is_err(), "once");
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_session_go_to_the_process_that_may_remember_it() {
    for (stateless, waits) in [(false, true), (true, false)] {
        let mut stage = server();
        let mut policy = ServerPolicy::default();
        policy.stateless = stateless;
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv").with_policy(policy)]).unwrap());
        let ((one, mut ones), client) = (Client::connect(), ClientId::new());
        let call = |tool: &str, client| {
            let params = raw(&format!(r#"{{"name":"srv_{tool}"}}"#));
            let call = Call::new("tools/call", Some(params)).with_sink(Arc::clone(&one)).of_client(client);
            let aggregator = Arc::clone(&aggregator);
            tokio::spawn(async move { aggregator.call(call).await })
        };
        let thinking = call("wait", client);
        stage.heard(&["tools/call"]).await;
        stage.say(ELICIT);
        let (_, _answer) = question(&mut ones).await;
        let other = call("do", ClientId::new()).await.unwrap();
        assert!(matches!(other, Outcome::Complete(_)), "another session has a process of its own");
        let next = call("do", client).await.unwrap();
        assert_eq!(matches!(next, Outcome::Error(_)), waits, "{next:?}");
        drop(thinking);
    }
}
