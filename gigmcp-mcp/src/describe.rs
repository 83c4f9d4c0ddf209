//! What a server says it can do.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    extension::{Extensions, TASKS},
    hygiene::safe_text,
    object::{Members, is_object},
    version::Era,
};

/// What a server, or many as one, say of themselves.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Description {
    /// What may be asked of it.
    pub capabilities: Capabilities,
    /// How a model is to use it; text of the server.
    pub instructions: Option<String>,
    /// Which extensions of the protocol it has.
    pub extensions: Extensions,
    /// What people call it; text of the server.
    pub title: Option<String>,
    /// Its name and version, as it wrote them.
    pub server_info: Option<Box<RawValue>>,
}

/// What may be asked of a server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// `tools/list` and `tools/call`.
    pub tools: bool,
    /// `prompts/list` and `prompts/get`.
    pub prompts: bool,
    /// `resources/list`, `resources/templates/list` and `resources/read`.
    pub resources: bool,
    /// `resources/subscribe` and `resources/unsubscribe`.
    pub subscribe: bool,
    /// `completion/complete`.
    pub completions: bool,
    /// `logging/setLevel`.
    pub logging: bool,
    /// It says so when a list has changed.
    pub list_changed: bool,
}

impl Description {
    /// Of something that has tools and nothing else.
    #[must_use]
    pub fn of_tools() -> Self {
        Self { capabilities: Capabilities { tools: true, ..Capabilities::default() }, ..Self::default() }
    }

    /// As the `capabilities` of `initialize` or `server/discover`.
    pub(crate) fn declared(&self, era: Era) -> serde_json::Value {
        let mut declared = self.capabilities.to_json();
        let extensions = match era {
            Era::Modern => self.extensions.to_json(),
            // There, tasks are something else.
            Era::Legacy => self.extensions.clone().without(TASKS).to_json(),
        };
        if let Some(extensions) = extensions {
            declared["extensions"] = extensions;
        }
        declared
    }

    /// Out of the result of `initialize` or `server/discover`. What cannot be read is not there.
    pub(crate) fn read(result: &RawValue) -> Self {
        let Ok(members) = Members::of(result) else { return Self::default() };
        let declared = members.value("capabilities");
        let capabilities = declared.and_then(|declared| Members::of(declared).ok());
        let info = server_info(&members);
        let title = info.and_then(|info| Members::of(info).ok()?.string("title"));
        Self {
            extensions: declared.map(Extensions::read).unwrap_or_default(),
            title: title.map(|title| safe_text(&title).into_owned()),
            capabilities: capabilities.as_ref().map(Capabilities::read).unwrap_or_default(),
            instructions: members
                .string("instructions")
                .map(Into::into)
                .filter(|text: &String| !text.trim().is_empty()),
            server_info: info.map(ToOwned::to_owned),
        }
    }

    /// In the form of the result of `initialize`, for [`read`](Self::read).
    pub(crate) fn to_raw(&self) -> Box<RawValue> {
        let capabilities = serde_json::value::to_raw_value(&self.capabilities.to_json()).expect("it is JSON");
        let capabilities = match self.extensions.to_raw() {
            Some(extensions) => {
                Members::grown(&capabilities).expect("it is an object").set("extensions", extensions.get())
            }
            None => capabilities,
        };
        let written = Written {
            capabilities,
            instructions: self.instructions.as_deref(),
            server_info: self.server_info.as_deref(),
        };
        serde_json::value::to_raw_value(&written).expect("strings and JSON are JSON")
    }

    /// The same of something of which only tools are shown.
    pub(crate) fn only_tools(&self) -> Self {
        let Capabilities { tools, logging, list_changed, .. } = self.capabilities;
        let capabilities = Capabilities { tools, logging, list_changed, ..Capabilities::default() };
        // Of what its calls have begun: the ids are sealed for whoever began it.
        let extensions = self.extensions.clone().only(TASKS);
        // How to use the rest is nothing for whoever may not.
        Self { capabilities, extensions, instructions: None, ..self.clone() }
    }

    /// Whether the two say the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.to_raw().get() == other.to_raw().get()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    capabilities: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_info: Option<&'a RawValue>,
}

/// A member of its own in the older era, part of `_meta` in the newer one.
fn server_info<'a>(members: &Members<'a>) -> Option<&'a RawValue> {
    let meta = || Members::of(members.value("_meta")?).ok()?.value("io.modelcontextprotocol/serverInfo");
    members.value("serverInfo").or_else(meta).filter(|info| is_object(info))
}

