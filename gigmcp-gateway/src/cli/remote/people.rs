//! `user` and `api-key`.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    super::{api_key, user},
    Path, Reason, Remote, RemoteError, said,
};
use crate::{
    output::{Failure, Output},
    people::{Email, Role},
};

/// `user`.
pub(super) async fn run(remote: &Remote, command: user::Command, out: &Output) -> Result<(), Failure> {
    use user::Command;
    match command {
        Command::Setup => Err(RemoteError::NoRoute { command: "user setup", reason: Reason::First }.into()),
        Command::Invite { email, role, expires } => {
            let body = json!({ "email": email.as_str(), "role": role, "holds": expires.map(|time| time.to_string()) });
            let code: Shown = remote.send(Method::POST, &Path::of(&["invitations"]), &body).await?;
            user::print_code(&format!("{email} as {role}"), &code.token, Some(remote.connection.url()), out)
        }
        Command::Invitations => user::print_codes(&remote.all(&Path::of(&["invitations"])).await?, out),
        Command::Uninvite { email } => {
            remote.tell(Method::DELETE, &Path::of(&["invitations", email.as_str()])).await?;
            user::print_uninvited(&email, out)
        }
        Command::Accept { email, file } => accept(remote, email, &file, out).await,
        Command::List => {
            let users = accounts(remote).await?.into_iter().map(user::Account::from);
            user::print_accounts(&users.collect::<Vec<_>>(), out)
        }
        Command::Role { who, role } => {
            let found = find(remote, &who).await?;
            remote.say(Method::PUT, &Path::of(&["users", &found.id, "role"]), &json!({ "role": role })).await?;
            user::done(found, "role", json!(role), &format!("is {role}"), out)
        }
        Command::Disable { who } => {
            let found = find(remote, &who).await?;
            remote.tell(Method::POST, &Path::of(&["users", &found.id, "disable"])).await?;
            user::done(found, "disabled", json!(true), "is let in no more", out)
        }
        Command::Enable { who } => {
            let found = find(remote, &who).await?;
            remote.tell(Method::POST, &Path::of(&["users", &found.id, "enable"])).await?;
            user::done(found, "disabled", json!(false), "is let in", out)
        }
        Command::Delete { who, yes } => {
            let found = find(remote, &who).await?;
            if !yes {
                return Err(user::not_deleted(found.called()));
            }
            remote.tell(Method::DELETE, &Path::of(&["users", &found.id])).await?;
            user::done(found, "deleted", json!(true), "is deleted", out)
        }
        Command::ResetPassword { who, second_factor, identities } => {
            let found = find(remote, &who).await?;
            let code: Shown = remote.make(&Path::of(&["users", &found.id, "reset"])).await?;
            // It works whatever becomes of the rest.
            user::print_code(
                &format!("a new password of {}", found.called()),
                &code.token,
                Some(remote.connection.url()),
                out,
            )?;
            if second_factor {
                remote.tell(Method::DELETE, &Path::of(&["users", &found.id, "factor"])).await?;
            }
            if identities {
                for linked in linked(remote, &found).await? {
                    remote.tell(Method::DELETE, &Path::of(&["users", &found.id, "identities", &linked.id])).await?;
                }
            }
            Ok(())
        }
        Command::Identities { who, unlink: Some(id) } => {
            let found = find(remote, &who).await?;
            remote.tell(Method::DELETE, &Path::of(&["users", &found.id, "identities", &id])).await?;
            user::done(found, "unlinked", json!(id), "has one identity less", out)
        }
        Command::Identities { who, unlink: None } => {
            user::print_identities(&linked(remote, &find(remote, &who).await?).await?, out)
        }
        Command::Sessions { who, end, end_all } => sessions(remote, &who, end, end_all, out).await,
    }
}

async fn linked(remote: &Remote, of: &user::Person) -> Result<Vec<user::Linked>, RemoteError> {
    let Identities { items } = remote.get(&Path::of(&["users", &of.id, "identities"])).await?;
    Ok(items)
}

async fn sessions(remote: &Remote, who: &str, end: Option<String>, end_all: bool, out: &Output) -> Result<(), Failure> {
    let found = find(remote, who).await?;
    let path = Path::of(&["users", &found.id, "sessions"]);
    if let Some(id) = end {
        remote.tell(Method::DELETE, &Path::of(&["users", &found.id, "sessions", &id])).await?;
        return user::done(found, "ended", json!(id), "has one session less", out);
    }
    if end_all {
        let Ended { ended } = remote.read(Method::DELETE, &path, None, super::DEADLINE).await?;
        return user::done(found, "ended", json!(ended), &format!("had {ended} sessions, which ended"), out);
    }
    user::print_sessions(&remote.all(&path).await?, out)
}

