//! `token create|list|revoke`.

use clap::Subcommand;
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
            let endpoint = format!("/mcp/p/{profile}");
            let document = json!({
                "profile": profile.as_str(), "endpoint": endpoint, "name": name.as_str(), "token": token.expose(),
            });
            out.print(&document, |_| {
                vec![
                    format!("profile {profile}, endpoint {endpoint}"),
                    format!("token {name} (shown once, only its hash is kept): {}", token.expose()),
                ]
            })
        }
        Command::List { profile } => {
            let tokens = people.tokens(&actor, &profile).await?;
            let listed = tokens.iter().map(|token| {
                json!({
                    "name": token.name.as_str(), "for": token.scope.to_string(), "created_at": token.created_at,
                    "expires_at": token.expires_at, "last_used_at": token.last_used_at,
                })
            });
            out.print(&listed.collect::<Vec<_>>(), |_| {
                let rows = tokens.iter().map(|token| {
                    let scope = if token.scope.is_whole() { "everything".to_owned() } else { token.scope.to_string() };
                    let used = token.last_used_at.map_or_else(|| "never".to_owned(), when);
                    let end = token.expires_at.map_or_else(String::new, when);
                    vec![token.name.to_string(), scope, used, end]
                });
                columns(&["NAME", "FOR", "LAST USED", "UNTIL"], &rows.collect::<Vec<_>>())
            })
        }
        Command::Revoke { profile, name } => {
            people.revoke_token(&actor, &profile, name.clone()).await?;
            out.print(&json!({ "profile": profile.as_str(), "revoked": name.as_str() }), |_| {
                vec![format!("token {name} of {profile} works no more")]
            })
        }
    }
}
