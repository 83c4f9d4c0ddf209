//! What is known of a session that has gone on in another aggregator.

use gigmcp_mcp::{Aggregator, Call, ClientId, FlowLabels, FlowPolicy, Outcome, ServerPolicy, Upstream};

use crate::{
    played::{Reply, Stage, result},
    seam::raw,
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
