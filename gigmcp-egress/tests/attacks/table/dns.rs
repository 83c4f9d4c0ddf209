//! Names as questions, and what resolvers answer: rows 36 and 41 to 58.

use std::io;
use std::net::Ipv4Addr;

use gigmcp_egress::Limits;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::framing::letter;
use crate::row::{Row, scene};
use crate::stage::{Stage, fault_of, question};

const GET: &str = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

pub(crate) fn rows() -> Vec<Row> {
    [questions(), addresses(), pins()].into_iter().flatten().collect()
}

fn questions() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, name) in [
        "secret-data.evil.test",
        "evilapi.example.com",
        "a.b.cdn.example.com",
        "api.example.com.evil.test",
        "cdn.example.com",
        "_x.cdn.example.com",
        "127.0.0.1",
        "1.0.0.127.in-addr.arpa",
        "localhost",
        "metadata.google.internal",
        "xn--pi-7kc.example.com",
        "wpad.example.com",
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(scene(
            &format!("045{}", letter(index)),
            format!("a question for {name}"),
            "NXDOMAIN",
            move |stage| async move {
                let mut sandbox = stage.sandbox();
                let before = stage.touched();
                assert_eq!(sandbox.resolve(name).await, Err(ResponseCode::NXDomain));
                assert_eq!(stage.touched(), before, "no packet left");
                let event = sandbox.event().await.unwrap();
                assert_eq!((event.verdict.code(), fault_of(&event)), ("dns-denied", None));
                assert!(sandbox.close().await.is_empty(), "one event");
                assert!(stage.sandbox().resolve("x.cdn.example.com").await.is_ok(), "twin");
                "NXDOMAIN".into()
            },
        ));
    }
    for (index, kind) in [
        RecordType::TXT,
        RecordType::NULL,
        RecordType::ANY,
        RecordType::SRV,
        RecordType::AXFR,
        RecordType::IXFR,
        RecordType::MX,
        RecordType::CNAME,
        RecordType::NS,
        RecordType::SOA,
        RecordType::PTR,
        RecordType::HTTPS,
        RecordType::SVCB,
        RecordType::AAAA,
        RecordType::NAPTR,
        RecordType::CAA,
        RecordType::Unknown(65280),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(scene(
            &format!("046{}", letter(index)),
            format!("a question of type {kind} for an allowed name"),
            "no data",
            move |stage| async move {
                let mut sandbox = stage.sandbox();
                let before = stage.touched();
                let answer = sandbox.ask("api.example.com", kind).await;
                assert!(answer.answers.is_empty() && answer.additionals.is_empty() && answer.authorities.is_empty());
                let code = answer.metadata.response_code;
                assert!([ResponseCode::NoError, ResponseCode::Refused, ResponseCode::NotImp].contains(&code), "{code}");
                assert_eq!(stage.touched(), before, "no packet left");
                assert!(sandbox.resolve("api.example.com").await.is_ok(), "twin");
                sandbox.close().await;
                "no data".into()
            },
        ));
    }
    rows.extend(malformed_questions());
    rows.push(scene("048a", "names without end under a wildcard", "REFUSED past the limit", |_| async {
        let stage = Stage::with(|limits| limits.dns_wildcard_names = 3).await;
        let mut sandbox = stage.sandbox();
        for name in ["a", "b", "c"] {
            assert!(sandbox.resolve(&format!("{name}.cdn.example.com")).await.is_ok());
        }
        assert_eq!(sandbox.resolve("d.cdn.example.com").await, Err(ResponseCode::Refused));
        assert_eq!(
            sandbox.resolve("e.deep.example.com").await,
            Err(ResponseCode::Refused),
            "one limit for all wildcards"
        );
        assert!(sandbox.resolve("b.example.com").await.is_ok(), "a listed name is not crowded out");
        assert_eq!(stage.touched().resolved, 0, "no packet left");
        let left = sandbox.close().await;
        assert!(left.iter().all(|event| event.verdict.code() == "dns-name-limit") && left.len() == 2);
        assert!(stage.sandbox().resolve("d.cdn.example.com").await.is_ok(), "twin: another sandbox");
        "REFUSED past the limit".into()
    }));
    rows.push(scene("048b", "questions without end", "dropped past the rate", |_| async {
        let stage = Stage::with(|limits| limits.dns_questions_per_second = 5).await;
        let sandbox = stage.sandbox();
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(("127.8.8.8", sandbox.ports.dns_udp)).await.unwrap();
        for _ in 0..200 {
            socket.send(&question("api.example.com", RecordType::A)).await.unwrap();
        }
        // Another sandbox is answered; by then what is answered of the first has been.
        assert!(stage.sandbox().resolve("api.example.com").await.is_ok(), "twin");
        crate::wire::settle().await;
        let mut answered = 0;
        while socket.try_recv(&mut [0; 512]).is_ok() {
            answered += 1;
        }
        assert!((1..=20).contains(&answered), "{answered} of 200 answered");
        "dropped past the rate".into()
    }));
    rows.push(scene(
        "049",
        "the DNS of others, mDNS, LLMNR, NetBIOS, DoT, DoQ",
        "answered by us or nobody",
        |stage| async move {
            let sandbox = stage.sandbox();
            // In a sandbox every address is ours: the question below went to 127.8.8.8. Other ports have no socket.
            assert!(sandbox.resolve("api.example.com").await.is_ok());
            let sockets = [sandbox.ports.https, sandbox.ports.http, sandbox.ports.proxy, sandbox.ports.dns_tcp];
            assert_eq!(sockets.len(), 4, "and TCP sockets are only these");
            "answered by us or nobody".into()
        },
    ));
    rows
}

