//! Lists of definitions. What a client sends back to the server cannot be cleaned, only refused.

use serde_json::value::RawValue;

use super::{Finding, Guard, size::is_shallow};
use crate::{hygiene::is_dirty, object::Members};

impl Guard {
    /// One page of a list, as it may be shown. An item is left out if a key in it, or its URI, would have to be changed, or if it is nested
    /// too deeply.
    /// Names of tools and prompts are left to the catalogue, which gives them others.
    pub(super) fn list(&self, method: &str, result: Box<RawValue>) -> Box<RawValue> {
        let Some(items) = items_of(method) else { return self.shown(result, super::NOTHING) };
        // Only read if there is anything to do.
        let deepest = self.policy.limits.nesting;
        if is_shallow(result.get(), deepest) && self.rewritten_list(&result).is_none() {
            return result;
        }
        let listed = Members::of(&result).ok().and_then(|members| {
            let list = members.value(items)?;
            let list: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
            let kept: Vec<Box<str>> = list.into_iter().filter_map(|item| self.definition(items, item)).collect();
            let mut json = String::from("[");
            for (index, item) in kept.iter().enumerate() {
                json.push_str(if index > 0 { "," } else { "" });
                json.push_str(item);
            }
            json.push(']');
            members.with_raw(items, &json)
        });
        // What is no list is told of by whoever reads it.
        listed.unwrap_or(result)
    }

    fn rewritten_list(&self, result: &RawValue) -> Option<()> {
        let mut uncounted = crate::hygiene::Removal::default();
        crate::hygiene::cleaned_json(result, super::NOTHING, &mut uncounted).map(|_| ())
    }

    fn definition(&self, list: &str, item: &RawValue) -> Option<Box<str>> {
        if !is_shallow(item.get(), self.policy.limits.nesting) {
            self.tally.add(Finding::DefinitionLeftOut, 1);
            return None;
        }
        let members = Members::of(item).ok();
        let text = |name| members.as_ref().and_then(|members| members.string(name)).is_some_and(|text| is_dirty(&text));
        let named = matches!(list, "tools" | "prompts");
        let argument = list == "prompts" && members.as_ref().is_some_and(has_dirty_argument);
        let cleaned = self.rewritten(item, &|depth, name| depth == 1 && named && name == "name");
        if !named && (text("uri") || text("uriTemplate")) || argument || cleaned.as_ref().is_some_and(|item| item.keys)
        {
            self.tally.add(Finding::DefinitionLeftOut, 1);
            return None;
        }
        Some(cleaned.map_or_else(|| item.get().into(), |item| item.json.get().into()))
    }
}

/// Whether it is a list of definitions, which have bounds of their own.
pub(super) fn is_list(method: &str) -> bool {
    items_of(method).is_some()
}

fn items_of(method: &str) -> Option<&'static str> {
    match method {
        "tools/list" => Some("tools"),
        "prompts/list" => Some("prompts"),
        "resources/list" => Some("resources"),
        "resources/templates/list" => Some("resourceTemplates"),
        _ => None,
    }
}

/// Whether an argument of a prompt has a name that would have to be changed.
fn has_dirty_argument(prompt: &Members<'_>) -> bool {
    let arguments = prompt.value("arguments").and_then(|list| serde_json::from_str::<Vec<&RawValue>>(list.get()).ok());
    arguments.unwrap_or_default().into_iter().any(|argument| {
        Members::of(argument).ok().and_then(|argument| argument.string("name")).is_some_and(|name| is_dirty(&name))
    })
}
