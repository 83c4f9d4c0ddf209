//! Programs that know a proxy: CONNECT, and whole URLs in clear text.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gigmcp_egress::ConnectionCheck;
use tokio::net::TcpStream;

use crate::wire::Wire;
use crate::world::World;

#[tokio::test]
async fn a_tunnel_to_an_allowed_host_carries_requests() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut tunnel = sandbox.proxy().await;
    let reply = tunnel.ask("CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n").await;
    assert_eq!(reply.status, 200);
    let mut wire = Wire::new(sandbox.handshake(tunnel.into_inner(), "api.example.com").await.unwrap());
    let request =
        format!("GET /echo HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {}\r\n\r\n", sandbox.placeholder);
    let reply = wire.ask(&request).await;
    assert_eq!((reply.status, reply.code()), (200, None));
    assert!(reply.body.contains(sandbox.placeholder.as_str()));
    let reply = wire.ask("GET / HTTP/1.1\r\nHost: b.example.com\r\n\r\n").await;
    assert_eq!(reply.code(), Some("host-mismatch"), "EGR-085");
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["allowed", "host-mismatch"], "a tunnel is not an event, a request is");
}

#[tokio::test]
async fn a_tunnel_may_be_asked_for_in_http_1_0() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut tunnel = sandbox.proxy().await;
    assert_eq!(tunnel.ask("CONNECT api.example.com:443 HTTP/1.0\r\n\r\n").await.status, 200, "older Python");
    let mut wire = Wire::new(sandbox.handshake(tunnel.into_inner(), "api.example.com").await.unwrap());
    assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn connect_goes_to_allowed_names_only() {
    for (case, request, code, status) in [
        ("denied host", "CONNECT evil.test:443 HTTP/1.1\r\n\r\n", "host-denied", 403),
        ("EGR-025 other port", "CONNECT api.example.com:22 HTTP/1.1\r\n\r\n", "port-denied", 403),
        ("EGR-025 clear-text port", "CONNECT plain.example.com:80 HTTP/1.1\r\n\r\n", "port-denied", 403),
        ("EGR-025 port zero", "CONNECT api.example.com:0 HTTP/1.1\r\n\r\n", "connect-target", 400),
        ("EGR-026 address", "CONNECT 93.184.216.34:443 HTTP/1.1\r\n\r\n", "ip-literal", 403),
        ("EGR-028 IPv6 loopback", "CONNECT [::1]:443 HTTP/1.1\r\n\r\n", "ip-literal", 403),
        ("EGR-081 ourselves", "CONNECT 127.0.0.1:3128 HTTP/1.1\r\n\r\n", "ip-literal", 403),
        ("EGR-034 metadata", "CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n", "ip-literal", 403),
        ("EGR-002 trailing dot", "CONNECT api.example.com.:443 HTTP/1.1\r\n\r\n", "host-not-canonical", 400),
        ("EGR-012 userinfo", "CONNECT api.example.com@evil.test:443 HTTP/1.1\r\n\r\n", "host-not-canonical", 400),
        (
            "EGR-066 other Host",
            "CONNECT api.example.com:443 HTTP/1.1\r\nHost: b.example.com\r\n\r\n",
            "connect-target",
            400,
        ),
        (
            "EGR-068 body",
            "CONNECT api.example.com:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            "connect-target",
            400,
        ),
        (
            "EGR-069 bytes behind a refusal",
            "CONNECT evil.test:443 HTTP/1.1\r\n\r\nGET http://plain.example.com/ HTTP/1.1\r\nHost: plain.example.com\r\n\r\n",
            "host-denied",
            403,
        ),
        ("EGR-072 URL", "CONNECT https://api.example.com/ HTTP/1.1\r\n\r\n", "connect-target", 400),
        ("EGR-072 no port", "CONNECT api.example.com HTTP/1.1\r\n\r\n", "connect-target", 400),
        ("EGR-072 path", "CONNECT / HTTP/1.1\r\n\r\n", "connect-target", 400),
        ("EGR-072 star", "CONNECT * HTTP/1.1\r\n\r\n", "connect-target", 400),
        ("EGR-014 blank", "CONNECT api.example.com :443 HTTP/1.1\r\n\r\n", "host-not-canonical", 400),
        ("EGR-016 raw UTF-8", "CONNECT bücher.example:443 HTTP/1.1\r\n\r\n", "host-not-canonical", 400),
        ("EGR-010 path behind", "CONNECT evil.test/api.example.com:443 HTTP/1.1\r\n\r\n", "connect-target", 400),
        ("EGR-010 fragment", "CONNECT evil.test#api.example.com:443 HTTP/1.1\r\n\r\n", "host-not-canonical", 400),
        ("EGR-022 leading zero", "CONNECT api.example.com:0443 HTTP/1.1\r\n\r\n", "connect-target", 400),
        ("EGR-022 too large", "CONNECT api.example.com:65536 HTTP/1.1\r\n\r\n", "connect-target", 400),
        ("EGR-022 empty", "CONNECT api.example.com: HTTP/1.1\r\n\r\n", "connect-target", 400),
        ("EGR-029 zone", "CONNECT [fe80::1%25eth0]:443 HTTP/1.1\r\n\r\n", "host-not-canonical", 400),
        ("EGR-030 name in brackets", "CONNECT [api.example.com]:443 HTTP/1.1\r\n\r\n", "host-not-canonical", 400),
        (
            "EGR-068 chunks",
            "CONNECT api.example.com:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            { "connect-target" },
            400,
        ),
        (
            "EGR-066 two hosts",
            "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\nHost: api.example.com\r\n\r\n",
            "connect-target",
            400,
        ),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut wire = sandbox.proxy().await;
        let reply = wire.ask(request).await;
        assert_eq!((reply.status, reply.code()), (status, Some(code)), "{case}");
        assert!(wire.is_closed().await, "{case}: nothing behind a refused CONNECT is read");
        world.refused_untouched(case, code).await;
    }
}

