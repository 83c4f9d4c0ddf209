//! Servers of the newer era: every request says all there is to say, and a server that needs something says so in its result.

use std::sync::Arc;

use gigmcp_mcp::{
    Asked, Call, CallError, ClientContext, ConnectError, Era, Features, Outcome, Passing, StdioLimits, StdioUpstream,
    Upstream, Verdict,
};
use serde_json::{Value, json};
use tokio::io::split;

use crate::{
    scripted::{Heard, Scripted},
    seam::{Client, note, question, raw},
};

const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}},"instructions":"Do."}"#;

async fn connect(answer: &str) -> (Result<StdioUpstream, ConnectError>, Scripted) {
    let (ours, mut server) = Scripted::pipes();
    let (stdout, stdin) = split(ours);
    let mut features = Features::default();
    features.elicitation = Passing::Forward;
    let connecting = StdioUpstream::connect_as(stdin, stdout, StdioLimits::default(), features, Era::Modern);
    let (connected, ()) = tokio::join!(connecting, async {
        let heard = server.hear().await;
        assert_eq!(heard.method, "server/discover");
        server.say(&answer.replace("ID", &heard.id)).await;
    });
    (connected, server)
}

async fn connected() -> (Arc<StdioUpstream>, Scripted) {
    let (upstream, mut server) = connect(&format!(r#"{{"jsonrpc":"2.0","id":ID,"result":{DISCOVERED}}}"#)).await;
    let listen = server.hear().await;
    assert_eq!(listen.method, "subscriptions/listen");
    assert_eq!(params(&listen)["notifications"]["toolsListChanged"], true);
    (Arc::new(upstream.unwrap()), server)
}

fn params(heard: &Heard) -> Value {
    serde_json::from_str(&heard.params).unwrap()
}

fn spawn(upstream: &Arc<StdioUpstream>, call: Call) -> tokio::task::JoinHandle<Outcome> {
    let upstream = Arc::clone(upstream);
    tokio::spawn(async move { upstream.call(call).await })
}

fn context() -> ClientContext {
    ClientContext::new(raw(r#"{"elicitation":{"form":{}},"sampling":{},"x":1.0}"#))
}

fn result(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Complete(result) | Outcome::InputRequired(result) => result.get(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_a_server_of_this_era_is_taken_for_one() {
    let (upstream, _server) = connect(&format!(r#"{{"jsonrpc":"2.0","id":ID,"result":{DISCOVERED}}}"#)).await;
    let upstream = upstream.unwrap();
    assert_eq!((upstream.hello().era, upstream.hello().version), (Era::Modern, "2026-07-28"));
    let description = upstream.describe().await;
    assert!(description.capabilities.subscribe && description.instructions.as_deref() == Some("Do."));
    let refused = r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32601,"message":"no"}}"#;
    assert!(matches!(connect(refused).await.0, Err(ConnectError::Refused { .. })));
    let other = r#"{"jsonrpc":"2.0","id":ID,"result":{"supportedVersions":["2030-01-01"]}}"#;
    assert!(matches!(connect(other).await.0, Err(ConnectError::Version { .. })));
    for (answer, era) in
        [(refused, Era::Legacy), (&*format!(r#"{{"jsonrpc":"2.0","id":ID,"result":{DISCOVERED}}}"#), Era::Modern)]
    {
        let (ours, mut server) = Scripted::pipes();
        let (stdout, stdin) = split(ours);
        let (found, ()) = tokio::join!(StdioUpstream::probe(stdin, stdout, StdioLimits::default()), async {
            let id = server.hear().await.id;
            server.say(&answer.replace("ID", &id)).await;
        });
        assert_eq!(found, era);
    }
    let (ours, server) = Scripted::pipes();
    drop(server); // ends at a message it does not know
    let (stdout, stdin) = split(ours);
    assert_eq!(StdioUpstream::probe(stdin, stdout, StdioLimits::default()).await, Era::Legacy);
}

#[tokio::test]
async fn a_request_says_what_a_session_would_have_said() {
    let (upstream, mut server) = connected().await;
    let mut context = context();
    (context.level, context.responses) = (Some(gigmcp_mcp::LogLevel::Error), Some(raw(r#"{"k":{"n":1.0}}"#)));
    context.state = Some(raw(r#""s\u0041""#));
    let mut call = Call::new(
        "tools/call",
        Some(raw(r#"{"name":"do","arguments":{"n":1.0},"_meta":{"traceparent":"x","progressToken":7}}"#)),
    );
    let (client, mut reached) = Client::connect();
    (call.sink, call.context) = (Some(client), Some(Arc::new(context)));
    let calling = spawn(&upstream, call);
    let heard = server.hear().await;
    assert!(heard.params.contains(r#""arguments":{"n":1.0}"#) && heard.params.contains(r#"{"k":{"n":1.0}}"#));
    assert!(heard.params.contains(r#""requestState":"s\u0041""#), "{}", heard.params);
    let meta = params(&heard)["_meta"].clone();
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(
        meta["io.modelcontextprotocol/clientCapabilities"],
        json!({ "elicitation": { "form": {} }, "x": 1.0 }),
        "what the client has declared, without what this server may not ask for"
    );
    assert_eq!((&meta["io.modelcontextprotocol/logLevel"], &meta["traceparent"]), (&json!("error"), &json!("x")));
    server
        .say(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{},"progress":1}}}}"#,
            meta["progressToken"]
        ))
        .await;
    assert_eq!(note(&mut reached).await.1, r#"{"progressToken":7,"progress":1}"#);
    server.answer(&heard.id, r#"{"resultType":"complete","content":[1.0]}"#).await;
    assert_eq!(result(&calling.await.unwrap()), r#"{"content":[1.0]}"#);
}

#[tokio::test]
async fn a_result_is_what_it_says_it_is() {
    let (upstream, mut server) = connected().await;
    for (method, answer, expected) in [
        ("tools/call", r#"{"content":[]}"#, Ok(r#"{"content":[]}"#)),
        ("tools/call", r#"{"resultType":"complete","ttlMs":1}"#, Ok(r#"{"ttlMs":1}"#)),
        (
            "tools/list",
            r#"{"resultType":"complete","ttlMs":1,"cacheScope":"public","tools":[]}"#,
            Ok(r#"{"tools":[]}"#),
        ),
        ("tools/call", r#"{"resultType":"input_required"}"#, Ok(r#"{"resultType":"input_required"}"#)),
        ("tools/list", r#"{"resultType":"input_required"}"#, Err("the result is of an unknown type")),
        ("tools/call", r#"{"resultType":"strange"}"#, Err("the result is of an unknown type")),
        ("tools/call", r#"{"resultType":7}"#, Err("the result is of an unknown type")),
        ("tools/call", "7", Err("the result is no object, or names a member twice")),
    ] {
        let calling = spawn(&upstream, Call::new(method, None));
        let id = server.hear().await.id;
        server.answer(&id, answer).await;
        match (calling.await.unwrap(), expected) {
            (Outcome::Failed(CallError::Protocol { reason }), Err(expected)) => {
                assert_eq!(reason, expected, "{answer}")
            }
            (outcome, expected) => assert_eq!(Ok(result(&outcome)), expected, "{answer}"),
        }
    }
}

const NEEDS: &str = r#"{"resultType":"input_required","inputRequests":{"who":{"method":"elicitation/create","params":{"message":"?","x":1.0}}},"requestState":"st"}"#;

#[tokio::test]
async fn a_client_that_knows_only_requests_is_asked_by_one() {
    let (upstream, mut server) = connected().await;
    let (client, mut reached) = Client::connect();
    let mut context = context();
    context.asked = Asked::BySink;
    let mut call = Call::new("tools/call", Some(raw(r#"{"name":"do"}"#))).with_sink(client.clone());
    call.context = Some(Arc::new(context.clone()));
    let calling = spawn(&upstream, call.clone());
    let first = server.hear().await;
    server.answer(&first.id, NEEDS).await;
    let (request, answer) = question(&mut reached).await;
    assert_eq!((request.id.as_json(), request.params.unwrap().get()), (r#""who""#, r#"{"message":"?","x":1.0}"#));
    answer.send(Verdict::Result(raw(r#"{"action":"accept","n":1.0}"#))).unwrap();
    let second = server.hear().await;
    assert_ne!(second.id, first.id);
    assert!(second.params.contains(r#""inputResponses":{"who":{"action":"accept","n":1.0}}"#), "{}", second.params);
    assert_eq!(params(&second)["requestState"], "st");
    server.answer(&second.id, r#"{"content":[]}"#).await;
    assert_eq!(result(&calling.await.unwrap()), r#"{"content":[]}"#);

    // A refusal is the end, and so are too many questions.
    let calling = spawn(&upstream, call.clone());
    let id = server.hear().await.id;
    server.answer(&id, NEEDS).await;
    question(&mut reached).await.1.send(Verdict::Error(raw(r#"{"code":1}"#))).unwrap();
    assert!(matches!(calling.await.unwrap(), Outcome::Error(error) if error.get() == r#"{"code":1}"#));
    let calling = spawn(&upstream, call.clone());
    for _ in 0..10 {
        let id = server.hear().await.id;
        server.answer(&id, NEEDS).await;
        question(&mut reached).await.1.send(Verdict::Result(raw("{}"))).unwrap();
    }
    assert!(matches!(calling.await.unwrap(), Outcome::Failed(CallError::Protocol { .. })));

    // Twin: who knows more is not asked.
    context.asked = Asked::ByOutcome;
    call.context = Some(Arc::new(context));
    let calling = spawn(&upstream, call);
    let id = server.hear().await.id;
    server.answer(&id, NEEDS).await;
    assert!(matches!(calling.await.unwrap(), Outcome::InputRequired(result) if result.get() == NEEDS));
}

#[tokio::test]
async fn what_a_session_would_have_kept_is_kept_for_the_client() {
    let (upstream, mut server) = connected().await;
    let mut events = upstream.events().unwrap();
    let call =
        async |method: &str| upstream.call(Call::new(method, Some(raw(r#"{"uri":"a:1","level":"info"}"#)))).await;
    assert_eq!(result(&call("logging/setLevel").await), "{}");
    assert_eq!(result(&call("resources/subscribe").await), "{}");
    let listen = server.hear().await;
    assert_eq!(params(&listen)["notifications"], json!({ "resourceSubscriptions": ["a:1"] }));
    let tag = format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}"#, listen.id);
    server
        .say(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{{tag}}}}}"#))
        .await;
    server
        .say(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"a:1",{tag}}}}}"#
        ))
        .await;
    assert_eq!(events.recv().await.unwrap().params.as_ref().unwrap().get(), r#"{"uri":"a:1"}"#);
    call("resources/unsubscribe").await;
    let cancelled = server.hear().await;
    assert_eq!(
        (&*cancelled.method, params(&cancelled)["requestId"].to_string()),
        ("notifications/cancelled", listen.id)
    );
}

#[tokio::test]
async fn no_uri_is_taken_for_a_task() {
    let (upstream, mut server) = connected().await;
    let call = async |method: &str, params: &str| upstream.call(Call::new(method, Some(raw(params)))).await;
    call("tasks/subscribe", r#"{"taskId":"1"}"#).await;
    let of_task = server.hear().await;
    assert_eq!(params(&of_task)["notifications"], json!({ "taskIds": ["1"] }));
    call("resources/subscribe", r#"{"uri":"\u0000task 1"}"#).await;
    let of_uri = server.hear().await;
    assert_eq!(of_uri.method, "subscriptions/listen", "that of the task goes on: {}", of_uri.params);
    call("resources/unsubscribe", r#"{"uri":"\u0000task 1"}"#).await;
    let cancelled = server.hear().await;
    assert_eq!(
        (&*cancelled.method, params(&cancelled)["requestId"].to_string()),
        ("notifications/cancelled", of_uri.id)
    );
    // Twin: the same task once more takes the place of the one before.
    call("tasks/subscribe", r#"{"taskId":"1"}"#).await;
    let cancelled = server.hear().await;
    assert_eq!(
        (&*cancelled.method, params(&cancelled)["requestId"].to_string()),
        ("notifications/cancelled", of_task.id)
    );
    assert_eq!(server.hear().await.method, "subscriptions/listen");
}

#[tokio::test]
async fn it_has_no_requests_of_its_own() {
    let (upstream, mut server) = connected().await;
    let (client, mut reached) = Client::connect();
    let _calling = spawn(&upstream, Call::new("tools/call", None).with_sink(client));
    server.hear().await;
    server.say(r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{}}"#).await;
    assert!(server.hear_line().await.contains("-32601"));
    assert!(reached.try_recv().is_err());
}

/// An id of ours is no longer than a client's.
#[tokio::test]
async fn a_question_with_a_name_that_is_too_long_costs_its_call_and_nothing_else() {
    for (bytes, passes) in [(1000, true), (2000, false)] {
        let (upstream, mut server) = connected().await;
        let (client, mut reached) = Client::connect();
        let mut call = Call::new("tools/call", None).with_sink(client);
        let mut context = context();
        context.asked = Asked::BySink;
        call.context = Some(Arc::new(context));
        let calling = spawn(&upstream, call);
        let heard = server.hear().await;
        let asked = json!({ "k".repeat(bytes): { "method": "elicitation/create", "params": { "message": "?" } } });
        let asks = json!({ "resultType": "input_required", "inputRequests": asked });
        server.answer(&heard.id, &asks.to_string()).await;
        if passes {
            let (_, answer) = question(&mut reached).await;
            answer.send(Verdict::Result(raw(r#"{"action":"accept"}"#))).unwrap();
            let heard = server.hear().await;
            assert_eq!(params(&heard)["inputResponses"]["k".repeat(bytes)]["action"], "accept", "twin");
            server.answer(&heard.id, "{}").await;
        }
        let outcome = calling.await.unwrap();
        assert_eq!(matches!(outcome, Outcome::Complete(_)), passes, "{outcome:?}");
        assert!(
            passes || matches!(&outcome, Outcome::Error(error) if error.get().contains("malformed")),
            "{outcome:?}"
        );
    }
}
