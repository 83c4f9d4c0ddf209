//! Tunnels, whole URLs and what only looks like them: rows 60 to 86 and 101.

use super::framing::letter;
use super::names::PROXY;
use crate::row::{Door, Right, Row, scene, through};
use crate::wire::{self, Cut, Wire};

const CONNECT: &str = "CONNECT api.example.com:443 HTTP/1.1\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
const URL: &str = "GET http://plain.example.com/ HTTP/1.1\r\nHost: plain.example.com\r\n\r\n";

pub(crate) fn rows() -> Vec<Row> {
    [tunnels(), inside(), bare(), urls(), spoofed(), socks()].into_iter().flatten().collect()
}

fn tunnels() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (id, what, attack, right)) in [
        ("066", "CONNECT with another Host", "CONNECT api.example.com:443 HTTP/1.1\r\nHost: b.example.com:443\r\n\r\n", 400),
        ("066", "CONNECT with a Host of another port", "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:80\r\n\r\n", 400),
        ("066", "CONNECT with two Hosts", "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\nHost: api.example.com\r\n\r\n", 400),
        ("066", "CONNECT with a Host that is none", "CONNECT api.example.com:443 HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("068", "CONNECT with a length", "CONNECT api.example.com:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 400),
        ("068", "CONNECT in chunks", "CONNECT api.example.com:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("068", "CONNECT with two lengths of zero", "CONNECT api.example.com:443 HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
        ("069", "a second request behind a CONNECT that is refused", "CONNECT evil.test:443 HTTP/1.1\r\n\r\nGET http://plain.example.com/ HTTP/1.1\r\nHost: plain.example.com\r\n\r\n", 403),
        ("069", "a second CONNECT behind one that is refused", "CONNECT evil.test:443 HTTP/1.1\r\n\r\nCONNECT api.example.com:443 HTTP/1.1\r\n\r\n", 403),
        ("069", "TLS behind a CONNECT that is refused", "CONNECT evil.test:443 HTTP/1.1\r\n\r\n\x16\x03\x01\0\x05hello", 403),
        ("072", "CONNECT to a URL", "CONNECT https://api.example.com/ HTTP/1.1\r\n\r\n", 400),
        ("072", "CONNECT to a URL with a port", "CONNECT https://api.example.com:443 HTTP/1.1\r\n\r\n", 400),
        ("072", "CONNECT without a port", "CONNECT api.example.com HTTP/1.1\r\n\r\n", 400),
        ("072", "CONNECT to a path", "CONNECT / HTTP/1.1\r\n\r\n", 400),
        ("072", "CONNECT to nothing", "CONNECT  HTTP/1.1\r\n\r\n", 400),
        ("072", "CONNECT to a host with a path", "CONNECT api.example.com:443/x HTTP/1.1\r\n\r\n", 400),
        ("072", "CONNECT to a host with a query", "CONNECT api.example.com:443?x HTTP/1.1\r\n\r\n", 400),
        ("072", "CONNECT to a star", "CONNECT * HTTP/1.1\r\n\r\n", 400),
        ("081", "CONNECT to the proxy itself", "CONNECT 127.0.0.1:3128 HTTP/1.1\r\n\r\n", 403),
        ("081", "CONNECT to an address of the pool", "CONNECT 28.18.0.1:443 HTTP/1.1\r\n\r\n", 403),
        ("065", "CONNECT in lower case", "connect api.example.com:443 HTTP/1.1\r\n\r\n", 400),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("{id}{}", letter(index));
        let right = if right == 403 { Right::Close(403) } else { Right::CloseEither(400, 405) };
        rows.push(through(PROXY, &id, what, right, attack, CONNECT));
    }
    rows.push(scene("070", "CONNECT and the hello in one segment", "served", |stage| async move {
        let sandbox = std::rc::Rc::new(stage.sandbox());
        // A client that speaks before it was answered: its handshake goes through a pipe, and its first bytes leave with
        // the CONNECT.
        let (near, far) = tokio::io::duplex(1 << 16);
        let inner = std::rc::Rc::clone(&sandbox);
        let client = tokio::task::spawn_local(async move {
            let stream = inner.handshake(near, "api.example.com", "").await.unwrap();
            Wire::new(stream).ask(GET).await.status
        });
        let (mut from_client, mut to_client) = tokio::io::split(far);
        let mut hello = vec![0; 1 << 14];
        let length = tokio::io::AsyncReadExt::read(&mut from_client, &mut hello).await.unwrap();
        let mut proxy = sandbox.proxy().await;
        proxy.send([CONNECT.as_bytes(), &hello[..length]].concat()).await;
        assert!(proxy.until(b"\r\n\r\n").await.starts_with(b"HTTP/1.1 200"));
        let (ahead, stream) = proxy.into_parts();
        tokio::io::AsyncWriteExt::write_all(&mut to_client, &ahead).await.unwrap();
        let (mut from_proxy, mut to_proxy) = tokio::io::split(stream);
        let copying = tokio::task::spawn_local(async move {
            let _ = tokio::join!(
                tokio::io::copy(&mut from_proxy, &mut to_client),
                tokio::io::copy(&mut from_client, &mut to_proxy)
            );
        });
        assert_eq!(client.await.unwrap(), 200);
        copying.abort();
        "served".into()
    }));
    rows.push(scene("070y", "CONNECT by HTTP/1.0, as older Python", "served", |stage| async move {
        let sandbox = stage.sandbox();
        let mut proxy = sandbox.proxy().await;
        assert_eq!(proxy.ask("CONNECT api.example.com:443 HTTP/1.0\r\n\r\n").await.status, 200);
        let stream = sandbox.handshake(proxy.stream, "api.example.com", "").await.unwrap();
        assert_eq!(Wire::new(stream).ask(GET).await.status, 200);
        "served".into()
    }));
    rows.push(scene(
        "060",
        "a Proxy-Authorization, also a stolen one",
        "not looked at: the socket is the identity",
        |stage| async move {
            let mut sandbox = stage.sandbox();
            let other = stage.sandbox();
            let stolen = format!("Proxy-Authorization: Bearer {}\r\n", other.identity);
            let reply = sandbox.proxy().await.ask(URL.replace("\r\n\r\n", &format!("\r\n{stolen}\r\n"))).await;
            assert_eq!(reply.status, 200);
            assert_eq!(sandbox.event().await.unwrap().identity, sandbox.identity);
            assert_eq!(stage.upstream.seen()[0].header("proxy-authorization"), None, "and it does not leave");
            "not looked at: the socket is the identity".into()
        },
    ));
    rows
}

