//! The members of one JSON object, each still as written, and where each stands in the text.

use std::{borrow::Cow, collections::HashSet, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of one object, in the order written.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Members<'a> {
    /// Reads the outermost object of `raw`; nothing below it is looked at.
    ///
    /// A member named twice is refused: two readers may pick different ones, and then what was
    /// checked is not what is used.
    pub(crate) fn of(raw: &'a RawValue) -> Result<Self, serde_json::Error> {
        Self::at_most::<MAX_MEMBERS>(raw)
    }

    /// The same of one that has been read, and has got a few members more since.
    pub(crate) fn grown(raw: &'a RawValue) -> Result<Self, serde_json::Error> {
        Self::at_most::<{ MAX_MEMBERS + 16 }>(raw)
    }

    fn at_most<const MAX: usize>(raw: &'a RawValue) -> Result<Self, serde_json::Error> {
        let text = raw.get();
        let Listed::<MAX>(members) = serde_json::from_str(text)?;
        Ok(Self { text, members })
    }

    /// The value of a member, as written.
    pub(crate) fn value(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// The value of a member that is a string.
    pub(crate) fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        string(self.value(name)?)
    }

    /// The object's text with the value of one member replaced by a string and every other byte kept.
    pub(crate) fn with(&self, name: &str, value: &str) -> Option<Box<RawValue>> {
        self.with_raw(name, &quoted(value))
    }

    /// The same, replaced by any JSON text.
    pub(crate) fn with_raw(&self, name: &str, json: &str) -> Option<Box<RawValue>> {
        let Range { start, end } = self.span(name)?;
        let (before, after) = (&self.text[..start], &self.text[end..]);
        let mut text = String::with_capacity(before.len() + json.len() + after.len());
        text.push_str(before);
        text.push_str(json);
        text.push_str(after);
        Some(RawValue::from_string(text).expect("one value of an object was replaced by another"))
    }

    /// The object with one member set: replaced where it stands, or added in front.
    pub(crate) fn set(&self, name: &str, json: &str) -> Box<RawValue> {
        self.with_raw(name, json).unwrap_or_else(|| {
            let rest = self.text[1..].trim_start();
            let comma = if rest.starts_with('}') { "" } else { "," };
            let text = format!("{{{}:{json}{comma}{rest}", quoted(name));
            RawValue::from_string(text).expect("a member was added to an object")
        })
    }

    /// The object without one member; every other one is as written.
    pub(crate) fn without(&self, name: &str) -> Box<RawValue> {
        let kept = self.members.iter().filter(|(key, _)| key != name);
        let kept: Vec<String> = kept.map(|(key, value)| format!("{}:{}", quoted(key), value.get())).collect();
        RawValue::from_string(format!("{{{}}}", kept.join(","))).expect("members make an object")
    }

    /// Every member, in the order written.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.iter().map(|(name, value)| (&**name, *value))
    }

    fn span(&self, name: &str) -> Option<Range<usize>> {
        let value = self.value(name)?.get();
        // The value was borrowed from the text, so the distance of the two is its position.
        let start = value.as_ptr() as usize - self.text.as_ptr() as usize;
        Some(start..start + value.len())
    }
}

/// The items of a list, each as written.
///
/// # Errors
/// If it is no list, or one of more than `max` items: a short text can hold so many that to name them takes far more memory
/// than the text.
pub(crate) fn items(raw: &RawValue, max: usize) -> Result<Vec<&RawValue>, NotItems> {
    struct Items(usize);

    impl<'de> Visitor<'de> for Items {
        type Value = Option<Vec<&'de RawValue>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                if items.len() == self.0 {
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(None);
                }
                items.push(item);
            }
            Ok(Some(items))
        }
    }

    let mut json = serde_json::Deserializer::from_str(raw.get());
    json.deserialize_seq(Items(max)).map_err(|_| NotItems::NoList)?.ok_or(NotItems::TooMany)
}

/// Why there are no items.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotItems {
    NoList,
    TooMany,
}

