//! A document as a tree in which everything knows where it stands.

use std::ops::Range;

/// A value and the bytes it was written in.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: NodeValue,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeValue {
    /// Nothing was written, or could be understood; a fault says so.
    Absent,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Node,
}

impl Node {
    /// What a person would call it.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            NodeValue::Absent => "nothing",
            NodeValue::Bool(_) => "a boolean",
            NodeValue::Integer(_) => "an integer",
            NodeValue::Float(_) => "a number",
            NodeValue::Text(_) => "text",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a mapping",
        }
    }

    /// Where `path` (`credentials[0].inject.header`) stands, or else the innermost thing around it that exists: its key, for
    /// what was left out of a mapping.
    pub(crate) fn locate(&self, path: &str) -> Range<usize> {
        let mut node = self;
        let mut span = self.head();
        for step in steps(path) {
            let Some((found, key_span)) = node.below(&step) else { return span };
            node = found;
            span = match node.value {
                NodeValue::List(_) | NodeValue::Map(_) if node.span.start != key_span.start => key_span.clone(),
                NodeValue::List(_) | NodeValue::Map(_) => node.head(),
                _ => node.span.clone(),
            };
        }
        span
    }

    /// Whether `path` was written.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.walk(path).is_some()
    }

    fn walk(&self, path: &str) -> Option<&Self> {
        steps(path).try_fold(self, |node, step| node.below(&step).map(|(below, _)| below))
    }

    /// What a step leads to, and what to point at for it.
    fn below(&self, step: &Step<'_>) -> Option<(&Self, &Range<usize>)> {
        match (&self.value, step) {
            (NodeValue::Map(entries), Step::Field(name)) => {
                entries.iter().find(|entry| entry.key == *name).map(|entry| (&entry.value, &entry.key_span))
            }
            (NodeValue::List(items), Step::Item(index)) => items.get(*index).map(|item| (item, &item.span)),
            _ => None,
        }
    }

    /// The first thing in it, to point at instead of at a whole mapping.
    fn head(&self) -> Range<usize> {
        match &self.value {
            NodeValue::Map(entries) => {
                entries.first().map_or_else(|| self.span.clone(), |entry| entry.key_span.clone())
            }
            NodeValue::List(items) => items.first().map_or_else(|| self.span.clone(), Self::head),
            _ => self.span.clone(),
        }
    }
}

enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split(['.', '[']).filter(|part| !part.is_empty()).map(|part| match part.strip_suffix(']').map(str::parse) {
        Some(Ok(index)) => Step::Item(index),
        _ => Step::Field(part),
    })
}
