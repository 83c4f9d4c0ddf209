//! What one sandbox can occupy at a time: its own places, and nobody else's.

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::http2_upstream::listen;
use crate::wire::Wire;
use crate::world::{Trust, World, soon, until};

const GET: &str = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

#[tokio::test]
async fn connections_that_are_being_opened_hold_the_places_of_one_sandbox_only() {
    let mut world = World::with(Trust::Origin, |limits| limits.dials = 2).await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    let backstage = world.backstage.clone();
    let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::SeqCst);
    // Takes connections and says nothing, so that no handshake ends.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.set_origin(silent.local_addr().unwrap());
    let mut waiting = Vec::new();
    for (resolved, dialled) in [(1, 1), (2, 2), (3, 2)] {
        let mut wire = one.https("api.example.com").await;
        wire.send(GET).await;
        until(|| count(&backstage.resolved) == resolved && count(&backstage.dialled) >= dialled).await;
        waiting.push(wire);
    }
    world.set_origin(world.origin.tls);
    assert_eq!(soon(two.https("api.example.com").await.ask(GET)).await.status, 200, "EGR-208: another is served");
    assert_eq!(count(&backstage.dialled), 3, "the third of the first one waits");
    drop(silent);
    for (number, status) in [(0, 502), (1, 502), (2, 200)] {
        let reply = soon(waiting[number].reply()).await;
        assert_eq!(reply.status, status, "{number}: the third is served when there is room");
    }
    assert_eq!(count(&backstage.dialled), 4);
}

#[tokio::test]
async fn request_bodies_that_are_being_decoded_hold_the_places_of_one_sandbox_only() {
    let mut world = World::with(Trust::Origin, |limits| {
        limits.decoders = 1;
        limits.lookup_deadline = Duration::from_millis(200); // so long others wait
    })
    .await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    let head = "POST / HTTP/1.1\r\nHost: b.example.com\r\nContent-Length: 2\r\n";
    let coded = format!("{head}Content-Encoding: gzip\r\n\r\nxx");
    let mut first = one.https("b.example.com").await;
    // Permission comes when the body is wanted, and by then it has its place.
    let begun = format!("{head}Content-Encoding: gzip\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(first.ask(begun).await.status, 100);
    let reply = soon(one.https("b.example.com").await.ask(&coded)).await;
    assert_eq!((reply.status, reply.code()), (429, Some("rate-limited")));
    assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), 0, "nothing was sent");
    let plain = format!("{head}\r\nxx");
    assert_eq!(soon(one.https("b.example.com").await.ask(plain)).await.status, 200, "twin: nothing to decode");
    assert_eq!(soon(two.https("b.example.com").await.ask(&coded)).await.status, 200, "twin: another sandbox");
    assert_eq!(soon(first.ask("xx")).await.status, 200);
    let freed = async { while one.https("b.example.com").await.ask(&coded).await.status != 200 {} };
    soon(freed).await; // twin: when the first has ended
}

#[tokio::test]
async fn answers_that_are_being_decoded_hold_the_places_of_one_sandbox_only() {
    let mut world = World::with(Trust::Origin, |limits| {
        limits.decoders = 1;
        limits.lookup_deadline = Duration::from_millis(200); // so long others wait
    })
    .await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
    tokio::spawn(async move {
        while let Some(stream) = accepted.recv().await {
            tokio::spawn(async move {
                let mut wire = Wire::new(stream);
                loop {
                    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n";
                    match wire.request().await.split(' ').nth(1) {
                        Some("/endless") => wire.send(format!("{head}transfer-encoding: chunked\r\n\r\n")).await,
                        Some(_) => {
                            let mut body = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                            body.write_all(b"ok").unwrap();
                            let body = body.finish().unwrap();
                            let head = format!("{head}content-length: {}\r\n\r\n", body.len());
                            wire.send([head.as_bytes(), &body].concat()).await;
                        }
                        None => return,
                    }
                }
            });
        }
    });
    let mut first = one.https("api.example.com").await;
    first.send(GET.replace("/ ", "/endless ")).await;
    soon(first.until("\r\n\r\n")).await;
    let mut second = one.https("api.example.com").await;
    let reply = soon(second.ask(GET)).await;
    assert_eq!((reply.status, reply.code()), (429, Some("rate-limited")));
    assert_eq!(soon(two.https("api.example.com").await.ask(GET)).await.body, "ok", "twin: another sandbox");
    drop(first);
    let freed = async { while one.https("api.example.com").await.ask(GET).await.status != 200 {} };
    soon(freed).await; // twin: when the first has ended
}
