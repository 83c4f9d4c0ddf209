//! Two gateways on one PostgreSQL: what is done through one is so on the other, and a revocation bites on both.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::{
    client::{Session, post, send_to},
    gateway::{Gateway, Installation, demo_server},
    internet::Internet,
    postgres::Postgres,
};

const ADDRESSES: [&str; 2] = ["127.0.0.1:8080", "127.0.0.1:8081"];
const PATH: &str = "/mcp/p/work";
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// One answer of the origin, which goes on until it is ended.
struct Stream {
    authorization: String,
    events: usize,
    ended: Option<Instant>,
}

type Streams = Arc<Mutex<Vec<Stream>>>;

/// An origin that tells one thing after the other for `/stream`, and what it got for anything else.
fn internet() -> (Internet, Streams) {
    let streams = Streams::default();
    let told = Arc::clone(&streams);
    (Internet::serving(&[], move |connection| answer(connection, Arc::clone(&told))), streams)
}

async fn answer(connection: TlsStream<TcpStream>, streams: Streams) {
    let mut connection = BufReader::new(connection);
    let (mut target, mut authorization) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end();
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => value.clone_into(&mut authorization),
            _ if target.is_empty() => line.split(' ').nth(1).unwrap_or_default().clone_into(&mut target),
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    if target != "/stream" {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{authorization}",
            authorization.len()
        );
        streams.lock().unwrap().push(Stream { authorization, events: 0, ended: Some(Instant::now()) });
        drop(connection.write_all(answer.as_bytes()).await);
        drop(connection.shutdown().await);
        return;
    }
    let number = {
        let mut streams = streams.lock().unwrap();
        streams.push(Stream { authorization, events: 0, ended: None });
        streams.len() - 1
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let mut next = connection.write_all(head.as_bytes()).await;
    while next.is_ok() {
        streams.lock().unwrap()[number].events += 1;
        let mut end = String::new();
        tokio::select! {
            // Nothing more is asked, so this is the end.
            _ = connection.read_line(&mut end) => break,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        next = connection.write_all(b"data: x\n\n").await;
        next = match next {
            Ok(()) => connection.flush().await,
            lost => lost,
        };
    }
    streams.lock().unwrap()[number].ended = Some(Instant::now());
}

/// The two gateways and what is on them.
struct Two {
    internet: Internet,
    streams: Streams,
    machines: [Installation; 2],
    token: String,
    _gateways: [Gateway; 2],
}

impl Two {
    fn new() -> Self {
        let (internet, streams) = internet();
        let first = Installation::on(Postgres::shared().database());
        let fetch = demo_server("gigmcp-demo-fetch");
        let add =
            ["server", "add", "fetch", "--binary", fetch.to_str().unwrap(), "--secret", "API_KEY=api.example.com"];
        first.json(&add, "");
        first.json(&["secret", "set", "fetch", "API_KEY"], "the-first-real-value");
        let machines = [first.another(), first];
        let serve = |number: usize| machines[number].serve(&internet, &[("GIG_LISTEN", ADDRESSES[number])]);
        let gateways = [serve(0), serve(1)];
        let token = machines[0].profile("work", &["fetch"]);
        Self { internet, streams, machines, token, _gateways: gateways }
    }

    fn session(&self, gateway: usize) -> Session<'_> {
        Session::open_at(&self.internet, ADDRESSES[gateway], PATH, &self.token)
    }

    /// What reaches the origin of a call through that gateway.
    fn fetch(&self, gateway: usize) -> Option<String> {
        let before = self.streams.lock().unwrap().len();
        self.session(gateway).call("fetch_fetch", &json!({"url": "https://api.example.com/"}));
        self.streams.lock().unwrap().get(before).map(|stream| stream.authorization.clone())
    }

    /// Runs `act` while an answer goes on through each gateway, and waits until it was ended on both.
    fn while_streaming(&self, case: &str, act: impl FnOnce()) {
        let before = self.streams.lock().unwrap().len();
        thread::scope(|scope| {
            for gateway in 0..2 {
                scope.spawn(move || {
                    let session = self.session(gateway);
                    session.call("fetch_fetch", &json!({"url": "https://api.example.com/stream"}));
                });
            }
            self.wait(|streams| {
                streams.len() == before + 2 && streams[before..].iter().all(|stream| stream.events > 3)
            });
            act();
            let acted = Instant::now();
            self.wait(|streams| streams[before..].iter().all(|stream| stream.ended.is_some()));
            let took = |stream: &Stream| stream.ended.unwrap().saturating_duration_since(acted);
            let took: Vec<_> = self.streams.lock().unwrap()[before..].iter().map(took).collect();
            eprintln!("{case}: answers under way ended after {took:?}");
            // The promise is two seconds; the rest is for machines that do much else.
            assert!(took.iter().all(|took| *took < Duration::from_secs(30)), "{case}: {took:?}");
        });
    }

    fn wait(&self, done: impl Fn(&[Stream]) -> bool) {
        let limit = Instant::now() + Duration::from_secs(60);
        while !done(&self.streams.lock().unwrap()) {
            assert!(Instant::now() < limit, "it did not happen");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether each gateway lets somebody in who has that token.
    fn admit(&self, token: &str) -> [bool; 2] {
        let status = |address| send_to(&self.internet, address, post(PATH, Some(token), PING)).status;
        ADDRESSES.map(|address| match status(address) {
            StatusCode::UNAUTHORIZED => false,
            // There is no session.
            StatusCode::BAD_REQUEST => true,
            other => panic!("{other}"),
        })
    }
}

#[test]
fn what_is_made_through_one_works_on_the_other() {
    let two = Two::new();
    for request in 0..4 {
        assert_eq!(two.fetch(request % 2).as_deref(), Some("Bearer the-first-real-value"), "request {request}");
    }
    let echo = demo_server("gigmcp-demo-echo");
    for machine in [0, 1] {
        // Each machine has its own copies of executables; the same one has the same name.
        let name = ["left", "right"][machine];
        two.machines[machine].json(&["server", "add", name, "--binary", echo.to_str().unwrap()], "");
        let other = &two.machines[1 - machine];
        other.json(&["profile", "add", "work", name], "");
    }
    for gateway in [0, 1] {
        let session = two.session(gateway);
        assert_eq!(session.tools(), ["fetch_fetch", "left_echo", "right_echo"]);
        for tool in ["left_echo", "right_echo"] {
            assert_eq!(session.call(tool, &json!({"text": "here"})).text(), "here", "{tool} on {gateway}");
        }
    }
    // The rows of both are in one place, whoever is asked.
    let audits = [0, 1].map(|machine| two.machines[machine].json(&["audit", "--limit", "100"], ""));
    assert_eq!(audits[0], audits[1]);
    let rows = audits[0].as_array().unwrap();
    let instances: std::collections::BTreeSet<_> =
        rows.iter().filter(|row| row["kind"] == "request").map(|row| row["instance"].as_str().unwrap()).collect();
    assert_eq!(instances.len(), 2, "a sandbox of each: {instances:?}");
    let count = |kind: &str| rows.iter().filter(|row| row["kind"] == kind).count();
    assert_eq!((count("request"), count("tool")), (4, 8), "{}", audits[0]);
}

#[test]
fn a_revocation_through_one_bites_on_both() {
    let two = Two::new();
    two.while_streaming("secret set", || {
        two.machines[0].json(&["secret", "set", "fetch", "API_KEY"], "the-second-real-value");
    });
    for gateway in [0, 1] {
        assert_eq!(two.fetch(gateway).as_deref(), Some("Bearer the-second-real-value"), "gateway {gateway}");
    }
    two.while_streaming("secret delete", || {
        two.machines[1].json(&["secret", "delete", "fetch", "API_KEY"], "");
    });
    for gateway in [0, 1] {
        assert_eq!(two.fetch(gateway), None, "gateway {gateway} without the secret");
    }
    two.machines[0].json(&["secret", "set", "fetch", "API_KEY"], "the-third-real-value");
    assert_eq!(two.fetch(1).as_deref(), Some("Bearer the-third-real-value"), "twin");

    two.while_streaming("profile remove", || {
        two.machines[1].json(&["profile", "remove", "work", "fetch"], "");
    });
    assert_eq!([0, 1].map(|gateway| two.session(gateway).tools()), [Vec::<String>::new(), Vec::new()]);
    two.machines[0].json(&["profile", "add", "work", "fetch"], "");
    two.while_streaming("server remove", || {
        two.machines[0].json(&["server", "remove", "fetch"], "");
    });
    assert_eq!([0, 1].map(|gateway| two.session(gateway).tools()), [Vec::<String>::new(), Vec::new()]);
}

#[test]
fn a_token_and_a_profile_end_on_both() {
    let mut two = Two::new();
    assert_eq!(two.admit(&two.token), [true; 2], "twin");
    let renewed = two.machines[1].json(&["profile", "token", "work"], "")["token"].as_str().unwrap().to_owned();
    assert_eq!(two.admit(&two.token), [false; 2], "the old token ended at once");
    assert_eq!(two.admit(&renewed), [true; 2], "twin");
    two.token = renewed;
    two.while_streaming("profile delete", || {
        two.machines[0].json(&["profile", "delete", "work"], "");
    });
    assert_eq!(two.admit(&two.token), [false; 2]);
}
