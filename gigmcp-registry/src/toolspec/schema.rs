//! What a parameter may be.

use serde_json::{Map, Value, json};

/// What a value may be: the part of JSON Schema that models and services agree on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Schema {
    /// Its type, with the bounds of that type.
    pub kind: SchemaKind,
    /// What it is, for models.
    pub description: Option<String>,
    /// The values there are; any if empty. From version 2.
    pub choices: Vec<Value>,
    /// What it is if nothing is said. From version 2.
    pub default: Option<Value>,
}

/// A type and its bounds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SchemaKind {
    /// Text, with bounds on its characters.
    String {
        /// The fewest.
        min_length: Option<u64>,
        /// The most.
        max_length: Option<u64>,
    },
    /// A whole number.
    Integer {
        /// The least.
        minimum: Option<f64>,
        /// The greatest.
        maximum: Option<f64>,
    },
    /// A number.
    Number {
        /// The least.
        minimum: Option<f64>,
        /// The greatest.
        maximum: Option<f64>,
    },
    /// True or false.
    Boolean,
    /// Named values; any if none are listed.
    Object(Vec<Property>),
    /// A list.
    Array {
        /// What its items may be; anything if absent.
        items: Option<Box<Schema>>,
        /// The fewest.
        min_items: Option<u64>,
        /// The most.
        max_items: Option<u64>,
    },
}

/// A named value of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// What it may be.
    pub schema: Schema,
    /// Whether it must be there.
    pub required: bool,
}

impl Schema {
    /// Whether a value is one of those meant.
    #[must_use]
    pub fn admits(&self, value: &Value) -> bool {
        (self.choices.is_empty() || self.choices.contains(value)) && self.kind.admits(value)
    }

    /// The same in the words of JSON Schema.
    #[must_use]
    pub fn to_json_schema(&self) -> Value {
        let mut schema = self.kind.to_json_schema();
        let map = schema.as_object_mut().expect("a schema is an object");
        if let Some(description) = &self.description {
            map.insert("description".into(), description.as_str().into());
        }
        if !self.choices.is_empty() {
            map.insert("enum".into(), self.choices.clone().into());
        }
        if let Some(default) = &self.default {
            map.insert("default".into(), default.clone());
        }
        schema
    }
}

impl SchemaKind {
    /// The word for the type.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::String { .. } => "string",
            Self::Integer { .. } => "integer",
            Self::Number { .. } => "number",
            Self::Boolean => "boolean",
            Self::Object(_) => "object",
            Self::Array { .. } => "array",
        }
    }

    fn admits(&self, value: &Value) -> bool {
        let between = |number: f64, minimum: Option<f64>, maximum: Option<f64>| {
            minimum.is_none_or(|minimum| number >= minimum) && maximum.is_none_or(|maximum| number <= maximum)
        };
        let counted = |count: usize, min: Option<u64>, max: Option<u64>| {
            let count = count as u64;
            min.is_none_or(|min| count >= min) && max.is_none_or(|max| count <= max)
        };
        match (self, value) {
            (Self::String { min_length, max_length }, Value::String(text)) => {
                counted(text.chars().count(), *min_length, *max_length)
            }
            (Self::Integer { minimum, maximum }, Value::Number(number)) => {
                !number.is_f64() && number.as_f64().is_some_and(|number| between(number, *minimum, *maximum))
            }
            (Self::Number { minimum, maximum }, Value::Number(number)) => {
                number.as_f64().is_some_and(|number| between(number, *minimum, *maximum))
            }
            (Self::Boolean, Value::Bool(_)) => true,
            (Self::Object(properties), Value::Object(map)) => properties.is_empty() || admits_object(properties, map),
            (Self::Array { items, min_items, max_items }, Value::Array(values)) => {
                counted(values.len(), *min_items, *max_items)
                    && items.as_ref().is_none_or(|items| values.iter().all(|value| items.admits(value)))
            }
            _ => false,
        }
    }

    fn to_json_schema(&self) -> Value {
        let mut schema = Map::new();
        schema.insert("type".into(), self.as_str().into());
        let mut bound = |name: &str, value: Option<Value>| {
            value.map(|value| schema.insert(name.into(), value));
        };
        match self {
            Self::String { min_length, max_length } => {
                bound("minLength", min_length.map(Value::from));
                bound("maxLength", max_length.map(Value::from));
            }
            Self::Integer { minimum, maximum } | Self::Number { minimum, maximum } => {
                bound("minimum", minimum.map(number));
                bound("maximum", maximum.map(number));
            }
            Self::Boolean => {}
            Self::Object(properties) if properties.is_empty() => {}
            Self::Object(properties) => {
                let required: Vec<_> = properties
                    .iter()
                    .filter(|property| property.required)
                    .map(|property| json!(property.name))
                    .collect();
                let schemas: Map<_, _> = properties
                    .iter()
                    .map(|property| (property.name.clone(), property.schema.to_json_schema()))
                    .collect();
                bound("properties", Some(schemas.into()));
                bound("required", (!required.is_empty()).then(|| required.into()));
                bound("additionalProperties", Some(false.into()));
            }
            Self::Array { items, min_items, max_items } => {
                bound("items", items.as_ref().map(|items| items.to_json_schema()));
                bound("minItems", min_items.map(Value::from));
                bound("maxItems", max_items.map(Value::from));
            }
        }
        schema.into()
    }
}

fn admits_object(properties: &[Property], map: &Map<String, Value>) -> bool {
    let known = |name: &String| properties.iter().any(|property| property.name == *name);
    map.keys().all(known)
        && properties.iter().all(|property| match map.get(&property.name) {
            Some(value) => property.schema.admits(value),
            None => !property.required,
        })
}

/// A bound as people write it: without a fraction if it has none.
pub(super) fn number(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT { json!(number as i64) } else { json!(number) }
}
