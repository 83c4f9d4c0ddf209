//! What changed between two manifests, or two indexes: for the people who review and consent.

mod index;
mod json;

pub use index::{IndexDiff, ManifestDiff, VersionChange};

use std::fmt::{self, Write};

use serde_json::Value;

use crate::manifest::Manifest;

/// One difference between two documents.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// Where, for example `credentials[acme_token].inject.header` or `entitlements.egress[api.example.com]`: items of lists
    /// go by their `id` or `name`, or by what they are, so that an item put in front does not change all that follow.
    pub path: String,
    /// The value before; none if it was not there.
    pub before: Option<Value>,
    /// The value now; none if it is not there any more.
    pub after: Option<Value>,
    /// Whether people only read it.
    pub bearing: Bearing,
}

/// What a change bears on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bearing {
    /// What runs, or what it may do and ask for: people who consented must be asked again.
    Behaviour,
    /// How it is shown to people: name, description, category, icon.
    Presentation,
}

impl Bearing {
    /// `behaviour` or `presentation`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Behaviour => "behaviour",
            Self::Presentation => "presentation",
        }
    }
}

impl Manifest {
    /// Every field in which `after` differs, the image's digest included. What is not known to be presentation only is taken
    /// to bear on behaviour.
    #[must_use]
    pub fn changes_to(&self, after: &Self) -> Vec<Change> {
        changes(&tree(self), &tree(after))
    }
}

fn tree(manifest: &Manifest) -> Value {
    serde_json::from_str(&manifest.to_json()).expect("written by us")
}

fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    json::compare("", Some(before), Some(after), &mut |path, before, after| {
        let field = path.split(['.', '[']).next().unwrap_or_default();
        let bearing = if PRESENTATION.contains(&field) { Bearing::Presentation } else { Bearing::Behaviour };
        found.push(Change { path: path.into(), before: before.cloned(), after: after.cloned(), bearing });
    });
    found
}

/// A line: `+`, `-` or `~`, the path, and the values as JSON, in which nothing can steer a terminal or hide.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (&self.before, &self.after) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        write!(f, "{sign} ")?;
        plain(f, &self.path)?;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                f.write_str(": ")?;
                plain(f, &before.to_string())?;
                f.write_str(" -> ")?;
                plain(f, &after.to_string())
            }
            (Some(value), None) | (None, Some(value)) => {
                f.write_str(": ")?;
                plain(f, &value.to_string())
            }
            (None, None) => Ok(()),
        }
    }
}

fn plain(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|char| match char {
        ' '..='~' => f.write_char(char),
        _ => write!(f, "{}", char.escape_default()),
    })
}

const PRESENTATION: [&str; 4] = ["displayName", "description", "category", "icon"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_plain_text() {
        let change =
            |before, after| Change { path: "displayName".into(), before, after, bearing: Bearing::Presentation };
        let text = |text: &str| Some(Value::from(text));
        for (change, expected) in [
            (change(None, text("a")), "+ displayName: \"a\""),
            (change(text("a"), None), "- displayName: \"a\""),
            (change(text("a"), text("b")), "~ displayName: \"a\" -> \"b\""),
            (change(text("\u{202e}é\u{1b}[2J"), None), "- displayName: \"\\u{202e}\\u{e9}\\u001b[2J\""),
        ] {
            assert_eq!(change.to_string(), expected);
        }
    }
}
