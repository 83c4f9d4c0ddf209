//! Requests that reach a handler, and those that do not.

mod attacks;
mod bodies;
mod bound;
mod late;
mod oidc;
mod once;
mod rows;
mod scopes;
mod table;
mod world;

use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::{
    people::{ApiScope, Area, Role, Rule, UserId, Via},
    spec::ServerName,
};

struct House;

impl Door for House {
    async fn caller(&self, headers: &HeaderMap) -> Result<Option<Actor>, ApiError> {
        let said = headers.get("actor").map(|value| value.as_bytes());
        let role = |said: &[u8]| if said == b"admin" { Role::Admin } else { Role::User };
        Ok(said.map(|said| Actor {
            user: UserId::local(),
            role: role(said),
            via: Via::Session,
            viewing: None,
            proof: None,
        }))
    }

    fn not_let_in(&self, _: &ApiError, _: &HeaderMap, _: IpAddr) {}

    fn admit(&self, _: Option<&Actor>, _: IpAddr) -> Result<(), ApiError> {
        Ok(())
    }

    async fn begin_once(&self, _: OnceKey) -> Result<Begun, ApiError> {
        Ok(Begun::First)
    }

    async fn end_once(&self, _: OnceKey, _: Option<Kept>) {}

    fn session_cookie(&self) -> &'static str {
        "session"
    }

    fn is_meant(&self, _: &Method, _: Option<&Actor>, headers: &HeaderMap) -> Result<(), ApiError> {
        match headers.contains_key(CSRF_HEADER) {
            true => Ok(()),
            false => Err(ApiError::new(Code::CrossSite, "the token is missing")),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServerPath {
    name: Text<ServerName>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Paging {
    limit: Option<u16>,
}

#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct Note {
    text: String,
}

const READ: Rule = Rule::new(Access::SignedIn, Deed::Read).with_scope(ApiScope::read(Area::Servers));
const CHANGE: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Change);
const HELLO: Rule = Rule::new(Access::Public, Deed::Change);

fn router() -> Router<House> {
    let routes = vec![
        route(Method::GET, "/servers/{name}", "server", READ)
            .summary("One server")
            .path::<ServerPath>()
            .query::<Paging>()
            .answers(StatusCode::OK, async |call: Call<House, ServerPath, Paging>| {
                Ok(Reply::of(json!({ "name": call.path.name, "limit": call.query.limit })))
            }),
        route(Method::PUT, "/servers/{name}", "change_server", CHANGE)
            .path::<ServerPath>()
            .body::<Note>()
            .answers(StatusCode::OK, async |call: Call<House, ServerPath, (), Note>| Ok(Reply::of(call.body))),
        route(Method::POST, "/hello", "hello", HELLO).does(async |_: Call<House>| Ok(Reply::of(()))),
        route(Method::GET, "/fails", "fails", READ).does(async |_: Call<House>| {
            Err::<Reply<()>, _>(ApiError::internal(&io::Error::other("the disk is on fire")))
        }),
    ];
    Router::new(Arc::new(House), routes)
}

async fn ask(request: http::request::Builder, body: &str) -> (StatusCode, HeaderMap, Value) {
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request");
    let response = router().answer(request, IpAddr::from([192, 0, 2, 1])).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status, parts.headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn put(path: &str) -> http::request::Builder {
    let request = Request::put(format!("{PREFIX}{path}")).header("actor", "admin").header(CSRF_HEADER, "1");
    request.header("content-type", "application/json")
}

#[tokio::test]
async fn what_is_understood_reaches_its_handler_and_nothing_else_does() {
    let get = |path: &str| Request::get(format!("{PREFIX}{path}")).header("actor", "user");
    for (case, request, body, expected) in [
        ("twin", get("/servers/notes?limit=5"), "", "ok"),
        ("twin: no query", get("/servers/notes"), "", "ok"),
        ("unknown query", get("/servers/notes?limits=5"), "", "invalid"),
        ("twice", get("/servers/notes?limit=5&limit=6"), "", "invalid"),
        ("no number", get("/servers/notes?limit=five"), "", "invalid"),
        ("too large a number", get("/servers/notes?limit=70000"), "", "invalid"),
        ("no server's name", get("/servers/no%2Ftes"), "", "not_found"),
        ("no text", get("/servers/%ff"), "", "not_found"),
        ("no path", get("/servers/notes/more"), "", "not_found"),
        ("other case", get("/Servers/notes"), "", "not_found"),
        ("body where none is", get("/servers/notes"), "{}", "invalid"),
        ("other method", Request::delete(format!("{PREFIX}/servers/notes")), "", "method_not_allowed"),
        ("nobody", Request::get(format!("{PREFIX}/servers/notes")), "", "unauthenticated"),
        ("twin: change", put("/servers/notes"), r#"{"text":"x"}"#, "ok"),
        (
            "not of an administrator",
            Request::put(format!("{PREFIX}/servers/notes")).header("actor", "user").header(CSRF_HEADER, "1"),
            "{}",
            "forbidden",
        ),
        (
            "from another site",
            Request::put(format!("{PREFIX}/servers/notes")).header("actor", "admin"),
            "{}",
            "cross_site",
        ),
        ("unknown member", put("/servers/notes"), r#"{"text":"x","role":"admin"}"#, "invalid"),
        ("member twice", put("/servers/notes"), r#"{"text":"x","text":"y"}"#, "invalid"),
        ("two documents", put("/servers/notes"), r#"{"text":"x"}{}"#, "invalid"),
        ("no body", put("/servers/notes"), "", "invalid"),
        (
            "other type",
            Request::put(format!("{PREFIX}/servers/notes"))
                .header("actor", "admin")
                .header(CSRF_HEADER, "1")
                .header("content-type", "text/plain"),
            "{}",
            "unsupported_media_type",
        ),
        (
            "two types",
            put("/servers/notes").header("content-type", "text/plain"),
            r#"{"text":"x"}"#,
            "unsupported_media_type",
        ),
        (
            "compressed",
            put("/servers/notes").header("content-encoding", "gzip"),
            r#"{"text":"x"}"#,
            "unsupported_media_type",
        ),
        ("twin: not compressed", put("/servers/notes").header("content-encoding", "identity"), r#"{"text":"x"}"#, "ok"),
        ("too large", put("/servers/notes"), &format!(r#"{{"text":"{}"}}"#, "x".repeat(70_000)), "too_large"),
    ] {
        let (status, headers, document) = ask(request, body).await;
        let found = document["error"]["code"].as_str().unwrap_or("ok");
        assert_eq!(found, expected, "{case}: {status} {document}");
        assert_eq!(headers["cache-control"], "no-store");
        if expected != "ok" {
            assert_eq!(headers["x-request-id"], document["error"]["request_id"].as_str().expect("text"), "{case}");
        }
    }
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_id_that_a_caller_is_told_finds_the_cause_in_the_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    // While there is one subscriber only, a thread without it that comes to a line first has it silenced for all.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish());
    let _logged = tracing::subscriber::set_default(subscriber);
    let get = |path: &str| Request::get(format!("{PREFIX}{path}")).header("actor", "user");
    // As another test may.
    let elsewhere = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(ask(get("/fails"), ""));
    });
    elsewhere.join().expect("no panic");
    let (status, headers, document) = ask(get("/fails"), "").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let id = headers["x-request-id"].to_str().expect("ASCII").to_owned();
    assert_eq!(document["error"]["request_id"], id.as_str());
    assert!(!document.to_string().contains("fire"), "the cause is not told");
    let (_, headers, _) = ask(get("/servers/notes"), "").await;
    let other = headers["x-request-id"].to_str().expect("ASCII").to_owned();
    let text = String::from_utf8(log.0.lock().expect("nobody panicked").clone()).expect("text");
    let cause = text.lines().find(|line| line.contains("the disk is on fire")).unwrap_or_else(|| panic!("{text}"));
    assert!(cause.contains(&id) && !cause.contains(&other), "{cause}");
}

#[tokio::test]
async fn the_document_says_what_the_table_says() {
    let (status, _, document) = ask(Request::get("/api/v1/openapi.json"), "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(document["openapi"], "3.1.0");
    let get = &document["paths"]["/api/v1/servers/{name}"]["get"];
    assert_eq!(get["parameters"][0]["in"], "path");
    assert_eq!(
        get["parameters"][1],
        json!({
            "name": "limit", "in": "query", "required": false,
            "schema": { "type": ["integer", "null"], "format": "uint16", "minimum": 0, "maximum": 65535 },
        })
    );
    assert_eq!(get["security"], json!([{ "session": [] }, { "key": ["servers:read"] }]));
    let put = &document["paths"]["/api/v1/servers/{name}"]["put"];
    assert_eq!(put["requestBody"]["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/Note");
    assert_eq!(document["components"]["schemas"]["Note"]["additionalProperties"], false);
    assert_eq!(document["paths"]["/api/v1/hello"]["post"]["responses"]["204"]["description"], "No Content");
}
