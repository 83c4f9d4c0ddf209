//! `user invite|list|role|disable|enable|delete|reset-password|sessions|setup|accept|...`.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use crate::{
    cli::read_input,
    host::Host,
    output::{Failure, Output, columns, harmless},
    people::{Acceptance, Actor, Email, Lifetime, Password, People, Role, Terms},
    store::UserRow,
    token::Token,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print a code, once, with which somebody makes their account
    Invite {
        /// Their address of e-mail; nothing is sent
        email: Email,
        /// What they are to be
        #[arg(long, value_enum, default_value = "user")]
        role: Role,
        /// How long the code works, as 30m, 12h or 7d [default: 7d]
        #[arg(long)]
        expires: Option<Lifetime>,
    },
    /// List the invitations and other codes that still work
    Invitations,
    /// End an invitation
    Uninvite {
        /// The address that was invited
        email: Email,
    },
    /// Print a new code for the first administrator, once
    Setup,
    /// Use a code up: make the account, or set the password, that it is for
    ///
    /// The first line of the input is the code, the second the password.
    Accept {
        /// Address of the first administrator, for a code that says none
        #[arg(long)]
        email: Option<Email>,
        /// File to read both from; `-` is standard input
        #[arg(long, default_value = "-")]
        file: PathBuf,
    },
    /// List accounts
    List,
    /// Say what somebody is; their sessions end
    Role {
        /// Address or id
        who: String,
        #[arg(value_enum)]
        role: Role,
    },
    /// Let somebody in no more: sessions, keys, tokens and servers end
    Disable {
        /// Address or id
        who: String,
    },
    /// Let somebody in again, with the password of before; tokens have to be made anew
    Enable {
        /// Address or id
        who: String,
    },
    /// Delete an account with its profiles and secrets
    Delete {
        /// Address or id
        who: String,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Print a code, once, with which somebody sets another password
    ResetPassword {
        /// Address or id
        who: String,
        /// Ask for the second factor no more, for somebody who has lost it
        #[arg(long)]
        second_factor: bool,
    },
    /// List the sessions of somebody, or end them
    Sessions {
        /// Address or id
        who: String,
        /// End this one
        #[arg(long, conflicts_with = "end_all")]
        end: Option<String>,
        /// End all
        #[arg(long)]
        end_all: bool,
    },
}

/// Does what was asked.
pub(crate) async fn run(host: Host, command: Command, out: &Output) -> Result<(), Failure> {
    let people = People::new(host.store.clone(), Terms::of(host.settings().session_ttl));
    let actor = Actor::local();
    let find = async |who: &str| people.find_account(&actor, who).await;
    match command {
        Command::Invite { email, role, expires } => {
            let code = people.invite(&actor, email.clone(), role, expires).await?;
            print_code(&format!("{email} as {role}"), &code, out)
        }
        Command::Setup => match people.setup_code().await? {
            Some(code) => print_code("the first administrator", &code, out),
            None => {
                Err("there is an administrator who can sign in; invite others with `gigmcp-gateway user invite`".into())
            }
        },
        Command::Invitations => invitations(&people, &actor, out).await,
        Command::Uninvite { email } => {
            people.revoke_invitation(&actor, email.clone()).await?;
            out.print(&json!({ "uninvited": email.as_str() }), |_| vec![format!("{email} is not invited any more")])
        }
        Command::Accept { email, file } => accept(&host, &people, email, &file, out).await,
        Command::List => list(&people, &actor, out).await,
        Command::Role { who, role } => {
            let found = find(&who).await?;
            people.set_role(&actor, &found.id, role).await?;
            done(&found, "role", json!(role), &format!("is {role}"), out)
        }
        Command::Disable { who } => {
            let found = find(&who).await?;
            people.disable(&actor, &found.id).await?;
            done(&found, "disabled", json!(true), "is let in no more", out)
        }
        Command::Enable { who } => {
            let found = find(&who).await?;
            people.enable(&actor, &found.id).await?;
            done(&found, "disabled", json!(false), "is let in", out)
        }
        Command::Delete { who, yes } => {
            let found = find(&who).await?;
            if !yes {
                return Err(format!(
                    "{} and all their profiles and secrets would be deleted; say so with --yes",
                    called(&found)
                )
                .into());
            }
            people.delete(&actor, &found.id, &host.secrets().await?).await?;
            done(&found, "deleted", json!(true), "is deleted", out)
        }
        Command::ResetPassword { who, second_factor } => {
            let found = find(&who).await?;
            let code = people.reset_password(&actor, &found.id).await?;
            if second_factor {
                people.end_lost_totp(&actor, &found.id).await?;
            }
            print_code(&format!("a new password of {}", called(&found)), &code, out)
        }
        Command::Sessions { who, end: Some(id), .. } => {
            let found = find(&who).await?;
            people.end_session(&actor, &found.id, &id).await?;
            done(&found, "ended", json!(id), "has one session less", out)
        }
        Command::Sessions { who, end_all: true, .. } => {
            let found = find(&who).await?;
            let ended = people.end_sessions(&actor, &found.id, None).await?;
            done(&found, "ended", json!(ended), &format!("had {ended} sessions, which ended"), out)
        }
        Command::Sessions { who, .. } => {
            let found = find(&who).await?;
            sessions(&people, &actor, &found, out).await
        }
    }
}

