//! One credential a server may have used on its behalf: where it goes, and what stands for it.

use std::{fmt, str::FromStr};

use gigmcp_egress::{
    Alphabet, BasicPart, FieldName, HeaderFormat, HostPattern, InvalidPrefix, JsonPointer, PathPattern, Shape, Sink,
};
use http::{HeaderName, Method, header};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    EnvName, InvalidSpec, parse_host,
    text::{all_as_text, all_from_text, as_text, from_text, text_type},
};

/// What a credential is called: 1 to 128 letters, digits, `_`, `-`, `.` and `:`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct SecretName(Box<str>);

text_type!(SecretName);

impl FromStr for SecretName {
    type Err = InvalidSpec;

    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        let valid = (1..=128).contains(&text.len()) && text.bytes().all(inner);
        valid.then(|| Self(text.into())).ok_or_else(|| InvalidSpec::SecretName { text: text.to_owned() })
    }
}

impl From<&EnvName> for SecretName {
    fn from(name: &EnvName) -> Self {
        Self(name.as_str().into())
    }
}

/// One credential a server may have used on its behalf.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SecretSlot {
    pub(crate) name: SecretName,
    /// The variable in which the server finds its placeholder, [`PLACEHOLDER`] if none is named. With
    /// [`Place::Environment`] it finds the value there.
    pub(crate) env: Option<EnvName>,
    /// The requests that get the real value; no others do.
    pub(crate) bind: Vec<Binding>,
    pub(crate) place: Place,
    /// What its placeholder looks like, where that is not told by its value.
    pub(crate) shape: Option<SaidShape>,
}

/// Where a server looks for the placeholder of its one credential.
pub(crate) const PLACEHOLDER: &str = "GIG_PLACEHOLDER";

/// Requests that a credential goes out with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Binding {
    #[serde(serialize_with = "all_as_text", deserialize_with = "all_from_text")]
    pub(crate) hosts: Vec<HostPattern>,
    /// All if empty.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "all_as_text",
        deserialize_with = "all_from_text"
    )]
    pub(crate) methods: Vec<Method>,
    /// All if empty.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "all_as_text",
        deserialize_with = "all_from_text"
    )]
    pub(crate) paths: Vec<PathPattern>,
}

/// Where in a request a credential stands.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Place {
    /// In a header that carries credentials and nothing else.
    #[default]
    AnyHeader,
    Header {
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        name: HeaderName,
        #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
        format: HeaderFormat,
    },
    BasicUser,
    BasicPassword,
    Query(#[serde(serialize_with = "as_text", deserialize_with = "from_text")] FieldName),
    Path {
        prefix: String,
    },
    Form(#[serde(serialize_with = "as_text", deserialize_with = "from_text")] FieldName),
    Json(#[serde(serialize_with = "as_text", deserialize_with = "from_text")] JsonPointer),
    /// The server holds the value itself, and nothing is put into its requests.
    Environment,
}

impl Place {
    /// For the proxy. None if it has nothing to put anywhere.
    pub(crate) fn sink(&self) -> Option<Sink> {
        Some(match self {
            Self::AnyHeader => Sink::Header { name: None },
            Self::Header { name, format } if name == header::AUTHORIZATION && format.to_string() == "Bearer {}" => {
                Sink::Bearer
            }
            Self::Header { name, format } => Sink::HeaderFormat { name: name.clone(), format: format.clone() },
            Self::BasicUser => Sink::Basic(BasicPart::User),
            Self::BasicPassword => Sink::Basic(BasicPart::Password),
            Self::Query(name) => Sink::Query(name.clone()),
            Self::Path { prefix } => Sink::PathSegment { prefix: prefix.clone() },
            Self::Form(name) => Sink::Form(name.clone()),
            Self::Json(pointer) => Sink::Json(pointer.clone()),
            Self::Environment => return None,
        })
    }
}

/// For people: what happens to the value.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyHeader => formatter.write_str("in a header for credentials"),
            Self::Header { name, format } => write!(formatter, "in the header {name}, as `{format}`"),
            Self::BasicUser => formatter.write_str("as the user of basic authentication"),
            Self::BasicPassword => formatter.write_str("as the password of basic authentication"),
            Self::Query(name) => write!(formatter, "as the query parameter {name}"),
            Self::Path { prefix } => write!(formatter, "in the path, behind `{prefix}`"),
            Self::Form(name) => write!(formatter, "as the form field {name}"),
            Self::Json(pointer) => write!(formatter, "in a JSON body at {pointer}"),
            Self::Environment => formatter.write_str("held by the server itself, in its environment"),
        }
    }
}

