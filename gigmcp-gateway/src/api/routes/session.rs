//! Signing in and out, who one is, and looking at another's pages.

use http::{Method, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{
    ApiError, Call, Reply, Route, Said, State, Text, error::confirmed, input::Raw, route, secret::PasswordText,
};
use crate::{
    people::{
        Attempt, Confirmation, Email, Lifetime, Origin, Programs, Role, SecondFactor, SessionToken, UserId, rules,
    },
    store::{LiveSession, now_seconds},
};

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::POST, "/session", "sign_in", rules::SIGN_IN)
            .shown_once()
            .summary("Signs in with a password, and a code if a second factor is asked for")
            .body::<SignIn>()
            .answers(StatusCode::CREATED, sign_in),
        route(Method::GET, "/session", "session", rules::WHO_AM_I)
            .summary("Who is signed in, and what the header x-csrf-token must say")
            .answers(StatusCode::OK, async |call: Call<State>| {
                let token = call.state.front.session(&call.raw)?;
                Ok(Reply::of(document(&call.state, &token).await?.0))
            }),
        route(Method::DELETE, "/session", "sign_out", rules::SIGN_OUT).summary("Signs out").does(sign_out),
        route(Method::PUT, "/session/password", "change_password", rules::OWN_FACTORS)
            .summary("Changes one's own password; all other sessions end, and keys and tokens if that is asked for")
            .body::<Passwords>()
            .does(change_password),
        route(Method::POST, "/session/view", "begin_view", rules::BEGIN_VIEW)
            .shown_once()
            .summary("Begins to look at somebody's pages; nothing can be changed until it ends")
            .body::<View>()
            .answers(StatusCode::CREATED, begin_view),
        route(Method::DELETE, "/session/view", "end_view", rules::END_VIEW)
            .summary("Ends the view")
            .answers(StatusCode::OK, end_view),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    email: Said<Email>,
    password: PasswordText,
    /// Six digits, or a recovery code.
    code: Option<Text<SecondFactor>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Passwords {
    old: PasswordText,
    new: PasswordText,
    /// Six digits, or a recovery code, if a second factor is asked for.
    code: Option<Text<SecondFactor>>,
    /// Whether all keys of the API and all tokens of profiles end too, as is right if somebody else may have had the account. If
    /// nothing is said, they go on.
    end_programs: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct View {
    user: Text<UserId>,
    /// 1m to 60m.
    holds: Said<Lifetime>,
}

/// A session, to whoever is in it.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Session")]
struct SessionDocument {
    /// What it is called in the list of sessions.
    id: String,
    user: Person,
    /// Whose pages are shown, if not one's own. Nothing can be changed meanwhile.
    viewing: Option<Viewed>,
    /// What the header `x-csrf-token` must say.
    csrf_token: String,
    /// In seconds since 1970, as all times are.
    expires_at: i64,
}

#[derive(JsonSchema, Serialize)]
struct Person {
    id: Text<UserId>,
    email: Option<Text<Email>>,
    name: String,
    role: Role,
}

#[derive(JsonSchema, Serialize)]
struct Viewed {
    user: Person,
    until: i64,
}

async fn sign_in(call: Call<State, (), (), SignIn>) -> Result<Reply<SessionDocument>, ApiError> {
    let Call { state, body: SignIn { email, password, code }, raw, .. } = call;
    state.asks_for_passwords()?;
    let attempt = Attempt {
        email: email.read()?,
        password: password.0,
        second: code.map(|code| code.0),
        origin: origin(&raw),
        device: state.front.cookie.find_device(&raw.headers),
        // It ends, so that nobody goes on in a session that somebody else began.
        replaces: state.front.cookie.find(&raw.headers).ok().flatten(),
    };
    let signed_in = state.people.sign_in(attempt, state.secrets()).await?;
    let reply = with_cookie(&state, &signed_in.token).await?;
    Ok(reply.with_header(header::SET_COOKIE, state.front.cookie.set_device(&signed_in.device)))
}

async fn sign_out(call: Call<State>) -> Result<Reply<()>, ApiError> {
    let token = call.state.front.session(&call.raw)?;
    call.state.people.sign_out(&token).await?;
    Ok(Reply::of(()).with_header(header::SET_COOKIE, call.state.front.cookie.clear()))
}

async fn change_password(call: Call<State, (), (), Passwords>) -> Result<Reply<()>, ApiError> {
    let token = call.state.front.session(&call.raw)?;
    let actor = call.actor()?.clone();
    let Passwords { old, new, code, end_programs } = call.body;
    let programs = if end_programs.unwrap_or_default() { Programs::End } else { Programs::GoOn };
    let old = Confirmation { password: old.0, code: code.map(|code| code.0) };
    let changed = call.state.people.change_password(&actor, &token, old, (new.0, programs), call.state.secrets()).await;
    confirmed(&call.state, &actor, &call.raw, changed)?;
    Ok(Reply::of(()))
}

async fn begin_view(call: Call<State, (), (), View>) -> Result<Reply<SessionDocument>, ApiError> {
    let token = call.state.front.session(&call.raw)?;
    let View { user, holds } = &call.body;
    let renamed = call.state.people.view(call.actor()?, &token, &user.0, holds.read()?).await?;
    with_cookie(&call.state, &renamed).await
}

async fn end_view(call: Call<State>) -> Result<Reply<SessionDocument>, ApiError> {
    let token = call.state.front.session(&call.raw)?;
    let renamed = call.state.people.end_view(call.actor()?, &token).await?;
    with_cookie(&call.state, &renamed).await
}

/// Says who it is, and tells the browser to keep this token instead of any other.
async fn with_cookie(state: &State, token: &SessionToken) -> Result<Reply<SessionDocument>, ApiError> {
    let (document, live) = document(state, token).await?;
    let seconds = live.row.expires_at - now_seconds();
    Ok(Reply::of(document).with_header(header::SET_COOKIE, state.front.cookie.set(token, seconds)))
}

async fn document(state: &State, token: &SessionToken) -> Result<(SessionDocument, LiveSession), ApiError> {
    let live = state.people.session(token).await?.ok_or_else(ApiError::unauthenticated)?;
    let viewing = match live.viewed.as_ref().zip(live.row.viewed.as_ref()) {
        Some(((viewed, _), (_, until))) => Some(Viewed { user: person(state, viewed).await?, until: *until }),
        None => None,
    };
    let document = SessionDocument {
        id: live.row.id().to_owned(),
        user: person(state, &live.row.user).await?,
        viewing,
        csrf_token: token.csrf(),
        expires_at: live.row.expires_at,
    };
    Ok((document, live))
}

async fn person(state: &State, id: &UserId) -> Result<Person, ApiError> {
    let user = state.store().user(id.clone()).await?.user;
    Ok(Person { id: Text(user.id), email: user.email.map(Text), name: user.name, role: user.role })
}

/// Where somebody comes from.
pub(super) fn origin(raw: &Raw) -> Origin {
    Origin::new(raw.address, &Origin::agent(&raw.headers))
}
