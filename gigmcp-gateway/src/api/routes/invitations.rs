//! Codes that make accounts, or give them another password.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        ApiError, Call, Page, Paging, Reply, Route, Said, State, Text,
        page::by_time,
        route,
        secret::{PasswordText, Shown},
    },
    session::origin,
};
use crate::{
    people::{Acceptance, Email, Lifetime, Role, UserId, rules},
    store::InvitationRow,
};

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/invitations", "invitations", rules::CHANGE_ACCOUNT)
            .summary("The codes that still work, without the codes themselves")
            .query::<Paging>()
            .answers(StatusCode::OK, list),
        route(Method::POST, "/invitations", "invite", rules::CHANGE_ACCOUNT)
            .shown_once()
            .summary("Invites somebody: the code is shown once")
            .body::<Invite>()
            .answers(StatusCode::CREATED, invite),
        route(Method::DELETE, "/invitations/{email}", "revoke_invitation", rules::CHANGE_ACCOUNT)
            .summary("Ends the invitation of an address")
            .path::<Invited>()
            .does(revoke),
        route(Method::POST, "/invitations/look", "look_at_invitation", rules::SIGN_IN)
            .summary("Whom a code is for")
            .body::<Code>()
            .answers(StatusCode::OK, look),
        route(Method::POST, "/invitations/accept", "accept_invitation", rules::SIGN_IN)
            .summary("Uses a code up: the account has this password from now on")
            .body::<Accept>()
            .answers(StatusCode::CREATED, accept),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Invite {
    email: Said<Email>,
    role: Role,
    /// As 24h or 7d; a week if nothing is said.
    holds: Option<Said<Lifetime>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Invited {
    email: Text<Email>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Code {
    code: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Accept {
    code: String,
    password: PasswordText,
    /// Of the first administrator only; everybody else has that of the code.
    email: Option<Said<Email>>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Invitation")]
struct InvitationDocument {
    /// `invitation`, or `reset` and the like.
    kind: &'static str,
    email: Option<Text<Email>>,
    role: Role,
    expires_at: i64,
    /// Who made it; not told to who only has the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<i64>,
}

#[derive(JsonSchema, Serialize)]
struct Accepted {
    user: Text<UserId>,
}

async fn list(call: Call<State, (), Paging>) -> Result<Reply<Page<InvitationDocument>>, ApiError> {
    let rows = call.state.people.invitations(call.actor()?).await?;
    let key = |row: &InvitationRow| by_time(row.created_at, &row.hash[..row.hash.len().min(16)]);
    let page = Page::of(rows, &call.query, key, |row| InvitationDocument {
        created_by: Some(row.created_by.clone()),
        created_at: Some(row.created_at),
        ..document(row)
    })?;
    Ok(Reply::of(page))
}

async fn invite(call: Call<State, (), (), Invite>) -> Result<Reply<Shown>, ApiError> {
    let actor = call.actor()?.clone();
    let Invite { email, role, holds } = call.body;
    let code =
        call.state.people.invite(&actor, email.read()?, role, holds.as_ref().map(Said::read).transpose()?).await?;
    Ok(Reply::of(code.into()))
}

async fn revoke(call: Call<State, Invited>) -> Result<Reply<()>, ApiError> {
    let actor = call.actor()?.clone();
    call.state.people.revoke_invitation(&actor, call.path.email.0).await?;
    Ok(Reply::of(()))
}

async fn look(call: Call<State, (), (), Code>) -> Result<Reply<InvitationDocument>, ApiError> {
    let row = call.state.people.look_at_code(&call.body.code, &origin(&call.raw)).await?;
    Ok(Reply::of(document(row)))
}

async fn accept(call: Call<State, (), (), Accept>) -> Result<Reply<Accepted>, ApiError> {
    // It would be an account that nobody can sign in to, and its address would be taken.
    call.state.asks_for_passwords()?;
    let origin = Some(origin(&call.raw));
    let Accept { code, password, email } = call.body;
    let acceptance =
        Acceptance { code, email: email.as_ref().map(Said::read).transpose()?, password: password.0, origin };
    let user = call.state.people.accept(acceptance, call.state.secrets()).await?;
    Ok(Reply::of(Accepted { user: Text(user) }))
}

fn document(row: InvitationRow) -> InvitationDocument {
    InvitationDocument {
        kind: row.kind.as_str(),
        email: row.email.map(Text),
        role: row.role,
        expires_at: row.expires_at,
        created_by: None,
        created_at: None,
    }
}
