//! `token create|list|revoke`.

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::user::when;
use crate::{
    host::Host,
    output::{Failure, Output, columns},
    people::{Actor, Label, Lifetime, People, Terms, TokenScope, TokenWish},
    spec::ProfileSlug,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make one more token of a profile and print it, once
    Create {
        /// Name of the profile
        profile: ProfileSlug,
        /// What to call the token, such as the client that gets it
        name: Label,
        /// Servers it is good for, or tools as SERVER/TOOL, comma separated [default: all that the profile has]
        #[arg(long = "for")]
        scope: Option<TokenScope>,
        /// How long it works, as 12h or 90d [default: until it is revoked]
        #[arg(long)]
        expires: Option<Lifetime>,
    },
    /// List the tokens of a profile
    List {
        /// Name of the profile
        profile: ProfileSlug,
    },
    /// End a token at once
    Revoke {
        /// Name of the profile
        profile: ProfileSlug,
        /// What the token is called
        name: Label,
    },
}

/// Does what was asked.
pub(crate) async fn run(host: Host, command: Command, out: &Output) -> Result<(), Failure> {
    let people = People::new(host.store.clone(), Terms::of(host.settings().session_ttl));
    let actor = Actor::local();
    match command {
        Command::Create { profile, name, scope, expires } => {
            let wish = TokenWish { name: name.clone(), scope: scope.unwrap_or_default(), holds: expires };
            let token = people.create_token(&actor, &profile, wish).await?;
            print_token(&profile, &name, token.expose(), out)
        }
        Command::List { profile } => {
            let tokens = people.tokens(&actor, &profile).await?;
            let listed = tokens.into_iter().map(|token| Listed {
                name: token.name.to_string(),
                scope: token.scope.to_string(),
                created_at: token.created_at,
                expires_at: token.expires_at,
                last_used_at: token.last_used_at,
            });
            print_list(&listed.collect::<Vec<_>>(), out)
        }
        Command::Revoke { profile, name } => {
            people.revoke_token(&actor, &profile, name.clone()).await?;
            print_revoked(&profile, &name, out)
        }
    }
}

/// A token, in a list.
#[derive(Deserialize, Serialize)]
pub(super) struct Listed {
    name: String,
    /// Empty for all that the profile has.
    #[serde(rename(serialize = "for"))]
    scope: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

pub(super) fn print_token(profile: &ProfileSlug, name: &Label, token: &str, out: &Output) -> Result<(), Failure> {
    let endpoint = format!("/mcp/p/{profile}");
    let document = json!({ "profile": profile.as_str(), "endpoint": endpoint, "name": name.as_str(), "token": token });
    let about = format!("profile {profile}, endpoint {endpoint}; token {name}, shown once, as only its hash is kept:");
    out.print_once(&document, &[about], token)
}

pub(super) fn print_list(tokens: &[Listed], out: &Output) -> Result<(), Failure> {
    out.print(&tokens, |tokens| {
        let rows = tokens.iter().map(|token| {
            let scope = if token.scope.is_empty() { "everything".to_owned() } else { token.scope.clone() };
            let used = token.last_used_at.map_or_else(|| "never".to_owned(), when);
            let end = token.expires_at.map_or_else(String::new, when);
            vec![token.name.clone(), scope, used, end]
        });
        columns(&["NAME", "FOR", "LAST USED", "UNTIL"], &rows.collect::<Vec<_>>())
    })
}

pub(super) fn print_revoked(profile: &ProfileSlug, name: &Label, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "profile": profile.as_str(), "revoked": name.as_str() }), |_| {
        vec![format!("token {name} of {profile} works no more")]
    })
}
