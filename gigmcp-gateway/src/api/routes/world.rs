//! A gateway's API for tests, asked as somebody who has been let in.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use bytes::Bytes;
use clap::{Args, FromArgMatches};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use super::super::{Body, Router, State};
use crate::{
    host::Host,
    people::{Actor, Role, Via},
    serve,
    settings::Settings,
    spec::{ServerName, ServerSpec, Source},
    store::{Store, TestDatabase},
};

pub(super) struct World {
    pub(super) router: Router<State>,
    pub(super) state: Arc<State>,
    /// Kept: it lies in a directory that goes with it.
    _test: TestDatabase,
}

impl World {
    /// With the accounts `ann` and `bob` of users, `aud` of an auditor and `adm` of an administrator, and the server `notes`.
    pub(super) async fn new(test: TestDatabase) -> Self {
        let command = Settings::augment_args(clap::Command::new("gigmcp-gateway"));
        let data = test.directory.path().join("data");
        let given = command.get_matches_from(["gigmcp-gateway", "--data-dir", data.to_str().expect("text")]);
        let settings = Settings::from_arg_matches(&given).expect("settings");
        let mut host = Host::open(&settings).expect("a new data directory");
        host.store.stays_open();
        host.store = test.open();
        for (id, role) in [("ann", "user"), ("bob", "user"), ("aud", "auditor"), ("adm", "admin")] {
            test.sql(&format!(
                "INSERT INTO users (id, issuer, subject, display_name, role, created_at) VALUES ('{id}', 'x', '{id}', '{id}', '{role}', 0)"
            ));
        }
        let mut spec = ServerSpec { command: vec!["notes".to_owned()], ..ServerSpec::new(Source::HostTools) };
        let (env, host_name) = ("API_KEY".parse().expect("a name"), "api.example.com".parse().expect("a host"));
        spec.secrets.push(crate::spec::SecretSlot::declared(env, host_name));
        spec.read_only.push("/opt/inside".into());
        host.store.add_server(server("notes"), spec, Vec::new()).await.expect("a new server");
        let secrets = Arc::new(host.secrets().await.expect("a new key"));
        let supervisor = serve::assemble(&settings, host, secrets, HashMap::new()).expect("all that is needed");
        let state = Arc::new(State::new(Arc::new(supervisor), &settings));
        Self { router: Router::new(Arc::clone(&state), super::all()), state, _test: test }
    }

    pub(super) fn store(&self) -> &Store {
        self.state.store()
    }

    /// What is to be agreed to of a server.
    pub(super) async fn revision(&self, name: &str) -> i64 {
        self.store().server(server(name)).await.expect("it is there").revision
    }

    /// Asks as somebody who is signed in.
    pub(super) async fn ask(&self, actor: &Actor, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let (status, mut body) = self.begin(actor, method, path, body).await;
        let bytes = (&mut body).collect().await.expect("it is whole").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into()))
    }

    pub(super) async fn begin(&self, actor: &Actor, method: Method, path: &str, body: Value) -> (StatusCode, Body) {
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder().method(&method).uri(format!("/api/v1{path}"));
        let request = request.header("content-type", "application/json").body(()).expect("a request");
        let (parts, ()) = request.into_parts();
        let answered = async {
            let (route, names) = self.router.route(&method, parts.uri.path())?;
            let actor = self.router.judge(route, Some(actor.clone()), &parts.headers)?;
            let request = Request::from_parts(parts.clone(), (bytes, names));
            self.router.act(route, actor, request, IpAddr::from([192, 0, 2, 1]), "id").await
        };
        let response = answered.await.unwrap_or_else(|error| error.into_response("id"));
        (response.status(), response.into_body())
    }

    /// The same, of which only the code of the error is of interest; `ok` if there is none.
    pub(super) async fn code(&self, actor: &Actor, method: Method, path: &str, body: Value) -> String {
        let (_, answer) = self.ask(actor, method, path, body).await;
        answer["error"]["code"].as_str().unwrap_or("ok").to_owned()
    }

    /// What the audit tells of changes by people, without the times.
    pub(super) async fn told(&self) -> Vec<String> {
        let rows = self.store().audit_tail(100).await.expect("it can be read");
        let of = |kind: &str| ["profile", "server", "secret"].contains(&kind);
        rows.into_iter().filter(|row| of(&row.row.kind)).map(|row| row.row.subject).collect()
    }
}

pub(super) fn server(name: &str) -> ServerName {
    name.parse().expect("a server name")
}

/// Somebody who is signed in.
pub(super) fn signed_in(user: &str, role: Role) -> Actor {
    Actor { user: user.parse().expect("an id"), role, via: Via::Local, viewing: None, proof: None }
}

/// Who looks at another's pages.
pub(super) fn viewing(user: &str, viewed: &str) -> Actor {
    let viewing = Some((viewed.parse().expect("an id"), Role::User));
    Actor { viewing, ..signed_in(user, Role::Admin) }
}

/// A program with a key of somebody.
pub(super) fn with_key(user: &str, role: Role, scopes: &str) -> Actor {
    let via = Via::ApiKey { name: "ci".to_owned(), scopes: scopes.parse().expect("scopes") };
    Actor { via, ..signed_in(user, role) }
}
