//! Text with holes: `{subdomain}.example.com`, `/v1/notes/{id}`.

use std::fmt;

/// Text in which `{name}` stands for something else. There is no escape: text with a brace that is no hole is none.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Part {
    Text(Box<str>),
    Hole(Box<str>),
}

impl Template {
    /// Reads a template. What may be in a hole is up to whoever fills it: any text without braces, slashes and white space.
    ///
    /// # Errors
    /// [`InvalidTemplate`] if braces do not pair, or a hole is empty.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let hole = from.strip_prefix('{').ok_or(InvalidTemplate::Unopened)?;
            let end = hole.find('}').ok_or(InvalidTemplate::Unclosed)?;
            let name = &hole[..end];
            if name.is_empty() || name.contains(|char: char| matches!(char, '{' | '/') || char.is_whitespace()) {
                return Err(InvalidTemplate::Hole { hole: name.into() });
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Hole(name.into()));
            rest = &hole[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self(parts))
    }

    /// The names in the holes, in order; one that is used twice comes twice.
    pub fn holes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Hole(name) => Some(&**name),
            Part::Text(_) => None,
        })
    }

    /// The text with its holes filled, or the name of the first hole for which `value` has nothing.
    ///
    /// # Errors
    /// That name.
    pub fn fill<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, &str> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Hole(name) => filled.push_str(value(name).ok_or(&**name)?),
            }
        }
        Ok(filled)
    }

    /// What stands behind the last hole.
    pub(crate) fn tail(&self) -> &str {
        match self.0.last() {
            Some(Part::Text(text)) => text,
            Some(Part::Hole(_)) | None => "",
        }
    }

    /// Whether it is one hole and nothing else.
    pub(crate) fn is_hole(&self) -> bool {
        matches!(self.0[..], [Part::Hole(_)])
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Hole(name) => write!(f, "{{{name}}}"),
        })
    }
}

/// Why a text is not a [`Template`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTemplate {
    /// A closing brace without an opening one.
    #[error("has a `}}` without a `{{` before it")]
    Unopened,
    /// An opening brace without a closing one.
    #[error("has a `{{` without a `}}` behind it")]
    Unclosed,
    /// What is in the braces is no name.
    #[error("has `{hole}` in braces, which is no name")]
    Hole {
        /// What is in the braces.
        hole: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_pairs_of_braces_with_a_name() {
        for (text, expected) in [
            ("/v1/notes/{id}", Ok(vec!["id"])),
            ("{a}{b}/{a}", Ok(vec!["a", "b", "a"])),
            ("", Ok(vec![])),
            ("plain", Ok(vec![])),
            ("{id", Err(InvalidTemplate::Unclosed)),
            ("id}", Err(InvalidTemplate::Unopened)),
            ("{}", Err(InvalidTemplate::Hole { hole: String::new() })),
            ("{a{b}}", Err(InvalidTemplate::Hole { hole: "a{b".into() })),
            ("{a/b}", Err(InvalidTemplate::Hole { hole: "a/b".into() })),
            ("{a b}", Err(InvalidTemplate::Hole { hole: "a b".into() })),
        ] {
            let parsed = Template::parse(text);
            assert_eq!(
                parsed.as_ref().map(|template| template.holes().collect::<Vec<_>>()),
                expected.as_ref().cloned(),
                "{text:?}"
            );
            if let Ok(template) = parsed {
                assert_eq!(template.to_string(), text);
            }
        }
        let template = Template::parse("{a}-{b}").expect("valid");
        assert_eq!(template.fill(|name| (name == "a").then_some("x")), Err("b"));
        assert_eq!(template.fill(|_| Some("x")).as_deref(), Ok("x-x"));
    }
}
