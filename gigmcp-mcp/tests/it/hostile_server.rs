//! Servers that lie, flood or are merely careless: what they can do to their own clients, and not to anybody else's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gigmcp_mcp::{
    Aggregator, Asked, Backend, BoxFuture, Call, CallError, ClientContext, ClientId, Era, Features, Launch,
    LaunchError, Outcome, Passing, StdioLimits, StdioUpstream, Upstream, Verdict,
};
use serde_json::Value;
use tokio::io::split;

use crate::{
    played::{Reply, Stage, result},
    scripted::Scripted,
    seam::{Client, connected, everything, note, question, raw, spawn, token},
};

const ELICIT: &str = r#"{"jsonrpc":"2.0","id":"who","method":"elicitation/create","params":{"message":"Who?"}}"#;
const LOG: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"of one"}}"#;

#[tokio::test]
async fn what_a_client_that_cannot_be_asked_has_caused_reaches_no_other() {
    for (alone, context) in [(false, false), (false, true), (true, false)] {
        let (upstream, mut server) = connected(everything()).await;
        // The first reads no events, so there is no way back to it.
        let mut deaf = Call::new("tools/call", None);
        match context {
            true => deaf.context = Some(Arc::new(ClientContext::new(raw("{}")))),
            false => deaf.client = Some(ClientId::new()),
        }
        let _deaf = (!alone).then(|| spawn(&upstream, deaf));
        if !alone {
            server.hear().await;
        }
        let (client, mut reached) = Client::connect();
        let _calling = spawn(&upstream, Call::new("tools/call", None).with_sink(client).of_client(ClientId::new()));
        server.hear().await;
        server.say(LOG).await;
        server.say(ELICIT).await;
        if alone {
            assert_eq!(note(&mut reached).await.0, "notifications/message", "twin");
            question(&mut reached).await;
        } else {
            let refused = server.hear_line().await;
            assert!(refused.contains(r#""id":"who","error""#), "{refused}");
            assert!(refused.contains(r#""data":{"code":"request-ambiguous"}"#), "{refused}");
            assert!(reached.try_recv().is_err());
            assert_eq!(upstream.counters().ambiguous, 2);
        }
    }
}

#[tokio::test]
async fn what_a_call_that_was_given_up_still_causes_reaches_no_other_client() {
    for (again, answered, asked) in [(false, false, false), (true, false, true), (false, true, true)] {
        let (upstream, mut server) = connected(everything()).await;
        let ((one, _), (two, mut reached)) = (Client::connect(), Client::connect());
        let (first, other) = (ClientId::new(), ClientId::new());
        let calling = spawn(&upstream, Call::new("tools/call", None).with_sink(one).of_client(first));
        let id = server.hear().await.id;
        calling.abort();
        assert_eq!(server.hear().await.method, "notifications/cancelled");
        if answered {
            server.answer(&id, "{}").await; // then it is done with it
        }
        let of = if again { first } else { other };
        let _calling = spawn(&upstream, Call::new("tools/call", None).with_sink(two).of_client(of));
        server.hear().await;
        // The server goes on with the first call all the same.
        server.say(LOG).await;
        server.say(ELICIT).await;
        if asked {
            assert_eq!(note(&mut reached).await.0, "notifications/message");
            question(&mut reached).await;
        } else {
            assert!(server.hear_line().await.contains("several calls"));
            assert!(reached.try_recv().is_err());
        }
    }
}

#[tokio::test]
async fn what_a_task_of_one_client_causes_between_requests_reaches_no_other() {
    let (first, other) = (ClientId::new(), ClientId::new());
    for (of, is_over, asked) in [(other, false, false), (first, false, true), (other, true, true)] {
        let (upstream, mut server) = connected(everything()).await;
        let (client, mut reached) = Client::connect();
        // Its call was answered with a task, and it is not yet time to ask for that.
        let task = upstream.works_for(first);
        if is_over {
            drop(task);
        } else {
            std::mem::forget(task);
        }
        let _calling = spawn(&upstream, Call::new("tools/call", None).with_sink(client).of_client(of));
        server.hear().await;
        server.say(LOG).await;
        server.say(ELICIT).await;
        if asked {
            assert_eq!(note(&mut reached).await.0, "notifications/message", "twin");
            question(&mut reached).await;
        } else {
            assert!(server.hear_line().await.contains(r#""data":{"code":"request-ambiguous"}"#));
            assert!(reached.try_recv().is_err());
        }
    }
}

#[tokio::test]
async fn a_task_of_the_older_era_is_known_to_be_its_clients_while_it_is_waited_for() {
    // It asks while nobody asks it for anything; the tool of another client is the only call under way.
    let mut stage = Stage::new(r#""capabilities":{"tools":{}}"#, |method, params| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "tools/call" if params.contains("\"task\"") => {
            result(r#"{"task":{"taskId":"t","status":"working","pollInterval":10000}}"#)
        }
        _ => Reply::Never,
    });
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    aggregator.tools().await;
    let ((one, _heard), (two, mut reached)) = (Client::connect(), Client::connect());
    let call = |arguments: &str| {
        Call::new("tools/call", Some(raw(&format!(r#"{{"name":"srv_do","arguments":{arguments}}}"#))))
    };
    let first = {
        let (aggregator, call) =
            (Arc::clone(&aggregator), call(r#"{"task":1}"#).with_sink(one).of_client(ClientId::new()));
        tokio::spawn(async move { aggregator.call(call).await })
    };
    stage.heard(&["tools/call"]).await;
    let _second = {
        let (aggregator, call) = (Arc::clone(&aggregator), call("{}").with_sink(two).of_client(ClientId::new()));
        tokio::spawn(async move { aggregator.call(call).await })
    };
    stage.heard(&["tools/call"]).await;
    stage.say(LOG.to_owned());
    stage.say(ELICIT.to_owned());
    tokio::time::timeout(Duration::from_millis(300), reached.recv()).await.expect_err("it is not of this client");
    first.abort();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_given_up_is_forgotten_at_last() {
    let (upstream, mut server) = connected(everything()).await;
    let ((one, _), (two, mut reached)) = (Client::connect(), Client::connect());
    let calling = spawn(&upstream, Call::new("tools/call", None).with_sink(one));
    server.hear().await;
    calling.abort();
    server.hear().await;
    tokio::time::advance(StdioLimits::default().given_up_for).await;
    let _calling = spawn(&upstream, Call::new("tools/call", None).with_sink(two));
    server.hear().await;
    server.say(ELICIT).await;
    question(&mut reached).await;
}

#[tokio::test]
async fn an_id_that_is_too_long_to_be_kept_is_none() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    let ping = |length: usize| format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(length));
    // 256 of the longest that a line can hold would be 4 GiB, waiting for a server that does not read.
    server.say(&ping(100_000)).await;
    server.say(&ping(900)).await;
    assert!(server.hear_line().await.len() < 1000, "the twin is answered first");
    assert_eq!(upstream.counters().invalid_lines, 1);
}

#[tokio::test]
async fn a_client_knows_nothing_that_makes_progress_of_anothers_call() {
    let (upstream, mut server) = connected(everything()).await;
    let ((one, mut ones), (two, mut twos)) = (Client::connect(), Client::connect());
    let call =
        |sink| Call::new("tools/call", Some(raw(r#"{"name":"echo","_meta":{"progressToken":"t"}}"#))).with_sink(sink);
    let _one = spawn(&upstream, call(one));
    let first = token(&server.hear().await.params);
    let _two = spawn(&upstream, call(two));
    let second = token(&server.hear().await.params);
    // A server that echoes what it gets tells a client its own token. That of the call before must not follow from it.
    let forged = second.replace("-3", "-2");
    assert_ne!((&forged, &first), (&second, &second));
    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    server.say(&progress(&forged)).await;
    server.say(&progress(&second)).await;
    note(&mut twos).await;
    assert!(ones.try_recv().is_err());
    server.say(&progress(&first)).await;
    note(&mut ones).await;
}

#[tokio::test]
async fn a_line_that_is_too_long_and_answers_nothing_fails_no_call() {
    let limits = StdioLimits { max_line_bytes: 4096, ..StdioLimits::default() };
    let long = "x".repeat(5000);
    for (line, survives) in [
        (format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{long}"}}}}"#), true),
        // As the SDK for TypeScript writes it: with a number of the server's own that is also one of ours.
        (format!(r#"{{"method":"ping","params":{{"data":"{long}"}},"jsonrpc":"2.0","id":2}}"#), true),
        (format!(r#"{{"jsonrpc":"2.0","id":2,"method":"ping","params":{{"data":"{long}"}}}}"#), true),
        (format!(r#"{{"result":{{"data":"{long}"}},"jsonrpc":"2.0","id":2}}"#), false),
        (format!(r#"{{"jsonrpc":"2.0","id":2,"result":{{"data":"{long}"}}}}"#), false),
    ] {
        let (upstream, mut server) = Scripted::connected(limits).await;
        let upstream = Arc::new(upstream);
        let calling = spawn(&upstream, Call::new("tools/call", None));
        let id = server.hear().await.id;
        assert_eq!(id, "2");
        server.say(&line).await;
        server.answer(&id, "{}").await;
        let outcome = calling.await.unwrap();
        assert_eq!(matches!(outcome, Outcome::Complete(_)), survives, "{}: {outcome:?}", &line[..60]);
        assert_eq!(upstream.counters().oversized_lines, 1);
    }
}

#[tokio::test]
async fn a_batch_is_read_only_as_far_as_it_is_short() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    let change = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let batch = |count: usize| format!("[{}]", vec![change; count].join(","));
    server.say(&batch(100_000)).await;
    server.say(&batch(3)).await;
    server.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    server.hear_line().await;
    assert_eq!(upstream.revision(gigmcp_mcp::List::Tools), 3);
    assert_eq!(upstream.counters().invalid_lines, 1);
}

#[tokio::test]
async fn what_belongs_to_no_call_is_short_or_not_told() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    let mut events = upstream.events().unwrap();
    let log = |length: usize| LOG.replace("of one", &"x".repeat(length));
    server.say(&log(1 << 20)).await;
    server.say(&log(10_000)).await;
    assert!(events.recv().await.unwrap().params.as_ref().unwrap().get().len() < 11_000);
    assert_eq!(upstream.counters().oversized_events, 1);
}

/// A server of the newer era that may ask for forms and nothing else.
async fn modern(limits: StdioLimits) -> (Arc<StdioUpstream>, Scripted) {
    let (ours, mut server) = Scripted::pipes();
    let (stdout, stdin) = split(ours);
    let mut features = Features::default();
    features.elicitation = Passing::Forward;
    let connecting = StdioUpstream::connect_as(stdin, stdout, limits, features, Era::Modern);
    let (connected, ()) = tokio::join!(connecting, async {
        let id = server.hear().await.id;
        server.answer(&id, r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#).await;
    });
    (Arc::new(connected.unwrap()), server)
}

fn needs(method: &str) -> String {
    format!(
        r#"{{"resultType":"input_required","inputRequests":{{"k":{{"method":"{method}","params":{{"message":"?"}}}}}}}}"#
    )
}

#[tokio::test]
async fn a_modern_server_asks_for_nothing_that_it_may_not_have() {
    for asked in [Asked::ByOutcome, Asked::BySink] {
        let (upstream, mut server) = modern(StdioLimits::default()).await;
        for (method, passes) in [
            ("sampling/createMessage", false), // spends the user's tokens
            ("roots/list", false),
            ("ping", false),
            ("tools/call", false),
            ("elicitation/create", true),
        ] {
            let (client, mut reached) = Client::connect();
            // This client could do it all.
            let mut context = ClientContext::new(raw(r#"{"sampling":{},"roots":{},"elicitation":{"form":{}}}"#));
            context.asked = asked;
            let mut call = Call::new("tools/call", None).with_sink(client);
            call.context = Some(Arc::new(context));
            let calling = spawn(&upstream, call);
            let id = server.hear().await.id;
            server.answer(&id, &needs(method)).await;
            if passes && asked == Asked::BySink {
                question(&mut reached).await.1.send(Verdict::Error(raw("{}"))).unwrap();
            }
            match (calling.await.unwrap(), passes) {
                (Outcome::Failed(CallError::Protocol { reason }), false) => {
                    assert_eq!(reason, "the server asks for what is not offered to it");
                    assert!(reached.try_recv().is_err());
                }
                (Outcome::InputRequired(_), true) => assert_eq!(asked, Asked::ByOutcome),
                (Outcome::Error(_), true) => assert_eq!(asked, Asked::BySink),
                (outcome, _) => panic!("{method}: {outcome:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_does_not_keep_a_modern_servers_call_for_ever() {
    for answers in [false, true] {
        let (upstream, mut server) = modern(StdioLimits::default()).await;
        let (client, mut reached) = Client::connect();
        let mut context = ClientContext::new(raw(r#"{"elicitation":{}}"#));
        context.asked = Asked::BySink;
        let mut call = Call::new("tools/call", None).with_sink(client);
        call.context = Some(Arc::new(context));
        let calling = spawn(&upstream, call);
        let id = server.hear().await.id;
        server.answer(&id, &needs("elicitation/create")).await;
        let (_, answer) = question(&mut reached).await;
        if answers {
            answer.send(Verdict::Result(raw(r#"{"action":"decline"}"#))).unwrap();
            let id = server.hear().await.id;
            server.answer(&id, "{}").await;
            assert!(matches!(calling.await.unwrap(), Outcome::Complete(_)));
        } else {
            let outcome = tokio::time::timeout(Duration::from_secs(3600), calling).await.expect("a deadline").unwrap();
            assert!(matches!(outcome, Outcome::Error(error) if error.get().contains("did not answer in time")));
        }
    }
}

const RESOURCES: &str = r#""capabilities":{"tools":{},"resources":{"subscribe":true}}"#;

fn with_resource(uri: &'static str) -> Stage {
    Stage::new(RESOURCES, move |method, _| match method {
        "tools/list" => result(r#"{"tools":[]}"#),
        "resources/list" => result(format!(r#"{{"resources":[{{"uri":"{uri}","name":"n"}}]}}"#)),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "resources/subscribe" => result("{}"),
        _ => Reply::Never,
    })
}

#[tokio::test]
async fn a_server_says_nothing_of_a_neighbours_resource() {
    let (one, two) = (with_resource("a:1"), with_resource("b:1"));
    let aggregator = Aggregator::new(vec![one.backend("one"), two.backend("two")]).unwrap();
    aggregator.tools().await;
    let mut events = aggregator.events().unwrap();
    for uri in ["a:1", "b:1"] {
        let subscribe = Call::new("resources/subscribe", Some(raw(&format!(r#"{{"uri":"{uri}"}}"#))));
        assert!(matches!(aggregator.call(subscribe).await, Outcome::Complete(_)));
    }
    let updated = |uri: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#)
    };
    two.say(updated("a:1"));
    two.say(updated("b:1"));
    let told = events.recv().await.unwrap();
    assert_eq!(told.params.as_ref().unwrap().get(), r#"{"uri":"b:1"}"#);
    one.say(updated("a:1"));
    assert_eq!(events.recv().await.unwrap().params.as_ref().unwrap().get(), r#"{"uri":"a:1"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_talks_without_end_drowns_no_neighbour() {
    let (one, two) = (with_resource("a:1"), with_resource("b:1"));
    let aggregator = Aggregator::new(vec![one.backend("one"), two.backend("two")]).unwrap();
    aggregator.tools().await;
    let mut events = aggregator.events().unwrap();
    for _ in 0..2000 {
        one.say(LOG);
    }
    one.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let mut one = one;
    one.heard_answer().await; // all of it was read
    tokio::task::yield_now().await;
    two.say(LOG);
    let mut from_one = 0;
    loop {
        let event = events.recv().await.expect("nothing was missed");
        match event.params.as_ref().unwrap().get().contains(r#""logger":"two""#) {
            true => break,
            false => from_one += 1,
        }
    }
    assert!((1..=128).contains(&from_one), "{from_one}");
    // It may speak again later.
    tokio::time::advance(Duration::from_secs(2)).await;
    one.say(LOG);
    assert!(events.recv().await.unwrap().params.as_ref().unwrap().get().contains("one"));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_settles_is_read_ever_more_rarely() {
    let stage = Stage::new(r#""capabilities":{"tools":{"listChanged":true}}"#, {
        let reads = AtomicUsize::new(0);
        move |method, _| match method {
            "tools/list" => {
                let read = reads.fetch_add(1, Ordering::SeqCst);
                result(format!(r#"{{"tools":[{{"name":"t{read}","inputSchema":{{"type":"object"}}}}]}}"#))
            }
            _ => Reply::Never,
        }
    });
    let mut stage = stage;
    let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
    aggregator.tools().await;
    stage.heard(&["tools/list"]).await;
    // A hundred changes a second, for a minute.
    for _ in 0..6000 {
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let read = stage.heard_so_far(&["tools/list"]).len();
    assert!((2..=12).contains(&read), "{read}");
    // After a quiet while, it is as before.
    tokio::time::sleep(Duration::from_secs(120)).await;
    stage.heard_so_far(&[]);
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    tokio::time::timeout(Duration::from_secs(1), stage.heard(&["tools/list"])).await.expect("at once");
}

/// An upstream that tells when it is dropped, and closes when told to.
struct Frail {
    open: Arc<std::sync::atomic::AtomicBool>,
    alive: Arc<AtomicUsize>,
}

impl Drop for Frail {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Upstream for Frail {
    fn call<'a>(&'a self, _: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async { Outcome::Complete(raw(r#"{"tools":[]}"#)) })
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }
}

impl Launch for Frail {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        self.alive.fetch_add(1, Ordering::SeqCst);
        let frail = Self { open: Arc::clone(&self.open), alive: Arc::clone(&self.alive) };
        Box::pin(async { Ok(Arc::new(frail) as Arc<dyn Upstream>) })
    }
}

#[tokio::test]
async fn a_server_that_closed_its_output_is_ended_when_that_is_seen() {
    let (open, alive) = (Arc::new(true.into()), Arc::new(AtomicUsize::new(1)));
    let launch = Arc::new(Frail { open: Arc::clone(&open), alive: Arc::clone(&alive) });
    let aggregator = Aggregator::new(vec![Backend::new("srv".parse().unwrap(), launch.clone())]).unwrap();
    aggregator.tools().await;
    assert_eq!(alive.load(Ordering::SeqCst), 2, "the launcher and what it launched");
    open.store(false, Ordering::SeqCst);
    aggregator.set_all_levels().await;
    assert_eq!(alive.load(Ordering::SeqCst), 1, "its process may well be there still");
}

trait SetLevels {
    fn set_all_levels(&self) -> impl Future<Output = ()>;
}

impl SetLevels for Aggregator {
    /// Looks at every server that runs, and starts none.
    async fn set_all_levels(&self) {
        self.call(Call::new("logging/setLevel", Some(raw(r#"{"level":"info"}"#)))).await;
    }
}

#[tokio::test]
async fn what_is_odd_is_logged_when_it_is_read_and_in_few_lines() {
    let tools: Vec<String> = (0..2000).map(|_| "7".to_owned()).collect();
    let list = format!(r#"{{"tools":[{}]}}"#, tools.join(","));
    let stage = Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
        "tools/list" => result(list.clone()),
        _ => Reply::Never,
    });
    let logged = Arc::new(AtomicUsize::new(0));
    let guard = tracing::subscriber::set_default(Counted(Arc::clone(&logged)));
    let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
    for _ in 0..10 {
        assert_eq!(aggregator.tools().await.faults.len(), 2000);
    }
    drop(guard);
    let logged = logged.load(Ordering::SeqCst);
    assert!((1..=32).contains(&logged), "{logged}");
}

/// Counts what is logged for operators to see.
struct Counted(Arc<AtomicUsize>);

impl tracing::Subscriber for Counted {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN && metadata.target().starts_with("gigmcp_mcp")
    }
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn an_address_in_an_error_is_safe_and_says_whose_it_is() {
    for (url, expected) in [
        ("https://a.test/x", Some("srv asks you to open a.test: Go")),
        ("http://a.test/x", None),
        ("javascript:alert(1)", None),
    ] {
        let error = format!(
            r#"{{"code":-32042,"message":"m","data":{{"x":1.0,"elicitations":[{{"mode":"url","url":"{url}","message":"Go","elicitationId":"e"}}]}}}}"#
        );
        let stage = Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            _ => Reply::Error(error.clone()),
        });
        let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
        let Outcome::Error(error) = aggregator.call_tool(Some(&raw(r#"{"name":"srv_do"}"#))).await else { panic!() };
        let error: Value = serde_json::from_str(error.get()).unwrap();
        match expected {
            Some(message) => {
                assert_eq!(error["data"]["elicitations"][0]["message"], message);
                assert_eq!((&error["code"], &error["data"]["x"]), (&(-32042).into(), &1.0.into()));
            }
            None => assert_eq!((&error["code"], &error["data"]), (&(-32603).into(), &Value::Null)),
        }
    }
}