/// Packets that are no question: dropped or answered with an error, and the next one is answered.
fn malformed_questions() -> Vec<Row> {
    let good = question("api.example.com", RecordType::A);
    let edited = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        packet
    };
    let packets: Vec<(&str, Vec<u8>)> = vec![
        ("an empty packet", Vec::new()),
        ("a byte", vec![0]),
        ("half a head", good[..6].to_vec()),
        ("a head without its question", good[..12].to_vec()),
        ("a cut name", good[..20].to_vec()),
        ("an answer instead of a question", edited(2, good[2] | 0x80)),
        ("two questions", edited(5, 2)),
        ("no question", edited(5, 0)),
        ("65535 questions", {
            let mut packet = good.clone();
            packet[4] = 255;
            packet[5] = 255;
            packet
        }),
        ("an update", edited(2, 0x28)),
        ("a notification", edited(2, 0x20)),
        ("a name that points to itself", [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat()),
        ("a name that points ahead", [&good[..12], &[0xc0, 200, 0, 1, 0, 1]].concat()),
        ("a label longer than 63", [&good[..12], &[64], &[b'a'; 64], &[0, 0, 1, 0, 1]].concat()),
        (
            "a name longer than 255",
            [&good[..12], [&[60][..], &[b'a'; 60]].concat().repeat(5).as_slice(), &[0, 0, 1, 0, 1]].concat(),
        ),
        ("a class other than IN", edited(good.len() - 1, 3)),
        ("a name with a NUL", [&good[..12], b"\x03a\0b\x03cdn\x07example\x03com\0", &[0, 1, 0, 1]].concat()),
        ("a name with a dot in a label", [&good[..12], b"\x03a.b\x03cdn\x07example\x03com\0", &[0, 1, 0, 1]].concat()),
        (
            "a name with bytes above 127",
            [&good[..12], b"\x02\xc3\xbc\x03cdn\x07example\x03com\0", &[0, 1, 0, 1]].concat(),
        ),
    ];
    let mut rows = Vec::new();
    for (index, (what, packet)) in packets.into_iter().enumerate() {
        rows.push(scene(&format!("047{}", letter(index)), what, "no address", move |stage| {
            let packet = packet.clone();
            async move {
                let mut sandbox = stage.sandbox();
                let before = stage.touched();
                let answer = sandbox.ask_raw(&packet).await;
                let message = answer.and_then(|answer| hickory_proto::op::Message::from_vec(&answer).ok());
                let answers = message.map(|message| message.answers.len()).unwrap_or_default();
                assert_eq!(stage.touched(), before);
                assert!(sandbox.resolve("api.example.com").await.is_ok(), "the next question is answered");
                let left = sandbox.close().await;
                assert!(left.len() <= 1 && left.iter().all(|event| fault_of(event).is_none()), "{left:?}");
                if answers == 0 { "no address".into() } else { format!("{answers} addresses") }
            }
        }));
    }
    rows
}

