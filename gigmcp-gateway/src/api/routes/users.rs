//! Accounts, and their sessions.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{
    ApiError, Call, Page, Paging, Reply, Route, State, Text,
    page::{by_time, cursor, read_cursor},
    route,
    secret::Shown,
};
use crate::{
    people::{Email, Role, UserId, rules},
    store::{SessionRow, UserRow},
};

pub(super) fn routes() -> Vec<Route<State>> {
    let mut routes = accounts();
    routes.extend(sessions());
    routes
}

fn accounts() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/users", "users", rules::ACCOUNTS)
            .summary("Everybody, the oldest account first")
            .query::<Paging>()
            .answers(StatusCode::OK, list),
        route(Method::GET, "/users/{id}", "user", rules::ACCOUNT)
            .summary("One account")
            .path::<UserPath>()
            .answers(StatusCode::OK, one),
        route(Method::DELETE, "/users/{id}", "delete_user", rules::CHANGE_ACCOUNT)
            .summary("Deletes an account with its profiles and secrets")
            .path::<UserPath>()
            .does(delete),
        route(Method::PUT, "/users/{id}/role", "set_role", rules::CHANGE_ACCOUNT)
            .summary("Gives somebody a role; their sessions end")
            .path::<UserPath>()
            .body::<NewRole>()
            .does(set_role),
        route(Method::POST, "/users/{id}/disable", "disable_user", rules::CHANGE_ACCOUNT)
            .summary("Lets somebody in no more, and ends their sessions, tokens, keys and servers")
            .path::<UserPath>()
            .does(disable),
        route(Method::POST, "/users/{id}/enable", "enable_user", rules::CHANGE_ACCOUNT)
            .summary("Lets somebody in again")
            .path::<UserPath>()
            .does(enable),
        route(Method::POST, "/users/{id}/reset", "reset_password", rules::RESET_PASSWORD)
            .shown_once()
            .summary(
                "A code for another password, shown once; using it takes the account's secrets, tokens and keys away",
            )
            .path::<UserPath>()
            .answers(StatusCode::CREATED, reset),
        route(Method::DELETE, "/users/{id}/factor", "end_lost_factor", rules::END_LOST_FACTOR)
            .summary("Asks for somebody's second factor no more, as they have lost it")
            .path::<UserPath>()
            .does(end_factor),
    ]
}

fn sessions() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/users/{id}/sessions", "user_sessions", rules::SESSIONS)
            .summary("The sessions of somebody, the oldest first")
            .path::<UserPath>()
            .query::<Paging>()
            .answers(StatusCode::OK, list_sessions),
        route(Method::DELETE, "/users/{id}/sessions", "end_sessions", rules::END_SESSION)
            .summary("Ends all sessions of somebody, but the one that this is asked in")
            .path::<UserPath>()
            .answers(StatusCode::OK, end_sessions),
        route(Method::DELETE, "/users/{id}/sessions/{session}", "end_session", rules::END_SESSION)
            .summary("Ends one session of somebody at once")
            .path::<SessionPath>()
            .does(end_session),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserPath {
    pub(super) id: Text<UserId>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SessionPath {
    id: Text<UserId>,
    session: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRole {
    role: Role,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "User")]
struct UserDocument {
    id: Text<UserId>,
    email: Option<Text<Email>>,
    name: String,
    role: Role,
    created_at: i64,
    last_login_at: Option<i64>,
    /// Since when nobody is let in with it.
    disabled_at: Option<i64>,
    /// Since when the identity provider refuses them: keys, tokens and servers wait until they sign in again.
    suspended_at: Option<i64>,
    has_password: bool,
    /// Whether they sign in by an identity provider.
    has_identity: bool,
    /// Since when a second factor is asked for.
    second_factor_since: Option<i64>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "UserSession")]
struct UserSession {
    id: String,
    created_at: i64,
    last_seen_at: i64,
    expires_at: i64,
    address: String,
    user_agent: String,
    /// Whether it is the one that this is asked in.
    current: bool,
}

#[derive(JsonSchema, Serialize)]
struct Ended {
    ended: u64,
}

