use super::*;

fn limits() -> Limits {
    Limits::default()
}

/// The outcome of whole bytes; checks that it is the same however they are cut.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let whole = Head::parse(bytes, &limits());
    let mut scan = Head::scan(&limits());
    let ends = (0..=bytes.len()).map(|end| scan.end(&bytes[..end]));
    let first = ends.into_iter().find(|end| *end != Ok(None)).unwrap_or(Ok(None));
    let piecewise = match first {
        Ok(Some(end)) => Head::read(Bytes::copy_from_slice(&bytes[..end]), &limits()).map(|head| Some((head, end))),
        Ok(None) => Ok(None),
        Err(refusal) => Err(refusal),
    };
    assert_eq!(piecewise, whole, "byte by byte: {:?}", String::from_utf8_lossy(bytes));
    whole
}

fn refused(bytes: impl AsRef<[u8]>) -> Option<Refusal> {
    parse(bytes.as_ref()).err()
}

/// The head in canonical form.
fn written(head: &Head) -> Vec<u8> {
    let mut text = format!("{} {} {:?}\r\n", head.method, head.target, head.version).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}

#[test]
fn a_head_is_read_up_to_its_last_byte() {
    let bytes = b"POST /v1/x?y=1 HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 5\r\n\r\nhello";
    let (head, end) = parse(bytes).expect("accepted").expect("whole");
    assert_eq!(&bytes[end..], b"hello");
    assert_eq!((head.method.as_str(), head.target.to_string().as_str()), ("POST", "/v1/x?y=1"));
    assert_eq!(head.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"], "G15");
    assert_eq!((head.version, head.length), (Version::HTTP_11, BodyLength::Known(5)));
    assert_eq!(parse(&bytes[..end - 1]), Ok(None));
}

#[test]
fn a_request_line_is_method_target_version() {
    use Refusal::{Malformed, TargetNotCanonical};
    for (case, line, expected) in [
        ("plain", "GET / HTTP/1.1", None),
        ("HTTP/1.0", "GET / HTTP/1.0", None),
        ("whole URL", "GET http://a.test/x HTTP/1.1", None),
        ("lower case is for the layer to judge", "get / HTTP/1.1", None),
        ("two slashes are for the layer to judge", "GET //a HTTP/1.1", None),
        ("no version", "GET /", Some(Malformed)),
        ("nothing but a method", "GET", Some(Malformed)),
        ("other version", "GET / HTTP/2.0", Some(Malformed)),
        ("older version", "GET / HTTP/0.9", Some(Malformed)),
        ("lower-case version", "GET / http/1.1", Some(Malformed)),
        ("longer version", "GET / HTTP/1.10", Some(Malformed)),
        ("blank behind", "GET / HTTP/1.1 ", Some(Malformed)),
        ("blank before", " GET / HTTP/1.1", Some(Malformed)),
        ("tab between", "GET\t/ HTTP/1.1", Some(Malformed)),
        ("method that is no token", "G(T / HTTP/1.1", Some(Malformed)),
        ("EGR-098 HTTP/2 without being asked", "PRI * HTTP/2.0", Some(Malformed)),
        ("two blanks", "GET  / HTTP/1.1", Some(TargetNotCanonical)),
        ("no target", "GET  HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-126 star", "OPTIONS * HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-126 authority", "GET a.test:443 HTTP/1.1", Some(TargetNotCanonical)),
        ("without slash", "GET x HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-080 no host", "GET file:///etc/passwd HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-125 no scheme", "GET ://a.test/x HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 fragment", "GET /#frag HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 fragment of a URL", "GET http://a.test/#frag HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 raw UTF-8", "GET /é HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 blank", "GET /a b HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 quote", "GET /\" HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 bracket", "GET /< HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 bracket", "GET /> HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 caret", "GET /^ HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 backtick", "GET /` HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 brace", "GET /{ HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 brace", "GET /} HTTP/1.1", Some(TargetNotCanonical)),
        ("EGR-138 pipe", "GET /| HTTP/1.1", Some(TargetNotCanonical)),
        ("backslash", "GET /\\ HTTP/1.1", Some(TargetNotCanonical)),
        ("a quote in the query", "GET /?a=\" HTTP/1.1", Some(TargetNotCanonical)),
        ("what a rule may allow in the query", "GET /?a={b|c}^`d HTTP/1.1", None),
        ("EGR-016 raw UTF-8 in CONNECT", "CONNECT bücher.example:443 HTTP/1.1", Some(Refusal::HostNotCanonical)),
        ("EGR-014 blank in CONNECT", "CONNECT a.test :443 HTTP/1.1", Some(Refusal::HostNotCanonical)),
    ] {
        assert_eq!(refused(format!("{line}\r\nHost: a.test\r\n\r\n")), expected, "{case}: {line:?}");
    }
}

#[test]
fn the_length_is_told_once_and_plainly() {
    use Refusal::{Framing, Header, HostNotCanonical, TransferCoding};
    for (case, fields, expected) in [
        ("none", "", Ok(BodyLength::Known(0))),
        ("length", "Content-Length: 5", Ok(BodyLength::Known(5))),
        ("G5 zero", "Content-Length: 0", Ok(BodyLength::Known(0))),
        ("chunked", "Transfer-Encoding: chunked", Ok(BodyLength::Chunked)),
        ("chunked in another case", "transfer-encoding: Chunked", Ok(BodyLength::Chunked)),
        ("EGR-112 two lengths", "Content-Length: 5\r\nContent-Length: 6", Err(Framing)),
        ("EGR-112 two equal lengths", "Content-Length: 5\r\nContent-Length: 5", Err(Framing)),
        ("EGR-112 list", "Content-Length: 5, 5", Err(Framing)),
        ("EGR-113 plus", "Content-Length: +5", Err(Framing)),
        ("EGR-113 minus", "Content-Length: -0", Err(Framing)),
        ("EGR-113 hexadecimal", "Content-Length: 0x5", Err(Framing)),
        ("EGR-113 leading zero", "Content-Length: 05", Err(Framing)),
        ("EGR-113 blank behind", "Content-Length: 5 ", Err(Framing)),
        ("EGR-113 full width", "Content-Length: ５", Err(Framing)),
        ("EGR-113 semicolon", "Content-Length: 5;", Err(Framing)),
        ("EGR-113 too large", "Content-Length: 18446744073709551616", Err(Framing)),
        ("EGR-113 empty", "Content-Length:", Err(Framing)),
        ("both", "Content-Length: 5\r\nTransfer-Encoding: chunked", Err(Framing)),
        ("both, the other way round", "Transfer-Encoding: chunked\r\nContent-Length: 5", Err(Framing)),
        ("EGR-114 twice in a list", "Transfer-Encoding: chunked, chunked", Err(Framing)),
        ("EGR-114 twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Err(Framing)),
        ("EGR-114 real coding before", "Transfer-Encoding: gzip, chunked", Err(TransferCoding)),
        ("EGR-114 real coding", "Transfer-Encoding: deflate", Err(TransferCoding)),
        ("EGR-114 identity", "Transfer-Encoding: identity", Err(TransferCoding)),
        ("EGR-114 unknown", "Transfer-Encoding: xchunked", Err(Framing)),
        ("EGR-114 parameter", "Transfer-Encoding: chunked;q=1", Err(Framing)),
        ("EGR-114 quoted", "Transfer-Encoding: \"chunked\"", Err(Framing)),
        ("EGR-114 vertical tab", "Transfer-Encoding: chunked\x0b", Err(Refusal::Malformed)),
        ("EGR-114 tab behind", "Transfer-Encoding: chunked\t", Err(Framing)),
        ("empty coding", "Transfer-Encoding:", Err(Framing)),
        ("EGR-116 blank before the colon", "Transfer-Encoding : chunked", Err(Header)),
        ("EGR-116 tab in the name", "Transfer\t-Encoding: chunked", Err(Header)),
        ("EGR-116 blank before the name", " Transfer-Encoding: chunked", Err(Header)),
        ("EGR-117 continuation", "X: a\r\n b", Err(Header)),
        ("EGR-124 second host", "Host: a.test", Err(HostNotCanonical)),
    ] {
        // The first field is the host, so a blank in front continues it.
        let read = parse(
            format!("POST / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n")
                .replace("\r\n\r\n\r\n", "\r\n\r\n")
                .as_bytes(),
        );
        assert_eq!(read.map(|head| head.expect("whole").0.length), expected, "{case}: {fields:?}");
    }
    let chunked = refused("POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(chunked, Some(Framing), "HTTP/1.0 knows no chunks");
    for (case, fields) in [("EGR-124 no host", "X: y\r\n"), ("EGR-124 empty host", "Host:\r\n")] {
        assert_eq!(refused(format!("GET / HTTP/1.1\r\n{fields}\r\n")), Some(HostNotCanonical), "{case}");
    }
    assert_eq!(refused("CONNECT a.test:443 HTTP/1.1\r\n\r\n"), None, "its target is a host already");
}

#[test]
fn a_head_is_bounded() {
    let limits = limits();
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(length - 1));
    let fields = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "A: b\r\n".repeat(fields - 1));
    let bytes = |length: usize| {
        let rest = "GET / HTTP/1.1\r\nHost: a.test\r\nA: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a.test\r\nA: {}\r\n\r\n", "b".repeat(length - rest))
    };
    for (case, head, expected) in [
        ("the longest target", target(limits.target_bytes), None),
        ("EGR-140 one byte more", target(limits.target_bytes + 1), Some(Refusal::TargetTooLong)),
        ("a target as long as a head may be", target(limits.head_bytes), Some(Refusal::TargetTooLong)),
        ("the most fields", fields(limits.header_fields), None),
        ("one more", fields(limits.header_fields + 1), Some(Refusal::HeadTooLarge)),
        ("the longest head", bytes(limits.head_bytes), None),
        ("one byte more", bytes(limits.head_bytes + 1), Some(Refusal::HeadTooLarge)),
        ("EGR-128 a megabyte of empty lines", "\r\n".repeat(1 << 19), Some(Refusal::Malformed)),
    ] {
        assert_eq!(Head::parse(head.as_bytes(), &limits).err(), expected, "{case}");
    }
}

