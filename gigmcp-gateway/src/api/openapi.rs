//! The OpenAPI 3.1 document, made of the table of routes.

use http::Method;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{PREFIX, error::ErrorDocument, once, route::Route};
use crate::people::{Access, Deed};

/// The document of these routes.
pub(crate) fn document<S>(routes: &[Route<S>], session_cookie: &str) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ErrorDocument>();
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(format!("{PREFIX}{}", route.path)).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route, &mut generator);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "gigmcp",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Manages the MCP servers, profiles, credentials and people of a gateway",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": { "IdempotencyKey": {
                "name": "Idempotency-Key", "in": "header", "required": false,
                "description": "Random, at least 16 characters. The same request with the same key within a day is answered as before and not done again.",
                "schema": { "type": "string", "pattern": once::PATTERN },
            } },
            "responses": { "Error": { "description": "It did not work", "content": { "application/json": { "schema": error } } } },
            "securitySchemes": {
                "session": { "type": "apiKey", "in": "cookie", "name": session_cookie },
                "csrf": { "type": "apiKey", "in": "header", "name": super::CSRF_HEADER },
                "key": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

fn operation<S>(route: &Route<S>, generator: &mut SchemaGenerator) -> Value {
    let mut parameters = Vec::new();
    for (place, schema) in [("path", route.path_schema), ("query", route.query_schema)] {
        if let Some(schema) = schema {
            parameters.extend(self::parameters(place, &schema(generator)));
        }
    }
    if route.method == Method::POST && route.rule.access != Access::Public && route.rule.deed != Deed::Read {
        parameters.push(json!({ "$ref": "#/components/parameters/IdempotencyKey" }));
    }
    let mut success = json!({ "description": route.answer.status.canonical_reason().unwrap_or("done") });
    match route.answer.schema {
        Some(schema) => success["content"][route.answer.media_type]["schema"] = schema(generator).to_value(),
        None if !route.answer.media_type.is_empty() => {
            success["content"][route.answer.media_type] = json!({ "schema": { "type": "string" } });
        }
        None => {}
    }
    let tag = route.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "tags": [tag],
        "parameters": parameters,
        "responses": { route.answer.status.as_str(): success, "default": { "$ref": "#/components/responses/Error" } },
        "security": security(route),
        "x-access": format!("{:?}", route.rule.access),
    });
    if let Some(schema) = route.body_schema {
        let schema = schema(generator).to_value();
        operation["requestBody"] =
            json!({ "required": true, "content": { route.body_type.media_type(): { "schema": schema } } });
    }
    operation
}

/// One parameter for each property of an object.
fn parameters(place: &str, schema: &Schema) -> Vec<Value> {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties
        .map(|(name, schema)| {
            json!({
                "name": name,
                "in": place,
                "required": place == "path" || required.contains(&name.as_str()),
                "schema": schema,
            })
        })
        .collect()
}

fn security<S>(route: &Route<S>) -> Value {
    if route.rule.access == Access::Public {
        return json!([]);
    }
    let session = match route.method.is_safe() {
        true => json!({ "session": [] }),
        false => json!({ "session": [], "csrf": [] }),
    };
    match route.rule.scope {
        Some(scope) => json!([session, { "key": [scope.to_string()] }]),
        None => json!([session]),
    }
}
