//! Where one request ends and the next begins: rows 112 to 140.

use crate::row::{Right, Row, bytes, scene};

/// A POST with these header lines, and this after its head.
fn post(lines: &str, rest: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: {{H}}\r\n{lines}\r\n{rest}")
}

fn get(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {{H}}\r\n{lines}\r\n")
}

pub(crate) fn rows() -> Vec<Row> {
    [lengths(), codings(), lines(), chunks(), hosts(), targets(), bodies(), headers()].into_iter().flatten().collect()
}

const CL: &str = "Content-Length: 5\r\n";
const TE: &str = "Transfer-Encoding: chunked\r\n";

fn lengths() -> Vec<Row> {
    let twin = post(CL, "hello");
    let mut rows = Vec::new();
    for (letter, what, lines) in [
        ("a", "two lengths that differ", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("b", "two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n"),
        ("c", "a list of equal lengths", "Content-Length: 5, 5\r\n"),
        ("d", "a list of lengths that differ", "Content-Length: 5, 6\r\n"),
        ("e", "length and chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("f", "chunked and length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        ("g", "a second length behind other headers", "Content-Length: 5\r\nX-A: b\r\nContent-Length: 0\r\n"),
        ("h", "a second length in other case", "Content-Length: 5\r\ncontent-LENGTH: 5\r\n"),
    ] {
        rows.push(bytes(&format!("112{letter}"), what, Right::Close(400), post(lines, "hello"), &twin));
    }
    for (index, value) in [
        "+5",
        "-0",
        "-5",
        "0x5",
        "05",
        "00",
        "5;",
        "5,",
        ",5",
        "5 5",
        "5.0",
        "5e0",
        "18446744073709551616",
        "18446744073709551621",
        "",
        "\u{ff15}",
        "5\t6",
        "5\x0b",
        "five",
        "5\0",
    ]
    .iter()
    .enumerate()
    {
        let id = format!("113{}", letter(index));
        let what = format!("Content-Length `{}`", value.escape_default());
        rows.push(bytes(&id, what, Right::Close(400), post(&format!("Content-Length: {value}\r\n"), "hello"), &twin));
    }
    rows
}

fn codings() -> Vec<Row> {
    let body = "5\r\nhello\r\n0\r\n\r\n";
    let twin = post(TE, body);
    let mut rows = Vec::new();
    for (index, (value, right)) in [
        ("chunked, chunked", 400),
        ("gzip, chunked", 501),
        ("chunked, gzip", 501),
        ("gzip", 501),
        ("deflate", 501),
        ("br", 501),
        ("identity", 501),
        ("identity, chunked", 501),
        ("chunked, identity", 501),
        ("xchunked", 400),
        ("chunkedx", 400),
        ("chunked;q=1", 400),
        ("\"chunked\"", 400),
        ("chunked\x0b", 400),
        ("\x0bchunked", 400),
        ("chunked\0", 400),
        (", chunked", 400),
        ("chunked,", 400),
        ("", 400),
        ("chun ked", 400),
        ("ch\u{fb}nked", 400),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("114{}", letter(index));
        let what = format!("Transfer-Encoding `{}`", value.escape_default());
        let attack = post(&format!("Transfer-Encoding: {value}\r\n"), body);
        // 501 says that a coding is real and not known here; to say that it is malformed is right as well.
        let right = if right == 501 { Right::CloseEither(501, 400) } else { Right::Close(right) };
        rows.push(bytes(&id, what, right, attack, &twin));
    }
    rows.push(bytes(
        "114z",
        "two Transfer-Encoding lines",
        Right::Close(400),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", body),
        &twin,
    ));
    rows.push(bytes(
        "115",
        "chunked in HTTP/1.0",
        Right::Close(400),
        post(TE, body).replace("HTTP/1.1", "HTTP/1.0"),
        &twin,
    ));
    rows
}

fn lines() -> Vec<Row> {
    let twin = post(TE, "5\r\nhello\r\n0\r\n\r\n");
    let length = post(CL, "hello");
    let mut rows = Vec::new();
    for (index, line) in [
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer\x09-Encoding: chunked",
        "Transfer_Encoding: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer-Encoding\0: chunked",
        "Transfer-Encoding",
        ": chunked",
        "Transfer Encoding: chunked",
        "Trans\u{17f}er-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "(Transfer-Encoding): chunked",
        "Transfer-Encoding\x0b: chunked",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("116{}", letter(index));
        let what = format!("a line `{}`", line.escape_default());
        rows.push(bytes(&id, what, Right::Close(400), post(&format!("{line}\r\n"), "5\r\nhello\r\n0\r\n\r\n"), &twin));
    }
    for (index, (what, lines)) in [
        ("a continued line", "X-A: b\r\n c\r\n"),
        ("a line continued by a tab", "X-A: b\r\n\tc\r\n"),
        ("a continued length", "Content-Length:\r\n 5\r\n"),
        ("a blank line with a space", "X-A: b\r\n \r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(bytes(&format!("117{}", letter(index)), what, Right::Close(400), post(lines, "hello"), &length));
    }
    let plain = get("X-A: b\r\n");
    for (index, (what, attack)) in [
        ("bare LF after the request line", plain.replacen("HTTP/1.1\r\n", "HTTP/1.1\n", 1)),
        ("bare LF after a header", plain.replacen("b\r\n", "b\n", 1)),
        ("bare LF at the end of the head", plain.replacen("b\r\n\r\n", "b\r\n\n", 1)),
        ("LF only everywhere", plain.replace("\r\n", "\n")),
        ("bare CR in a value", plain.replacen("X-A: b", "X-A: b\rc", 1)),
        ("bare CR instead of a line end", plain.replacen("X-A: b\r\n", "X-A: b\rX-C: d\r\n", 1)),
        ("CR CR LF after a header", plain.replacen("b\r\n", "b\r\r\n", 1)),
        ("CR CR LF at the end of the head", plain.replacen("b\r\n\r\n", "b\r\n\r\r\n", 1)),
        ("CR before the colon", plain.replacen("X-A:", "X-A\r:", 1)),
        ("LF in a value", plain.replacen("X-A: b", "X-A: b\nc", 1)),
        ("NUL in a value", plain.replacen("X-A: b", "X-A: b\0", 1)),
        ("another control in a value", plain.replacen("X-A: b", "X-A: b\x1b[2J", 1)),
        ("DEL in a value", plain.replacen("X-A: b", "X-A: b\x7f", 1)),
        ("two blanks in the request line", plain.replacen("GET /x", "GET  /x", 1)),
        ("a tab in the request line", plain.replacen("GET /x", "GET\t/x", 1)),
        ("a blank before the method", plain.replacen("GET", " GET", 1)),
        ("a blank after the version", plain.replacen("HTTP/1.1\r\n", "HTTP/1.1 \r\n", 1)),
        ("no version", plain.replacen(" HTTP/1.1", "", 1)),
        ("version 1.2", plain.replacen("HTTP/1.1", "HTTP/1.2", 1)),
        ("version 2.0", plain.replacen("HTTP/1.1", "HTTP/2.0", 1)),
        ("version 1.10", plain.replacen("HTTP/1.1", "HTTP/1.10", 1)),
        ("version in lower case", plain.replacen("HTTP/1.1", "http/1.1", 1)),
        ("version 0.9", plain.replacen("HTTP/1.1", "HTTP/0.9", 1)),
        ("a method with a colon", plain.replacen("GET", "GE:T", 1)),
        ("an empty method", plain.replacen("GET", "", 1)),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(bytes(&format!("118{}", letter(index)), what, Right::Close(400), attack, &plain));
    }
    rows
}

fn chunks() -> Vec<Row> {
    let twin = post(TE, "5\r\nhello\r\n0\r\n\r\n");
    let chunked = |body: &str| post(TE, body);
    let mut rows = Vec::new();
    for (index, size) in [
        "0x5",
        "+5",
        " 5",
        "5 ",
        "",
        "00000000000000005",
        "5_0",
        "-5",
        "5\t",
        "5\0",
        "G",
        "5.",
        "\u{ff15}",
        "fffffffffffffffff",
        "10000000000000005",
        "ffffffffffffffff",
        "fffffffffffffffe",
        "7fffffffffffffff",
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("chunk size `{}`", size.escape_default());
        let attack = chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n"));
        rows.push(bytes(&format!("120{}", letter(index)), what, Right::Close(400), attack, &twin));
    }
    for (index, (what, body)) in [
        ("a chunk extension", "5;a=b\r\nhello\r\n0\r\n\r\n"),
        ("a chunk extension without a value", "5;a\r\nhello\r\n0\r\n\r\n"),
        ("a quoted extension", "5;a=\"b\"\r\nhello\r\n0\r\n\r\n"),
        ("a quoted extension with LF", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"),
        ("a quoted extension with CR LF", "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"),
        ("an extension ended by LF", "5;\nhello\r\n0\r\n\r\n"),
        ("an empty extension", "5;\r\nhello\r\n0\r\n\r\n"),
        ("an extension behind a blank", "5 ;a\r\nhello\r\n0\r\n\r\n"),
        ("an extension of the last chunk", "5\r\nhello\r\n0;a=b\r\n\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(bytes(&format!("121{}", letter(index)), what, Right::Close(400), chunked(body), &twin));
    }
    for (index, (what, body)) in [
        ("no line end after a chunk", "5\r\nhello0\r\n\r\n"),
        ("a byte too many", "5\r\nhello!\r\n0\r\n\r\n"),
        ("LF after a chunk", "5\r\nhello\n0\r\n\r\n"),
        ("CR after a chunk", "5\r\nhello\r0\r\n\r\n"),
        ("two bytes other than a line end", "5\r\nhelloXX0\r\n\r\n"),
        ("LF after a size", "5\nhello\r\n0\r\n\r\n"),
        ("CR after a size", "5\rhello\r\n0\r\n\r\n"),
        ("LF after the last size", "5\r\nhello\r\n0\n\r\n"),
        ("LF at the very end", "5\r\nhello\r\n0\r\n\n"),
        ("CR CR LF after a size", "5\r\r\nhello\r\n0\r\n\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(bytes(&format!("122{}", letter(index)), what, Right::Close(400), chunked(body), &twin));
    }
    for (index, (what, trailer)) in [
        ("a length as trailer", "Content-Length: 5\r\n"),
        ("a host as trailer", "Host: evil.test\r\n"),
        ("a trailer that is no header", "nonsense\r\n"),
        ("a continued trailer", "X-A: b\r\n c\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let attack = chunked(&format!("5\r\nhello\r\n0\r\n{trailer}\r\n"));
        rows.push(bytes(&format!("123{}", letter(index)), what, Right::Close(400), attack, &twin));
    }
    rows.push(scene("123y", "trailers that no rule asks for", "left behind", |stage| async move {
        let sandbox = stage.sandbox();
        for trailer in ["X-A: b", "Authorization: Bearer x", &format!("X-Key: {}", sandbox.placeholder)] {
            let body = format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n");
            let request = post(TE, &body).replace("{H}", "b.example.com");
            let reply = sandbox.https("b.example.com").await.ask(request).await;
            let seen = stage.upstream.seen().pop();
            assert!(seen.iter().all(|seen| seen.body == b"hello" && seen.trailers.is_empty()), "{seen:?}");
            assert!(seen.is_some() || reply.code().is_some(), "{trailer}");
        }
        "left behind".into()
    }));
    rows
}

fn hosts() -> Vec<Row> {
    let twin = get("");
    let with = |hosts: &str| format!("GET /x HTTP/1.1\r\n{hosts}X-A: b\r\n\r\n");
    let mut rows = Vec::new();
    for (index, (what, hosts, right)) in [
        ("no Host", "", 400),
        ("two equal Hosts", "Host: {H}\r\nHost: {H}\r\n", 400),
        ("two Hosts", "Host: {H}\r\nHost: evil.test\r\n", 400),
        ("two Hosts, the other first", "Host: evil.test\r\nHost: {H}\r\n", 400),
        ("an empty Host", "Host:\r\n", 400),
        ("a list of hosts", "Host: {H}, b\r\n", 400),
        ("a Host in a continued line", "X-B: c\r\n Host: {H}\r\n", 400),
        ("a continued Host", "Host:\r\n {H}\r\n", 400),
        ("Host with a blank before the colon", "Host : {H}\r\n", 400),
        ("a Host behind a control", "Host: \x01{H}\r\n", 400),
        ("a Host as URL", "Host: http://{H}\r\n", 400),
        ("a Host with a path", "Host: {H}/x\r\n", 400),
        ("only another host", "Host: evil.test\r\n", 421),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(bytes(&format!("124{}", letter(index)), what, Right::Close(right), with(hosts), &twin));
    }
    rows
}

fn targets() -> Vec<Row> {
    let twin = get("");
    let target = |text: &str| twin.replacen("/x", text, 1);
    let mut rows = vec![
        bytes("125a", "a whole URL with the same host", Right::Close(400), target("http://{H}/x"), &twin),
        bytes("125b", "a whole URL with https and the same host", Right::Close(400), target("https://{H}/x"), &twin),
        bytes(
            "125c",
            "a whole URL with another host",
            Right::CloseEither(421, 400),
            target("http://evil.test/x"),
            &twin,
        ),
        bytes("125d", "a whole URL without a scheme", Right::Close(400), target("://{H}/x"), &twin),
        bytes("126a", "OPTIONS *", Right::Close(400), target("*").replacen("GET", "OPTIONS", 1), &twin),
        bytes("126b", "GET *", Right::Close(400), target("*"), &twin),
        bytes("126c", "authority as target", Right::Close(400), target("{H}:443"), &twin),
        bytes("126d", "no slash", Right::Close(400), target("x"), &twin),
        bytes("126e", "an empty target", Right::Close(400), target(""), &twin),
        bytes("126g", "a query without a path", Right::Close(400), target("?x"), &twin),
        bytes("128a", "two leading line ends", Right::Close(400), format!("\r\n\r\n{twin}"), format!("\r\n{twin}")),
        bytes("128b", "a leading LF", Right::Close(400), format!("\n{twin}"), format!("\r\n{twin}")),
        bytes("128c", "a leading CR", Right::Close(400), format!("\r{twin}"), format!("\r\n{twin}")),
        bytes("128d", "a MiB of line ends", Right::Close(400), "\r\n".repeat(1 << 19), format!("\r\n{twin}")),
        bytes(
            "140a",
            "a target of 16 KiB and one byte",
            Right::Close(414),
            target(&long(16 * 1024 + 1)),
            target(&long(16 * 1024)),
        ),
        bytes("140b", "a target of 60 KiB", Right::Close(414), target(&long(60 * 1024)), &twin),
        bytes(
            "140c",
            "a head of more than 64 KiB",
            Right::CloseEither(431, 400),
            get(&format!("X-A: {}\r\n", "b".repeat(65 * 1024))),
            &twin,
        ),
        bytes("140d", "a target without an end", Right::CloseEither(414, 431), target(&long(512 * 1024)), &twin),
        bytes(
            "140e",
            "101 fields",
            Right::CloseEither(431, 400),
            get(&"X-A: b\r\n".repeat(100)),
            get(&"X-A: b\r\n".repeat(90)),
        ),
        bytes("140f", "ten thousand fields", Right::CloseEither(431, 400), get(&"A: b\r\n".repeat(10_000)), &twin),
    ];
    for (index, text) in [
        "/x#frag",
        "/x#",
        "/\u{e9}",
        "/x y",
        "/x\"y",
        "/x<y",
        "/x>y",
        "/x^y",
        "/x`y",
        "/x{y",
        "/x}y",
        "/x|y",
        "/x\\y",
        "/x\x7f",
        "/x?a=\u{e9}",
        "/x?a=\"",
        "/x?a b",
        "/x\t",
        "/x\0",
        "/x?a\\b",
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("target `{}`", text.escape_default());
        rows.push(bytes(&format!("138{}", letter(index)), what, Right::Close(400), target(text), &twin));
    }
    rows.push(bytes("138z", "a target of bytes that are no UTF-8", Right::Close(400), raw_target(), &twin));
    rows
}

fn raw_target() -> Vec<u8> {
    [b"GET /x".as_slice(), &[0x80, 0xff], b" HTTP/1.1\r\nHost: {H}\r\n\r\n"].concat()
}

fn long(bytes: usize) -> String {
    format!("/{}", "a".repeat(bytes - 1))
}

fn bodies() -> Vec<Row> {
    let twin = get("");
    let mut rows = Vec::new();
    for (index, method) in ["GET", "HEAD", "OPTIONS"].into_iter().enumerate() {
        for (way, lines, body) in [("length", CL, "hello"), ("chunks", TE, "5\r\nhello\r\n0\r\n\r\n")] {
            let id = format!("129{}", letter(index * 2 + usize::from(way == "chunks")));
            let attack = post(lines, body).replacen("POST", method, 1);
            rows.push(bytes(&id, format!("a body on {method} by {way}"), Right::Close(400), attack, &twin));
        }
    }
    let expecting = |value: &str| post(&format!("{CL}Expect: {value}\r\n"), "hello");
    for (index, (what, attack, right)) in [
        ("an unknown expectation", expecting("foo"), 417),
        ("an expectation twice", post(&format!("{CL}Expect: 100-continue\r\nExpect: 100-continue\r\n"), "hello"), 417),
        ("a list of expectations", expecting("100-continue, 100-continue"), 417),
        ("an expectation with a parameter", expecting("100-continue;x"), 417),
        ("an expectation with a control", expecting("100-continue\x0b"), 400),
        (
            "an expectation with a body whose length is ambiguous",
            post("Expect: 100-continue\r\nContent-Length: +5\r\n", "hello"),
            400,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(bytes(&format!("130{}", letter(index)), what, Right::Close(right), attack, post(CL, "hello")));
    }
    rows
}

fn headers() -> Vec<Row> {
    let twin = get("");
    let mut rows = Vec::new();
    for (index, (id, what, lines, right)) in [
        (
            "132",
            "h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            400,
        ),
        ("132", "h2c without its settings", "Connection: Upgrade\r\nUpgrade: h2c\r\n", 400),
        ("132", "h2c without Connection", "Upgrade: h2c\r\n", 400),
        ("132", "HTTP2-Settings alone", "Connection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 400),
        ("135", "Connection removes a credential", "Connection: Authorization\r\n", 400),
        ("135", "Connection removes Host", "Connection: close, Host\r\n", 400),
        ("135", "Connection removes X-Forwarded-For", "Connection: X-Forwarded-For\r\n", 400),
        ("135", "Connection with a list in quotes", "Connection: \"close\"\r\n", 400),
        ("135", "Connection that is no list of tokens", "Connection: close;x\r\n", 400),
        ("136", "Content_Length", "Content_Length: 5\r\n", 400),
        ("136", "X-Auth beside X_Auth", "X-Auth: a\r\nX_Auth: b\r\n", 400),
        ("136", "X_Auth beside X-Auth", "X_Auth: a\r\nX-Auth: b\r\n", 400),
        ("136", "HOST with an underscore elsewhere", "Transfer_Encoding: chunked\r\n", 400),
        ("136", "Authorization_ as a second name", "X_Forwarded_For: 1\r\n", 400),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("{id}{}", letter(index));
        rows.push(bytes(&id, what, Right::CloseEither(right, 501), get(lines), &twin));
    }
    rows
}

/// `a`, `b`, ... `z`, `za`, ...
pub(super) fn letter(index: usize) -> String {
    let last = char::from(b'a' + u8::try_from(index % 26).unwrap());
    format!("{}{last}", "z".repeat(index / 26))
}