#[test]
fn what_is_accepted_is_read_the_same_again() {
    let seeds: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"\r\nPOST /a?b=c HTTP/1.1\r\nhost:a.test:443\r\nX-A: \tb c\t\r\nx-a: d\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
        b"CONNECT a.test:443 HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
        b"GET http://a.test:80 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 12\r\nConnection: close\r\n\r\n",
    ];
    let interesting = b"\r\n\t :,/\0 \x7f\xc3\xa9#*[@5aHx-_;HTTP/1.1chunked";
    let (mut state, mut accepted) = (0x2545_f491_4f6c_dd1d_u64, 0);
    // xorshift: the same cases in every run.
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut bytes = seeds[random(seeds.len())].to_vec();
        for _ in 0..random(4) {
            let (at, byte) = (random(bytes.len()), interesting[random(interesting.len())]);
            match random(3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        if let Ok(Some((head, end))) = parse(&bytes) {
            accepted += 1;
            let again = written(&head);
            let read = Head::parse(&again, &limits()).expect("canonical form is accepted").expect("whole");
            assert_eq!(read, (head.clone(), again.len()), "{:?}", String::from_utf8_lossy(&bytes));
            assert_eq!(written(&read.0), again);
            let rest = [&again[..], &bytes[end..]].concat();
            assert_eq!(Head::parse(&rest, &limits()), Ok(Some((head, again.len()))), "what follows is not looked at");
        }
    }
    assert!(accepted > 4000, "the law was tried on {accepted}");
}

#[test]
fn a_connection_lives_on_unless_a_client_says_otherwise() {
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: te, Close\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n", true),
    ] {
        let (head, _) = parse(head.as_bytes()).expect("accepted").expect("whole");
        assert_eq!(head.is_last(), expected, "{head:?}");
    }
}
