//! What was found in files, for people and for programs.

mod json;
mod sarif;
mod text;

use std::fmt;

pub use text::Colour;

use crate::diagnostic::{Diagnostic, Severity};
use crate::yaml;

/// What was found in some files. Printed, it looks as a compiler would say it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report(Vec<Checked>);

/// A file and what was found in it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Checked {
    /// Where it is, for people.
    pub path: String,
    /// What was found, in the file's order.
    pub diagnostics: Vec<Diagnostic>,
    /// Its text, to show the lines in question; nothing if it is none.
    text: String,
}

impl Checked {
    pub(crate) fn new(path: &str, text: &[u8], diagnostics: Vec<Diagnostic>) -> Self {
        let text = shown(std::str::from_utf8(text).unwrap_or_default());
        Self { path: path.into(), diagnostics, text }
    }
}

/// The text with something visible in place of what is hidden or steers a terminal. It is as long in bytes, so that places stay.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let line_end = char == '\r' && chars.peek() == Some(&'\n');
        match char.len_utf8() {
            _ if line_end || char == '\n' || char == '\t' || !yaml::is_hidden(char) => out.push(char),
            1 => out.push('?'),
            2 => out.push('\u{bf}'),
            3 => out.push('\u{fffd}'),
            _ => out.push_str("\u{fffd}?"),
        }
    }
    out
}

impl Report {
    pub(crate) fn of(checked: Checked) -> Self {
        Self(vec![checked])
    }

    /// Adds what was found in further files.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &[Checked] {
        &self.0
    }

    /// Everything that was found, with the path of its file.
    pub fn diagnostics(&self) -> impl Iterator<Item = (&str, &Diagnostic)> {
        self.0.iter().flat_map(|file| file.diagnostics.iter().map(|diagnostic| (file.path.as_str(), diagnostic)))
    }

    /// How many things of this severity were found.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics().filter(|(_, diagnostic)| diagnostic.severity == severity).count()
    }

    /// As a compiler would say it, with the lines in question.
    #[must_use]
    pub fn render(&self, colour: Colour) -> String {
        text::render(self, colour)
    }

    /// As JSON: files with their diagnostics, and the counts.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::json(self)
    }

    /// As SARIF 2.1.0, which code hosts show beside the lines in question. Paths are given as they are, relative to wherever the
    /// files were checked.
    #[must_use]
    pub fn to_sarif(&self) -> String {
        sarif::sarif(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Colour::Never))
    }
}

#[cfg(test)]
mod tests;
