//! What a server that has started again is told of earlier, and whose it is.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gigmcp_mcp::{Call, ClientContext, ClientId, Outcome, Upstream};
use serde_json::json;

use crate::{
    notices::{CHANGED, says, server},
    played::{Reply, Stage, result},
    seam::{Client, question, raw},
    seams::one,
};

/// A call in a session of its own, of this owner, if any is named.
fn of(owner: Option<&str>, method: &str, params: &str) -> Call {
    let mut call = Call::new(method, Some(raw(params))).of_client(ClientId::new());
    call.context = owner.map(|owner| {
        let mut context = ClientContext::new(raw("{}"));
        context.owner = Some(owner.into());
        Arc::new(context)
    });
    call
}

#[tokio::test]
async fn what_is_told_of_no_call_is_of_who_is_subscribed_again() {
    for (case, subscribed, line, notice) in [
        ("one", &[Some("one")][..], Some(Some("one")), Some(Some("one"))),
        ("two sessions of one", &[Some("one"), Some("one")], Some(Some("one")), Some(Some("one"))),
        ("two", &[Some("one"), Some("two")], None, None),
        ("one, and somebody", &[Some("one"), None], None, None),
        ("those who do not say who they are", &[None, None], Some(None), None),
    ] {
        let mut stage = server();
        let aggregator = one(&stage, |_| {}).await;
        for owner in subscribed {
            let subscribed = aggregator.call(of(*owner, "resources/subscribe", r#"{"uri":"doc:1"}"#)).await;
            assert!(matches!(subscribed, Outcome::Complete(_)), "{case}");
        }
        stage.heard(&["resources/subscribe"]).await;
        let waits = aggregator.call(of(Some("one"), "tools/call", r#"{"name":"srv_wait"}"#));
        let (waiting, ()) = tokio::join!(waits, async { stage.stop() });
        assert!(matches!(waiting, Outcome::Error(_)), "it has ended: {waiting:?}");
        let mut events = aggregator.events().unwrap();
        aggregator.refresh().await;
        stage.heard(&["resources/subscribe"]).await;
        for (method, expected) in [("notifications/message", line), (CHANGED, notice)] {
            stage.say(says(method, &json!({ "level": "info", "data": "doc:1" })));
            stage.say(says("notifications/elicitation/complete", &json!({ "elicitationId": "1" })));
            let first = events.recv().await.unwrap();
            let told = (&*first.method == method).then(|| first.owner().map(|owner| &**owner));
            assert_eq!(told, expected, "{case}: {method}");
            if told.is_some() {
                events.recv().await.unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_subscribed_to_again_takes_nobodys_questions_away() {
    for again in [true, false] {
        let started = Arc::new(AtomicUsize::new(0));
        let starts = Arc::clone(&started);
        let capabilities = json!({ "tools": {}, "resources": { "subscribe": true } });
        let mut stage = Stage::new(&format!(r#""capabilities":{capabilities}"#), move |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "resources/list" => result(r#"{"resources":[{"uri":"doc:1","name":"a"}]}"#),
            "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
            // Once it has started again, it answers none.
            "resources/subscribe" if starts.fetch_add(1, Ordering::SeqCst) == 0 => result("{}"),
            _ => Reply::Never,
        });
        let aggregator = one(&stage, |_| {}).await;
        let uri = r#"{"uri":"doc:1"}"#;
        if again {
            let subscribed = aggregator.call(of(Some("one"), "resources/subscribe", uri)).await;
            assert!(matches!(subscribed, Outcome::Complete(_)));
        }
        let waits = aggregator.call(of(Some("one"), "tools/call", r#"{"name":"srv_do"}"#));
        let (_, ()) = tokio::join!(waits, async { stage.stop() });
        let (client, mut reached) = Client::connect();
        let asks = of(Some("two"), "tools/call", r#"{"name":"srv_do"}"#).with_sink(client);
        stage.heard_so_far(&[]);
        let caller = Arc::clone(&aggregator);
        let calling = tokio::spawn(async move { caller.call(asks).await });
        stage.heard(&["tools/call"]).await;
        assert_eq!(started.load(Ordering::SeqCst), if again { 2 } else { 0 });
        stage.say(r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}"#);
        assert_eq!(&*question(&mut reached).await.0.method, "elicitation/create", "{again}");
        calling.abort();
    }
}
