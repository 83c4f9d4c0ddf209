//! `api-key create|list|revoke`.

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::user::when;
use crate::{
    host::Host,
    output::{Failure, Output, columns},
    people::{Actor, Label, Lifetime, People, Scopes, Terms},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key of the control plane and print it, once
    Create {
        /// What to call it
        name: Label,
        /// What it may do, comma separated, such as servers:read,profiles:write
        #[arg(long)]
        scopes: Scopes,
        /// How long it works, as 12h or 90d [default: until it is revoked]
        #[arg(long)]
        expires: Option<Lifetime>,
    },
    /// List keys
    List {
        /// Of this account, by address or id [default: local]
        #[arg(long)]
        user: Option<String>,
    },
    /// End a key at once
    Revoke {
        /// What it is called
        name: Label,
        /// Of this account, by address or id [default: local]
        #[arg(long)]
        user: Option<String>,
    },
}

/// Does what was asked.
pub(crate) async fn run(host: Host, command: Command, out: &Output) -> Result<(), Failure> {
    let people = People::new(host.store.clone(), Terms::of(host.settings().session_ttl));
    let actor = Actor::local();
    let of = async |user: Option<String>| match user {
        None => Ok(actor.user.clone()),
        Some(who) => people.find_account(&actor, &who).await.map(|found| found.id),
    };
    match command {
        Command::Create { name, scopes, expires } => {
            let key = people.create_api_key(&actor, name.clone(), scopes.clone(), expires).await?;
            print_key(&name, &scopes, key.expose(), out)
        }
        Command::List { user } => {
            let keys = people.api_keys(&actor, &of(user).await?).await?;
            let listed = keys.into_iter().map(|key| Listed {
                name: key.name.to_string(),
                scopes: key.scopes.to_string(),
                created_at: key.created_at,
                expires_at: key.expires_at,
                last_used_at: key.last_used_at,
            });
            print_list(&listed.collect::<Vec<_>>(), out)
        }
        Command::Revoke { name, user } => {
            people.revoke_api_key(&actor, &of(user).await?, name.clone()).await?;
            print_revoked(&name, out)
        }
    }
}

/// A key, in a list.
#[derive(Deserialize, Serialize)]
pub(super) struct Listed {
    name: String,
    scopes: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

pub(super) fn print_key(name: &Label, scopes: &Scopes, key: &str, out: &Output) -> Result<(), Failure> {
    let document = json!({ "name": name.as_str(), "scopes": scopes.to_string(), "key": key });
    let about =
        format!("key {name} for {scopes}, shown once, as only its hash is kept; only you should be able to read it:");
    out.print_once(&document, &[about], key)
}

pub(super) fn print_list(keys: &[Listed], out: &Output) -> Result<(), Failure> {
    out.print(&keys, |keys| {
        let rows = keys.iter().map(|key| {
            let used = key.last_used_at.map_or_else(|| "never".to_owned(), when);
            let end = key.expires_at.map_or_else(String::new, when);
            vec![key.name.clone(), key.scopes.clone(), used, end]
        });
        columns(&["NAME", "SCOPES", "LAST USED", "UNTIL"], &rows.collect::<Vec<_>>())
    })
}

pub(super) fn print_revoked(name: &Label, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "revoked": name.as_str() }), |_| vec![format!("key {name} works no more")])
}
