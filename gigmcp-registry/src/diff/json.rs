//! Comparing two JSON trees leaf by leaf.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Calls `found` with path, value before and value after wherever the two differ.
pub(super) fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Found<'_>) {
    if before == after {
        return;
    }
    // What is there on one side only is compared with nothing of its kind, so that its leaves are listed.
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => objects(path, before, after, found),
        (Some(Value::Object(before)), None) if !before.is_empty() => objects(path, before, &Map::new(), found),
        (None, Some(Value::Object(after))) if !after.is_empty() => objects(path, &Map::new(), after, found),
        (Some(Value::Array(before)), Some(Value::Array(after))) => arrays(path, before, after, found),
        (Some(Value::Array(before)), None) if !before.is_empty() => arrays(path, before, &[], found),
        (None, Some(Value::Array(after))) if !after.is_empty() => arrays(path, &[], after, found),
        _ => found(path, before, after),
    }
}

pub(super) type Found<'a> = dyn FnMut(&str, Option<&Value>, Option<&Value>) + 'a;

fn objects(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, found: &mut Found<'_>) {
    let new = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(new) {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        compare(&inner, before.get(key), after.get(key), found);
    }
}

fn arrays(path: &str, before: &[Value], after: &[Value], found: &mut Found<'_>) {
    let (Some(old), Some(new)) = (named(before), named(after)) else {
        return found(path, Some(&Value::from(before)), Some(&Value::from(after)));
    };
    let differ = old != new;
    let names = before.iter().chain(after.iter().filter(|item| name(item).is_some_and(|name| !old.contains_key(name))));
    for name in names.filter_map(name) {
        compare(&format!("{path}[{name}]"), old.get(name).copied(), new.get(name).copied(), found);
    }
    if !differ {
        found(path, Some(&Value::from(before)), Some(&Value::from(after))); // the order
    }
}

/// The items by their names, if each has one of its own.
fn named(items: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let named: BTreeMap<_, _> = items.iter().map(|item| Some((name(item)?, item))).collect::<Option<_>>()?;
    (named.len() == items.len()).then_some(named)
}

fn name(item: &Value) -> Option<&str> {
    match item {
        Value::String(text) => Some(text),
        Value::Object(fields) => fields.get("id").or(fields.get("name")).and_then(Value::as_str),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_that_differ_have_paths() {
        for (case, before, after, expected) in [
            ("the same", json!({"a": [1, {"b": null}]}), json!({"a": [1, {"b": null}]}), &[][..]),
            ("a leaf", json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), &["a.b 1 2"]),
            ("another kind", json!({"a": 1}), json!({"a": [1]}), &["a 1 [1]"]),
            ("more and less", json!({"a": 1}), json!({"b": 2}), &["a 1 -", "b - 2"]),
            ("an object more", json!({}), json!({"a": {"b": {"c": 1}}}), &["a.b.c - 1"]),
            ("an empty one", json!({}), json!({"a": {}}), &["a - {}"]),
            ("words of a list", json!({"a": ["x", "y"]}), json!({"a": ["z", "y"]}), &["a[x] \"x\" -", "a[z] - \"z\""]),
            ("their order", json!({"a": ["x", "y"]}), json!({"a": ["y", "x"]}), &["a [\"x\",\"y\"] [\"y\",\"x\"]"]),
            ("a word twice", json!({"a": ["x"]}), json!({"a": ["x", "x"]}), &["a [\"x\"] [\"x\",\"x\"]"]),
            (
                "items by name",
                json!({"a": [{"name": "x", "b": 1}, {"name": "y"}]}),
                json!({"a": [{"name": "w"}, {"name": "x", "b": 2}, {"name": "y"}]}),
                &["a[x].b 1 2", "a[w].name - \"w\""],
            ),
            ("items without names", json!({"a": [{"b": 1}]}), json!({"a": [{"b": 2}]}), &["a [{\"b\":1}] [{\"b\":2}]"]),
            ("numbers", json!({"a": [1, 2]}), json!({"a": [1]}), &["a [1,2] [1]"]),
        ] {
            let mut lines = Vec::new();
            compare("", Some(&before), Some(&after), &mut |path, before, after| {
                let text = |value: Option<&Value>| value.map_or("-".into(), ToString::to_string);
                lines.push(format!("{path} {} {}", text(before), text(after)));
            });
            assert_eq!(lines, expected, "{case}");
        }
    }
}