fn addresses() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (id, addresses, right)) in [
        ("036", &["127.0.0.1"][..], "403 address-class"),
        ("036", &["10.0.0.1"], "403 address-class"),
        ("036", &["192.168.1.1"], "403 address-class"),
        ("036", &["172.16.0.1"], "403 address-class"),
        ("036", &["100.64.0.1"], "403 address-class"),
        ("036", &["0.0.0.0"], "403 address-class"),
        ("036", &["255.255.255.255"], "403 address-class"),
        ("036", &["224.0.0.1"], "403 address-class"),
        ("036", &["198.18.0.1"], "403 address-class"),
        ("036", &["192.0.2.1"], "403 address-class"),
        ("036", &["240.0.0.1"], "403 address-class"),
        ("036", &["::1"], "403 address-class"),
        ("036", &["::"], "403 address-class"),
        ("036", &["fe80::1"], "403 address-class"),
        ("036", &["fc00::1"], "403 address-class"),
        ("036", &["ff02::1"], "403 address-class"),
        ("036", &["2001:db8::1"], "403 address-class"),
        ("028", &["::ffff:127.0.0.1"], "403 address-class"),
        ("028", &["::127.0.0.1"], "403 address-class"),
        ("028", &["::ffff:10.0.0.1"], "403 address-class"),
        ("032", &["2002:7f00:1::"], "403 address-class"),
        ("032", &["2002:a00:1::"], "403 address-class"),
        ("032", &["2001:0:7f00:1::"], "403 address-class"),
        ("032", &["64:ff9b::127.0.0.1"], "403 address-class"),
        ("032", &["64:ff9b::10.0.0.1"], "403 address-class"),
        ("032", &["64:ff9b:1::7f00:1"], "403 address-class"),
        ("032", &["::ffff:0:127.0.0.1"], "403 address-class"),
        ("032", &["fe80::5efe:10.0.0.1"], "403 address-class"),
        ("032", &["2606:2800::5efe:10.0.0.1"], "403 address-class"),
        ("034", &["169.254.169.254"], "403 metadata-address"),
        ("034", &["169.254.170.2"], "403 metadata-address"),
        ("034", &["169.254.170.23"], "403 metadata-address"),
        ("034", &["100.100.100.200"], "403 metadata-address"),
        ("034", &["192.0.0.192"], "403 metadata-address"),
        ("034", &["168.63.129.16"], "403 metadata-address"),
        ("034", &["fd00:ec2::254"], "403 metadata-address"),
        ("034", &["fd00:ec2::23"], "403 metadata-address"),
        ("034", &["::ffff:169.254.169.254"], "403 metadata-address"),
        ("034", &["64:ff9b::a9fe:a9fe"], "403 metadata-address"),
        ("034", &["2002:a9fe:a9fe::"], "403 metadata-address"),
        ("042", &["93.184.216.34", "10.0.0.1"], "403 address-class"),
        ("042", &["10.0.0.1", "93.184.216.34"], "403 address-class"),
        ("044", &["93.184.216.34", "169.254.169.254"], "403 metadata-address"),
        ("057", &[], "502 dns"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("{id}{}-dns", letter(index));
        rows.push(scene(
            &id,
            format!("an allowed name with the addresses {addresses:?}"),
            right,
            move |stage| async move {
                let mut sandbox = stage.sandbox();
                stage.backstage.resolves("api.example.com", addresses);
                let before = stage.touched();
                let mut wire = sandbox.https("api.example.com").await;
                let with_key =
                    GET.replace("\r\n\r\n", &format!("\r\nAuthorization: Bearer {}\r\n\r\n", sandbox.placeholder));
                let reply = wire.ask(with_key).await;
                assert_eq!(stage.touched().dialled, before.dialled, "nothing was dialled");
                let event = sandbox.event().await.unwrap();
                assert_eq!(Some(event.verdict.code()), reply.code());
                stage.backstage.resolves("api.example.com", &["93.184.216.34", "2606:2800:220:1::1"]);
                assert_eq!(wire.ask(GET).await.status, 200, "twin");
                assert_eq!(sandbox.event().await.unwrap().verdict.code(), "allowed");
                drop(wire);
                assert!(sandbox.close().await.is_empty(), "one event");
                format!("{} {}", reply.status, reply.code().unwrap_or_default())
            },
        ));
    }
    rows.push(scene(
        "041",
        "a second answer leads inside (rebinding)",
        "the address that was checked is dialled",
        |stage| async move {
            let sandbox = stage.sandbox();
            stage.backstage.resolves_in_turn("api.example.com", &[Ok(&["93.184.216.35"]), Ok(&["127.0.0.1"])]);
            let mut wire = sandbox.https("api.example.com").await;
            for _ in 0..3 {
                assert_eq!(wire.ask(GET).await.status, 200, "the connection that was checked is used again");
            }
            assert_eq!(stage.backstage.dialled().last().unwrap().to_string(), "93.184.216.35");
            let other = stage.sandbox();
            let reply = other.https("api.example.com").await.ask(GET).await;
            assert_eq!(reply.code(), Some("address-class"), "a new connection asks again");
            stage.backstage.resolves("api.example.com", &["93.184.216.34"]);
            "the address that was checked is dialled".into()
        },
    ));
    rows.push(scene("056", "500 addresses", "at most four dialled", |stage| async move {
        let sandbox = stage.sandbox();
        let many: Vec<_> = (0..500).map(|n| format!("93.184.{}.{}", 100 + n / 250, n % 250)).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        stage.backstage.resolves("api.example.com", &many);
        // Nobody listens there, nor will another test.
        let nobody = tokio::net::TcpSocket::new_v4().unwrap();
        nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
        for address in &many {
            stage.backstage.route(address, nobody.local_addr().unwrap());
        }
        let before = stage.touched();
        let reply = sandbox.https("api.example.com").await.ask(GET).await;
        assert_eq!(reply.code(), Some("upstream-connect"));
        let dialled = (stage.touched() - before).dialled;
        stage.backstage.resolves("api.example.com", &["93.184.216.34"]);
        assert_eq!(sandbox.https("api.example.com").await.ask(GET).await.status, 200, "twin");
        format!("at most {} dialled", if dialled == 4 { "four" } else { "other" })
    }));
    rows.push(scene("057y", "a resolver that fails, after it has answered", "502 dns", |stage| async move {
        let mut sandbox = stage.sandbox();
        stage.backstage.resolves_in_turn("b.example.com", &[Ok(&["93.184.216.34"]), Err(io::ErrorKind::TimedOut)]);
        let get = GET.replace("api", "b");
        let close = get.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        assert_eq!(sandbox.https("b.example.com").await.ask(&close).await.status, 200, "twin");
        // A sandbox of its own has no connection left from before.
        let reply = stage.sandbox().https("b.example.com").await.ask(&get).await;
        stage.backstage.resolves("b.example.com", &["93.184.216.34"]);
        sandbox.close().await;
        format!("{} {}", reply.status, reply.code().unwrap_or_default())
    }));
    rows.push(scene(
        "058",
        "a rule is removed while an answer is cached",
        "the next connection is refused",
        |stage| async move {
            let mut sandbox = stage.sandbox();
            let address = sandbox.resolve("api.example.com").await.unwrap();
            stage.grant(&sandbox.identity, &sandbox.placeholder, |plan| plan.rules.clear());
            let before = stage.touched();
            let stream = sandbox.connect(address, sandbox.ports.https).await;
            assert!(sandbox.handshake(stream, "api.example.com", "").await.is_err());
            assert_eq!(stage.touched(), before);
            assert_eq!(sandbox.event().await.unwrap().verdict.code(), "host-denied");
            assert_eq!(sandbox.resolve("x.cdn.example.com").await, Err(ResponseCode::NXDomain));
            "the next connection is refused".into()
        },
    ));
    rows
}

