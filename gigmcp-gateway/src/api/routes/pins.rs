//! What servers say of themselves, as their owner agreed to it, and what is held back until the owner does.

use gigmcp_mcp::{Definition, DefinitionDigest, DefinitionKind};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::{ApiError, Call, Code, Page, Paging, Reply, Route, State, Text, page::by_names, route};
use crate::{
    people::{Access, ApiScope, Area, Deed, Rule},
    pins::{self, Accepted, Difference, PinError, Pinned, Selection},
    spec::ServerName,
    store::{PinRow, PinSet, PinnedServer},
};

/// Each owner has pins of their own.
const READ: Rule = Rule::new(Access::Own, Deed::Read).with_scope(ApiScope::read(Area::Profiles));
const CHANGE: Rule = Rule::new(Access::Own, Deed::Change).with_scope(ApiScope::write(Area::Profiles));
/// What comes next is pinned unseen, so a person says so.
const RESET: Rule = Rule::new(Access::Own, Deed::Prove);
const COUNT: Rule = Rule::new(Access::SignedIn, Deed::Read).with_scope(ApiScope::read(Area::Servers));

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/pins", "all_pins", READ)
            .summary("All definitions of servers that oneself agreed to, and those that are held back")
            .query::<Paging>()
            .answers(StatusCode::OK, list_all),
        route(Method::GET, "/servers/{name}/pins", "pins", READ)
            .summary("The definitions of one server that oneself agreed to, and those that are held back")
            .path::<ServerPath>()
            .query::<Paging>()
            .answers(StatusCode::OK, list),
        route(Method::GET, "/servers/{name}/pins/definition", "pinned_definition", READ)
            .summary("One definition of a server: as it is pinned, as the server offers it now, and as it was before")
            .path::<ServerPath>()
            .query::<Named>()
            .answers(StatusCode::OK, definition),
        route(Method::GET, "/servers/{name}/pins/diff", "diff_pins", READ)
            .summary("What is held back of a server, word by word, and the digest that accepts it; if it is nothing, what the last upgrade changed")
            .path::<ServerPath>()
            .query::<Of>()
            .answers(StatusCode::OK, diff),
        route(Method::POST, "/servers/{name}/pins/accept", "accept_pins", CHANGE)
            .summary("Agrees to what is held back, if it is what the digest names")
            .path::<ServerPath>()
            .body::<Accept>()
            .answers(StatusCode::OK, accept),
        route(Method::POST, "/servers/{name}/pins/reset", "reset_pins", RESET)
            .summary("Forgets the pins with this digest: what the server says next is pinned unseen")
            .path::<ServerPath>()
            .body::<Reset>()
            .does(reset),
        route(Method::POST, "/definitions/digest", "digest_definition", COUNT)
            .summary("The digests of tools, as `tools[].definition` of a manifest has them; changes nothing")
            .max_body_bytes(MAX_TOOLS_BYTES)
            .body::<Tools>()
            .answers(StatusCode::OK, digests),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServerPath {
    name: Text<ServerName>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Named {
    kind: Text<DefinitionKind>,
    /// The server's own name for it, or its URI; nothing for instructions.
    #[serde(default)]
    name: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Of {
    /// Only this one: NAME or KIND:NAME, or `instructions`.
    name: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PinConsent")]
struct Accept {
    /// What is accepted, each as NAME or KIND:NAME, or `instructions`; all that is held back if none is named.
    #[serde(default)]
    names: Vec<String>,
    /// Of all that is accepted, as the difference gave it: what was not looked at has another.
    digest: Text<DefinitionDigest>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PinReset")]
struct Reset {
    /// Of all that is pinned, as the difference gave it.
    digest: Text<DefinitionDigest>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ToolList")]
struct Tools {
    /// As the server lists them.
    #[schemars(with = "Vec<NamedTool>")]
    tools: Vec<Box<RawValue>>,
}

/// What of a tool is read here.
#[derive(Deserialize, JsonSchema)]
struct NamedTool {
    name: String,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ToolDigest")]
struct Digested {
    name: String,
    definition: String,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ToolDigests")]
struct AllDigested {
    tools: Vec<Digested>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "PinDifferences")]
struct Shown {
    /// What accepts all of it; none if nothing is held back.
    held_digest: Option<String>,
    /// Of all that is pinned of this server; none if that is nothing.
    pinned_digest: Option<String>,
    differences: Vec<Difference>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "PinnedDefinition")]
struct Whole {
    kind: &'static str,
    name: String,
    /// What was agreed to.
    pinned: Option<Version>,
    /// What is held back, as the server said it last.
    offered: Option<Version>,
    /// What was pinned in the revision of the server before, as JSON, if that was another.
    before: Option<String>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "DefinitionVersion")]
struct Version {
    digest: String,
    /// All of it, as canonical JSON.
    definition: String,
    /// When it was pinned or held back first.
    since: i64,
}

async fn list_all(call: Call<State, (), Paging>) -> Result<Reply<Page<Pinned>>, ApiError> {
    let all = pins::list(call.state.store(), call.actor()?.shown(), None).await?;
    Ok(Reply::of(page(all, &call.query)?))
}

async fn list(call: Call<State, ServerPath, Paging>) -> Result<Reply<Page<Pinned>>, ApiError> {
    let server = Some(call.path.name.0.clone());
    let all = pins::list(call.state.store(), call.actor()?.shown(), server).await?;
    Ok(Reply::of(page(all, &call.query)?))
}

fn page(all: Vec<Pinned>, paging: &Paging) -> Result<Page<Pinned>, ApiError> {
    Page::of(all, paging, |pin| by_names(&[&pin.server, pin.kind, &pin.name]), |pin| pin)
}

async fn definition(call: Call<State, ServerPath, Named>) -> Result<Reply<Whole>, ApiError> {
    let Named { kind: Text(kind), name } = &call.query;
    let PinSet { pins, held } = set(&call).await?;
    let of = |rows: Vec<PinRow>| rows.into_iter().find(|row| row.key.kind == *kind && *row.key.name == **name);
    let (pinned, offered) = (of(pins), of(held));
    if pinned.is_none() && offered.is_none() {
        return Err(ApiError::not_found("thing"));
    }
    let before = pinned.as_ref().and_then(|row| row.replaced.clone());
    let (pinned, offered) = (pinned.map(version), offered.map(version));
    Ok(Reply::of(Whole { kind: kind.as_str(), name: name.clone(), pinned, offered, before }))
}

fn version(row: PinRow) -> Version {
    Version { digest: row.digest.to_string(), definition: row.definition, since: row.since }
}

async fn diff(call: Call<State, ServerPath, Of>) -> Result<Reply<Shown>, ApiError> {
    let (owner, server) = (call.actor()?.shown(), &call.path.name.0);
    let pinned_digest = pins::pinned_digest(&set(&call).await?).map(|digest| digest.to_string());
    let names = call.query.name.clone().map_or(Selection::All, |name| Selection::Names(vec![name]));
    let differences = pins::differences(call.state.store(), owner, server, names).await?;
    let is_held = differences.iter().any(|difference| difference.standing != REPLACED);
    let held_digest = pins::digest_of_all(&differences).filter(|_| is_held).map(|digest| digest.to_string());
    Ok(Reply::of(Shown { held_digest, pinned_digest, differences }))
}

async fn set<Q, B>(call: &Call<State, ServerPath, Q, B>) -> Result<PinSet, ApiError> {
    let of = PinnedServer { owner: call.actor()?.shown().clone(), server: call.path.name.0.clone() };
    Ok(call.state.store().pins(of).await?)
}

async fn accept(call: Call<State, ServerPath, (), Accept>) -> Result<Reply<Accepted>, ApiError> {
    let actor = call.actor()?;
    let Accept { names, digest: Text(digest) } = &call.body;
    let selection = if names.is_empty() { Selection::All } else { Selection::Names(names.clone()) };
    let store = call.state.store();
    Ok(Reply::of(pins::accept(store, &actor.user, &call.path.name.0, selection, *digest, actor).await?))
}

async fn reset(call: Call<State, ServerPath, (), Reset>) -> Result<Reply<()>, ApiError> {
    let actor = call.actor()?;
    pins::reset_seen(call.state.store(), &actor.user, &call.path.name.0, call.body.digest.0, actor).await?;
    Ok(Reply::of(()))
}

async fn digests(call: Call<State, (), (), Tools>) -> Result<Reply<AllDigested>, ApiError> {
    let digested = |tool: &RawValue| {
        let named: Result<NamedTool, _> = serde_json::from_str(tool.get());
        let NamedTool { name } = named.map_err(|error| ApiError::invalid(format!("this is no tool: {error}")))?;
        let definition = Definition::new(DefinitionKind::Tool, &name, tool).digest.to_string();
        Ok(Digested { name, definition })
    };
    let tools = call.body.tools.iter().map(|tool| digested(tool)).collect::<Result<_, ApiError>>()?;
    Ok(Reply::of(AllDigested { tools }))
}

impl From<PinError> for ApiError {
    fn from(error: PinError) -> Self {
        match error {
            PinError::Store(error) => error.into(),
            PinError::NothingHeld { .. } => Self::new(Code::Conflict, "nothing of this server is held back"),
            PinError::NotHeld { .. } => Self::not_found("definition that is held back"),
            PinError::Another { .. } => {
                Self::new(Code::Conflict, "what is held back has another digest; look at it again")
            }
        }
    }
}

/// What was agreed to with the server's last revision.
const REPLACED: &str = "replaced";
const MAX_TOOLS_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests;
