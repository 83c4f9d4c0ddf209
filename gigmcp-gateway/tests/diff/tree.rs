//! JSON with every scalar as it was written, and every member in its place.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Tree {
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
    /// A string, number, boolean or null, byte for byte.
    Scalar(String),
}

impl Tree {
    pub(crate) fn parse(text: &str) -> Self {
        match text.trim_start().as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text).unwrap();
                Self::Object(members.into_iter().map(|(name, raw)| (name, Self::parse(raw.get()))).collect())
            }
            Some(b'[') => {
                let items: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap();
                Self::Array(items.iter().map(|raw| Self::parse(raw.get())).collect())
            }
            _ => Self::Scalar(text.to_owned()),
        }
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(member, _)| member == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// A string's text.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Scalar(written) => serde_json::from_str(written).unwrap_or_default(),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Scalar(written) => written.clone(),
            Self::Object(members) => members.iter().map(|(name, value)| format!("{name}: {value}, ")).collect(),
            Self::Array(items) => items.iter().map(|item| format!("{item}, ")).collect(),
        };
        write!(formatter, "{}", text.chars().take(300).collect::<String>())
    }
}

/// Members in the order they have, with any name twice.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Collect)
    }
}

struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Members;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
