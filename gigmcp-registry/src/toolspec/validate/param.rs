//! Parameters and what they may be.

use super::{header, is_place_of};
use crate::manifest::{Faults, Method, Problem, line, paragraph};
use crate::strict_json::Object;
use crate::toolspec::document::ParamDocument;
use crate::toolspec::{ArrayStyle, Auth, Encoding, Param, ParamPlace, Part, Property, Schema, SchemaKind};

/// What of a tool decides how its parameters are read.
pub(super) struct Context<'a> {
    pub(super) schema_version: u64,
    pub(super) method: Option<Method>,
    pub(super) encoding: Encoding,
    pub(super) auths: &'a [Auth],
}

pub(super) fn param(faults: &mut Faults, path: &str, document: ParamDocument, context: &Context<'_>) -> Option<Param> {
    let place = faults.word(&format!("{path}.in"), &document.place, ParamPlace::from_word, ParamPlace::WORDS);
    let schema = schema(faults, path, &document);
    let place = place?;
    let wire = if document.wire_name.is_empty() { "name" } else { "as" };
    let spelled = if document.wire_name.is_empty() { &document.name } else { &document.wire_name };
    wire_name(faults, &format!("{path}.{wire}"), spelled, place);
    if context.schema_version != 1 || wire == "as" {
        faults.check(&format!("{path}.name"), model_name(&document.name));
    }
    if context.auths.iter().any(|auth| is_place_of(&auth.place, place, spelled)) {
        faults.add(&format!("{path}.{wire}"), Problem::PlaceOfAuth);
    }
    match place {
        ParamPlace::Path if !document.required => faults.add(&format!("{path}.required"), Problem::PathParamOptional),
        ParamPlace::Body if context.method.is_some_and(|method| !method.has_body()) => {
            faults.add(&format!("{path}.in"), Problem::BodyWithoutBody);
        }
        _ => {}
    }
    let kind = schema.as_ref().map(|schema| schema.kind.as_str());
    let style = faults.optional(&document.style, |faults, text| {
        faults.word(&format!("{path}.style"), text, ArrayStyle::from_word, ArrayStyle::WORDS)
    });
    if let (Some(_), Some(kind)) = (style, kind.filter(|kind| *kind != "array")) {
        faults.add(&format!("{path}.style"), Problem::NotForType { kind });
    }
    let part = part(faults, path, &document, place, context.encoding);
    let wire_name = (!document.wire_name.is_empty()).then_some(document.wire_name);
    Some(Param { name: document.name, wire_name, place, schema: schema?, required: document.required, style, part })
}

fn part(
    faults: &mut Faults,
    path: &str,
    document: &ParamDocument,
    place: ParamPlace,
    encoding: Encoding,
) -> Option<Part> {
    if document.file_name.is_empty() && document.content_type.is_empty() {
        return None;
    }
    if encoding != Encoding::Multipart || place != ParamPlace::Body || document.kind != "string" {
        let field = if document.file_name.is_empty() { "contentType" } else { "fileName" };
        faults.add(&format!("{path}.{field}"), Problem::NotMultipart);
    }
    // Both end up in the head of a part.
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._+/".contains(&byte));
    for (field, text) in [("fileName", &document.file_name), ("contentType", &document.content_type)] {
        if !plain(text) || text.len() > 128 {
            faults.add(&format!("{path}.{field}"), Problem::PartHead);
        }
    }
    if document.file_name.is_empty() {
        faults.add(&format!("{path}.fileName"), Problem::Missing);
    }
    let content_type = (!document.content_type.is_empty()).then(|| document.content_type.clone());
    Some(Part { file_name: document.file_name.clone(), content_type })
}

fn schema(faults: &mut Faults, path: &str, document: &ParamDocument) -> Option<Schema> {
    faults.check(&format!("{path}.description"), paragraph(&document.description, 4096));
    let kind = kind(faults, path, document)?;
    for (field, fits) in bounds(document, &kind) {
        if !fits {
            faults.add(&format!("{path}.{field}"), Problem::NotForType { kind: kind.as_str() });
        }
    }
    let description = (!document.description.is_empty()).then(|| document.description.clone());
    let mut schema = Schema { kind, description, choices: Vec::new(), default: None };
    for (index, choice) in document.choices.iter().enumerate() {
        if !schema.admits(choice) {
            faults.add(&format!("{path}.enum[{index}]"), Problem::NotOfSchema);
        } else if document.choices[..index].contains(choice) {
            faults.add(&format!("{path}.enum[{index}]"), Problem::Repeated);
        }
    }
    schema.choices.clone_from(&document.choices);
    if document.default.as_ref().is_some_and(|default| !schema.admits(default)) {
        faults.add(&format!("{path}.default"), Problem::NotOfSchema);
    }
    schema.default.clone_from(&document.default);
    Some(schema)
}

