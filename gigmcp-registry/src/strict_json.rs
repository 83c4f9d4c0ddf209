//! Two readings that serde's derive leaves lenient: structs written as arrays, and maps that name a key twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer, forward_to_deserialize_any};

/// A struct that must be written as an object; serde's derive would also take `["a", "b"]` for its fields in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(ObjectOnly(deserializer)).map(Object)
    }
}

#[cfg(test)]
impl<T: schemars::JsonSchema> schemars::JsonSchema for Object<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// Hands on what a struct asks of its format, its fields' names included, but takes nothing except an object for it.
struct ObjectOnly<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(MapOnly(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, MapOnly(visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct MapOnly<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for MapOnly<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(map)
    }
}

/// Reads what may be left out but not be `null`: together with a default, for which serde would take both.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<T: Serialize> Serialize for Object<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Reads an object. Text that is UTF-8 as a whole is not looked at again string by string; other text fails in any case, and
/// the error says where.
pub(crate) fn object<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let Object(document) = match str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text)?,
        Err(_) => serde_json::from_slice(bytes)?,
    };
    Ok(document)
}

/// Fails if any object in it, at any depth, names a key twice: [`serde_json::Value`] would take the last one.
pub(crate) fn without_repeats(bytes: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice::<AnyWithoutRepeats>(bytes).map(drop)
}

/// Anything, of which nothing is kept.
struct AnyWithoutRepeats;

impl<'de> Deserialize<'de> for AnyWithoutRepeats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyWithoutRepeats)
    }
}

impl<'de> Visitor<'de> for AnyWithoutRepeats {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated keys")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<Self>()?;
            if keys.contains(&key) {
                return Err(A::Error::custom(format_args!("repeated key {key:?}")));
            }
            keys.insert(key);
        }
        Ok(self)
    }
}

/// A map in which a repeated key is an error instead of the last one winning.
#[derive(Debug, Default)]
pub(crate) struct UniqueMap<V>(pub(crate) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueVisitor<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object without repeated keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMap<V>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if entries.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("repeated key {key:?}")));
                    }
                    entries.insert(key, map.next_value()?);
                }
                Ok(UniqueMap(entries))
            }
        }

        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

impl<V: Serialize> Serialize for UniqueMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, Eq, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        one: u8,
        two: u8,
    }

    #[test]
    fn structs_are_objects_with_each_field_once() {
        for (case, text, expected) in [
            ("as it should be", r#"{"two":2,"one":1}"#, Ok(())),
            ("an array", "[1,2]", Err("expected an object")),
            ("a field twice", r#"{"one":1,"two":2,"one":1}"#, Err("duplicate field `one`")),
            ("an unknown field", r#"{"one":1,"two":2,"six":6}"#, Err("unknown field `six`")),
            ("null", "null", Err("expected an object")),
            ("something after it", r#"{"one":1,"two":2} {}"#, Err("trailing characters")),
        ] {
            let parsed = serde_json::from_str::<Object<Pair>>(text).map(|_| ()).map_err(|error| error.to_string());
            match (&parsed, expected) {
                (Ok(()), Ok(())) => {}
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{case}: {found}"),
                _ => panic!("{case}: {parsed:?}"),
            }
        }
    }

    #[test]
    fn a_repeated_key_is_found_at_any_depth() {
        for (text, repeated) in [
            (r#"{"a":1,"b":[null,true,-1,1.5,"x",{"a":{"a":{}}}]}"#, false),
            (r#"{"a":[{"b":{"c":1,"c":1}}]}"#, true),
            (r#"{"a":[{"b":{"c":1,"\u0063":1}}]}"#, true),
            (r#"[{"a":1},{"a":1}]"#, false),
        ] {
            assert_eq!(without_repeats(text.as_bytes()).is_err(), repeated, "{text}");
        }
    }

    #[test]
    fn a_repeated_key_is_an_error_however_it_is_spelled() {
        let parse = |text| serde_json::from_str::<UniqueMap<u8>>(text).map(|map| map.0.len());
        assert!(matches!(parse(r#"{"a":1,"b":1}"#), Ok(2)));
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#] {
            let error = parse(text).expect_err("repeated").to_string();
            assert!(error.contains("repeated key \"a\""), "{text}: {error}");
        }
    }
}