fn pins() -> Vec<Row> {
    vec![
        scene(
            "052",
            "the address that stands for a name in another sandbox",
            "closed, unknown-address",
            |stage| async move {
                let (one, mut two) = (stage.sandbox(), stage.sandbox());
                for name in ["api.example.com", "x.cdn.example.com", "y.cdn.example.com"] {
                    one.resolve(name).await.unwrap();
                }
                let foreign = one.resolve("y.cdn.example.com").await.unwrap();
                assert!(two.resolve("api.example.com").await.is_ok());
                let mut stream = two.connect(foreign, two.ports.https).await;
                assert!(crate::wire::read_to_end(&mut stream).await.is_empty());
                let event = two.event().await.unwrap();
                assert!(two.close().await.is_empty());
                format!("closed, {}", event.verdict.code())
            },
        ),
        scene(
            "053",
            "TLS for another allowed name than the address stands for",
            "refused, sni-mismatch",
            |stage| async move {
                let mut sandbox = stage.sandbox();
                let before = stage.touched();
                let stream = sandbox.tcp("api.example.com").await;
                assert!(sandbox.handshake(stream, "b.example.com", "").await.is_err());
                assert_eq!(stage.touched(), before);
                let code = sandbox.event().await.unwrap().verdict.code();
                assert_eq!(sandbox.https("b.example.com").await.ask(GET.replace("api", "b")).await.status, 200, "twin");
                format!("refused, {code}")
            },
        ),
        scene("054", "an address that stands for no name", "closed, unknown-address", |stage| async move {
            let mut sandbox = stage.sandbox();
            for port in [sandbox.ports.https, sandbox.ports.http] {
                let mut stream = sandbox.connect(Ipv4Addr::new(127, 9, 9, 9), port).await;
                assert!(crate::wire::read_to_end(&mut stream).await.is_empty());
                assert_eq!(sandbox.event().await.unwrap().verdict.code(), "unknown-address");
            }
            assert!(sandbox.close().await.is_empty());
            "closed, unknown-address".into()
        }),
        scene("050", "DNS over HTTPS through an allowed host", "refused", |stage| async move {
            let sandbox = stage.sandbox();
            let mut wire = sandbox.https("b.example.com").await;
            let before = stage.touched();
            let head = "POST /dns-query HTTP/1.1\r\nHost: b.example.com\r\n";
            let body = question("secret-data.evil.test", RecordType::A);
            let message =
                format!("{head}Content-Type: application/dns-message\r\nContent-Length: {}\r\n\r\n", body.len());
            let reply = wire.ask([message.as_bytes(), &body].concat()).await;
            assert_eq!((reply.status, stage.touched()), (403, before), "{}", reply.head);
            let get =
                "GET /dns-query?dns=AAAB HTTP/1.1\r\nHost: b.example.com\r\nAccept: application/dns-message\r\n\r\n";
            assert_eq!(sandbox.https("b.example.com").await.ask(get).await.status, 403);
            let mut wire = sandbox.https("b.example.com").await;
            assert_eq!(
                wire.ask(message.replace("dns-message", "json").replace("POST", "PUT") + &"x".repeat(body.len()))
                    .await
                    .status,
                200,
                "twin"
            );
            "refused".into()
        }),
        scene("055", "a DNS answer names no address that is dialled", "in the pool", |stage| async move {
            let sandbox = stage.sandbox();
            let address = sandbox.resolve("api.example.com").await.unwrap();
            assert!(address.octets().starts_with(&[127, 64]));
            assert!(Limits::default().dns_pool.to_string().starts_with("28."), "and by default not a private one");
            "in the pool".into()
        }),
    ]
}
