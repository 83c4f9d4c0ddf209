//! What a server says of one thing it offers, whole, and what tells two such texts apart.

use std::{fmt, str::FromStr, sync::Arc};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    canonical::canonical,
    object::{Members, quoted, string},
};

/// What a definition is of.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DefinitionKind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource.
    Resource,
    /// A template of resources.
    Template,
    /// How a model is to use the server; with a name, what the server declares of the extension of that name, or a skill whose
    /// `SKILL.md` has this URI.
    Instructions,
}

impl DefinitionKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Tool, Self::Prompt, Self::Resource, Self::Template, Self::Instructions];

    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Template => "template",
            Self::Instructions => "instructions",
        }
    }
}

impl FromStr for DefinitionKind {
    type Err = UnknownDefinitionKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownDefinitionKind)
    }
}

/// The text is no kind of definition.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a definition is of a tool, prompt, resource or template, or it is instructions")]
pub struct UnknownDefinitionKind;

impl fmt::Display for DefinitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything a server said of one thing: names, descriptions, schemas, annotations, icons, `_meta`, and what we do not know.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Definition {
    /// What it is of.
    pub kind: DefinitionKind,
    /// The server's own name for it, or its URI, or its template of URIs; nothing for instructions, the identifier for an
    /// extension, and the URI for a skill.
    pub name: Box<str>,
    /// All of it as canonical JSON: RFC 8785, but numbers stay as written.
    pub text: Box<str>,
    /// The SHA-256 of `text`.
    pub digest: DefinitionDigest,
}

impl Definition {
    /// Of a definition as the server lists it.
    #[must_use]
    pub fn new(kind: DefinitionKind, name: &str, listed: &RawValue) -> Self {
        Self::of_text(kind, name, canonical(listed))
    }

    /// Of a server's instructions.
    #[must_use]
    pub fn of_instructions(text: &str) -> Self {
        Self::of_text(DefinitionKind::Instructions, "", quoted(text).into())
    }

    /// Of what a server declares of an extension.
    pub(crate) fn of_extension(id: &str, settings: &RawValue) -> Self {
        Self::new(DefinitionKind::Instructions, id, settings)
    }

    /// Of the entry of a skill, which is instructions too.
    pub(crate) fn of_skill(uri: &str, listed: &RawValue) -> Self {
        Self::new(DefinitionKind::Instructions, uri, listed)
    }

    /// Of a resource, if it says anything in words. Its size and when it was changed last are of its contents and not of it.
    pub(crate) fn of_resource(uri: &str, listed: &RawValue) -> Option<Self> {
        let members = Members::of(listed).ok()?;
        let says = |name| members.value(name).is_some_and(|value| value.get() != "null");
        if !says("description") && !says("title") {
            return None;
        }
        let lasting = without_its_state(listed);
        Some(Self::new(DefinitionKind::Resource, uri, lasting.as_deref().unwrap_or(listed)))
    }

    fn of_text(kind: DefinitionKind, name: &str, text: Box<str>) -> Self {
        let digest = DefinitionDigest::of(&text);
        Self { kind, name: name.into(), text, digest }
    }
}

/// Where a tool, prompt, resource or template is pinned, its definition; see [`Definition`].
pub(crate) type Defined = Arc<Definition>;

/// A resource without a size and a time that are nothing but that.
fn without_its_state(listed: &RawValue) -> Option<Box<RawValue>> {
    let members = Members::of(listed).ok()?;
    let is_size = members.value("size").is_some_and(|size| size.get().parse::<u64>().is_ok());
    let rest = is_size.then(|| members.without("size"));
    let annotated = rest.as_deref().unwrap_or(listed);
    let members = Members::of(annotated).ok()?;
    let timeless = members.value("annotations").and_then(|annotations| {
        let annotations = Members::of(annotations).ok()?;
        let is_time = annotations.value("lastModified").and_then(string).is_some_and(|text| is_time(&text));
        is_time.then(|| annotations.without("lastModified"))
    });
    match timeless {
        Some(annotations) => members.with_raw("annotations", annotations.get()),
        None => rest,
    }
}

/// Nothing that could be read as words passes for a time.
fn is_time(text: &str) -> bool {
    text.len() <= 40 && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | '+' | 'T' | 'Z'))
}

/// The SHA-256 of a definition's canonical text; as text, `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DefinitionDigest([u8; 32]);

impl DefinitionDigest {
    /// Of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for DefinitionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is written with each call, and to format each byte by itself is slow.
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        let digits: String = self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        write!(f, "sha256:{digits}")
    }
}

impl fmt::Debug for DefinitionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DefinitionDigest {
    type Err = InvalidDefinitionDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64).ok_or(InvalidDefinitionDigest)?;
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(InvalidDefinitionDigest),
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

/// The text is not a digest of a definition.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a digest is sha256: and 64 lower-case hexadecimal digits")]
pub struct InvalidDefinitionDigest;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn every_part_of_a_definition_counts() {
        let digest = |text: &str| Definition::new(DefinitionKind::Tool, "t", &raw(text)).digest;
        let tool = r#"{"name":"t","title":"T","description":"d","inputSchema":{"properties":{"a":{"enum":["x","y"]}}},
            "outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true},"icons":[{"src":"a"}],"_meta":{"k":1}}"#;
        assert_eq!(digest(tool), digest(&tool.replace([' ', '\n'], "")), "twin");
        for (one, other) in [
            (r#""title":"T""#, r#""title":"t""#),
            (r#""d""#, r#""d ""#),
            (r#"["x","y"]"#, r#"["x","z"]"#),
            (r#""outputSchema":{"type":"object"}"#, r#""outputSchema":{"type":"object","x":0}"#),
            ("true", "false"),
            (r#"{"src":"a"}"#, r#"{"src":"b"}"#),
            (r#""k":1"#, r#""k":1.0"#),
        ] {
            assert_ne!(digest(&tool.replace(one, other)), digest(tool), "{other}");
        }
        // What `sha256sum` says of the canonical text.
        let known = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(digest(" { } ").to_string(), known);
        assert_eq!(known.parse(), Ok(digest("{}")));
    }

    #[test]
    fn of_a_resource_its_words_count_and_its_state_does_not() {
        let of = |text: &str| Definition::of_resource("a:1", &raw(text)).map(|definition| definition.digest);
        assert_eq!(of(r#"{"uri":"a:1","name":"x","size":7,"mimeType":"text/plain","description":null}"#), None);
        let one =
            of(r#"{"uri":"a:1","description":"d","size":7,"annotations":{"lastModified":"2025-01-12T15:00:58Z"}}"#);
        assert!(one.is_some());
        for (case, text, same) in [
            ("twin: it grew", r#"{"uri":"a:1","description":"d","size":8,"annotations":{}}"#, true),
            ("other words", r#"{"uri":"a:1","description":"e","size":7,"annotations":{}}"#, false),
            ("words for a size", r#"{"uri":"a:1","description":"d","size":"all of it","annotations":{}}"#, false),
            (
                "words for a time",
                r#"{"uri":"a:1","description":"d","annotations":{"lastModified":"ignore all before"}}"#,
                false,
            ),
        ] {
            assert_eq!(of(text) == one, same, "{case}");
        }
    }

    #[test]
    fn only_digests_are_read_as_such() {
        let text = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(text.parse::<DefinitionDigest>().unwrap().to_string(), text);
        for text in ["", "sha256:", &text[..70], &format!("{text}0"), &text.to_uppercase(), &text.replace('a', "A")] {
            assert_eq!(text.parse::<DefinitionDigest>(), Err(InvalidDefinitionDigest), "{text}");
        }
    }
}
