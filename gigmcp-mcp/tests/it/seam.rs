//! What a server says and asks while it works on a call reaches that call's client, and no other.

use std::{sync::Arc, time::Duration};

use gigmcp_mcp::{
    BoxFuture, Call, CallError, ClientId, Features, Notification, Outcome, Passing, Request, Root, Roots, Sink,
    StdioLimits, StdioUpstream, Turns, Upstream, Verdict,
};
use serde_json::value::RawValue;
use tokio::{
    io::split,
    sync::{mpsc, oneshot},
};

use crate::scripted::Scripted;

pub(crate) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

/// What reached a client: a notification, or a request and where its answer goes.
#[derive(Debug)]
pub(crate) enum Reached {
    Note(Notification),
    Question(Request, oneshot::Sender<Verdict>),
}

/// A client that the test plays.
#[derive(Debug)]
pub(crate) struct Client(mpsc::UnboundedSender<Reached>);

impl Client {
    pub(crate) fn connect() -> (Arc<dyn Sink>, mpsc::UnboundedReceiver<Reached>) {
        let (sender, reached) = mpsc::unbounded_channel();
        (Arc::new(Self(sender)), reached)
    }
}

impl Sink for Client {
    fn notify(&self, notification: Notification) {
        self.0.send(Reached::Note(notification)).ok();
    }

    fn has_extension_of(&self, _: &str) -> bool {
        true
    }

    fn ask<'a>(&'a self, request: Request) -> BoxFuture<'a, Verdict> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Reached::Question(request, answer)).ok();
        Box::pin(async { answered.await.unwrap_or(Verdict::Result(raw("null"))) })
    }
}

pub(crate) async fn note(reached: &mut mpsc::UnboundedReceiver<Reached>) -> (String, String) {
    match reached.recv().await.unwrap() {
        Reached::Note(note) => (note.method.into(), note.params.map_or_else(String::new, |params| params.get().into())),
        other => panic!("a notification was expected, not {other:?}"),
    }
}

pub(crate) async fn question(reached: &mut mpsc::UnboundedReceiver<Reached>) -> (Request, oneshot::Sender<Verdict>) {
    match reached.recv().await.unwrap() {
        Reached::Question(request, answer) => (request, answer),
        other => panic!("a request was expected, not {other:?}"),
    }
}

pub(crate) fn everything() -> Features {
    let mut features = Features::default();
    (features.sampling, features.elicitation, features.roots) = (Passing::Forward, Passing::Forward, Roots::Forward);
    features
}

pub(crate) async fn connected(features: Features) -> (Arc<StdioUpstream>, Scripted) {
    connected_with(features, StdioLimits::default()).await
}

async fn connected_with(features: Features, limits: StdioLimits) -> (Arc<StdioUpstream>, Scripted) {
    let (ours, mut server) = Scripted::pipes();
    let (stdout, stdin) = split(ours);
    let connecting = StdioUpstream::connect_with(stdin, stdout, limits, features);
    let (upstream, ()) = tokio::join!(connecting, server.greet());
    (Arc::new(upstream.unwrap()), server)
}

pub(crate) fn spawn(upstream: &Arc<StdioUpstream>, call: Call) -> tokio::task::JoinHandle<Outcome> {
    let upstream = Arc::clone(upstream);
    tokio::spawn(async move { upstream.call(call).await })
}

/// A call of a client that has not said who it is, and that is over.
pub(crate) async fn asked(upstream: &Arc<StdioUpstream>, server: &mut Scripted) {
    let call = spawn(upstream, Call::new("tools/call", None).of_client(ClientId::new()));
    let id = server.hear().await.id;
    server.answer(&id, "{}").await;
    assert!(matches!(call.await.unwrap(), Outcome::Complete(_)));
}

