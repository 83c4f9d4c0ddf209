//! What holds for all routes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{super::openapi, *};

/// Calls `each` with every value in a document.
fn walk(document: &Value, each: &mut impl FnMut(&Value)) {
    each(document);
    match document {
        Value::Array(items) => items.iter().for_each(|item| walk(item, each)),
        Value::Object(members) => members.values().for_each(|member| walk(member, each)),
        _ => {}
    }
}

#[test]
fn every_route_is_described() {
    let mut ids = BTreeSet::new();
    for route in all() {
        let what = format!("{} {}", route.method, route.path);
        assert!(route.summary.len() > 3, "{what} has a summary");
        assert!(ids.insert(route.id), "{what}: its operation has a name of its own");
    }
}

#[test]
fn what_the_document_refers_to_is_in_it_and_paths_name_their_variables() {
    let document = openapi::document(&all(), "gig_session");
    let mut references = 0;
    walk(&document, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads outside"));
            assert!(document.pointer(pointer).is_some(), "{reference}");
            references += 1;
        }
    });
    assert!(references > 50, "{references}");
    for (path, methods) in document["paths"].as_object().expect("an object") {
        let variables = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let variables: BTreeSet<&str> = variables.collect();
        for operation in methods.as_object().expect("an object").values() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named = parameters.filter(|of| of["in"] == "path").map(|of| of["name"].as_str().expect("text"));
            assert_eq!(named.collect::<BTreeSet<_>>(), variables, "{path}");
        }
    }
}
