//! `profile`, `token` and `secret`.

use std::collections::BTreeMap;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{profile, progress, secret, token, tokens},
    Path, Reason, Remote, RemoteError,
    people::Shown,
    said,
};
use crate::{
    output::{Failure, Output},
    people::Label,
    spec::{EXEC, ProfileSlug, ServerName},
};

/// `profile`.
pub(super) async fn run(remote: &Remote, command: profile::Command, out: &Output) -> Result<(), Failure> {
    use profile::Command;
    match command {
        Command::Create { name, server } => {
            let mut servers = BTreeMap::new();
            for server in &server {
                servers.insert(server.as_str(), revision(remote, server).await?);
            }
            let body = json!({ "slug": name.as_str(), "servers": servers });
            let token: Shown = remote.send(Method::POST, &Path::of(&["profiles"]), &body).await?;
            profile::print_token(&name, &token.token, out)
        }
        Command::Token { name } => {
            let first = Label::first();
            let path = Path::of(&["profiles", name.as_str(), "tokens", first.as_str(), "replace"]);
            let token: Shown = remote.make(&path).await?;
            profile::print_token(&name, &token.token, out)
        }
        Command::List => {
            let found: Vec<Profile> = remote.all(&Path::of(&["profiles"])).await?;
            profile::print_list(&found.into_iter().map(Profile::listed).collect::<Vec<_>>(), out)
        }
        Command::Delete { name } => {
            remote.tell(Method::DELETE, &Path::of(&["profiles", name.as_str()])).await?;
            profile::print_deleted(&name, out)
        }
        Command::Add { name, server } => {
            put(remote, &name, &server).await?;
            profile::print_added(&name, &server, out)
        }
        Command::Remove { name, server } => {
            remote.tell(Method::DELETE, &Path::of(&["profiles", name.as_str(), "servers", server.as_str()])).await?;
            profile::print_removed(&name, &server, out)
        }
        Command::Set { name, said, server } => set(remote, &name, said, server, out).await,
        Command::Tokens { name } => {
            let waiting = progress::Waiting::begin("the gateway asks the servers what they offer");
            let path = Path::of(&["profiles", name.as_str(), "token-report"]).that_only_looks();
            let report: Result<Report, _> = remote.make(&path).await;
            drop(waiting);
            tokens::print(&report?.costs(&name), out)
        }
    }
}

/// Puts a server, as it is now, into a profile.
async fn put(remote: &Remote, profile: &ProfileSlug, server: &ServerName) -> Result<(), RemoteError> {
    let path = Path::of(&["profiles", profile.as_str(), "servers", server.as_str()]);
    remote.say(Method::PUT, &path, &json!({ "revision": revision(remote, server).await? })).await
}

pub(super) async fn revision(remote: &Remote, server: &ServerName) -> Result<i64, RemoteError> {
    let found: Revision = remote.get(&Path::of(&["servers", server.as_str()])).await?;
    Ok(found.revision)
}

#[derive(Deserialize)]
struct Revision {
    revision: i64,
}

async fn set(
    remote: &Remote,
    name: &ProfileSlug,
    said: Vec<(String, Option<String>)>,
    server: Option<ServerName>,
    out: &Output,
) -> Result<(), Failure> {
    let path = Path::of(&["profiles", name.as_str()]);
    let shown: Profile = match said.is_empty() {
        true => remote.get(&path).await?,
        false => {
            // What is JSON is that, and all else is text, as on the machine of the gateway.
            let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
            let said: BTreeMap<_, _> =
                said.into_iter().map(|(name, text)| (name, text.map_or(Value::Null, value))).collect();
            let body = match &server {
                None => json!({ "settings": said }),
                Some(server) => json!({ "servers": { server.as_str(): said } }),
            };
            remote.send(Method::PATCH, &path, &body).await?
        }
    };
    profile::print_settings(&shown.settings, out)
}

