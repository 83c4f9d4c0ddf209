//! What we let through is understood the same by everyone: each request is sent through the proxy to hyper, Node's http,
//! Python's http.server and nginx, and all have to agree on method, target, host, and length and hash of the body. A
//! disagreement is a fault of our acceptance, whoever is right.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
#![allow(dead_code, reason = "what the tests of attacks use is not all used here")]

#[path = "../support/log.rs"]
mod log;
#[path = "../support/secrets.rs"]
mod secrets;
#[path = "../support/stage.rs"]
mod stage;
#[path = "../support/upstream.rs"]
mod upstream;
#[path = "../support/wire.rs"]
mod wire;

mod corpus;
mod origins;

use std::collections::BTreeMap;

use gigmcp_egress::Rule;

use crate::origins::Origins;
use crate::stage::Stage;
use crate::wire::{Cut, Wire};

#[tokio::test]
async fn everyone_understands_what_we_let_through_alike() {
    let stage = Stage::new().await;
    let origins = Origins::start().await;
    for (index, origin) in origins.all.iter().enumerate() {
        let address = format!("93.184.217.{}", index + 1);
        stage.backstage.route(&address, origin.address);
        stage.backstage.resolves(origin.host, &[&address]);
    }
    let mut sandbox = stage.sandbox_with(|plan| plan.rules.push(Rule::http("*.plain.example.com".parse().unwrap())));
    let mut wires: Vec<Option<Wire<_>>> = origins.all.iter().map(|_| None).collect();
    let (mut accepted, mut refused, mut abstained) = (0, 0, BTreeMap::<&str, usize>::new());
    let mut disagreements = Vec::new();
    for request in corpus::requests() {
        let mut saw = BTreeMap::<String, Vec<&str>>::new();
        for (origin, kept) in origins.all.iter().zip(&mut wires) {
            let mut wire = match kept.take() {
                Some(wire) => wire,
                None => sandbox.http(origin.host).await,
            };
            let bytes = String::from_utf8_lossy(&request.bytes).contains("{H}");
            assert!(bytes, "every request names its host");
            wire::send(&mut wire.stream, &request.to(origin.host), Cut::Whole).await;
            // An answer to HEAD has no body, whatever it says of a length.
            let head = loop {
                let head = String::from_utf8_lossy(&wire.until(b"\r\n\r\n").await).into_owned();
                if !head.starts_with("HTTP/1.1 100") {
                    break head;
                }
            };
            let understood = header(&head, "x-saw").map(|saw| saw.replace(origin.host, "{H}"));
            if let Some(understood) = understood {
                saw.entry(understood).or_default().push(origin.name);
            } else if header(&head, "x-gigmcp-refusal").is_some_and(|code| !code.starts_with("upstream")) {
                refused += 1;
                break;
            } else {
                *abstained.entry(origin.name).or_default() += 1;
                continue;
            }
            let stays = header(&head, "connection") != Some("close") && header(&head, "content-length") == Some("0");
            *kept = stays.then_some(wire);
        }
        if saw.len() > 1 {
            disagreements.push(format!("{}: {saw:#?}", request.what));
        }
        if let (1, Some(understood)) = (saw.len(), saw.keys().next()) {
            accepted += 1;
            if *understood != request.meant() {
                disagreements.push(format!(
                    "{}: all saw {understood:?}, but meant was {:?}",
                    request.what,
                    request.meant()
                ));
            }
        }
    }
    drop(wires);
    sandbox.close().await;
    println!("{accepted} understood alike, {refused} refused by us, not understood at all: {abstained:?}");
    assert!(disagreements.is_empty(), "{} disagreements:\n{}", disagreements.len(), disagreements.join("\n"));
    assert!(accepted > 400 && refused < accepted / 4, "the corpus is one of requests that we let through");
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