impl Capabilities {
    /// All there are.
    pub const ALL: Self = Self {
        tools: true,
        prompts: true,
        resources: true,
        subscribe: true,
        completions: true,
        logging: true,
        list_changed: true,
    };

    /// What either of the two can do.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            tools: self.tools || other.tools,
            prompts: self.prompts || other.prompts,
            resources: self.resources || other.resources,
            subscribe: self.subscribe || other.subscribe,
            completions: self.completions || other.completions,
            logging: self.logging || other.logging,
            list_changed: self.list_changed || other.list_changed,
        }
    }

    /// As the `capabilities` of `initialize` or `server/discover`.
    #[must_use]
    pub fn to_json(self) -> serde_json::Value {
        let mut declared = serde_json::Map::new();
        let list_changed = self.list_changed;
        for (there, name) in [(self.tools, "tools"), (self.prompts, "prompts"), (self.resources, "resources")] {
            if there {
                declared.insert(name.to_owned(), serde_json::json!({ "listChanged": list_changed }));
            }
        }
        if self.resources && self.subscribe {
            declared["resources"]["subscribe"] = true.into();
        }
        for (there, name) in [(self.completions, "completions"), (self.logging, "logging")] {
            if there {
                declared.insert(name.to_owned(), serde_json::json!({}));
            }
        }
        declared.into()
    }

    fn read(declared: &Members<'_>) -> Self {
        // `true` is meant as `{}`; some servers write it.
        let there = |name| declared.value(name).is_some_and(|value| is_object(value) || value.get() == "true");
        let says = |name: &str, member: &str| {
            let members = declared.value(name).and_then(|value| Members::of(value).ok());
            members.and_then(|members| members.value(member)).is_some_and(|value| value.get() == "true")
        };
        Self {
            tools: there("tools"),
            prompts: there("prompts"),
            resources: there("resources"),
            subscribe: says("resources", "subscribe"),
            completions: there("completions"),
            logging: there("logging"),
            list_changed: ["tools", "prompts", "resources"].into_iter().any(|name| says(name, "listChanged")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn what_a_server_declares_is_read_and_what_is_odd_is_not_there() {
        for (result, expected) in [
            (r#"{"capabilities":{"tools":{}}}"#, Capabilities { tools: true, ..Capabilities::default() }),
            (r#"{"capabilities":{"tools":true}}"#, Capabilities { tools: true, ..Capabilities::default() }),
            (r#"{"capabilities":{"tools":false,"prompts":null,"logging":[]}}"#, Capabilities::default()),
            (
                r#"{"capabilities":{"resources":{"subscribe":true},"vendor":{}}}"#,
                Capabilities { resources: true, subscribe: true, ..Capabilities::default() },
            ),
            (r#"{"capabilities":[]}"#, Capabilities::default()),
            ("{}", Capabilities::default()),
        ] {
            let raw = RawValue::from_string(result.to_owned()).unwrap();
            assert_eq!(Description::read(&raw).capabilities, expected, "{result}");
        }
        let extensions = r#"{"io.modelcontextprotocol/tasks":{ "x":1.0,"y":1e400}}"#;
        let text = format!(r#"{{"capabilities":{{"tools":{{}},"extensions":{extensions}}}}}"#);
        let said = Description::read(&RawValue::from_string(text).unwrap());
        let kept = Description::read(&said.to_raw());
        assert!(kept.same(&said) && !kept.same(&Description::of_tools()));
        assert_eq!(kept.extensions.to_raw().unwrap().get(), extensions);
        let info = r#"{ "name":"x","version":1.0}"#;
        let written = [
            format!(r#"{{"capabilities":{},"instructions":"Do.","serverInfo":{info}}}"#, Capabilities::ALL.to_json()),
            format!(
                r#"{{"capabilities":{},"instructions":"Do.","_meta":{{"io.modelcontextprotocol/serverInfo":{info}}}}}"#,
                Capabilities::ALL.to_json()
            ),
        ];
        for text in written {
            let all = Description::read(&RawValue::from_string(text).unwrap());
            assert_eq!((all.capabilities, all.instructions.as_deref()), (Capabilities::ALL, Some("Do.")));
            assert_eq!(all.server_info.as_deref().map(RawValue::get), Some(info));
            assert!(Description::read(&all.to_raw()).same(&all) && !Description::default().same(&all));
        }
    }
}