/// What a placeholder looks like.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SaidShape {
    #[serde(default)]
    pub(crate) prefix: String,
    /// Its prefix included.
    pub(crate) length: usize,
    pub(crate) of: Characters,
}

/// What a placeholder consists of, behind its prefix.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Characters {
    Alphanumeric,
    Lower,
    Upper,
    Hex,
    Digits,
    Jwt,
}

impl SaidShape {
    pub(crate) fn shape(&self) -> Result<Shape, InvalidPrefix> {
        let alphabet = match self.of {
            Characters::Alphanumeric => Alphabet::Alphanumeric,
            Characters::Lower => Alphabet::Lower,
            Characters::Upper => Alphabet::Upper,
            Characters::Hex => Alphabet::Hex,
            Characters::Digits => Alphabet::Digits,
            Characters::Jwt => return Ok(Shape::jwt(self.length)),
        };
        Shape::new(&self.prefix, self.length, alphabet)
    }
}

/// What a secret is sealed for, beside whose it is: the hosts it goes to and the place it has there. A value that was set for
/// others does not open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SealedFor(String);

impl SealedFor {
    /// The credential of a registry of images.
    pub(crate) fn registry(host: &str) -> Self {
        Self(format!("{host}{IN}registry"))
    }

    /// The second factor of an account: it goes nowhere.
    pub(crate) fn account() -> Self {
        Self(format!("gigmcp{IN}second factor"))
    }

    /// As it stands beside the sealed value in the database.
    pub(crate) fn from_row(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn hosts(&self) -> Vec<&str> {
        self.0.split(IN).next().unwrap_or_default().split(',').collect()
    }

    /// The place; `header` for those that say none, as all did once.
    pub(crate) fn place(&self) -> &str {
        self.0.split_once(IN).map_or("header", |(_, place)| place)
    }
}

/// A host has no blank in it.
const IN: &str = " in ";

impl fmt::Display for SealedFor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl SecretSlot {
    /// The credential of a server that an operator declares: in any header, to one host.
    pub(crate) fn declared(env: EnvName, host: HostPattern) -> Self {
        let bind = vec![Binding { hosts: vec![host], methods: Vec::new(), paths: Vec::new() }];
        Self { name: SecretName::from(&env), env: Some(env), bind, place: Place::AnyHeader, shape: None }
    }

    /// The variable that the server looks into.
    pub(crate) fn variable(&self) -> &str {
        self.env.as_ref().map_or(PLACEHOLDER, EnvName::as_str)
    }

    /// All hosts that get the value, once each.
    pub(crate) fn hosts(&self) -> Vec<&HostPattern> {
        let mut once = Vec::new();
        for host in self.bind.iter().flat_map(|binding| &binding.hosts) {
            if !once.contains(&host) {
                once.push(host);
            }
        }
        once
    }

    /// What its value is sealed for.
    pub(crate) fn sealed_for(&self) -> SealedFor {
        let mut hosts: Vec<String> = self.hosts().into_iter().map(ToString::to_string).collect();
        hosts.sort();
        let hosts = hosts.join(",");
        SealedFor(match &self.place {
            Place::AnyHeader => hosts,
            Place::Header { name, format } => format!("{hosts}{IN}header {name}: {format}"),
            Place::BasicUser => format!("{hosts}{IN}basic user"),
            Place::BasicPassword => format!("{hosts}{IN}basic password"),
            Place::Query(name) => format!("{hosts}{IN}query {name}"),
            Place::Path { prefix } => format!("{hosts}{IN}path {prefix}"),
            Place::Form(name) => format!("{hosts}{IN}form {name}"),
            Place::Json(pointer) => format!("{hosts}{IN}json {pointer}"),
            Place::Environment => format!("{hosts}{IN}environment"),
        })
    }
}

/// `ENV=HOST`, as after `--secret`.
impl FromStr for SecretSlot {
    type Err = InvalidSpec;

    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        let (env, host) = text.split_once('=').ok_or_else(|| InvalidSpec::SecretSlot { text: text.to_owned() })?;
        Ok(Self::declared(env.parse()?, parse_host(host)?))
    }
}

