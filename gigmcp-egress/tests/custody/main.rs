//! Where a secret goes: to its host, out of every place that a credential can stand in, and nowhere else. The host repeats it
//! in every spelling and by every way an answer has, and no part of it arrives in the sandbox, in the audit or in the log.
//! The same search finds a decoy, which is not a secret and goes the same ways.
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

mod coded;
mod grpc;
mod places;
mod socket;
mod ways;

use crate::places::Place;
use crate::secrets::{DECOY, SECRET, decoys_missing_in, found_in};
use crate::stage::{Stage, fault_of};
use crate::ways::Way;

#[tokio::test]
async fn a_secret_is_seen_by_its_host_and_by_nobody_else() {
    log::listen_to_everything();
    let stage = Stage::new().await;
    for place in places::all() {
        for way in ways::all() {
            check(&stage, &place, &way).await;
        }
    }
    tracing::info!(text = DECOY, "control");
    assert!(log::decoy_was_seen(), "control: what is logged is searched");
    assert_eq!(log::leaks(), Vec::<String>::new());
    println!("{} lines of log searched", log::searched());
}

async fn check(stage: &Stage, place: &Place, way: &Way) {
    let case = format!("{}, {}", place.name, way.name);
    let mut sandbox = stage.sandbox_with(|plan| plan.credentials[0].sink = place.sink.clone());
    let answer = way.answer.clone();
    stage.upstream.answers(move |_| answer.clone());
    stage.upstream.seen();
    let mut connection = sandbox.https("api.example.com").await;
    connection.send(place.request(&sandbox.placeholder)).await;
    let reply = connection.reply().await;
    if !reply.whole {
        panic!("{case}: {:?} {:?}", reply, sandbox.event().await);
    }
    assert_eq!(reply.status, 200, "{case}: {} {}", reply.head, reply.text());
    let seen = stage.upstream.seen().pop().unwrap();
    let sent = format!("{}{}", seen.head, String::from_utf8_lossy(&seen.body));
    assert!(sent.contains(&place.written()), "{case}: control: the host has the secret: {sent}");
    assert!(!sent.contains(sandbox.placeholder.as_str()), "{case}: the placeholder stays behind");
    let body = coded::decoded(reply.header("content-encoding"), &reply.body);
    for (what, bytes) in [("as it came", &reply.raw), ("decoded", &body)] {
        assert_eq!(found_in(bytes), None, "{case}, {what}: {}", String::from_utf8_lossy(bytes));
    }
    let everything = [&reply.raw[..], &body].concat();
    assert_eq!(decoys_missing_in(&everything), Vec::<&str>::new(), "{case}: control: the search finds what is there");
    assert!(
        way.shows_placeholder(&everything, sandbox.placeholder.as_str()),
        "{case}: the placeholder is in its place"
    );
    let event = sandbox.event().await.unwrap();
    assert_eq!((event.verdict.code(), fault_of(&event), event.credentials.len()), ("allowed", None, 1), "{case}");
    assert!(format!("{event:?}").contains("D3C0YB1RD"), "{case}: control: the audit shows paths");
    drop(connection);
    assert!(sandbox.close().await.is_empty(), "{case}: one event");
}

#[test]
fn what_is_repeated_is_recognised() {
    for echo in secrets::echoes(SECRET) {
        assert!(found_in(echo.as_bytes()).is_some(), "{echo}");
    }
    let all = secrets::echoes(DECOY).join("\n");
    assert_eq!(decoys_missing_in(all.as_bytes()), Vec::<&str>::new());
    assert_eq!(found_in(all.as_bytes()), None);
}
