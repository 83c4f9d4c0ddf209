//! Requests that are odd and let through.

use aws_lc_rs::digest::{SHA256, digest};

/// One request. `{H}` stands for the host.
pub(crate) struct Request {
    pub(crate) what: String,
    pub(crate) bytes: Vec<u8>,
    method: String,
    target: String,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn to(&self, host: &str) -> Vec<u8> {
        let at = self.bytes.windows(3).position(|window| window == b"{H}").unwrap();
        [&self.bytes[..at], host.as_bytes(), &self.bytes[at + 3..]].concat()
    }

    /// What everyone has to understand.
    pub(crate) fn meant(&self) -> String {
        let hash: String = digest(&SHA256, &self.body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {} {{H}} {} {hash}", self.method, self.target, self.body.len())
    }
}

/// How a body is framed.
#[derive(Clone, Copy, Debug)]
enum Framing {
    None,
    Length,
    /// Chunks of so many bytes.
    Chunks(usize),
}

fn request(method: &str, target: &str, headers: &str, body: &[u8], framing: Framing) -> Request {
    let (line, payload) = match framing {
        Framing::None => (String::new(), Vec::new()),
        Framing::Length => (format!("Content-Length: {}\r\n", body.len()), body.to_vec()),
        Framing::Chunks(size) => {
            let mut payload = Vec::new();
            for (index, chunk) in body.chunks(size).enumerate() {
                // Sizes in either case and with leading zeros are the same.
                let written =
                    if index % 2 == 0 { format!("{:x}\r\n", chunk.len()) } else { format!("{:04X}\r\n", chunk.len()) };
                payload.extend_from_slice(written.as_bytes());
                payload.extend_from_slice(chunk);
                payload.extend_from_slice(b"\r\n");
            }
            payload.extend_from_slice(b"0\r\n\r\n");
            ("Transfer-Encoding: chunked\r\n".to_owned(), payload)
        }
    };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {{H}}\r\n{headers}{line}\r\n");
    Request {
        what: format!(
            "{method} {} {} {framing:?} {} bytes",
            &target[..target.len().min(80)],
            headers.escape_debug(),
            body.len()
        ),
        bytes: [head.as_bytes(), &payload].concat(),
        method: method.to_owned(),
        target: target.to_owned(),
        body: if matches!(framing, Framing::None) { Vec::new() } else { body.to_vec() },
    }
}

pub(crate) fn requests() -> Vec<Request> {
    let long = format!("/{}", "a".repeat(4000));
    let deep = "/a".repeat(500);
    let mut targets = TARGETS.to_vec();
    targets.extend([long.as_str(), &deep]);
    let mut all = Vec::new();
    for target in &targets {
        for method in ["GET", "HEAD"] {
            all.push(request(method, target, "", b"", Framing::None));
        }
        all.push(request("POST", target, "", b"hello", Framing::Length));
        all.push(request("PUT", target, "", b"hello, everyone", Framing::Chunks(4)));
    }
    for method in METHODS {
        all.push(request(method, "/a?b=c", "", b"", Framing::None));
        all.push(request(method, "/a?b=c", "", b"", Framing::Length));
        if !["GET", "HEAD", "OPTIONS"].contains(method) {
            all.push(request(method, "/a?b=c", "", b"hello", Framing::Length));
            all.push(request(method, "/a?b=c", "", b"hello", Framing::Chunks(2)));
        }
    }
    let (long, many) = (format!("X-Long: {}\r\n", "b".repeat(6000)), "X-Many: b\r\n".repeat(80));
    let mut headers = HEADERS.to_vec();
    headers.extend([long.as_str(), &many]);
    for headers in &headers {
        all.push(request("GET", "/a", headers, b"", Framing::None));
        all.push(request("POST", "/a", headers, b"hello", Framing::Length));
        all.push(request("POST", "/a", headers, b"hello", Framing::Chunks(1)));
    }
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    let bodies: [&[u8]; 8] = [
        b"",
        b"x",
        b"\r\n",
        b"0\r\n\r\n",
        smuggled,
        b"5\r\nhello\r\n0\r\n\r\n",
        &[0, 255, 128, 10, 13],
        &[b'z'; 100_000],
    ];
    for body in bodies {
        for framing in [Framing::Length, Framing::Chunks(1 << 20), Framing::Chunks(7), Framing::Chunks(1)] {
            if body.len() < 1000 || !matches!(framing, Framing::Chunks(1 | 7)) {
                all.push(request("POST", "/body", "", body, framing));
            }
        }
    }
    all.extend(spelled());
    all
}

/// The same request in the few spellings that are no fault.
fn spelled() -> Vec<Request> {
    let mut all = Vec::new();
    for (what, text) in [
        ("a line end before", "\r\nGET /a HTTP/1.1\r\nHost: {H}\r\n\r\n"),
        ("other case", "GET /a HTTP/1.1\r\nhOST: {H}\r\n\r\n"),
        ("no blank behind the colon", "GET /a HTTP/1.1\r\nHost:{H}\r\n\r\n"),
        ("blanks around a value", "GET /a HTTP/1.1\r\nHost: \t {H} \t\r\n\r\n"),
        ("the port", "GET /a HTTP/1.1\r\nHost: {H}:80\r\n\r\n"),
        ("HTTP/1.0", "GET /a HTTP/1.0\r\nHost: {H}\r\n\r\n"),
        ("HTTP/1.0 that stays", "GET /a HTTP/1.0\r\nHost: {H}\r\nConnection: keep-alive\r\n\r\n"),
        ("Host at the end", "GET /a HTTP/1.1\r\nX-A: b\r\nX-B: c\r\nHost: {H}\r\n\r\n"),
    ] {
        let bytes = text.as_bytes().to_vec();
        let (method, target) = ("GET".to_owned(), "/a".to_owned());
        all.push(Request { what: what.to_owned(), bytes, method, target, body: Vec::new() });
    }
    all
}

const METHODS: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "PURGE",
    "M-SEARCH",
    "MERGE",
    "NOTIFY",
    "SUBSCRIBE",
    "LINK",
    "QUERY",
    "X",
    "FOO-BAR",
];

