//! Where faults are collected while a document is read.

use std::collections::BTreeSet;
use std::fmt::{Arguments, Display};
use std::str::FromStr;

use super::problem::{Fault, Problem};

#[derive(Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    // Paths become text where there is a fault only: an index has thousands of manifests, nearly all of them right.
    pub(crate) fn add(&mut self, path: impl Display + Copy, problem: Problem) {
        // Whoever wrote more than that wrong need not be told all of it at once.
        if self.0.len() < MAX_FAULTS {
            self.0.push(Fault { path: path.to_string(), problem });
        }
    }

    pub(crate) fn check(&mut self, path: impl Display + Copy, outcome: Result<(), Problem>) {
        if let Err(problem) = outcome {
            self.add(path, problem);
        }
    }

    pub(crate) fn parsed<T: FromStr<Err: Into<Problem>>>(
        &mut self,
        path: impl Display + Copy,
        text: &str,
    ) -> Option<T> {
        if text.is_empty() {
            self.add(path, Problem::Missing);
            return None;
        }
        text.parse().map_err(|problem: T::Err| self.add(path, problem.into())).ok()
    }

    pub(crate) fn word<T>(
        &mut self,
        path: impl Display + Copy,
        text: &str,
        from_word: fn(&str) -> Option<T>,
        allowed: &'static [&'static str],
    ) -> Option<T> {
        let value = from_word(text);
        if value.is_none() {
            let problem =
                if text.is_empty() { Problem::Missing } else { Problem::Word { found: text.into(), allowed } };
            self.add(path, problem);
        }
        value
    }

    pub(crate) fn optional<T>(&mut self, text: &str, read: impl FnOnce(&mut Self, &str) -> Option<T>) -> Option<T> {
        if text.is_empty() { None } else { read(self, text) }
    }

    /// A number within bounds, or none.
    pub(crate) fn number(&mut self, path: impl Display + Copy, number: Option<u64>, min: u64, max: u64) -> Option<u64> {
        let number = number?;
        if !(min..=max).contains(&number) {
            self.add(path, Problem::Range { min, max });
        }
        Some(number)
    }

    /// Reads the items of a list, of which there are few: many are compared with many others.
    pub(crate) fn each<D, T>(
        &mut self,
        path: impl Display + Copy,
        documents: Vec<D>,
        mut read: impl FnMut(&mut Self, Arguments<'_>, D) -> Option<T>,
    ) -> Vec<T> {
        if documents.len() > MAX_ITEMS {
            self.add(path, Problem::TooMany { max: MAX_ITEMS });
            return Vec::new();
        }
        let numbered = documents.into_iter().enumerate();
        numbered.filter_map(|(index, document)| read(self, format_args!("{path}[{index}]"), document)).collect()
    }

    /// Notes values that stand earlier in the list; `field` is where the value stands in its item, or empty.
    pub(crate) fn unique<'a>(&mut self, path: impl Display + Copy, field: &str, values: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for (index, value) in values.enumerate() {
            if !value.is_empty() && !seen.insert(value) {
                let field = if field.is_empty() { String::new() } else { format!(".{field}") };
                self.add(format_args!("{path}[{index}]{field}"), Problem::Repeated);
            }
        }
    }
}

/// Fifty times what the longest list of a real server has.
const MAX_ITEMS: usize = 1000;
const MAX_FAULTS: usize = 100;

pub(crate) fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
