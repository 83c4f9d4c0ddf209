//! The compiled schemas of one list of tools.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde_json::value::RawValue;

use super::Schema;
use crate::object::Members;

/// Compiled when a tool is first called, and kept as long as its list.
#[derive(Debug, Default)]
pub(crate) struct Checks(RwLock<HashMap<Box<str>, Arc<ToolSchemas>>>);

/// What a tool takes and gives.
#[derive(Debug)]
pub(crate) struct ToolSchemas {
    pub(crate) input: Schema,
    pub(crate) output: Option<Schema>,
}

impl Checks {
    /// The schemas of the tool of this name, whose definition is given.
    pub(crate) fn of<'a>(
        &self,
        name: &str,
        definition: impl FnOnce() -> Option<&'a RawValue>,
    ) -> Option<Arc<ToolSchemas>> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Some(Arc::clone(known));
        }
        let schemas = Arc::new(ToolSchemas::compile(definition()?)?);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Of two who compiled it at the same time, the first one's is kept.
        Some(Arc::clone(all.entry(name.into()).or_insert(schemas)))
    }
}

impl ToolSchemas {
    fn compile(definition: &RawValue) -> Option<Self> {
        let members = Members::of(definition).ok()?;
        let input = members.value("inputSchema").map_or(Schema::Anything, Schema::compile);
        Some(Self { input, output: members.value("outputSchema").map(Schema::compile) })
    }
}
