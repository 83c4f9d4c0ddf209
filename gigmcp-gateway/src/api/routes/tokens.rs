//! Tokens of profiles.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{
    ApiError, Call, Page, Paging, Reply, Route, Said, State, Text, page::by_time, route, secret::Shown,
};
use crate::{
    people::{Label, Lifetime, TokenScope, TokenWish, rules},
    spec::ProfileSlug,
    store::{Absent, TokenRow},
};

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/profiles/{slug}/tokens", "tokens", rules::TOKENS)
            .summary("The tokens of a profile, without the tokens themselves")
            .path::<ProfilePath>()
            .query::<Paging>()
            .answers(StatusCode::OK, list),
        route(Method::POST, "/profiles/{slug}/tokens", "create_token", rules::CREATE_TOKEN)
            .shown_once()
            .summary("One more token of one's own profile, shown once")
            .path::<ProfilePath>()
            .body::<NewToken>()
            .answers(StatusCode::CREATED, create),
        route(Method::POST, "/profiles/{slug}/tokens/{name}/replace", "replace_token", rules::CREATE_TOKEN)
            .shown_once()
            .summary(
                "A token in the place of the one of that name, which ends at once: good for the same, and for as long",
            )
            .path::<TokenPath>()
            .answers(StatusCode::CREATED, replace),
        route(Method::DELETE, "/profiles/{slug}/tokens/{name}", "revoke_token", rules::REVOKE_TOKEN)
            .summary("Ends a token at once")
            .path::<TokenPath>()
            .does(revoke),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProfilePath {
    slug: Text<ProfileSlug>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TokenPath {
    slug: Text<ProfileSlug>,
    name: Text<Label>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    name: Text<Label>,
    /// Servers, or tools as SERVER/TOOL, comma separated; all that the profile has if nothing is said.
    scope: Option<Said<TokenScope>>,
    /// As 90d; for ever if nothing is said.
    holds: Option<Said<Lifetime>>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Token")]
struct TokenDocument {
    name: Text<Label>,
    /// Empty for all that the profile has.
    scope: Text<TokenScope>,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

/// The token, shown this once, and what it is good for as the one of before was.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ReplacedToken")]
struct Replaced {
    #[serde(flatten)]
    token: Shown,
    /// Empty for all that the profile has.
    scope: Text<TokenScope>,
    expires_at: Option<i64>,
}

async fn list(call: Call<State, ProfilePath, Paging>) -> Result<Reply<Page<TokenDocument>>, ApiError> {
    let rows = call.state.people.tokens(call.actor()?, &call.path.slug.0).await?;
    Ok(Reply::of(Page::of(rows, &call.query, |row| by_time(row.created_at, &row.name), TokenDocument::from)?))
}

async fn create(call: Call<State, ProfilePath, (), NewToken>) -> Result<Reply<Shown>, ApiError> {
    let actor = call.actor()?.clone();
    let NewToken { name, scope, holds } = call.body;
    let scope = scope.as_ref().map(Said::read).transpose()?.unwrap_or_default();
    let wish = TokenWish { name: name.0, scope, holds: holds.as_ref().map(Said::read).transpose()? };
    let token = call.state.people.create_token(&actor, &call.path.slug.0, wish).await?;
    Ok(Reply::of(token.into()))
}

async fn replace(call: Call<State, TokenPath>) -> Result<Reply<Replaced>, ApiError> {
    let actor = call.actor()?.clone();
    let TokenPath { slug, name } = call.path;
    let (token, new) = call.state.people.replace_token(&actor, &slug.0, name.0, Absent::Refused).await?;
    Ok(Reply::of(Replaced { token: token.into(), scope: Text(new.scope), expires_at: new.expires_at }))
}

async fn revoke(call: Call<State, TokenPath>) -> Result<Reply<()>, ApiError> {
    let actor = call.actor()?.clone();
    let TokenPath { slug, name } = call.path;
    call.state.people.revoke_token(&actor, &slug.0, name.0).await?;
    Ok(Reply::of(()))
}

impl From<TokenRow> for TokenDocument {
    fn from(row: TokenRow) -> Self {
        Self {
            name: Text(row.name),
            scope: Text(row.scope),
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}
