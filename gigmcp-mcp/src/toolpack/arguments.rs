//! What a model says, against the schema of what it may say.

use std::fmt;

use gigmcp_registry::{Property, Schema, SchemaKind, ToolRequest};
use serde_json::{Map, Number, Value};

/// The arguments of one call, checked: nothing unknown, nothing missing, defaults in place.
///
/// # Errors
/// Everything that is wrong with them, at most [`MAX_FAULTS`] things.
pub(super) fn check(
    tool: &ToolRequest,
    mut said: Map<String, Value>,
) -> Result<Map<String, Value>, Vec<ArgumentFault>> {
    let mut faults = Faults(Vec::new());
    let mut checked = Map::new();
    let known = |name: &str| tool.params.iter().any(|param| param.name == name);
    for name in said.keys().filter(|name| !known(name)) {
        let allowed = tool.params.iter().map(|param| param.name.clone()).collect();
        faults.add(name, ArgumentProblem::Unknown { allowed });
    }
    for param in &tool.params {
        let value = member(&mut faults, &param.name, &param.schema, param.required, said.remove(&param.name));
        if let Some(value) = value {
            checked.insert(param.name.clone(), value);
        }
    }
    if faults.0.is_empty() { Ok(checked) } else { Err(faults.0) }
}

/// One thing that is wrong with the arguments, for whoever said them.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{argument}` {problem}")]
pub struct ArgumentFault {
    /// Which one, such as `labels[2].name`.
    pub argument: String,
    /// What is wrong with it.
    pub problem: ArgumentProblem,
}

/// What is wrong with an argument.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentProblem {
    /// There is none of this name.
    #[error("is not an argument here; {}", known(.allowed))]
    Unknown {
        /// Those there are.
        allowed: Vec<String>,
    },
    /// It has to be said.
    #[error("is missing; it has to be {expected}")]
    Missing {
        /// What it should be.
        expected: String,
    },
    /// Of another type.
    #[error("has to be {expected}, and is {found}")]
    Type {
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Not one of the values there are.
    #[error("is {found}; allowed are {}", list(.allowed))]
    NotAChoice {
        /// What it is.
        found: String,
        /// The values there are.
        allowed: Vec<Value>,
    },
    /// Beyond a bound.
    #[error("has to be {bound}, and is {found}")]
    Bound {
        /// The bound, in words.
        bound: String,
        /// What it is.
        found: String,
    },
    /// It would not be one segment of the path.
    #[error(
        "goes into the path of the request: it has to be text without control characters in which nothing is `.` or `..`"
    )]
    PathSegment,
    /// It could not stand in a header.
    #[error("goes into a header of the request: visible ASCII characters and single blanks inside only")]
    HeaderValue,
    /// The service would read one item as two.
    #[error("is written as a list with commas, so that no item can hold one")]
    CommaInItem,
    /// The service would read the name of a field as several.
    #[error(
        "is written with its names in brackets, so that a name is 1 to 128 characters without brackets and controls"
    )]
    BracketInName,
    /// There is no room for it outside of a body.
    #[error("is too long: all that goes into the address or a header has to fit into {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
}

/// Adds faults up to a number: a hostile list of a million faults is one answer of ten lines.
struct Faults(Vec<ArgumentFault>);

impl Faults {
    fn add(&mut self, argument: &str, problem: ArgumentProblem) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(ArgumentFault { argument: shortened(argument), problem });
        }
    }
}

/// A named value that may have to be there.
fn member(faults: &mut Faults, at: &str, schema: &Schema, required: bool, value: Option<Value>) -> Option<Value> {
    match value.or_else(|| schema.default.clone()) {
        Some(value) => checked(faults, at, schema, value),
        None if required => {
            faults.add(at, ArgumentProblem::Missing { expected: expected(schema) });
            None
        }
        None => None,
    }
}

/// A value of a schema, with defaults inside and whole numbers written as such.
fn checked(faults: &mut Faults, at: &str, schema: &Schema, value: Value) -> Option<Value> {
    let before = faults.0.len();
    let value = typed(faults, at, schema, value)?;
    if !schema.choices.is_empty() && !schema.choices.contains(&value) {
        let problem = ArgumentProblem::NotAChoice { found: told(&value), allowed: schema.choices.clone() };
        faults.add(at, problem);
    }
    (faults.0.len() == before).then_some(value)
}

