//! Whoever is given somebody's account gets nothing that was that person's, also not through what still runs.

use std::fs;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    api::{Browser, PASSWORD, administrator},
    client::{ADDRESS, Session, post, send},
    gateway::wait_gone,
    install::{Scene, environment, image, servers},
    internet::Internet,
    registry::manifest,
};

const KEY: &str = "the-key-that-is-anns";
const OTHER: &str = "what-mallory-set-later";

/// With the server `echo`, which holds its key itself and keeps files.
fn scene() -> Scene {
    let mut scene = Scene::new();
    let image = image("gigmcp-demo-echo", &[]);
    image.write(&scene.registry.layouts());
    scene.registry.publish(&[&manifest("echo", "1.0.0", image.digest, |document| {
        document["tier"] = json!("entrusted");
        document["credentials"] = json!([{"id": "key", "type": "api_key", "inject": {"env": "API_KEY"}}]);
        document["state"] = json!({"path": "/data", "maxMib": 8});
    })]);
    scene.install("echo", &["--entrust"]);
    scene
}

fn token(browser: &Browser<'_>, path: &str, body: Value) -> String {
    let made = browser.ask(Method::POST, path, (!body.is_null()).then_some(body));
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    made.json()["token"].as_str().unwrap().to_owned()
}

/// Somebody with a profile `of-NAME` in which `echo` is, with a key; gives the id and the token too.
fn somebody<'a>(internet: &'a Internet, root: &Browser<'_>, name: &str, key: &str) -> (Browser<'a>, String, String) {
    let email = format!("{name}@example.com");
    let code = token(root, "/invitations", json!({ "email": email, "role": "user" }));
    let mut browser = Browser::new(internet);
    let accepted =
        browser.ask(Method::POST, "/invitations/accept", Some(json!({ "code": code, "password": PASSWORD })));
    let id = accepted.json()["user"].as_str().unwrap().to_owned();
    browser.sign_in(&email);
    set(&browser, key);
    let revision = browser.ask(Method::GET, "/servers/echo", None).json()["revision"].clone();
    let profile = json!({ "slug": format!("of-{name}"), "servers": { "echo": revision } });
    let token = token(&browser, "/profiles", profile);
    (browser, id, token)
}

fn set(browser: &Browser<'_>, key: &str) {
    let set = browser.ask(Method::PUT, "/credentials/echo/key", Some(json!({ "value": key })));
    assert_eq!(set.status, StatusCode::OK, "{set:?}");
}

fn hello(session: &Session<'_>) -> Value {
    session.call("echo_echo", &json!({ "text": "hello" })).json()
}

fn is_hello(answer: &Value) -> bool {
    answer["result"]["content"][0]["text"] == "hello"
}

#[test]
fn an_administrator_does_not_use_what_runs_with_anothers_key_by_a_new_password() {
    let (internet, scene) = (Internet::new(), scene());
    let gateway = scene.serve(&internet);
    let root = administrator(&internet, &gateway);
    let (_ann, id, of_ann) = somebody(&internet, &root, "ann", KEY);
    let session = Session::open(&internet, "/mcp/p/of-ann", &of_ann);
    assert!(is_hello(&hello(&session)), "{}", gateway.log());
    assert!(environment(&gateway).contains(&format!("API_KEY={KEY}")), "twin: it holds her key");
    let before = servers(&gateway);
    let state = scene.installation.data().join("state");
    let kept = || {
        let servers = fs::read_dir(&state).unwrap().map(|server| server.unwrap().path());
        let owners = servers.flat_map(|server| fs::read_dir(server).unwrap().map(|owner| owner.unwrap().path()));
        owners.collect::<Vec<_>>()
    };
    let [of_owner] = &kept()[..] else { panic!("{:?}", kept()) };
    fs::write(of_owner.join("login"), "what the server keeps for Ann").unwrap();

    // What she is not asked for.
    let code = token(&root, &format!("/users/{id}/reset"), json!(null));
    let mut mallory = Browser::new(&internet);
    let accepted =
        mallory.ask(Method::POST, "/invitations/accept", Some(json!({ "code": code, "password": PASSWORD })));
    assert_eq!(accepted.status, StatusCode::CREATED, "{accepted:?}");
    assert!(kept().is_empty(), "before the code was used up: {:?}", kept());
    mallory.sign_in("ann@example.com");
    let stolen = token(&mallory, "/profiles/of-ann/tokens", json!({ "name": "stolen" }));
    let session = Session::open(&internet, "/mcp/p/of-ann", &stolen);
    let answer = hello(&session);
    assert_eq!(answer["error"]["data"]["code"], "sandbox-not-started", "{answer}");
    assert_eq!(wait_gone(&before), Vec::<u32>::new(), "what held her key has ended");

    set(&mallory, OTHER);
    assert!(is_hello(&hello(&session)), "twin: {}", gateway.log());
    let environment = environment(&gateway).join(" ");
    assert!(environment.contains(OTHER) && !environment.contains(KEY));
    let [of_owner] = &kept()[..] else { panic!("{:?}", kept()) };
    assert!(!of_owner.join("login").exists(), "nor does it find what it kept for her");
}

