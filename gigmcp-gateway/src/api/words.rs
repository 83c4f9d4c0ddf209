//! Texts in requests and answers that are names and the like: what each looks like stands in the document.

use std::{borrow::Cow, fmt, marker::PhantomData, str::FromStr};

use gigmcp_mcp::{DefinitionDigest, DefinitionKind};
use gigmcp_registry::{Digest, Version};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::error::{ApiError, Code};
use crate::{
    install::{RegistryHost, ServerReference},
    oidc::LocalPath,
    people::{Email, Label, Scopes, SecondFactor, TokenScope, UserId},
    spec::{ProfileSlug, SecretName, ServerName},
};

/// What a text of a type looks like, so that whoever sends one can tell.
pub(crate) trait Looks {
    /// Exactly those texts that are one.
    fn schema() -> Schema;
}

/// A type of ours that is read from text and written as text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<T: Looks> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

/// The same for what no pattern tells: it is read when it is used, and refused as what cannot be accepted.
#[derive(Debug)]
pub(crate) struct Said<T>(String, PhantomData<fn() -> T>);

impl<T: FromStr<Err: fmt::Display>> Said<T> {
    pub(crate) fn read(&self) -> Result<T, ApiError> {
        self.0.parse().map_err(|error: T::Err| ApiError::new(Code::Unacceptable, error.to_string()))
    }
}

impl<'de, T> Deserialize<'de> for Said<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text, PhantomData))
    }
}

impl<T> JsonSchema for Said<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Said".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// What rows are searched for: printable, as no column holds anything else.
#[derive(Clone, Debug)]
pub(crate) struct Plain(pub(crate) String);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = text.chars().count() <= MAX_PLAIN && !text.chars().any(char::is_control);
        plain.then_some(Self(text)).ok_or_else(|| D::Error::custom("control characters, or too long"))
    }
}

impl JsonSchema for Plain {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Plain".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX_PLAIN, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$" })
    }
}

/// A whole number, also as JSON writes one with nothing but zeros after the point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole(pub(crate) i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let exact = |float: f64| (float.fract() == 0.0 && float.abs() <= MAX_EXACT).then_some(float as i64);
        let whole = number.as_i64().or_else(|| number.as_f64().and_then(exact));
        whole.map(Self).ok_or_else(|| D::Error::custom("this is no whole number, or too large"))
    }
}

impl JsonSchema for Whole {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Whole".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": -9_007_199_254_740_991_i64, "maximum": 9_007_199_254_740_991_i64 })
    }
}

/// Up to here, floating point tells whole numbers apart.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;
const MAX_PLAIN: usize = 256;

fn pattern(pattern: &str) -> Schema {
    json_schema!({ "type": "string", "pattern": pattern })
}

const NAME: &str = "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?";
const VERSION: &str = r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})";
const DIGEST: &str = "sha256:[0-9a-f]{64}";

impl Looks for ServerName {
    fn schema() -> Schema {
        pattern(&format!("^{NAME}$"))
    }
}

impl Looks for ProfileSlug {
    fn schema() -> Schema {
        pattern("^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")
    }
}

impl Looks for Label {
    fn schema() -> Schema {
        pattern("^[A-Za-z0-9._-]([A-Za-z0-9._ -]{0,62}[A-Za-z0-9._-])?$")
    }
}

impl Looks for UserId {
    fn schema() -> Schema {
        pattern("^[!-~]{1,64}$")
    }
}

impl Looks for SecretName {
    fn schema() -> Schema {
        pattern("^[A-Za-z0-9_.:-]{1,128}$")
    }
}

impl Looks for Version {
    fn schema() -> Schema {
        pattern(&format!("^{VERSION}$"))
    }
}

impl Looks for Digest {
    fn schema() -> Schema {
        pattern(&format!("^{DIGEST}$"))
    }
}

impl Looks for DefinitionDigest {
    fn schema() -> Schema {
        pattern(&format!("^{DIGEST}$"))
    }
}

impl Looks for DefinitionKind {
    fn schema() -> Schema {
        let all = Self::ALL.map(Self::as_str);
        json_schema!({ "type": "string", "enum": all })
    }
}

impl Looks for ServerReference {
    fn schema() -> Schema {
        pattern(&format!("^{NAME}(@({VERSION}|{DIGEST}))?$"))
    }
}

