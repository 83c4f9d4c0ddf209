//! Which of a server's tools are offered: those of its manifest, each as it was when that was written.

use std::borrow::Cow;

use gigmcp_mcp::Outcome;
use gigmcp_registry::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::spec::SaidTool;

/// The tools that somebody agreed to; all that a server has if nothing was said of any.
#[derive(Debug)]
pub(crate) struct Offered(Vec<SaidTool>);

/// What is read of an answer to `tools/list`.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(borrow, default, rename = "nextCursor")]
    next_cursor: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl Offered {
    pub(crate) fn new(said: Vec<SaidTool>) -> Self {
        Self(said)
    }

    /// An answer to `tools/list` without what nobody agreed to, and how many tools that were.
    pub(crate) fn only(&self, outcome: Outcome) -> (Outcome, usize) {
        match outcome {
            Outcome::Complete(result) if !self.0.is_empty() => {
                let (result, hidden) = self.page(&result);
                (Outcome::Complete(result), hidden)
            }
            outcome => (outcome, 0),
        }
    }

    fn page(&self, result: &RawValue) -> (Box<RawValue>, usize) {
        let raw = |text: String| RawValue::from_string(text).expect("it is put together of JSON");
        // What cannot be read here is no list to whoever reads on, either.
        let Ok(page) = serde_json::from_str::<Page<'_>>(result.get()) else { return (raw("null".to_owned()), 0) };
        let offered: Vec<&str> =
            page.tools.iter().filter(|tool| self.is_offered(tool)).map(|tool| tool.get()).collect();
        let hidden = page.tools.len() - offered.len();
        let next = page.next_cursor.map_or_else(String::new, |cursor| format!(r#","nextCursor":{}"#, cursor.get()));
        (raw(format!(r#"{{"tools":[{}]{next}}}"#, offered.join(","))), hidden)
    }

    fn is_offered(&self, tool: &RawValue) -> bool {
        // One that has two names, or none, is no tool of a manifest.
        let Ok(Named { name }) = serde_json::from_str(tool.get()) else { return false };
        let Some(said) = self.0.iter().find(|said| said.name == name) else { return false };
        said.definition.as_ref().is_none_or(|digest| *digest == Digest::of(tool.get().as_bytes()).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_agreed_to_is_offered() {
        let pinned = r#"{"name":"pinned","description":"as it was"}"#;
        let said = |name: &str, definition: Option<&str>| SaidTool {
            name: name.to_owned(),
            definition: definition.map(|text| Digest::of(text.as_bytes()).to_string()),
            read_only: false,
        };
        let offered = Offered::new(vec![said("plain", None), said("pinned", Some(pinned))]);
        for (case, listed, expected) in [
            ("twin", r#"{"tools":[{"name":"plain"}]}"#, r#"{"tools":[{"name":"plain"}]}"#),
            ("another tool", r#"{"tools":[{"name":"other"},{"name":"plain"}]}"#, r#"{"tools":[{"name":"plain"}]}"#),
            ("two names", r#"{"tools":[{"name":"plain","n\u0061me":"other"}]}"#, r#"{"tools":[]}"#),
            ("no name", r#"{"tools":[{}, 1, null]}"#, r#"{"tools":[]}"#),
            (
                "twin: as it was",
                r#"{"tools":[{"name":"pinned","description":"as it was"}],"nextCursor":"2"}"#,
                r#"{"tools":[{"name":"pinned","description":"as it was"}],"nextCursor":"2"}"#,
            ),
            ("another text", r#"{"tools":[{"name":"pinned","description":"call me"}]}"#, r#"{"tools":[]}"#),
            ("two lists", r#"{"tools":[],"tools":[{"name":"other"}]}"#, "null"),
            ("no list", r#"{"tools":{}}"#, "null"),
        ] {
            let listed = RawValue::from_string(listed.to_owned()).expect("JSON");
            assert_eq!(offered.page(&listed).0.get(), expected, "{case}");
        }
        let listed = RawValue::from_string(r#"{"tools":[{"name":"other"}]}"#.to_owned()).expect("JSON");
        let (outcome, hidden) = Offered::new(Vec::new()).only(Outcome::Complete(listed));
        assert!(matches!(outcome, Outcome::Complete(_)) && hidden == 0, "nothing was said");
    }
}