fn typed(faults: &mut Faults, at: &str, schema: &Schema, value: Value) -> Option<Value> {
    match (&schema.kind, value) {
        (SchemaKind::String { min_length, max_length }, Value::String(text)) => {
            let length = text.chars().count();
            counted(faults, at, "characters", length, (*min_length, *max_length));
            Some(Value::String(text))
        }
        (SchemaKind::Integer { minimum, maximum }, Value::Number(number)) => match whole(&number) {
            Some(number) => {
                between(faults, at, &number, (*minimum, *maximum));
                Some(Value::Number(number))
            }
            None => {
                let expected = "a whole number of at most 16 digits".into();
                faults.add(at, ArgumentProblem::Type { expected, found: told(&Value::Number(number)) });
                None
            }
        },
        (SchemaKind::Number { minimum, maximum }, Value::Number(number)) => {
            between(faults, at, &number, (*minimum, *maximum));
            Some(Value::Number(number))
        }
        (SchemaKind::Boolean, Value::Bool(value)) => Some(Value::Bool(value)),
        (SchemaKind::Object(properties), Value::Object(map)) if properties.is_empty() => Some(Value::Object(map)),
        (SchemaKind::Object(properties), Value::Object(map)) => Some(object(faults, at, properties, map)),
        (SchemaKind::Array { items, min_items, max_items }, Value::Array(values)) => {
            counted(faults, at, "items", values.len(), (*min_items, *max_items));
            let Some(items) = items else { return Some(Value::Array(values)) };
            let values = values.into_iter().enumerate();
            let values = values.filter_map(|(index, value)| checked(faults, &format!("{at}[{index}]"), items, value));
            Some(Value::Array(values.collect()))
        }
        (_, value) => {
            let found = if value.is_null() { "null; leave it out instead".into() } else { told(&value) };
            faults.add(at, ArgumentProblem::Type { expected: expected(schema), found });
            None
        }
    }
}

fn object(faults: &mut Faults, at: &str, properties: &[Property], mut map: Map<String, Value>) -> Value {
    for name in map.keys().filter(|name| !properties.iter().any(|property| property.name == **name)) {
        let allowed = properties.iter().map(|property| property.name.clone()).collect();
        faults.add(&format!("{at}.{name}"), ArgumentProblem::Unknown { allowed });
    }
    let mut checked = Map::new();
    for property in properties {
        let at = format!("{at}.{}", property.name);
        let value = member(faults, &at, &property.schema, property.required, map.remove(&property.name));
        if let Some(value) = value {
            checked.insert(property.name.clone(), value);
        }
    }
    Value::Object(checked)
}

/// The number without a fraction, if it has none and no reader of JSON sees another one in it.
fn whole(number: &Number) -> Option<Number> {
    if number.is_i64() || number.is_u64() {
        return Some(number.clone());
    }
    let number = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= MAX_EXACT)?;
    Some(Number::from(number as i64))
}

fn between(faults: &mut Faults, at: &str, number: &Number, (minimum, maximum): (Option<f64>, Option<f64>)) {
    let value = number.as_f64().unwrap_or_default(); // always one: serde_json keeps no other numbers
    let bound = match (minimum, maximum) {
        (Some(minimum), _) if value < minimum => format!("at least {minimum}"),
        (_, Some(maximum)) if value > maximum => format!("at most {maximum}"),
        _ => return,
    };
    faults.add(at, ArgumentProblem::Bound { bound, found: number.to_string() });
}

fn counted(faults: &mut Faults, at: &str, what: &str, count: usize, (min, max): (Option<u64>, Option<u64>)) {
    let bound = match (min, max) {
        (Some(min), _) if (count as u64) < min => format!("at least {min} {what} long"),
        (_, Some(max)) if (count as u64) > max => format!("at most {max} {what} long"),
        _ => return,
    };
    faults.add(at, ArgumentProblem::Bound { bound, found: format!("{count}") });
}

/// What a value should be, in words.
fn expected(schema: &Schema) -> String {
    if !schema.choices.is_empty() {
        return format!("one of {}", list(&schema.choices));
    }
    match &schema.kind {
        SchemaKind::String { .. } => "a string".into(),
        SchemaKind::Integer { .. } => "a whole number".into(),
        SchemaKind::Number { .. } => "a number".into(),
        SchemaKind::Boolean => "true or false".into(),
        SchemaKind::Array { .. } => "a list".into(),
        _ => "an object".into(),
    }
}

/// A value as it was said, in a few words.
fn told(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("the string {:?}", shortened(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

fn list(values: &[Value]) -> String {
    let shown: Vec<_> = values.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    let more = if values.len() > MAX_LISTED { ", ..." } else { "" };
    shown.join(", ") + more
}

fn known(names: &[String]) -> String {
    if names.is_empty() {
        return "there are none".into();
    }
    let shown: Vec<_> = names.iter().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    format!("there are {}", shown.join(", "))
}

fn shortened(text: &str) -> String {
    let clean: String =
        text.chars().take(MAX_TOLD).map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect();
    if text.chars().nth(MAX_TOLD).is_some() { format!("{clean}...") } else { clean }
}

/// All faults as one text for a model.
pub(super) fn report(faults: &[ArgumentFault]) -> String {
    use fmt::Write as _;
    let mut text = String::from("The arguments were refused and nothing was sent:");
    for fault in faults {
        let _ = write!(text, "\n- {fault}"); // writing to a string cannot fail
    }
    text
}

const MAX_FAULTS: usize = 10;
const MAX_LISTED: usize = 50;
const MAX_TOLD: usize = 60;
/// 2^53: beyond it, two numbers are one for most readers.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
