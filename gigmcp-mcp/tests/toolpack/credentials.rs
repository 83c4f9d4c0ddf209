//! Placeholders, through the proxy that puts the real credential in; and keys, for servers that hold them.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use gigmcp_egress::{
    AuditEvent, AuditSink, AuditUnavailable, Body, BoxFuture as EgressFuture, CredentialRule, CredentialUnavailable,
    Credentials, Destination, Downstream, EgressLayer, Grant, GrantUnavailable, Grants, HostPattern, Identity, Limits,
    Placeholder, Rule, Scheme, SecretString, Shape, Sink,
};
use gigmcp_mcp::{
    BoxFuture,
    toolpack::{HttpAnswer, HttpClient, HttpFailure, ToolpackLimits},
};
use http::{Request, Response, header::HOST as HOST_HEADER};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceExt};

use crate::{
    origin::{Answer, Origin},
    pack::{HOST, Pack, call, shown, text},
};

/// The proxy in this process: what leaves it is what a service would get.
#[derive(Clone)]
struct Proxy {
    grant: Arc<Grant>,
    keys: Arc<HashMap<String, &'static str>>,
    sent: Arc<Mutex<Vec<String>>>,
}

impl Grants for Proxy {
    fn grant<'a>(&'a self, _: &'a Identity) -> EgressFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        Box::pin(async { Ok(self.grant.clone()) })
    }
}

impl Credentials for Proxy {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        id: &'a gigmcp_egress::CredentialId,
    ) -> EgressFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(async { Ok(SecretString::new(self.keys[id.as_str()])) })
    }
}

impl AuditSink for Proxy {
    fn ready<'a>(&'a self, _: &'a Identity) -> EgressFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }
    fn record<'a>(&'a self, _: AuditEvent) -> EgressFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }
}

/// A service that repeats everything it gets.
#[derive(Clone)]
struct Echo(Arc<Mutex<Vec<String>>>);

impl Service<Request<Body>> for Echo {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = EgressFuture<'static, Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let sent = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let headers = Headers(&parts.headers);
            let told = format!("{} {} {headers:?} {}", parts.method, parts.uri, String::from_utf8_lossy(&body));
            sent.lock().unwrap().push(told.clone());
            let answer = json!({ "echo": told }).to_string();
            Ok(Response::builder().header("content-type", "application/json").body(answer).unwrap())
        })
    }
}

impl HttpClient for Proxy {
    fn send<'a>(&'a self, request: Request<Bytes>, max: usize) -> BoxFuture<'a, Result<HttpAnswer, HttpFailure>> {
        Box::pin(async move {
            let office = Arc::new(self.clone());
            let egress = EgressLayer::new(office.clone(), office.clone(), office, Limits::default())
                .layer(Echo(self.sent.clone()));
            let (mut parts, body) = request.into_parts();
            let host = parts.uri.host().unwrap().to_owned();
            parts.headers.insert(HOST_HEADER, host.parse().unwrap());
            parts.uri = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
            let destination = Destination { scheme: Scheme::Https, host: host.parse().unwrap(), port: 443 };
            parts.extensions.insert(Downstream { identity: Identity::new("sandbox"), destination });
            let request = Request::from_parts(parts, String::from_utf8(body.to_vec()).unwrap());
            let answer = egress.oneshot(request).await.unwrap();
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            assert!(body.len() <= max);
            Ok(HttpAnswer { status: parts.status, headers: parts.headers, body, is_cut: false })
        })
    }
}

/// Header values as they are: `Debug` hides those that are sensitive.
struct Headers<'a>(&'a http::HeaderMap);

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(name, value)| write!(f, "{name}: {}; ", String::from_utf8_lossy(value.as_bytes())))
    }
}

