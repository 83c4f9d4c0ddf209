//! What checking a value can cost, told from the schema alone.
//!
//! A validator follows every way through a schema. With `$ref`, a short schema can have more ways than there is time: each
//! definition names the next one twice. So the ways are counted first.

use std::collections::HashMap;

use serde_json::Value;

use super::Unchecked;

/// How many steps a check takes at most for each part of a value, by how deep the value is nested.
#[derive(Debug)]
pub(crate) struct Cost(Vec<u64>);

impl Cost {
    /// Of a schema.
    ///
    /// # Errors
    /// If it cannot be bounded, or its references cannot be followed.
    pub(super) fn of(schema: &Value) -> Result<Self, Unchecked> {
        let mut parts = Parts { schema, known: HashMap::new(), parts: Vec::new(), watchers: 0 };
        parts.target("")?;
        let mut next = 0;
        while let Some(part) = parts.parts.get(next).map(|part| part.schema) {
            let read = parts.read(part)?;
            parts.parts[next] = read;
            next += 1;
        }
        // They look again at what others have looked at, and each of several does so for itself.
        if parts.watchers > 1 || parts.watchers == 1 && parts.parts.len() > 1 {
            return Err(Unchecked::TooCostly);
        }
        let cost = Self(parts.steps()?);
        let most = if parts.parts.len() > 1 { cost.steps(MAX_COMPILED, 1) } else { cost.steps(0, 1) };
        if most > BUDGET && !parts.recurs() || cost.steps(0, 1) > BUDGET { Err(Unchecked::TooCostly) } else { Ok(cost) }
    }

    /// Of a value as deep and long as this.
    pub(super) fn steps(&self, depth: usize, bytes: usize) -> u64 {
        let each = self.0.get(depth.min(self.0.len() - 1)).copied().unwrap_or(u64::MAX);
        // No value is shorter than two bytes, with what parts it from the next; long texts are read as often as short ones.
        each.saturating_mul(1 + bytes as u64 / 8)
    }
}

/// A schema that is referred to, or the whole.
struct Part<'a> {
    schema: &'a Value,
    /// What there is to look at before a reference is followed.
    own: u64,
    /// What it refers to, and whether that is for something inside the value.
    references: Vec<(usize, Place)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Same,
    Inside,
}

struct Parts<'a> {
    schema: &'a Value,
    known: HashMap<String, usize>,
    parts: Vec<Part<'a>>,
    /// Keywords that look at what all others have left over.
    watchers: usize,
}

impl<'a> Parts<'a> {
    fn target(&mut self, pointer: &str) -> Result<usize, Unchecked> {
        if let Some(known) = self.known.get(pointer) {
            return Ok(*known);
        }
        let schema = self.schema.pointer(pointer).ok_or(Unchecked::Foreign)?;
        if self.parts.len() >= MAX_PARTS {
            return Err(Unchecked::TooLarge);
        }
        self.known.insert(pointer.to_owned(), self.parts.len());
        self.parts.push(Part { schema, own: 0, references: Vec::new() });
        Ok(self.parts.len() - 1)
    }

