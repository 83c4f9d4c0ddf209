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
use tokio::io::split;

use crate::{
    played::{Reply, Stage, result},
    scripted::Scripted,
    seam::{Client, connected, everything, note, question, raw, spawn, token},
};

const ELICIT: &str = r#"{"jsonrpc":"2.0","id":"who","method":"elicitation/create","params":{"message":"Who?"}}"#;

pub(crate) const LOG: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"of one"}}"#;

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