impl Looks for RegistryHost {
    /// Of a path only, in which another is the name of nothing.
    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Looks for Scopes {
    fn schema() -> Schema {
        let one = "((servers|profiles|credentials|users|system):(read|write)|audit:read)";
        pattern(&format!("^{one}(,{one})*$"))
    }
}

impl Looks for Email {
    /// Of a path, in which another is the name of nothing, and of answers.
    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Looks for TokenScope {
    /// Of answers only.
    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Looks for LocalPath {
    /// Not `//`, not below `/api`, without `.` and `..`, and `%` not before `?` or `#`.
    fn schema() -> Schema {
        let not = r"(?!//)(?!/api([/?#]|$))(?![^?#]*/\.{1,2}([/?#]|$))(?![^?#]*%)";
        let harmless = r"[!#-&(-;=?-\[\]-_a-~]";
        json_schema!({ "type": "string", "maxLength": 512, "pattern": format!("^{not}/{harmless}*$") })
    }
}

impl Looks for SecondFactor {
    fn schema() -> Schema {
        pattern("^([0-9]{6}|[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4})$")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::{ApiScope, Area};

    /// What the document says that a text looks like.
    fn looks<T: Looks>() -> regex::Regex {
        let schema = T::schema();
        regex::Regex::new(schema.get("pattern").and_then(|pattern| pattern.as_str()).expect("it has one"))
            .expect("it is a pattern")
    }

    fn agree<T: Looks + FromStr>(texts: &[&str]) {
        let looks = looks::<T>();
        for text in texts {
            assert_eq!(text.parse::<T>().is_ok(), looks.is_match(text), "{text:?} {}", looks.as_str());
        }
        let good = texts.iter().filter(|text| looks.is_match(text)).count();
        assert!(good > 0 && good < texts.len(), "some are, and some are not: {}", looks.as_str());
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Whole>(text).map(|Whole(number)| number).ok();
        for (text, expected) in [
            ("204", Some(204)),
            ("204.0", Some(204)),
            ("2.04e2", Some(204)),
            ("-1", Some(-1)),
            ("204.5", None),
            ("1e300", None),
            ("\"204\"", None),
            ("null", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_document_says_is_what_is_read() {
        let name = "a".repeat(33);
        agree::<ServerName>(&["a", "a-b", "0", "-a", "a-", "", "A", "a_b", "a b", "\u{e9}", "a\n", &name, &name[1..]]);
        let slug = "a".repeat(49);
        agree::<ProfileSlug>(&["a", "a-b", "-a", "a-", "", "A", "a.b", "a\n", &slug, &slug[1..]]);
        let label = "a".repeat(65);
        agree::<Label>(&["a", "a b", " a", "a ", "", "A_.-", "a/b", "a\n", &label, &label[1..]]);
        agree::<UserId>(&["u-1", "local", "", "a b", "\u{e9}", &label, &label[1..]]);
        let secret = "a".repeat(129);
        agree::<SecretName>(&["API_KEY", "a.b:c-d", "", "a b", "a/b", &secret, &secret[1..]]);
        agree::<Version>(&["1.2.3", "0.0.0", "01.2.3", "1.2", "1.2.3.4", "+1.2.3", "1.2.3-a", ""]);
        let digest = format!("sha256:{}", "0a".repeat(32));
        let upper = digest.to_uppercase();
        agree::<Digest>(&[&digest, &upper, &digest[1..], &digest[..70], "sha256:", ""]);
        agree::<DefinitionDigest>(&[&digest, &upper, &digest[1..], &digest[..70], "sha256:", ""]);
        let with = [format!("a@{digest}"), format!("a@@{digest}")];
        agree::<ServerReference>(&["a", "a@1.2.3", "a@latest", "@1.2.3", "a@", "", &with[0], &with[1]]);
        let scope = ApiScope::read(Area::Audit).to_string();
        agree::<Scopes>(&[&scope, "servers:read,users:write", "audit:write", "servers:", "", "servers:read,", "all"]);
        agree::<SecondFactor>(&["123456", "12345", "abcd-efgh-ijkl-mnop", "abcd-efgh-ijkl-mno1", ""]);
    }
}
