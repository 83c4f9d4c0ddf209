//! Every place that a credential can stand in: filled there and nowhere else, and only for its host, method and path.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gigmcp_egress::{
    BasicPart, CredentialId, CredentialRule, Placeholder, SecretString, Shape, SignError, Signer, Sink, Unsigned,
};
use http::{HeaderMap, HeaderName, Method};

use crate::world::{SECRET, Sandbox, World};

/// A world with one sandbox whose credential has this place, and the rest as usual.
async fn world(sink: Sink) -> (World, Sandbox) {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    world.grant(&sandbox.identity, &sandbox.placeholder, |policy| policy.credentials[0].sink = sink);
    (world, sandbox)
}

/// A request in which `<P>` stands for the placeholder, `<E>` for it with every character escaped, `<B>` for `me:<P>` in base64.
struct Ask {
    line: &'static str,
    headers: String,
    body: &'static str,
}

fn get(target: &'static str, header: &str) -> Ask {
    Ask { line: target, headers: header.to_owned(), body: "" }
}

fn post(kind: &str, body: &'static str) -> Ask {
    Ask { line: "/x", headers: format!("Content-Type: {kind}\r\n"), body }
}

impl Ask {
    fn written(&self, placeholder: &Placeholder) -> String {
        let placeholder = placeholder.as_str();
        let escaped: String = placeholder.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        let basic = STANDARD.encode(format!("me:{placeholder}"));
        let fill = |text: &str| text.replace("<P>", placeholder).replace("<E>", &escaped).replace("<B>", &basic);
        let body = fill(self.body);
        let (method, length) = if body.is_empty() {
            ("GET", String::new())
        } else {
            ("POST", format!("Content-Length: {}\r\n", body.len()))
        };
        let (target, headers) = (fill(self.line), fill(&self.headers));
        format!("{method} {target} HTTP/1.1\r\nHost: api.example.com\r\n{headers}{length}\r\n{body}")
    }
}

/// The secret holds `+` and `/`.
const PERCENT: &str = "sk-live-S3NT1N3L%2B%2F0123456789abcdef";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json; charset=utf-8";

