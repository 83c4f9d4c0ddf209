//! `user invite|list|role|disable|enable|delete|reset-password|identities|sessions|setup|accept|...`.

use std::path::PathBuf;

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use crate::{
    cli::read_input,
    host::Host,
    output::{Failure, Output, columns, harmless},
    people::{Acceptance, Actor, Email, Lifetime, Password, People, Role, Terms},
    settings::PublicUrl,
    store::UserRow,
    welcome,
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
        /// Let them in by no identity provider any more, until they link an identity again
        #[arg(long)]
        identities: bool,
    },
    /// List who somebody is to identity providers, or take one of these identities away
    Identities {
        /// Address or id
        who: String,
        /// Take this one away; its sessions end
        #[arg(long)]
        unlink: Option<String>,
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
    let (actor, url) = (Actor::local(), host.settings().public_url.as_ref());
    let find = async |who: &str| people.find_account(&actor, who).await;
    match command {
        Command::Invite { email, role, expires } => {
            let code = people.invite(&actor, email.clone(), role, expires).await?;
            print_code(&format!("{email} as {role}"), code.expose(), url, out)
        }
        Command::Setup => match people.setup_code().await? {
            Some(code) => print_code("the first administrator", code.expose(), url, out),
            None => {
                Err("there is an administrator who can sign in; invite others with `gigmcp-gateway user invite`".into())
            }
        },
        Command::Invitations => invitations(&people, &actor, out).await,
        Command::Uninvite { email } => {
            people.revoke_invitation(&actor, email.clone()).await?;
            print_uninvited(&email, out)
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
                return Err(not_deleted(Person::from(&found).called()));
            }
            people.delete(&actor, &found.id, &host.secrets().await?).await?;
            done(&found, "deleted", json!(true), "is deleted", out)
        }
        Command::ResetPassword { who, second_factor, identities } => {
            let found = find(&who).await?;
            let code = people.reset_password(&actor, &found.id).await?;
            // It works whatever becomes of the rest: the only administrator keeps their last identity until it is used.
            print_code(&format!("a new password of {}", Person::from(&found).called()), code.expose(), url, out)?;
            if second_factor {
                people.end_lost_totp(&actor, &found.id).await?;
            }
            if identities {
                for row in people.identities(&actor, &found.id).await? {
                    people.unlink_of(&actor, &found.id, &row.id()).await?;
                }
            }
            Ok(())
        }
        Command::Identities { who, unlink: Some(id) } => {
            let found = find(&who).await?;
            people.unlink_of(&actor, &found.id, &id).await?;
            done(&found, "unlinked", json!(id), "has one identity less", out)
        }
        Command::Identities { who, unlink: None } => {
            let found = find(&who).await?;
            let rows = people.identities(&actor, &found.id).await?.into_iter().map(|row| Linked {
                id: row.id(),
                issuer: row.identity.issuer,
                subject: row.identity.subject,
                created_at: row.created_at,
                last_login_at: row.last_login_at,
            });
            print_identities(&rows.collect::<Vec<_>>(), out)
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
    let (code, password) = code_and_password(file)?;
    let password = Password::new(password)?;
    let acceptance = Acceptance { code: code.to_string(), email, password, origin: None };
    let id = people.accept(acceptance, &host.secrets().await?).await?;
    let found = people.account(&Actor::local(), &id).await?;
    done(&found, "role", json!(found.role), "can sign in", out)
}

/// Whom something was done to.
#[derive(Deserialize)]
pub(super) struct Person {
    pub(super) id: String,
    pub(super) email: Option<String>,
}

impl Person {
    /// How somebody is called.
    pub(super) fn called(&self) -> &str {
        self.email.as_ref().unwrap_or(&self.id)
    }
}

impl From<&UserRow> for Person {
    fn from(row: &UserRow) -> Self {
        Self { id: row.id.to_string(), email: row.email.as_ref().map(Email::to_string) }
    }
}

pub(super) fn done(whom: impl Into<Person>, what: &str, value: Value, text: &str, out: &Output) -> Result<(), Failure> {
    let whom = whom.into();
    let document = json!({ "id": whom.id, "email": whom.email, what: value });
    out.print(&document, |_| vec![format!("{} {text}", whom.called())])
}

/// A code, and the link that it is used up by, if it is known where browsers reach the gateway.
pub(super) fn print_code(whom: &str, code: &str, url: Option<&PublicUrl>, out: &Output) -> Result<(), Failure> {
    let link = url.map(|url| welcome::link(url.origin(), code));
    let mut about = vec![format!("code for {whom}, shown once, works once:")];
    about.extend(link.iter().map(|link| format!("or, with a browser: {link}")));
    out.print_once(&json!({ "for": whom, "code": code, "link": link }), &about, code)
}

pub(super) fn print_uninvited(email: &Email, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "uninvited": email.as_str() }), |_| vec![format!("{email} is not invited any more")])
}

/// What is said before somebody is deleted.
pub(super) fn not_deleted(whom: &str) -> Failure {
    format!("{whom} and all their profiles and secrets would be deleted; say so with --yes").into()
}

