//! What others try over real connections, each beside what differs from it by the attack only.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    api::{Browser, administrator},
    client::{ADDRESS, Answer, post, send},
    gateway::{Gateway, Installation, demo_server},
    internet::Internet,
};

/// A gateway with the users `ann` and `ben`, each with a profile that has the server `echo` in it.
struct Scene {
    internet: Internet,
    _installation: Installation,
    gateway: Gateway,
}

impl Scene {
    fn new() -> Self {
        let (internet, installation) = (Internet::new(), Installation::new());
        let echo = demo_server("gigmcp-demo-echo");
        installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
        let gateway = installation.serve(&internet, &[]);
        Self { internet, _installation: installation, gateway }
    }

    fn user(&self, root: &Browser<'_>, name: &str) -> Browser<'_> {
        Browser::with_echo(&self.internet, root, name, "user")
    }

    /// Sends these bytes and reads what is answered until the end.
    fn raw(&self, text: String) -> String {
        self.internet.near(move || async move {
            let mut stream = TcpStream::connect(ADDRESS).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer).await);
            String::from_utf8_lossy(&answer).into_owned()
        })
    }

    fn document(&self) -> Value {
        let request = Request::get("/api/v1/openapi.json").header(header::HOST, ADDRESS).body(Bytes::new()).unwrap();
        send(&self.internet, request).json()
    }
}

fn code(answer: &Answer) -> String {
    if answer.status.is_success() {
        return "ok".into();
    }
    // What is refused before it is led anywhere is told in a line of text.
    let told = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    told["error"]["code"].as_str().map_or_else(|| answer.status.as_u16().to_string(), str::to_owned)
}

