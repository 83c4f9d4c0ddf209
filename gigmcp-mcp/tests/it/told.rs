//! What clients tell servers takes no more room than it may, and reaches nobody for whom it is not meant.

use std::{sync::Arc, time::Duration};

use gigmcp_mcp::{
    Aggregator, BoxFuture, Call, CatalogueStore, ClientContext, ClientId, DefinitionKind, Features, Outcome, Roots,
    Sink, StdioLimits, StdioUpstream, StreamableHttpLimits, Upstream, Verdict,
};
use serde_json::{Value, json};
use tokio::{
    io::split,
    sync::{Semaphore, mpsc},
};

use crate::{
    notices::{CHANGED, ODD, says},
    pins_cold::Shelf,
    played::{Reply, Stage, result},
    scripted::Scripted,
    seam::{Client, Reached, note, question, raw, spawn},
    seams::{built, policy},
    seams_pinned::But,
    serving::Endpoint,
};

const ROOTS_CHANGED: &str = "notifications/roots/list_changed";

/// A server that has declared an extension, and reads when the test lets it.
pub(crate) async fn connected() -> (Arc<StdioUpstream>, Scripted) {
    let (ours, mut server) = Scripted::pipes();
    let (stdout, stdin) = split(ours);
    let mut features = Features::default();
    features.roots = Roots::Forward;
    let connecting = StdioUpstream::connect_with(stdin, stdout, StdioLimits::default(), features);
    let greeting = async {
        let heard = server.hear().await;
        let capabilities = json!({ "tools": {}, "extensions": { ODD: {} } });
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities });
        server.answer(&heard.id, &hello.to_string()).await;
        assert_eq!(server.hear().await.method, "notifications/initialized");
    };
    let (upstream, ()) = tokio::join!(connecting, greeting);
    (Arc::new(upstream.unwrap()), server)
}

#[tokio::test]
async fn what_clients_tell_leaves_half_of_the_queue_to_what_is_answered() {
    for (many, method) in [(1000, CHANGED), (1000, ROOTS_CHANGED), (2, CHANGED), (2, ROOTS_CHANGED)] {
        let (upstream, mut server) = connected().await;
        let mut events = upstream.events().unwrap();
        // What is said after something was heard after it.
        let mut heard_by = async |server: &mut Scripted, line: &str| {
            server.say(line).await;
            server.say(&says("notifications/elicitation/complete", &json!({ "elicitationId": "1" }))).await;
            events.recv().await.unwrap();
        };
        let long = raw(&json!({ "x": "a".repeat(8 << 10) }).to_string());
        for _ in 0..8 {
            // Long ones fill the pipe.
            (0..many).for_each(|_| upstream.tell(Call::new(CHANGED, Some(long.clone()))));
            heard_by(&mut server, "").await;
        }
        (0..many).for_each(|_| upstream.tell(Call::new(method, None)));
        heard_by(&mut server, r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).await;
        let call = spawn(&upstream, Call::new("tools/call", None));
        let (mut told, mut answered) = (0, false);
        let asked = loop {
            let heard = server.hear().await;
            match &*heard.method {
                "tools/call" => break heard,
                "" => answered = true,
                _ => told += 1,
            }
        };
        server.answer(&asked.id, "{}").await;
        assert!(matches!(call.await.unwrap(), Outcome::Complete(_)));
        assert!(answered, "{many} of {method}");
        assert_eq!(upstream.counters().unwritten + told, 9 * many, "{method}");
        assert_eq!(told == 9 * many, many == 2, "twin: of a few, all are written: {method}");
    }
}

fn answers(method: &str, _: &str) -> Reply {
    match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "resources/list" => result(r#"{"resources":[]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "tools/call" => result(r#"{"content":[]}"#),
        _ => Reply::Never,
    }
}

