//! YAML as manifests and toolspecs may use it: less than YAML allows, and nothing that two programs read in two ways.
//!
//! A parser of the whole of YAML 1.2 gives events; everything above them is here. What the older YAML 1.1 reads otherwise (`on`,
//! `012`, `12:30`, `<<`), what expands (anchors, aliases), what names types (tags, directives), and what a person does not see
//! (a byte-order mark, bidirectional controls) is refused, with its place.

mod bytes;
mod fault;
mod node;
mod print;
mod reader;
mod scalar;
mod tree;

pub(crate) use bytes::is_hidden;
pub(crate) use fault::{YamlFault, YamlProblem};
pub(crate) use node::Node;
#[cfg(feature = "openapi")]
pub(crate) use node::NodeValue;
pub(crate) use print::print;
pub(crate) use reader::{ShapeFault, ShapeProblem, nearest, read};
pub(crate) use tree::tree;

/// Bounds on a document that anyone may have written. Real ones have a twentieth of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Against a file that fills the memory. 1 MiB.
    pub(crate) bytes: usize,
    /// Against a stack that overflows in whatever walks the document. 24.
    pub(crate) depth: usize,
    /// Against many small nodes that take more room than their text. 50,000.
    pub(crate) nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 20, depth: 24, nodes: 50_000 }
    }
}

#[cfg(any(fuzzing, test))]
pub(crate) mod laws;
#[cfg(test)]
mod tests;
