//! What the owner of a profile has said of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use gigmcp_mcp::{ExposedName, ListBudget, ToolMode};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{
    ServerName,
    demands::{FlowSetting, Label},
};

/// What was said of a profile, and of the servers in it. Kept as one JSON document.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProfileSettings {
    /// Whether every name begins with its server's; without, only one that two servers have does.
    #[serde(skip_serializing_if = "is_true")]
    pub(crate) prefix: bool,
    /// What clients call this profile: they put it in front of each name and count it. The profile's own name, if nothing is
    /// said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_name: Option<String>,
    /// How its tools are listed.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) tools: Tools,
    /// With `auto`, how many tools are listed one by one at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_listed_tools: Option<usize>,
    /// With `auto`, how many tokens their list takes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_listed_tokens: Option<usize>,
    /// Tools that are listed however the others are, by the names clients see or as `<server>_<tool>`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", deserialize_with = "names")]
    pub(crate) always: BTreeSet<String>,
    /// What is done when a session has read private data and a stranger's text, and is about to use a server that can send:
    /// `off`, `warn` (which is usual) or `ask`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow: Option<FlowSetting>,
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
    /// What becomes of a definition that changes after its owner agreed to the server.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) definitions: Definitions,
    /// Other names for its tools and prompts, and the server's own name for each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub(crate) aliases: BTreeMap<ExposedName, String>,
    /// Tools of it that are switched off: not listed, not found and not called.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", deserialize_with = "names")]
    pub(crate) disabled_tools: BTreeSet<String>,
    /// Tools of it, by the server's own name, that its manifest leaves off and that are switched on here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", deserialize_with = "names")]
    pub(crate) enabled_tools: BTreeSet<String>,
    /// Seconds without a call after which it is ended, if not `GIG_IDLE_TIMEOUT`; 0 keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle_seconds: Option<u32>,
    /// How often it is started beside itself at most once it asks its clients something; the processes have no memory in
    /// common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spares: Option<u8>,
    /// Whether it keeps nothing in memory from one call to the next. If it does not, the calls of a session may go to any process of
    /// it, and else to one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) stateless: bool,
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

/// What becomes of a definition that changes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Definitions {
    /// It is held back until it is accepted.
    #[default]
    Pin,
    /// It is taken as it comes: whoever writes the server can tell the model anything, at any time.
    Follow,
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

impl Default for ProfileSettings {
    fn default() -> Self {
        Self {
            prefix: true,
            client_name: None,
            tools: Tools::default(),
            max_listed_tools: None,
            max_listed_tokens: None,
            always: BTreeSet::new(),
            flow: None,
            servers: BTreeMap::new(),
            max_servers: None,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// What cannot be said of a profile.
#[derive(Debug, thiserror::Error)]
#[error("{name} of {place} cannot be `{value}`")]
pub(crate) struct InvalidProfileSetting {
    name: String,
    place: String,
    value: String,
    source: InvalidValue,
}

/// Why a value is none.
#[derive(Debug, thiserror::Error)]
enum InvalidValue {
    #[error("{0}")]
    Shape(serde_json::Error),
    #[error("{alias} is an alias of server {of} already; a name leads to one tool")]
    TakenAlias { alias: ExposedName, of: String },
    #[error("{alias} is the name of a tool that stands for others where `tools` is meta or auto; choose another alias")]
    ReservedAlias { alias: ExposedName },
    #[error("the tool {tool} has two aliases; clients see it once")]
    TwoAliases { tool: String },
}

impl ProfileSettings {
    /// What was said of one server.
    pub(crate) fn of_server(&self, server: &ServerName) -> MemberSettings {
        self.servers.get(server.as_str()).cloned().unwrap_or_default()
    }

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
        let invalid = |source| InvalidProfileSetting {
            name: name.to_owned(),
            place: server.map_or_else(|| "the profile".to_owned(), |server| format!("server {server}")),
            value: value.as_ref().map_or_else(|| "default".to_owned(), Value::to_string),
            source,
        };
        let mut said: Self = serde_json::from_value(document).map_err(|error| invalid(InvalidValue::Shape(error)))?;
        said.check_aliases().map_err(invalid)?;
        said.servers.retain(|_, said| *said != MemberSettings::default());
        *self = said;
        Ok(())
    }

    /// No name leads to two tools, and no tool has two.
    fn check_aliases(&self) -> Result<(), InvalidValue> {
        let mut taken: BTreeMap<&ExposedName, &str> = BTreeMap::new();
        for (server, said) in &self.servers {
            let mut aliased = BTreeSet::new();
            for (alias, tool) in &said.aliases {
                if ToolMode::reserves(alias.as_str()) {
                    return Err(InvalidValue::ReservedAlias { alias: alias.clone() });
                }
                if let Some(of) = taken.insert(alias, server) {
                    return Err(InvalidValue::TakenAlias { alias: alias.clone(), of: of.to_owned() });
                }
                if !aliased.insert(tool) {
                    return Err(InvalidValue::TwoAliases { tool: tool.clone() });
                }
            }
        }
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
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
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

    #[test]
    fn an_alias_is_a_name_that_leads_to_one_tool() {
        let (one, two): (ServerName, ServerName) = ("one".parse().unwrap(), "two".parse().unwrap());
        let mut settings = ProfileSettings::default();
        settings.set(Some(&one), "aliases", Some(r#"{"greet":"say.hello"}"#)).unwrap();
        settings.set(Some(&two), "aliases", Some(r#"{"greet-two":"say.hello"}"#)).unwrap();
        let before = settings.clone();
        for (case, value) in [
            ("another server has it", r#"{"greet":"say.hello"}"#),
            ("two for one tool", r#"{"a":"do","b":"do"}"#),
            ("no name that clients accept", r#"{"a b":"do"}"#),
            ("no object", "greet"),
            ("a tool that stands for others", r#"{"call_tool":"do"}"#),
        ] {
            assert!(settings.set(Some(&two), "aliases", Some(value)).is_err(), "{case}");
            assert_eq!(settings, before, "{case}");
        }
        settings.set(Some(&one), "aliases", None).unwrap();
        settings.set(Some(&two), "aliases", Some(r#"{"greet":"say.hello"}"#)).unwrap();
    }

    #[test]
    fn prefixes_are_there_unless_the_owner_says_otherwise() {
        let mut settings = ProfileSettings::default();
        assert!(settings.prefix && serde_json::from_str::<ProfileSettings>("{}").unwrap().prefix);
        settings.set(None, "prefix", Some("false")).unwrap();
        assert!(!settings.prefix);
        assert!(settings.set(None, "prefix", Some("perhaps")).is_err());
        settings.set(None, "prefix", None).unwrap();
        assert_eq!(settings, ProfileSettings::default());
    }
}