#[test]
fn who_sets_their_key_ends_nobody_elses_server_and_changes_no_server() {
    let (internet, scene) = (Internet::new(), scene());
    let gateway = scene.serve(&internet);
    let root = administrator(&internet, &gateway);
    let (_ann, _, of_ann) = somebody(&internet, &root, "ann", KEY);
    let of_ann = Session::open(&internet, "/mcp/p/of-ann", &of_ann);
    assert!(is_hello(&hello(&of_ann)));
    let [hers] = servers(&gateway)[..] else { panic!("one server: {:?}", servers(&gateway)) };
    let (mallory, _, of_mallory) = somebody(&internet, &root, "mallory", "the-first");
    let of_mallory = Session::open(&internet, "/mcp/p/of-mallory", &of_mallory);
    assert!(is_hello(&hello(&of_mallory)));
    let revision = || mallory.ask(Method::GET, "/servers/echo", None).json()["revision"].clone();
    let (seen, others) = (revision(), servers(&gateway).into_iter().filter(|pid| *pid != hers).collect::<Vec<_>>());
    assert_eq!(others.len(), 1);
    for number in 0..5 {
        set(&mallory, &format!("another-{number}"));
    }
    assert_eq!(wait_gone(&others), Vec::<u32>::new(), "twin: what held the key of before has ended");
    assert!(is_hello(&hello(&of_mallory)) && is_hello(&hello(&of_ann)));
    assert!(servers(&gateway).contains(&hers), "Ann's goes on");
    assert_eq!(revision(), seen, "nobody has to look at the server again");
}

/// Sends a head, waits until its body is wanted, does something else, sends the body, and gives the answer's first line.
fn late(internet: &Internet, request: Request<Bytes>, meanwhile: Option<Request<Bytes>>) -> String {
    fn head(request: &Request<Bytes>, more: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri());
        for (name, value) in request.headers() {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        format!("{head}content-length: {}\r\n{more}\r\n", request.body().len()).into_bytes()
    }
    internet.near(move || async move {
        let mut stream = BufReader::new(TcpStream::connect(ADDRESS).await.unwrap());
        stream.write_all(&head(&request, "expect: 100-continue\r\n")).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
        stream.read_line(&mut line).await.unwrap();
        if let Some(meanwhile) = meanwhile {
            let mut other = TcpStream::connect(ADDRESS).await.unwrap();
            other.write_all(&head(&meanwhile, "connection: close\r\n")).await.unwrap();
            let mut answer = String::new();
            other.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
        }
        stream.write_all(request.body()).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    })
}

#[test]
fn a_token_that_is_revoked_while_a_call_is_sent_calls_nothing() {
    let (internet, scene) = (Internet::new(), Scene::new());
    let gateway = scene.serve(&internet);
    let root = administrator(&internet, &gateway);
    let first = token(&root, "/profiles", json!({ "slug": "work" }));
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }});
    let call = || post("/mcp/p/work", Some(&first), body.to_string());
    assert_eq!(late(&internet, call(), None), "HTTP/1.1 200 OK", "twin");
    let mut revoke = root.request(Method::DELETE, "/profiles/work/tokens/default", None);
    revoke.headers_mut().remove(header::CONTENT_TYPE);
    assert_eq!(late(&internet, call(), Some(revoke)), "HTTP/1.1 401 Unauthorized");
    assert_eq!(send(&internet, call()).status, StatusCode::UNAUTHORIZED);
}
