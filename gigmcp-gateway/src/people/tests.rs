//! What holds on both kinds of database.

mod accounts;
mod devices;
mod meanwhile;
mod sessions;
mod sign_in;
mod timing;
mod tokens;

use std::net::IpAddr;

use clap::{Args, FromArgMatches};
use zeroize::Zeroizing;

use super::{sign_in::SignedIn, *};
use crate::{
    host::Host,
    secrets::Secrets,
    settings::Settings,
    spec::{ServerSpec, Source},
    store::{AuditRow, TestDatabase, on_both},
    token::{self, Token},
};

/// A gateway's accounts, and the secrets that lie with them.
struct World {
    test: TestDatabase,
    people: People,
    secrets: Secrets,
    host: Host,
}

const PASSWORD: &str = "Apollo 11 1202 alarm";

/// Fast, as nothing is to be hidden.
pub(super) fn hasher() -> Hasher {
    Hasher::with_cost(argon2::Params::new(64, 1, 1, None).expect("they are valid"))
}

fn terms() -> Terms {
    Terms::of(Lifetime::hours(168))
}

impl World {
    async fn new(test: TestDatabase) -> Self {
        let command = Settings::augment_args(clap::Command::new("gigmcp-gateway"));
        let data = test.directory.path().join("data");
        let given = command.get_matches_from(["gigmcp-gateway", "--data-dir", data.to_str().expect("text")]);
        let settings = Settings::from_arg_matches(&given).expect("settings");
        let mut host = Host::open(&settings).expect("a new data directory");
        host.store.stays_open();
        host.store = test.open();
        let secrets = host.secrets().await.expect("a new key");
        let people = People::with_hasher(host.store.clone(), terms(), hasher());
        Self { test, people, secrets, host }
    }

    /// With the first administrator.
    async fn set_up(test: TestDatabase) -> Self {
        let world = Self::new(test).await;
        let code = world.people.setup_code().await.expect("it can be read").expect("there is none yet");
        world.accept(&code, Some("root@example.com")).await.expect("a good code");
        world
    }

    fn store(&self) -> &Store {
        &self.host.store
    }

    async fn accept(&self, code: &Token, email: Option<&str>) -> Result<UserId, PeopleError> {
        self.accept_with(code.expose(), email, PASSWORD).await
    }

    async fn accept_with(&self, code: &str, email: Option<&str>, password_: &str) -> Result<UserId, PeopleError> {
        let email = email.map(|email| email.parse().expect("an address"));
        let acceptance = Acceptance { code: code.to_owned(), email, password: password(password_), origin: None };
        self.people.accept(acceptance, &self.secrets).await
    }

    /// One more account.
    async fn invited(&self, email: &str, role: Role) -> UserId {
        let code = self.people.invite(&Actor::local(), address(email), role, None).await.expect("it is free");
        self.accept(&code, None).await.expect("a good code")
    }

    async fn sign_in(&self, email: &str, password_: &str, second: Option<&str>) -> Result<SignedIn, SignInError> {
        self.sign_in_from("192.0.2.1", email, password_, second).await
    }

    async fn sign_in_from(
        &self,
        from: &str,
        email: &str,
        password_: &str,
        second: Option<&str>,
    ) -> Result<SignedIn, SignInError> {
        self.try_in(None, from, email, (password_, second)).await
    }

    /// In a browser that is known to somebody.
    async fn sign_in_in(
        &self,
        device: DeviceToken,
        from: &str,
        email: &str,
        password_: &str,
    ) -> Result<SignedIn, SignInError> {
        self.try_in(Some(device), from, email, (password_, None)).await
    }

    async fn try_in(
        &self,
        device: Option<DeviceToken>,
        from: &str,
        email: &str,
        (password_, second): (&str, Option<&str>),
    ) -> Result<SignedIn, SignInError> {
        let attempt = Attempt {
            email: address(email),
            password: password(password_),
            second: second.map(|code| code.parse().expect("a code")),
            origin: origin(from),
            device,
            replaces: None,
        };
        self.people.sign_in(attempt, &self.secrets).await
    }

    /// Somebody who has signed in.
    async fn in_as(&self, email: &str) -> SignedIn {
        self.sign_in(email, PASSWORD, None).await.expect("the password is right")
    }

    /// Who comes with a token of a session.
    async fn actor(&self, token: &SessionToken) -> Option<Actor> {
        self.people.session(token).await.expect("it can be read").map(|session| session.actor())
    }

    /// A profile of somebody, with the servers `notes` and `other`, and a token.
    async fn profile(&self, slug: &str, owner: &UserId) -> String {
        let servers: Vec<_> = ["notes", "other"].iter().map(|name| name.parse().expect("a name")).collect();
        if self.store().servers().await.expect("they can be read").is_empty() {
            for name in &servers {
                let spec = ServerSpec { command: vec!["true".into()], ..ServerSpec::new(Source::HostTools) };
                self.store().add_server(Clone::clone(name), spec, Vec::new()).await.expect("a new server");
            }
        }
        let token = Token::mint();
        let slug = slug.parse().expect("a profile name");
        self.store().create_profile(slug, owner.clone(), servers, token.hash()).await.expect("a new profile");
        token.hash()
    }

    async fn opens(&self, hash: &str) -> bool {
        self.store().token_owner(hash.to_owned()).await.expect("it can be read").is_some()
    }

    /// What stands in the audit trail of that kind, the oldest first: about whom, what, and how it ended.
    async fn audit(&self, kind: &str) -> Vec<(String, String, String)> {
        // What nobody waits for is written before this.
        self.store().meddle("SELECT 1").await;
        let rows = self.store().audit_tail(1000).await.expect("they can be read");
        let of = |row: AuditRow| (row.owner, row.subject, row.verdict);
        rows.into_iter().map(|row| row.row).filter(|row| row.kind == kind).map(of).collect()
    }

    /// What is in the whole database.
    fn everything(&self) -> String {
        String::from_utf8_lossy(&crate::backup::tests::backup_of(&self.test)).into_owned()
    }
}

fn address(text: &str) -> Email {
    text.parse().expect("an address")
}

fn password(text: &str) -> Password {
    Password::new(Zeroizing::new(text.to_owned())).expect("it is short")
}

fn confirmed(text: &str, second: Option<&str>) -> Confirmation {
    Confirmation { password: password(text), code: second.map(|code| code.parse().expect("a code")) }
}

fn origin(from: &str) -> Origin {
    Origin::new(from.parse::<IpAddr>().expect("an address"), "Mozilla/5.0 \u{1b}[31m")
}

fn label(text: &str) -> Label {
    text.parse().expect("a name")
}

/// Somebody, with whatever they came.
fn anyhow_as(actor: Actor) -> Actor {
    Actor { proof: None, ..actor }
}

/// As a session has it.
fn person(user: &UserId, role: Role) -> Actor {
    Actor { user: user.clone(), role, via: Via::Session, viewing: None, proof: None }
}

/// As a key has it.
fn with_key(user: &UserId, role: Role, scopes: &str) -> Actor {
    let scopes = scopes.parse().expect("scopes");
    Actor { via: Via::ApiKey { name: "ci".to_owned(), scopes }, ..person(user, role) }
}
