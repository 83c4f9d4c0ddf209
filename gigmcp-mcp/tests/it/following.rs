//! A client's progress on what a server asks reaches that server while it waits for the answer, and no other.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, Call, FlowLabels, FlowPolicy, StreamableHttpLimits, Upstream};
use http::Method;
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    rounds::post,
    seam::{Client, question, raw},
    seams::{built, policy},
    serving::{Endpoint, Streamed},
};

fn server() -> Stage {
    Stage::new(r#""capabilities":{"tools":{}}"#, |method, params| match method {
        "tools/list" => result(
            r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}},{"name":"wait","inputSchema":{"type":"object"}}]}"#,
        ),
        "tools/call" if params.contains(r#""do""#) => result(r#"{"content":[]}"#),
        _ => Reply::Never,
    })
}

/// A session with a call under way at this server, which has asked something in it.
struct Asked {
    session: String,
    stream: Streamed,
    /// The request as the client got it.
    request: Value,
}

impl Asked {
    async fn by(endpoint: &Arc<Endpoint>, stage: &mut Stage, server: &str, token: &Value) -> Self {
        let session = endpoint.session(r#"{"elicitation":{},"sampling":{}}"#).await;
        Self::within(endpoint, stage, server, token, session).await
    }

    async fn within(endpoint: &Arc<Endpoint>, stage: &mut Stage, server: &str, token: &Value, session: String) -> Self {
        let params = json!({ "name": format!("{server}_wait") });
        let body = json!({ "jsonrpc": "2.0", "id": server, "method": "tools/call", "params": params }).to_string();
        let headers = [("mcp-session-id", &*session)];
        let (mut stream, ()) = tokio::join!(endpoint.open(Method::POST, &headers, body), async {
            stage.heard(&["tools/call"]).await;
            let params = json!({ "messages": [], "maxTokens": 1, "_meta": { "progressToken": token, "a": 1 } });
            let method = "sampling/createMessage";
            stage.say(json!({ "jsonrpc": "2.0", "id": "q", "method": method, "params": params }).to_string());
        });
        let request = serde_json::from_str(&stream.next().await.unwrap()).unwrap();
        Self { session, stream, request }
    }

    fn token(&self) -> &Value {
        &self.request["params"]["_meta"]["progressToken"]
    }

    async fn posts(&self, endpoint: &Endpoint, message: Value) {
        posts(endpoint, &self.session, message).await;
    }

    async fn answers(&self, endpoint: &Endpoint) {
        self.posts(endpoint, json!({ "jsonrpc": "2.0", "id": self.request["id"], "result": {} })).await;
    }
}

pub(crate) async fn posts(endpoint: &Endpoint, session: &str, message: Value) {
    let reply = endpoint.post(&[("mcp-session-id", session)], &message.to_string()).await;
    assert_eq!(reply.status, 202, "{}", reply.body);
}

pub(crate) fn progress(params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
}

/// All progress that a server hears until it hears the answer.
pub(crate) async fn heard(stage: &mut Stage) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let (method, params) = stage.heard(&["notifications/progress", ""]).await;
        if method.is_empty() {
            return all;
        }
        all.push(serde_json::from_str(&params).unwrap());
    }
}

