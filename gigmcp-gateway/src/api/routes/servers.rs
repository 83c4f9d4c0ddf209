//! Servers: what they are, what they may reach, and that they go.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{
    ApiError, Call, Page, Paging, Reply, Route, State, Text,
    page::{cursor, read_cursor},
    route,
};
use super::installs;
use crate::{
    install,
    people::{Access, Actor, ApiScope, Area, Deed, Role, Rule},
    spec::{ServerName, ServerSpec, Source},
    store::{InstancesOf, SecretKey, ServerRow},
};

const READ: Rule = Rule::new(Access::SignedIn, Deed::Read).with_scope(ApiScope::read(Area::Servers));
const CHANGE: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Change).with_scope(ApiScope::write(Area::Servers));

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/servers", "servers", READ)
            .summary("The servers of this gateway")
            .query::<Paging>()
            .answers(StatusCode::OK, list),
        route(Method::GET, "/servers/{name}", "server", READ)
            .summary("One server: what it may reach, its credentials, its tools and how it does")
            .path::<ServerPath>()
            .answers(StatusCode::OK, show),
        route(Method::DELETE, "/servers/{name}", "remove_server", CHANGE)
            .summary("Removes a server, its credentials, its place in profiles, what it kept and its image")
            .path::<ServerPath>()
            .does(remove),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServerPath {
    name: Text<ServerName>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Server")]
struct Item {
    name: String,
    revision: i64,
    created_at: i64,
    /// `image` of a signed index; `binary` and `host_tools` are what nobody reviewed.
    source: &'static str,
    /// Of an image.
    version: Option<String>,
    /// Of an image: the hash of the manifest that was agreed to.
    manifest_hash: Option<String>,
    reaches: Vec<Reached>,
}

/// A host, and which requests to it are allowed.
#[derive(JsonSchema, Serialize)]
struct Reached {
    host: String,
    /// All, if none is named.
    methods: Vec<String>,
    /// All, if none is named.
    paths: Vec<String>,
    /// Of a protocol that is not read; else 443.
    port: Option<u16>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ServerDetail")]
struct Detail {
    #[serde(flatten)]
    server: Item,
    credentials: Vec<Slot>,
    /// Those that are offered; all if none is named.
    tools: Vec<Tool>,
    /// How many run for oneself; for auditors, for everybody.
    running: usize,
    /// The whole declaration, for auditors: paths of the machine stand in it.
    spec: Option<Value>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "CredentialSlot")]
struct Slot {
    name: String,
    hosts: Vec<String>,
    place: String,
    /// Whether oneself has set it, for these hosts and this place.
    set: bool,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ServerTool")]
struct Tool {
    name: String,
    read_only: bool,
}

async fn list(call: Call<State, (), Paging>) -> Result<Reply<Page<Item>>, ApiError> {
    let limit = call.query.limit.unwrap_or_default().get();
    let after = call.query.cursor.as_deref().map(read_cursor).transpose()?;
    let after = after
        .map(|after| after.parse())
        .transpose()
        .map_err(|_| ApiError::unacceptable("the cursor is none that a page gave"))?;
    let mut rows = call.state.store().servers_after(after, limit as u64 + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|last| cursor(last.name.as_str()));
    Ok(Reply::of(Page { items: rows.iter().map(item).collect(), next_cursor }))
}

async fn show(call: Call<State, ServerPath>) -> Result<Reply<Detail>, ApiError> {
    let actor = call.actor()?;
    let row = call.state.store().server(call.path.name.0.clone()).await?;
    let audits = Rule { access: Access::AtLeast(Role::Auditor), ..READ };
    let audits = actor.may(&audits, None).is_ok();
    let owner = (!audits).then(|| actor.shown().clone());
    let of = InstancesOf { owner, server: Some(row.name.clone()), unended: true, after: None };
    let unended = call.state.store().instances_of(of, MAX_COUNTED).await?;
    let tools = row.spec.tools.iter();
    Ok(Reply::of(Detail {
        credentials: slots(&call.state, actor, &row).await?,
        tools: tools.map(|tool| Tool { name: tool.name.clone(), read_only: tool.read_only }).collect(),
        running: unended.iter().filter(|row| call.state.supervisor().instances.runs(&row.id)).count(),
        spec: if audits { serde_json::to_value(&row.spec).ok() } else { None },
        server: item(&row),
    }))
}

async fn slots(state: &State, actor: &Actor, row: &ServerRow) -> Result<Vec<Slot>, ApiError> {
    let mut slots = Vec::new();
    for slot in &row.spec.secrets {
        let sealed_for = slot.sealed_for();
        let (server, name) = (row.name.clone(), slot.name.clone());
        let set = state.store().secret(SecretKey { owner: actor.shown().clone(), server, name }).await?;
        slots.push(Slot {
            name: slot.name.to_string(),
            hosts: sealed_for.hosts().into_iter().map(ToOwned::to_owned).collect(),
            place: slot.place.to_string(),
            set: set.is_some_and(|set| set.policy == sealed_for.as_str()),
        });
    }
    Ok(slots)
}

async fn remove(call: Call<State, ServerPath>) -> Result<Reply<()>, ApiError> {
    let (actor, name) = (call.actor()?.clone(), call.path.name.0.clone());
    call.state.store().server(name.clone()).await?;
    let state = std::sync::Arc::clone(&call.state);
    installs::one_at_a_time(&call.state, &name.clone(), async move {
        install::remove(state.host(), &name, &actor).await?;
        Ok(Reply::of(()))
    })
    .await
}

fn item(row: &ServerRow) -> Item {
    let (source, image) = match &row.spec.source {
        Source::Image(image) => ("image", Some(image)),
        Source::Binary { .. } => ("binary", None),
        Source::HostTools => ("host_tools", None),
    };
    Item {
        name: row.name.to_string(),
        revision: row.revision,
        created_at: row.created_at,
        source,
        version: image.map(|image| image.version.to_string()),
        manifest_hash: image.map(|image| image.manifest.to_string()),
        reaches: reaches(&row.spec),
    }
}

fn reaches(spec: &ServerSpec) -> Vec<Reached> {
    let whole = spec.hosts().into_iter().map(|host| reached(host, &[], None));
    let read = spec.allow_read.iter().map(|host| reached(host, &["GET".to_owned(), "HEAD".to_owned()], None));
    let tcp = spec.tcp.iter().map(|rule| reached(&rule.host, &[], Some(rule.port)));
    let some = spec.rules.iter().flat_map(|rule| {
        let methods: Vec<_> = rule.methods.iter().map(ToString::to_string).collect();
        let paths: Vec<_> = rule.paths.iter().map(ToString::to_string).collect();
        rule.hosts.iter().map(move |host| Reached { paths: paths.clone(), ..reached(host, &methods, None) })
    });
    whole.chain(read).chain(some).chain(tcp).collect()
}

fn reached(host: impl std::fmt::Display, methods: &[String], port: Option<u16>) -> Reached {
    Reached { host: host.to_string(), methods: methods.to_vec(), paths: Vec::new(), port }
}

/// More instances of one server than run at once.
const MAX_COUNTED: u64 = 1000;

#[cfg(test)]
mod tests;
