//! Few tools in place of many: a model searches, loads the definitions it needs, and calls.

pub(crate) mod calling;
pub(crate) mod describe;
pub(crate) mod index;
mod mode;
pub(crate) mod search;
mod tokens;
mod words;

use std::sync::LazyLock;

use serde_json::value::RawValue;

pub use self::{
    mode::{ListBudget, ToolMode},
    tokens::estimated_tokens,
};
use crate::{
    object::{Members, quoted},
    upstream::Outcome,
};

/// One of the tools that stand for all others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MetaTool {
    Search,
    Describe,
    Call,
    CallReadOnly,
}

impl MetaTool {
    const ALL: [Self; 4] = [Self::Search, Self::Describe, Self::Call, Self::CallReadOnly];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Search => "search_tools",
            Self::Describe => "describe_tools",
            Self::Call => "call_tool",
            Self::CallReadOnly => "call_read_only_tool",
        }
    }

    /// The one that parameters of a `tools/call` name, if they name any.
    pub(crate) fn of(params: Option<&RawValue>) -> Option<Self> {
        Self::named(&Members::of(params?).ok()?.string("name")?)
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }
}

/// Their definitions, as they are listed.
pub(crate) fn definitions() -> &'static [Box<RawValue>] {
    static DEFINITIONS: LazyLock<Vec<Box<RawValue>>> = LazyLock::new(|| {
        let listed: Vec<Box<RawValue>> =
            serde_json::from_str(include_str!("meta/tools.json")).expect("a list of tools");
        // As short as can be: a model reads every byte.
        let compact = |tool: Box<RawValue>| {
            let tool: serde_json::Value = serde_json::from_str(tool.get()).expect("it was JSON");
            serde_json::value::to_raw_value(&tool).expect("JSON is JSON")
        };
        listed.into_iter().map(compact).collect()
    });
    &DEFINITIONS
}

/// The result of a tool of ours: one block for each text.
pub(crate) fn shown<'a>(texts: impl IntoIterator<Item = &'a str>) -> Outcome {
    result(texts, "")
}

/// The same, of a tool that failed.
pub(crate) fn failed(text: &str) -> Outcome {
    result([text], r#","isError":true"#)
}

fn result<'a>(texts: impl IntoIterator<Item = &'a str>, more: &str) -> Outcome {
    let block = |text: &str| format!(r#"{{"type":"text","text":{}}}"#, quoted(text));
    let blocks: Vec<String> = texts.into_iter().map(block).collect();
    let result = format!(r#"{{"content":[{}]{more}}}"#, blocks.join(","));
    Outcome::Complete(RawValue::from_string(result).expect("a list of texts is JSON"))
}

/// The arguments of a tool of ours, or what is wrong with them, for the model.
fn arguments<'a, T: serde::Deserialize<'a>>(tool: MetaTool, params: Option<&'a RawValue>) -> Result<T, String> {
    let given = params.and_then(|params| Members::of(params).ok()).and_then(|members| members.value("arguments"));
    let text = given.map_or("{}", RawValue::get);
    if !text.starts_with('{') {
        return Err(format!("The arguments of {} are an object.", tool.name()));
    }
    serde_json::from_str(text).map_err(|error| format!("The arguments of {} do not fit: {error}", tool.name()))
}

/// A text of somebody else's on one line, so that it cannot look like a line of ours, and no longer than this many characters.
pub(crate) fn on_one_line(text: &str, most: usize) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(most) {
        None => line,
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
    }
}

/// The first sentence of a text, on one line.
pub(crate) fn first_sentence(text: &str, most: usize) -> String {
    let paragraph = text.trim().split("\n\n").next().unwrap_or_default();
    let line = on_one_line(paragraph, most);
    match line.find(". ") {
        Some(end) => line[..=end].to_owned(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_say_what_each_is_for() {
        let listed: Vec<serde_json::Value> =
            definitions().iter().map(|tool| serde_json::from_str(tool.get()).expect("JSON")).collect();
        let names: Vec<_> = listed.iter().map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, MetaTool::ALL.map(|tool| Some(tool.name())));
        for (tool, read_only) in listed.iter().zip([true, true, false, true]) {
            assert_eq!(tool["annotations"]["readOnlyHint"], read_only, "{tool}");
            assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
        }
        assert_eq!(listed[2]["annotations"]["destructiveHint"], true);
        assert!(listed[1]["description"].as_str().is_some_and(|text| text.contains("describe_tools is the load")));
    }

    #[test]
    fn texts_of_servers_stay_on_one_line() {
        for (text, most, expected) in [
            ("Lists issues. And more.", 99, "Lists issues."),
            ("Version 1.2 of it", 99, "Version 1.2 of it"),
            ("  a\r\n b\u{85}\tc\n\nAnother paragraph.", 99, "a b c"),
            ("abcdef", 3, "abc…"),
            ("äöü", 3, "äöü"),
            ("", 3, ""),
        ] {
            assert_eq!(first_sentence(text, most), expected, "{text:?}");
        }
    }
}