#[tokio::test]
async fn only_tls_for_the_same_name_goes_through_a_tunnel() {
    for (case, sni, code) in
        [("cleartext", None, "cleartext-in-tunnel"), ("other name", Some("b.example.com"), "sni-mismatch")]
    {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut tunnel = sandbox.proxy().await;
        assert_eq!(tunnel.ask("CONNECT api.example.com:443 HTTP/1.1\r\n\r\n").await.status, 200);
        match sni {
            None => {
                let reply = tunnel.ask("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
                assert_eq!((reply.status, reply.code()), (400, Some(code)), "EGR-064");
            }
            Some(sni) => assert!(sandbox.handshake(tunnel.into_inner(), sni).await.is_err()),
        }
        world.refused_untouched(case, code).await;
    }
}

#[tokio::test]
async fn tls_in_the_same_segment_as_connect_is_not_lost() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    // A client that speaks before it was answered: its handshake begins with the CONNECT already written.
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut wire = sandbox.proxy().await;
    let handshake = tokio::spawn({
        let sandbox = Arc::new(sandbox);
        async move { sandbox.handshake(near, "api.example.com").await.map(|_| ()) }
    });
    let (mut from_client, mut to_client) = tokio::io::split(far);
    let mut hello = vec![0; 1 << 14];
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let length = from_client.read(&mut hello).await.unwrap();
    let reply = wire.ask([b"CONNECT api.example.com:443 HTTP/1.1\r\n\r\n", &hello[..length]].concat()).await;
    assert_eq!(reply.status, 200, "EGR-070");
    let (ahead, stream) = wire.into_parts();
    to_client.write_all(&ahead).await.unwrap();
    let (mut from_proxy, mut to_proxy) = tokio::io::split(stream);
    let copying = tokio::spawn(async move {
        tokio::join!(tokio::io::copy(&mut from_proxy, &mut to_client), async {
            let _ = tokio::io::copy(&mut from_client, &mut to_proxy).await;
            let _ = to_proxy.shutdown().await;
        })
    });
    handshake.await.unwrap().unwrap();
    copying.abort();
}

#[tokio::test]
async fn whole_urls_reach_hosts_allowed_in_clear_text() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.proxy().await;
    let request = "GET http://plain.example.com/a?b=1 HTTP/1.1\r\nHost: plain.example.com\r\n\
        Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n\r\n";
    for _ in 0..2 {
        let reply = wire.ask(request).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    }
    let seen = &world.origin.seen()[0];
    assert_eq!(seen.target, "/a?b=1");
    assert!(!seen.headers.keys().any(|name| name.as_str().starts_with("proxy-")), "what is for us stays with us");
}

#[tokio::test]
async fn whole_urls_are_judged_like_everything_else() {
    for (case, request, code) in [
        (
            "https host in clear text",
            "GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
            "port-denied",
        ),
        ("denied host", "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", "host-denied"),
        (
            "EGR-076 metadata",
            "GET http://169.254.169.254/latest/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
            "ip-literal",
        ),
        ("EGR-078 other Host", "GET http://plain.example.com/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", "host-mismatch"),
        (
            "EGR-080 other scheme",
            "GET ftp://plain.example.com/ HTTP/1.1\r\nHost: plain.example.com\r\n\r\n",
            "target-not-canonical",
        ),
        (
            "https URL without a tunnel",
            "GET https://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
            "target-not-canonical",
        ),
        ("path alone", "GET / HTTP/1.1\r\nHost: plain.example.com\r\n\r\n", "target-not-canonical"),
        (
            "EGR-080 no scheme",
            "GET //plain.example.com/ HTTP/1.1\r\nHost: plain.example.com\r\n\r\n",
            "target-not-canonical",
        ),
        (
            "EGR-080 no host",
            "GET file:///etc/passwd HTTP/1.1\r\nHost: plain.example.com\r\n\r\n",
            "target-not-canonical",
        ),
        (
            "EGR-138 fragment",
            "GET http://plain.example.com/#x HTTP/1.1\r\nHost: plain.example.com\r\n\r\n",
            "target-not-canonical",
        ),
        ("EGR-124 no host", "GET http://plain.example.com/ HTTP/1.1\r\n\r\n", "host-not-canonical"),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let reply = sandbox.proxy().await.ask(request).await;
        assert_eq!(reply.code(), Some(code), "{case}: {}", reply.head);
        world.refused_untouched(case, code).await;
    }
}

/// Refuses the first connection.
#[derive(Debug, Default)]
struct NotTheFirst(AtomicBool);

impl ConnectionCheck for NotTheFirst {
    fn check(&self, _: &TcpStream) -> io::Result<()> {
        if self.0.swap(true, Ordering::Relaxed) { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

#[tokio::test]
async fn a_connection_that_fails_its_check_is_closed_and_the_next_is_served() {
    let mut world = World::new().await;
    let sandbox = world.sandbox_checked("one", Arc::new(NotTheFirst::default()));
    let mut refused = sandbox.proxy().await;
    assert!(refused.is_closed().await, "without a word");
    let mut tunnel = sandbox.proxy().await;
    assert_eq!(tunnel.ask("CONNECT api.example.com:443 HTTP/1.1\r\n\r\n").await.status, 200, "the twin");
}