#[tokio::test]
async fn progress_reaches_the_server_that_asked_under_its_own_token_until_it_has_the_answer() {
    for token in [json!("own"), json!(7)] {
        let mut stage = server();
        let aggregator = built(Aggregator::builder().backends([stage.backend("srv")])).await;
        let endpoint = Arc::new(Endpoint::serve(aggregator, StreamableHttpLimits::default()).await);
        let asked = Asked::by(&endpoint, &mut stage, "srv", &token).await;
        assert_ne!(*asked.token(), token, "{}", asked.request);
        assert_eq!(asked.request["params"]["_meta"]["a"], 1);
        let other = endpoint.session(r#"{"sampling":{}}"#).await;
        let ours = asked.token();
        posts(&endpoint, &other, progress(&json!({ "progressToken": ours, "progress": 9 }))).await;
        for said in [
            json!({ "progressToken": ours, "progress": 1, "total": 2.5, "message": "half", "secret": 1, "_meta": {} }),
            json!({ "progressToken": ours, "progress": 1 }), // it does not get on
            json!({ "progressToken": ours, "progress": 0.5 }), // it goes back
            json!({ "progressToken": ours, "progress": "2" }), // that is no number
            json!({ "progressToken": token, "progress": 3 }), // the server's own
            json!({ "progressToken": "asked-01", "progress": 3 }), // another spelling
            json!({ "progressToken": ours, "progress": 3, "message": "a".repeat(9 << 10) }),
            json!({ "progressToken": ours, "progress": 4, "total": "2", "message": 1 }),
        ] {
            asked.posts(&endpoint, progress(&said)).await;
        }
        asked.answers(&endpoint).await;
        asked.posts(&endpoint, progress(&json!({ "progressToken": ours, "progress": 5 }))).await;
        assert_eq!(
            heard(&mut stage).await,
            [
                json!({ "progressToken": token, "progress": 1, "total": 2.5, "message": "half" }),
                json!({ "progressToken": token, "progress": 4 }),
            ]
        );
        drop(asked);
        let again = Asked::by(&endpoint, &mut stage, "srv", &token).await;
        again.answers(&endpoint).await;
        assert_eq!(heard(&mut stage).await, [json!(null); 0], "nothing of the one before");
    }
}

#[tokio::test]
async fn a_token_that_two_servers_have_leads_to_each_alone() {
    let (mut first, mut second) = (server(), server());
    let backends = [first.backend("one"), second.backend("two")];
    let aggregator = built(Aggregator::builder().backends(backends)).await;
    let endpoint = Arc::new(Endpoint::serve(aggregator, StreamableHttpLimits::default()).await);
    // The second asks under what the first's question is known by.
    let one = Asked::by(&endpoint, &mut first, "one", &json!("t")).await;
    let two = Asked::within(&endpoint, &mut second, "two", one.token(), one.session.clone()).await;
    assert_ne!(one.token(), two.token());
    for (asked, progress_of) in [(&one, 1), (&two, 2)] {
        asked.posts(&endpoint, progress(&json!({ "progressToken": asked.token(), "progress": progress_of }))).await;
    }
    one.answers(&endpoint).await;
    two.answers(&endpoint).await;
    assert_eq!(heard(&mut first).await, [json!({ "progressToken": "t", "progress": 1 })]);
    assert_eq!(heard(&mut second).await, [json!({ "progressToken": one.token(), "progress": 2 })]);
    drop((one.stream, two.stream));
}

#[tokio::test]
async fn what_a_client_has_read_is_not_told_in_its_progress() {
    let labels = |reads, can_send| FlowLabels { reads_untrusted: reads, reads_private: reads, can_send };
    for (flow, passes) in [(FlowPolicy::Ask, false), (FlowPolicy::Warn, true)] {
        let (reads, mut sends) = (server(), server());
        let backends = [
            reads.backend("reads").with_policy(policy(|policy| policy.labels = labels(true, false))),
            sends.backend("sends").with_policy(policy(|policy| policy.labels = labels(false, true))),
        ];
        let aggregator = built(Aggregator::builder().backends(backends).flow(flow)).await;
        let endpoint = Arc::new(Endpoint::serve(aggregator, StreamableHttpLimits::default()).await);
        let mut asked = Asked::by(&endpoint, &mut sends, "sends", &json!("t")).await;
        let says = |value| progress(&json!({ "progressToken": asked.token(), "progress": value, "message": "m" }));
        asked.posts(&endpoint, says(1)).await;
        assert!(sends.heard(&["notifications/progress"]).await.1.contains('1'), "twin: nothing was read yet");
        let params = json!({ "name": "reads_do" });
        let read = json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params }).to_string();
        let reply = endpoint.post(&[("mcp-session-id", &asked.session)], &read).await;
        assert!(reply.body.contains("content"), "{}", reply.body);
        asked.posts(&endpoint, says(2)).await;
        asked.answers(&endpoint).await;
        if !passes {
            // Its user is asked about the answer, and about nothing else.
            let question: Value = serde_json::from_str(&asked.stream.next().await.unwrap()).unwrap();
            assert_eq!(question["method"], "elicitation/create");
            let declines = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } });
            asked.posts(&endpoint, declines).await;
        }
        assert_eq!(heard(&mut sends).await.len(), usize::from(passes), "{flow:?}");
    }
}

#[tokio::test]
async fn a_client_without_a_session_is_told_no_token() {
    let mut stage = server();
    let aggregator = built(Aggregator::builder().backends([stage.backend("srv")])).await;
    let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
    let meta = json!({ "progressToken": "t", "a": 1 });
    let asking = async {
        stage.heard(&["tools/call"]).await;
        let params = json!({ "messages": [], "maxTokens": 1, "_meta": meta });
        stage.say(
            json!({ "jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": params }).to_string(),
        );
    };
    let ((status, asked), ()) = tokio::join!(post(&endpoint, "tools/call", json!({ "name": "srv_wait" })), asking);
    let meta = &asked["result"]["inputRequests"]["q"]["params"]["_meta"];
    assert_eq!((status, meta), (200, &json!({ "gigmcp/server": "srv", "a": 1 })), "{asked}");
}

#[tokio::test]
async fn a_question_is_not_called_by_what_nobody_sees() {
    for (id, passes) in [("q\u{200b}", false), ("q\u{1b}[31m", false), ("q", true)] {
        let mut stage = server();
        let aggregator = built(Aggregator::builder().backends([stage.backend("srv")])).await;
        let (sink, mut reached) = Client::connect();
        let call = Call::new("tools/call", Some(raw(r#"{"name":"srv_wait"}"#))).with_sink(sink);
        let call = tokio::spawn(async move { aggregator.call(call).await });
        stage.heard(&["tools/call"]).await;
        let params = json!({ "message": "?" });
        stage.say(json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params }).to_string());
        tokio::select! {
            (asked, _) = question(&mut reached) => assert!(passes, "{asked:?}"),
            answered = stage.heard_answer() => assert!(!passes && answered.contains("not to be seen"), "{answered}"),
        }
        call.abort();
    }
}
