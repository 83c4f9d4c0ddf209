//! What a server listed, as it wrote it.

use std::sync::Arc;

use serde_json::value::RawValue;

/// The items of one list, in the server's order.
pub(crate) type Items = Arc<[Box<RawValue>]>;

/// The definitions of a server, each as the server wrote it: not renamed, not mended, not judged.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Definitions {
    /// Of `tools/list`.
    pub tools: Items,
    /// Of `prompts/list`.
    pub prompts: Items,
    /// Of `resources/list`.
    pub resources: Items,
    /// Of `resources/templates/list`.
    pub templates: Items,
    /// Of `skills/list`.
    pub skills: Items,
}

impl Definitions {
    /// Whether the two say the same, byte for byte.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let same = |one: &Items, two: &Items| {
            Arc::ptr_eq(one, two)
                || one.len() == two.len() && one.iter().zip(two.iter()).all(|(one, two)| one.get() == two.get())
        };
        same(&self.tools, &other.tools)
            && same(&self.prompts, &other.prompts)
            && same(&self.resources, &other.resources)
            && same(&self.templates, &other.templates)
            && same(&self.skills, &other.skills)
    }
}
