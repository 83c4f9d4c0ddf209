//! Objects whose members have names of the caller's choice: none is there twice.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

/// Such an object. Of two members of one name, readers take different ones.
#[derive(Debug)]
pub(crate) struct Members<V>(pub(crate) BTreeMap<String, V>);

impl<V> Default for Members<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Members<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Once(PhantomData))
    }
}

struct Once<V>(PhantomData<fn() -> V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Once<V> {
    type Value = Members<V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members<V>, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = object.next_entry::<String, V>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom("a member is there twice"));
            }
            members.insert(name, value);
        }
        Ok(Members(members))
    }
}

impl<V: JsonSchema> JsonSchema for Members<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Members".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<V>();
        json_schema!({ "type": "object", "additionalProperties": value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_member_is_there_twice() {
        let read = |text: &str| serde_json::from_str::<Members<Members<u8>>>(text).map(|members| members.0.len()).ok();
        for (text, expected) in [
            (r#"{"a":{"x":1},"b":{"x":1}}"#, Some(2)),
            ("{}", Some(0)),
            (r#"{"a":{},"a":{}}"#, None),
            (r#"{"a":{"x":1,"x":2}}"#, None),
            (r#"{"a":{"x":1,"\u0078":2}}"#, None),
            ("[]", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