/// `token`.
pub(super) async fn token(remote: &Remote, command: token::Command, out: &Output) -> Result<(), Failure> {
    use token::Command;
    match command {
        Command::Create { profile, name, scope, expires } => {
            let (scope, holds) = (scope.map(|scope| scope.to_string()), expires.map(|time| time.to_string()));
            let body = json!({ "name": name.as_str(), "scope": scope, "holds": holds });
            let path = Path::of(&["profiles", profile.as_str(), "tokens"]);
            let made: Shown = remote.send(Method::POST, &path, &body).await?;
            token::print_token(&profile, &name, &made.token, out)
        }
        Command::List { profile } => {
            token::print_list(&remote.all(&Path::of(&["profiles", profile.as_str(), "tokens"])).await?, out)
        }
        Command::Revoke { profile, name } => {
            let path = Path::of(&["profiles", profile.as_str(), "tokens", name.as_str()]);
            remote.tell(Method::DELETE, &path).await?;
            token::print_revoked(&profile, &name, out)
        }
    }
}

/// `secret`.
pub(super) async fn secret(remote: &Remote, command: secret::Command, out: &Output) -> Result<(), Failure> {
    use secret::Command;
    let no_route = |command, reason| Err(RemoteError::NoRoute { command, reason }.into());
    match command {
        // Those of `exec` are used on the machine where it runs.
        Command::Set { server, .. } if server.as_str() == EXEC => no_route("secret set exec", Reason::Here),
        Command::Set { server, name, file } => {
            let value = secret::value(&name, &file)?;
            let value = std::str::from_utf8(&value).expect("it was checked");
            let path = Path::of(&["credentials", server.as_str(), &name]);
            let set: Credential = remote.send(Method::PUT, &path, &said::Value { value }).await?;
            let gets = match set.place.as_str() {
                HELD_BY_SERVER => secret::Gets::Server,
                _ => secret::Gets::Hosts(set.hosts.clone()),
            };
            secret::print_set(&secret::Listed { created_at: None, ..set.listed() }, &gets, out)
        }
        Command::List => {
            let found: Vec<Credential> = remote.all(&Path::of(&["credentials"])).await?;
            secret::print_list(&found.into_iter().map(Credential::listed).collect::<Vec<_>>(), out)
        }
        Command::Delete { all: true, .. } => no_route("secret delete --all", Reason::Mending),
        Command::Delete { server: Some(server), name: Some(name), .. } => {
            remote.tell(Method::DELETE, &Path::of(&["credentials", server.as_str(), name.as_str()])).await?;
            secret::print_deleted(&name, out)
        }
        Command::Delete { .. } => Err("name the server and the secret".into()),
        Command::Accept { .. } => no_route("secret accept", Reason::Mending),
    }
}

#[derive(Deserialize)]
struct Profile {
    slug: String,
    owner: String,
    endpoint: String,
    created_at: i64,
    servers: Vec<Member>,
    settings: Value,
}

#[derive(Deserialize)]
struct Member {
    name: String,
}

impl Profile {
    fn listed(self) -> profile::Listed {
        profile::Listed {
            name: self.slug,
            owner: self.owner,
            endpoint: self.endpoint,
            servers: self.servers.into_iter().map(|member| member.name).collect(),
            created_at: self.created_at,
        }
    }
}

#[derive(Deserialize)]
struct Report {
    servers: Vec<tokens::Cost>,
    direct: usize,
    meta: usize,
    is_meta: bool,
    missing: Vec<String>,
}

impl Report {
    fn costs(self, profile: &ProfileSlug) -> tokens::Costs {
        let missing = self.missing.into_iter().map(|server| tokens::Missing { server, why: None });
        tokens::Costs {
            profile: profile.to_string(),
            servers: self.servers,
            direct: self.direct,
            meta: self.meta,
            listed: if self.is_meta { "meta" } else { "direct" },
            missing: missing.collect(),
        }
    }
}

#[derive(Deserialize)]
struct Credential {
    server: String,
    name: String,
    hosts: Vec<String>,
    place: String,
    version: i64,
    created_at: i64,
}

impl Credential {
    fn listed(self) -> secret::Listed {
        // As the database says whom it is sealed for.
        let host = match self.place.as_str() {
            ANY_HEADER => self.hosts.join(","),
            place => format!("{} in {place}", self.hosts.join(",")),
        };
        secret::Listed {
            server: self.server,
            name: self.name,
            host,
            version: self.version,
            created_at: Some(self.created_at),
        }
    }
}

/// What the gateway says where the server holds the value itself.
const HELD_BY_SERVER: &str = "environment";
/// Where those that say no place stand.
const ANY_HEADER: &str = "header";
