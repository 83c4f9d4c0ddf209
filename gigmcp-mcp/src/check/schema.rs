//! One schema, compiled.

use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use serde_json::{Value, value::RawValue};

use super::{
    Unchecked,
    cost::{BUDGET, Cost},
    nearest::nearest,
};
use crate::{guard::depth, hygiene::safe_text};

/// A schema as it can be checked.
#[derive(Debug)]
pub(crate) enum Schema {
    /// Nothing is said.
    Anything,
    /// An object, and nothing is said of what is in it.
    AnyObject,
    /// What a validator has to look at.
    Compiled { validator: Arc<Validator>, cost: Cost },
    /// It cannot be checked.
    Unchecked(Unchecked),
}

/// What was found of a value.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Checked {
    Fits,
    /// Where in the value, as a JSON pointer, and why; the first few. Never empty.
    Misfits(Vec<Misfitting>),
    Unknown(Unchecked),
}

/// One place that does not fit.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Misfitting {
    pub(crate) path: String,
    pub(crate) reason: String,
}

impl Schema {
    pub(crate) fn compile(raw: &RawValue) -> Self {
        match raw.get() {
            "true" | "{}" => return Self::Anything,
            r#"{"type":"object"}"# | r#"{"type":"object","properties":{}}"# => return Self::AnyObject,
            text if text.len() > MAX_BYTES || depth(text) > MAX_DEPTH => return Self::Unchecked(Unchecked::TooLarge),
            _ => {}
        }
        let Ok(schema) = serde_json::from_str::<Value>(raw.get()) else { return Self::Unchecked(Unchecked::Invalid) };
        let cost = match Cost::of(&schema) {
            Ok(cost) => cost,
            Err(unchecked) => return Self::Unchecked(unchecked),
        };
        let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
        // A format is a remark in the newer dialect, and its meaning differs between validators in the older ones.
        let options = jsonschema::options().offline().should_validate_formats(false).with_pattern_options(patterns);
        match options.build(&schema) {
            Ok(validator) => Self::Compiled { validator: Arc::new(validator), cost },
            Err(_) => Self::Unchecked(Unchecked::Invalid),
        }
    }

    /// Whether a value fits. Without one, an empty object is what is meant.
    pub(crate) async fn check(&self, value: Option<&RawValue>) -> Checked {
        let text = value.map_or("{}", RawValue::get);
        let (validator, cost) = match self {
            Self::Anything => return Checked::Fits,
            Self::AnyObject if text.starts_with('{') => return Checked::Fits,
            Self::AnyObject => return Checked::Misfits(vec![no_object()]),
            Self::Unchecked(reason) => return Checked::Unknown(*reason),
            Self::Compiled { validator, cost } => (validator, cost),
        };
        let steps = cost.steps(depth(text), text.len());
        if steps > BUDGET {
            return Checked::Unknown(Unchecked::TooCostly);
        }
        let Some(value) = serde_json::from_str(text).ok().or_else(|| nearest(text)) else {
            return Checked::Unknown(Unchecked::Unreadable);
        };
        if steps <= AT_ONCE {
            return judged(validator, &value);
        }
        let validator = Arc::clone(validator);
        let judged = tokio::task::spawn_blocking(move || judged(&validator, &value)).await;
        judged.unwrap_or(Checked::Unknown(Unchecked::TooCostly))
    }
}

fn judged(validator: &Validator, value: &Value) -> Checked {
    if validator.is_valid(value) {
        return Checked::Fits;
    }
    let errors = validator.iter_errors(value).take(MAX_ERRORS);
    let misfits: Vec<_> = errors
        .map(|error| Misfitting {
            path: short(error.instance_path().as_str()),
            reason: short(&error.masked_with("the value").to_string()),
        })
        .collect();
    Checked::Misfits(misfits)
}

fn no_object() -> Misfitting {
    Misfitting { path: String::new(), reason: "it is not of type \"object\"".to_owned() }
}

/// Text that may be the server's, as part of a sentence of ours.
fn short(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_TEXT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    safe_text(&short).into_owned()
}

const MAX_BYTES: usize = 256 << 10;
const MAX_DEPTH: usize = 64;
/// Of one pattern, compiled.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// What may be done between two other pieces of work of the same thread.
const AT_ONCE: u64 = 400_000;
const MAX_ERRORS: usize = 5;
const MAX_TEXT: usize = 300;

#[cfg(test)]
mod tests;