const TARGETS: &[&str] = &[
    "/",
    "/a",
    "/a/b/",
    "/a?x=1",
    "/?",
    "/a?",
    "/a??",
    "/a?b?c",
    "/a?b=c&b=d",
    "/a?b&c",
    "/a?b;c",
    "/a?=",
    "/a%20b",
    "/a+b",
    "/a%2Bb",
    "/group%2Fproject",
    "/group%2fproject",
    "/~x",
    "/%7Ex",
    "/%7ex",
    "/%61",
    "//a",
    "/a//b",
    "///",
    "/a;b=c",
    "/a;b=c/d;e",
    "/a:b@c",
    "/a,b",
    "/a..b",
    "/.a",
    "/a.",
    "/...",
    "/a/..b",
    "/a/b..",
    "/*",
    "/a*",
    "/!$&'()*+,;=:@",
    "/-._~",
    "/[x]",
    "/a?x=[1]",
    "/a?x=/../y",
    "/a?x=..",
    "/?x=%2e%2e",
    "/a?x=%00",
    "/a?x=%0d%0a",
    "/a?x=%zz",
    "/a?x=%",
    "/a?x=%u0041",
    "/a?http://evil.test/",
    "/http://evil.test/",
    "/https:/evil.test",
    "/@evil.test/",
    "/evil.test:443",
    "/a%3Fb=c",
    "/a%23b",
    "/a%25b",
    "/a%2526b",
    "/a%3Bb",
    "/a%26b",
    "/%C3%BC",
    "/%e2%82%ac?x=%e2%82%ac",
    "/a?x='",
    "/a'b",
    "/HTTP/1.1",
    "/a?HTTP/1.1",
    "/index.php/a.b",
    "/a/./b",
    "/a/../b",
    "/a%5cb",
    "/a\\b",
    "/a|b",
    "/a^b",
    "/a{b}",
    "/a\"b",
    "/a<b>",
    "/a`b",
    "/a#b",
];

const HEADERS: &[&str] = &[
    "X-A: b\r\n",
    "X-A:\r\n",
    "X-A: \r\n",
    "X-A: a\tb\r\n",
    "X-A: \"a, b\"\r\n",
    "X-A: a, b, c\r\nX-A: d\r\n",
    "X-!#$%&'*+.^`|~: b\r\n",
    "1: b\r\n",
    "X-A: Content-Length: 7\r\n",
    "X-Content-Length: 7\r\n",
    "Content-Length-X: 7\r\n",
    "X-Transfer-Encoding: chunked\r\n",
    "X_A: b\r\n",
    "Content-Type: text/plain\r\n",
    "Content-Encoding: identity\r\n",
    "Accept: */*\r\nAccept: text/html\r\n",
    "Accept-Encoding: gzip, br\r\n",
    "Cookie: a=b; c=d\r\nCookie: e=f\r\n",
    "Connection: keep-alive\r\n",
    "Connection: close\r\n",
    "Connection: Keep-Alive, TE\r\nTE: trailers\r\n",
    "Connection: ,,close,\r\n",
    "TE: trailers\r\n",
    "Expect: 100-continue\r\n",
    "Expect: 100-CONTINUE\r\n",
    "X-Forwarded-Host: evil.test\r\n",
    "X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n",
    "Forwarded: host=evil.test\r\n",
    "Via: 1.0 x\r\n",
    "X-Original-URL: /admin\r\n",
    "X-HTTP-Method-Override: DELETE\r\n",
    "Proxy-Connection: close\r\n",
    "Proxy-Authorization: Basic YTpi\r\n",
    "Keep-Alive: timeout=5\r\n",
    "Trailer: X-A\r\n",
    "Range: bytes=0-3\r\n",
    "If-None-Match: \"x\"\r\n",
    "Referer: http://evil.test/\r\n",
    "User-Agent: x (y; z) {}<>\r\n",
    "Upgrade-Insecure-Requests: 1\r\n",
    "Content-Length : 7\r\n",
    "Date: x\r\nServer: y\r\n",
];
