//! Connections that break: what is asked again is done once.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::json;

use super::{SCOPES, World};

/// What becomes of the connections that come, one after the other.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The request is lost.
    Lost,
    /// It arrives, and its answer is lost.
    Unanswered,
    /// Both arrive.
    Whole,
}

/// A relay to the gateway, and the heads of the requests that it saw. After these fates, nobody listens there.
fn relay(to: &str, fates: &'static [Fate]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, to, seen) = (listener.local_addr().unwrap(), to.to_owned(), Arc::<Mutex<Vec<String>>>::default());
    let told = Arc::clone(&seen);
    thread::spawn(move || {
        for fate in fates {
            let (client, _) = listener.accept().unwrap();
            carry(client, &to, *fate, &told);
        }
    });
    (address, seen)
}

fn carry(mut client: TcpStream, to: &str, fate: Fate, seen: &Mutex<Vec<String>>) {
    let request = message(&mut client);
    seen.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
    if matches!(fate, Fate::Lost) {
        return;
    }
    let mut gateway = TcpStream::connect(to).unwrap();
    gateway.write_all(&request).unwrap();
    let answer = message(&mut gateway);
    if matches!(fate, Fate::Whole) {
        client.write_all(&answer).unwrap();
    }
    drop(client.shutdown(Shutdown::Both));
}

/// One message of HTTP/1.1 whose length is said, or that has no body.
fn message(stream: &mut TcpStream) -> Vec<u8> {
    let (mut message, mut byte) = (Vec::new(), [0]);
    while !message.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        message.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&message).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    message.extend(body);
    message
}

fn key_of(request: &str) -> Option<&str> {
    request.lines().find_map(|line| line.strip_prefix("idempotency-key: "))
}

#[test]
fn what_is_asked_again_after_a_broken_connection_is_done_once() {
    let world = World::new();
    let key = world.key("all", SCOPES);
    let invited = || world.installation.json(&["user", "invitations"], "").as_array().unwrap().len();
    let ask = |fates: &'static [Fate], words: &[&str]| {
        let (address, seen) = relay(&world.address, fates);
        let output = world.ask(&format!("http://{address}"), &key, &[&["--json"], words].concat(), "");
        let requests = seen.lock().unwrap().clone();
        (output.status.success(), String::from_utf8(output.stderr).unwrap(), requests)
    };
    let invite = |email: &'static str| ["user", "invite", email];

    let (done, error, requests) = ask(&[Fate::Whole], &invite("twin@example.com"));
    assert!(done && requests.len() == 1 && key_of(&requests[0]).is_some(), "twin: {error}");
    let (done, error, requests) = ask(&[Fate::Lost, Fate::Whole], &invite("ann@example.com"));
    assert!(done, "nothing had come: {error}");
    assert_eq!(key_of(&requests[0]), key_of(&requests[1]), "the same key");
    assert_eq!(invited(), 2);

    // The code is shown once, and was lost; that it was done is told.
    let (done, error, requests) = ask(&[Fate::Unanswered, Fate::Whole], &invite("bob@example.com"));
    assert!(!done && error.contains("idempotency_replayed"), "{error}");
    assert_eq!((requests.len(), key_of(&requests[0])), (2, key_of(&requests[1])));
    assert_eq!(invited(), 3, "it was done once");

    let (done, error, _) = ask(&[Fate::Unanswered], &invite("cid@example.com"));
    assert!(!done && error.contains("whether it did what was asked is not known"), "nobody is there any more: {error}");
    let (done, error, requests) = ask(&[Fate::Lost, Fate::Lost], &invite("dan@example.com"));
    assert!(!done && requests.len() == 2 && error.contains("is not known"), "it is asked twice and no more: {error}");
    assert_eq!(invited(), 4);

    // What looks only has no key, and what takes away finds nothing the second time.
    let (done, error, requests) = ask(&[Fate::Unanswered, Fate::Whole], &["api-key", "list"]);
    assert!(done && key_of(&requests[0]).is_none(), "{error}");
    let (done, error, _) = ask(&[Fate::Unanswered, Fate::Whole], &["user", "uninvite", "bob@example.com"]);
    assert!(!done && error.contains("taken away the first time"), "{error}");
    assert_eq!(invited(), 3);
    let (done, error, _) = ask(&[Fate::Lost, Fate::Whole], &["user", "uninvite", "ann@example.com"]); // twin
    assert!(done && invited() == 2, "{error}");
}

#[test]
fn an_answer_that_is_kept_is_told_again() {
    let world = World::new();
    let key = world.key("all", SCOPES);
    let (address, seen) = relay(&world.address, &[Fate::Unanswered, Fate::Whole]);
    let output = world.ask(&format!("http://{address}"), &key, &["--json", "images", "gc"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["in_use"].clone(), seen.lock().unwrap().len()), (json!(0), 2));
    let rows = world.installation.json(&["audit", "--limit", "100"], "");
    let collected = |row: &&serde_json::Value| row["subject"].as_str().unwrap().contains("images that nothing needs");
    assert_eq!(rows.as_array().unwrap().iter().filter(collected).count(), 1, "it was done once");
}
