//! One server that does not answer, and what that costs those who want something else.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use gigmcp_mcp::{
    Aggregator, BoxFuture, Call, ClientId, Event, Notification, Outcome, Prefixes, Principal, StreamableHttpLimits,
    Upstream,
};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::{
    sync::broadcast,
    time::{Instant, advance, timeout},
};

use crate::{
    played::{Reply, Stage, result},
    scripted::{Launcher, Plan},
    seam::raw,
    serving::{endpoint_of, initialize},
};

const ALL: &str = r#""capabilities":{"tools":{},"resources":{"subscribe":true}}"#;

/// A server that does not answer `resources/subscribe` while it is silent.
fn subscribing(name: &'static str, silent: &Arc<AtomicBool>) -> Stage {
    let silent = Arc::clone(silent);
    Stage::new(ALL, move |method, _| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "resources/list" => result(r#"{"resources":[]}"#),
        "resources/templates/list" => {
            result(format!(r#"{{"resourceTemplates":[{{"uriTemplate":"{name}:{{id}}","name":"t"}}]}}"#))
        }
        "resources/read" => result(r#"{"contents":[]}"#),
        "resources/subscribe" if silent.load(Ordering::SeqCst) => Reply::Never,
        "resources/subscribe" => result("{}"),
        "tools/call" => result(r#"{"content":[]}"#),
        _ => Reply::Never,
    })
}

fn call(method: &str, params: &str) -> Call {
    Call::new(method, Some(raw(params)))
}

fn subscribe(uri: &str) -> Call {
    call("resources/subscribe", &format!(r#"{{"uri":"{uri}"}}"#))
}

async fn is_done(upstream: &dyn Upstream, call: Call) -> bool {
    matches!(upstream.call(call).await, Outcome::Complete(_))
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_no_subscription_is_there_again_all_the_same() {
    for is_silent in [true, false] {
        let silent = Arc::<AtomicBool>::default();
        let mut stage = subscribing("srv", &silent);
        let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
        let client = ClientId::new();
        for number in 0..100 {
            assert!(is_done(&aggregator, subscribe(&format!("srv:{number}")).of_client(client)).await);
        }
        assert_eq!(stage.heard_so_far(&["resources/subscribe"]).len(), 100);
        silent.store(is_silent, Ordering::SeqCst);
        stage.stop();
        let began = Instant::now();
        while !is_done(&aggregator, call("tools/call", r#"{"name":"srv_do"}"#)).await {
            tokio::task::yield_now().await;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let again = stage.heard_so_far(&["resources/subscribe"]).len();
        assert!(if is_silent { again > 0 } else { again == 100 }, "twin: {again}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_is_waited_for_once_and_not_by_each_who_asks_for_something_else() {
    let (launcher, _servers) = Launcher::new([Plan::Hang, Plan::Hang, Plan::Hang, Plan::Hang]);
    let answers = Arc::<AtomicBool>::default();
    let quick = subscribing("quick", &answers);
    let backends = [quick.backend("quick"), launcher.backend("slow")];
    let aggregator = Aggregator::builder().backends(backends).prefixes(Prefixes::WhenNeeded).build().unwrap();
    let read = call("resources/read", r#"{"uri":"quick:1"}"#);
    let bare = call("tools/call", r#"{"name":"do"}"#);
    assert!(is_done(&aggregator, read.clone()).await);
    let after = async |wanted: &Call| {
        let began = Instant::now();
        assert!(is_done(&aggregator, wanted.clone()).await);
        began.elapsed()
    };
    let list = call("tools/list", "{}");
    for wanted in [&read, &bare, &list] {
        assert!(after(wanted).await < Duration::from_secs(1), "{wanted:?}");
    }
    let began = Instant::now();
    aggregator.describe().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // It has failed, and is tried again.
    advance(Duration::from_secs(100)).await;
    for wanted in [&read, &bare] {
        assert!(after(wanted).await < Duration::from_secs(3), "{wanted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_its_time_is_waited_for() {
    let (launcher, mut servers) = Launcher::new([Plan::Play]);
    let aggregator = Arc::new(Aggregator::new(vec![launcher.backend("slow")]).unwrap());
    let listing = {
        let aggregator = Arc::clone(&aggregator);
        tokio::spawn(async move { aggregator.tools().await })
    };
    let mut server = servers.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    server.greet().await;
    let heard = server.hear().await;
    server.answer(&heard.id, r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#).await;
    assert_eq!(listing.await.unwrap().tools.len(), 1);
}

fn post(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    request(Method::POST, headers, body)
}

fn request(method: Method, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri("/mcp").header("host", "localhost");
    request =
        request.header("accept", "application/json, text/event-stream").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_listens_to_a_server_that_does_not_answer_hears_of_the_others() {
    let (slow, quick) = (subscribing("slow", &Arc::new(true.into())), subscribing("quick", &Arc::default()));
    let aggregator = Arc::new(Aggregator::new(vec![slow.backend("slow"), quick.backend("quick")]).unwrap());
    let endpoint = endpoint_of(StreamableHttpLimits::default());
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    let body = r#"{"jsonrpc":"2.0","id":"r","method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["slow:1","slow:2","slow:3","quick:1"]},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let one = Principal::new("one");
    let listening = endpoint.handle(&one, &aggregator, post(&headers, body));
    let mut response = timeout(Duration::from_secs(30), listening).await.expect("it does not wait for each");
    let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    assert!(first.contains(r#""notifications":{"resourceSubscriptions":["quick:1"]}"#), "{first}");
}

/// Answers all but subscriptions, once it is silent.
struct Silent {
    silent: AtomicBool,
    events: broadcast::Sender<Event>,
    heard: Mutex<usize>,
}

impl Upstream for Silent {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            if &*call.method == "resources/subscribe" {
                *self.heard.lock().unwrap() += 1;
                if self.silent.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
            }
            Outcome::Complete(raw("{}"))
        })
    }

    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        Some(self.events.subscribe())
    }
}

fn silent(silent: bool) -> Arc<Silent> {
    Arc::new(Silent { silent: silent.into(), events: broadcast::Sender::new(16), heard: Mutex::default() })
}

#[tokio::test(start_paused = true)]
async fn a_session_that_goes_on_in_what_does_not_answer_hears_of_all_else() {
    let endpoint = endpoint_of(StreamableHttpLimits::default());
    let one = Principal::new("one");
    let before = silent(false);
    let made = endpoint.handle(&one, &before, post(&[], initialize("2025-11-25"))).await;
    let session = made.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let headers = [("mcp-session-id", &*session)];
    for number in 0..3 {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{number},"method":"resources/subscribe","params":{{"uri":"a:{number}"}}}}"#
        );
        assert_eq!(endpoint.handle(&one, &before, post(&headers, body)).await.status(), 200);
    }
    for after in [silent(true), silent(false)] {
        let mut listening = endpoint.handle(&one, &after, request(Method::GET, &headers, "")).await;
        let method = "notifications/tools/list_changed";
        after.events.send(Arc::new(Notification { method: method.into(), params: None })).unwrap();
        let heard = async {
            loop {
                let frame = listening.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
                if String::from_utf8(frame.to_vec()).unwrap().contains(method) {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(30), heard).await.expect("it is told");
        assert!(*after.heard.lock().unwrap() > 0, "it is asked for what the session is subscribed to");
    }
}
