//! JSON bodies.

use serde_json::{Map, Value};

/// The object that a JSON body is. A name that begins with a slash is a pointer (RFC 6901) and makes the objects on its way:
/// `/parent/id` is `{"parent":{"id":...}}`.
#[derive(Clone, Debug, Default)]
pub(in crate::toolpack) struct JsonBody(Map<String, Value>);

/// Something else stands there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::toolpack) struct Occupied;

impl JsonBody {
    /// Adds a value under a name or pointer.
    ///
    /// # Errors
    /// [`Occupied`] if another value is in that place or on the way.
    pub(in crate::toolpack) fn add(&mut self, name: &str, value: Value) -> Result<(), Occupied> {
        let steps = steps(name);
        let (last, way) = steps.split_last().ok_or(Occupied)?;
        let mut map = &mut self.0;
        for step in way {
            let next = map.entry(step.clone()).or_insert_with(|| Value::Object(Map::new()));
            map = next.as_object_mut().ok_or(Occupied)?;
        }
        if map.contains_key(last) {
            return Err(Occupied);
        }
        map.insert(last.clone(), value);
        Ok(())
    }

    pub(in crate::toolpack) fn into_bytes(self) -> Vec<u8> {
        Value::Object(self.0).to_string().into_bytes()
    }
}

fn steps(name: &str) -> Vec<String> {
    match name.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect(),
        None => vec![name.into()],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_a_member_and_a_pointer_a_way() {
        let mut body = JsonBody::default();
        for (name, value, expected) in [
            ("title", json!("a\"b"), Ok(())),
            ("/parent/id", json!(1), Ok(())),
            ("/parent/kind", json!("page"), Ok(())),
            ("/a~1b/c~0d", json!(true), Ok(())),
            ("__proto__", json!({"x": 1}), Ok(())),
            ("title", json!("again"), Err(Occupied)),
            ("/parent/id", json!(2), Err(Occupied)),
            ("/title/x", json!(3), Err(Occupied)),
            ("parent", json!({}), Err(Occupied)),
        ] {
            assert_eq!(body.add(name, value), expected, "{name}");
        }
        let text = String::from_utf8(body.into_bytes()).expect("JSON is UTF-8");
        let expected = r#"{"title":"a\"b","parent":{"id":1,"kind":"page"},"a/b":{"c~d":true},"__proto__":{"x":1}}"#;
        assert_eq!(text, expected);
    }
}
