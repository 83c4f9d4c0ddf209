//! What the owner of a profile has said of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ServerName,
    demands::{FlowSetting, Label},
};

/// What was said of a profile, and of the servers in it. Kept as one JSON document.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProfileSettings {
    /// What is done when a session has read private data and a stranger's text, and is about to use a server that can send:
    /// `off`, `warn` (which is usual) or `ask`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow: Option<FlowSetting>,
    /// By the server's name in this profile.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) servers: BTreeMap<String, MemberSettings>,
}

/// What was said of one server in a profile.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MemberSettings {
    /// Whether the text of its results is cleaned of escape sequences, control and invisible characters. Usual is yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hygiene: Option<bool>,
    /// Whether a call is refused whose arguments do not fit the tool's schema. Usual is yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) check_arguments: Option<bool>,
    /// Whether a result is refused that does not fit the tool's schema. Usual is that it is marked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) strict_results: bool,
    /// Calls of its tools in a minute, by all clients together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) calls_per_minute: Option<u32>,
    /// Calls of its tools in a minute, by one client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_calls_per_minute: Option<u32>,
    /// Bytes of text in one result; more is cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_text_bytes: Option<usize>,
    /// Bytes of one image, sound or blob; a larger one is taken out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_binary_bytes: Option<usize>,
    /// Items of content in one result; more are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_items: Option<usize>,
    /// What it can see and do: `reads-untrusted`, `reads-private`, `can-send`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) labels: BTreeSet<Label>,
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