/// Behind a tunnel that was opened, anything but TLS for that name.
fn inside() -> Vec<Row> {
    let mut rows = Vec::new();
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("062", "an SSH banner", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("062", "SMTP", b"EHLO x\r\n".to_vec()),
        ("062", "NUL bytes", vec![0; 64]),
        ("062", "PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec()),
        ("062", "a hello of SSL 2", b"\x80\x2e\x01\x00\x02\0\x15\0\0\0\x10".to_vec()),
        ("062", "an alert", vec![21, 3, 3, 0, 2, 1, 0]),
        ("062", "application data", vec![23, 3, 3, 0, 1, 0]),
        ("064", "a request in clear text", GET.as_bytes().to_vec()),
        ("065", "a second CONNECT in clear text", CONNECT.as_bytes().to_vec()),
        ("064", "the preface of HTTP/2 in clear text", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
    ];
    for (index, (id, what, attack)) in cases.into_iter().enumerate() {
        let id = format!("{id}{}-tunnel", letter(index));
        rows.push(scene(&id, format!("{what} in a tunnel"), "400 cleartext-in-tunnel", move |stage| {
            let attack = attack.clone();
            async move {
                let mut sandbox = stage.sandbox();
                for cut in [Cut::Whole, Cut::Bytes] {
                    let mut tunnel = sandbox.proxy().await;
                    assert_eq!(tunnel.ask(CONNECT).await.status, 200);
                    let before = stage.touched();
                    wire::send(&mut tunnel.stream, &attack, cut).await;
                    let reply = tunnel.reply().await;
                    assert_eq!((reply.status, reply.code()), (400, Some("cleartext-in-tunnel")));
                    assert!(tunnel.is_closed().await);
                    assert_eq!(stage.touched(), before);
                    assert_eq!(sandbox.event().await.unwrap().verdict.code(), "cleartext-in-tunnel");
                }
                assert!(sandbox.close().await.is_empty());
                "400 cleartext-in-tunnel".into()
            }
        }));
    }
    rows.push(scene("062z", "silence in a tunnel", "closed at the deadline", |_| async {
        let stage =
            crate::stage::Stage::with(|limits| limits.handshake_deadline = std::time::Duration::from_millis(100)).await;
        let mut sandbox = stage.sandbox();
        let mut tunnel = sandbox.proxy().await;
        assert_eq!(tunnel.ask(CONNECT).await.status, 200);
        assert!(tunnel.is_closed().await);
        assert_eq!(sandbox.event().await.unwrap().verdict.code(), "tls-handshake");
        "closed at the deadline".into()
    }));
    let doors: &[Door] = &[Door::Tunnel("b.example.com")];
    let plain = "GET / HTTP/1.1\r\nHost: {H}\r\n\r\n";
    rows.push(through(
        doors,
        "065w",
        "CONNECT inside TLS in a tunnel",
        Right::CloseEither(405, 400),
        "CONNECT {H}:443 HTTP/1.1\r\nHost: {H}:443\r\n\r\n",
        plain,
    ));
    rows.push(through(
        doors,
        "065x",
        "a whole URL inside TLS in a tunnel",
        Right::Close(400),
        "GET https://{H}/ HTTP/1.1\r\nHost: {H}\r\n\r\n",
        plain,
    ));
    rows.push(through(
        doors,
        "066z",
        "another Host inside TLS in a tunnel",
        Right::Close(421),
        plain.replace("{H}", "api.example.com"),
        plain,
    ));
    rows.push(scene("066y", "TLS for another name than the CONNECT", "refused, sni-mismatch", |stage| async move {
        let mut sandbox = stage.sandbox();
        let before = stage.touched();
        let mut tunnel = sandbox.proxy().await;
        assert_eq!(tunnel.ask(CONNECT).await.status, 200);
        assert!(sandbox.handshake(tunnel.stream, "b.example.com", "").await.is_err());
        assert_eq!(stage.touched(), before);
        let code = sandbox.event().await.unwrap().verdict.code();
        assert!(sandbox.close().await.is_empty());
        format!("refused, {code}")
    }));
    rows.push(scene(
        "085",
        "a later request on the same connection for another host",
        "421, the first unaffected",
        |stage| async move {
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.https("api.example.com").await;
            assert_eq!(wire.ask(GET).await.status, 200);
            let before = stage.touched();
            // Both in one segment: the first is answered whole before the second is refused.
            wire.send([GET, &GET.replace("api", "b")].concat()).await;
            assert_eq!(wire.reply().await.status, 200);
            let reply = wire.reply().await;
            assert_eq!((reply.status, reply.code()), (421, Some("host-mismatch")));
            assert!(wire.is_closed().await);
            assert_eq!((stage.touched() - before).dialled, 0);
            let mut codes = Vec::new();
            for _ in 0..3 {
                codes.push(sandbox.event().await.unwrap().verdict.code());
            }
            codes.sort_unstable();
            assert_eq!((codes, sandbox.close().await.len()), (vec!["allowed", "allowed", "host-mismatch"], 0));
            "421, the first unaffected".into()
        },
    ));
    rows.push(scene(
        "086",
        "a rule is revoked under a busy connection",
        "403, and the idle one ends",
        |stage| async move {
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.https("api.example.com").await;
            assert_eq!(wire.ask(GET).await.status, 200);
            assert_eq!(sandbox.event().await.unwrap().verdict.code(), "allowed");
            let before = stage.touched();
            stage.grant(&sandbox.identity, &sandbox.placeholder, |plan| plan.rules.clear());
            let reply = wire.ask(GET).await;
            assert_eq!((reply.status, reply.code()), (403, Some("host-denied")));
            assert_eq!(stage.touched(), before);
            stage.grant(&sandbox.identity, &sandbox.placeholder, |_| ());
            assert_eq!(wire.ask(GET).await.status, 200, "twin: the rule is back");
            "403, and the idle one ends".into()
        },
    ));
    rows
}

/// The transparent TLS port, without TLS.
fn bare() -> Vec<Row> {
    let doors: &[Door] = &[Door::Bare("api.example.com")];
    let mut rows = Vec::new();
    for (index, (what, attack)) in [
        ("a request in clear text", GET.as_bytes()),
        ("CONNECT", CONNECT.as_bytes()),
        ("an SSH banner", b"SSH-2.0-x\r\n"),
        ("NUL", &[0]),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("a greeting of SOCKS 5", &[5, 1, 0]),
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("{what} on the TLS port");
        // The twin is every other row that comes over TLS.
        rows.push(through(doors, &format!("101{}", letter(index)), what, Right::Close(400), attack, ""));
    }
    rows
}

fn urls() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (id, what, attack, right)) in [
        ("076", "metadata by URL", URL.replace("plain.example.com", "169.254.169.254"), Right::Status(403)),
        ("076", "a denied host by URL", URL.replace("plain.example.com", "evil.test"), Right::Status(403)),
        ("077", "a URL in clear text for an https host", URL.replace("plain", "api"), Right::Status(403)),
        (
            "077",
            "a placeholder in clear text",
            URL.replace("\r\n\r\n", "\r\nAuthorization: Bearer {P}\r\n\r\n"),
            Right::Status(403),
        ),
        (
            "078",
            "a URL with another Host",
            URL.replace("Host: plain.example.com", "Host: evil.test"),
            Right::CloseEither(400, 421),
        ),
        ("078", "a URL without Host", URL.replace("Host: plain.example.com\r\n", ""), Right::Close(400)),
        ("078", "a URL with two Hosts", URL.replace("Host:", "Host: plain.example.com\r\nHost:"), Right::Close(400)),
        (
            "078",
            "a URL with another port in Host",
            URL.replace("Host: plain.example.com", "Host: plain.example.com:81"),
            Right::CloseEither(400, 421),
        ),
        ("080", "ftp", URL.replace("http://", "ftp://"), Right::Close(400)),
        ("080", "a file", URL.replace("http://plain.example.com/", "file:///etc/passwd"), Right::Close(400)),
        ("080", "gopher", URL.replace("http://", "gopher://"), Right::Close(400)),
        ("080", "no scheme", URL.replace("http://", "//"), Right::Close(400)),
        ("080", "https without a tunnel", URL.replace("http://", "https://"), Right::Close(400)),
        ("080", "ws", URL.replace("http://", "ws://"), Right::Close(400)),
        ("080", "a path alone", URL.replace("http://plain.example.com", ""), Right::Close(400)),
        ("080", "http:/ with one slash", URL.replace("http://", "http:/"), Right::Close(400)),
        ("080", "http: with three slashes", URL.replace("http://", "http:///"), Right::Close(400)),
        ("080", "http: with backslashes", URL.replace("http://", "http:\\\\"), Right::Close(400)),
        ("080", "userinfo", URL.replace("http://", "http://user:pw@"), Right::Close(400)),
        ("080", "another port by URL", URL.replace("example.com", "example.com:8080"), Right::Status(403)),
        ("080", "OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: plain.example.com\r\n\r\n".into(), Right::Close(400)),
        ("080", "a fragment in a URL", URL.replace("com/ ", "com/#x "), Right::Close(400)),
        ("080", "a URL without a path but a query", URL.replace("com/ ", "com?x "), Right::Close(400)),
        ("169", "dot segments in a URL", URL.replace("com/ ", "com/a/../b "), Right::Close(400)),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(through(PROXY, &format!("{id}{}", letter(index)), what, right, attack, URL));
    }
    rows
}

