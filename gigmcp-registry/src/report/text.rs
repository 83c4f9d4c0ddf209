//! As a compiler would say it.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Checked, Report};
use crate::diagnostic::{Diagnostic, Severity};

/// Whether terminals' colours are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colour {
    /// Yes.
    Always,
    /// No.
    Never,
}

pub(super) fn render(report: &Report, colour: Colour) -> String {
    let renderer = match colour {
        Colour::Always => Renderer::styled(),
        Colour::Never => Renderer::plain(),
    };
    let mut out = String::new();
    for file in report.files() {
        for diagnostic in &file.diagnostics {
            out.push_str(&renderer.render(&groups(file, diagnostic)));
            out.push_str("\n\n");
        }
    }
    out.push_str(&summary(report));
    out
}

fn groups<'a>(file: &'a Checked, diagnostic: &'a Diagnostic) -> Vec<Group<'a>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.rule.code());
    let mut snippet = Snippet::source(file.text.as_str()).path(file.path.as_str());
    snippet = snippet.annotation(AnnotationKind::Primary.span(within(&file.text, &diagnostic.place.span)));
    if let Some((place, label)) = &diagnostic.related {
        snippet =
            snippet.annotation(AnnotationKind::Context.span(within(&file.text, &place.span)).label(label.as_str()));
    }
    let mut group = title.element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    vec![group]
}

/// The span, within the text and at the edges of characters.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let edge = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    edge(span.start)..edge(span.end.max(span.start))
}

fn summary(report: &Report) -> String {
    let counted = |severity: Severity| {
        let count = report.count(severity);
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {}{plural}", severity.as_str())
    };
    let files = report.files().len();
    let plural = if files == 1 { "" } else { "s" };
    let (errors, warnings, notes) = (counted(Severity::Error), counted(Severity::Warning), counted(Severity::Note));
    format!("{files} file{plural}: {errors}, {warnings}, {notes}\n")
}