/// The text of a JSON string, or nothing if the value is not one.
pub(crate) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str(raw.get()).ok().map(|Text(text)| text)
}

/// A JSON string with this text.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

pub(crate) fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

struct Listed<'a, const MAX: usize>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de, const MAX: usize> Deserialize<'de> for Listed<'de, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<const MAX: usize>;

        impl<'de, const MAX: usize> Visitor<'de> for Object<MAX> {
            type Value = Listed<'de, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                let mut seen: HashSet<Cow<'de, str>> = HashSet::new();
                while let Some(Key(name)) = map.next_key()? {
                    if members.len() == MAX {
                        return Err(de::Error::custom("there are too many members"));
                    }
                    if !seen.insert(name.clone()) {
                        return Err(de::Error::custom("a member is named twice"));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Listed(members))
            }
        }

        deserializer.deserialize_map(Object::<MAX>)
    }
}

/// Of an object that is looked into. Below it, there may be any number.
const MAX_MEMBERS: usize = 1 << 16;

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn one_value_is_replaced_and_every_other_byte_kept() {
        for (case, text, expected) in [
            ("plain", r#"{"name":"a","x":1}"#, Some(r#"{"name":"b\"c","x":1}"#)),
            (
                "spaces, order and odd numbers",
                r#"{ "z" : 1e400 ,"name" :  "a" , "y":[ 1.0,-0 ]}"#,
                Some(r#"{ "z" : 1e400 ,"name" :  "b\"c" , "y":[ 1.0,-0 ]}"#),
            ),
            ("key spelled with an escape", r#"{"n\u0061me":"a"}"#, Some(r#"{"n\u0061me":"b\"c"}"#)),
            (
                "a deeper member of the same name is left alone",
                r#"{"arguments":{"name":"x"},"name":"a"}"#,
                Some(r#"{"arguments":{"name":"x"},"name":"b\"c"}"#),
            ),
            ("absent", r#"{"x":1}"#, None),
        ] {
            let raw = raw(text);
            let replaced = Members::of(&raw).unwrap().with("name", "b\"c");
            assert_eq!(replaced.as_deref().map(RawValue::get), expected, "{case}");
        }
    }

    #[test]
    fn a_list_is_read_as_far_as_it_is_short() {
        let list = raw("[1, {\"a\":[2,3]} ,\"x\"]");
        let texts = |items: Vec<&RawValue>| items.iter().map(|item| item.get().to_owned()).collect::<Vec<_>>();
        assert_eq!(
            items(&list, 3).map(texts),
            Ok(vec!["1".to_owned(), r#"{"a":[2,3]}"#.to_owned(), r#""x""#.to_owned()])
        );
        assert_eq!(items(&list, 2).map(texts), Err(NotItems::TooMany));
        for none in ["{}", "1", "null", r#""[]""#] {
            assert_eq!(items(&raw(none), 3).map(texts), Err(NotItems::NoList));
        }
        assert_eq!(items(&raw("[]"), 0).map(texts), Ok(vec![]));
    }

    #[test]
    fn an_object_has_a_bounded_number_of_members() {
        let object = |count: usize| {
            let members: Vec<String> = (0..count).map(|number| format!("\"{number}\":1")).collect();
            raw(&format!("{{{}}}", members.join(",")))
        };
        assert!(Members::of(&object(MAX_MEMBERS)).is_ok());
        assert!(Members::of(&object(MAX_MEMBERS + 1)).is_err());
    }

    #[test]
    fn a_member_named_twice_is_refused_however_it_is_spelled() {
        for (text, accepted) in [
            (r#"{"a":1,"b":2}"#, true),
            (r#"{"a":1,"a":2}"#, false),
            (r#"{"a":1,"\u0061":2}"#, false),
            (r#"{"x":{"a":1,"a":2}}"#, true), // below the first level it is the server's affair
            (r#"[1]"#, false),
        ] {
            assert_eq!(Members::of(&raw(text)).is_ok(), accepted, "{text}");
        }
    }
}
