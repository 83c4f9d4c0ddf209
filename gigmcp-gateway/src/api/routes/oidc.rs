//! Signing in and out by an identity provider, and who one is to it.

use http::{HeaderValue, Method, Response, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        ApiError, Body, Call, Code, Raw, Reply, Route, State, Text, error::confirmed, reply::whole, route,
        secret::PasswordText,
    },
    session::origin,
    users::UserPath,
};
use crate::{
    oidc::{Answer, Flow, LocalPath, Oidc, Purpose},
    people::{Back, Confirmation, OnceMore, Return, SecondFactor, UserId, rules},
    store::{IdentityRow, now_seconds},
};

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/oidc", "sign_in_ways", rules::WAYS)
            .summary("How people sign in here")
            .answers(StatusCode::OK, async |call: Call<State>| Ok(Reply::of(ways(&call.state)))),
        route(Method::GET, "/oidc/login", "begin_oidc", rules::SIGN_IN)
            .summary("Leads the browser to the identity provider")
            .query::<Begin>()
            .responds(StatusCode::SEE_OTHER, "text/plain", begin),
        route(Method::GET, "/oidc/callback", "end_oidc", rules::SIGN_IN)
            .summary("Where the identity provider leads the browser back to")
            .query::<CameBack>()
            .responds(StatusCode::OK, "text/html", come_back),
        route(Method::POST, "/oidc/link", "link_identity", rules::OWN_FACTORS)
            .shown_once()
            .summary("Begins to add an identity to one's own account: where the browser is to go")
            .body::<Link>()
            .answers(StatusCode::OK, link),
        route(Method::POST, "/oidc/confirm", "confirm_oidc", rules::OWN_FACTORS)
            .shown_once()
            .summary(
                "Begins to prove once more who one is, at the identity provider, for one change in this browser that needs it: where the browser is to go",
            )
            .body::<Confirm>()
            .answers(StatusCode::OK, confirm),
        route(Method::POST, "/oidc/logout", "sign_out_oidc", rules::SIGN_OUT)
            .shown_once()
            .summary("Signs out, and says where the browser is to go to be signed out at the identity provider too")
            .answers(StatusCode::OK, sign_out),
        route(Method::GET, "/oidc/signed-out", "signed_out", rules::SIGNED_OUT)
            .summary("Where the identity provider leads the browser after it was signed out there")
            .query::<SignedOut>()
            .responds(StatusCode::OK, "text/html", signed_out),
        route(Method::POST, "/oidc/backchannel-logout", "end_sessions_oidc", rules::SIGN_IN)
            .own_room()
            .summary("The identity provider says that sessions are over")
            .form::<LogoutToken>()
            .responds(StatusCode::OK, "text/plain", backchannel_logout),
        route(Method::GET, "/identities", "identities", rules::IDENTITIES)
            .summary("Who one is to identity providers")
            .answers(StatusCode::OK, identities),
        route(Method::GET, "/users/{id}/identities", "user_identities", rules::IDENTITIES)
            .summary("Who somebody is to identity providers")
            .path::<UserPath>()
            .answers(StatusCode::OK, identities_of),
        route(Method::DELETE, "/users/{id}/identities/{identity}", "unlink_user_identity", rules::UNLINK)
            .summary("Takes an identity from somebody else's account, and ends its sessions")
            .path::<OfUser>()
            .does(unlink_of),
        route(Method::POST, "/identities/{identity}/unlink", "unlink_identity", rules::OWN_FACTORS)
            .summary("Takes an identity from one's own account, and ends its sessions")
            .path::<IdentityPath>()
            .body::<Unlink>()
            .does(unlink),
    ]
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "SignInWays")]
struct Ways {
    /// With a password that the gateway keeps.
    password: bool,
    /// By the identity provider, beginning at /oidc/login.
    provider: bool,
    /// Whether the identity provider can be used at the moment.
    provider_ready: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Begin {
    /// A path of the gateway's pages that the browser is led to in the end.
    return_to: Option<Text<LocalPath>>,
}

/// Providers add parameters of their own.
#[derive(Deserialize, JsonSchema)]
struct CameBack {
    state: Option<String>,
    code: Option<String>,
    /// RFC 9207.
    iss: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Link {
    /// One's own, if there is one. Without one, the browser comes from /oidc/confirm.
    password: Option<PasswordText>,
    /// Six digits, or a recovery code, if a second factor is asked for.
    code: Option<Text<SecondFactor>>,
    return_to: Option<Text<LocalPath>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Confirm {
    return_to: Option<Text<LocalPath>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Unlink {
    /// One's own, if there is one. Without one, the browser comes from /oidc/confirm.
    password: Option<PasswordText>,
    /// Six digits, or a recovery code, if a second factor is asked for.
    code: Option<Text<SecondFactor>>,
}

#[derive(Deserialize, JsonSchema)]
struct SignedOut {
    state: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct LogoutToken {
    logout_token: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct IdentityPath {
    identity: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfUser {
    id: Text<UserId>,
    identity: String,
}

/// Where the browser is to go.
#[derive(JsonSchema, Serialize)]
struct Place {
    /// An address of the identity provider; none if there is nothing to do there.
    location: Option<String>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Identities")]
struct IdentitiesDocument {
    items: Vec<IdentityDocument>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Identity")]
struct IdentityDocument {
    /// What it is called here.
    id: String,
    issuer: String,
    subject: String,
    created_at: i64,
    last_login_at: i64,
}

fn ways(state: &State) -> Ways {
    let ready = state.oidc.as_ref().is_some_and(|oidc| oidc.is_ready());
    Ways { password: state.local_login, provider: state.oidc.is_some(), provider_ready: ready }
}

async fn begin(call: Call<State, (), Begin>) -> Result<Response<Body>, ApiError> {
    let oidc = provider(&call.state)?;
    let return_to = call.query.return_to.map(|path| path.0).unwrap_or_default();
    let flow = Flow::begin(Purpose::SignIn, return_to).map_err(|error| ApiError::internal(&error))?;
    let location = oidc.authorization_url(&flow)?;
    let location = HeaderValue::from_str(&location).map_err(|error| ApiError::internal(&error))?;
    let mut response = whole(StatusCode::SEE_OTHER, "");
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::SET_COOKIE, call.state.front.cookie.set_flow(&flow));
    Ok(response)
}

async fn come_back(call: Call<State, (), CameBack>) -> Result<Response<Body>, ApiError> {
    let Call { state, query: CameBack { state: given, code, iss, error }, raw, .. } = call;
    let oidc = provider(&state)?;
    let cookie = state.front.cookie;
    let returned = Return {
        flow: cookie.find_flow(&raw.headers)?,
        answer: Answer { state: given, code, issuer: iss, error },
        origin: origin(&raw),
        replaces: cookie.find(&raw.headers).ok().flatten(),
    };
    let came_back = state.people.come_back(oidc, returned).await;
    let (back, return_to) = match came_back {
        Ok(done) => done,
        // Whatever went wrong, it is over.
        Err(error) => return Err(ApiError::from(error).with_header(header::SET_COOKIE, cookie.clear_flow())),
    };
    let mut response = lead_on(&return_to);
    // What is proven is proven for this browser, which keeps what shows that it is.
    if !matches!(back, Back::Confirmed) {
        response.headers_mut().append(header::SET_COOKIE, cookie.clear_flow());
    }
    if let Back::SignedIn { token, expires_at } = back {
        response.headers_mut().append(header::SET_COOKIE, cookie.set(&token, expires_at - now_seconds()));
    }
    Ok(response)
}

async fn link(call: Call<State, (), (), Link>) -> Result<Reply<Place>, ApiError> {
    let token = call.state.front.session(&call.raw)?;
    let actor = call.actor()?.clone();
    let Call { state, body: Link { password, code, return_to }, raw, .. } = call;
    let oidc = provider(&state)?;
    let return_to = return_to.map(|path| path.0).unwrap_or_default();
    let flow = Flow::begin(Purpose::Link, return_to).map_err(|error| ApiError::internal(&error))?;
    let location = oidc.authorization_url(&flow)?;
    let once_more = once_more(&state, &raw, password, code)?;
    let begun = state.people.begin_link(&actor, &token, once_more, &flow, state.secrets()).await;
    confirmed(&state, &actor, &raw, begun)?;
    let reply = Reply::of(Place { location: Some(location) });
    Ok(reply.with_header(header::SET_COOKIE, state.front.cookie.set_flow(&flow)))
}

async fn confirm(call: Call<State, (), (), Confirm>) -> Result<Reply<Place>, ApiError> {
    let token = call.state.front.session(&call.raw)?;
    let actor = call.actor()?.clone();
    let Call { state, body, .. } = call;
    let oidc = provider(&state)?;
    let return_to = body.return_to.map(|path| path.0).unwrap_or_default();
    let flow = Flow::begin(Purpose::Confirm, return_to).map_err(|error| ApiError::internal(&error))?;
    let location = oidc.authorization_url(&flow)?;
    state.people.begin_proof(&actor, &token, &flow).await?;
    let reply = Reply::of(Place { location: Some(location) });
    Ok(reply.with_header(header::SET_COOKIE, state.front.cookie.set_flow(&flow)))
}

async fn sign_out(call: Call<State>) -> Result<Reply<Place>, ApiError> {
    let Call { state, raw, caller, .. } = call;
    let token = state.front.session(&raw)?;
    let user = caller.ok_or_else(ApiError::unauthenticated)?.user;
    let grant = state.people.grant(&token, &user).await?;
    state.people.sign_out(&token).await?;
    let mut reply = Reply::of(Place { location: None });
    if let Some((oidc, grant)) = state.oidc.as_ref().zip(grant) {
        let flow = Flow::begin(Purpose::SignOut, LocalPath::default()).map_err(|error| ApiError::internal(&error))?;
        reply.document.location = oidc.end_session_url(&grant, &flow);
        reply = reply.with_header(header::SET_COOKIE, state.front.cookie.set_flow(&flow));
    }
    Ok(reply.with_header(header::SET_COOKIE, state.front.cookie.clear()))
}

async fn signed_out(call: Call<State, (), SignedOut>) -> Result<Response<Body>, ApiError> {
    let Call { state, query, raw, .. } = call;
    let cookie = state.front.cookie;
    let flow = cookie.find_flow(&raw.headers)?.filter(|flow| flow.purpose() == Purpose::SignOut);
    let fits = flow.as_ref().zip(query.state.as_deref()).is_some_and(|(flow, given)| flow.is_state(given));
    if !fits {
        return Err(ApiError::unacceptable("nobody was signed out in this browser just now"));
    }
    let mut response = lead_on(&LocalPath::default());
    response.headers_mut().insert(header::SET_COOKIE, cookie.clear_flow());
    Ok(response)
}

async fn backchannel_logout(call: Call<State, (), (), LogoutToken>) -> Result<Response<Body>, ApiError> {
    let Call { state, body, raw, .. } = call;
    let oidc = provider(&state)?;
    state.people.provider_says_over(oidc, &body.logout_token, &origin(&raw)).await.map_err(|error| {
        // Back-Channel Logout 1.0, section 2.8: whatever is wrong with it, 400.
        match ApiError::from(error) {
            error if error.code == Code::Unauthenticated => ApiError::invalid("this is no logout token"),
            error => error,
        }
    })?;
    Ok(whole(StatusCode::OK, ""))
}

async fn identities(call: Call<State>) -> Result<Reply<IdentitiesDocument>, ApiError> {
    let actor = call.actor()?;
    Ok(Reply::of(document(call.state.people.identities(actor, actor.shown()).await?)))
}

async fn identities_of(call: Call<State, UserPath>) -> Result<Reply<IdentitiesDocument>, ApiError> {
    Ok(Reply::of(document(call.state.people.identities(call.actor()?, &call.path.id.0).await?)))
}

async fn unlink_of(call: Call<State, OfUser>) -> Result<Reply<()>, ApiError> {
    let OfUser { id, identity } = &call.path;
    call.state.people.unlink_of(call.actor()?, &id.0, identity).await?;
    Ok(Reply::of(()))
}

fn document(rows: Vec<IdentityRow>) -> IdentitiesDocument {
    let items = rows.into_iter().map(|row| IdentityDocument {
        id: row.id(),
        issuer: row.identity.issuer,
        subject: row.identity.subject,
        created_at: row.created_at,
        last_login_at: row.last_login_at,
    });
    IdentitiesDocument { items: items.collect() }
}

async fn unlink(call: Call<State, IdentityPath, (), Unlink>) -> Result<Reply<()>, ApiError> {
    let token = call.state.front.session(&call.raw)?;
    let actor = call.actor()?.clone();
    let Call { state, path, body, raw, .. } = call;
    let once_more = once_more(&state, &raw, body.password, body.code)?;
    let unlinked = state.people.unlink(&actor, &token, &path.identity, once_more, state.secrets()).await;
    confirmed(&state, &actor, &raw, unlinked)?;
    Ok(Reply::of(()).with_header(header::SET_COOKIE, state.front.cookie.clear_flow()))
}

fn once_more(
    state: &State,
    raw: &Raw,
    password: Option<PasswordText>,
    code: Option<Text<SecondFactor>>,
) -> Result<OnceMore, ApiError> {
    let confirmation = password.map(|password| Confirmation { password: password.0, code: code.map(|code| code.0) });
    let flow = state.front.cookie.find_flow(&raw.headers)?;
    Ok(OnceMore { confirmation, flow, by_provider_only: !state.local_login })
}

fn provider(state: &State) -> Result<&std::sync::Arc<Oidc>, ApiError> {
    state.oidc.as_ref().ok_or_else(|| ApiError::not_found("identity provider"))
}

/// Leads the browser to a page of ours by a page and not by a redirection: browsers send a cookie that is `Strict` only where a page of
/// ours leads, and the redirection would be the provider's.
fn lead_on(path: &LocalPath) -> Response<Body> {
    // None of the characters that end an attribute is in such a path; `&` begins a reference.
    let path = path.as_str().replace('&', "&amp;");
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0;url={path}\"><a href=\"{path}\">go on</a>\n"
    );
    let mut response = whole(StatusCode::OK, page);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}