/// Whoever has a code is nobody yet, so no key is sent.
async fn accept(remote: &Remote, email: Option<Email>, file: &std::path::PathBuf, out: &Output) -> Result<(), Failure> {
    let (code, password) = user::code_and_password(file)?;
    let path = Path::of(&["invitations", "look"]).without_key();
    let looked: Looked = remote.send(Method::POST, &path, &said::Invited { code: &code }).await?;
    let email_said = email.as_ref().map(Email::as_str);
    let body = said::Accepting { code: &code, password: &password, email: email_said };
    let path = Path::of(&["invitations", "accept"]).without_key();
    let accepted: Accepted = remote.send(Method::POST, &path, &body).await?;
    let email = looked.email.or(email.map(|email| email.to_string()));
    user::done(user::Person { id: accepted.user, email }, "role", json!(looked.role), "can sign in", out)
}

/// `api-key`.
pub(super) async fn api_key(remote: &Remote, command: api_key::Command, out: &Output) -> Result<(), Failure> {
    use api_key::Command;
    match command {
        Command::Create { name, scopes, expires } => {
            let holds = expires.map(|time| time.to_string());
            let body = json!({ "name": name.as_str(), "scopes": scopes.to_string(), "holds": holds });
            let key: Shown = remote.send(Method::POST, &Path::of(&["api-keys"]), &body).await?;
            api_key::print_key(&name, &scopes, &key.token, out)
        }
        Command::List { user } => {
            let path = match user {
                None => Path::of(&["api-keys"]),
                Some(who) => Path::of(&["users", &find(remote, &who).await?.id, "api-keys"]),
            };
            api_key::print_list(&remote.all(&path).await?, out)
        }
        Command::Revoke { name, user } => {
            let path = match user {
                None => Path::of(&["api-keys", name.as_str()]),
                Some(who) => Path::of(&["users", &find(remote, &who).await?.id, "api-keys", name.as_str()]),
            };
            remote.tell(Method::DELETE, &path).await?;
            api_key::print_revoked(&name, out)
        }
    }
}

/// An account of that address or id.
async fn find(remote: &Remote, who: &str) -> Result<user::Person, RemoteError> {
    let found = accounts(remote)
        .await?
        .into_iter()
        .find(|user| user.id == who || user.email.as_ref().is_some_and(|email| email.eq_ignore_ascii_case(who.trim())));
    let found = found.ok_or_else(|| RemoteError::Nobody { who: who.to_owned() })?;
    Ok(user::Person { id: found.id, email: found.email })
}

async fn accounts(remote: &Remote) -> Result<Vec<Account>, RemoteError> {
    remote.all(&Path::of(&["users"])).await
}

#[derive(Deserialize)]
struct Account {
    id: String,
    email: Option<String>,
    name: String,
    role: Role,
    created_at: i64,
    last_login_at: Option<i64>,
    disabled_at: Option<i64>,
    #[serde(default)]
    suspended_at: Option<i64>,
    has_password: bool,
    /// Whether a provider vouches for them.
    #[serde(default)]
    has_identity: bool,
    second_factor_since: Option<i64>,
}

impl From<Account> for user::Account {
    fn from(user: Account) -> Self {
        Self {
            can_sign_in: (user.has_password || user.has_identity) && user.disabled_at.is_none(),
            second_factor: user.second_factor_since.is_some(),
            id: user.id,
            email: user.email,
            name: user.name,
            role: user.role,
            created_at: user.created_at,
            last_login_at: user.last_login_at,
            disabled_at: user.disabled_at,
            suspended_at: user.suspended_at,
        }
    }
}

/// Something that is shown once.
#[derive(Deserialize)]
pub(super) struct Shown {
    pub(super) token: String,
}

#[derive(Deserialize)]
struct Looked {
    email: Option<String>,
    role: Role,
}

#[derive(Deserialize)]
struct Accepted {
    user: String,
}

#[derive(Deserialize)]
struct Identities {
    items: Vec<user::Linked>,
}

#[derive(Deserialize)]
struct Ended {
    ended: u64,
}
