//! What is wrong with a document, or could be: with a stable code, its place, and what to do about it.

mod rule;

use std::fmt;
use std::ops::{Deref, Range};

use serde::Deserialize;

pub use rule::{Rule, Severity};

use crate::manifest::{Fault, Problem};
use crate::yaml::{self, Limits, Node, ShapeFault, ShapeProblem, YamlFault, YamlProblem};

/// One thing that is wrong with a document, or could be.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The rule it breaks.
    pub rule: Rule,
    /// How bad that is.
    pub severity: Severity,
    /// The field, for example `credentials[0].inject.header`; empty for the document.
    pub field: String,
    /// Where it stands.
    pub place: Place,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, where that can be said.
    pub help: Option<String>,
    /// Another place that has to do with it, and how.
    pub related: Option<(Place, String)>,
}

/// Where something stands in a text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// In bytes.
    pub span: Range<usize>,
    /// Its first line, from 1.
    pub line: usize,
    /// Its first column in characters, from 1.
    pub column: usize,
}

impl Diagnostic {
    /// What documents say is repeated here, and may be printed to a terminal: hidden characters become escapes.
    pub(crate) fn new(
        rule: Rule,
        severity: Severity,
        field: &str,
        place: Place,
        message: String,
        help: Option<String>,
    ) -> Self {
        let (field, message, help) = (visible(field), visible(&message), help.as_deref().map(visible));
        Self { rule, severity, field, place, message, help, related: None }
    }
}

fn visible(text: &str) -> String {
    let is_hidden = |char: char| char == '\n' || char == '\t' || yaml::is_hidden(char);
    text.chars().fold(String::with_capacity(text.len()), |mut out, char| {
        if is_hidden(char) {
            out.extend(char.escape_unicode())
        } else {
            out.push(char)
        }
        out
    })
}

impl Place {
    pub(crate) fn of(text: &[u8], span: Range<usize>) -> Self {
        let before = &text[..span.start.min(text.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
        Self { span, line, column }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place.line, self.place.column, self.message)
    }
}

/// Everything that is wrong with a document: one thing at least.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        Self(diagnostics)
    }
}

impl Deref for Diagnostics {
    type Target = [Diagnostic];

    fn deref(&self) -> &[Diagnostic] {
        &self.0
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "has {} faults", self.0.len())?;
        for (index, diagnostic) in self.0.iter().enumerate() {
            write!(f, "{}{diagnostic}", if index == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

/// A document that was read, with the tree that tells where everything stands.
pub(crate) struct Parsed<T> {
    pub(crate) value: T,
    pub(crate) root: Node,
}

/// Reads a document from YAML with all its faults.
pub(crate) fn parse<D, T>(text: &[u8], validate: fn(D) -> Result<T, Vec<Fault>>) -> Result<T, Vec<Diagnostic>>
where
    D: for<'de> Deserialize<'de> + Default,
{
    parse_placed(text, validate).map(|parsed| parsed.value)
}

pub(crate) fn parse_placed<D, T>(
    text: &[u8],
    validate: fn(D) -> Result<T, Vec<Fault>>,
) -> Result<Parsed<T>, Vec<Diagnostic>>
where
    D: for<'de> Deserialize<'de> + Default,
{
    let (root, faults) = yaml::tree(text, &Limits::default());
    let mut diagnostics: Vec<_> = faults.iter().map(|fault| of_yaml(text, fault)).collect();
    let Some(root) = root else { return Err(diagnostics) };
    let (document, faults) = yaml::read::<D>(&root);
    diagnostics.extend(faults.iter().map(|fault| of_shape(text, fault)));
    match validate(document) {
        Ok(value) if diagnostics.is_empty() => return Ok(Parsed { value, root }),
        Ok(_) => {}
        Err(faults) => {
            let faults = of_outermost(faults, &root);
            let new = faults.iter().filter(|fault| !is_consequence(fault, &root, &diagnostics));
            let new: Vec<_> = new.map(|fault| of_fault(text, &root, fault)).collect();
            diagnostics.extend(new);
        }
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.place.span.start);
    Err(diagnostics)
}

/// Of a mapping that was not written, its own absence is told, and not that of everything in it.
fn of_outermost(faults: Vec<Fault>, root: &Node) -> Vec<Fault> {
    let mut outermost: Vec<Fault> = Vec::with_capacity(faults.len());
    for mut fault in faults {
        while fault.problem == Problem::Missing
            && !parent(&fault.path).is_empty()
            && !root.contains(parent(&fault.path))
        {
            fault.path = parent(&fault.path).into();
        }
        if !outermost.contains(&fault) {
            outermost.push(fault);
        }
    }
    outermost
}

/// Whether something is only missing because it could not be read, which was said before.
fn is_consequence(fault: &Fault, root: &Node, said: &[Diagnostic]) -> bool {
    let span = root.locate(&fault.path);
    let (field, problem) = (&fault.path, &fault.problem);
    let within = |diagnostic: &&Diagnostic| {
        let other = &diagnostic.field;
        let same_place = diagnostic.place.span == span && root.contains(field);
        let above = !other.is_empty()
            && field.strip_prefix(other.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let misspelled = *problem == Problem::Missing
            && diagnostic.help.as_deref().is_some_and(|help| help == format!("write `{}`", last(field)))
            && parent(field) == parent(other);
        same_place || above || misspelled
    };
    said.iter().any(|diagnostic| within(&diagnostic))
}

fn last(field: &str) -> &str {
    field.rsplit('.').next().unwrap_or(field)
}

fn parent(field: &str) -> &str {
    field.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn of_yaml(text: &[u8], fault: &YamlFault) -> Diagnostic {
    let related = match &fault.problem {
        YamlProblem::DuplicateKey { first, .. } => {
            Some((Place::of(text, first.clone()), "it stands here first".into()))
        }
        _ => None,
    };
    let rule = Rule::of_yaml(&fault.problem);
    let place = Place::of(text, fault.span.clone());
    let (message, help) = (fault.problem.to_string(), fault.problem.help());
    Diagnostic { related, ..Diagnostic::new(rule, rule.severity(), "", place, message, help) }
}

fn of_shape(text: &[u8], fault: &ShapeFault) -> Diagnostic {
    let (rule, help) = match &fault.problem {
        ShapeProblem::UnknownField { nearest: Some(nearest), .. } => {
            (Rule::UnknownField, Some(format!("write `{nearest}`")))
        }
        ShapeProblem::UnknownField { known, nearest: None, .. } => {
            (Rule::UnknownField, Some(format!("the fields here are {}", known.join(", "))))
        }
        ShapeProblem::WrongType { quoted, .. } => {
            (Rule::WrongType, quoted.as_ref().map(|text| format!("write it in quotes: \"{text}\"")))
        }
    };
    let place = Place::of(text, fault.span.clone());
    let message = match &fault.problem {
        ShapeProblem::WrongType { .. } if !fault.path.is_empty() => format!("{}: {}", fault.path, fault.problem),
        problem => problem.to_string(),
    };
    Diagnostic::new(rule, rule.severity(), &fault.path, place, message, help)
}

pub(crate) fn of_fault(text: &[u8], root: &Node, fault: &Fault) -> Diagnostic {
    let rule = Rule::of_problem(&fault.problem);
    let help = match &fault.problem {
        Problem::Word { found, allowed } => yaml::nearest(found, allowed).map(|word| format!("write `{word}`")),
        _ => None,
    };
    let place = Place::of(text, root.locate(&fault.path));
    Diagnostic::new(rule, rule.severity(), &fault.path, place, fault.to_string(), help)
}
