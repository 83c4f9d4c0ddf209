//! Why a command was not done: what failed, where, and what to do about it.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

/// How the program ends. The command line's own errors end it with 2.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Exit {
    /// The answer is no.
    Refused = 1,
    /// A file cannot be used.
    File = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error on its way to whoever typed the command.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    advice: Option<String>,
    /// What else is wrong, told with it so that one run is enough to mend all.
    others: Vec<Failure>,
}

impl Failure {
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, what: what.into(), source: None, advice: None, others: Vec::new() }
    }

    pub(crate) fn file(what: impl Into<String>) -> Self {
        Self { exit: Exit::File, ..Self::refused(what) }
    }

    pub(crate) fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    pub(crate) fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    pub(crate) fn besides(self, others: Vec<Self>) -> Self {
        Self { others, ..self }
    }

    /// Prints it to standard error.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        let text = if json { format!("{}\n", self.value()) } else { self.text() };
        // Nothing is left to be done about a closed standard error.
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
        self.exit.into()
    }

    fn text(&self) -> String {
        let mut text: String = self.others.iter().map(Self::text).collect();
        text.push_str(&format!("registryctl: {}\n", self.what));
        self.causes()
            .iter()
            .for_each(|cause| text.push_str(&format!("  because: {}\n", cause.replace('\n', "\n    "))));
        self.advice.iter().for_each(|advice| text.push_str(&format!("  do: {advice}\n")));
        text
    }

    fn value(&self) -> Value {
        let others: Vec<Value> = self.others.iter().map(Self::value).collect();
        json!({ "error": self.what, "causes": self.causes(), "advice": self.advice, "others": others })
    }

    fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut cause = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        causes
    }
}
