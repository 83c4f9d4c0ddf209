//! Servers that are in no registry, declared by an administrator.

use std::collections::BTreeMap;

use gigmcp_egress::HostPattern;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{ApiError, Call, Members, Reply, Route, Said, State, Text, route},
    installs,
};
use crate::{
    people::{Access, Deed, Kind, Role, Rule, done},
    spec::{
        EnvName, InvalidSpec, SecretSlot, ServerName, ServerSpec, Source, SpecAsks, SpecLimits, check_free,
        launcher_registries, once_each,
    },
    store::AuditRow,
};

/// Nobody reviewed it, so a person says so and no program.
const ADD: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Prove);

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::POST, "/servers", "add_server", ADD)
            .summary("Adds a server that is in no registry: it runs from this host's tools, read-only, and nobody reviewed it")
            .body::<Declaration>()
            .answers(StatusCode::CREATED, add),
    ]
}

/// Directories and executables of the machine are declared on the machine only, by `gigmcp-gateway server add`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ServerDeclaration")]
struct Declaration {
    name: Text<ServerName>,
    /// Program and arguments, each by itself.
    command: Vec<String>,
    /// Hosts it may reach by https: a name, *.SUFFIX (one label) or **.SUFFIX (any depth).
    #[serde(default)]
    allow: Vec<Said<HostPattern>>,
    /// Hosts it may read from by https.
    #[serde(default)]
    allow_read: Vec<Said<HostPattern>>,
    /// Credentials it uses without holding them, each as ENV=HOST.
    #[serde(default)]
    secrets: Vec<Said<SecretSlot>>,
    /// Plain variables.
    #[serde(default)]
    env: Members<String>,
    memory_bytes: Option<u64>,
    /// Hundredths of one processor.
    cpu_percent: Option<u32>,
    processes: Option<u64>,
    /// Seconds it may run before it is ended.
    wall_seconds: Option<u64>,
    /// Lets it ask the model of the client that called it.
    #[serde(default)]
    sampling: bool,
    /// Lets it ask for the directories of the client that called it.
    #[serde(default)]
    client_roots: bool,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "AddedServer")]
struct Added {
    server: String,
    revision: i64,
    /// What was allowed beyond what was said.
    notes: Vec<String>,
    credentials_to_set: Vec<String>,
}

async fn add(call: Call<State, (), (), Declaration>) -> Result<Reply<Added>, ApiError> {
    let actor = call.actor()?.clone();
    let name = call.body.name.0.clone();
    check_free(&name)?;
    let (spec, notes) = call.body.into_spec()?;
    let row = done(Kind::Server, &actor.user, format!("adds {name}, which nobody reviewed"), &actor);
    let row = AuditRow { server: name.to_string(), ..row };
    let credentials_to_set = spec.secrets.iter().map(|slot| slot.name.to_string()).collect();
    let revision = call.state.store().add_server_told(name.clone(), spec, Vec::new(), actor.does(row)).await?;
    installs::find_out(&call.state, name.clone());
    Ok(Reply::of(Added { server: name.to_string(), revision, notes, credentials_to_set }))
}

impl Declaration {
    fn into_spec(self) -> Result<(ServerSpec, Vec<String>), ApiError> {
        let mut env = BTreeMap::new();
        for (name, value) in self.env.0 {
            env.insert(name.parse::<EnvName>()?, value);
        }
        if self.command.first().is_none_or(String::is_empty) {
            return Err(InvalidSpec::NoCommand.into());
        }
        if self.command.iter().any(|word| word.contains('\0')) || env.values().any(|value| value.contains('\0')) {
            return Err(ApiError::invalid("no word of a command and no variable holds the character NUL"));
        }
        let limits = SpecLimits {
            memory_bytes: within("memory_bytes", self.memory_bytes, MEMORY)?,
            cpu_percent: within("cpu_percent", self.cpu_percent.map(u64::from), CPU)?
                .and_then(|percent| u32::try_from(percent).ok()),
            processes: within("processes", self.processes, PROCESSES)?,
            wall_seconds: within("wall_seconds", self.wall_seconds, SECONDS)?,
            ..SpecLimits::default()
        };
        let allow = read(&self.allow)?;
        let mut allow_read = read(&self.allow_read)?;
        let mut notes = Vec::new();
        for (launcher, host) in launcher_registries(&self.command) {
            notes.push(format!("{launcher} fetches packages, so {host} may be read from too"));
            allow_read.push(host);
        }
        let spec = ServerSpec {
            env,
            allow: once_each(allow),
            allow_read: once_each(allow_read),
            secrets: read(&self.secrets)?,
            limits,
            asks: SpecAsks { sampling: self.sampling, roots: self.client_roots },
            command: self.command,
            ..ServerSpec::new(Source::HostTools)
        };
        spec.check()?;
        Ok((spec, notes))
    }
}

fn read<T: std::str::FromStr<Err: std::fmt::Display>>(said: &[Said<T>]) -> Result<Vec<T>, ApiError> {
    said.iter().map(Said::read).collect()
}

fn within(name: &str, value: Option<u64>, (least, most): (u64, u64)) -> Result<Option<u64>, ApiError> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(ApiError::unacceptable(format!("{name} is {least} to {most}")))
        }
        value => Ok(value),
    }
}

impl From<InvalidSpec> for ApiError {
    fn from(error: InvalidSpec) -> Self {
        Self::unacceptable(error.to_string())
    }
}

/// As the command line takes them.
const MEMORY: (u64, u64) = (4 << 20, 1 << 50);
const CPU: (u64, u64) = (1, 1_000_000);
const PROCESSES: (u64, u64) = (4, 65_536);
const SECONDS: (u64, u64) = (1, 1 << 40);

#[cfg(test)]
mod tests;
