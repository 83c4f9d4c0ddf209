//! Many servers, some of them bad, as one.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gigmcp_mcp::{
    Aggregator, AggregatorLimits, Backend, BoxFuture, Call, CallId, CallObserver, CallRecord, CallVerdict,
    CatalogueLimits, FaultKind, Launch, LaunchError, Listing, NotObserved, Outcome, Upstream,
};
use serde_json::{Value, json, value::RawValue};
use tokio::sync::mpsc;

use crate::scripted::{Launcher, Plan, Scripted};

const ONE_TOOL: &str = r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#;

fn limits() -> AggregatorLimits {
    AggregatorLimits::default()
}

/// Plays a server to its end: lists `tools` and answers every call with `answer`.
async fn play(mut server: Scripted, tools: &'static str, answer: &'static str) {
    server.greet().await;
    while let Some(heard) = server.try_hear().await {
        match &*heard.method {
            "tools/list" => server.answer(&heard.id, tools).await,
            "tools/call" => server.answer(&heard.id, answer).await,
            _ => {}
        }
    }
}

fn play_all(mut launched: mpsc::UnboundedReceiver<Scripted>, answer: &'static str) {
    tokio::spawn(async move {
        while let Some(server) = launched.recv().await {
            tokio::spawn(play(server, ONE_TOOL, answer));
        }
    });
}

async fn call(aggregator: &Aggregator, name: &str) -> Outcome {
    let params = RawValue::from_string(json!({ "name": name }).to_string()).unwrap();
    aggregator.call_tool(Some(&params)).await
}

fn error(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Error(error) => serde_json::from_str(error.get()).unwrap(),
        other => panic!("an error was expected, not {other:?}"),
    }
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.tools.iter().map(|tool| &*tool.exposed).collect()
}