fn kind(faults: &mut Faults, path: &str, document: &ParamDocument) -> Option<SchemaKind> {
    let ParamDocument { minimum, maximum, min_length, max_length, min_items, max_items, .. } = *document;
    let crossed = |one: Option<f64>, two: Option<f64>| one.zip(two).is_some_and(|(one, two)| one > two);
    let counts = |one: Option<u64>, two: Option<u64>| one.zip(two).is_some_and(|(one, two)| one > two);
    for (field, crossed) in [
        ("minimum", crossed(minimum, maximum)),
        ("minLength", counts(min_length, max_length)),
        ("minItems", counts(min_items, max_items)),
    ] {
        if crossed {
            faults.add(&format!("{path}.{field}"), Problem::BoundsCrossed);
        }
    }
    match document.kind.as_str() {
        "string" => Some(SchemaKind::String { min_length, max_length }),
        "integer" => Some(SchemaKind::Integer { minimum, maximum }),
        "number" => Some(SchemaKind::Number { minimum, maximum }),
        "boolean" => Some(SchemaKind::Boolean),
        "object" => Some(SchemaKind::Object(properties(faults, path, &document.properties))),
        "array" => {
            let at = format!("{path}.items");
            let items = document.items.as_ref().map(|items| (&items.0, nested(faults, &at, &items.0)));
            if let Some((items, _)) = &items {
                for (field, given) in [("name", !items.name.is_empty()), ("required", items.required)] {
                    if given {
                        faults.add(&format!("{at}.{field}"), Problem::NotForType { kind: "items" });
                    }
                }
            }
            let items = items.and_then(|(_, schema)| schema).map(Box::new);
            Some(SchemaKind::Array { items, min_items, max_items })
        }
        "" => {
            faults.add(&format!("{path}.type"), Problem::Missing);
            None
        }
        found => {
            faults.add(&format!("{path}.type"), Problem::Word { found: found.into(), allowed: TYPES });
            None
        }
    }
}

fn properties(faults: &mut Faults, path: &str, documents: &[Object<ParamDocument>]) -> Vec<Property> {
    let path = format!("{path}.properties");
    faults.unique(&path, "name", documents.iter().map(|Object(property)| property.name.as_str()));
    faults.each(&path, documents.to_vec(), |faults, path, Object(document)| {
        faults.check(&format!("{path}.name"), any_name(&document.name));
        let schema = nested(faults, &path.to_string(), &document)?;
        Some(Property { name: document.name, schema, required: document.required })
    })
}

/// A schema inside of another one, which has no place of its own.
fn nested(faults: &mut Faults, path: &str, document: &ParamDocument) -> Option<Schema> {
    for (field, given) in [
        ("in", !document.place.is_empty()),
        ("as", !document.wire_name.is_empty()),
        ("style", !document.style.is_empty()),
        ("fileName", !document.file_name.is_empty()),
        ("contentType", !document.content_type.is_empty()),
    ] {
        if given {
            faults.add(&format!("{path}.{field}"), Problem::NotForType { kind: "a nested value" });
        }
    }
    schema(faults, path, document)
}

/// The bounds that are given, and whether the type has them.
fn bounds(document: &ParamDocument, kind: &SchemaKind) -> Vec<(&'static str, bool)> {
    let (string, array) = (matches!(kind, SchemaKind::String { .. }), matches!(kind, SchemaKind::Array { .. }));
    let number = matches!(kind, SchemaKind::Integer { .. } | SchemaKind::Number { .. });
    let all = [
        ("minimum", document.minimum.is_some(), number),
        ("maximum", document.maximum.is_some(), number),
        ("minLength", document.min_length.is_some(), string),
        ("maxLength", document.max_length.is_some(), string),
        ("minItems", document.min_items.is_some(), array),
        ("maxItems", document.max_items.is_some(), array),
        ("items", document.items.is_some(), array),
        ("properties", !document.properties.is_empty(), matches!(kind, SchemaKind::Object(_))),
    ];
    all.into_iter().filter(|(_, given, _)| *given).map(|(field, _, fits)| (field, fits)).collect()
}

/// What a parameter has that version 1 does not.
pub(super) fn later_fields(document: &ParamDocument) -> Vec<&'static str> {
    let plain = SchemaKind::Boolean;
    let mut fields: Vec<_> = bounds(document, &plain).into_iter().map(|(field, _)| field).collect();
    for (field, given) in [
        ("as", !document.wire_name.is_empty()),
        ("enum", !document.choices.is_empty()),
        ("default", document.default.is_some()),
        ("style", !document.style.is_empty()),
        ("fileName", !document.file_name.is_empty()),
        ("contentType", !document.content_type.is_empty()),
    ] {
        if given {
            fields.push(field);
        }
    }
    fields
}

/// A name in the request.
pub(super) fn wire_name(faults: &mut Faults, path: &str, text: &str, place: ParamPlace) {
    let outcome = match place {
        ParamPlace::Header => header(text),
        ParamPlace::Path | ParamPlace::Query | ParamPlace::Body => any_name(text),
    };
    faults.check(path, outcome);
}

/// What services name things: one line without blanks at its ends.
pub(super) fn any_name(text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::Missing);
    }
    line(text, 128).map_err(|_| Problem::ParamName)?;
    (text.trim() == text).then_some(()).ok_or(Problem::ParamName)
}

/// What the interfaces of models take as the name of a property.
fn model_name(text: &str) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    any_name(text)?;
    (text.len() <= 64 && text.bytes().all(plain)).then_some(()).ok_or(Problem::ModelName)
}

const TYPES: &[&str] = &["string", "integer", "number", "boolean", "object", "array"];
