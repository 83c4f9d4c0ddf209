//! Security schemes, as credentials of the manifest.

use serde_json::{Map, Value, json};

use super::Import;
use super::operation::Operation;

impl<'a> Import<'a> {
    /// The credentials of the first alternative that an operation names.
    pub(super) fn security(&mut self, found: &Operation<'a>, credentials: &mut Map<String, Value>) {
        let own = &found.operation["security"];
        let list = if own.is_array() { own } else { &self.root["security"] };
        let alternatives = list.as_array().map(Vec::as_slice).unwrap_or_default();
        if alternatives.len() > 1 {
            self.notes.push(format!(
                "{} {}: the first of {} ways to authenticate is taken",
                found.method,
                found.path,
                alternatives.len()
            ));
        }
        let Some(first) = alternatives.first().and_then(Value::as_object) else { return };
        for (name, scopes) in first {
            let Some(scheme) = self.resolved(name, &self.root["components"]["securitySchemes"][name]) else { continue };
            match made(name, scheme) {
                Ok(all) => {
                    for one in all {
                        let id = one["id"].as_str().unwrap_or_default().to_owned();
                        add_scopes(credentials.entry(id).or_insert(one), scopes);
                    }
                }
                Err(why) => {
                    self.faults.push(format!("{} {}: the security scheme {name} {why}", found.method, found.path))
                }
            }
        }
    }
}

/// The credentials of a scheme: one, or a user's name and password.
fn made(name: &str, scheme: &Value) -> Result<Vec<Value>, String> {
    let plain = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '_' };
    let id: String = name.chars().map(plain).take(48).collect();
    let bearer = json!({ "header": "Authorization", "format": "Bearer {token}" });
    let field = |name: &str| scheme[name].as_str().unwrap_or_default();
    let one =
        |id: String, kind: &str, inject: Value| json!({ "id": id, "type": kind, "provider": "", "inject": inject });
    match (field("type"), field("in"), field("scheme").to_ascii_lowercase().as_str()) {
        ("apiKey", "header", _) => {
            Ok(vec![one(id, "api_key", json!({ "header": field("name"), "format": "{token}" }))])
        }
        ("apiKey", "query", _) => Ok(vec![one(id, "api_key", json!({ "query": field("name") }))]),
        ("http", _, "bearer") => Ok(vec![one(id, "api_key", bearer)]),
        ("http", _, "basic") => {
            Ok(["user", "password"].map(|part| one(format!("{id}_{part}"), "basic", json!({ "basic": part }))).into())
        }
        ("oauth2" | "openIdConnect", _, _) => Ok(vec![one(id, "oauth2", bearer)]),
        (kind, place, scheme) => Err(format!("has no place in a manifest ({kind} {place} {scheme})")),
    }
}

fn add_scopes(credential: &mut Value, scopes: &Value) {
    if credential["type"] != "oauth2" {
        return;
    }
    let mut all = credential["scopes"].as_array().cloned().unwrap_or_default();
    for scope in scopes.as_array().into_iter().flatten() {
        if !all.contains(scope) {
            all.push(scope.clone());
        }
    }
    if !all.is_empty() {
        credential["scopes"] = all.into();
    }
}