fn with_token(token: &str) -> Call {
    Call::new("tools/call", Some(raw(&format!(r#"{{"name":"do","_meta":{{"a":1.0,"progressToken":{token}}}}}"#))))
}

pub(crate) fn token(params: &str) -> String {
    let params: serde_json::Value = serde_json::from_str(params).unwrap();
    params["_meta"]["progressToken"].to_string()
}

#[tokio::test]
async fn progress_reaches_its_call_alone_under_the_clients_own_token() {
    let (upstream, mut server) = connected(Features::default()).await;
    let ((one, mut ones), (two, mut twos)) = (Client::connect(), Client::connect());
    let first = spawn(&upstream, with_token("7").with_sink(one));
    let heard_first = server.hear().await;
    let second = spawn(&upstream, with_token(r#""7""#).with_sink(two));
    let heard_second = server.hear().await;
    let (token_one, token_two) = (token(&heard_first.params), token(&heard_second.params));
    assert_ne!(token_one, token_two, "two clients chose the same token");
    assert_eq!(
        heard_first.params,
        format!(r#"{{"name":"do","_meta":{{"a":1.0,"progressToken":{token_one}}}}}"#),
        "nothing else has changed"
    );
    let progress = |token: &str, value: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progress":{value},"x":1e400,"progressToken":{token}}}}}"#
        )
    };
    for (token, value) in [(&token_one, "1.0"), (&token_two, "5"), (&token_one, "1"), (&token_one, "0.5")] {
        server.say(&progress(token, value)).await;
    }
    for nobodys in ["7", r#""7""#, r#""0-1""#, "null"] {
        server.say(&progress(nobodys, "9")).await;
    }
    server.say(&progress(&token_one, "2")).await;
    server.answer(&heard_first.id, "1").await;
    server.say(&progress(&token_one, "3")).await; // too late
    server.answer(&heard_second.id, "2").await;
    assert!(matches!(first.await.unwrap(), Outcome::Complete(_)));
    assert!(matches!(second.await.unwrap(), Outcome::Complete(_)));
    for value in ["1.0", "2"] {
        let expected = format!(r#"{{"progress":{value},"x":1e400,"progressToken":7}}"#);
        assert_eq!(note(&mut ones).await, ("notifications/progress".to_owned(), expected));
    }
    assert_eq!(note(&mut twos).await.1, r#"{"progress":5,"x":1e400,"progressToken":"7"}"#);
    assert!(ones.try_recv().is_err() && twos.try_recv().is_err());
    assert_eq!(upstream.counters().idle_progress, 7);
}

#[tokio::test]
async fn without_a_token_or_a_way_back_nothing_is_changed() {
    let (upstream, mut server) = connected(Features::default()).await;
    let (client, _reached) = Client::connect();
    for (params, sink) in [
        (r#"{"name":"do"}"#, Some(&client)),
        (r#"{"name":"do","_meta":{"x":1}}"#, Some(&client)),
        (r#"{"name":"do","arguments":{"progressToken":1}}"#, Some(&client)),
        (r#"{"name":"do","_meta":{"progressToken":[1]}}"#, Some(&client)),
        (r#"{"name":"do","_meta":{"progressToken":1}}"#, None),
    ] {
        let mut call = Call::new("tools/call", Some(raw(params)));
        call.sink = sink.cloned();
        let call = spawn(&upstream, call);
        let heard = server.hear().await;
        assert_eq!(heard.params, params);
        server.answer(&heard.id, "1").await;
        call.await.unwrap();
    }
}

const LOG: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":[1.0,"\u00e9"]}}"#;

#[tokio::test]
async fn a_log_line_reaches_the_only_client_it_can_belong_to() {
    let (upstream, mut server) = connected(Features::default()).await;
    let mut events = upstream.events().unwrap();
    asked(&upstream, &mut server).await;
    server.say(LOG).await;
    assert_eq!(&*events.recv().await.unwrap().method, "notifications/message", "it belongs to no call");

    let ((one, mut ones), (two, mut twos)) = (Client::connect(), Client::connect());
    let (first_client, second_client) = (ClientId::new(), ClientId::new());
    let call = |sink: &Arc<dyn Sink>, client| Call::new("a", None).with_sink(Arc::clone(sink)).of_client(client);
    let _first = spawn(&upstream, call(&one, first_client));
    server.hear().await;
    server.say(LOG).await;
    assert_eq!(note(&mut ones).await.1, r#"{"level":"info","data":[1.0,"\u00e9"]}"#);
    let _same = spawn(&upstream, call(&one, first_client));
    server.hear().await;
    server.say(LOG).await;
    note(&mut ones).await; // both calls are its own
    let _second = spawn(&upstream, call(&two, second_client));
    server.hear().await;
    server.say(LOG).await;
    server.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    server.hear_line().await; // so it was read
    assert!(ones.try_recv().is_err() && twos.try_recv().is_err() && events.try_recv().is_err());
    assert_eq!(upstream.counters().ambiguous, 1);
}

const ELICIT: &str = r#"{"jsonrpc":"2.0","id":"user_name","method":"elicitation/create","params":{"message":"?","requestedSchema":{"x-y":1.0}}}"#;

#[tokio::test]
async fn a_request_of_the_server_reaches_the_client_and_its_answer_the_server() {
    let (upstream, mut server) = connected(everything()).await;
    let (client, mut reached) = Client::connect();
    let call = spawn(&upstream, Call::new("tools/call", None).with_sink(client));
    let id = server.hear().await.id;
    server.say(ELICIT).await;
    let (request, answer) = question(&mut reached).await;
    assert_eq!((request.id.as_json(), &*request.method), (r#""user_name""#, "elicitation/create"));
    assert_eq!(request.params.unwrap().get(), r#"{"message":"?","requestedSchema":{"x-y":1.0}}"#);
    // While it waits, others are served.
    let other = spawn(&upstream, Call::new("other", None));
    let other_id = server.hear().await.id;
    server.answer(&other_id, "1").await;
    other.await.unwrap();
    answer.send(Verdict::Result(raw("{\"action\":\n\"accept\",\"n\":1.0}"))).unwrap();
    assert_eq!(server.hear_line().await, r#"{"jsonrpc":"2.0","id":"user_name","result":{"action": "accept","n":1.0}}"#);
    server.answer(&id, "2").await;
    assert!(matches!(call.await.unwrap(), Outcome::Complete(_)));
}

#[tokio::test]
async fn only_what_is_offered_is_forwarded() {
    let mut mounts = Features::default();
    mounts.roots = Roots::Answer(vec![Root { uri: "file:///data".to_owned(), name: Some("data".to_owned()) }]);
    for (features, method, expected) in [
        (
            Features::default(),
            "sampling/createMessage",
            Some(r#""error":{"code":-32601,"message":"method not found"}"#),
        ),
        (Features::default(), "elicitation/create", Some(r#""error":{"code":-32601,"message":"method not found"}"#)),
        (Features::default(), "roots/list", Some(r#""error":{"code":-32601,"message":"method not found"}"#)),
        (everything(), "tools/list", Some(r#""error":{"code":-32601,"message":"method not found"}"#)),
        (mounts, "roots/list", Some(r#""result":{"roots":[{"uri":"file:///data","name":"data"}]}"#)),
        (everything(), "ping", Some(r#""result":{}"#)),
        (everything(), "sampling/createMessage", None),
        (everything(), "elicitation/create", None),
        (everything(), "roots/list", None),
    ] {
        let (upstream, mut server) = connected(features).await;
        let (client, mut reached) = Client::connect();
        let _call = spawn(&upstream, Call::new("tools/call", None).with_sink(client));
        server.hear().await;
        server.say(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#)).await;
        match expected {
            Some(answer) => assert_eq!(server.hear_line().await, format!(r#"{{"jsonrpc":"2.0","id":1,{answer}}}"#)),
            None => assert_eq!(&*question(&mut reached).await.0.method, method),
        }
    }
}

#[tokio::test]
async fn a_request_of_nobodys_call_is_refused_and_calls_then_go_one_at_a_time() {
    let (upstream, mut server) = connected(everything()).await;
    server.say(ELICIT).await;
    assert!(server.hear_line().await.contains("no call is under way"));
    let ((one, mut ones), (two, mut twos)) = (Client::connect(), Client::connect());
    let first = spawn(&upstream, Call::new("first", None).with_sink(one.clone()));
    let first_id = server.hear().await.id;
    let second = spawn(&upstream, Call::new("second", None).with_sink(two.clone()));
    let second_id = server.hear().await.id;
    assert!(!upstream.is_interactive());
    server.say(ELICIT).await;
    let refusal = server.hear_line().await;
    assert!(refusal.contains(r#""id":"user_name","error""#) && refusal.contains("several calls"), "{refusal}");
    assert!(ones.try_recv().is_err() && twos.try_recv().is_err());
    assert!(upstream.is_interactive());
    server.answer(&first_id, "1").await;
    server.answer(&second_id, "1").await;
    first.await.unwrap();
    second.await.unwrap();

    // Now the second waits for the first, whose client answers at once, and the same request is the first's.
    let first = spawn(&upstream, Call::new("first", None).with_sink(one));
    let first_id = server.hear().await.id;
    let second = spawn(&upstream, Call::new("second", None).with_sink(two));
    server.say(ELICIT).await;
    question(&mut ones).await.1.send(Verdict::Result(raw("1"))).unwrap();
    assert_eq!(server.hear_line().await, r#"{"jsonrpc":"2.0","id":"user_name","result":1}"#);
    server.answer(&first_id, "1").await;
    let heard = server.hear().await;
    assert_eq!(heard.method, "second");
    server.answer(&heard.id, "1").await;
    first.await.unwrap();
    second.await.unwrap();
}

#[tokio::test]
async fn what_is_known_from_before_makes_calls_go_one_at_a_time_at_once() {
    let mut features = everything();
    features.turns = Turns::OneByOne;
    let (upstream, mut server) = connected(features).await;
    let (client, _reached) = Client::connect();
    let _first = spawn(&upstream, Call::new("first", None).with_sink(client.clone()));
    let id = server.hear().await.id;
    let _second = spawn(&upstream, Call::new("second", None).with_sink(client));
    let _ours = spawn(&upstream, Call::new("ours", None)); // asks nobody, so it need not wait
    assert_eq!(server.hear().await.method, "ours");
    server.answer(&id, "1").await;
    assert_eq!(server.hear().await.method, "second");
}

#[tokio::test]
async fn a_request_that_the_server_withdraws_is_withdrawn_from_the_client() {
    let (upstream, mut server) = connected(everything()).await;
    let (client, mut reached) = Client::connect();
    let _call = spawn(&upstream, Call::new("tools/call", None).with_sink(client));
    server.hear().await;
    server.say(ELICIT).await;
    let (_, mut answer) = question(&mut reached).await;
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"user_name"}}"#;
    server.say(&cancel.replace("user_name", "another")).await;
    server.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    server.hear_line().await;
    assert!(!answer.is_closed());
    server.say(cancel).await;
    answer.closed().await;
    server.say(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await;
    assert_eq!(server.hear_line().await, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, "nothing else was written");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_is_not_told_once_its_request_is_withdrawn() {
    for withdrawn in [true, false] {
        let (upstream, mut server) = connected(everything()).await;
        let mut events = upstream.events().unwrap();
        let ((one, mut ones), (two, _twos)) = (Client::connect(), Client::connect());
        let _first = spawn(&upstream, Call::new("first", None).with_sink(one).of_client(ClientId::new()));
        server.hear().await;
        server.say(ELICIT).await;
        let (_, answer) = question(&mut ones).await;
        let _second = spawn(&upstream, Call::new("second", None).with_sink(two).of_client(ClientId::new()));
        let second = server.hear().await;
        assert_eq!(second.method, "second", "beside the question");
        // It waits for the end of that call.
        answer.send(Verdict::Result(raw("1"))).unwrap();
        if withdrawn {
            let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"user_name"}}"#;
            server.say(cancel).await;
        }
        server.say(r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{}}"#).await;
        events.recv().await.unwrap();
        server.answer(&second.id, "2").await;
        let mut heard = Vec::new();
        for id in 2..4 {
            server.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)).await;
            while !heard.last().is_some_and(|line: &String| line.contains(&format!(r#""id":{id},"#))) {
                heard.push(server.hear_line().await);
            }
        }
        assert_eq!(heard.iter().any(|line| line.contains("user_name")), !withdrawn, "{heard:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_call_ends_what_its_server_asked() {
    let (upstream, mut server) = connected(everything()).await;
    let (client, mut reached) = Client::connect();
    let call = spawn(&upstream, Call::new("tools/call", None).with_sink(client));
    let id = server.hear().await.id;
    server.say(ELICIT).await;
    let (_, mut answer) = question(&mut reached).await;
    server.answer(&id, "1").await;
    answer.closed().await;
    call.await.unwrap();
    assert!(server.hear_line().await.contains("the call is over"));
}

#[tokio::test(start_paused = true)]
async fn progress_and_people_lengthen_a_deadline_and_silence_does_not() {
    let (upstream, mut server) = connected(everything()).await;
    let (client, mut reached) = Client::connect();
    let began = tokio::time::Instant::now();
    let call = spawn(&upstream, with_token("1").with_sink(client));
    let heard = server.hear().await;
    tokio::time::advance(Duration::from_secs(50)).await;
    let token = token(&heard.params);
    server
        .say(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        ))
        .await;
    note(&mut reached).await;
    tokio::time::advance(Duration::from_secs(50)).await;
    server.say(ELICIT).await;
    let (_, answer) = question(&mut reached).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    answer.send(Verdict::Result(raw("1"))).unwrap();
    assert!(server.hear_line().await.contains("user_name"));
    let Outcome::Failed(CallError::Timeout { .. }) = call.await.unwrap() else { panic!("it never ends") };
    let took = began.elapsed();
    assert!((Duration::from_secs(460)..=Duration::from_secs(521)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_server_may_ask_is_bounded() {
    let limits = StdioLimits { max_asks: 2, max_asks_per_call: 3, ..StdioLimits::default() };
    let (upstream, mut server) = connected_with(everything(), limits).await;
    let (client, mut reached) = Client::connect();
    let _call = spawn(&upstream, with_token("1").with_sink(client));
    server.hear().await;
    let ask = |id: u32| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"sampling/createMessage"}}"#);
    server.say(&ask(1)).await;
    let (_, first) = question(&mut reached).await;
    server.say(&ask(1)).await;
    assert!(server.hear_line().await.contains("too many requests of the server wait"), "an id used twice");
    first.send(Verdict::Result(raw("1"))).unwrap();
    assert_eq!(server.hear_line().await, r#"{"jsonrpc":"2.0","id":1,"result":1}"#);
    server.say(&ask(1)).await; // now it is free again
    let (_, never) = question(&mut reached).await;
    server.say(&ask(2)).await;
    assert!(server.hear_line().await.contains("the call has made too many requests"));
    // Nobody answers the one that waits.
    assert!(server.hear_line().await.contains("the client did not answer in time"));
    drop(never);
    assert_eq!(upstream.counters().refused_requests, 2);
}

#[tokio::test]
async fn a_request_that_was_not_put_to_its_client_is_none_that_it_has_not_answered() {
    for twice in [true, false] {
        let (upstream, mut server) = connected(everything()).await;
        let ((one, mut ones), (two, _twos)) = (Client::connect(), Client::connect());
        let _first = spawn(&upstream, Call::new("first", None).with_sink(one).of_client(ClientId::new()));
        let first_id = server.hear().await.id;
        server.say(ELICIT).await;
        let (_, answer) = question(&mut ones).await;
        if twice {
            server.say(ELICIT).await;
            assert!(server.hear_line().await.contains("too many requests of the server wait"));
        }
        answer.send(Verdict::Result(raw("1"))).unwrap();
        assert_eq!(server.hear_line().await, r#"{"jsonrpc":"2.0","id":"user_name","result":1}"#);
        // Nothing is asked now, so the call of another client waits for its turn.
        let _second = spawn(&upstream, Call::new("second", None).with_sink(two).of_client(ClientId::new()));
        let _ours = spawn(&upstream, Call::new("ours", None));
        let ours = server.hear().await;
        assert_eq!(ours.method, "ours", "{twice}");
        server.answer(&first_id, "1").await;
        assert_eq!(server.hear().await.method, "second");
    }
}