fn spoofed() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, header) in [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "Forwarded",
        "Via",
        "X-Real-IP",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "Proxy-Connection",
        "Keep-Alive",
        "TE",
        "X-Client-IP",
        "CF-Connecting-IP",
        "True-Client-IP",
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(scene(
            &format!("084{}", letter(index)),
            format!("{header} from a sandbox"),
            "removed",
            move |stage| async move {
                let sandbox = stage.sandbox();
                let value = if header == "TE" { "trailers" } else { "1.2.3.4" };
                let reply = sandbox
                    .https("b.example.com")
                    .await
                    .ask(format!("GET / HTTP/1.1\r\nHost: b.example.com\r\n{header}: {value}\r\nX-Other: 1\r\n\r\n"))
                    .await;
                assert_eq!(reply.status, 200);
                let seen = stage.upstream.seen().remove(0);
                assert_eq!(seen.header("x-other"), Some("1"), "control");
                if seen.header(&header.to_ascii_lowercase()).is_none() { "removed".into() } else { "forwarded".into() }
            },
        ));
    }
    rows
}

/// There is no SOCKS server: whatever it is, it is not HTTP.
fn socks() -> Vec<Row> {
    let mut rows = Vec::new();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a greeting of SOCKS 5 without authentication", vec![5, 1, 0, b'\r', b'\n', b'\r', b'\n']),
        ("SOCKS 5 with a name of length 0", vec![5, 1, 0, 3, 0, 1, 187, b'\n', b'\n']),
        ("SOCKS 5 with an address as name", [&[5, 1, 0, 5, 1, 0, 3, 9][..], b"127.0.0.1\x01\xbb\r\n\r\n"].concat()),
        ("SOCKS 4", [&[4, 1, 1, 187, 127, 0, 0, 1][..], b"\0\r\n\r\n"].concat()),
        ("SOCKS 4a", [&[4, 1, 1, 187, 0, 0, 0, 1][..], b"\0evil.test\0\r\n\r\n"].concat()),
        ("a hello of TLS", b"\x16\x03\x01\0\x05hello\r\n\r\n".to_vec()),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("the PROXY protocol", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n\r\n".to_vec()),
        ("the PROXY protocol, version 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\r\n\r\n".to_vec()),
    ];
    for (index, (what, attack)) in cases.into_iter().enumerate() {
        let id = format!("074{}", letter(index));
        // What cannot be a method is not even answered.
        let right = if what.contains("SOCKS") { Right::Drop } else { Right::CloseEither(400, 405) };
        rows.push(through(PROXY, &id, format!("{what} on the proxy port"), right, attack, URL));
    }
    rows
}
