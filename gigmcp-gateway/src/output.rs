//! What people and programs see: answers as text or JSON, errors with their whole chain.

use std::{error::Error, io::Write, process::ExitCode};

use serde::Serialize;

use crate::cli::RemoteError;

/// An error on its way to the operator: the whole chain is printed.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Prints the whole chain of an error to standard error.
pub(crate) fn report(error: &(dyn Error + 'static)) {
    fail(error, false);
}

/// Prints the whole chain of an error; causes go on lines of their own.
pub(crate) fn fail(error: &(dyn Error + 'static), json: bool) -> ExitCode {
    let told = Told::of(error);
    let mut stderr = std::io::stderr().lock();
    // Nothing is left to be done about a closed standard error.
    drop(match json {
        true => writeln!(stderr, "{}", serde_json::json!(told)),
        false => writeln!(stderr, "{}", told.lines().join("\n")),
    });
    ExitCode::FAILURE
}

/// An error as it is told: a sentence, and what is behind it.
#[derive(Serialize)]
pub(crate) struct Told {
    error: String,
    causes: Vec<String>,
    /// What programs go by, if a gateway elsewhere said no.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

impl Told {
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        let code = error.downcast_ref::<RemoteError>().and_then(RemoteError::code).map(ToOwned::to_owned);
        Self { error: error.to_string(), causes, code }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let causes = self.causes.iter().map(|cause| format!("  because: {}", quiet(cause)));
        [format!("gigmcp: {}", quiet(&self.error))].into_iter().chain(causes).collect()
    }
}

/// An error with its causes, in one line of the log.
pub(crate) fn whole(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Where answers go: text for people, or one JSON document.
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints `value` as JSON, or the lines that `text` gives.
    pub(crate) fn print<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> Vec<String>) -> Result<(), Failure> {
        let lines = match self.json {
            true => vec![serde_json::to_string_pretty(value)?],
            false => text(value),
        };
        let mut stdout = std::io::stdout().lock();
        match lines.iter().try_for_each(|line| writeln!(stdout, "{line}")) {
            // Whoever read it has enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }
}

impl Output {
    /// Prints what is shown once: it alone goes to standard output, so that it can go on into a file, and what is said of it to
    /// standard error.
    pub(crate) fn print_once<T: Serialize>(&self, value: &T, about: &[String], shown: &str) -> Result<(), Failure> {
        let text = match self.json {
            true => serde_json::to_string_pretty(value)?,
            false => {
                let mut stderr = std::io::stderr().lock();
                // Nothing is left to be done about a closed standard error.
                about.iter().for_each(|line| drop(writeln!(stderr, "{line}")));
                shown.to_owned()
            }
        };
        let written = writeln!(std::io::stdout().lock(), "{text}");
        Ok(written.map_err(|source| Unshown { source })?)
    }
}

/// It is there, and nobody knows it.
#[derive(Debug, thiserror::Error)]
#[error("it was made, and could not be shown; make another in its place")]
struct Unshown {
    source: std::io::Error,
}

/// A text of others without what could steer a terminal or hide.
pub(crate) fn harmless(text: &str) -> String {
    let escape = |character: char| character.is_control() || !character.is_ascii();
    text.chars().map(|c| if escape(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// A message of many sources, in which registries and servers may have a word: whatever could steer a terminal is shown
/// escaped, and its lines and letters stay.
pub(crate) fn quiet(text: &str) -> String {
    let turns = |character: char| matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let escape = |character: char| turns(character) || character.is_control() && character != '\n';
    text.chars().map(|c| if escape(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Lays out rows in columns as wide as their widest cell. Some cells come from servers and models, so what could
/// steer a terminal is shown escaped.
pub(crate) fn columns(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| harmless(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    [line(head.to_vec())].into_iter().chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_steers_no_terminal() {
        for (case, text, expected) in [
            ("twin", "no server \u{e9}\nask somebody", "no server \u{e9}\nask somebody"),
            ("colours", "\u{1b}[32mverified", "\\u{1b}[32mverified"),
            ("the line before", "evil\rgood", "evil\\rgood"),
            ("C1", "\u{9b}2J", "\\u{9b}2J"),
            ("rubbed out", "evil\u{8}\u{8}", "evil\\u{8}\\u{8}"),
            ("the other direction", "a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(quiet(text), expected, "{case}");
        }
    }
}