async fn list(call: Call<State, (), Paging>) -> Result<Reply<Page<UserDocument>>, ApiError> {
    let limit = call.query.limit.unwrap_or_default().get();
    let after = call.query.cursor.as_deref().map(read_time_cursor).transpose()?;
    let mut rows = call.state.people.accounts_after(call.actor()?, after, limit as u64 + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| cursor(&by_time(row.created_at, &row.id)));
    Ok(Reply::of(Page { items: rows.into_iter().map(UserDocument::from).collect(), next_cursor }))
}

fn read_time_cursor(text: &str) -> Result<(i64, String), ApiError> {
    let text = read_cursor(text)?;
    let read = text.split_once('/').and_then(|(time, id)| Some((time.parse().ok()?, id.to_owned())));
    read.ok_or_else(|| ApiError::unacceptable("the cursor is none that a page gave"))
}

async fn one(call: Call<State, UserPath>) -> Result<Reply<UserDocument>, ApiError> {
    Ok(Reply::of(call.state.people.account(call.actor()?, &call.path.id.0).await?.into()))
}

async fn delete(call: Call<State, UserPath>) -> Result<Reply<()>, ApiError> {
    call.state.people.delete(call.actor()?, &call.path.id.0, call.state.secrets()).await?;
    Ok(Reply::of(()))
}

async fn set_role(call: Call<State, UserPath, (), NewRole>) -> Result<Reply<()>, ApiError> {
    call.state.people.set_role(call.actor()?, &call.path.id.0, call.body.role).await?;
    Ok(Reply::of(()))
}

async fn disable(call: Call<State, UserPath>) -> Result<Reply<()>, ApiError> {
    call.state.people.disable(call.actor()?, &call.path.id.0).await?;
    Ok(Reply::of(()))
}

async fn enable(call: Call<State, UserPath>) -> Result<Reply<()>, ApiError> {
    call.state.people.enable(call.actor()?, &call.path.id.0).await?;
    Ok(Reply::of(()))
}

async fn reset(call: Call<State, UserPath>) -> Result<Reply<Shown>, ApiError> {
    Ok(Reply::of(call.state.people.reset_password(call.actor()?, &call.path.id.0).await?.into()))
}

async fn end_factor(call: Call<State, UserPath>) -> Result<Reply<()>, ApiError> {
    call.state.people.end_lost_totp(call.actor()?, &call.path.id.0).await?;
    Ok(Reply::of(()))
}

async fn list_sessions(call: Call<State, UserPath, Paging>) -> Result<Reply<Page<UserSession>>, ApiError> {
    let rows = call.state.people.sessions(call.actor()?, &call.path.id.0).await?;
    let current = call.state.front.cookie.find(&call.raw.headers)?.map(|token| token.hash());
    let document = |row: SessionRow| UserSession {
        id: row.id().to_owned(),
        created_at: row.created_at,
        last_seen_at: row.last_seen_at,
        expires_at: row.expires_at,
        current: current.as_deref() == Some(row.hash.as_str()),
        address: row.address,
        user_agent: row.user_agent,
    };
    Ok(Reply::of(Page::of(rows, &call.query, |row| by_time(row.created_at, row.id()), document)?))
}

async fn end_sessions(call: Call<State, UserPath>) -> Result<Reply<Ended>, ApiError> {
    let own = call.state.front.session(&call.raw)?;
    let ended = call.state.people.end_sessions(call.actor()?, &call.path.id.0, Some(&own)).await?;
    Ok(Reply::of(Ended { ended }))
}

async fn end_session(call: Call<State, SessionPath>) -> Result<Reply<()>, ApiError> {
    let SessionPath { id, session } = &call.path;
    call.state.people.end_session(call.actor()?, &id.0, session).await?;
    Ok(Reply::of(()))
}

impl From<UserRow> for UserDocument {
    fn from(row: UserRow) -> Self {
        Self {
            id: Text(row.id),
            email: row.email.map(Text),
            name: row.name,
            role: row.role,
            created_at: row.created_at,
            last_login_at: row.last_login_at,
            disabled_at: row.disabled_at,
            suspended_at: row.suspended_at,
            has_password: row.has_password,
            has_identity: row.has_identity,
            second_factor_since: row.totp_since,
        }
    }
}
