//! What is known of a session that has gone on in another aggregator.

use std::sync::Arc;

use gigmcp_mcp::{
    Aggregator, Call, ClientId, FlowLabels, FlowPolicy, Outcome, ServerPolicy, StreamableHttpLimits, Upstream,
};
use serde_json::json;

use crate::{
    notices::{CHANGED, says, server},
    played::{Reply, Stage, result},
    seam::raw,
    seams::one,
    serving::{Endpoint, endpoint_of},
};

#[tokio::test]
async fn a_session_that_only_lists_in_the_next_aggregator_is_still_there() {
    for comes in [true, false] {
        let stage = Stage::new(r#""capabilities":{"tools":{}}"#, |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "tools/call" => result(r#"{"content":[]}"#),
            _ => Reply::Never,
        });
        let mut policy = ServerPolicy::default();
        policy.labels = FlowLabels { reads_private: true, ..FlowLabels::default() };
        let builder =
            || Aggregator::builder().backends([stage.backend("srv").with_policy(policy.clone())]).flow(FlowPolicy::Ask);
        let (before, client) = (builder().build().unwrap(), ClientId::new());
        let call = Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#))).of_client(client);
        assert!(matches!(before.call(call).await, Outcome::Complete(_)));
        let after = builder().counting_with(&before).build().unwrap();
        // It says goodbye to the one before, and asks this one for something that reads nothing.
        Upstream::forget(&before, client);
        if comes {
            after.call(Call::new("tools/list", None).of_client(client)).await;
        }
        assert_eq!(after.remembers_flow(), comes, "twin: one that has gone");
    }
}

#[tokio::test]
async fn what_a_session_is_subscribed_to_is_its_owners_in_the_next_aggregator_too() {
    for (other, owner) in [("one", Some("one")), ("two", None)] {
        let stage = server();
        let endpoint = Arc::new(endpoint_of(StreamableHttpLimits::default()));
        let (before, after) = (one(&stage, |_| {}).await, one(&stage, |_| {}).await);
        let mut events = after.events().unwrap();
        let before = Endpoint::serve_as(Arc::clone(&endpoint), before).await;
        let after = Endpoint::serve_as(endpoint, after).await;
        for principal in ["one", other] {
            let hello = crate::serving::initialize("2025-11-25");
            let session = before.post(&[("x-principal", principal)], &hello).await.session();
            let headers = [("x-principal", principal), ("mcp-session-id", &*session)];
            let subscribe =
                json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": { "uri": "doc:1" } });
            assert!(before.post(&headers, &subscribe.to_string()).await.json()["result"].is_object());
            let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "srv_do" } });
            assert!(after.post(&headers, &call.to_string()).await.json()["result"].is_object());
        }
        stage.say(says(CHANGED, &json!({})));
        stage.say(says("notifications/elicitation/complete", &json!({ "elicitationId": "1" })));
        let first = events.recv().await.unwrap();
        assert_eq!(first.owner().map(|owner| &**owner), owner, "{}", first.method);
    }
}