fn having(extensions: &Value) -> Stage {
    let capabilities = json!({ "tools": {}, "extensions": extensions });
    Stage::new(&format!(r#""capabilities":{capabilities}"#), answers)
}

fn context(capabilities: &Value) -> Arc<ClientContext> {
    let mut context = ClientContext::new(raw(&capabilities.to_string()));
    context.owner = Some("one".into());
    Arc::new(context)
}

async fn tells(aggregator: &Aggregator, capabilities: &Value) {
    let mut told = Call::new(CHANGED, Some(raw("{}")));
    told.context = Some(context(capabilities));
    aggregator.notify(told).await;
}

/// Whether a server has been told it until now.
async fn was_told(aggregator: &Aggregator, stage: &mut Stage, server: &str) -> bool {
    let params = json!({ "name": format!("{server}_do") });
    let called = aggregator.call(Call::new("tools/call", Some(raw(&params.to_string())))).await;
    assert!(matches!(called, Outcome::Complete(_)), "{called:?}");
    !stage.heard_so_far(&[CHANGED]).is_empty()
}

#[tokio::test]
async fn what_a_client_declares_is_nested_no_deeper_than_what_it_says() {
    let modern = || {
        let capabilities = json!({ "tools": {}, "extensions": { ODD: {} } });
        Stage::modern(&format!(r#""capabilities":{capabilities}"#), answers)
    };
    for (depth, passes) in [(200, false), (50, true)] {
        let nested = (0..depth).fold(json!(1), |inner, _| json!([inner]));
        let declared = json!({ "extensions": { ODD: {} }, "experimental": { "x": nested } });
        for mut stage in [having(&json!({ ODD: {} })), modern()] {
            let aggregator = built(Aggregator::builder().backends([stage.backend("srv")])).await;
            tells(&aggregator, &declared).await;
            assert_eq!(was_told(&aggregator, &mut stage, "srv").await, passes, "{depth}");
            let mut call = Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#)));
            call.context = Some(context(&declared));
            assert_eq!(matches!(aggregator.call(call).await, Outcome::Complete(_)), passes, "{depth}");
            assert_eq!(!stage.heard_so_far(&["tools/call"]).is_empty(), passes, "{depth}");
        }
    }
}

/// Hears what clients tell, and is not done with it before the test says so.
struct Slow {
    heard: mpsc::UnboundedSender<()>,
    done: Semaphore,
}

impl Upstream for Slow {
    fn call<'a>(&'a self, _: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(std::future::pending())
    }

    fn notify<'a>(&'a self, _: Call) -> BoxFuture<'a, ()> {
        Box::pin(async {
            self.heard.send(()).unwrap();
            drop(self.done.acquire().await);
        })
    }
}

/// What a client of the newer era posts that has declared so many bytes.
async fn posts(endpoint: &Endpoint, bytes: usize) -> u16 {
    let declared = json!({ "extensions": { ODD: {} }, "experimental": { "x": "a".repeat(bytes) } });
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": declared,
    });
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", CHANGED)];
    endpoint.post(&headers, &says(CHANGED, &json!({ "_meta": meta }))).await.status.as_u16()
}

#[tokio::test]
async fn what_a_client_declares_counts_with_what_it_says() {
    let (heard, mut hears) = mpsc::unbounded_channel();
    let slow = Arc::new(Slow { heard, done: Semaphore::new(0) });
    let limits = StreamableHttpLimits { max_bytes_per_principal: 40 << 10, ..StreamableHttpLimits::default() };
    let endpoint = Arc::new(Endpoint::serve(Arc::clone(&slow) as _, limits).await);
    let first = {
        let endpoint = Arc::clone(&endpoint);
        tokio::spawn(async move { posts(&endpoint, 30 << 10).await })
    };
    hears.recv().await.unwrap();
    for (bytes, status) in [(30 << 10, 429), (65 << 10, 413)] {
        tokio::select! {
            refused = posts(&endpoint, bytes) => assert_eq!(refused, status, "together with the first"),
            _ = hears.recv() => panic!("a server is told {bytes} bytes"),
        }
    }
    slow.done.add_permits(1);
    assert_eq!(first.await.unwrap(), 202);
    slow.done.add_permits(1);
    assert_eq!(posts(&endpoint, 30 << 10).await, 202, "twin: now it is alone");
    slow.done.add_permits(1);
    assert_eq!(posts(&endpoint, 63 << 10).await, 202, "twin: less long, and alone");
}