/// The code, and the password, in two lines.
pub(super) fn code_and_password(file: &PathBuf) -> Result<(Zeroizing<String>, Zeroizing<String>), Failure> {
    let input = read_input(file, MAX_INPUT_BYTES)?;
    let text = std::str::from_utf8(&input).map_err(|_| "the input is not text")?;
    let mut lines = text.lines();
    let (Some(code), Some(password), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err("give two lines: the code, then the password".into());
    };
    Ok((Zeroizing::new(code.trim().to_owned()), Zeroizing::new(password.to_owned())))
}

/// An account, in a list.
#[derive(Serialize)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) email: Option<String>,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) created_at: i64,
    pub(super) last_login_at: Option<i64>,
    pub(super) disabled_at: Option<i64>,
    pub(super) suspended_at: Option<i64>,
    pub(super) can_sign_in: bool,
    pub(super) second_factor: bool,
}

async fn list(people: &People, actor: &Actor, out: &Output) -> Result<(), Failure> {
    let users = people.accounts(actor).await?;
    let listed = users.into_iter().map(|user| Account {
        can_sign_in: (user.has_password || user.has_identity) && user.disabled_at.is_none(),
        second_factor: user.totp_since.is_some(),
        id: user.id.to_string(),
        email: user.email.as_ref().map(Email::to_string),
        name: user.name,
        role: user.role,
        created_at: user.created_at,
        last_login_at: user.last_login_at,
        disabled_at: user.disabled_at,
        suspended_at: user.suspended_at,
    });
    print_accounts(&listed.collect::<Vec<_>>(), out)
}

pub(super) fn print_accounts(users: &[Account], out: &Output) -> Result<(), Failure> {
    out.print(&users, |users| {
        let rows = users.iter().map(|user| {
            let status = match (user.disabled_at, user.can_sign_in, user.second_factor) {
                (Some(_), ..) => "disabled",
                _ if user.suspended_at.is_some() => "suspended",
                (None, false, _) => "cannot sign in",
                (None, true, false) => "active",
                (None, true, true) => "active, second factor",
            };
            let seen = user.last_login_at.map_or_else(|| "never".to_owned(), when);
            let called = user.email.as_ref().unwrap_or(&user.id).clone();
            vec![user.id.clone(), called, user.role.to_string(), status.to_owned(), seen]
        });
        columns(&["ID", "EMAIL", "ROLE", "STATUS", "LAST SIGN-IN"], &rows.collect::<Vec<_>>())
    })
}

/// A code that still works, in a list.
#[derive(Deserialize, Serialize)]
pub(super) struct OpenCode {
    kind: String,
    email: Option<String>,
    role: Role,
    created_by: String,
    created_at: i64,
    expires_at: i64,
}

async fn invitations(people: &People, actor: &Actor, out: &Output) -> Result<(), Failure> {
    let codes = people.invitations(actor).await?;
    let listed = codes.into_iter().map(|code| OpenCode {
        kind: code.kind.as_str().to_owned(),
        email: code.email.as_ref().map(Email::to_string),
        role: code.role,
        created_by: code.created_by,
        created_at: code.created_at,
        expires_at: code.expires_at,
    });
    print_codes(&listed.collect::<Vec<_>>(), out)
}

pub(super) fn print_codes(codes: &[OpenCode], out: &Output) -> Result<(), Failure> {
    out.print(&codes, |codes| {
        let rows = codes.iter().map(|code| {
            let email = code.email.clone().unwrap_or_default();
            vec![code.kind.clone(), email, code.role.to_string(), when(code.expires_at), code.created_by.clone()]
        });
        columns(&["KIND", "EMAIL", "ROLE", "UNTIL", "BY"], &rows.collect::<Vec<_>>())
    })
}

/// Who somebody is to a provider, in a list.
#[derive(Deserialize, Serialize)]
pub(super) struct Linked {
    pub(super) id: String,
    issuer: String,
    subject: String,
    created_at: i64,
    last_login_at: i64,
}

pub(super) fn print_identities(identities: &[Linked], out: &Output) -> Result<(), Failure> {
    out.print(&identities, |identities| {
        let rows = identities.iter().map(|linked| {
            let [issuer, subject] = [&linked.issuer, &linked.subject].map(|text| harmless(text));
            vec![linked.id.clone(), issuer, subject, when(linked.last_login_at)]
        });
        columns(&["ID", "PROVIDER", "SUBJECT", "LAST SIGN-IN"], &rows.collect::<Vec<_>>())
    })
}

/// A session, in a list.
#[derive(Deserialize, Serialize)]
pub(super) struct Session {
    id: String,
    created_at: i64,
    expires_at: i64,
    last_seen_at: i64,
    address: String,
    user_agent: String,
}

async fn sessions(people: &People, actor: &Actor, user: &UserRow, out: &Output) -> Result<(), Failure> {
    let sessions = people.sessions(actor, &user.id).await?;
    let listed = sessions.into_iter().map(|session| Session {
        id: session.id().to_owned(),
        created_at: session.created_at,
        expires_at: session.expires_at,
        last_seen_at: session.last_seen_at,
        address: session.address,
        user_agent: session.user_agent,
    });
    print_sessions(&listed.collect::<Vec<_>>(), out)
}

pub(super) fn print_sessions(sessions: &[Session], out: &Output) -> Result<(), Failure> {
    out.print(&sessions, |sessions| {
        let rows = sessions.iter().map(|session| {
            let agent = harmless(&session.user_agent);
            vec![session.id.clone(), when(session.last_seen_at), session.address.clone(), agent]
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