async fn accept(
    host: &Host,
    people: &People,
    email: Option<Email>,
    file: &PathBuf,
    out: &Output,
) -> Result<(), Failure> {
    let input = read_input(file, MAX_INPUT_BYTES)?;
    let text = std::str::from_utf8(&input).map_err(|_| "the input is not text")?;
    let mut lines = text.lines();
    let (Some(code), Some(password), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err("give two lines: the code, then the password".into());
    };
    let password = Password::new(Zeroizing::new(password.to_owned()))?;
    let acceptance = Acceptance { code: code.trim().to_owned(), email, password, origin: None };
    let id = people.accept(acceptance, &host.secrets().await?).await?;
    let found = people.account(&Actor::local(), &id).await?;
    done(&found, "role", json!(found.role), "can sign in", out)
}

/// How somebody is called.
fn called(user: &UserRow) -> String {
    user.email.as_ref().map_or_else(|| user.id.to_string(), Email::to_string)
}

fn done(user: &UserRow, what: &str, value: Value, text: &str, out: &Output) -> Result<(), Failure> {
    let document = json!({ "id": user.id.as_str(), "email": user.email.as_ref().map(Email::as_str), what: value });
    out.print(&document, |_| vec![format!("{} {text}", called(user))])
}

fn print_code(whom: &str, code: &Token, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "for": whom, "code": code.expose() }), |_| {
        vec![format!("code for {whom} (shown once, works once): {}", code.expose())]
    })
}

async fn list(people: &People, actor: &Actor, out: &Output) -> Result<(), Failure> {
    let users = people.accounts(actor).await?;
    let listed = users.iter().map(|user| {
        json!({
            "id": user.id.as_str(), "email": user.email.as_ref().map(Email::as_str), "name": user.name, "role": user.role,
            "created_at": user.created_at, "last_login_at": user.last_login_at, "disabled_at": user.disabled_at,
            "can_sign_in": (user.has_password || user.has_identity) && user.disabled_at.is_none(), "second_factor": user.totp_since.is_some(),
        })
    });
    out.print(&listed.collect::<Vec<_>>(), |_| {
        let rows = users.iter().map(|user| {
            let status = match (user.disabled_at, user.has_password || user.has_identity, user.totp_since) {
                (Some(_), ..) => "disabled",
                (None, false, _) => "cannot sign in",
                (None, true, None) => "active",
                (None, true, Some(_)) => "active, second factor",
            };
            let seen = user.last_login_at.map_or_else(|| "never".to_owned(), when);
            vec![user.id.to_string(), called(user), user.role.to_string(), status.to_owned(), seen]
        });
        columns(&["ID", "EMAIL", "ROLE", "STATUS", "LAST SIGN-IN"], &rows.collect::<Vec<_>>())
    })
}

async fn invitations(people: &People, actor: &Actor, out: &Output) -> Result<(), Failure> {
    let codes = people.invitations(actor).await?;
    let listed = codes.iter().map(|code| {
        json!({
            "kind": code.kind.as_str(), "email": code.email.as_ref().map(Email::as_str), "role": code.role,
            "created_by": code.created_by, "created_at": code.created_at, "expires_at": code.expires_at,
        })
    });
    out.print(&listed.collect::<Vec<_>>(), |_| {
        let rows = codes.iter().map(|code| {
            let email = code.email.as_ref().map_or("", Email::as_str).to_owned();
            vec![
                code.kind.as_str().to_owned(),
                email,
                code.role.to_string(),
                when(code.expires_at),
                code.created_by.clone(),
            ]
        });
        columns(&["KIND", "EMAIL", "ROLE", "UNTIL", "BY"], &rows.collect::<Vec<_>>())
    })
}

async fn sessions(people: &People, actor: &Actor, user: &UserRow, out: &Output) -> Result<(), Failure> {
    let sessions = people.sessions(actor, &user.id).await?;
    let listed = sessions.iter().map(|session| {
        json!({
            "id": session.id(), "created_at": session.created_at, "expires_at": session.expires_at,
            "last_seen_at": session.last_seen_at, "address": session.address, "user_agent": session.user_agent,
        })
    });
    out.print(&listed.collect::<Vec<_>>(), |_| {
        let rows = sessions.iter().map(|session| {
            let agent = harmless(&session.user_agent);
            vec![session.id().to_owned(), when(session.last_seen_at), session.address.clone(), agent]
        });
        columns(&["ID", "LAST SEEN", "ADDRESS", "BROWSER"], &rows.collect::<Vec<_>>())
    })
}

/// A moment as people write it.
pub(super) fn when(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

const MAX_INPUT_BYTES: u64 = 4096;