/// As it is written: what an operator declares has one host, and a name that is its variable's.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<EnvName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bind: Vec<Binding>,
    #[serde(default, skip_serializing_if = "is_default")]
    place: Place,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<SaidShape>,
}

fn is_default(place: &Place) -> bool {
    *place == Place::default()
}

impl Serialize for SecretSlot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name, env, bind, place, shape } = self.clone();
        let host = match &bind[..] {
            [Binding { hosts, methods, paths }] if methods.is_empty() && paths.is_empty() => match &hosts[..] {
                [host] => Some(host.to_string()),
                _ => None,
            },
            _ => None,
        };
        let bind = if host.is_some() { Vec::new() } else { bind };
        let name = (env.as_ref().map(SecretName::from) != Some(name.clone())).then(|| name.to_string());
        Document { name, env, host, bind, place, shape }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SecretSlot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Document { name, env, host, mut bind, place, shape } = Document::deserialize(deserializer)?;
        if let Some(host) = host {
            let hosts = vec![parse_host(&host).map_err(D::Error::custom)?];
            bind.push(Binding { hosts, methods: Vec::new(), paths: Vec::new() });
        }
        let name = match (name, &env) {
            (Some(name), _) => name.parse().map_err(D::Error::custom)?,
            (None, Some(env)) => SecretName::from(env),
            (None, None) => return Err(D::Error::missing_field("name")),
        };
        Ok(Self { name, env, bind, place, shape })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_declares_is_written_as_ever() {
        let slot: SecretSlot = "API_KEY=api.example.com".parse().expect("a slot");
        let json = serde_json::to_string(&slot).expect("text keys");
        assert_eq!(json, r#"{"env":"API_KEY","host":"api.example.com"}"#);
        assert_eq!(serde_json::from_str::<SecretSlot>(&json).expect("our own"), slot);
        assert_eq!((slot.sealed_for().as_str(), slot.sealed_for().place()), ("api.example.com", "header"));
    }

    #[test]
    fn a_credential_with_everything_survives_its_json() {
        let json = r#"{"name":"acme-token","bind":[{"hosts":["b.example.com","a.example.com"],"methods":["GET"],
            "paths":["/v1/**"]},{"hosts":["a.example.com"]}],"place":{"header":{"name":"x-key","format":"key {}"}},
            "shape":{"prefix":"key-","length":40,"of":"hex"}}"#;
        let slot: SecretSlot = serde_json::from_str(json).expect("a slot");
        let again = serde_json::to_string(&slot).expect("text keys");
        assert_eq!(serde_json::from_str::<SecretSlot>(&again).expect("our own"), slot);
        assert_eq!((slot.variable(), slot.name.as_str()), (PLACEHOLDER, "acme-token"));
        let sealed_for = slot.sealed_for();
        assert_eq!(sealed_for.hosts(), ["a.example.com", "b.example.com"]);
        assert_eq!(sealed_for.place(), "header x-key: key {}");
        for (case, json) in [
            ("no name", r#"{"host":"a.example.com"}"#),
            ("an unknown place", r#"{"env":"A","host":"a.example.com","place":{"cookie":"a"}}"#),
            ("a field nobody knows", r#"{"env":"A","host":"a.example.com","more":1}"#),
            ("not a method", r#"{"env":"A","bind":[{"hosts":["a.example.com"],"methods":["G T"]}]}"#),
        ] {
            assert!(serde_json::from_str::<SecretSlot>(json).is_err(), "{case}");
        }
    }
}