    fn read(&mut self, schema: &'a Value) -> Result<Part<'a>, Unchecked> {
        let mut part = Part { schema, own: 0, references: Vec::new() };
        let mut waiting = vec![(schema, Place::Same)];
        while let Some((schema, place)) = waiting.pop() {
            part.own += 1;
            let Value::Object(members) = schema else { continue };
            for (keyword, value) in members {
                self.keyword(keyword, value, place, &mut part, &mut waiting)?;
            }
        }
        Ok(part)
    }

    fn keyword(
        &mut self,
        keyword: &str,
        value: &'a Value,
        place: Place,
        part: &mut Part<'a>,
        waiting: &mut Vec<(&'a Value, Place)>,
    ) -> Result<(), Unchecked> {
        match keyword {
            "$ref" => {
                let reference = value.as_str().and_then(|text| text.strip_prefix('#')).ok_or(Unchecked::Foreign)?;
                let target = self.target(&decoded(reference)?)?;
                part.references.push((target, place));
            }
            "$dynamicRef" | "$recursiveRef" | "$id" | "id" if !std::ptr::eq(value, root_id(self.schema, keyword)) => {
                return if matches!(value, Value::String(_)) { Err(Unchecked::Foreign) } else { Ok(()) };
            }
            "$defs" | "definitions" => {}
            "properties" | "patternProperties" => children(value, Place::Inside, waiting),
            "dependentSchemas" | "dependencies" => children(value, place, waiting),
            "unevaluatedItems" | "unevaluatedProperties" => {
                self.watchers += 1;
                waiting.push((value, Place::Inside));
            }
            "items" | "additionalItems" | "prefixItems" | "contains" | "additionalProperties" | "propertyNames" => {
                one_or_all(value, Place::Inside, waiting);
            }
            "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" => one_or_all(value, place, waiting),
            _ => part.own = part.own.saturating_add(size(value)),
        }
        Ok(())
    }

    /// The steps from the whole, for each depth of a value.
    fn steps(&self) -> Result<Vec<u64>, Unchecked> {
        let mut before: Vec<u64> = vec![0; self.parts.len()];
        let mut all = Vec::new();
        for _ in 0..=MAX_DEPTH {
            let mut now = vec![None; self.parts.len()];
            for part in 0..self.parts.len() {
                self.step(part, &before, &mut now, 0)?;
            }
            before = now.into_iter().map(|steps| steps.unwrap_or(u64::MAX)).collect();
            all.push(before[0]);
        }
        Ok(all)
    }

    /// Those of one part, for a value inside of which everything takes `inside`.
    fn step(&self, part: usize, inside: &[u64], now: &mut [Option<u64>], chain: usize) -> Result<u64, Unchecked> {
        if let Some(known) = now[part] {
            return Ok(known);
        }
        // Longer than there are parts: it comes back to itself for the same value, and would for ever.
        if chain > self.parts.len() || chain > MAX_CHAIN {
            return Err(Unchecked::TooCostly);
        }
        let Part { own, references, .. } = &self.parts[part];
        let mut steps = *own;
        for (target, place) in references {
            steps = steps.saturating_add(match place {
                Place::Inside => inside[*target],
                Place::Same => self.step(*target, inside, now, chain + 1)?,
            });
        }
        now[part] = Some(steps);
        Ok(steps)
    }

    /// Whether a part leads back to itself.
    fn recurs(&self) -> bool {
        let mut left: Vec<usize> = vec![0; self.parts.len()];
        for (target, _) in self.parts.iter().flat_map(|part| &part.references) {
            left[*target] += 1;
        }
        let mut free: Vec<usize> = (0..left.len()).filter(|part| left[*part] == 0).collect();
        let mut removed = 0;
        while let Some(part) = free.pop() {
            removed += 1;
            for (target, _) in &self.parts[part].references {
                left[*target] -= 1;
                if left[*target] == 0 {
                    free.push(*target);
                }
            }
        }
        removed < left.len()
    }
}

/// The name of the whole, which changes nothing for references that begin with `#`.
fn root_id(schema: &Value, keyword: &str) -> *const Value {
    schema.get(keyword).filter(|_| keyword.ends_with("id")).map_or(std::ptr::null(), std::ptr::from_ref)
}

fn children<'a>(value: &'a Value, place: Place, waiting: &mut Vec<(&'a Value, Place)>) {
    waiting.extend(value.as_object().into_iter().flatten().map(|(_, schema)| (schema, place)));
}

fn one_or_all<'a>(value: &'a Value, place: Place, waiting: &mut Vec<(&'a Value, Place)>) {
    match value {
        Value::Array(all) => waiting.extend(all.iter().map(|schema| (schema, place))),
        one => waiting.push((one, place)),
    }
}

/// How many values there are in one, itself included. Schemas are not deep.
fn size(value: &Value) -> u64 {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => members.values().map(size).sum(),
        _ => 0_u64,
    }
}

/// The JSON pointer of a fragment. Names of places (`#name`) are not followed.
fn decoded(fragment: &str) -> Result<String, Unchecked> {
    match fragment.is_empty() || fragment.starts_with('/') && !fragment.contains('%') {
        true => Ok(fragment.to_owned()),
        false => Err(Unchecked::Foreign),
    }
}

/// Steps of one check.
pub(super) const BUDGET: u64 = 16_000_000;
const MAX_DEPTH: usize = 64;
const MAX_PARTS: usize = 1_000;
/// References behind one another for the same value; they are followed by recursion.
const MAX_CHAIN: usize = 100;
/// How deep references are followed when a schema is compiled.
const MAX_COMPILED: usize = MAX_DEPTH;
