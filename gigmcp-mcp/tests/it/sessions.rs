//! What the clients of one server, and the sessions of one client, take from each other.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use gigmcp_mcp::{
    Aggregator, AggregatorLimits, BoxFuture, Call, ClientContext, ClientId, Definition, DefinitionKind, Outcome, Pins,
    PinsUnknown, Process, RateLimits, ServerPolicy, Sink, Standing, StreamableHttpLimits, Upstream, Verdict,
};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, question, raw},
    serving::{Endpoint, initialize},
};

const ODD: &str = "com.example/odd";

/// Answers `do` at once and `wait` never.
fn server() -> Stage {
    let capabilities = json!({ "tools": {}, "resources": { "subscribe": true }, "extensions": { ODD: {} } });
    Stage::new(&format!(r#""capabilities":{capabilities}"#), |method, params| match method {
        "tools/list" => result(
            r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}},{"name":"wait","inputSchema":{"type":"object"}}]}"#,
        ),
        "resources/list" => result(r#"{"resources":[]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "resources/subscribe" | "resources/unsubscribe" | "com.example/odd/do" => result("{}"),
        "tools/call" if params.contains(r#""do""#) => result("{}"),
        _ => Reply::Never,
    })
}

fn ask(id: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": { "message": "Who?" } }).to_string()
}

