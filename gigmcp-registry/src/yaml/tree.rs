//! From the parser's events to a tree, within bounds.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use super::Limits;
use super::fault::{YamlFault, YamlProblem};
use super::node::{Entry, Node, NodeValue};
use super::{bytes, scalar};

/// The document as a tree, and everything that is wrong with it. There is no tree if it ends in the middle; what could not be
/// understood is [`NodeValue::Absent`] in it.
pub(crate) fn tree(bytes: &[u8], limits: &Limits) -> (Option<Node>, Vec<YamlFault>) {
    let text = match bytes::text(bytes, limits) {
        Ok(text) => text,
        Err(fault) => return (None, vec![fault]),
    };
    let mut builder =
        Builder { limits, nodes: 0, stack: Vec::new(), root: None, faults: Vec::new(), ends_in_block: false };
    for event in Parser::new_from_str_with_options(text, options()) {
        let step = match event {
            Ok((event, span)) => builder.take(event, bytes_of(span)),
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
                Err(YamlFault { span: at..at, problem: YamlProblem::Syntax { message: error.kind().to_string() } })
            }
        };
        if let Err(fault) = step {
            builder.faults.push(fault);
            return (None, builder.faults);
        }
    }
    if builder.ends_in_block && !text.ends_with('\n') {
        builder.note(text.len()..text.len(), YamlProblem::NoLineEnd);
    }
    if builder.root.is_none() {
        builder.faults.push(YamlFault { span: 0..0, problem: YamlProblem::Empty });
    }
    (builder.root, builder.faults)
}

fn options() -> Options {
    let mut options = Options::default();
    options.strict_indentation = true;
    options.disallow_directives = true;
    options.emit_unresolved_aliases = true; // refused like any alias
    options
}

struct Builder<'a> {
    limits: &'a Limits,
    nodes: usize,
    stack: Vec<Frame>,
    root: Option<Node>,
    faults: Vec<YamlFault>,
    /// Whether the last value is a block of text that keeps its last line's end.
    ends_in_block: bool,
}

/// A collection that has begun.
struct Frame {
    start: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: HashMap<String, Range<usize>>, pending: Option<Key> },
}

/// A key that waits for its value. Without text, the pair is dropped: a fault was noted.
struct Key {
    text: Option<String>,
    span: Range<usize>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), YamlFault> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(YamlFault { span, problem: YamlProblem::SecondDocument })
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.note(span.clone(), YamlProblem::Alias);
                self.count(&span)?;
                self.add(Node { span, value: NodeValue::Absent }, None);
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.properties(&span, anchor, tag.is_some());
                self.count(&span)?;
                self.scalar(text, style, span);
                Ok(())
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.properties(&span, anchor, tag.is_some());
                self.open(span, Items::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.properties(&span, anchor, tag.is_some());
                self.open(span, Items::Map { entries: Vec::new(), keys: HashMap::new(), pending: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.close(span);
                Ok(())
            }
            // The stream's and the document's ends, and whatever is no node.
            _ => Ok(()),
        }
    }

    fn note(&mut self, span: Range<usize>, problem: YamlProblem) {
        // A file of nothing but faults need not be retold whole.
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(YamlFault { span, problem });
        }
    }

    fn properties(&mut self, span: &Range<usize>, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.note(span.clone(), YamlProblem::Anchor);
        }
        if tagged {
            self.note(span.clone(), YamlProblem::Tag);
        }
    }

    fn count(&mut self, span: &Range<usize>) -> Result<(), YamlFault> {
        self.nodes += 1;
        let max_nodes = self.limits.nodes;
        if self.nodes <= max_nodes {
            return Ok(());
        }
        Err(YamlFault { span: span.clone(), problem: YamlProblem::TooManyNodes { max_nodes } })
    }

    fn open(&mut self, span: Range<usize>, items: Items) -> Result<(), YamlFault> {
        self.count(&span)?;
        self.ends_in_block = false;
        let max_depth = self.limits.depth;
        if self.stack.len() >= max_depth {
            return Err(YamlFault { span, problem: YamlProblem::TooDeep { max_depth } });
        }
        self.stack.push(Frame { start: span.start, items });
        Ok(())
    }

    fn close(&mut self, span: Range<usize>) {
        let Some(frame) = self.stack.pop() else { return };
        let value = match frame.items {
            Items::List(items) => NodeValue::List(items),
            Items::Map { entries, .. } => NodeValue::Map(entries),
        };
        self.add(Node { span: frame.start..span.end.max(frame.start), value }, None);
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, span: Range<usize>) {
        let is_plain = matches!(style, ScalarStyle::Plain);
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        self.ends_in_block = is_block && text.ends_with('\n');
        let value = if is_plain { scalar::plain(&text) } else { Ok(NodeValue::Text(text.clone().into_owned())) };
        let value = value.unwrap_or_else(|problem| {
            let merges = self.wants_key() && matches!(&problem, YamlProblem::Ambiguous { text, .. } if text == "<<");
            self.note(span.clone(), if merges { YamlProblem::MergeKey } else { problem });
            NodeValue::Absent
        });
        // A key that was misread still names its field, so that the field is not reported as missing besides.
        let spelled = matches!(value, NodeValue::Absent).then(|| text.into_owned());
        self.add(Node { span, value }, spelled);
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { items: Items::Map { pending: None, .. }, .. }))
    }

    fn add(&mut self, node: Node, spelled: Option<String>) {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut frame.items {
            Items::List(items) => items.push(node),
            Items::Map { entries, pending, keys } => match pending.take() {
                Some(Key { text: Some(key), span }) => entries.push(Entry { key, key_span: span, value: node }),
                Some(Key { text: None, .. }) => {}
                None => {
                    let (key, problem) = key(node, spelled, keys);
                    let span = key.span.clone();
                    *pending = Some(key);
                    if let Some(problem) = problem {
                        self.note(span, problem);
                    }
                }
            },
        }
    }
}

/// Reads a node as a key; what is wrong with it, unless that was noted before.
fn key(node: Node, spelled: Option<String>, keys: &mut HashMap<String, Range<usize>>) -> (Key, Option<YamlProblem>) {
    let text = match node.value {
        NodeValue::Text(text) => text,
        NodeValue::Absent => return (Key { text: spelled.filter(|text| text != "<<"), span: node.span }, None),
        _ => return (Key { text: None, span: node.span }, Some(YamlProblem::KeyNotText)),
    };
    if let Some(first) = keys.get(&text) {
        let problem = YamlProblem::DuplicateKey { key: text, first: first.clone() };
        return (Key { text: None, span: node.span }, Some(problem));
    }
    keys.insert(text.clone(), node.span.clone());
    (Key { text: Some(text), span: node.span }, None)
}

fn bytes_of(span: Span) -> Range<usize> {
    span.byte_range().unwrap_or_default()
}

const MAX_FAULTS: usize = 100;