#[tokio::test]
async fn a_server_that_has_declared_the_extension_counts_though_it_does_not_run_and_nobody_has_looked() {
    let declared = json!({ "extensions": { ODD: {} } });
    let other = json!({ "com.example/other": {} });
    let held: &'static [_] = &[(DefinitionKind::Instructions, ODD)];
    let said = json!({ ODD: { "x": 1 } });
    for (case, theirs, pins, only, passes) in [
        ("it has declared it when it ran", &said, None, false, false),
        ("twin: it has declared another", &other, None, false, true),
        ("twin: nobody is shown that it has", &said, Some(held), false, true),
        ("twin: nothing but its tools may be used", &said, None, true, true),
    ] {
        let shelf = Arc::<Shelf>::default();
        let (mut runs, mut cold) = (having(&json!({ ODD: {} })), having(theirs));
        let kept = || {
            let policy = policy(|policy| {
                policy.pins = pins.map(|pins| Arc::new(But(pins)) as _);
                policy.only = only.then(|| ["do".into()].into());
            });
            cold.backend("cold").with_policy(policy).with_store(Arc::clone(&shelf) as Arc<dyn CatalogueStore>)
        };
        drop(built(Aggregator::builder().backends([kept()])).await);
        let backends = [runs.backend("runs"), kept()];
        let aggregator = Aggregator::builder().backends(backends).build().unwrap();
        was_told(&aggregator, &mut runs, "runs").await;
        cold.heard_so_far(&[]);
        tells(&aggregator, &declared).await;
        assert_eq!(cold.heard_so_far(&["initialize", CHANGED]), [], "{case}");
        assert_eq!(was_told(&aggregator, &mut runs, "runs").await, passes, "{case}");
        // It runs now, and what is held back or switched off is told nothing then either.
        was_told(&aggregator, &mut cold, "cold").await;
        tells(&aggregator, &declared).await;
        assert!(!was_told(&aggregator, &mut cold, "cold").await, "{case}");
        assert_eq!(was_told(&aggregator, &mut runs, "runs").await, passes, "{case}");
    }
}

