//! Names and addresses that are not what they seem: rows 1 to 40.

use gigmcp_egress::HostPattern;

use super::framing::letter;
use crate::row::{Ask, Door, Right, Row, ask, scene, through};

pub(crate) const PROXY: &[Door] = &[Door::Proxy];

/// What a host is, whoever names it.
#[derive(Clone, Copy)]
enum Kind {
    /// Not a name that has only one spelling.
    Malformed,
    /// Another name than any that is allowed.
    Denied,
    /// An address.
    Address,
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = hosts();
    rows.extend(ports());
    rows.extend(allowed());
    rows.push(scene("038", "rules that are wider than anybody can mean", "refused when read", |_| async {
        for text in [
            "*",
            "**",
            "**.",
            "*.",
            "*.com",
            "**.com",
            "*.co.uk",
            "**.co.uk",
            "*example.com",
            "a*.example.com",
            "*.*.example.com",
            "api.*.com",
            "*.",
            "",
            " ",
            "*.github.io",
            "api.example.com*",
            "***.example.com",
            "*.1.2.3.4",
            "1.2.3.4",
            "[::1]",
            "localhost:80",
            "https://api.example.com",
            "api.example.com/",
            "api.example.com:443",
            "api.example.com.",
            "*.example.com.",
            "a b.example.com",
            "api.example.com\0",
            "com",
            "co.uk",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
        }
        for text in ["api.example.com", "*.example.com", "**.example.com", "API.example.com", "bücher.example"] {
            assert!(text.parse::<HostPattern>().is_ok(), "twin: {text}");
        }
        "refused when read".into()
    }));
    rows
}

