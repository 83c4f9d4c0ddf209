//! The multiplexer against servers that behave and servers that do not.

use std::time::Duration;

use gigmcp_mcp::{Call, CallError, ConnectError, LaunchError, List, Outcome, StdioLimits, StdioUpstream, Upstream};
use serde_json::value::RawValue;

use crate::scripted::{Scripted, connect};

fn raw(text: &str) -> Option<Box<RawValue>> {
    Some(RawValue::from_string(text.to_owned()).unwrap())
}

fn result(outcome: Outcome) -> String {
    match outcome {
        Outcome::Complete(result) => result.get().to_owned(),
        other => panic!("a result was expected, not {other:?}"),
    }
}

fn failure(outcome: Outcome) -> CallError {
    match outcome {
        Outcome::Failed(error) => error,
        other => panic!("a failure was expected, not {other:?}"),
    }
}

async fn call(upstream: &StdioUpstream, method: &str) -> Outcome {
    upstream.call(Call::new(method, None)).await
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    let (one, two, ()) = tokio::join!(call(&upstream, "one"), call(&upstream, "two"), async {
        let (first, second) = (server.hear().await, server.hear().await);
        server.answer(&second.id, &format!(r#""{}""#, second.method)).await;
        server.answer(&first.id, &format!(r#""{}""#, first.method)).await;
    });
    assert_eq!(result(one), r#""one""#);
    assert_eq!(result(two), r#""two""#);
    assert_eq!(upstream.counters(), gigmcp_mcp::StdioCounters::default());
}

#[tokio::test]
async fn a_servers_error_comes_back_as_written() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    let error = r#"{"x":1.50,"code":-32000,"message":"no","data":[1e400]}"#;
    let (outcome, ()) = tokio::join!(call(&upstream, "a"), async {
        let id = server.hear().await.id;
        server.say(&format!(r#"{{"id":{id},"jsonrpc":"2.0","error":{error}}}"#)).await;
    });
    assert!(matches!(outcome, Outcome::Error(found) if found.get() == error));
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_fail_name_their_reason() {
    for (case, answer, code) in [
        ("never answered", None, "server-timeout"),
        ("refused", Some(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#), "server-refused"),
        ("no revision", Some(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), "server-protocol"),
        (
            "unknown revision",
            Some(r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2026-07-28"}}"#),
            "server-version",
        ),
        ("both answers", Some(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#), "server-protocol"),
    ] {
        let (ours, mut server) = Scripted::pipes();
        let (connected, ()) = tokio::join!(connect(ours, StdioLimits::default()), async {
            assert_eq!(server.hear().await.method, "initialize");
            if let Some(answer) = answer {
                server.say(answer).await;
            }
            // A handshake is never cancelled: what follows it is the end.
            assert!(answer.is_some() || server.try_hear().await.is_none());
        });
        let error = LaunchError::from(connected.unwrap_err());
        assert_eq!((error.stage, error.code), ("initialize", code), "{case}");
    }
    for version in ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"] {
        let (ours, mut server) = Scripted::pipes();
        let (connected, ()) = tokio::join!(connect(ours, StdioLimits::default()), async {
            let id = server.hear().await.id;
            server.answer(&id, &format!(r#"{{"protocolVersion":"{version}"}}"#)).await;
        });
        assert_eq!(connected.unwrap().hello().version, version);
    }
}

#[tokio::test]
async fn a_server_that_exits_at_initialize_is_told_apart() {
    let (ours, mut server) = Scripted::pipes();
    let (connected, ()) = tokio::join!(connect(ours, StdioLimits::default()), async move {
        server.hear().await;
        drop(server);
    });
    assert!(matches!(connected, Err(ConnectError::Exited)));
}

#[tokio::test]
async fn a_death_fails_every_call_at_once_and_later_ones_too() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    assert!(upstream.is_open());
    let (one, two, ()) = tokio::join!(call(&upstream, "one"), call(&upstream, "two"), async move {
        server.hear().await;
        server.hear().await;
        drop(server);
    });
    assert_eq!(failure(one), CallError::Exited);
    assert_eq!(failure(two), CallError::Exited);
    upstream.closed().await;
    assert!(!upstream.is_open());
    assert_eq!(failure(call(&upstream, "three").await), CallError::Exited);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_answer_ends_and_the_server_is_told() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    let (outcome, heard) = tokio::join!(call(&upstream, "slow"), async {
        let id = server.hear().await.id;
        let cancelled = server.hear().await;
        assert_eq!(cancelled.method, "notifications/cancelled");
        assert!(cancelled.params.contains(&format!(r#""requestId":{id},"#)), "{}", cancelled.params);
        id
    });
    assert_eq!(failure(outcome), CallError::Timeout { after: Duration::from_secs(60) });
    // The late answer is nobody's, and the server works on.
    server.answer(&heard, "1").await;
    let (outcome, ()) = tokio::join!(call(&upstream, "next"), async {
        let id = server.hear().await.id;
        server.answer(&id, "2").await;
    });
    assert_eq!(result(outcome), "2");
    assert_eq!(upstream.counters().unexpected_responses, 1);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_deadline_counts_and_a_longer_one_does_not() {
    let (upstream, _server) = Scripted::connected(StdioLimits::default()).await;
    for (asked, expected) in [(1, 1), (600, 60)] {
        let call = Call::new("slow", None).with_timeout(Duration::from_secs(asked));
        let after = Duration::from_secs(expected);
        assert_eq!(failure(upstream.call(call).await), CallError::Timeout { after });
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_server() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    {
        let dropped = call(&upstream, "dropped");
        tokio::select! {
            _ = dropped => panic!("nothing answers it"),
            heard = server.hear() => assert_eq!(heard.method, "dropped"),
        }
    }
    assert_eq!(server.hear().await.method, "notifications/cancelled");
}

#[tokio::test]
async fn lines_that_are_no_messages_are_counted_and_passed_over() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    let (outcome, ()) = tokio::join!(call(&upstream, "a"), async {
        let id = server.hear().await.id;
        server.say("starting up ...").await;
        server.say_bytes(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\xfe\"}\n").await;
        server.say("").await;
        server.say(r#"{"jsonrpc":"1.0","id":99,"result":1}"#).await;
        server.say(r#"{"jsonrpc":"2.0","id":"x","result":1}"#).await;
        server.answer(&id, r#""fine""#).await;
    });
    assert_eq!(result(outcome), r#""fine""#);
    let counters = upstream.counters();
    assert_eq!((counters.invalid_lines, counters.unexpected_responses), (3, 2));
}

#[tokio::test]
async fn an_ambiguous_answer_fails_its_call() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    for (case, rest) in
        [("both", r#""result":1,"error":{}"#), ("neither", r#""x":1"#), ("error as text", r#""error":"no""#)]
    {
        let (outcome, ()) = tokio::join!(call(&upstream, "a"), async {
            let id = server.hear().await.id;
            server.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},{rest}}}"#)).await;
        });
        assert!(matches!(failure(outcome), CallError::Protocol { .. }), "{case}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_fails_its_call_and_no_other() {
    let limits = StdioLimits { max_line_bytes: 1000, ..StdioLimits::default() };
    let (upstream, mut server) = Scripted::connected(limits).await;
    let long = "x".repeat(100_000);
    for id_first in [true, false] {
        let (one, two, ()) = tokio::join!(call(&upstream, "long"), call(&upstream, "short"), async {
            let (long_call, short_call) = (server.hear().await, server.hear().await);
            let id = long_call.id;
            if id_first {
                server.answer(&id, &format!(r#"{{"t":"{long}"}}"#)).await;
            } else {
                server.say(&format!(r#"{{"result":{{"t":"{long}"}},"jsonrpc":"2.0","id":{id}}}"#)).await;
            }
            server.answer(&short_call.id, r#""short""#).await;
        });
        assert_eq!(failure(one), CallError::TooLong { limit_bytes: 1000 });
        assert_eq!(result(two), r#""short""#);
    }
    // Whose answer it was cannot be known: every call that waits fails, and the next one works.
    let (one, two, ()) = tokio::join!(call(&upstream, "a"), call(&upstream, "b"), async {
        server.hear().await;
        server.hear().await;
        server.say(&long).await;
    });
    assert_eq!(failure(one), CallError::TooLong { limit_bytes: 1000 });
    assert_eq!(failure(two), CallError::TooLong { limit_bytes: 1000 });
    let (outcome, ()) = tokio::join!(call(&upstream, "next"), async {
        let id = server.hear().await.id;
        server.answer(&id, "1").await;
    });
    assert_eq!(result(outcome), "1");
    assert_eq!(upstream.counters().oversized_lines, 3);
}

#[tokio::test]
async fn requests_of_the_server_are_answered() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    server.say(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).await;
    assert_eq!(server.hear_line().await, r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
    server.say(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#).await;
    assert_eq!(
        server.hear_line().await,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"method not found"}}"#
    );
    assert_eq!(upstream.counters().refused_requests, 1);
}

#[tokio::test]
async fn a_changed_list_is_noted() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    assert_eq!(upstream.revision(List::Tools), 0);
    server.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#).await;
    server.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#).await;
    server.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    server.hear_line().await; // so all three were read
    assert_eq!(upstream.revision(List::Tools), 1);
}

#[tokio::test]
async fn line_ends_in_a_clients_json_do_not_reach_the_server() {
    let (upstream, mut server) = Scripted::connected(StdioLimits::default()).await;
    // Were they kept, the second line of this would be a request of the client's own making.
    let params = "{\"a\":\n{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"smuggled\"}\r\n,\"b\":\"x\\ny\"}";
    let call = upstream.call(Call::new("honest", raw(params)));
    let (outcome, ()) = tokio::join!(call, async {
        let heard = server.hear().await;
        assert_eq!(heard.method, "honest");
        assert_eq!(heard.params, params.replace(['\n', '\r'], " "));
        server.answer(&heard.id, "1").await;
    });
    assert_eq!(result(outcome), "1");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_holds_up_its_own_calls_only_until_their_deadline() {
    let limits = StdioLimits { max_queued_bytes: 1 << 20, ..StdioLimits::default() };
    let (upstream, _server) = Scripted::connected(limits).await;
    let params = format!(r#"{{"t":"{}"}}"#, "x".repeat(600 << 10));
    let mut calls = tokio::task::JoinSet::new();
    let upstream = std::sync::Arc::new(upstream);
    for _ in 0..8 {
        let (upstream, params) = (upstream.clone(), raw(&params));
        calls.spawn(async move { upstream.call(Call::new("a", params)).await });
    }
    while let Some(outcome) = calls.join_next().await {
        assert!(matches!(failure(outcome.unwrap()), CallError::Timeout { .. }));
    }
}
