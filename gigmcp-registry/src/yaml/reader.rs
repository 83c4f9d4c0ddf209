//! From a tree to a document's structs, through serde, without stopping at the first thing that does not fit.
//!
//! serde tells a format which fields a struct has, so unknown ones are found here and named with the nearest known one. What does
//! not fit is noted and replaced by nothing, which the structs' defaults stand for.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::node::{Entry, Node, NodeValue};

/// One thing that has not the shape of the format, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ShapeFault {
    pub(crate) path: String,
    pub(crate) span: Range<usize>,
    pub(crate) problem: ShapeProblem,
}

/// Why something has not the shape of the format.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ShapeProblem {
    #[error("there is no field `{field}` here")]
    UnknownField { field: String, nearest: Option<&'static str>, known: &'static [&'static str] },
    #[error("expected {expected}, found {found}")]
    WrongType { expected: &'static str, found: &'static str, quoted: Option<String> },
}

/// Reads a document whose structs all have defaults.
pub(crate) fn read<'de, T: Deserialize<'de> + Default>(root: &'de Node) -> (T, Vec<ShapeFault>) {
    let faults = RefCell::new(Vec::new());
    let document = T::deserialize(Reader { node: root, path: String::new(), faults: &faults });
    let mut faults = faults.into_inner();
    let document = document.unwrap_or_else(|Unreadable(reason)| {
        // Every struct has defaults and every mismatch is replaced, so this is a field whose own reading failed.
        let problem = ShapeProblem::WrongType { expected: reason, found: root.kind(), quoted: None };
        faults.push(ShapeFault { path: String::new(), span: root.span.clone(), problem });
        T::default()
    });
    (document, faults)
}

struct Reader<'de, 'f> {
    node: &'de Node,
    path: String,
    faults: &'f RefCell<Vec<ShapeFault>>,
}

impl<'de, 'f> Reader<'de, 'f> {
    fn below(&self, node: &'de Node, path: String) -> Self {
        Reader { node, path, faults: self.faults }
    }

    fn add(&self, span: &Range<usize>, path: String, problem: ShapeProblem) {
        if self.is_told_enough() {
            return;
        }
        self.faults.borrow_mut().push(ShapeFault { path, span: span.clone(), problem });
    }

    /// A file of nothing but faults need not be retold whole.
    fn is_told_enough(&self) -> bool {
        self.faults.borrow().len() >= MAX_FAULTS
    }

    fn mismatch(&self, expected: &'static str) {
        let quoted = match &self.node.value {
            NodeValue::Absent => return, // said before
            NodeValue::Integer(number) if expected == "text" => Some(number.to_string()),
            NodeValue::Float(_) | NodeValue::Bool(_) if expected == "text" => Some("...".into()),
            _ => None,
        };
        let found = self.node.kind();
        self.add(&self.node.span, self.path.clone(), ShapeProblem::WrongType { expected, found, quoted });
    }

    fn integer<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.node.value {
            NodeValue::Integer(number) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => {
                    self.mismatch("an integer that is not negative");
                    visitor.visit_u64(0)
                }
            },
            _ => {
                self.mismatch("an integer");
                visitor.visit_u64(0)
            }
        }
    }

    fn text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match &self.node.value {
            NodeValue::Text(text) => visitor.visit_borrowed_str(text),
            _ => {
                self.mismatch("text");
                visitor.visit_str("")
            }
        }
    }
}

macro_rules! refused {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Unreadable> {
            Err(Unreadable("a type that documents have no field of"))
        }
    )+};
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Unreadable;

    /// For values whose type is the document's to choose: defaults and constants.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match &self.node.value {
            NodeValue::Absent => visitor.visit_unit(),
            NodeValue::Bool(value) => visitor.visit_bool(*value),
            NodeValue::Integer(number) => visitor.visit_i64(*number),
            NodeValue::Float(number) => visitor.visit_f64(*number),
            NodeValue::Text(text) => visitor.visit_borrowed_str(text),
            NodeValue::List(_) => self.deserialize_seq(visitor),
            NodeValue::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.node.value {
            NodeValue::Bool(value) => visitor.visit_bool(value),
            _ => {
                self.mismatch("true or false");
                visitor.visit_bool(false)
            }
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.integer(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.node.value {
            NodeValue::Integer(number) => visitor.visit_i64(number),
            NodeValue::Float(number) => visitor.visit_f64(number),
            _ => {
                self.mismatch("a number");
                visitor.visit_f64(0.0)
            }
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.text(visitor)
    }

    /// Nothing written is nothing given; the tree has noted it.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.node.value {
            NodeValue::Absent => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match &self.node.value {
            NodeValue::List(items) => visitor.visit_seq(List { parent: self, items: items.iter().enumerate() }),
            _ => {
                self.mismatch("a list");
                visitor.visit_seq(SeqDeserializer::<_, Unreadable>::new(std::iter::empty::<u8>()))
            }
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.mapping(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        self.mapping(Some(fields), visitor)
    }

    refused! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_f32 deserialize_char deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { unit_struct tuple tuple_struct enum }
}

impl<'de> Reader<'de, '_> {
    fn mapping<V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        match &self.node.value {
            NodeValue::Map(entries) => {
                visitor.visit_map(Map { parent: self, entries: entries.iter(), fields, value: None })
            }
            _ => {
                self.mismatch("a mapping");
                visitor.visit_map(MapDeserializer::<_, Unreadable>::new(std::iter::empty::<(u8, u8)>()))
            }
        }
    }
}

struct List<'de, 'f> {
    parent: Reader<'de, 'f>,
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for List<'de, '_> {
    type Error = Unreadable;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Unreadable> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        seed.deserialize(self.parent.below(node, format!("{}[{index}]", self.parent.path))).map(Some)
    }
}

struct Map<'de, 'f> {
    parent: Reader<'de, 'f>,
    entries: std::slice::Iter<'de, Entry>,
    fields: Option<&'static [&'static str]>,
    value: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Map<'de, '_> {
    type Error = Unreadable;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Unreadable> {
        for entry in self.entries.by_ref() {
            if let Some(known) = self.fields.filter(|fields| !fields.contains(&entry.key.as_str())) {
                if !self.parent.is_told_enough() {
                    let nearest = nearest(&entry.key, known);
                    let problem = ShapeProblem::UnknownField { field: entry.key.clone(), nearest, known };
                    self.parent.add(&entry.key_span, join(&self.parent.path, &entry.key), problem);
                }
                continue;
            }
            self.value = Some(entry);
            let key: StrDeserializer<'_, Unreadable> = entry.key.as_str().into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Unreadable> {
        let entry = self.value.take().ok_or_else(|| Unreadable::custom("a value before its key"))?;
        seed.deserialize(self.parent.below(&entry.value, join(&self.parent.path, &entry.key)))
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.into() } else { format!("{path}.{field}") }
}

/// The known word that `text` is most likely a misspelling of.
pub(crate) fn nearest(text: &str, known: &[&'static str]) -> Option<&'static str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-', ' '], "");
    let text = plain(text);
    let scored = known.iter().map(|word| (strsim::jaro_winkler(&text, &plain(word)), *word));
    scored.filter(|(score, _)| *score >= 0.8).max_by(|one, two| one.0.total_cmp(&two.0)).map(|(_, word)| word)
}

const MAX_FAULTS: usize = 100;

/// A field whose own reading failed.
#[derive(Debug)]
pub(crate) struct Unreadable(&'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unreadable {}

impl serde::de::Error for Unreadable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self("a value of the field's own format")
    }
}