fn spawn(aggregator: &Arc<Aggregator>, sink: &Arc<dyn Sink>, client: ClientId, tool: &str) -> JoinHandle<Outcome> {
    let aggregator = Arc::clone(aggregator);
    let params = raw(&format!(r#"{{"name":"srv_{tool}"}}"#));
    let call = Call::new("tools/call", Some(params)).with_sink(Arc::clone(sink)).of_client(client);
    tokio::spawn(async move { aggregator.call(call).await })
}

#[tokio::test(start_paused = true)]
async fn a_question_that_one_client_does_not_answer_keeps_no_other_session_waiting() {
    let mut stage = server();
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    let ((one, mut ones), (two, mut twos)) = (Client::connect(), Client::connect());
    let (first, second) = (ClientId::new(), ClientId::new());
    // The server may remember something for both.
    for (sink, client) in [(&one, first), (&two, second)] {
        assert!(matches!(spawn(&aggregator, sink, client, "do").await.unwrap(), Outcome::Complete(_)));
    }
    let thinking = spawn(&aggregator, &one, first, "wait");
    stage.heard(&["tools/call"]).await;
    stage.heard(&["tools/call"]).await;
    stage.heard(&["tools/call"]).await;
    stage.say(ask("a"));
    let (_, answer) = question(&mut ones).await;
    stage.heard_so_far(&[]);
    assert!(matches!(spawn(&aggregator, &two, second, "do").await.unwrap(), Outcome::Complete(_)));
    assert_eq!(stage.heard_so_far(&["initialize"]), [], "in the process that may remember it");
    // Twin: its own question keeps its own calls waiting.
    assert!(matches!(spawn(&aggregator, &one, first, "do").await.unwrap(), Outcome::Error(_)));

    // What is asked while both are under way could be of either, and reaches neither.
    let long = spawn(&aggregator, &two, second, "wait");
    stage.heard(&["tools/call"]).await;
    stage.say(ask("b"));
    assert!(stage.heard_answer().await.contains("request-ambiguous"));
    assert!(ones.try_recv().is_err() && twos.try_recv().is_err());

    // An answer waits a little for what began meanwhile, and not for long.
    let asked = tokio::time::Instant::now();
    answer.send(Verdict::Result(raw(r#"{"action":"decline"}"#))).unwrap();
    assert!(stage.heard_answer().await.contains("decline"));
    assert_eq!(asked.elapsed(), Duration::from_secs(1));
    long.abort();
    thinking.abort();
}

/// What the endpoint answers to a client without a session.
async fn call_of(endpoint: &Endpoint, principal: &str, tool: &str) -> Value {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
    });
    let params = json!({ "name": tool, "_meta": meta });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
        ("x-principal", principal),
    ];
    endpoint.post(&headers, &body).await.json()
}

#[tokio::test]
async fn a_question_that_one_client_without_a_session_does_not_answer_keeps_no_other_waiting() {
    for asks in [true, false] {
        let mut stage = server();
        let limits = AggregatorLimits { max_spares: 0, ..AggregatorLimits::default() };
        let builder = Aggregator::builder().backends([stage.backend("srv")]).limits(limits);
        let aggregator = Arc::new(builder.build().unwrap());
        let endpoint = Arc::new(Endpoint::serve(aggregator, StreamableHttpLimits::default()).await);
        let thinking = tokio::spawn({
            let endpoint = Arc::clone(&endpoint);
            async move { call_of(&endpoint, "one", "srv_wait").await }
        });
        stage.heard(&["tools/call"]).await;
        if asks {
            stage.say(ask("a"));
            assert_eq!(thinking.await.unwrap()["result"]["resultType"], "input_required");
        }
        let got = call_of(&endpoint, "two", "srv_do").await;
        assert!(got["result"].is_object(), "{got}");
        assert_eq!(stage.heard_so_far(&["tools/call"]).len(), 1, "it has reached the server");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_reached_its_server_says_nothing_of_how_that_is() {
    for (own, code, ended) in [(true, "server-busy", false), (false, "server-timeout", true)] {
        let mut stage = server();
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
        let ((one, mut ones), (two, _twos)) = (Client::connect(), Client::connect());
        let (first, second) = (ClientId::new(), ClientId::new());
        assert!(matches!(spawn(&aggregator, &two, second, "do").await.unwrap(), Outcome::Complete(_)));
        stage.heard(&["tools/call"]).await;
        let thinking = spawn(&aggregator, &one, first, "wait");
        stage.heard(&["tools/call"]).await;
        stage.say(ask("a"));
        let (_, _answer) = question(&mut ones).await;
        // Its own calls wait for their turn; those of another are sent, and the server does not answer them.
        let (sink, client) = if own { (&one, first) } else { (&two, second) };
        for _ in 0..3 {
            let Outcome::Error(error) = spawn(&aggregator, sink, client, "wait").await.unwrap() else { panic!() };
            assert!(error.get().contains(code), "{error}");
        }
        tokio::time::sleep(Duration::from_secs(6)).await; // of the paused clock: what it is given to say that it lives
        assert_eq!(thinking.is_finished(), ended, "it does not answer `ping` either");
    }
}

/// Answers everything, and notes which clients have called and which are forgotten.
#[derive(Default)]
struct Remembers {
    called: Mutex<BTreeSet<ClientId>>,
    forgotten: Mutex<BTreeSet<ClientId>>,
}

impl Upstream for Remembers {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        self.called.lock().unwrap().extend(call.client);
        Box::pin(async { Outcome::Complete(raw("{}")) })
    }

    fn forget(&self, client: ClientId) {
        self.forgotten.lock().unwrap().insert(client);
    }
}

#[tokio::test]
async fn a_session_that_has_ended_is_forgotten_whatever_was_asked_for_in_it() {
    let level = r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}"#;
    for (case, asked) in [("calls only", vec![CALL]), ("twin: a level", vec![level]), ("both", vec![CALL, level])] {
        let remembers = Arc::new(Remembers::default());
        let endpoint = Endpoint::serve(remembers.clone(), StreamableHttpLimits::default()).await;
        let session = endpoint.initialize("2025-11-25").await;
        for body in asked {
            let reply = endpoint.post(&[("mcp-session-id", &session)], body).await.json();
            assert!(reply["result"].is_object(), "{case}: {reply}");
        }
        assert!(remembers.forgotten.lock().unwrap().is_empty(), "{case}: it goes on");
        endpoint.send(Method::DELETE, &[("mcp-session-id", &session)], "").await;
        let called = remembers.called.lock().unwrap().clone();
        assert_eq!((called.len(), &*remembers.forgotten.lock().unwrap()), (1, &called), "{case}");
    }
}

/// Agrees to everything, but in a process beside the first not to what it declares of an extension.
#[derive(Debug)]
struct Beside(bool);

impl Pins for Beside {
    fn judge<'a>(
        &'a self,
        said: &'a [Arc<Definition>],
        process: Process,
    ) -> BoxFuture<'a, Result<Vec<Standing>, PinsUnknown>> {
        let odd = move |said: &Definition| {
            self.0 && process == Process::Beside && said.kind == DefinitionKind::Instructions && &*said.name == ODD
        };
        let standing = move |said: &Arc<Definition>| if odd(said) { Standing::Changed } else { Standing::Agreed };
        Box::pin(async move { Ok(said.iter().map(standing).collect()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_declares_something_else_of_an_extension_gets_no_request_of_it() {
    for held in [true, false] {
        let mut stage = server();
        let mut policy = ServerPolicy::default();
        policy.pins = Some(Arc::new(Beside(held)));
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv").with_policy(policy)]).unwrap());
        let (one, mut ones) = Client::connect();
        let _thinking = spawn(&aggregator, &one, ClientId::new(), "wait");
        stage.heard(&["tools/call"]).await;
        stage.say(ask("a"));
        let (_, _answer) = question(&mut ones).await;
        stage.heard_so_far(&[]);
        let mut call = Call::new("com.example/odd/do", Some(raw("{}"))).with_sink(one.clone());
        call.context = Some(Arc::new(ClientContext::new(raw(&json!({ "extensions": { ODD: {} } }).to_string()))));
        assert!(matches!(aggregator.call(call).await, Outcome::Complete(_)));
        let heard = stage.heard_so_far(&["initialize", "com.example/odd/do"]);
        assert_eq!(heard.len(), 2, "another process was there");
        // Both have said hello and listed three lists; the first has had a call before.
        assert_eq!(stage.heard_requests(), if held { 6 } else { 5 });
    }
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"srv_do"}}"#;

#[tokio::test]
async fn a_new_session_gives_no_new_calls() {
    let stage = server();
    let mut policy = ServerPolicy::default();
    policy.rate = RateLimits { calls_per_minute: None, calls_per_minute_and_client: Some(2) };
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv").with_policy(policy)]).unwrap());
    let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
    for (principal, allowed) in [("one", true), ("one", true), ("one", false), ("two", true)] {
        let who = ("x-principal", principal);
        let session = endpoint.post(&[who], &initialize("2025-11-25")).await.session();
        let reply = endpoint.post(&[who, ("mcp-session-id", &session)], CALL).await.json();
        assert_eq!(reply["result"].is_object(), allowed, "{principal}: {reply}");
        assert_eq!(reply["error"]["data"]["code"] == "rate-limited", !allowed, "{principal}: {reply}");
        endpoint.send(Method::DELETE, &[who, ("mcp-session-id", &session)], "").await;
    }
}

fn subscribe(method: &str, uri: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "uri": uri } }).to_string()
}

#[tokio::test]
async fn the_texts_of_subscriptions_are_bounded_over_all_sessions_and_streams_of_one_principal() {
    let stage = server();
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    let limits = StreamableHttpLimits { max_subscribed_bytes_per_principal: 13_000, ..StreamableHttpLimits::default() };
    let endpoint = Endpoint::serve(aggregator, limits).await;
    let (one, other) = (endpoint.initialize("2025-11-25").await, endpoint.initialize("2025-11-25").await);
    let (long, next) = (format!("a:{}", "x".repeat(6_000)), format!("b:{}", "x".repeat(6_000)));
    let ask = async |session: &str, method: &str, uri: &str| {
        endpoint.post(&[("mcp-session-id", session)], &subscribe(method, uri)).await.json()
    };
    let subscribed =
        async |session: &str, uri: &str| ask(session, "resources/subscribe", uri).await["result"].is_object();
    assert!(subscribed(&one, &long).await);
    assert!(!subscribed(&one, &next).await);
    assert!(!subscribed(&other, &next).await, "another session of it");
    let listen = async |principal: &str| {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "c", "version": "1" },
        });
        let params = json!({ "_meta": meta, "notifications": { "resourceSubscriptions": [next] } });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params });
        let headers = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "subscriptions/listen"),
            ("x-principal", principal),
        ];
        endpoint.open(Method::POST, &headers, body.to_string()).await
    };
    assert_eq!(listen("one").await.status, 429);
    // Twins: what is there already, a short one, another principal, and the same once there is room.
    assert!(subscribed(&one, &long).await && subscribed(&other, "c:1").await);
    assert_eq!(listen("two").await.status, 200);
    ask(&one, "resources/unsubscribe", &long).await;
    let stream = listen("one").await;
    assert_eq!(stream.status, 200);
    assert!(!subscribed(&other, &next).await, "it is taken by the stream");
}