#[test]
fn another_site_another_person_and_another_session_get_nothing() {
    let scene = Scene::new();
    let root = administrator(&scene.internet, &scene.gateway);
    let (ann, ben) = (scene.user(&root, "ann"), scene.user(&root, "ben"));
    // A page of another site has the cookie sent for it at most.
    let body = |name: &str| Some(json!({ "name": name, "scopes": "users:read" }));
    for (case, headers, without_token, expected) in [
        ("twin", &[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")][..], false, "ok"),
        ("no token", &[("origin", "http://127.0.0.1:8080")], true, "cross_site"),
        ("another origin", &[("origin", "https://evil.example")], false, "cross_site"),
        ("another site", &[("sec-fetch-site", "cross-site")], false, "cross_site"),
    ] {
        let mut request = ann.request(Method::POST, "/api-keys", body(&case.replace(' ', "-")));
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        if without_token {
            request.headers_mut().remove("x-csrf-token");
        }
        assert_eq!(code(&send(&scene.internet, request)), expected, "{case}");
    }
    // What was planted is not gone on with, whoever it belongs to.
    let planted = ben.proof().split(':').next().unwrap().to_owned();
    let made_up = format!("gigs_{}", "A".repeat(43));
    for token in [planted, made_up] {
        let mut victim = Browser::new(&scene.internet);
        victim.plant(&token);
        victim.sign_in("ann@example.com");
        let now = victim.proof().split(':').next().unwrap().to_owned();
        assert_ne!(now, token);
        let mut attacker = Browser::new(&scene.internet);
        attacker.plant(&token);
        assert_eq!(code(&attacker.ask(Method::GET, "/session", None)), "unauthenticated");
        assert_eq!(victim.ask(Method::GET, "/session", None).json()["user"]["email"], "ann@example.com", "twin");
    }
    // By the ids of others.
    let mut ben = Browser::new(&scene.internet);
    ben.sign_in("ben@example.com");
    let id = |browser: &Browser<'_>| {
        let session = browser.ask(Method::GET, "/session", None).json();
        session["user"]["id"].as_str().unwrap().to_owned()
    };
    let mut ann = Browser::new(&scene.internet);
    ann.sign_in("ann@example.com");
    let (of_ann, of_ben) = (id(&ann), id(&ben));
    for path in [
        "/users/ID",
        "/users/ID/sessions",
        "/users/ID/api-keys",
        "/profiles/of-NAME",
        "/profiles/of-NAME/tokens",
        "/profiles/of-NAME/findings",
    ] {
        let of = |id: &str, name: &str| path.replace("ID", id).replace("NAME", name);
        assert_eq!(code(&ann.ask(Method::GET, &of(&of_ben, "ben"), None)), "not_found", "{path}");
        assert_eq!(code(&ann.ask(Method::GET, &of(&of_ann, "ann"), None)), "ok", "twin: {path}");
    }
    // With a token that was made up.
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let made_up = format!("gig_{}", "A".repeat(43));
    for _ in 0..3 {
        let refused = send(&scene.internet, post("/mcp/p/of-ann", Some(&made_up), ping.clone()));
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    }
    let told = root.ask(Method::GET, "/audit?kind=proof", None).json();
    let told: Vec<_> = told["items"].as_array().unwrap().iter().map(|row| row["subject"].clone()).collect();
    let of_tokens = told.iter().filter(|subject| subject.as_str().unwrap().starts_with("profile-token from 127.0.0.1"));
    assert_eq!(of_tokens.count(), 1, "{told:?}");
    // With members that nobody offers.
    for (path, member, twin) in [
        ("/profiles", "owner", json!({ "slug": "mine" })),
        ("/api-keys", "user", json!({ "name": "mine", "scopes": "users:read" })),
        ("/profiles/of-ann/tokens", "owner", json!({ "name": "mine" })),
    ] {
        let mut more = twin.clone();
        more[member] = of_ben.as_str().into();
        assert_eq!(code(&ann.ask(Method::POST, path, Some(more))), "invalid", "{path}");
        assert_eq!(code(&ann.ask(Method::POST, path, Some(twin))), "ok", "twin: {path}");
    }
}

#[test]
fn nothing_that_is_said_becomes_a_header_a_line_of_the_log_or_another_place() {
    let scene = Scene::new();
    let root = administrator(&scene.internet, &scene.gateway);
    let ann = scene.user(&root, "ann");
    let (session, csrf) = ann.proof().split_once(':').map(|(one, two)| (one.to_owned(), two.to_owned())).unwrap();
    let head = |line: &str| {
        format!(
            "{line} HTTP/1.1\r\nHost: {ADDRESS}\r\nCookie: gig_session={session}\r\nx-csrf-token: {csrf}\r\nConnection: close\r\n"
        )
    };
    for path in [
        "/api/v1/users/a%0d%0aset-cookie:%20forged=1",
        "/api/v1/profiles/of-ann?x=%0d%0aset-cookie:%20forged=1",
        "/api/v1//evil.example/%2e%2e",
        "//evil.example/api/v1/session",
        "/api/v1/session/../../evil.example",
        "/%5cevil.example",
        "http://evil.example/api/v1/session",
    ] {
        let answer = scene.raw(head(&format!("GET {path}")) + "\r\n").to_lowercase();
        let (headers, _) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(headers.starts_with("http/1.1 4"), "{path}: {answer}");
        assert!(!headers.contains("forged=1") && !headers.contains("location:"), "{path}: {answer}");
    }
    let twin = scene.raw(head("GET /api/v1/session") + "x-request-id: forged\r\n\r\n");
    assert!(twin.starts_with("HTTP/1.1 200") && !twin.contains("forged"), "{twin}");
    // Of all that the document has, one leads elsewhere: to the operator's identity provider, of which there is none here.
    let document = scene.document();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|methods| methods.as_object().unwrap().values());
    let leads = operations
        .filter(|operation| operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('3')));
    let leads: Vec<_> = leads.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(leads, ["begin_oidc"]);
    // What is told of names stands in one line, in the log and in the audit trail.
    for (tool, expected) in [("rm%0aERROR%20forged%20line%1b%5b2J", "ok"), ("rm", "ok")] {
        let path = format!("/profiles/of-ann/servers/echo/tools/{tool}");
        assert_eq!(code(&ann.ask(Method::PUT, &path, Some(json!({ "enabled": false })))), expected);
    }
    for slug in ["a\nERROR forged line", "a\u{1b}[2J", "a\u{2028}b"] {
        assert_eq!(code(&ann.ask(Method::POST, "/profiles", Some(json!({ "slug": slug })))), "invalid");
    }
    let forged = json!({ "email": "x@y\nERROR forged line", "password": "Apollo 11 1202 alarm" });
    assert_ne!(code(&Browser::new(&scene.internet).ask(Method::POST, "/session", Some(forged))), "ok");
    let rows = root.ask(Method::GET, "/audit?kind=profile&limit=200", None).json();
    let subjects: Vec<_> =
        rows["items"].as_array().unwrap().iter().map(|row| row["subject"].as_str().unwrap()).collect();
    assert!(subjects.iter().any(|subject| subject.contains("forged line")), "twin: it is told: {subjects:?}");
    assert!(subjects.iter().all(|subject| !subject.chars().any(char::is_control)), "{subjects:?}");
    let log = scene.gateway.log();
    assert!(log.lines().all(|line| !line.trim_start().starts_with("ERROR forged")) && !log.contains('\u{1b}'), "{log}");
}

