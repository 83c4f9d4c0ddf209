//! A provider that says what a test wants it to say, in raw HTTP and with keys of its own.

use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::store::now_seconds;

pub(super) const CLIENT_ID: &str = "gigmcp";
pub(super) const CLIENT_SECRET: &str = "what only the gateway and the provider know";
pub(super) const ACCESS_TOKEN: &str = "an-access-token";

/// How a token is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Signing {
    Right,
    /// With a key that is none of the provider's.
    OtherKey,
    Unsigned,
    /// With what all may know, as a secret.
    PublicKeyAsSecret,
    /// With what the gateway knows too.
    ClientSecret,
}

/// What the provider says. Members of these objects replace those that are right; null leaves one out.
pub(super) struct Plan {
    pub(super) nonce: String,
    pub(super) challenge: String,
    pub(super) header: Value,
    pub(super) claims: Value,
    pub(super) signing: Signing,
    pub(super) userinfo: Value,
    pub(super) discovery: Value,
    pub(super) token: Value,
    /// By path, an answer as it is.
    pub(super) raw: Option<(&'static str, String)>,
    pub(super) key: Arc<EcdsaKeyPair>,
    pub(super) kid: String,
    /// The refresh token that must come, if one is used.
    pub(super) expected_refresh: Option<&'static str>,
    /// A path whose answer waits: that it is asked is told here, and it is answered when the other says so.
    pub(super) held: Option<(&'static str, oneshot::Sender<()>, oneshot::Receiver<()>)>,
    /// The paths that were asked.
    pub(super) asked: Vec<String>,
}

/// The running provider.
pub(super) struct Provider {
    pub(super) issuer: String,
    plan: Arc<Mutex<Plan>>,
}

pub(super) fn key() -> Arc<EcdsaKeyPair> {
    Arc::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
}

impl Plan {
    fn right() -> Self {
        let nothing = || Value::Object(Map::new());
        Self {
            nonce: String::new(),
            challenge: String::new(),
            header: nothing(),
            claims: nothing(),
            signing: Signing::Right,
            userinfo: nothing(),
            discovery: nothing(),
            token: nothing(),
            raw: None,
            key: key(),
            kid: "first".to_owned(),
            expected_refresh: None,
            held: None,
            asked: Vec::new(),
        }
    }

    /// A token that says this, with the plan's header and signing.
    pub(super) fn signed(&self, typ: &str, claims: Value) -> String {
        let mut header = json!({ "alg": "ES256", "kid": self.kid, "typ": typ });
        let secret = match self.signing {
            Signing::Right | Signing::OtherKey => None,
            Signing::Unsigned => {
                header["alg"] = "none".into();
                None
            }
            Signing::PublicKeyAsSecret => Some(self.key.public_key().as_ref().to_vec()),
            Signing::ClientSecret => Some(CLIENT_SECRET.as_bytes().to_vec()),
        };
        if secret.is_some() {
            header["alg"] = "HS256".into();
        }
        replace(&mut header, &self.header);
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let by = |key: &EcdsaKeyPair| {
            key.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature").as_ref().to_vec()
        };
        let signature = match (secret, self.signing) {
            (Some(secret), _) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes()).as_ref().to_vec()
            }
            (None, Signing::Unsigned) => Vec::new(),
            (None, Signing::OtherKey) => by(&key()),
            (None, _) => by(&self.key),
        };
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    pub(super) fn id_token(&self, issuer: &str) -> String {
        let now = now_seconds();
        let mut claims = json!({
            "iss": issuer, "aud": CLIENT_ID, "sub": "ann", "iat": now, "exp": now + 300, "nonce": self.nonce,
            "email": "ann@example.com", "email_verified": true, "sid": "a-session",
            "at_hash": BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(ACCESS_TOKEN)[..16]),
        });
        replace(&mut claims, &self.claims);
        self.signed("JWT", claims)
    }

