//! The machine that the gateway runs on, its master key, and its images.

use std::{collections::BTreeMap, sync::Arc};

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{ApiError, Call, Code, Page, Paging, Reply, Route, State, Text, route, secret::SecretText};
use crate::{
    install::{self, LoginError, RegistryHost, RegistryLogin},
    people::{Access, Actor, ApiScope, Area, Deed, Kind, Role, Rule, done},
    spec::REGISTRY,
    store::AuditRow,
};

const SEE: Rule = Rule::new(Access::AtLeast(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::System));
const CHECK: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Read).with_scope(ApiScope::read(Area::System));
const READ: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Read).with_scope(ApiScope::read(Area::Servers));
const CHANGE: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Change).with_scope(ApiScope::write(Area::Servers));

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/host", "host", SEE)
            .summary("Which protections this host can enforce, and the fix for what it cannot; looked at once a minute")
            .answers(StatusCode::OK, async |call: Call<State>| Ok(Reply::of(call.state.desk.host_report().await))),
        route(Method::GET, "/keys", "keys", CHECK)
            .summary("Whether every secret opens with the master key, and is the one that was set last; never the key")
            .answers(StatusCode::OK, keys),
        route(Method::POST, "/images/collect", "collect_images", CHANGE)
            .summary("Removes the images that no server has or can go back to; what runs stays")
            .answers(StatusCode::OK, collect),
        route(Method::GET, "/registries", "registries", READ)
            .summary("The registries of images that there is a credential for, never the credential")
            .query::<Paging>()
            .answers(StatusCode::OK, registries),
        route(Method::PUT, "/registries/{host}", "set_registry", CHANGE)
            .summary("Keeps a credential for a private registry of images; it is sent there only")
            .path::<RegistryPath>()
            .body::<Login>()
            .does(log_in),
        route(Method::DELETE, "/registries/{host}", "forget_registry", CHANGE)
            .summary("Forgets the credential of a registry")
            .path::<RegistryPath>()
            .does(log_out),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RegistryPath {
    /// Host of the registry, and its port unless that is 443.
    host: Text<RegistryHost>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RegistryLogin")]
struct Login {
    username: String,
    password: SecretText,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Registry")]
struct Item {
    host: String,
    version: i64,
    created_at: i64,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Keys")]
struct Keys {
    secrets: usize,
    /// How many secrets each key seals.
    keys: BTreeMap<String, usize>,
    /// Which key seals now.
    active: String,
    /// Those that do not open.
    refused: Vec<Refused>,
    /// What is wrong with the ledger of secrets, if something is.
    ledger: Option<String>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "RefusedSecret")]
struct Refused {
    owner: String,
    server: String,
    name: String,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "CollectedImages")]
struct Collected {
    trees: u64,
    blobs: u64,
    /// Not needed, but they run.
    in_use: u64,
}

async fn keys(call: Call<State>) -> Result<Reply<Keys>, ApiError> {
    let secrets = call.state.secrets();
    let checked = secrets.check().await?;
    let mut keys = BTreeMap::new();
    for row in &checked.rows {
        let key = row.key.map_or_else(|| "none".to_owned(), |(id, version)| format!("{id} version {version}"));
        *keys.entry(key).or_default() += 1;
    }
    let refused = checked.rows.iter().filter(|row| row.refusal.is_some()).map(|checked| &checked.row.key);
    let refused = refused.map(|key| Refused {
        owner: key.owner.to_string(),
        server: key.server.to_string(),
        name: key.name.to_string(),
    });
    Ok(Reply::of(Keys {
        secrets: checked.rows.len(),
        active: secrets.active_key(),
        refused: refused.collect(),
        ledger: checked.ledger_refusal().map(ToString::to_string),
        keys,
    }))
}

async fn collect(call: Call<State>) -> Result<Reply<Collected>, ApiError> {
    told(&call.state, call.actor()?, Kind::Server, "removes images that nothing needs".to_owned(), "").await?;
    let state = Arc::clone(&call.state);
    // It is not given up when whoever asked goes away.
    let collected = tokio::spawn(async move { install::collect(state.host()).await }).await;
    let collected = collected.map_err(|error| ApiError::internal(&error))??;
    Ok(Reply::of(Collected { trees: collected.trees, blobs: collected.blobs, in_use: collected.leased }))
}

async fn registries(call: Call<State, (), Paging>) -> Result<Reply<Page<Item>>, ApiError> {
    let mut rows = call.state.store().secrets().await?;
    rows.retain(|row| row.key.server.as_str() == REGISTRY);
    let item = |row: crate::store::SecretRow| Item {
        host: row.key.name.to_string(),
        version: row.version,
        created_at: row.created_at,
    };
    Ok(Reply::of(Page::of(rows, &call.query, |row| row.key.name.to_string(), item)?))
}

async fn log_in(call: Call<State, RegistryPath, (), Login>) -> Result<Reply<()>, ApiError> {
    let actor = call.actor()?.clone();
    let host = &call.path.host.0;
    let Login { username, password } = call.body;
    let login = RegistryLogin { user: username, password: password.into_bytes() };
    login.keep(host, call.state.secrets(), &actor).await?;
    Ok(Reply::of(()))
}

async fn log_out(call: Call<State, RegistryPath>) -> Result<Reply<()>, ApiError> {
    let host = &call.path.host.0;
    let rows = call.state.store().secrets().await?;
    let name = host.to_string();
    if !rows.iter().any(|row| row.key.server.as_str() == REGISTRY && row.key.name.as_str() == name) {
        return Err(ApiError::not_found("thing"));
    }
    install::forget(host, call.state.secrets(), call.actor()?).await?;
    Ok(Reply::of(()))
}

/// Before it is done, so that it is not done without.
async fn told(state: &State, actor: &Actor, kind: Kind, what: String, server: &str) -> Result<(), ApiError> {
    let row = AuditRow { server: server.to_owned(), ..done(kind, &actor.user, what, actor) };
    Ok(state.store().add_audit(row).await?)
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::User { .. } => Self::unacceptable("this user name is empty, or has a colon or a line break"),
            LoginError::Password => Self::unacceptable("the password is not one line of text"),
            LoginError::Registry(_) => Self::new(Code::NotFound, "there is no such registry"),
            LoginError::Absent { .. } => Self::not_found("thing"),
            LoginError::Secret(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