#[test]
fn a_body_is_what_it_is_and_not_what_it_becomes() {
    let scene = Scene::new();
    let root = administrator(&scene.internet, &scene.gateway);
    let body = json!({ "name": "mine", "scopes": "users:read" }).to_string();
    let memory = |gateway: &Gateway| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = memory(&scene.gateway);
    // 128 KiB that would be 128 MiB.
    let bomb = gzip_of_zeros(128 << 20);
    assert!(bomb.len() < 160 << 10, "{}", bomb.len());
    for (case, encoding, bytes, expected) in [
        ("a bomb", Some("gzip"), bomb.clone(), "415"),
        ("half of it", Some("gzip"), bomb[..32 << 10].to_vec(), "415"),
        ("twice", Some("gzip, gzip"), bomb[..32 << 10].to_vec(), "415"),
        ("another", Some("br"), body.clone().into_bytes(), "415"),
        ("twin", None, body.clone().into_bytes(), "ok"),
    ] {
        let mut request = root.request(Method::POST, "/api-keys", Some(json!(null)));
        if let Some(encoding) = encoding {
            request.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        *request.body_mut() = bytes.into();
        assert_eq!(code(&send(&scene.internet, request)), expected, "{case}");
    }
    assert!(memory(&scene.gateway) < before + (24 << 10), "nothing was unpacked");
}

/// Made of what is not ours.
fn gzip_of_zeros(bytes: usize) -> Vec<u8> {
    let script = format!("import gzip,sys; sys.stdout.buffer.write(gzip.compress(bytes({bytes}), 9))");
    std::process::Command::new("python3").args(["-c", &script]).output().unwrap().stdout
}

/// Whatever names a place.
fn names_a_place(name: &str) -> bool {
    let words = [
        "url",
        "uri",
        "host",
        "reference",
        "endpoint",
        "address",
        "registr",
        "allow",
        "issuer",
        "redirect",
        "callback",
        "image",
        "mirror",
        "source",
        "origin",
        "link",
        "webhook",
    ];
    words.iter().any(|word| name.to_lowercase().contains(word))
}

#[test]
fn no_field_makes_the_gateway_ask_an_address_of_the_callers_choice() {
    let scene = Scene::new();
    let root = administrator(&scene.internet, &scene.gateway);
    let document = scene.document();
    let mut fields = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named = parameters.filter_map(|parameter| parameter["name"].as_str());
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let schema = match schema["$ref"].as_str() {
                Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
                None => schema,
            };
            let members = schema["properties"].as_object().into_iter().flat_map(|members| members.keys());
            for field in named.chain(members.map(String::as_str)).filter(|field| names_a_place(field)) {
                assert_ne!(id, "tail_audit", "it would not end");
                fields.insert((method.clone(), path.clone(), id.to_owned(), field.to_owned()));
            }
        }
    }
    let found: BTreeSet<String> = fields.iter().map(|(_, _, id, field)| format!("{id}.{field}")).collect();
    assert!(found.contains("plan_install.reference") && found.contains("set_registry.host"), "twin: {found:?}");
    let places = [
        "http://evil.test/",
        "evil.test",
        "evil.test:443",
        "https://evil.test@api.example.com/",
        "http://169.254.169.254/latest/meta-data",
        "evil.test/x@1.0.0",
    ];
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let asked = |place: &str| scene.internet.asked.lock().unwrap().iter().filter(|name| name.contains(place)).count();
    for (method, path, id, field) in &fields {
        for place in places {
            let filled: String = path
                .split('/')
                .skip(3)
                .map(|part| match part.strip_prefix('{') {
                    Some(variable) if variable.trim_end_matches('}') == field => format!("/{}", encoded(place)),
                    Some(_) => "/echo".to_owned(),
                    None => format!("/{part}"),
                })
                .collect();
            let mut body = json!({
                "name": "echo2", "command": ["true"], "username": "x", "password": "x", "manifest_hash": format!("sha256:{}", "0".repeat(64)),
                "reference": "echo", "slug": "other", "value": "x",
            });
            let schema = &document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"];
            let members = schema["$ref"]
                .as_str()
                .map(|reference| &document.pointer(reference.trim_start_matches('#')).unwrap()["properties"]);
            if let Some(members) = members.and_then(Value::as_object) {
                body.as_object_mut().unwrap().retain(|name, _| members.contains_key(name));
                if let Some(kind) = members.get(field) {
                    body[field] = if kind["type"] == "array" { json!([place]) } else { json!(place) };
                }
            }
            let filled = if path.contains(&format!("{{{field}}}")) || method != "get" {
                filled
            } else {
                format!("{filled}?{field}={}", encoded(place))
            };
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = root.ask(method.clone(), &filled, members.is_some().then_some(body));
            assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{id} {field} {place}: {answer:?}");
            assert_ne!(answer.status, StatusCode::TOO_MANY_REQUESTS, "each is asked: {id} {field} {place}");
            assert_ne!(answer.status, StatusCode::BAD_GATEWAY, "{id} {field} {place}: {answer:?}");
        }
    }
    assert_eq!((asked("evil"), scene.internet.seen().len()), (0, 0), "{:?}", scene.internet.asked.lock().unwrap());
}
