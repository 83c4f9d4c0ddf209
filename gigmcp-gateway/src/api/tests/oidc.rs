//! Signing in by a provider that lies in one thing, each beside the same without the lie.

mod accounts;
mod fresh;
mod logout;
mod provider;
mod refresh;
mod suspended;
mod throttles;
mod tokens;

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use super::{
    super::PREFIX,
    world::{AGENT, Answer, HOST, World},
};
use provider::{CLIENT_ID, CLIENT_SECRET, Provider};

/// A gateway, and a provider that is at its command.
struct Scene {
    world: World,
    provider: Provider,
    _secret: tempfile::NamedTempFile,
    /// From where the next one comes; whoever failed waits.
    next: u8,
    /// From where all come, if it is one place.
    from: Option<IpAddr>,
}

/// What a browser keeps of a sign-in, and what the provider was told.
struct Begun {
    cookie: String,
    state: String,
    nonce: String,
}

impl Scene {
    async fn new(arguments: &[&str]) -> Self {
        let provider = Provider::start().await;
        let secret = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(secret.path(), CLIENT_SECRET).expect("it can be written");
        let given = [
            "--public-url",
            "http://127.0.0.1:8080",
            "--oidc-issuer",
            &provider.issuer,
            "--oidc-client-id",
            CLIENT_ID,
            "--oidc-client-secret-file",
            secret.path().to_str().expect("text"),
        ];
        let world = World::new(&[&given, arguments].concat()).await;
        Self { world, provider, _secret: secret, next: 0, from: None }
    }

    async fn ready(arguments: &[&str]) -> Self {
        let scene = Self::new(arguments).await;
        scene.world.state.oidc.as_ref().expect("it is set").discover().await.expect("a provider");
        scene
    }

    /// One request of a browser that has these cookies.
    async fn get(&mut self, path: &str, cookies: &str) -> Answer {
        let request = Request::get(format!("{PREFIX}{path}")).header(header::HOST, HOST);
        let request = if cookies.is_empty() { request } else { request.header(header::COOKIE, cookies) };
        self.send(request.body(Full::default()).expect("a request")).await
    }

    async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Answer {
        request.headers_mut().entry(header::USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        self.next = self.next.wrapping_add(1);
        let address = self.from.unwrap_or(IpAddr::V4(Ipv4Addr::new(198, 51, 100, self.next)));
        let (parts, body) = self.world.router.answer(request, address).await.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    }

    async fn begin(&mut self) -> Begun {
        let answer = self.get("/oidc/login", "").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        self.begun(&answer, answer.headers[header::LOCATION].to_str().expect("ASCII"))
    }

    /// What a browser that is sent there has been given.
    fn begun(&self, answer: &Answer, location: &str) -> Begun {
        let url: openidconnect::url::Url = location.parse().expect("an address");
        let value = |wanted: &str| {
            let mut found = url.query_pairs().filter(|(name, _)| name == wanted);
            found.next().map(|(_, value)| value.into_owned()).unwrap_or_else(|| panic!("no {wanted}: {url}"))
        };
        assert_eq!((&*value("response_type"), &*value("client_id")), ("code", CLIENT_ID));
        assert_eq!(value("redirect_uri"), "http://127.0.0.1:8080/api/v1/oidc/callback");
        assert_eq!(value("code_challenge_method"), "S256");
        let begun = Begun {
            cookie: cookie(answer, "gig_oidc").expect("it is set"),
            state: value("state"),
            nonce: value("nonce"),
        };
        self.provider.change(|plan| {
            plan.nonce = begun.nonce.clone();
            plan.challenge = value("code_challenge");
        });
        begun
    }

    /// The browser is back with what the provider gave it.
    async fn back(&mut self, begun: &Begun) -> Answer {
        let issuer = self.provider.issuer.clone();
        self.get(&format!("/oidc/callback?state={}&code=good&iss={issuer}", begun.state), &begun.cookie).await
    }

    async fn sign_in(&mut self) -> Answer {
        let begun = self.begin().await;
        self.back(&begun).await
    }

    /// Signs in, which has to work, and gives the cookie of the session.
    async fn signed_in(&mut self) -> String {
        let answer = self.sign_in().await;
        assert_eq!(answer.status, StatusCode::OK, "{}: {}", answer.body, self.cause().await);
        cookie(&answer, "gig_session").expect("it is set")
    }

    /// The verdict of the last row of the audit trail.
    async fn cause(&self) -> String {
        // That a session did not let in is told besides.
        let rows = self.world.state.store().audit_tail(9).await.expect("it can be read");
        let told = rows.into_iter().rfind(|row| row.row.kind != "proof");
        told.map(|row| row.row.verdict).unwrap_or_default()
    }

    /// How many returns there were that were not begun in that browser.
    fn not_begun(&self) -> u64 {
        let mut counted = self.world.state.people.failed.counted();
        counted.find(|(proof, _)| *proof == "provider-flow").expect("it is counted").1
    }

    async fn is_in(&mut self, session: &str) -> bool {
        self.get("/session", session).await.status == StatusCode::OK
    }

    /// Asks as a page of ours does in that session.
    async fn ask(&mut self, session: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let csrf = self.get("/session", session).await.body["csrf_token"].as_str().unwrap_or_default().to_owned();
        let mut request = Request::builder().method(method).uri(format!("{PREFIX}{path}")).header(header::HOST, HOST);
        request = request.header(header::COOKIE, session).header(super::CSRF_HEADER, csrf);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        self.send(request.body(Full::new(body)).expect("a request")).await
    }
}

/// `name=value` of a cookie that an answer sets.
fn cookie(answer: &Answer, name: &str) -> Option<String> {
    let set = answer.headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = set.filter_map(|set| set.split(';').next());
    pairs.filter(|pair| pair.starts_with(&format!("{name}=")) && !pair.ends_with('=')).map(ToOwned::to_owned).next()
}
