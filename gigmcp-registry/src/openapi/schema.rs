//! Schemas, as far as a toolspec has words for them.

use serde_json::{Map, Value, json};

use super::Import;
use super::text::paragraph;

impl<'a> Import<'a> {
    /// A parameter's, property's or item's fields; nothing, and a reason, if there are no words for it.
    pub(super) fn schema(&mut self, at: &str, schema: &'a Value, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("its schema goes on too deep, or in a circle".to_owned());
        }
        let faults = self.faults.len();
        let Some(schema) = self.resolved(at, schema) else {
            return Err(self.faults.drain(faults..).collect::<Vec<_>>().join("; "));
        };
        if let Some(word) = ["oneOf", "anyOf", "not", "if", "patternProperties", "prefixItems"]
            .into_iter()
            .find(|word| !schema[*word].is_null())
        {
            return Err(format!("its schema has `{word}`"));
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return self.all_of(at, schema, parts, depth);
        }
        let mut out = json!({ "type": kind(schema)? });
        self.bounds(at, schema, &mut out);
        match out["type"].as_str() {
            Some("array") => {
                let mut items = self.schema(at, &schema["items"], depth + 1)?;
                items.as_object_mut().map(|items| items.remove("required"));
                out["items"] = items;
            }
            Some("object") => {
                let properties = self.properties(at, schema, depth)?;
                if !properties.is_empty() {
                    out["properties"] = properties.into();
                }
            }
            _ => {}
        }
        Ok(out)
    }

    /// Objects that are one together.
    fn all_of(&mut self, at: &str, schema: &'a Value, parts: &'a [Value], depth: usize) -> Result<Value, String> {
        if let [one] = parts {
            let mut out = self.schema(at, one, depth + 1)?;
            self.bounds(at, schema, &mut out);
            return Ok(out);
        }
        let mut all: Map<String, Value> = Map::new();
        for part in parts {
            let part = self.schema(at, part, depth + 1)?;
            if part["type"] != "object" {
                return Err("its schema is several that are no objects (`allOf`)".to_owned());
            }
            for property in part["properties"].as_array().into_iter().flatten() {
                all.insert(property["name"].as_str().unwrap_or_default().to_owned(), property.clone());
            }
        }
        for property in self.properties(at, schema, depth)? {
            all.insert(property["name"].as_str().unwrap_or_default().to_owned(), property);
        }
        let mut out = json!({ "type": "object" });
        self.bounds(at, schema, &mut out);
        out["properties"] = all.into_iter().map(|(_, property)| property).collect::<Vec<_>>().into();
        Ok(out)
    }

    /// What is optional and has no words is left out, and told.
    fn properties(&mut self, at: &str, schema: &'a Value, depth: usize) -> Result<Vec<Value>, String> {
        let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        let mut out = Vec::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            let read_only = property["readOnly"] == true
                || self.resolved(&at, property).is_some_and(|property| property["readOnly"] == true);
            if read_only {
                continue;
            }
            match self.schema(&at, property, depth + 1) {
                Ok(mut property) => {
                    property["name"] = name.as_str().into();
                    if required(name) {
                        property["required"] = true.into();
                    }
                    out.push(property);
                }
                Err(why) if required(name) => return Err(format!("{name}: {why}")),
                Err(why) => self.notes.push(format!("{at} is left out: {why}")),
            }
        }
        Ok(out)
    }

    fn bounds(&mut self, at: &str, schema: &Value, out: &mut Value) {
        if let Some(text) =
            schema["description"].as_str().map(|text| paragraph(text, 1000)).filter(|text| !text.is_empty())
        {
            out["description"] = text.into();
        }
        let choices: Vec<_> =
            schema["enum"].as_array().into_iter().flatten().filter(|one| !one.is_null()).cloned().collect();
        let constant = (!schema["const"].is_null()).then(|| vec![schema["const"].clone()]);
        let choices = constant.unwrap_or(choices);
        if !choices.is_empty() {
            out["enum"] = choices.into();
        }
        let named: &[&str] = match out["type"].as_str() {
            Some("string") => &["minLength", "maxLength"],
            Some("integer" | "number") => &["minimum", "maximum"],
            Some("array") => &["minItems", "maxItems"],
            _ => &[],
        };
        for name in named.iter().filter(|name| schema[**name].is_number()) {
            out[*name] = schema[*name].clone();
        }
        let is_scalar = !matches!(out["type"].as_str(), Some("object" | "array"));
        if is_scalar && !schema["default"].is_null() {
            out["default"] = schema["default"].clone();
        }
        for name in ["pattern", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"] {
            if !schema[name].is_null() && schema[name] != false {
                self.notes.push(format!("{at}: `{name}` is not checked"));
            }
        }
    }
}

/// One type; `null` beside it is what is not said.
fn kind(schema: &Value) -> Result<&str, String> {
    match &schema["type"] {
        Value::String(kind) if TYPES.contains(&kind.as_str()) => Ok(kind),
        Value::Array(kinds) => {
            match &*kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect::<Vec<_>>() {
                [kind] if TYPES.contains(kind) => Ok(kind),
                _ => Err("it may be of several types".to_owned()),
            }
        }
        Value::Null if schema["properties"].is_object() => Ok("object"),
        Value::Null if schema["items"].is_object() => Ok("array"),
        Value::Null if schema["enum"].as_array().is_some_and(|all| all.iter().all(Value::is_string)) => Ok("string"),
        Value::Null => Err("its schema does not say its type".to_owned()),
        other => Err(format!("its type is {other}")),
    }
}

const TYPES: &[&str] = &["string", "integer", "number", "boolean", "object", "array"];
const DEEPEST: usize = 8;
