//! Profiles, what is in them and what was said of them.

use http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{
    ApiError, Call, Members, Page, Paging, Reply, Route, State, Text, Whole,
    page::{cursor, read_cursor},
    route,
    secret::Shown,
};
use crate::{
    people::{Access, Deed, Role, Rule, rules},
    spec::{InvalidProfileSetting, MemberSettings, ProfileSettings, ProfileSlug, ServerName},
    store::Profile,
};

/// Starts servers with what is the owner's.
const START: Rule = Rule::new(Access::Own, Deed::Use);

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/profiles", "profiles", rules::PROFILES)
            .summary("One's own profiles; for auditors, those of everybody")
            .query::<Paging>()
            .answers(StatusCode::OK, list),
        route(Method::POST, "/profiles", "create_profile", rules::CREATE_TOKEN)
            .shown_once()
            .summary("A profile of one's own, with its first token, shown once")
            .body::<NewProfile>()
            .answers(StatusCode::CREATED, create),
        route(Method::GET, "/profiles/{slug}", "profile", rules::PROFILES)
            .summary("One profile, its servers and what was said of it")
            .path::<ProfilePath>()
            .answers(StatusCode::OK, show),
        route(Method::PATCH, "/profiles/{slug}", "change_profile", rules::CHANGE_PROFILE)
            .summary(
                "Says something of a profile and of its servers: all of it or nothing; null goes back to the default",
            )
            .path::<ProfilePath>()
            .body::<Said>()
            .answers(StatusCode::OK, change),
        route(Method::DELETE, "/profiles/{slug}", "delete_profile", rules::TAKE_PROFILE)
            .summary("Deletes a profile and its tokens; its servers end")
            .path::<ProfilePath>()
            .does(delete),
        route(Method::PUT, "/profiles/{slug}/servers/{name}", "put_profile_server", rules::AGREE)
            .summary("Puts a server into a profile, or agrees to it as it is now")
            .path::<MemberPath>()
            .body::<Seen>()
            .does(put),
        route(Method::DELETE, "/profiles/{slug}/servers/{name}", "remove_profile_server", rules::TAKE_PROFILE)
            .summary("Takes a server out of a profile")
            .path::<MemberPath>()
            .does(remove),
        route(Method::PUT, "/profiles/{slug}/servers/{name}/tools/{tool}", "switch_tool", rules::CHANGE_PROFILE)
            .summary("Switches a tool of a server on or off in a profile")
            .path::<ToolPath>()
            .body::<Switch>()
            .does(switch),
        route(Method::POST, "/profiles/{slug}/token-report", "profile_token_report", START)
            .summary("What the tools of a profile take of a model's context, estimated; starts its servers")
            .path::<ProfilePath>()
            .answers(StatusCode::OK, report),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProfilePath {
    slug: Text<ProfileSlug>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MemberPath {
    slug: Text<ProfileSlug>,
    name: Text<ServerName>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToolPath {
    slug: Text<ProfileSlug>,
    name: Text<ServerName>,
    tool: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewProfile {
    slug: Text<ProfileSlug>,
    /// Servers to put into it, each with its revision that was looked at.
    #[serde(default)]
    servers: Members<Whole>,
}

/// What is said; what is not named stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Said {
    /// Of the profile, by name.
    #[serde(default)]
    #[schemars(schema_with = "of_profile")]
    settings: Members<Value>,
    /// Of its servers, by server and name.
    #[serde(default)]
    #[schemars(schema_with = "of_servers")]
    servers: Members<Members<Value>>,
}

fn of_profile(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = ProfileSettings::json_schema(generator);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        // They are said beside it.
        properties.remove("servers");
    }
    nullable(schema)
}

fn of_servers(generator: &mut SchemaGenerator) -> Schema {
    let server = nullable(MemberSettings::json_schema(generator));
    json_schema!({ "type": "object", "additionalProperties": server })
}

/// Without a value, the default holds again.
fn nullable(mut schema: Schema) -> Schema {
    for property in
        schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut())
    {
        let said = property.take();
        *property = serde_json::json!({ "anyOf": [said, { "type": "null" }] });
    }
    schema
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Seen {
    /// The server's revision that was looked at: it is what is agreed to. If it is another by now, nothing is done.
    revision: Whole,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Switch {
    enabled: bool,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Profile")]
struct Item {
    slug: String,
    owner: String,
    /// The path that clients use.
    endpoint: String,
    created_at: i64,
    /// Whether its owner's account is in use.
    active: bool,
    servers: Vec<MemberItem>,
    settings: ProfileSettings,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ProfileServer")]
struct MemberItem {
    name: String,
    revision: i64,
    /// If not, the server changed, and does not run for this profile until its owner puts it there again.
    agreed: bool,
    /// The revision that its owner agreed to last: what has changed since is in the server's difference `from` it.
    agreed_revision: Option<i64>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "TokenReport")]
struct Report {
    servers: Vec<ServerTokens>,
    /// Tokens of the list of all tools.
    direct: usize,
    /// Tokens of the tools that stand for others.
    meta: usize,
    /// Whether clients see those that stand for others.
    is_meta: bool,
    /// Servers that could not be counted.
    missing: Vec<String>,
}

#[derive(JsonSchema, Serialize)]
struct ServerTokens {
    server: String,
    tools: usize,
    tokens: usize,
}

async fn list(call: Call<State, (), Paging>) -> Result<Reply<Page<Item>>, ApiError> {
    let actor = call.actor()?;
    let everybody = Rule { access: Access::AtLeast(Role::Auditor), ..rules::PROFILES };
    let owner = actor.may(&everybody, None).is_err().then(|| actor.shown().clone());
    let limit = call.query.limit.unwrap_or_default().get();
    let after = call.query.cursor.as_deref().map(read_cursor).transpose()?;
    let after = after
        .map(|after| after.parse())
        .transpose()
        .map_err(|_| ApiError::unacceptable("the cursor is none that a page gave"))?;
    let mut found = call.state.store().profiles_after(owner, after, limit as u64 + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| cursor(last.slug.as_str()));
    let mut items = Vec::new();
    for profile in found {
        items.push(item(&call.state, profile).await?);
    }
    Ok(Reply::of(Page { items, next_cursor }))
}

async fn create(call: Call<State, (), (), NewProfile>) -> Result<Reply<Shown>, ApiError> {
    let mut servers = Vec::new();
    for (name, Whole(revision)) in call.body.servers.0 {
        servers.push((name.parse().map_err(|_| ApiError::not_found("thing"))?, Some(revision)));
    }
    let actor = call.caller.as_ref().ok_or_else(ApiError::unauthenticated)?;
    Ok(Reply::of(call.state.people.create_profile(actor, &call.body.slug.0, servers).await?.into()))
}

async fn show(call: Call<State, ProfilePath>) -> Result<Reply<Item>, ApiError> {
    let profile = call.state.people.profile_to(call.actor()?, &call.path.slug.0, &rules::PROFILES).await?;
    Ok(Reply::of(item(&call.state, profile).await?))
}

async fn change(call: Call<State, ProfilePath, (), Said>) -> Result<Reply<Item>, ApiError> {
    let actor = call.caller.as_ref().ok_or_else(ApiError::unauthenticated)?;
    let Said { settings, servers } = call.body;
    let mut all: Vec<(Option<ServerName>, String, Option<String>)> = Vec::new();
    // Text in quotes, so that what looks like a number stays text.
    let text = |value: Value| (!value.is_null()).then(|| value.to_string());
    all.extend(settings.0.into_iter().map(|(name, value)| (None, name, text(value))));
    for (server, said) in servers.0 {
        let server: ServerName = server.parse().map_err(|_| ApiError::not_found("thing"))?;
        all.extend(said.0.into_iter().map(|(name, value)| (Some(server.clone()), name, text(value))));
    }
    let slug = &call.path.slug.0;
    call.state.people.say(actor, slug, all).await?;
    let changed = call.state.store().profile(slug.clone()).await?;
    Ok(Reply::of(item(&call.state, changed).await?))
}

async fn delete(call: Call<State, ProfilePath>) -> Result<Reply<()>, ApiError> {
    call.state.people.delete_profile(call.actor()?, &call.path.slug.0).await?;
    Ok(Reply::of(()))
}

async fn put(call: Call<State, MemberPath, (), Seen>) -> Result<Reply<()>, ApiError> {
    let MemberPath { slug, name } = &call.path;
    call.state.people.put_server(call.actor()?, &slug.0, &name.0, Some(call.body.revision.0)).await?;
    Ok(Reply::of(()))
}

async fn remove(call: Call<State, MemberPath>) -> Result<Reply<()>, ApiError> {
    let MemberPath { slug, name } = &call.path;
    call.state.people.take_server(call.actor()?, &slug.0, &name.0).await?;
    Ok(Reply::of(()))
}

async fn switch(call: Call<State, ToolPath, (), Switch>) -> Result<Reply<()>, ApiError> {
    let ToolPath { slug, name: Text(server), tool } = &call.path;
    if tool.is_empty() || tool.len() > MAX_TOOL_BYTES {
        return Err(ApiError::not_found("thing"));
    }
    call.state.people.switch_tool(call.actor()?, &slug.0, server, tool, call.body.enabled).await?;
    Ok(Reply::of(()))
}

async fn report(call: Call<State, ProfilePath>) -> Result<Reply<Report>, ApiError> {
    let profile = call.state.people.profile_to(call.actor()?, &call.path.slug.0, &START).await?;
    let report = call.state.profiles.aggregator(&profile).await?.token_report().await;
    let servers = report.servers.iter();
    Ok(Reply::of(Report {
        servers: servers
            .map(|of| ServerTokens { server: of.server.to_string(), tools: of.tools, tokens: of.tokens })
            .collect(),
        direct: report.direct,
        meta: report.meta,
        is_meta: report.is_meta,
        missing: report.faults.iter().map(|fault| fault.server.to_string()).collect(),
    }))
}

async fn item(state: &State, profile: Profile) -> Result<Item, ApiError> {
    let members = state.store().members(&profile).await?;
    let Profile { slug, owner, created_at, active, settings, .. } = profile;
    let servers = members.into_iter().map(|member| MemberItem {
        name: member.server.to_string(),
        revision: member.revision,
        agreed: member.agreed == Some(member.revision),
        agreed_revision: member.agreed,
    });
    Ok(Item {
        endpoint: format!("/mcp/p/{slug}"),
        slug: slug.to_string(),
        owner: owner.to_string(),
        created_at,
        active,
        servers: servers.collect(),
        settings,
    })
}

impl From<InvalidProfileSetting> for ApiError {
    fn from(error: InvalidProfileSetting) -> Self {
        Self::unacceptable(crate::output::whole(&error))
    }
}

const MAX_TOOL_BYTES: usize = 256;

#[cfg(test)]
mod tests;