/// What this client's call is told first, after the server has logged something and then said how far the call is.
async fn first_told(upstream: &Arc<StdioUpstream>, server: &mut Scripted, client: ClientId) -> String {
    let (sink, mut reached) = Client::connect();
    let params = r#"{"name":"do","_meta":{"progressToken":1}}"#;
    let call = spawn(upstream, Call::new("tools/call", Some(raw(params))).with_sink(sink).of_client(client));
    let heard = server.hear().await;
    server.say(&says("notifications/message", &json!({ "level": "info", "data": "roots are secret" }))).await;
    let progress = json!({ "progressToken": crate::seam::token(&heard.params).trim_matches('"'), "progress": 1 });
    server.say(&says("notifications/progress", &progress)).await;
    let first = note(&mut reached).await.0;
    server.say(r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#).await;
    // It can ask this client if it could tell it something.
    let asked = async { while !matches!(reached.recv().await.unwrap(), Reached::Question(..)) {} };
    let may_ask = tokio::select! {
        () = asked => true,
        refused = server.hear() => !refused.params.contains("request-ambiguous"),
    };
    assert_eq!(may_ask, first == "notifications/message");
    call.abort();
    first
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_after_a_client_told_it_of_its_roots_reaches_no_other_client() {
    let (this, other) = (ClientId::new(), ClientId::new());
    for (teller, expected) in [(other, "notifications/progress"), (this, "notifications/message")] {
        let (upstream, mut server) = connected().await;
        let (theirs, mut asked) = Client::connect();
        let told = async |upstream: &StdioUpstream, server: &mut Scripted| {
            let told = Call::new(ROOTS_CHANGED, None).of_client(teller).with_sink(Arc::clone(&theirs));
            upstream.tell(told);
            assert_eq!(server.hear().await.method, ROOTS_CHANGED);
        };
        told(&upstream, &mut server).await;
        assert_eq!(first_told(&upstream, &mut server, this).await, expected, "after it was told");

        let (upstream, mut server) = connected().await;
        told(&upstream, &mut server).await;
        server.say(r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#).await;
        let (_, answer) = question(&mut asked).await;
        tokio::time::advance(Duration::from_secs(20)).await;
        answer.send(Verdict::Result(raw(r#"{"roots":[]}"#))).unwrap();
        assert!(server.hear().await.params.contains("roots"), "it is told them");
        assert_eq!(first_told(&upstream, &mut server, this).await, expected, "after it was answered");
    }
}

/// As many sessions of one owner as can be known to have told a server something have told it so.
const MANY: usize = 1024;

fn changed_roots(owner: &str, client: ClientId, sink: &Arc<dyn Sink>) -> Call {
    let mut told = Call::new(ROOTS_CHANGED, None).of_client(client).with_sink(Arc::clone(sink));
    let mut context = ClientContext::new(raw("{}"));
    context.owner = Some(owner.into());
    told.context = Some(Arc::new(context));
    told
}

async fn change_many(upstream: &StdioUpstream, server: &mut Scripted, owner: &str, sink: &Arc<dyn Sink>) {
    for _ in 0..MANY {
        upstream.tell(changed_roots(owner, ClientId::new(), sink));
        assert_eq!(server.hear().await.method, ROOTS_CHANGED);
    }
}

#[tokio::test(start_paused = true)]
async fn changed_roots_of_a_session_that_could_not_be_known_are_not_told() {
    let (upstream, mut server) = connected().await;
    let (sink, _reached) = Client::connect();
    let known = ClientId::new();
    upstream.tell(changed_roots("two", known, &sink));
    assert_eq!(server.hear().await.method, ROOTS_CHANGED);
    change_many(&upstream, &mut server, "one", &sink).await;
    upstream.tell(changed_roots("one", ClientId::new(), &sink));
    assert_eq!(upstream.counters().unwritten, 1);
    upstream.tell(changed_roots("two", ClientId::new(), &sink));
    assert_eq!(server.hear().await.method, ROOTS_CHANGED, "twin: another's");
    tokio::time::advance(Duration::from_secs(5)).await;
    upstream.tell(changed_roots("one", ClientId::new(), &sink));
    assert_eq!(server.hear().await.method, ROOTS_CHANGED, "twin: later");
    assert_eq!(upstream.counters().unwritten, 1);
}

#[tokio::test(start_paused = true)]
async fn roots_are_not_answered_for_a_session_that_can_no_longer_be_known() {
    for (others, answered) in [("one", false), ("two", true)] {
        let (upstream, mut server) = connected().await;
        let (sink, mut reached) = Client::connect();
        upstream.tell(changed_roots("one", ClientId::new(), &sink));
        assert_eq!(server.hear().await.method, ROOTS_CHANGED);
        server.say(r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#).await;
        let (_, answer) = question(&mut reached).await;
        // What it was told is no longer at work, and then others tell it something.
        tokio::time::advance(Duration::from_secs(20)).await;
        change_many(&upstream, &mut server, others, &sink).await;
        answer.send(Verdict::Result(raw(r#"{"roots":[]}"#))).unwrap();
        let given_up = async {
            while upstream.counters().unwritten == 0 {
                tokio::task::yield_now().await;
            }
        };
        let told = tokio::select! {
            heard = server.hear() => heard.params.contains("roots"),
            () = given_up => false,
        };
        assert_eq!(told, answered, "{others}");
    }
}

/// A server of the newer era takes a state for its own, whoever gives it.
#[tokio::test]
async fn a_client_of_the_older_era_gives_no_state_and_no_answers() {
    let mut stage = Stage::modern(r#""capabilities":{"tools":{}}"#, answers);
    let aggregator = built(Aggregator::builder().backends([stage.backend("srv")])).await;
    let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
    let session = endpoint.session("{}").await;
    for params in [
        json!({ "name": "srv_do", "requestState": "of another", "inputResponses": { "k": {} }, "x": 1 }),
        json!({ "name": "srv_do", "requestState": "of another" }),
        json!({ "name": "srv_do", "x": 1 }),
    ] {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
        let reply = endpoint.post(&[("mcp-session-id", &session)], &call).await;
        assert!(reply.json()["result"].is_object(), "{}", reply.body);
        let heard: Value = serde_json::from_str(&stage.heard(&["tools/call"]).await.1).unwrap();
        assert_eq!((&heard["requestState"], &heard["inputResponses"]), (&json!(null), &json!(null)), "{heard}");
        assert_eq!(heard["x"], params["x"], "twin: it says what else it wants");
    }
}
