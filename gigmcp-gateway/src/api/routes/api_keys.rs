//! Keys of the control plane.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{ApiError, Call, Page, Paging, Reply, Route, Said, State, Text, page::by_time, route, secret::Shown},
    users::UserPath,
};
use crate::{
    people::{Label, Lifetime, Scopes, UserId, rules},
    store::ApiKeyRow,
};

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/api-keys", "api_keys", rules::API_KEYS)
            .summary("One's own keys, without the keys themselves")
            .query::<Paging>()
            .answers(StatusCode::OK, async |call: Call<State, (), Paging>| {
                let of = call.actor()?.shown().clone();
                list(&call, &of, &call.query).await
            }),
        route(Method::POST, "/api-keys", "create_api_key", rules::CREATE_API_KEY)
            .shown_once()
            .summary("A key of one's own, shown once")
            .body::<NewKey>()
            .answers(StatusCode::CREATED, create),
        route(Method::DELETE, "/api-keys/{name}", "revoke_api_key", rules::REVOKE_API_KEY)
            .summary("Ends a key of one's own at once")
            .path::<KeyPath>()
            .does(async |call: Call<State, KeyPath>| {
                let actor = call.actor()?.clone();
                call.state.people.revoke_api_key(&actor, &actor.user, call.path.name.0).await?;
                Ok(Reply::of(()))
            }),
        route(Method::GET, "/users/{id}/api-keys", "user_api_keys", rules::API_KEYS)
            .summary("The keys of somebody, without the keys themselves")
            .path::<UserPath>()
            .query::<Paging>()
            .answers(StatusCode::OK, async |call: Call<State, UserPath, Paging>| {
                list(&call, &call.path.id.0, &call.query).await
            }),
        route(Method::DELETE, "/users/{id}/api-keys/{name}", "revoke_user_api_key", rules::REVOKE_API_KEY)
            .summary("Ends a key of somebody at once")
            .path::<UserKeyPath>()
            .does(async |call: Call<State, UserKeyPath>| {
                let actor = call.actor()?.clone();
                let UserKeyPath { id, name } = call.path;
                call.state.people.revoke_api_key(&actor, &id.0, name.0).await?;
                Ok(Reply::of(()))
            }),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeyPath {
    name: Text<Label>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UserKeyPath {
    id: Text<UserId>,
    name: Text<Label>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: Text<Label>,
    /// As `servers:read,users:write`.
    scopes: Text<Scopes>,
    /// As 90d; for ever if nothing is said.
    holds: Option<Said<Lifetime>>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ApiKey")]
struct KeyDocument {
    name: Text<Label>,
    scopes: Text<Scopes>,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

async fn list<P, Q>(
    call: &Call<State, P, Q>,
    of: &UserId,
    paging: &Paging,
) -> Result<Reply<Page<KeyDocument>>, ApiError> {
    let rows = call.state.people.api_keys(call.actor()?, of).await?;
    Ok(Reply::of(Page::of(rows, paging, |row| by_time(row.created_at, &row.name), KeyDocument::from)?))
}

async fn create(call: Call<State, (), (), NewKey>) -> Result<Reply<Shown>, ApiError> {
    let actor = call.actor()?.clone();
    let NewKey { name, scopes, holds } = call.body;
    let key =
        call.state.people.create_api_key(&actor, name.0, scopes.0, holds.as_ref().map(Said::read).transpose()?).await?;
    Ok(Reply::of(key.into()))
}

impl From<ApiKeyRow> for KeyDocument {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            name: Text(row.name),
            scopes: Text(row.scopes),
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}
