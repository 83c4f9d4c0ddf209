//! Lists of definitions. What a client sends back to the server cannot be cleaned, only refused.

use serde_json::value::RawValue;

use super::{Finding, Guard, size::is_shallow};
use crate::{hygiene::is_dirty, object::Members};

impl Guard {
    /// One item of a list, as it may be shown; what is pinned is the item as it came. It is left out if a key in it, or its URI,
    /// would have to be changed, or if it is nested too deeply. Names of tools and prompts are left to the catalogue, which
    /// gives them others.
    pub(crate) fn listed(&self, list: &'static str, item: &RawValue) -> Option<Box<RawValue>> {
        let shown = self.definition(list, item)?;
        Some(if list == "tools" { self.without_loose_hints(shown) } else { shown })
    }

    fn definition(&self, list: &str, item: &RawValue) -> Option<Box<RawValue>> {
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
        Some(cleaned.map_or_else(|| item.to_owned(), |item| item.json))
    }
}

/// Whether it is a list of definitions, which have bounds of their own and are read one by one.
pub(super) fn is_list(method: &str) -> bool {
    matches!(method, "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "skills/list")
}

/// Whether an argument of a prompt has a name that would have to be changed.
fn has_dirty_argument(prompt: &Members<'_>) -> bool {
    let arguments = prompt.value("arguments").and_then(|list| serde_json::from_str::<Vec<&RawValue>>(list.get()).ok());
    arguments.unwrap_or_default().into_iter().any(|argument| {
        Members::of(argument).ok().and_then(|argument| argument.string("name")).is_some_and(|name| is_dirty(&name))
    })
}
