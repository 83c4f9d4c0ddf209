//! What a session has read is remembered for as long as it lasts, and judged whenever something goes to a server.

use std::sync::Arc;

use gigmcp_mcp::{
    Aggregator, AggregatorBuilder, Call, ClientId, FlowLabels, FlowPolicy, Outcome, ServerPolicy, Sink, Upstream,
    Verdict,
};

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, question, raw},
};

fn stage(waits: bool) -> Stage {
    Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "tools/call" if waits => Reply::Never,
        "tools/call" => result(r#"{"content":[]}"#),
        _ => Reply::Error(r#"{"code":-32601,"message":"none"}"#.to_owned()),
    })
}

fn labelled(labels: FlowLabels) -> ServerPolicy {
    let mut policy = ServerPolicy::default();
    policy.labels = labels;
    policy
}

/// `private` reads what is private, and `open` reads strangers' text and sends.
fn builder(private: &Stage, open: &Stage) -> AggregatorBuilder {
    let reads = FlowLabels { reads_private: true, ..FlowLabels::default() };
    let sends = FlowLabels { reads_untrusted: true, can_send: true, ..FlowLabels::default() };
    Aggregator::builder().backends([
        private.backend("private").with_policy(labelled(reads)),
        open.backend("open").with_policy(labelled(sends)),
    ])
}

fn call(tool: &str, client: ClientId) -> Call {
    Call::new("tools/call", Some(raw(&format!(r#"{{"name":"{tool}"}}"#)))).of_client(client)
}

async fn passes(aggregator: &Aggregator, tool: &str, client: ClientId) -> bool {
    match aggregator.call(call(tool, client)).await {
        Outcome::Complete(_) => true,
        Outcome::Error(error) => {
            assert!(error.get().contains("flow-needs-consent"), "{error}");
            false
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_session_has_read_is_known_to_the_next_aggregator() {
    let (private, open) = (stage(false), stage(false));
    for (policy, together) in
        [(FlowPolicy::Ask, true), (FlowPolicy::Ask, false), (FlowPolicy::Off, true), (FlowPolicy::Warn, true)]
    {
        let before = builder(&private, &open).flow(policy).build().unwrap();
        let (one, other) = (ClientId::new(), ClientId::new());
        assert!(!before.remembers_flow());
        assert!(passes(&before, "private_do", one).await);
        assert_eq!(before.remembers_flow(), policy == FlowPolicy::Ask);
        let next = builder(&private, &open).flow(FlowPolicy::Ask);
        let after = if together { next.counting_with(&before) } else { next }.build().unwrap();
        // Its session goes on in the next one.
        before.is_replaced();
        Upstream::forget(&before, one);
        drop(before);
        assert_eq!(passes(&after, "open_do", one).await, !together, "{policy:?}");
        assert!(passes(&after, "open_do", other).await, "twin: another session has read nothing");
        // The twin: sessions that have ended are not remembered for ever.
        Upstream::forget(&after, one);
        Upstream::forget(&after, other);
        assert!(!after.remembers_flow());
    }
}

/// A call of `open` that has asked its client for something, which its client has read enough for to give it away.
async fn asked(read: bool) -> (Stage, ClientId, Arc<Aggregator>, Asked) {
    let (private, mut open) = (stage(false), stage(true));
    let aggregator = Arc::new(builder(&private, &open).flow(FlowPolicy::Ask).build().unwrap());
    let client = ClientId::new();
    let (sink, mut reached): (Arc<dyn Sink>, _) = Client::connect();
    let task = tokio::spawn({
        let (aggregator, call) = (Arc::clone(&aggregator), call("open_do", client).with_sink(sink));
        async move { aggregator.call(call).await }
    });
    open.heard(&["tools/call"]).await;
    open.say(
        r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?","requestedSchema":{"type":"object","properties":{"note":{"type":"string"}}}}}"#,
    );
    let (_, answer) = question(&mut reached).await;
    if read {
        assert!(passes(&aggregator, "private_do", client).await);
    }
    answer.send(Verdict::Result(raw(r#"{"action":"accept","content":{"note":"words"}}"#))).unwrap();
    (open, client, aggregator, Asked { reached, task })
}

struct Asked {
    reached: tokio::sync::mpsc::UnboundedReceiver<crate::seam::Reached>,
    task: tokio::task::JoinHandle<Outcome>,
}

#[tokio::test]
async fn what_is_answered_in_mid_call_is_judged_by_what_was_read_meanwhile() {
    for (case, read, agrees, told) in [
        ("nobody agrees", true, false, false),
        ("twin: the user agrees", true, true, true),
        ("twin: nothing was read", false, false, true),
    ] {
        let (mut open, _, _aggregator, mut asked) = asked(read).await;
        if read {
            let (request, answer) = question(&mut asked.reached).await;
            assert!(request.id.as_json().starts_with(r#""gigmcp-flow-"#), "{case}");
            let action = if agrees { "accept" } else { "decline" };
            answer.send(Verdict::Result(raw(&format!(r#"{{"action":"{action}"}}"#)))).unwrap();
        }
        let heard = open.heard_answer().await;
        assert_eq!(heard.contains("words"), told, "{case}: {heard}");
        assert_eq!(heard.contains("error"), !told, "{case}: {heard}");
        asked.task.abort();
    }
}
