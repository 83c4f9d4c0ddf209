//! What the owner of a profile has said of it.

use std::collections::{BTreeMap, BTreeSet};

use gigmcp_mcp::ExposedName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ServerName;

/// What was said of a profile, and of the servers in it. Kept as one JSON document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProfileSettings {
    /// Whether every name begins with its server's; without, only one that two servers have does.
    #[serde(skip_serializing_if = "is_true")]
    pub(crate) prefix: bool,
    /// What clients call this profile: they put it in front of each name and count it. The profile's own name, if nothing is
    /// said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_name: Option<String>,
    /// By the server's name in this profile.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) servers: BTreeMap<String, MemberSettings>,
}

/// What was said of one server in a profile.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MemberSettings {
    /// Other names for its tools and prompts, and the server's own name for each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) aliases: BTreeMap<ExposedName, String>,
}

impl Default for ProfileSettings {
    fn default() -> Self {
        Self { prefix: true, client_name: None, servers: BTreeMap::new() }
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
    #[error("the tool {tool} has two aliases; clients see it once")]
    TwoAliases { tool: String },
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

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