fn hosts() -> Vec<Row> {
    let label = format!("{}.example.com", "a".repeat(64));
    let name = format!("{}.comb", ["a".repeat(49).as_str(); 5].join("."));
    let mut rows = Vec::new();
    let cases: Vec<(&str, &str, Kind)> = vec![
        ("002", "api.example.com.", Kind::Malformed),
        ("002", "api.example.com..", Kind::Malformed),
        ("002", ".api.example.com", Kind::Malformed),
        ("002", "api..example.com", Kind::Malformed),
        ("004", &label, Kind::Malformed),
        ("004", &name, Kind::Malformed),
        ("005", "evilapi.example.com", Kind::Denied),
        ("005", "evil.api.example.com", Kind::Denied),
        ("005", "example.com", Kind::Denied),
        ("006", "evilcdn.example.com", Kind::Denied),
        ("006", "cdn.example.com", Kind::Denied),
        ("006", "x.evilcdn.example.com", Kind::Denied),
        ("008", "a.b.cdn.example.com", Kind::Denied),
        ("009", "api.example.com.evil.test", Kind::Denied),
        ("009", "apixexample.com", Kind::Denied),
        ("009", "x.cdn.example.com.evil.test", Kind::Denied),
        ("010", "evil.test/api.example.com", Kind::Malformed),
        ("010", "evil.test?api.example.com", Kind::Malformed),
        ("010", "evil.test#api.example.com", Kind::Malformed),
        ("010", "evil.test\\api.example.com", Kind::Malformed),
        ("010", "evil.test;api.example.com", Kind::Malformed),
        ("010", "evil.test%2fapi.example.com", Kind::Malformed),
        ("010", "evil.test,api.example.com", Kind::Malformed),
        ("012", "api.example.com@evil.test", Kind::Malformed),
        ("012", "user:pw@api.example.com", Kind::Malformed),
        ("012", "@api.example.com", Kind::Malformed),
        ("012", "evil.test%40api.example.com", Kind::Malformed),
        ("013", "evil.test\0.api.example.com", Kind::Malformed),
        ("013", "api.example.com\0.evil.test", Kind::Malformed),
        ("013", "api.example.com\0", Kind::Malformed),
        ("013", "evil.test%00.api.example.com", Kind::Malformed),
        ("014", "api\r.example.com", Kind::Malformed),
        ("014", "api\n.example.com", Kind::Malformed),
        ("014", "api\r\nX: y", Kind::Malformed),
        ("014", "api\t.example.com", Kind::Malformed),
        ("014", "api .example.com", Kind::Malformed),
        ("014", "api\x0b.example.com", Kind::Malformed),
        ("014", "api\x0c.example.com", Kind::Malformed),
        ("014", "api\x7f.example.com", Kind::Malformed),
        ("014", "api\x1b[2J.example.com", Kind::Malformed),
        ("016", "bücher.example", Kind::Malformed),
        ("018", "xn--pi-7kc.example.com", Kind::Denied),
        ("020", "api。example。com", Kind::Malformed),
        ("020", "ａｐｉ.example.com", Kind::Malformed),
        ("020", "a\u{ad}pi.example.com", Kind::Malformed),
        ("020", "a\u{200d}pi.example.com", Kind::Malformed),
        ("021", "_svc.api.example.com", Kind::Malformed),
        ("021", "-a.cdn.example.com", Kind::Malformed),
        ("021", "a-.cdn.example.com", Kind::Malformed),
        ("021", "_x.cdn.example.com", Kind::Malformed),
        ("026", "1.2.3.4", Kind::Address),
        ("026", "127.1", Kind::Address),
        ("026", "0x7f000001", Kind::Address),
        ("026", "2130706433", Kind::Address),
        ("026", "0177.0.0.1", Kind::Address),
        ("026", "127.0.0.0x1", Kind::Address),
        ("028", "[::1]", Kind::Address),
        ("028", "[::ffff:127.0.0.1]", Kind::Address),
        ("028", "[::ffff:7f00:1]", Kind::Address),
        ("028", "[::127.0.0.1]", Kind::Address),
        ("028", "[0:0:0:0:0:0:0:1]", Kind::Address),
        ("029", "[fe80::1%25eth0]", Kind::Malformed),
        ("029", "[fe80::1%eth0]", Kind::Malformed),
        ("030", "[api.example.com]", Kind::Malformed),
        ("030", "[1.2.3.4]", Kind::Malformed),
        ("030", "[::1", Kind::Malformed),
        ("030", "::1", Kind::Malformed),
        ("030", "[::1]x", Kind::Malformed),
        ("032", "[2002:7f00:1::]", Kind::Address),
        ("032", "[2001:0:7f00:1::]", Kind::Address),
        ("032", "[::ffff:0:7f00:1]", Kind::Address),
        ("032", "[::5efe:10.0.0.1]", Kind::Address),
        ("032", "[64:ff9b::7f00:1]", Kind::Address),
        ("033", "0.0.0.0", Kind::Address),
        ("033", "[::]", Kind::Address),
        ("033", "255.255.255.255", Kind::Address),
        ("033", "224.0.0.1", Kind::Address),
        ("033", "[ff02::1]", Kind::Address),
        ("034", "169.254.169.254", Kind::Address),
        ("034", "169.254.170.2", Kind::Address),
        ("034", "100.100.100.200", Kind::Address),
        ("034", "192.0.0.192", Kind::Address),
        ("034", "168.63.129.16", Kind::Address),
        ("034", "[fd00:ec2::254]", Kind::Address),
        ("034", "metadata.google.internal", Kind::Denied),
        ("037", "*.cdn.example.com", Kind::Malformed),
        ("037", "*", Kind::Malformed),
        ("081", "localhost", Kind::Denied),
    ];
    for (index, (id, host, kind)) in cases.iter().enumerate() {
        let mut shown = host.escape_default().to_string();
        if shown.len() > 100 {
            shown = format!("{}... of {} bytes", &shown[..20], host.len());
        }
        let connect = match kind {
            Kind::Malformed => Right::Close(400),
            Kind::Denied | Kind::Address => Right::Close(403),
        };
        let id = format!("{id}{}", letter(index));
        rows.push(through(
            PROXY,
            &id,
            format!("CONNECT `{shown}`"),
            connect,
            format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n"),
            "CONNECT api.example.com:443 HTTP/1.1\r\n\r\n",
        ));
        let url = match kind {
            Kind::Malformed => Right::Close(400),
            Kind::Denied | Kind::Address => Right::Status(403),
        };
        rows.push(through(
            PROXY,
            &format!("{id}-url"),
            format!("GET `http://{shown}/`"),
            url,
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            "GET http://plain.example.com/ HTTP/1.1\r\nHost: plain.example.com\r\n\r\n",
        ));
        if host.contains("\r\n") {
            continue; // as a header this is two
        }
        let inside = match kind {
            Kind::Malformed => Right::Malformed,
            Kind::Denied => Right::Close(421),
            Kind::Address => Right::Either(403, 421),
        };
        rows.push(ask(
            &format!("{id}-host"),
            format!("Host `{shown}` inside TLS"),
            inside,
            "b.example.com",
            Ask::get("/").authority(host),
            Ask::get("/"),
        ));
    }
    rows
}

