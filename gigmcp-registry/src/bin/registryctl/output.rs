//! Answers, as text for people or as one JSON document.

use std::io::Write;
use std::process::ExitCode;

use serde_json::Value;

use crate::failure::Failure;

pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints the lines, or the value.
    pub(crate) fn print(&self, value: &Value, lines: &[String]) -> Result<ExitCode, Failure> {
        let text =
            if self.json { format!("{value:#}\n") } else { lines.iter().map(|line| format!("{line}\n")).collect() };
        write(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints a text that has its form already.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|source| Failure::file("standard output cannot be written").because(source))
}