#[tokio::test(start_paused = true)]
async fn servers_that_fail_or_hang_do_not_hide_those_that_work() {
    let (good, launched) = Launcher::new([Plan::Play]);
    play_all(launched, "{}");
    let (broken, _) = Launcher::new([Plan::Fail]);
    let (hanging, _) = Launcher::new([Plan::Hang]);
    let (mute, _mute_server) = Launcher::new([Plan::Play]); // starts and never says a word
    let aggregator = Aggregator::new(vec![
        hanging.backend("hanging"),
        broken.backend("broken"),
        mute.backend("mute"),
        good.backend("good"),
    ])
    .unwrap();
    let began = tokio::time::Instant::now();
    let listing = aggregator.tools().await;
    assert_eq!(names(&listing), ["good_do"]);
    assert_eq!(began.elapsed(), Duration::from_secs(20));
    let faults: Vec<_> = listing.faults.iter().map(|fault| (fault.server.as_str(), &fault.kind)).collect();
    assert!(matches!(
        &faults[..],
        [("hanging", FaultKind::StillStarting), ("broken", FaultKind::Launch(_)), ("mute", FaultKind::StillStarting),]
    ));
    // A call to the one that works does not wait for any of them.
    let began = tokio::time::Instant::now();
    assert!(matches!(call(&aggregator, "good_do").await, Outcome::Complete(_)));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_start_is_shared_and_outlives_those_who_wait_for_it() {
    let (launcher, mut launched) = Launcher::new([Plan::Play]);
    let aggregator = Aggregator::new(vec![launcher.backend("slow")]).unwrap();
    // Nobody answers yet, so the list gives up waiting, but not the start.
    let listing = aggregator.tools().await;
    assert!(matches!(listing.faults[0].kind, FaultKind::StillStarting));
    let (one, two, ()) = tokio::join!(call(&aggregator, "slow_do"), call(&aggregator, "slow_do"), async {
        tokio::spawn(play(launched.recv().await.unwrap(), ONE_TOOL, "{}"));
    });
    assert!(matches!(one, Outcome::Complete(_)));
    assert!(matches!(two, Outcome::Complete(_)));
    assert_eq!(launcher.launches.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_tried_again_but_not_for_every_request() {
    let (launcher, launched) = Launcher::new([Plan::Fail, Plan::Fail, Plan::Play]);
    play_all(launched, "{}");
    let aggregator = Aggregator::new(vec![launcher.backend("srv")]).unwrap();
    let launches = || launcher.launches.load(Ordering::SeqCst);
    for _ in 0..5 {
        let error = error(call(&aggregator, "srv_do").await);
        assert_eq!(
            error,
            json!({
                "code": -32603,
                "message": "server srv failed at start: planned; this call was not sent to it, and a call after 1 s tries again",
                "data": { "code": "test-failure", "server": "srv", "stage": "start" },
            })
        );
    }
    assert_eq!(launches(), 1);
    assert!(matches!(aggregator.faults()[0].kind, FaultKind::Launch(_)));
    tokio::time::advance(Duration::from_secs(1)).await;
    error(call(&aggregator, "srv_do").await);
    assert_eq!(launches(), 2);
    tokio::time::advance(Duration::from_secs(1)).await; // by now two are asked for
    error(call(&aggregator, "srv_do").await);
    assert_eq!(launches(), 2);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(call(&aggregator, "srv_do").await, Outcome::Complete(_)));
    assert_eq!(launches(), 3);
    assert!(aggregator.faults().is_empty());
}

#[tokio::test]
async fn a_server_that_dies_in_a_call_fails_it_and_is_started_for_the_next() {
    let (launcher, mut launched) = Launcher::new([Plan::Play, Plan::Play]);
    let aggregator = Aggregator::new(vec![launcher.backend("srv")]).unwrap();
    let servers = tokio::spawn(async move {
        let mut server = launched.recv().await.unwrap();
        server.greet().await;
        let id = server.hear().await.id;
        server.answer(&id, ONE_TOOL).await;
        assert_eq!(server.hear().await.method, "tools/call");
        drop(server);
        play(launched.recv().await.unwrap(), ONE_TOOL, "{}").await;
    });
    let failed = error(call(&aggregator, "srv_do").await);
    assert_eq!(failed["data"], json!({ "code": "server-exited", "server": "srv", "stage": "call" }));
    assert_eq!(
        failed["message"],
        "server srv failed at call: the server exited before it answered, and may have done what was asked"
    );
    assert!(matches!(call(&aggregator, "srv_do").await, Outcome::Complete(_)));
    assert_eq!(launcher.launches.load(Ordering::SeqCst), 2);
    drop(aggregator);
    servers.await.unwrap(); // dropping the aggregator closed its pipes
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_too_long_is_given_up() {
    let (launcher, launched) = Launcher::new([Plan::Hang, Plan::Play]);
    play_all(launched, "{}");
    let aggregator = Aggregator::new(vec![launcher.backend("srv")]).unwrap();
    assert_eq!(error(call(&aggregator, "srv_do").await)["data"]["code"], "server-timeout");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(call(&aggregator, "srv_do").await, Outcome::Complete(_)));
}

#[tokio::test]
async fn dropping_the_aggregator_gives_up_a_start_under_way() {
    let (launcher, mut launched) = Launcher::new([Plan::Play]);
    let aggregator = Aggregator::new(vec![launcher.backend("srv")]).unwrap();
    tokio::select! {
        _ = aggregator.tools() => panic!("nobody answers"),
        server = launched.recv() => {
            let mut server = server.unwrap();
            assert_eq!(server.hear().await.method, "initialize");
            drop(aggregator);
            assert!(server.try_hear().await.is_none());
        }
    }
}

#[tokio::test]
async fn names_lead_to_their_server_or_nowhere() {
    let (one, launched) = Launcher::new([Plan::Play]);
    play_all(launched, r#"{"from":"one"}"#);
    let (two, launched) = Launcher::new([Plan::Play]);
    play_all(launched, r#"{"from":"two"}"#);
    let (never, _) = Launcher::new([]);
    let backends = || vec![one.backend("one"), two.backend("two"), never.backend("never-asked")];
    let aggregator = Aggregator::new(backends()).unwrap();
    for (name, from) in [("one_do", r#"{"from":"one"}"#), ("two_do", r#"{"from":"two"}"#)] {
        assert!(matches!(call(&aggregator, name).await, Outcome::Complete(result) if result.get() == from));
    }
    for name in ["do", "one_", "one_other", "three_do", "", "_do", "one_do ", "ONE_do", "one__do"] {
        let error = error(call(&aggregator, name).await);
        assert_eq!(error, json!({ "code": -32602, "message": format!("Unknown tool: {name}") }));
    }
    assert_eq!(never.launches.load(Ordering::SeqCst), 0, "only what is asked for is started");
    for params in ["[]", "{}", r#"{"name":1}"#, r#"{"name":"one_do","name":"two_do"}"#] {
        let params = RawValue::from_string(params.to_owned()).unwrap();
        assert_eq!(error(aggregator.call_tool(Some(&params)).await)["code"], -32602);
    }
    assert_eq!(error(aggregator.call_tool(None).await)["code"], -32602);
    let mut twice = backends();
    twice.push(one.backend("one"));
    assert_eq!(Aggregator::new(twice).err().unwrap().name.as_str(), "one");
}

#[tokio::test]
async fn every_page_is_read_and_a_cursor_that_comes_back_ends_the_list() {
    let (launcher, mut launched) = Launcher::new([Plan::Play]);
    let aggregator = Aggregator::new(vec![launcher.backend("srv")]).unwrap();
    let (listing, _server) = tokio::join!(aggregator.tools(), async {
        let mut server = launched.recv().await.unwrap();
        server.greet().await;
        for (params, name, cursor) in [
            ("", "a", r#""\"two\"""#),
            (r#"{"cursor":"\"two\""}"#, "b", r#""three""#),
            (r#"{"cursor":"three"}"#, "c", r#""three""#),
        ] {
            let heard = server.hear().await;
            assert_eq!((&*heard.method, &*heard.params), ("tools/list", params));
            let page = format!(r#"{{"tools":[{{"name":"{name}","inputSchema":{{}}}}],"nextCursor":{cursor}}}"#);
            server.answer(&heard.id, &page).await;
        }
        server
    });
    assert_eq!(names(&listing), ["srv_a", "srv_b", "srv_c"]);
}

#[tokio::test]
async fn lists_that_cannot_be_read_are_faults_of_their_server() {
    let small = CatalogueLimits { max_pages: 2, max_bytes: 500, max_items: 2, ..CatalogueLimits::default() };
    let endless = r#"{"tools":[],"nextCursor":"#;
    let large = format!(r#"{{"tools":["{}"]}}"#, "x".repeat(500));
    for (case, answers, code) in [
        ("no object", vec!["1".to_owned()], "server-protocol"),
        ("no tools", vec!["{}".to_owned()], "server-protocol"),
        ("cursor is a number", vec![r#"{"tools":[],"nextCursor":1}"#.to_owned()], "server-protocol"),
        ("too many pages", vec![format!(r#"{endless}"1"}}"#), format!(r#"{endless}"2"}}"#)], "server-list-too-large"),
        ("too many bytes", vec![large], "server-list-too-large"),
        ("too many items", vec![r#"{"tools":[1,2,3]}"#.to_owned()], "server-list-too-large"),
        ("within limits", vec![ONE_TOOL.to_owned()], ""),
    ] {
        let (launcher, mut launched) = Launcher::new([Plan::Play]);
        let limits = AggregatorLimits { catalogue: small, ..limits() };
        let aggregator = Aggregator::builder().backends(vec![launcher.backend("srv")]).limits(limits).build().unwrap();
        let (listing, _server) = tokio::join!(aggregator.tools(), async {
            let mut server = launched.recv().await.unwrap();
            server.greet().await;
            for answer in &answers {
                let id = server.hear().await.id;
                server.answer(&id, answer).await;
            }
            server
        });
        let found = listing.faults.first().map(|fault| match &fault.kind {
            FaultKind::Catalogue(error) => error.code(),
            other => panic!("{case}: {other:?}"),
        });
        assert_eq!(found.unwrap_or_default(), code, "{case}");
        assert_eq!(names(&listing).is_empty(), !code.is_empty(), "{case}");
    }
}

#[tokio::test]
async fn a_server_without_tools_has_none_and_is_no_fault() {
    let (launcher, mut launched) = Launcher::new([Plan::Play]);
    let aggregator = Aggregator::new(vec![launcher.backend("srv")]).unwrap();
    let (listing, _server) = tokio::join!(aggregator.tools(), async {
        let mut server = launched.recv().await.unwrap();
        server.greet().await;
        let id = server.hear().await.id;
        let error = r#""error":{"code":-32601,"message":"Method not found"}"#;
        server.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},{error}}}"#)).await;
        server
    });
    assert!(listing.tools.is_empty() && listing.faults.is_empty());
}

#[tokio::test]
async fn a_changed_list_is_read_again_and_the_server_goes_on() {
    let (launcher, mut launched) = Launcher::new([Plan::Play]);
    let aggregator = Aggregator::new(vec![launcher.backend("srv")]).unwrap();
    let (listing, mut server) = tokio::join!(aggregator.tools(), async {
        let mut server = launched.recv().await.unwrap();
        server.greet().await;
        let id = server.hear().await.id;
        server.answer(&id, ONE_TOOL).await;
        server
    });
    assert_eq!(names(&listing), ["srv_do"]);
    server.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#).await;
    server.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    server.hear_line().await;
    // What is known is still called without reading anything; what is not makes the list be read.
    let (old, new, ()) = tokio::join!(call(&aggregator, "srv_do"), call(&aggregator, "srv_new"), async {
        for _ in 0..3 {
            let heard = server.hear().await;
            match &*heard.method {
                "tools/list" => {
                    let id = &heard.id;
                    server.answer(id, r#"{"tools":[{"name":"new","inputSchema":{}}]}"#).await;
                }
                _ => server.answer(&heard.id, &heard.params).await,
            }
        }
    });
    assert!(matches!(old, Outcome::Complete(params) if params.get() == r#"{"name":"do"}"#));
    assert!(matches!(new, Outcome::Complete(params) if params.get() == r#"{"name":"new"}"#));
    assert_eq!(names(&aggregator.tools().await), ["srv_new"]);
    assert_eq!(launcher.launches.load(Ordering::SeqCst), 1);
}

#[derive(Default)]
struct Notes(Mutex<Vec<CallRecord>>);

impl CallObserver for Notes {
    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        Box::pin(async { self.0.lock().unwrap().push(record.clone()) })
    }
}

#[tokio::test]
async fn every_call_is_observed_with_its_outcome() {
    let (good, launched) = Launcher::new([Plan::Play]);
    play_all(launched, r#"{"content":[]}"#);
    let (sad, launched) = Launcher::new([Plan::Play]);
    play_all(launched, r#"{"content":[{"type":"text","text":""}],"isError":true}"#);
    let (broken, _) = Launcher::new([]);
    let notes = Arc::new(Notes::default());
    let backends = vec![good.backend("good"), sad.backend("sad"), broken.backend("broken")];
    let aggregator = Aggregator::builder().backends(backends).observed_by(notes.clone()).build().unwrap();
    for (name, server, tool, verdict, response_bytes) in [
        ("good_do", Some("good"), Some("do"), CallVerdict::Ok, 14),
        ("sad_do", Some("sad"), Some("do"), CallVerdict::ToolError, 54),
        ("broken_do", Some("broken"), None, CallVerdict::Failed { code: "test-failure" }, 0),
        ("good_x", None, None, CallVerdict::Error { code: Some(-32602) }, 0),
    ] {
        call(&aggregator, name).await;
        let record = notes.0.lock().unwrap().pop().unwrap();
        assert_eq!(&*record.exposed, name);
        assert_eq!(record.server.as_ref().map(gigmcp_mcp::ServerId::as_str), server);
        assert_eq!(record.tool.as_deref(), tool);
        assert_eq!(record.verdict, verdict);
        assert_eq!(record.request_bytes, json!({ "name": name }).to_string().len());
        if response_bytes > 0 {
            assert_eq!(record.response_bytes, response_bytes);
        }
    }
}

/// A server that notes the ids of calls, and never answers `srv_hang`.
#[derive(Default)]
struct Direct(Mutex<Vec<Option<CallId>>>);

impl Upstream for Direct {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let json = |text: &str| Outcome::Complete(RawValue::from_string(text.to_owned()).unwrap());
            if &*call.method == "tools/list" {
                return json(r#"{"tools":[{"name":"do","inputSchema":{}},{"name":"hang","inputSchema":{}}]}"#);
            }
            self.0.lock().unwrap().push(call.id);
            match call.params.is_some_and(|params| params.get().contains("hang")) {
                true => std::future::pending().await,
                false => json("{}"),
            }
        })
    }

    fn instance(&self) -> Option<&str> {
        Some("direct-1")
    }
}

struct Ready(Arc<Direct>);

impl Launch for Ready {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        let upstream: Arc<dyn Upstream> = self.0.clone();
        Box::pin(async { Ok(upstream) })
    }
}

/// Takes note of calls as long as it may.
struct Gate {
    open: AtomicBool,
    finished: mpsc::UnboundedSender<CallRecord>,
}

impl CallObserver for Gate {
    fn ready<'a>(&'a self) -> BoxFuture<'a, Result<(), NotObserved>> {
        Box::pin(async { self.open.load(Ordering::SeqCst).then_some(()).ok_or(NotObserved) })
    }

    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        Box::pin(async { self.finished.send(record.clone()).unwrap() })
    }
}

#[tokio::test]
async fn a_call_that_nobody_could_take_note_of_is_not_made_and_one_that_is_given_up_is_told() {
    let server = Arc::new(Direct::default());
    let (finished, mut told) = mpsc::unbounded_channel();
    let gate = Arc::new(Gate { open: AtomicBool::new(true), finished });
    let backend = Backend::new("srv".parse().unwrap(), Arc::new(Ready(server.clone())));
    let aggregator = Arc::new(Aggregator::builder().backends(vec![backend]).observed_by(gate.clone()).build().unwrap());

    call(&aggregator, "srv_do").await; // twin of both
    let record = told.recv().await.unwrap();
    assert_eq!((&record.verdict, record.instance.as_deref()), (&CallVerdict::Ok, Some("direct-1")));
    assert_eq!(server.0.lock().unwrap().pop(), Some(Some(record.id)), "the server's side knows the same id");

    gate.open.store(false, Ordering::SeqCst);
    let refused = call(&aggregator, "srv_do").await;
    assert!(matches!(&refused, Outcome::Error(error) if error.get().contains("audit-unavailable")), "{refused:?}");
    assert_eq!(told.recv().await.unwrap().verdict, CallVerdict::Failed { code: "audit-unavailable" });
    assert!(server.0.lock().unwrap().is_empty());

    gate.open.store(true, Ordering::SeqCst);
    let hanging = tokio::spawn({
        let aggregator = aggregator.clone();
        async move { call(&aggregator, "srv_hang").await }
    });
    while server.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    hanging.abort();
    let record = told.recv().await.unwrap();
    let server_and_tool = (record.server.as_ref().map(gigmcp_mcp::ServerId::as_str), record.tool.as_deref());
    assert_eq!((record.verdict, server_and_tool), (CallVerdict::Abandoned, (Some("srv"), Some("hang"))));
}
