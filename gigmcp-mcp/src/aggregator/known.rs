//! What is known of a server that does not run.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{catalogue::Definitions, describe::Description, upstream::BoxFuture};

/// What a server said of itself and listed when it ran last: enough to answer lists without starting it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Known {
    /// What it can do, and how it is to be used.
    pub description: Description,
    /// What it listed, as it wrote it. Whether it may be shown is judged when it is.
    pub definitions: Definitions,
}

/// Keeps what is known of one server while the server, or this program, does not run.
pub trait CatalogueStore: Send + Sync {
    /// What was kept last of this very server; of another version of it, nothing. Asked once, before the first list.
    fn load<'a>(&'a self) -> BoxFuture<'a, Option<Known>>;

    /// Keeps what has just been read, in place of what was kept before. Never waits.
    fn keep(&self, known: Known);
}

/// What was kept is not what [`Known::to_json`] wrote.
#[derive(Debug, thiserror::Error)]
#[error("what was kept of a server cannot be read")]
pub struct InvalidKnown(#[source] serde_json::Error);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<T> {
    description: Box<RawValue>,
    tools: T,
    prompts: T,
    resources: T,
    #[serde(rename = "resourceTemplates")]
    templates: T,
    /// Of before there were any.
    #[serde(default)]
    skills: T,
}

impl Known {
    pub(crate) fn new(description: Description, definitions: Definitions) -> Self {
        Self { description, definitions }
    }

    /// As one JSON text that [`from_json`](Self::from_json) reads; definitions stand in it as the server wrote them.
    #[must_use]
    pub fn to_json(&self) -> String {
        let of = &self.definitions;
        let document = Document {
            description: self.description.to_raw(),
            tools: &*of.tools,
            prompts: &*of.prompts,
            resources: &*of.resources,
            templates: &*of.templates,
            skills: &*of.skills,
        };
        serde_json::to_string(&document).expect("JSON is JSON")
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn from_json(text: &str) -> Result<Self, InvalidKnown> {
        let document: Document<Vec<Box<RawValue>>> = serde_json::from_str(text).map_err(InvalidKnown)?;
        let definitions = Definitions {
            tools: document.tools.into(),
            prompts: document.prompts.into(),
            resources: document.resources.into(),
            templates: document.templates.into(),
            skills: document.skills.into(),
        };
        Ok(Self { description: Description::read(&document.description), definitions })
    }

    /// Whether the two say the same.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.description.same(&other.description) && self.definitions.same(&other.definitions)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn what_is_kept_is_read_as_the_server_wrote_it() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let odd = r#"{ "name":"a","x":1.0,"y":[1e400, "\u00e9"]}"#;
        let said = r#"{"capabilities":{"tools":{"listChanged":true}},"instructions":"Do.","serverInfo":{"name":"s" }}"#;
        let mut known = Known { description: Description::read(&raw(said)), ..Known::default() };
        known.definitions.tools = vec![raw(odd), raw("7")].into();
        known.definitions.templates = vec![raw(r#"{"uriTemplate":"a:{x}"}"#)].into();
        let read = Known::from_json(&known.to_json()).unwrap();
        assert!(read.same(&known) && !Known::default().same(&known));
        assert_eq!(read.definitions.tools[0].get(), odd);
        assert!(read.description.capabilities.list_changed);
        for text in ["", "{}", r#"{"description":{},"tools":[],"prompts":[],"resources":[],"resourceTemplates":7}"#] {
            assert!(Known::from_json(text).is_err(), "{text}");
        }
    }
}
