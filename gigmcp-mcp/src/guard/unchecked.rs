//! What passes although its schema was not looked at: the check could take too long, or the schema is none that can be checked.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use super::{Finding, Guard};
use crate::{check::Unchecked, hygiene::safe_text};

/// The tools of which the operator was told.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashSet<Box<str>>>);

impl Told {
    /// Whether nothing was said of this tool.
    fn is_news(&self, tool: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A server can have ever other tools.
        told.len() < MAX_TOLD && told.insert(tool.into())
    }
}

impl Guard {
    /// A value of this tool passes unchecked: counted each time, and the operator is told of each tool once.
    pub(crate) fn unchecked(&self, tool: &str, reason: Unchecked) {
        self.tally.add(Finding::Unchecked, 1);
        if self.unchecked.is_news(tool) {
            let tool = safe_text(tool);
            tracing::warn!(
                server = %self.server, tool = ?&*tool,
                "what does not fit a schema of this tool may pass: a value was not checked, because {reason}"
            );
        }
    }
}

/// Of one server.
const MAX_TOLD: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_is_told_of_once_and_only_so_many_are() {
        let told = Told::default();
        assert!(told.is_news("one"));
        assert!(!told.is_news("one"));
        assert!(told.is_news("two"), "twin: another tool");
        assert_eq!((0..10_000).filter(|number| told.is_news(&number.to_string())).count(), MAX_TOLD - 2);
    }
}
