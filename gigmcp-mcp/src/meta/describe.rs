//! `describe_tools`: whole definitions, which is all there is to loading a tool.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{MetaTool, arguments, failed, shown};
use crate::upstream::Outcome;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    names: Vec<String>,
}

/// The tools whose definitions are asked for, each once.
pub(crate) fn names(params: Option<&RawValue>) -> Result<Vec<String>, String> {
    let Asked { names } = arguments(MetaTool::Describe, params)?;
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
        // A body has room for a million, and each is compared with those before it.
        if once.len() > MAX_NAMES {
            break;
        }
    }
    match once.len() {
        1..=MAX_NAMES => Ok(once),
        _ => Err(format!("names are 1 to {MAX_NAMES}.")),
    }
}

/// What is known of one of the tools.
pub(crate) enum Described {
    Is(Box<RawValue>),
    IsNot(String),
}

/// Definitions as they are listed, a block each; then what else there is to know of them.
pub(crate) fn answer(tools: Vec<Described>, notes: &[String]) -> Outcome {
    let is_any = tools.iter().any(|tool| matches!(tool, Described::Is(_)));
    let texts: Vec<&str> = tools
        .iter()
        .map(|tool| match tool {
            Described::Is(definition) => definition.get(),
            Described::IsNot(text) => text,
        })
        .collect();
    match is_any {
        true => shown(texts.into_iter().chain(notes.iter().map(String::as_str))),
        false => failed(&texts.join("\n")),
    }
}

const MAX_NAMES: usize = 20;
