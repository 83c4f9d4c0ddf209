//! What the owner of a profile has said of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ServerName;

/// What was said of a profile, and of the servers in it. Kept as one JSON document.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProfileSettings {
    /// By the server's name in this profile.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) servers: BTreeMap<String, MemberSettings>,
}

/// What was said of one server in a profile.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MemberSettings {
    /// What becomes of a definition that changes after its owner agreed to the server.
    #[serde(skip_serializing_if = "Definitions::is_default")]
    pub(crate) definitions: Definitions,
}

/// What becomes of a definition that changes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Definitions {
    /// It is held back until it is accepted.
    #[default]
    Pin,
    /// It is taken as it comes: whoever writes the server can tell the model anything, at any time.
    Follow,
}

impl Definitions {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What cannot be said of a profile.
#[derive(Debug, thiserror::Error)]
#[error("{name} of {place} cannot be `{value}`")]
pub(crate) struct InvalidProfileSetting {
    name: String,
    place: String,
    value: String,
    source: serde_json::Error,
}

impl ProfileSettings {
    /// What was said of one server.
    pub(crate) fn of_server(&self, server: &ServerName) -> MemberSettings {
        self.servers.get(server.as_str()).cloned().unwrap_or_default()
    }

    /// Says `name` of the profile, or of one server in it; without a value, the default holds again.
    pub(crate) fn set(
        &mut self,
        server: Option<&ServerName>,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), InvalidProfileSetting> {
        // What is JSON is that, and all else is text.
        let value = value.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)));
        let mut document = serde_json::to_value(&*self).expect("settings are JSON");
        let place = match server {
            None => Some(&mut document),
            Some(server) => document
                .as_object_mut()
                .map(|all| all.entry("servers").or_insert_with(|| Value::Object(Default::default())))
                .and_then(Value::as_object_mut)
                .map(|servers| servers.entry(server.as_str()).or_insert_with(|| Value::Object(Default::default()))),
        };
        let members = place.and_then(Value::as_object_mut).expect("settings are an object");
        match &value {
            Some(value) => drop(members.insert(name.to_owned(), value.clone())),
            // A name that is none is told of as well.
            None if members.remove(name).is_none() => drop(members.insert(name.to_owned(), Value::Null)),
            None => {}
        }
        let mut said: Self = serde_json::from_value(document).map_err(|source| InvalidProfileSetting {
            name: name.to_owned(),
            place: server.map_or_else(|| "the profile".to_owned(), |server| format!("server {server}")),
            value: value.as_ref().map_or_else(|| "default".to_owned(), Value::to_string),
            source,
        })?;
        said.servers.retain(|_, said| *said != MemberSettings::default());
        *self = said;
        Ok(())
    }
}
