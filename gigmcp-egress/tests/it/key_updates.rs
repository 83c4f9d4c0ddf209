//! A sandbox that has the keys of its connection changed again and again.

use gigmcp_egress::Verdict;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::wire::Wire;
use crate::world::{World, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

/// What rustls takes between two records that carry something, after BoringSSL's example.
const MOST: usize = 32;

/// Each asks for new keys of the other side as well. The other side may have closed already; reading tells.
async fn update_keys(stream: &mut TlsStream<TcpStream>, times: usize) {
    for _ in 0..times {
        stream.get_mut().1.refresh_traffic_keys().unwrap();
        if stream.flush().await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_flood_of_key_updates_ends_the_connection() {
    for (case, updates, served) in [
        ("EGR-100 one too many", MOST + 1, false),
        ("EGR-100 a flood", 10_000, false),
        ("twin: as many as are taken", MOST, true),
        ("twin: one", 1, true),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut wire = Wire::new(sandbox.speaking("http/1.1", "api.example.com").await);
        assert_eq!(soon(wire.ask(GET)).await.status, 200, "{case}: the connection is alive");
        let mut stream = wire.into_inner();
        update_keys(&mut stream, updates).await;
        let mut wire = Wire::new(stream);
        let reply = soon(wire.ask(GET)).await;
        assert_eq!(reply.status, if served { 200 } else { 0 }, "{case}");
        if served {
            // What was asked for in between is no flood.
            let mut stream = wire.into_inner();
            update_keys(&mut stream, updates).await;
            assert_eq!(soon(Wire::new(stream).ask(GET)).await.status, 200, "{case}, and again");
        } else {
            assert!(soon(wire.is_closed()).await, "{case}");
            assert_eq!(world.origin.seen().len(), 1, "{case}: what came behind is not served");
        }
        assert_eq!(soon(sandbox.https("api.example.com").await.ask(GET)).await.status, 200, "{case}: others are");
        let verdicts: Vec<_> = world.finish().await.iter().map(|event| event.verdict).collect();
        assert_eq!(verdicts, vec![Verdict::Allowed; if served { 4 } else { 2 }], "{case}");
    }
}

#[tokio::test]
async fn a_flood_of_key_updates_in_the_middle_of_a_request_ends_it() {
    for (case, updates, code) in [("EGR-100", MOST + 1, "malformed"), ("twin", MOST, "allowed")] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut wire = Wire::new(sandbox.speaking("http/1.1", "api.example.com").await);
        // Permission comes when the body is wanted.
        let head = "POST / HTTP/1.1\r\nHost: api.example.com\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(soon(wire.ask(head)).await.status, 100, "{case}");
        let mut stream = wire.into_inner();
        update_keys(&mut stream, updates).await;
        let reply = soon(Wire::new(stream).ask("body")).await;
        assert_eq!(reply.status == 200, code == "allowed", "{case}");
        let events = world.finish().await;
        assert_eq!(events.len(), 1, "{case}");
        assert_eq!(events[0].verdict == Verdict::Allowed, code == "allowed", "{case}: {:?}", events[0].verdict);
    }
}
