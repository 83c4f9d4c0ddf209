//! The REST API of the real gateway, over real connections.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    client::{ADDRESS, Answer, Session, post, send},
    gateway::{Installation, demo_server},
    internet::Internet,
};

pub(crate) const PASSWORD: &str = "Apollo 11 1202 alarm";

/// A browser, as far as it matters: a cookie, and what our pages know.
pub(crate) struct Browser<'a> {
    internet: &'a Internet,
    cookie: String,
    csrf: String,
}

impl<'a> Browser<'a> {
    /// Somebody new who is signed in, with a profile `of-NAME` that has the server `echo`.
    pub(crate) fn with_echo(internet: &'a Internet, root: &Browser<'_>, name: &str, role: &str) -> Self {
        let invite = json!({ "email": format!("{name}@example.com"), "role": role });
        let code = root.ask(Method::POST, "/invitations", Some(invite)).json()["token"].clone();
        let mut browser = Self::new(internet);
        browser.accept(&code);
        browser.sign_in(&format!("{name}@example.com"));
        let revision = browser.ask(Method::GET, "/servers/echo", None).json()["revision"].clone();
        let profile = json!({ "slug": format!("of-{name}"), "servers": { "echo": revision } });
        assert_eq!(browser.ask(Method::POST, "/profiles", Some(profile)).status, StatusCode::CREATED);
        browser
    }

    pub(crate) fn new(internet: &'a Internet) -> Self {
        Self { internet, cookie: String::new(), csrf: String::new() }
    }

    pub(crate) fn request(&self, method: Method, path: &str, body: Option<Value>) -> Request<Bytes> {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}")).header(header::HOST, ADDRESS);
        if !self.cookie.is_empty() {
            request = request.header(header::COOKIE, &self.cookie).header("x-csrf-token", &self.csrf);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(body.map(|body| body.to_string().into()).unwrap_or_default()).unwrap()
    }

    pub(crate) fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        send(self.internet, self.request(method, path, body))
    }

    /// Somebody put this session there.
    pub(crate) fn plant(&mut self, token: &str) {
        self.cookie = format!("gig_session={token}");
    }

    /// Uses a code up.
    pub(crate) fn accept(&mut self, code: &Value) {
        let body = json!({ "code": code, "password": PASSWORD });
        assert_eq!(self.ask(Method::POST, "/invitations/accept", Some(body)).status, StatusCode::CREATED);
    }

    /// The session, and what our pages send with it.
    pub(crate) fn proof(&self) -> String {
        format!("{}:{}", self.cookie.split_once('=').unwrap().1, self.csrf)
    }

    pub(crate) fn sign_in(&mut self, email: &str) {
        let answer = self.ask(Method::POST, "/session", Some(json!({ "email": email, "password": PASSWORD })));
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
        assert!(set.contains("; HttpOnly; SameSite=Strict"), "{set}");
        self.cookie = set.split(';').next().unwrap().to_owned();
        self.csrf = answer.json()["csrf_token"].as_str().unwrap().to_owned();
    }
}

/// The first administrator, signed in.
pub(crate) fn administrator<'a>(internet: &'a Internet, gateway: &crate::gateway::Gateway) -> Browser<'a> {
    let log = gateway.wait_for("and a password on the next line");
    let code = log.split_whitespace().find(|word| word.starts_with("gigi_")).unwrap();
    let mut root = Browser::new(internet);
    let body = json!({ "code": code, "password": PASSWORD, "email": "root@example.com" });
    let accepted = root.ask(Method::POST, "/invitations/accept", Some(body));
    assert_eq!(accepted.status, StatusCode::CREATED, "{accepted:?}");
    root.sign_in("root@example.com");
    root
}

#[test]
fn people_do_all_of_it_over_the_network() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    let gateway = installation.serve(&internet, &[]);
    let log = gateway.wait_for("and a password on the next line");
    let code = log.split_whitespace().find(|word| word.starts_with("gigi_")).unwrap().to_owned();
    let mut root = Browser::new(&internet);
    let body = json!({ "code": code, "password": PASSWORD, "email": "root@example.com" });
    let accepted = root.ask(Method::POST, "/invitations/accept", Some(body.clone()));
    assert_eq!(accepted.json()["user"], "local", "{accepted:?}");
    assert_eq!(
        root.ask(Method::POST, "/invitations/accept", Some(body)).status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "once"
    );
    root.sign_in("root@example.com");
    let me = root.ask(Method::GET, "/session", None);
    assert_eq!(
        (&me.json()["user"]["role"], &me.headers["cache-control"]),
        (&json!("admin"), &"no-store".parse().unwrap())
    );

    let invited = root.ask(Method::POST, "/invitations", Some(json!({ "email": "ann@example.com", "role": "user" })));
    let mut ann = Browser::new(&internet);
    let code = invited.json()["token"].clone();
    let accepted = ann.ask(Method::POST, "/invitations/accept", Some(json!({ "code": code, "password": PASSWORD })));
    let id = accepted.json()["user"].as_str().unwrap().to_owned();
    ann.sign_in("ann@example.com");
    assert_eq!(ann.ask(Method::GET, "/users", None).status, StatusCode::FORBIDDEN);
    assert_eq!(root.ask(Method::GET, "/users", None).json()["items"].as_array().unwrap().len(), 2, "twin");

    // A token of a profile, made over the network, opens it, and no more once it is revoked there.
    installation.profile("work", &["echo"]);
    let made = root.ask(Method::POST, "/profiles/work/tokens", Some(json!({ "name": "laptop" })));
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.call("echo_echo", &json!({ "text": "hello" })).text(), "hello");
    assert_eq!(ann.ask(Method::GET, "/profiles/work/tokens", None).status, StatusCode::NOT_FOUND, "another's");
    assert_eq!(root.ask(Method::DELETE, "/profiles/work/tokens/laptop", None).status, StatusCode::NO_CONTENT);
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    assert_eq!(send(&internet, post("/mcp/p/work", Some(&token), ping)).status, StatusCode::UNAUTHORIZED);

    // Nobody is in any more at once.
    assert_eq!(root.ask(Method::POST, &format!("/users/{id}/disable"), None).status, StatusCode::NO_CONTENT);
    assert_eq!(ann.ask(Method::GET, "/session", None).status, StatusCode::UNAUTHORIZED);
    assert_eq!(root.ask(Method::DELETE, "/session", None).status, StatusCode::NO_CONTENT);
    assert_eq!(root.ask(Method::GET, "/session", None).status, StatusCode::UNAUTHORIZED);
    assert!(!gateway.log().contains(PASSWORD) && !gateway.log().contains(&token));
}

#[test]
fn a_page_that_rebinds_its_name_gets_no_answer() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let _gateway = installation.serve(&internet, &[("GIG_PUBLIC_URL", "https://gig.example.com")]);
    for (host, expected) in [
        (ADDRESS, StatusCode::OK),
        ("gig.example.com", StatusCode::OK),
        ("evil.example", StatusCode::FORBIDDEN),
        ("gig.example.com.evil.example", StatusCode::FORBIDDEN),
    ] {
        let request = Request::get("/api/v1/openapi.json").header(header::HOST, host).body(Bytes::new()).unwrap();
        let answer = send(&internet, request);
        assert_eq!(answer.status, expected, "{host}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let code = answer.json()["error"]["code"].clone();
        assert_eq!(code, if expected == StatusCode::OK { Value::Null } else { json!("cross_site") });
    }
}