#[tokio::test]
async fn a_placeholder_in_its_place_becomes_the_secret() {
    let format =
        |text: &str| Sink::HeaderFormat { name: HeaderName::from_static("x-auth"), format: text.parse().unwrap() };
    for (case, sink, request, expected) in [
        ("bearer", Sink::Bearer, get("/x", "Authorization: Bearer <P>\r\n"), format!("authorization: Bearer {SECRET}")),
        (
            "basic",
            Sink::Basic(BasicPart::Password),
            get("/x", "Authorization: Basic <B>\r\n"),
            format!("authorization: Basic {}", STANDARD.encode(format!("me:{SECRET}"))),
        ),
        (
            "a form of a header",
            format("Token token=\"{}\""),
            get("/x", "X-Auth: Token token=\"<P>\"\r\n"),
            format!("x-auth: Token token=\"{SECRET}\""),
        ),
        (
            "query",
            Sink::Query("key".parse().unwrap()),
            get("/x?a=1&key=<P>&b=2", ""),
            format!("target: /x?a=1&key={PERCENT}&b=2"),
        ),
        (
            "a parameter that carries credentials and nothing else",
            Sink::Query("access_token".parse().unwrap()),
            get("/x?access_token=<P>", ""),
            format!("target: /x?access_token={PERCENT}"),
        ),
        (
            "a header of its own",
            Sink::Header { name: Some(HeaderName::from_static("x-custom-key")) },
            get("/x", "X-Custom-Key: <P>\r\n"),
            format!("x-custom-key: {SECRET}"),
        ),
        (
            "path",
            Sink::PathSegment { prefix: "bot".into() },
            get("/bot<P>/send?x=1", ""),
            "target: /botsk-live-S3NT1N3L+%2F0123456789abcdef/send?x=1".to_owned(),
        ),
        (
            "form",
            Sink::Form("client_secret".parse().unwrap()),
            post(FORM, "grant_type=x&client_secret=<P>"),
            format!("body: grant_type=x&client_secret={PERCENT}"),
        ),
        (
            "JSON",
            Sink::Json("/auth/key".parse().unwrap()),
            post(JSON, r#"{"q":[1],"auth":{"key":"<P>"}}"#),
            format!(r#"body: {{"q":[1],"auth":{{"key":"{SECRET}"}}}}"#),
        ),
    ] {
        let (world, sandbox) = world(sink).await;
        let reply = sandbox.https("api.example.com").await.ask(request.written(&sandbox.placeholder)).await;
        assert_eq!((reply.status, reply.code()), (200, None), "{case}: {}", reply.head);
        let seen = world.origin.seen().pop().expect(case);
        let headers = seen.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        let rest = [format!("target: {}", seen.target), format!("body: {}", String::from_utf8_lossy(&seen.body))];
        let all: Vec<_> = headers.chain(rest).collect();
        assert!(all.contains(&expected), "{case}: {all:#?}");
        assert!(!all.concat().contains(sandbox.placeholder.as_str()), "{case}: the placeholder stays behind");
        let told = format!("{:?}", world.finish().await);
        assert!(told.contains("CredentialId(\"key\")"), "{case}: {told}");
        assert!(!told.contains("S3NT1N3L") && !told.contains(sandbox.placeholder.as_str()), "{case}: {told}");
    }
}

#[tokio::test]
async fn a_placeholder_beside_its_place_is_refused() {
    let query = || Sink::Query("key".parse().unwrap());
    let path = || Sink::PathSegment { prefix: "bot".into() };
    let form = || Sink::Form("key".parse().unwrap());
    let json = || Sink::Json("/key".parse().unwrap());
    let header = |value: &str| get("/x", &format!("Authorization: {value}\r\n"));
    let own = |name: &'static str| Sink::Header { name: Some(HeaderName::from_static(name)) };
    for (case, sink, request, code) in [
        ("a header, where it belongs in the query", query(), header("Bearer <P>"), "placeholder-wrong-place"),
        ("another parameter", query(), get("/x?other=<P>", ""), "placeholder-wrong-place"),
        ("EGR-177 twice", query(), get("/x?key=<P>&key=evil", ""), "placeholder-ambiguous"),
        ("EGR-177 an escaped twin", query(), get("/x?k%65y=evil&key=<P>", ""), "placeholder-ambiguous"),
        ("EGR-177 a semicolon", query(), get("/x?key=<P>;key=evil", ""), "placeholder-ambiguous"),
        ("EGR-186 a key of its own", query(), get("/x?key=sk-attacker", ""), "agent-credential"),
        ("EGR-186 one in another parameter", query(), get("/x?access_token=sk-attacker", ""), "agent-credential"),
        ("EGR-186 one beside ours", query(), get("/x?key=<P>&X-Amz-Signature=attacker", ""), "agent-credential"),
        (
            "EGR-186 our header read by CGI",
            own("x-custom-key"),
            get("/x", "x_custom_key: sk-a\r\n"),
            "agent-credential",
        ),
        ("EGR-186 the other way", own("x_custom_key"), get("/x", "X-Custom-Key: sk-a\r\n"), "agent-credential"),
        ("EGR-186 an old CGI", own("x-custom-key"), get("/x", "x.custom.key: sk-a\r\n"), "agent-credential"),
        ("another segment", path(), get("/<P>/send", ""), "placeholder-wrong-place"),
        ("two segments", path(), get("/bot<P>/bot<P>", ""), "placeholder-ambiguous"),
        ("EGR-186 a token of its own", path(), get("/bot123456789:attacker/send", ""), "agent-credential"),
        ("another field", form(), post(FORM, "other=<P>"), "placeholder-wrong-place"),
        ("two fields", form(), post(FORM, "key=<P>&key=evil"), "placeholder-ambiguous"),
        ("EGR-186 a secret of its own", form(), post(FORM, "key=sk-attacker"), "agent-credential"),
        ("a form in another type", form(), post("text/plain", "key=<P>"), "placeholder-wrong-place"),
        ("another name", json(), post(JSON, r#"{"other":"<P>"}"#), "placeholder-wrong-place"),
        ("deeper", json(), post(JSON, r#"{"x":{"key":"<P>"}}"#), "placeholder-wrong-place"),
        ("two names", json(), post(JSON, r#"{"key":"<P>","key":"evil"}"#), "placeholder-ambiguous"),
        ("other case", json(), post(JSON, r#"{"key":"<P>","KEY":"evil"}"#), "placeholder-ambiguous"),
        ("escaped elsewhere", json(), post(JSON, r#"{"key":null,"x":"<E>"}"#), "placeholder-wrong-place"),
        ("not JSON", json(), post(JSON, "key=1"), "unscannable-request"),
        ("EGR-186 a JSON key of its own", json(), post(JSON, r#"{"key":"sk-attacker"}"#), "agent-credential"),
        ("another scheme than bearer", Sink::Bearer, header("Token <P>"), "placeholder-ambiguous"),
        (
            "a user, where it is the password",
            Sink::Basic(BasicPart::User),
            header("Basic <B>"),
            "placeholder-wrong-place",
        ),
    ] {
        let (world, sandbox) = world(sink).await;
        let request = request.written(&sandbox.placeholder);
        let reply = sandbox.https("api.example.com").await.ask(&request).await;
        assert_eq!(reply.code(), Some(code), "{case}: {request}\n{}", reply.head);
        world.refused_untouched(case, code).await;
    }
}

/// Two credentials of one host, one of which stands in a parameter that is known for credentials.
#[tokio::test]
async fn the_place_of_one_credential_is_not_a_key_of_the_sandboxs_own_for_another() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let other = Placeholder::mint(&Shape::opaque());
    let hosts = ["api.example.com".parse().unwrap()];
    let sink = Sink::Query("api_key".parse().unwrap());
    let second = CredentialRule::new(CredentialId::new("second"), other.clone(), hosts, sink);
    world.grant(&sandbox.identity, &sandbox.placeholder, |policy| policy.credentials.push(second));
    let mut wire = sandbox.https("api.example.com").await;
    for (case, key, code) in [("ours", other.as_str(), None), ("its own", "sk-attacker", Some("agent-credential"))] {
        let request = format!("GET /x?api_key={key} HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
        let reply = wire.ask(request).await;
        assert_eq!(reply.code(), code, "{case}: {}", reply.head);
    }
    assert_eq!(world.origin.seen()[0].target, format!("/x?api_key={PERCENT}"));
}

#[tokio::test]
async fn a_credential_goes_out_with_its_methods_and_paths_only() {
    for (case, method, target, code) in [
        ("its method and path", "GET", "/v1/read/x", None),
        ("another path", "GET", "/v1/other", Some("placeholder-wrong-request")),
        ("a path of two readings", "GET", "/v1/read//x", Some("placeholder-wrong-request")),
        ("another method", "DELETE", "/v1/read/x", Some("placeholder-wrong-request")),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        world.grant(&sandbox.identity, &sandbox.placeholder, |policy| {
            policy.credentials[0].paths = Some(vec!["/v1/read/**".parse().unwrap()]);
            policy.credentials[0].methods = Some(vec![Method::GET]);
        });
        let head = format!("Host: api.example.com\r\nAuthorization: Bearer {}\r\n\r\n", sandbox.placeholder);
        let reply = sandbox.https("api.example.com").await.ask(format!("{method} {target} HTTP/1.1\r\n{head}")).await;
        assert_eq!(reply.code(), code, "{case}");
        match code {
            Some(code) => assert!(world.refused_untouched(case, code).await.alarm, "{case}"),
            None => assert_eq!((reply.status, world.finish().await[0].policy_version), (200, Some(7)), "{case}"),
        }
    }
}

/// Not a real scheme: the length of all that is signed, under a name that depends on the secret.
#[derive(Debug)]
struct Lengths;

impl Signer for Lengths {
    fn claim(&self, unsigned: &Unsigned<'_>, placeholder: &Placeholder) -> Vec<HeaderName> {
        let signed = unsigned.headers.get("authorization").and_then(|value| value.to_str().ok());
        let own = signed.is_some_and(|text| text.starts_with(&format!("SIG key={placeholder} ")));
        if own { vec![HeaderName::from_static("authorization")] } else { Vec::new() }
    }

    fn reads_body(&self) -> bool {
        true
    }

    fn sign(&self, unsigned: &Unsigned<'_>, secret: &SecretString) -> Result<HeaderMap, SignError> {
        if unsigned.target.contains("unsignable") {
            return Err(SignError { source: None });
        }
        let lengths = (unsigned.target.len(), unsigned.body.unwrap_or_default().len(), secret.expose().len());
        let value = format!("SIG {} {} {lengths:?}", unsigned.method, unsigned.host);
        Ok(HeaderMap::from_iter([(HeaderName::from_static("authorization"), value.parse().unwrap())]))
    }
}

#[tokio::test]
async fn a_signer_signs_what_is_sent() {
    let signed = |target, body| Ask { line: target, headers: "Authorization: SIG key=<P> x\r\n".to_owned(), body };
    let (world, sandbox) = world(Sink::Signed(Arc::new(Lengths))).await;
    let mut wire = sandbox.https("api.example.com").await;
    let reply = wire.ask(signed("/x?y=1", "12345").written(&sandbox.placeholder)).await;
    assert_eq!(reply.status, 200, "{}", reply.head);
    let seen = world.origin.seen().pop().unwrap();
    let expected = format!("SIG POST api.example.com (6, 5, {})", SECRET.len());
    assert_eq!((seen.headers["authorization"].to_str().unwrap(), &*seen.body), (&*expected, &b"12345"[..]));
    for (case, request, code) in [
        ("a signature under another key", get("/x", "Authorization: SIG key=other x\r\n"), "agent-credential"),
        ("what cannot be signed", signed("/unsignable", "1"), "signature"),
        (
            "beside it",
            Ask { headers: "Authorization: SIG key=<P> x\r\nX-A: <P>\r\n".into(), ..get("/x", "") },
            "placeholder-wrong-place",
        ),
    ] {
        let reply = sandbox.https("api.example.com").await.ask(request.written(&sandbox.placeholder)).await;
        assert_eq!(reply.code(), Some(code), "{case}: {}", reply.head);
    }
    assert_eq!(world.origin.seen().len(), 1, "nothing else was sent");
}

/// Signs nothing, and notes what it was to sign.
#[derive(Debug, Default)]
struct Witness(Mutex<Option<(String, HeaderMap, Vec<u8>)>>);

impl Signer for Witness {
    fn claim(&self, unsigned: &Unsigned<'_>, placeholder: &Placeholder) -> Vec<HeaderName> {
        Lengths.claim(unsigned, placeholder)
    }

    fn reads_body(&self) -> bool {
        true
    }

    fn sign(&self, unsigned: &Unsigned<'_>, _: &SecretString) -> Result<HeaderMap, SignError> {
        let body = unsigned.body.unwrap_or_default().to_vec();
        *self.0.lock().unwrap() = Some((unsigned.target.to_owned(), unsigned.headers.clone(), body));
        Ok(HeaderMap::from_iter([(HeaderName::from_static("authorization"), "SIG".parse().unwrap())]))
    }
}

#[tokio::test]
async fn a_signer_sees_what_everything_else_has_made_of_the_request() {
    let witness = Arc::new(Witness::default());
    let (world, sandbox) = world(Sink::Signed(witness.clone())).await;
    let others = [
        Sink::Query("key".parse().unwrap()),
        Sink::Json("/key".parse().unwrap()),
        Sink::Header { name: Some("x-own".parse().unwrap()) },
    ];
    let placeholders = [(); 3].map(|()| Placeholder::mint(&Shape::of(&SecretString::new(SECRET))));
    world.grant(&sandbox.identity, &sandbox.placeholder, |policy| {
        policy.credentials[0].sink = Sink::Signed(witness.clone());
        for (number, (sink, placeholder)) in others.into_iter().zip(&placeholders).enumerate() {
            let (id, hosts) = (CredentialId::new(format!("{number}")), ["api.example.com".parse().unwrap()]);
            policy.credentials.push(CredentialRule::new(id, placeholder.clone(), hosts, sink));
        }
    });
    let [query, json, header] = &placeholders;
    let body = format!(r#"{{"key":"{json}"}}"#);
    let request = format!(
        "POST /x?key={query}&y=1 HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: SIG key={} x\r\nX-Own: {header}\r\n\
        Accept-Encoding: gzip\r\nRange: bytes=0-3\r\nX-Other: as it is\r\nContent-Type: {JSON}\r\n\
        Content-Length: {}\r\n\r\n{body}",
        sandbox.placeholder,
        body.len()
    );
    let reply = sandbox.https("api.example.com").await.ask(request).await;
    assert_eq!((reply.status, reply.code()), (200, None), "{}", reply.head);
    let (target, headers, body) = witness.0.lock().unwrap().take().unwrap();
    let mut seen = world.origin.seen().pop().unwrap();
    assert_eq!(target, seen.target);
    assert_eq!(String::from_utf8(body).unwrap(), String::from_utf8(seen.body).unwrap());
    // What a signer is not shown: where the request goes and how long it is stands beside the headers.
    for name in ["host", "content-length"] {
        assert!(seen.headers.remove(name).is_some() && !headers.contains_key(name), "{name}");
    }
    assert_eq!(seen.headers.remove("authorization").unwrap(), "SIG", "the twin: it was signed");
    assert_eq!(headers, seen.headers);
    assert_eq!(target, format!("/x?key={PERCENT}&y=1"));
    assert_eq!(
        (&headers["x-own"], &headers["accept-encoding"]),
        (&SECRET.parse().unwrap(), &"identity".parse().unwrap())
    );
    assert!(!headers.contains_key("range"), "EGR-202");
}

#[tokio::test]
async fn a_body_that_is_rewritten_is_bounded() {
    let (world, sandbox) = world(Sink::Json("/key".parse().unwrap())).await;
    let body = format!(r#"{{"key":"{}","x":"{}"}}"#, sandbox.placeholder, "x".repeat(1 << 20));
    let head = format!("POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: {JSON}\r\n");
    for framing in [
        format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
    ] {
        let reply = sandbox.https("api.example.com").await.ask(format!("{head}{framing}")).await;
        assert_eq!((reply.status, reply.code()), (413, Some("body-too-large")));
    }
    let short = format!(r#"{{"key":"{}"}}"#, sandbox.placeholder);
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{short}\r\n0\r\n\r\n", short.len());
    assert_eq!(sandbox.https("api.example.com").await.ask(format!("{head}{chunked}")).await.status, 200, "twin");
    assert_eq!(world.origin.seen()[0].body, format!(r#"{{"key":"{SECRET}"}}"#).into_bytes());
}
