//! A gateway's API with people in it.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use bytes::Bytes;
use clap::{Args, FromArgMatches};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use zeroize::Zeroizing;

use super::super::{CSRF_HEADER, PREFIX, Router, State, routes};
use crate::{
    host::Host,
    people::{
        Acceptance, Actor, Attempt, Label, Origin, Password, People, Role, SessionToken, TokenScope, TokenWish, UserId,
        Via,
    },
    serve,
    settings::Settings,
    spec::ProfileSlug,
    store::{AuditRow, NewApiKey, now_seconds},
    token::{self, Token},
};

pub(super) const PASSWORD: &str = "Apollo 11 1202 alarm";

pub(super) struct World {
    directory: tempfile::TempDir,
    pub(super) state: Arc<State>,
    pub(super) router: Router<State>,
}

/// Somebody with all that somebody can have.
pub(super) struct Account {
    pub(super) id: UserId,
    pub(super) email: String,
    pub(super) role: Role,
    pub(super) profile: ProfileSlug,
    pub(super) session: SessionToken,
}

/// What somebody comes with.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    None,
    Session(String, String),
    Key(String),
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// `ok`, or the code of the error.
    pub(super) fn code(&self) -> &str {
        match self.status.is_success() {
            true => "ok",
            false => self.body["error"]["code"].as_str().expect("every error has one"),
        }
    }
}

impl World {
    /// With an administrator, `root@example.com`.
    pub(super) async fn new(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let command = Settings::augment_args(clap::Command::new("gigmcp-gateway"));
        let data = directory.path().to_str().expect("text");
        let given = [&["gigmcp-gateway", "--audit-days", "0", "--data-dir", data], arguments].concat();
        let settings = Settings::from_arg_matches(&command.get_matches_from(given)).expect("settings");
        let host = Host::open(&settings).expect("a new data directory");
        host.store.stays_open();
        let people = People::fast(host.store.clone());
        let started = serve::supervisor(&settings, host, HashMap::new()).await;
        let (supervisor, custody) = started.expect("all that is needed");
        custody.close().await;
        let state = Arc::new(State::with_people(Arc::new(supervisor), people, &settings));
        let router = Router::new(Arc::clone(&state), routes());
        let world = Self { directory, state, router };
        let code = world.state.people.setup_code().await.expect("it can be made").expect("there is none yet");
        world.accept(code.expose(), Some("root@example.com")).await;
        world
    }

    async fn accept(&self, code: &str, email: Option<&str>) -> UserId {
        let email = email.map(|email| email.parse().expect("an address"));
        let acceptance = Acceptance { code: code.to_owned(), email, password: password(), origin: None };
        self.state.people.accept(acceptance, self.state.secrets()).await.expect("a good code")
    }

    /// One more account, with a profile, a token `extra`, a key `old` and a session.
    pub(super) async fn account(&self, name: &str, role: Role) -> Account {
        let email = format!("{name}@example.com");
        let address = email.parse().expect("an address");
        let people = &self.state.people;
        let code = people.invite(&Actor::local(), address, role, None).await.expect("it is free");
        let id = self.accept(code.expose(), None).await;
        let profile: ProfileSlug = format!("of-{name}").parse().expect("a profile name");
        let actor = person(&id, role);
        people.create_profile(&actor, &profile, Vec::new()).await.expect("a new profile");
        let wish = TokenWish { name: label("extra"), scope: TokenScope::default(), holds: None };
        people.create_token(&actor, &profile, wish).await.expect("a new token");
        let scopes = "system:read".parse().expect("scopes");
        people.create_api_key(&actor, label("old"), scopes, None).await.expect("a new key");
        let session = self.sign_in(&email).await;
        Account { id, email, role, profile, session }
    }

    pub(super) async fn sign_in(&self, email: &str) -> SessionToken {
        let attempt = Attempt {
            email: email.parse().expect("an address"),
            password: password(),
            second: None,
            origin: Origin::new(ADDRESS, AGENT),
            device: None,
            replaces: None,
        };
        self.state.people.sign_in(attempt, self.state.secrets()).await.expect("the password is right").token
    }

    /// A session of an administrator in which another's pages are looked at.
    pub(super) async fn viewing(&self, of: &Account, viewed: &UserId) -> Proof {
        let session = self.sign_in(&of.email).await;
        let holds = "10m".parse().expect("a time");
        let renamed = self.state.people.view(&person(&of.id, of.role), &session, viewed, holds).await;
        proof(&renamed.expect("an administrator may"))
    }

    /// A key with these scopes.
    pub(super) async fn key(&self, of: &Account, scopes: &str) -> Proof {
        let name = label(&format!("k{}", scopes.replace([':', ','], "-")));
        let scopes = scopes.parse().expect("scopes");
        // Also with scopes that are of no use to its owner, as somebody has one who was more once.
        let key = Token::mint_for(token::Kind::ApiKey);
        let new = NewApiKey { user: of.id.clone(), name, hash: key.hash(), scopes, expires_at: None };
        self.state.store().add_api_key(new, AuditRow::default()).await.expect("a new key");
        Proof::Key(key.expose().to_owned())
    }

    /// Every byte of the database, as text as far as it is.
    pub(super) fn kept(&self) -> String {
        let files = std::fs::read_dir(self.directory.path()).expect("it is there");
        let files = files.map(|file| file.expect("it is there").path()).filter(|path| path.is_file());
        let database = files.filter(|path| path.to_string_lossy().contains("gigmcp.db"));
        database.map(|path| String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned()).collect()
    }

    /// Asks as our own pages and programs do.
    pub(super) async fn ask(&self, proof: &Proof, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.send(request(proof, method, path, body)).await
    }

    pub(super) async fn send(&self, mut request: Request<Full<Bytes>>) -> Answer {
        request.headers_mut().entry(header::USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        let (parts, body) = self.router.answer(request, ADDRESS).await.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

pub(super) fn request(proof: &Proof, method: Method, path: &str, body: Option<Value>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("{PREFIX}{path}")).header(header::HOST, HOST);
    request = match proof {
        Proof::None => request,
        Proof::Session(cookie, csrf) => {
            request.header(header::COOKIE, format!("gig_session={cookie}")).header(CSRF_HEADER, csrf)
        }
        Proof::Key(key) => request.header(header::AUTHORIZATION, format!("Bearer {key}")),
    };
    let body = match body {
        None => Bytes::new(),
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            body.to_string().into()
        }
    };
    request.body(Full::new(body)).expect("a request")
}

pub(super) fn proof(session: &SessionToken) -> Proof {
    Proof::Session(session.expose().to_owned(), session.csrf())
}

pub(super) fn person(user: &UserId, role: Role) -> Actor {
    Actor { user: user.clone(), role, via: Via::Session, viewing: None, proof: None }
}

pub(super) fn label(text: &str) -> Label {
    text.parse().expect("a name")
}

fn password() -> Password {
    Password::new(Zeroizing::new(PASSWORD.to_owned())).expect("it is short")
}

/// In a table of names that nobody else has.
pub(super) fn fresh(number: usize) -> String {
    format!("n{number}-{}", now_seconds() % 1000)
}

pub(super) const HOST: &str = "127.0.0.1:8080";
/// What all browsers here say of themselves.
pub(super) const AGENT: &str = "a test";
pub(super) const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