    fn answer(&mut self, issuer: &str, path: &str, body: &str) -> String {
        self.asked.push(path.to_owned());
        if let Some((at, raw)) = &self.raw
            && *at == path
        {
            return raw.clone();
        }
        let document = match path {
            "/.well-known/openid-configuration" => {
                let mut document = json!({
                    "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
                    "userinfo_endpoint": format!("{issuer}/userinfo"), "end_session_endpoint": format!("{issuer}/end"),
                    "authorization_response_iss_parameter_supported": true, "code_challenge_methods_supported": ["S256"],
                });
                replace(&mut document, &self.discovery);
                document
            }
            "/keys" => {
                let public = self.key.public_key().as_ref();
                let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
                let odd = json!({ "kty": "of another world", "kid": "odd" });
                json!({ "keys": [odd, {
                    "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
                    "x": part(&public[1..33]), "y": part(&public[33..]),
                }] })
            }
            "/userinfo" => {
                let mut document = json!({ "sub": "ann", "name": "Ann" });
                replace(&mut document, &self.userinfo);
                document
            }
            "/token" => {
                let fields: Vec<(String, String)> = serde_urlencoded::from_str(body).expect("a form");
                let field =
                    |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
                if field("grant_type") == Some("authorization_code") {
                    let verifier = field("code_verifier").expect("a verifier");
                    assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)), self.challenge, "PKCE");
                    assert_eq!(field("code"), Some("good"));
                }
                if let (Some("refresh_token"), Some(expected)) = (field("grant_type"), self.expected_refresh) {
                    assert_eq!(field("refresh_token"), Some(expected));
                }
                let mut document = json!({
                    "access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 60, "id_token": self.id_token(issuer),
                });
                replace(&mut document, &self.token);
                document
            }
            other => panic!("nobody asks for {other}"),
        };
        let status = if path == "/token" && document.get("error").is_some() { "400 Bad Request" } else { "200 OK" };
        answer(status, "content-type: application/json\r\n", &document.to_string())
    }
}

/// A whole answer.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn replace(document: &mut Value, with: &Value) {
    let (Some(document), Some(with)) = (document.as_object_mut(), with.as_object()) else { return };
    for (name, value) in with {
        match value {
            Value::Null => drop(document.remove(name)),
            value => drop(document.insert(name.clone(), value.clone())),
        }
    }
}

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let plan = Arc::new(Mutex::new(Plan::right()));
        let provider = Self { issuer: issuer.clone(), plan: Arc::clone(&plan) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, issuer.clone(), Arc::clone(&plan)));
            }
        });
        provider
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("nobody failed with it")
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan());
    }

    /// Lets whoever asks for that path next wait. Gives what tells that it is asked, and what lets it be answered.
    pub(super) fn hold(&self, path: &'static str) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((asked, is_asked), (answer, answers)) = (oneshot::channel(), oneshot::channel());
        self.plan().held = Some((path, asked, answers));
        (is_asked, answer)
    }

    /// Says what is right from now on, with the same keys.
    pub(super) fn right(&self) {
        let mut plan = self.plan();
        let (key, kid) = (Arc::clone(&plan.key), plan.kid.clone());
        *plan = Plan { key, kid, ..Plan::right() };
    }
}

/// Answers one request.
async fn serve(mut stream: TcpStream, issuer: String, plan: Arc<Mutex<Plan>>) {
    let mut read = Vec::new();
    let (head, mut body) = loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap_or(0);
        read.extend_from_slice(&part[..count]);
        let text = String::from_utf8(read.clone()).expect("ASCII");
        match text.split_once("\r\n\r\n") {
            Some((head, body)) => break (head.to_owned(), body.to_owned()),
            None if count == 0 => return,
            None => {}
        }
    };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    while body.len() < length.unwrap_or(0) {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap_or(0);
        body.push_str(std::str::from_utf8(&part[..count]).expect("ASCII"));
    }
    let path = head.split(' ').nth(1).expect("a target").to_owned();
    let held = plan.lock().expect("nobody failed with it").held.take_if(|(at, ..)| *at == path);
    if let Some((_, asked, answers)) = held {
        asked.send(()).expect("the test waits for it");
        answers.await.expect("the test lets it go on");
    }
    let answer = plan.lock().expect("nobody failed with it").answer(&issuer, &path, &body);
    // Who reads no more is no fault here.
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}