#[tokio::test]
async fn who_comes_back_for_the_rest_of_an_answer_takes_a_share_of_what_may_listen() {
    let mut stage = server();
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    let limits = StreamableHttpLimits {
        primed_after: Duration::ZERO,
        max_listeners_per_principal: 1,
        ..StreamableHttpLimits::default()
    };
    let endpoint = Endpoint::serve(aggregator, limits).await;
    let session = endpoint.initialize("2025-11-25").await;
    let wait = CALL.replace("srv_do", "srv_wait");
    let mut answer = endpoint.open(Method::POST, &[("mcp-session-id", &session)], wait).await;
    assert!(answer.next_text().await.unwrap().starts_with("id: 1-0"));
    stage.heard(&["tools/call"]).await;
    let resume = async || {
        let headers = [("mcp-session-id", &*session), ("last-event-id", "1-0")];
        endpoint.open(Method::GET, &headers, "").await
    };
    let first = resume().await;
    assert_eq!(first.status, 200);
    assert_eq!(resume().await.status, 429);
    // Twin: once the other is gone, which the endpoint notices by itself.
    drop(first);
    while resume().await.status != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_change_of_roots_and_the_end_of_a_subscription_say_nothing_but_that() {
    for private in ["", r#","x":"private""#] {
        let mut stage = server();
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let session = endpoint.session(r#"{"roots":{"listChanged":true}}"#).await;
        let session = [("mcp-session-id", &*session)];
        let subscribed = endpoint.post(&session, &subscribe("resources/subscribe", "a:1")).await.json();
        assert!(subscribed["result"].is_object(), "{subscribed}");
        let ended = subscribe("resources/unsubscribe", "a:1").replace(r#""a:1""#, &format!(r#""a:1"{private}"#));
        let ended = endpoint.post(&session, &ended).await.json();
        assert!(ended["result"].is_object(), "{ended}");
        assert_eq!(stage.heard(&["resources/unsubscribe"]).await.1, r#"{"uri":"a:1"}"#);
        let changed = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/roots/list_changed","params":{{"_meta":{{}}{private}}}}}"#
        );
        assert_eq!(endpoint.post(&session, &changed).await.status, 202);
        assert_eq!(stage.heard(&["notifications/roots/list_changed"]).await.1, "");
    }
}

#[tokio::test]
async fn who_subscribes_while_another_is_forgotten_goes_on_hearing_of_it() {
    for (comes_back, says_goodbye) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut stage = server();
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
        let (first, second) = (ClientId::new(), ClientId::new());
        let about = |method: &str, client| Call::new(method, Some(raw(r#"{"uri":"a:1"}"#))).of_client(client);
        assert!(matches!(aggregator.call(about("resources/subscribe", first)).await, Outcome::Complete(_)));
        // What follows from that has not happened yet when the other subscribes.
        match says_goodbye {
            true => {
                let (aggregator, call) = (Arc::clone(&aggregator), about("resources/unsubscribe", first));
                drop(tokio::spawn(async move { aggregator.call(call).await }));
            }
            false => aggregator.forget(first),
        }
        if comes_back {
            assert!(matches!(aggregator.call(about("resources/subscribe", second)).await, Outcome::Complete(_)));
        }
        // Once these are answered, all that came before was heard.
        for _ in 0..4 {
            let call = Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#))).of_client(second);
            assert!(matches!(aggregator.call(call).await, Outcome::Complete(_)));
        }
        let heard = stage.heard_so_far(&["resources/subscribe", "resources/unsubscribe"]);
        let last = if comes_back { "resources/subscribe" } else { "resources/unsubscribe" };
        assert_eq!(heard.last().map(|(method, _)| &**method), Some(last), "{says_goodbye}: {heard:?}");
    }
}