fn ports() -> Vec<Row> {
    let mut rows = Vec::new();
    let twin = "CONNECT api.example.com:443 HTTP/1.1\r\n\r\n";
    for (index, port) in [
        "0443",
        "+443",
        "443 ",
        "443:80",
        "65536",
        "-1",
        "",
        "４４３",
        "443a",
        "0x1bb",
        "4_43",
        "99999999999999999999",
        "443/",
        "443\0",
        "0",
    ]
    .iter()
    .enumerate()
    {
        let id = format!("022{}", letter(index));
        let what = format!("CONNECT to port `{}`", port.escape_default());
        let attack = format!("CONNECT api.example.com:{port} HTTP/1.1\r\n\r\n");
        rows.push(through(PROXY, &id, what, Right::Close(400), attack, twin));
        let what = format!("Host with port `{}`", port.escape_default());
        let attack = Ask::get("/").authority(&format!("{{H}}:{port}"));
        rows.push(ask(&format!("{id}-host"), what, Right::Malformed, "b.example.com", attack, Ask::get("/")));
    }
    for (index, port) in ["8443", "80", "22", "1"].iter().enumerate() {
        let id = format!("024{}", letter(index));
        let attack = Ask::get("/").authority(&format!("{{H}}:{port}"));
        let what = format!("Host with port {port} inside a tunnel to 443");
        rows.push(ask(&id, what, Right::Close(421), "api.example.com", attack, Ask::get("/").authority("{H}:443")));
    }
    for (index, port) in ["22", "80", "8443", "1", "65535"].iter().enumerate() {
        let id = format!("025{}", letter(index));
        let attack = format!("CONNECT api.example.com:{port} HTTP/1.1\r\n\r\n");
        rows.push(through(PROXY, &id, format!("CONNECT to port {port}"), Right::Close(403), attack, twin));
    }
    rows
}

fn allowed() -> Vec<Row> {
    vec![
        scene("001", "a name in other case", "one name everywhere", |stage| async move {
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.https("api.example.com").await;
            assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: API.Example.COM:443\r\n\r\n").await.status, 200);
            let mut tunnel = sandbox.proxy().await;
            assert_eq!(tunnel.ask("CONNECT API.Example.COM:443 HTTP/1.1\r\n\r\n").await.status, 200);
            let stream = sandbox.handshake(tunnel.stream, "API.example.com", "").await.unwrap();
            let reply = crate::wire::Wire::new(stream).ask("GET / HTTP/1.1\r\nHost: api.EXAMPLE.com\r\n\r\n").await;
            assert_eq!(reply.status, 200);
            for seen in stage.upstream.seen() {
                assert_eq!(seen.header("host"), Some("api.example.com"));
            }
            for _ in 0..2 {
                assert_eq!(sandbox.event().await.unwrap().host.as_deref(), Some("api.example.com"));
            }
            "one name everywhere".into()
        }),
        scene("008y", "any depth under `**.`", "allowed", |stage| async move {
            let sandbox = stage.sandbox();
            let host = "a.b.deep.example.com";
            let mut wire = sandbox.https(host).await;
            assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.status, 200);
            "allowed".into()
        }),
        scene("017", "a rule in Unicode, a request in ASCII", "allowed; shown as A-label", |stage| async move {
            let sandbox = stage.sandbox();
            let host = "xn--bcher-kva.example";
            let mut wire = sandbox.https(host).await;
            assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.status, 200);
            assert_eq!("bücher.example".parse::<HostPattern>().unwrap().to_string(), host);
            "allowed; shown as A-label".into()
        }),
        scene("004y", "an empty host", "400, 400", |stage| async move {
            let sandbox = stage.sandbox();
            let one = sandbox.proxy().await.ask("CONNECT :443 HTTP/1.1\r\n\r\n").await;
            let two = sandbox.proxy().await.ask("GET http:/// HTTP/1.1\r\nHost:\r\n\r\n").await;
            format!("{}, {}", one.status, two.status)
        }),
    ]
}