fn proxy(credentials: &[(&str, &'static str, Sink)]) -> (Proxy, Vec<Placeholder>) {
    let host: HostPattern = HOST.parse().unwrap();
    let mut placeholders = Vec::new();
    let mut keys = HashMap::new();
    let rules = credentials.iter().map(|(id, key, sink)| {
        let placeholder = Placeholder::mint(&Shape::of(&SecretString::new(*key)));
        placeholders.push(placeholder.clone());
        keys.insert((*id).to_owned(), *key);
        CredentialRule::new(gigmcp_egress::CredentialId::new(*id), placeholder, [host.clone()], sink.clone())
    });
    let rules = rules.collect();
    let grant = Arc::new(Grant::new(1, vec![Rule::https(host)], rules).unwrap());
    (Proxy { grant, keys: Arc::new(keys), sent: Arc::default() }, placeholders)
}

#[tokio::test]
async fn a_placeholder_in_every_place_becomes_the_key() {
    let key = "sk-0123456789abcdef0123";
    let in_body = "params: [{name: a, in: body, type: string}]";
    let form = "encoding: form\nparams: [{name: a, in: body, type: string}]";
    let basic = |part| Sink::Basic(part);
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    for (inject, constants, method, more, sink, expected) in [
        (
            "{header: Authorization, format: \"Bearer {token}\"}",
            "",
            "GET",
            "",
            Sink::Bearer,
            format!("authorization: Bearer {key}; "),
        ),
        (
            "{header: X-Api-Key, format: \"{token}\"}",
            "",
            "POST",
            in_body,
            Sink::Header { name: Some("x-api-key".parse().unwrap()) },
            format!("x-api-key: {key}; "),
        ),
        (
            "{header: Authorization, format: \"Token token={token}\"}",
            "",
            "GET",
            "",
            Sink::HeaderFormat { name: "authorization".parse().unwrap(), format: "Token token={}".parse().unwrap() },
            format!("authorization: Token token={key}; "),
        ),
        (
            "{basic: user}",
            "",
            "GET",
            "",
            basic(gigmcp_egress::BasicPart::User),
            format!("authorization: Basic {}; ", STANDARD.encode(format!("{key}:"))),
        ),
        (
            "{basic: password}",
            "constants: [{name: Authorization, in: header, value: api}]\n",
            "GET",
            "",
            basic(gigmcp_egress::BasicPart::Password),
            format!("authorization: Basic {}; ", STANDARD.encode(format!("api:{key}"))),
        ),
        ("{query: key}", "", "GET", "", Sink::Query("key".parse().unwrap()), format!("?key={key} ")),
        ("{path: bot}", "", "GET", "", Sink::PathSegment { prefix: "bot".into() }, format!("/bot{key}/v1/x ")),
        ("{form: token}", "", "POST", form, Sink::Form("token".parse().unwrap()), format!("a=%26&token={key}")),
        (
            "{json: /auth/token}",
            "",
            "POST",
            in_body,
            Sink::Json("/auth/token".parse().unwrap()),
            format!("\"auth\":{{\"token\":\"{key}\"}}"),
        ),
    ] {
        let (proxy, placeholders) = proxy(&[("key", key, sink)]);
        let pack = Pack::tool(method, "/v1/x", more)
            .manifest(&format!("credentials: [{{id: key, type: api_key, provider: acme, inject: {inject}}}]\n"))
            .toolspec(constants)
            .variable("GIG_PLACEHOLDER", placeholders[0].as_str());
        let arguments = if more.is_empty() { json!({}) } else { json!({"a": "&"}) };
        let result = call(&pack.start_with(Arc::new(proxy.clone())).unwrap(), arguments.clone()).await;
        assert_eq!(result["isError"], Value::Null, "{inject}: {result}");
        let sent = proxy.sent.lock().unwrap().clone();
        assert!(sent.len() == 1 && sent[0].contains(&expected), "{inject}: {sent:?}");
        // Neither the key nor what stands for it gets to the model.
        let told = result.to_string();
        assert!(!told.contains(key) && !told.contains(placeholders[0].as_str()), "{inject}: {told}");
        assert!(told.contains("[credential]"), "{inject}: {told}");

        let wrong = pack.variable("GIG_PLACEHOLDER", "sk-not-the-placeholder-0");
        let result = call(&wrong.start_with(Arc::new(proxy.clone())).unwrap(), arguments).await;
        assert_eq!(result["isError"], true, "{inject}: what was not minted is refused: {result}");
        assert!(text(&result).starts_with("The gateway refused the request ("), "{result}");
    }
}

#[tokio::test]
async fn a_credential_goes_with_the_requests_it_is_bound_to() {
    let manifest = "credentials:
  - {id: read, type: api_key, provider: acme, inject: {header: X-Read, format: \"{token}\"}, placeholder: {env: READ_KEY}, \
     bind: [{hosts: [api.acme-notes.example], methods: [GET]}]}
  - {id: some, type: api_key, provider: acme, inject: {header: X-Some, format: \"{token}\"}, placeholder: {env: SOME_KEY}, \
     bind: [{hosts: [api.acme-notes.example], paths: [/v1/some/**]}]}
  - {id: other, type: api_key, provider: acme, inject: {header: X-Other, format: \"{token}\"}, \
     bind: [{hosts: [img.acme-notes.example]}]}
entitlements: {egress: [api.acme-notes.example, img.acme-notes.example]}
";
    for (method, path, expected) in [
        ("GET", "/v1/all", ("r-0123456789", "", "")),
        ("GET", "/v1/some/x", ("r-0123456789", "s-0123456789", "")),
        ("DELETE", "/v1/some/x", ("", "s-0123456789", "")),
        ("DELETE", "/v1/all", ("", "", "")),
    ] {
        let pack = Pack::tool(method, path, "").manifest(manifest);
        let pack = pack.variable("READ_KEY", "r-0123456789").variable("SOME_KEY", "s-0123456789");
        let seen = pack.variable("GIG_PLACEHOLDER", "o-0123456789").request(json!({})).await.unwrap();
        assert_eq!((seen.header("x-read"), seen.header("x-some"), seen.header("x-other")), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn an_entrusted_server_puts_its_key_where_the_toolspec_says() {
    let key = "k3y+/0123456789=&";
    for (inject, method, more, expected) in [
        ("{header: X-Key, format: \"Key {token}\"}", "GET", "", "x-key: Key k3y+/0123456789=&; "),
        ("{query: api_key}", "GET", "", "/v1/x?api_key=k3y%2B%2F0123456789%3D%26"),
        ("{path: \"\"}", "GET", "", "/k3y%2B%2F0123456789%3D%26/v1/x"),
        ("{form: key}", "POST", "encoding: form", "key=k3y%2B%2F0123456789%3D%26"),
        ("{json: /key}", "POST", "", "{\"key\":\"k3y+/0123456789=&\"}"),
        ("{basic: user}", "GET", "", "authorization: Basic azN5Ky8wMTIzNDU2Nzg5PSY6; "),
    ] {
        let origin = Origin::start(&[HOST]).await;
        let pack = Pack::tool(method, "/v1/x", more)
            .manifest("tier: entrusted\ncredentials: [{id: key, type: custom_env, provider: acme, inject: {env: ACME_KEY}}]\n")
            .toolspec(&format!("auths: [{{credential: key, inject: {inject}}}]\n"))
            .variable("ACME_KEY", key);
        // Everything a service may make of it.
        let echo = json!({
            "raw": key,
            "percent": "k3y%2B%2F0123456789%3D%26",
            "basic": "azN5Ky8wMTIzNDU2Nzg5PSY6",
            "inside": base64_of(&format!("x:{key}:y")),
        });
        for status in [200, 422] {
            origin.will_answer([Answer::json(status, &echo)]);
            let result = call(&pack.start(&origin), json!({})).await;
            let seen = origin.seen().pop().unwrap();
            let sent = format!("{} {:?}{}", seen.target, Headers(&seen.headers), seen.text());
            assert!(sent.contains(expected), "{inject}: {sent}");
            let told = result.to_string();
            for part in [key, "k3y", "azN5Ky8wMTIz", "0123456789"] {
                assert!(!told.contains(part), "{inject}: {part} in {told}");
            }
        }
    }
}

fn base64_of(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

/// A service may write what it got in whatever way, and in whatever case.
#[tokio::test]
async fn a_key_is_not_shown_in_any_spelling() {
    let (key, other) = ("Sk-Live/Ab+0123456789\"", "Sk-Live/Ab+9876543210\"");
    let pack = Pack::tool("GET", "/v1/x", "")
        .manifest(
            "tier: entrusted\ncredentials: [{id: key, type: custom_env, provider: acme, inject: {env: ACME_KEY}}]\n",
        )
        .toolspec("auths: [{credential: key, inject: {header: X-Key, format: \"{token}\"}}]\n")
        .variable("ACME_KEY", key);
    let spelled = |key: &str| {
        let each = |form: fn(u8) -> String| key.bytes().map(form).collect::<String>();
        let escaped = |from: &str, to: &str| key.replace(from, to).replace('"', "\\\"");
        [
            ("percent, lower case", key.replace('/', "%2f").replace('+', "%2b").replace('"', "%22")),
            ("percent, all of it", each(|byte| format!("%{byte:02X}"))),
            ("JSON", escaped("/", "\\/")),
            ("JSON, all of it", each(|byte| format!("\\u{byte:04x}"))),
            ("HTML", key.replace('"', "&quot;").replace('+', "&#43;")),
            ("hex", each(|byte| format!("{byte:02X}"))),
            ("lower case", key.to_lowercase()),
            ("upper case", key.to_uppercase()),
        ]
    };
    let origin = Origin::start(&[HOST]).await;
    for ((case, echo), (_, harmless)) in spelled(key).into_iter().zip(spelled(other)) {
        for media_type in ["text/plain", "application/json"] {
            for (body, shows) in [(&echo, false), (&harmless, true)] {
                let told =
                    if media_type == "text/plain" { format!("got {body}!") } else { json!({"got": body}).to_string() };
                origin.will_answer([Answer::new(200, media_type, told.clone())]);
                let shown = call(&pack.start(&origin), json!({})).await;
                assert_eq!(text(&shown) == told, shows, "{case}, {media_type}: {shown}");
                assert_eq!(text(&shown).contains("[credential]"), !shows, "{case}, {media_type}: {shown}");
            }
        }
    }
    for (media_type, expected) in [
        ("x/sk-live_0123", "x/sk-live_0123"),
        ("x/sk live; a", "application/octet-stream"),
        ("x", "application/octet-stream"),
    ] {
        origin.will_answer([Answer::new(200, media_type, "\0".to_owned())]);
        let result = call(&pack.start(&origin), json!({})).await;
        assert_eq!(result["content"][0]["resource"]["mimeType"], expected, "{result}");
    }
}

/// The host is the same, and may tell with one answer what it got with another request.
#[tokio::test]
async fn the_key_of_another_tool_is_not_shown_either() {
    let origin = Origin::start(&[HOST]).await;
    let manifest = |hosts: &str| {
        format!(
            "credentials: [{{id: key, type: api_key, provider: acme, inject: {{header: X-Key, format: \"{{token}}\"}}, \
             bind: [{{hosts: [{hosts}], methods: [DELETE]}}]}}]\n"
        )
    };
    let pack = Pack::tool("GET", "/v1/x", "").manifest(&manifest(HOST)).variable("GIG_PLACEHOLDER", "p-0123456789");
    for (body, expected) in [("p-0123456789", "[credential]"), ("p-9876543210", "p-9876543210")] {
        origin.will_answer([Answer::json(200, &json!({"a": body}))]);
        assert_eq!(shown(&call(&pack.start(&origin), json!({})).await), json!({"a": expected}));
        assert_eq!(origin.seen().pop().unwrap().header("x-key"), "");
    }
}

#[tokio::test]
async fn without_its_credential_a_call_says_what_is_missing() {
    let pack = Pack::tool("GET", "/v1/x", "").manifest(
        "credentials: [{id: key, type: api_key, provider: acme, inject: {header: X-Key, format: \"{token}\"}}]\n",
    );
    for empty in [pack.clone(), pack.clone().variable("GIG_PLACEHOLDER", "")] {
        let refused = empty.request(json!({})).await.unwrap_err();
        assert!(refused.contains("the credential `key` is not set up: GIG_PLACEHOLDER is empty"), "{refused}");
    }
    assert!(pack.variable("GIG_PLACEHOLDER", "p-0123456789").request(json!({})).await.is_ok());
}

#[tokio::test]
async fn what_is_shown_is_what_came_when_there_is_no_credential_in_it() {
    let origin = Origin::start(&[HOST]).await;
    let pack = Pack::tool("GET", "/v1/x", "")
        .manifest(
            "credentials: [{id: key, type: api_key, provider: acme, inject: {header: X-Key, format: \"{token}\"}}]\n",
        )
        .variable("GIG_PLACEHOLDER", "p-0123456789");
    let body = json!({"a": "p-012345678", "b": "[x]"});
    origin.will_answer([Answer::json(200, &body)]);
    assert_eq!(shown(&call(&pack.start(&origin), json!({})).await), body);
}

/// Cut in the middle, a key is not recognised any more.
#[tokio::test]
async fn no_part_of_a_key_is_left_where_an_answer_is_cut() {
    let key = "k3yk3yk3yk3yk3yk3yk3y";
    let origin = Origin::start(&[HOST]).await;
    let pack = Pack::tool("GET", "/v1/x", "response: {maxBytes: 50}")
        .manifest(
            "tier: entrusted\ncredentials: [{id: key, type: custom_env, provider: acme, inject: {env: ACME_KEY}}]\n",
        )
        .toolspec("auths: [{credential: key, inject: {query: k}}]\n")
        .variable("ACME_KEY", key);
    let upstream = pack.start(&origin);
    let small = ToolpackLimits { max_read_bytes: 60, ..ToolpackLimits::default() };
    let short = pack.start_limited(&origin, small);
    for before in 30..60 {
        let text = format!("{}{key}{}", "x".repeat(before), "z".repeat(100));
        for (status, media_type, body) in [
            (200, "text/plain", text.clone()),
            (200, "application/json", json!({ "a": text }).to_string()),
            (200, "application/json", json!([text]).to_string()),
            (500, "text/plain", format!("{}{text}", "x".repeat(1950))),
            (200, "application/zip", format!("\u{0}{text}")),
        ] {
            for upstream in [&upstream, &short] {
                origin.will_answer([Answer::new(status, media_type, body.clone())]);
                let told = call(upstream, json!({})).await.to_string();
                assert!(!told.contains("k3"), "{before} {media_type}: {told}");
            }
        }
    }
}

#[tokio::test]
async fn a_link_with_the_key_in_its_path_gets_no_second_one() {
    let origin = Origin::start(&[HOST]).await;
    let pack = Pack::tool("GET", "/items", "pagination: {type: link, maxPages: 5}")
        .manifest("credentials: [{id: key, type: api_key, provider: acme, inject: {path: bot}}]\n")
        .variable("GIG_PLACEHOLDER", "p-0123456789");
    let first = Answer::json(200, &json!([1])).with("link", "</botp-0123456789/items?page=2>; rel=next");
    origin.will_answer([first, Answer::json(200, &json!([2]))]);
    assert_eq!(shown(&call(&pack.start(&origin), json!({})).await), json!([1, 2]));
    let targets: Vec<_> = origin.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/botp-0123456789/items", "/botp-0123456789/items?page=2"]);
}
