//! What the owner of a profile has said of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use gigmcp_mcp::{ListBudget, ToolMode};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::ServerName;

/// What was said of a profile, and of the servers in it. Kept as one JSON document.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProfileSettings {
    /// How its tools are listed.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) tools: Tools,
    /// With `auto`, how many tools are listed one by one at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_listed_tools: Option<usize>,
    /// With `auto`, how many tokens their list takes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_listed_tokens: Option<usize>,
    /// Tools that are listed however the others are, as `<server>_<tool>`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", deserialize_with = "names")]
    pub(crate) always: BTreeSet<String>,
    /// By the server's name in this profile.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) servers: BTreeMap<String, MemberSettings>,
    /// Processes of its servers that may run at once, if not the default number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_servers: Option<NonZeroU32>,
}

/// What was said of one server in a profile.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MemberSettings {
    /// Tools of it that are switched off: not listed, not found and not called.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", deserialize_with = "names")]
    pub(crate) disabled_tools: BTreeSet<String>,
    /// Seconds without a call after which it is ended, if not `GIG_IDLE_TIMEOUT`; 0 keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle_seconds: Option<u32>,
    /// How often it is started beside itself at most once it asks its clients something; the processes have no memory in
    /// common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spares: Option<u8>,
}

/// How the tools of a profile are listed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tools {
    /// Each by itself.
    #[default]
    Direct,
    /// Behind the few that find and call them.
    Meta,
    /// Each by itself while the list is short.
    Auto,
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
    /// How an aggregator lists its tools.
    pub(crate) fn tool_mode(&self) -> ToolMode {
        let default = ListBudget::default();
        match self.tools {
            Tools::Direct => ToolMode::Direct,
            Tools::Meta => ToolMode::Meta,
            Tools::Auto => ToolMode::Auto(ListBudget {
                max_tools: self.max_listed_tools.unwrap_or(default.max_tools),
                max_tokens: self.max_listed_tokens.unwrap_or(default.max_tokens),
            }),
        }
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

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Names in a list, or in one text with commas between them, as one writes them on a command line.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected names with commas between them")]
    enum Said {
        List(BTreeSet<String>),
        Text(String),
    }
    Ok(match Said::deserialize(deserializer)? {
        Said::List(names) => names,
        Said::Text(text) => {
            text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_tools_are_listed_is_said_in_words() {
        let mut settings = ProfileSettings::default();
        for (name, value, is_right) in [
            ("tools", Some("auto"), true),
            ("tools", Some("some"), false),
            ("max_listed_tools", Some("7"), true),
            ("max_listed_tools", Some("-7"), false),
            ("always", Some("a_one, b_two"), true),
            ("always", Some(r#"["a_one","b_two"]"#), true),
            ("always", Some("7"), false),
            ("nothing", Some("7"), false),
        ] {
            assert_eq!(settings.set(None, name, value).is_ok(), is_right, "{name}={value:?}");
        }
        let budget = ListBudget { max_tools: 7, ..ListBudget::default() };
        assert_eq!(settings.tool_mode(), ToolMode::Auto(budget));
        assert_eq!(settings.always.iter().collect::<Vec<_>>(), ["a_one", "b_two"]);
        let server: ServerName = "files".parse().expect("a name");
        settings.set(Some(&server), "disabled_tools", Some("delete")).expect("a name");
        let text = serde_json::to_string(&settings).expect("JSON");
        assert_eq!(serde_json::from_str::<ProfileSettings>(&text).expect("the same"), settings);
        for name in ["tools", "max_listed_tools", "always"] {
            settings.set(None, name, None).expect("the default");
        }
        settings.set(Some(&server), "disabled_tools", None).expect("the default");
        assert_eq!(settings, ProfileSettings::default());
    }
}
