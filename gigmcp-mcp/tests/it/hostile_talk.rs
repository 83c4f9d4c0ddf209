//! Servers that flood, never settle or say odd things: what they say stays short and their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gigmcp_mcp::{Aggregator, Call, Outcome, StdioLimits, StreamableHttpLimits, Upstream};
use serde_json::Value;

use crate::{
    hostile_server::LOG,
    played::{Reply, Stage, result},
    scripted::Scripted,
    seam::{asked, raw, spawn},
    serving::Endpoint,
};

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
    let upstream = Arc::new(upstream);
    asked(&upstream, &mut server).await;
    let mut events = upstream.events().unwrap();
    let log = |length: usize| LOG.replace("of one", &"x".repeat(length));
    server.say(&log(1 << 20)).await;
    server.say(&log(10_000)).await;
    assert!(events.recv().await.unwrap().params.as_ref().unwrap().get().len() < 11_000);
    assert_eq!(upstream.counters().oversized_events, 1);
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
    for uri in ["a:1", "b:1"] {
        let subscribe = Call::new("resources/subscribe", Some(raw(&format!(r#"{{"uri":"{uri}"}}"#))));
        assert!(matches!(aggregator.call(subscribe).await, Outcome::Complete(_)));
    }
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

#[tokio::test]
async fn that_an_address_of_an_error_is_done_with_is_told_to_whom_it_was_shown() {
    let stage = Stage::new(r#""capabilities":{"tools":{}}"#, |method, params| {
        match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        _ if params.contains("plain") => result("{}"),
        _ => Reply::Error(
            r#"{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","url":"https://a.test/x","message":"Go","elicitationId":"e-1"}]}}"#
                .into(),
        ),
    }
    });
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
    for (arguments, first) in
        [("{}", "notifications/elicitation/complete"), (r#"{"plain":1}"#, "notifications/message")]
    {
        let session = endpoint.session(r#"{"elicitation":{"url":{}}}"#).await;
        let headers = [("mcp-session-id", &*session)];
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"srv_do","arguments":{arguments}}}}}"#
        );
        endpoint.post(&headers, &call).await;
        let mut stream = endpoint.open(http::Method::GET, &headers, "").await;
        stage
            .say(r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e-1"}}"#);
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#);
        let heard: Value = serde_json::from_str(&stream.next().await.unwrap()).unwrap();
        assert_eq!(heard["method"], first, "{arguments}");
    }
}
