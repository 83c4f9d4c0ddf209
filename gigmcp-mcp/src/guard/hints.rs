//! What a server says of what its tools do. It can make things stricter; what would make them looser holds only if the manifest
//! says so as well.

use serde_json::value::RawValue;

use super::Guard;
use crate::object::{Members, string};

/// What a server's annotations of a tool make stricter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Hints {
    /// It says itself that the tool changes something.
    pub(crate) changes: bool,
    /// It says itself that the tool deals with the world outside.
    pub(crate) open_world: bool,
}

impl Hints {
    /// Out of a definition as the server wrote it. Words instead of a yes are taken for one, where that is stricter.
    pub(crate) fn of(definition: &RawValue) -> Self {
        let annotations = Members::of(definition).ok().and_then(|members| members.value("annotations"));
        let Some(annotations) = annotations.and_then(|annotations| Members::of(annotations).ok()) else {
            return Self::default();
        };
        let is = |name, wanted| annotations.value(name).is_some_and(|value| said(value) == wanted);
        Self {
            changes: is("readOnlyHint", "false") || is("destructiveHint", "true"),
            open_world: is("openWorldHint", "true"),
        }
    }
}

impl Guard {
    /// The definition of a tool in which no hint is looser than what is known of the tool.
    pub(super) fn without_loose_hints(&self, tool: Box<RawValue>) -> Box<RawValue> {
        let changed = Members::of(&tool).ok().and_then(|members| {
            let mut annotations = members.value("annotations")?.to_owned();
            let is_read_only = members.string("name").is_some_and(|name| self.policy.read_only_tools.contains(&*name));
            let mut changed = false;
            for (name, loose, strict) in LOOSE {
                // A tool that only reads destroys nothing and can be called again; the world it reads may be any.
                if is_read_only && *name != "openWorldHint" {
                    continue;
                }
                let members = Members::of(&annotations).ok()?;
                if members.value(name).is_some_and(|value| said(value) == *loose) {
                    annotations = members.with_raw(name, strict)?;
                    changed = true;
                }
            }
            changed.then(|| members.with_raw("annotations", annotations.get())).flatten()
        });
        changed.unwrap_or(tool)
    }
}

fn said(value: &RawValue) -> String {
    string(value).map_or_else(|| value.get().to_owned(), |text| text.trim().to_ascii_lowercase())
}

/// What makes each hint loose, and what it is otherwise, which is also what the protocol takes an absent one for.
const LOOSE: &[(&str, &str, &str)] = &[
    ("readOnlyHint", "true", "false"),
    ("destructiveHint", "false", "true"),
    ("idempotentHint", "true", "false"),
    ("openWorldHint", "false", "true"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;
    use crate::ServerPolicy;

    #[test]
    fn a_hint_is_loose_only_if_the_manifest_says_so_too() {
        let mut policy = ServerPolicy::default();
        policy.read_only_tools.insert("reads".into());
        let guard = Guard::new("s".parse().unwrap(), policy);
        let tool = |name: &str, hints: &str| {
            RawValue::from_string(format!(r#"{{"name":"{name}","annotations":{{ {hints},"x":1.0}}}}"#)).unwrap()
        };
        for (name, hints, expected) in [
            ("other", r#""readOnlyHint":true"#, r#""readOnlyHint":false"#),
            ("reads", r#""readOnlyHint":true"#, r#""readOnlyHint":true"#),
            ("other", r#""destructiveHint":false"#, r#""destructiveHint":true"#),
            ("reads", r#""destructiveHint":false"#, r#""destructiveHint":false"#),
            ("other", r#""idempotentHint":true"#, r#""idempotentHint":false"#),
            ("reads", r#""openWorldHint":false"#, r#""openWorldHint":true"#),
            ("other", r#""readOnlyHint":"True""#, r#""readOnlyHint":false"#),
            ("other", r#""readOnlyHint":false"#, r#""readOnlyHint":false"#),
            (
                "other",
                r#""destructiveHint":true,"openWorldHint":true"#,
                r#""destructiveHint":true,"openWorldHint":true"#,
            ),
        ] {
            let shown = guard.without_loose_hints(tool(name, hints));
            assert_eq!(shown.get(), tool(name, expected).get(), "{name}: {hints}");
        }
        for (hints, changes, open_world) in [
            (r#""readOnlyHint":false"#, true, false),
            (r#""destructiveHint":true"#, true, false),
            (r#""openWorldHint":true"#, false, true),
            (r#""readOnlyHint":true,"destructiveHint":false,"openWorldHint":false"#, false, false),
        ] {
            assert_eq!(Hints::of(&tool("t", hints)), Hints { changes, open_world }, "{hints}");
        }
    }
}
