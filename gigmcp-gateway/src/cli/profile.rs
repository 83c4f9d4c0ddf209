//! `profile create|list|delete|token|add|remove|set|tokens`.

use clap::Subcommand;
use serde::Serialize;
use serde_json::{Value, json};

use super::{help, tokens};
use crate::{
    host::Host,
    output::{Failure, Output, columns},
    people::{Actor, Label, People, Terms},
    settings::Settings,
    spec::{ProfileSlug, ServerName},
    store::Absent,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a profile and print its token, once
    Create {
        /// Name in the endpoint /mcp/p/NAME
        name: ProfileSlug,
        /// Server to put into it
        #[arg(long)]
        server: Vec<ServerName>,
    },
    /// List profiles
    List,
    /// Delete a profile; its token stops working at once
    Delete {
        /// Name of the profile
        name: ProfileSlug,
    },
    /// Print a new token, once, in the place of the one that the profile began with; that stops working at once
    ///
    /// More tokens, for less or for a while, are made by `token create`.
    Token {
        /// Name of the profile
        name: ProfileSlug,
    },
    /// Put a server into a profile
    Add {
        /// Name of the profile
        name: ProfileSlug,
        /// Name of the server
        server: ServerName,
    },
    /// Take a server out of a profile
    Remove {
        /// Name of the profile
        name: ProfileSlug,
        /// Name of the server
        server: ServerName,
    },
    /// Show what was said of a profile, or say something of it
    #[command(after_long_help = help::of_profile_set())]
    Set {
        /// Name of the profile
        name: ProfileSlug,
        /// What is said, as NAME=VALUE, of those that --help lists; NAME= goes back to the default, and without any, what was said is shown
        #[arg(value_parser = setting)]
        said: Vec<(String, Option<String>)>,
        /// Say it of this server in the profile
        #[arg(long, requires = "said")]
        server: Option<ServerName>,
    },
    /// Show what the tools of a profile take of a model's context, estimated; starts its servers for a moment
    Tokens {
        /// Name of the profile
        name: ProfileSlug,
    },
}

fn setting(text: &str) -> Result<(String, Option<String>), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), Some(value.to_owned()).filter(|value| !value.is_empty())))
}

/// Does what was asked.
pub(crate) async fn run(settings: &Settings, command: Command, out: &Output) -> Result<(), Failure> {
    let host = Host::open(settings)?;
    let people = People::new(host.store.clone(), Terms::of(host.settings().session_ttl));
    let actor = Actor::local();
    match command {
        Command::Create { name, server } => {
            let servers = server.into_iter().map(|server| (server, None)).collect();
            let token = people.create_profile(&actor, &name, servers).await?;
            print_token(&name, token.expose(), out)
        }
        Command::Token { name } => {
            let (token, _) = people.replace_token(&actor, &name, Label::first(), Absent::Made).await?;
            print_token(&name, token.expose(), out)
        }
        Command::Set { name, said, server } => set(&host, &people, &name, server, said, out).await,
        Command::Tokens { name } => tokens::run(settings, host, name, out).await,
        Command::List => list(&host, out).await,
        Command::Delete { name } => {
            people.delete_profile(&actor, &name).await?;
            print_deleted(&name, out)
        }
        Command::Add { name, server } => {
            people.put_server(&actor, &name, &server, None).await?;
            print_added(&name, &server, out)
        }
        Command::Remove { name, server } => {
            people.take_server(&actor, &name, &server).await?;
            print_removed(&name, &server, out)
        }
    }
}

async fn set(
    host: &Host,
    people: &People,
    name: &ProfileSlug,
    server: Option<ServerName>,
    said: Vec<(String, Option<String>)>,
    out: &Output,
) -> Result<(), Failure> {
    let settings = match said.is_empty() {
        true => host.store.profile(name.clone()).await?.settings,
        false => {
            let said = said.into_iter().map(|(what, value)| (server.clone(), what, value)).collect();
            people.say(&Actor::local(), name, said).await?
        }
    };
    print_settings(&serde_json::to_value(&settings)?, out)
}

pub(super) fn print_settings(settings: &Value, out: &Output) -> Result<(), Failure> {
    out.print(settings, |settings| serde_json::to_string_pretty(settings).into_iter().collect())
}

pub(super) fn print_deleted(name: &ProfileSlug, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "deleted": name.as_str() }), |_| vec![format!("deleted {name}")])
}

pub(super) fn print_added(name: &ProfileSlug, server: &ServerName, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "profile": name.as_str(), "added": server.as_str() }), |_| {
        vec![format!("{server} is in {name}")]
    })
}

pub(super) fn print_removed(name: &ProfileSlug, server: &ServerName, out: &Output) -> Result<(), Failure> {
    out.print(&json!({ "profile": name.as_str(), "removed": server.as_str() }), |_| {
        vec![format!("{server} is no longer in {name}")]
    })
}

pub(super) fn print_token(name: &ProfileSlug, token: &str, out: &Output) -> Result<(), Failure> {
    let endpoint = format!("/mcp/p/{name}");
    let document = json!({ "profile": name.as_str(), "endpoint": endpoint, "token": token });
    let about = format!("profile {name}, endpoint {endpoint}; token, shown once, as only its hash is kept:");
    out.print_once(&document, &[about], token)
}

/// A profile, in a list.
#[derive(Serialize)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) endpoint: String,
    pub(super) servers: Vec<String>,
    pub(super) created_at: i64,
}

async fn list(host: &Host, out: &Output) -> Result<(), Failure> {
    let profiles = host.store.profiles().await?;
    let listed = profiles.iter().map(|profile| Listed {
        name: profile.slug.to_string(),
        owner: profile.owner.to_string(),
        endpoint: format!("/mcp/p/{}", profile.slug),
        servers: profile.servers.iter().map(|(name, _)| name.to_string()).collect(),
        created_at: profile.created_at,
    });
    print_list(&listed.collect::<Vec<_>>(), out)
}

pub(super) fn print_list(profiles: &[Listed], out: &Output) -> Result<(), Failure> {
    out.print(&profiles, |profiles| {
        let rows = profiles
            .iter()
            .map(|profile| vec![profile.name.clone(), profile.endpoint.clone(), profile.servers.join(",")]);
        columns(&["NAME", "ENDPOINT", "SERVERS"], &rows.collect::<Vec<_>>())
    })
}
