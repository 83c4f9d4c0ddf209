//! Names and values of a query or a form.

use std::fmt;

use gigmcp_registry::ArrayStyle;
use serde_json::{Map, Value};

use super::{DEFAULT_STYLE, joined, percent, percent_encoded, text};
use crate::toolpack::arguments::ArgumentProblem;

/// The pairs of a query or an `application/x-www-form-urlencoded` body, both parts percent-encoded. A blank is `%20`, which all
/// readers of both understand.
#[derive(Clone, Debug, Default)]
pub(in crate::toolpack) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Adds a value under a name: a list in its style, an object as `name[key]=value`.
    pub(in crate::toolpack) fn add(
        &mut self,
        name: &str,
        value: &Value,
        style: Option<ArrayStyle>,
    ) -> Result<(), ArgumentProblem> {
        let name = percent_encoded(name);
        match value {
            Value::Array(values) => self.list(&name, values, style.unwrap_or(DEFAULT_STYLE)),
            Value::Object(map) => self.object(&name, map),
            scalar => {
                self.0.push((name, percent_encoded(&text(scalar))));
                Ok(())
            }
        }
    }

    /// Adds a credential. What may stand in a query is written as it is: the proxy looks for a placeholder byte for byte.
    pub(in crate::toolpack) fn add_credential(&mut self, name: &str, credential: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$'()*,:@/?".contains(&byte);
        let value = if credential.bytes().all(plain) { credential.into() } else { percent_encoded(credential) };
        self.0.push((percent_encoded(name), value));
    }

    /// The pairs of a query that a server wrote.
    pub(in crate::toolpack) fn of_query(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Removes what is named so, in any case.
    pub(in crate::toolpack) fn remove(&mut self, name: &str) {
        let name = percent_encoded(name);
        self.0.retain(|(present, _)| !present.eq_ignore_ascii_case(&name));
    }

    /// Puts a value in place of all of its name.
    pub(in crate::toolpack) fn replace(&mut self, name: &str, value: &str) {
        let name = percent_encoded(name);
        self.0.retain(|(present, _)| *present != name);
        self.0.push((name, percent_encoded(value)));
    }

    pub(in crate::toolpack) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn list(&mut self, name: &str, values: &[Value], style: ArrayStyle) -> Result<(), ArgumentProblem> {
        if values.iter().any(|value| value.is_object() || value.is_array()) {
            return self.numbered(name, values);
        }
        match style {
            ArrayStyle::Comma => {
                // The commas themselves stay: an escaped one is part of an item for some.
                let items: Vec<_> = joined(values)?.split(',').map(percent_encoded).collect();
                self.0.push((name.into(), items.join(",")));
            }
            ArrayStyle::Brackets => {
                self.0.extend(values.iter().map(|value| (format!("{name}%5B%5D"), percent_encoded(&text(value)))));
            }
            _ => self.0.extend(values.iter().map(|value| (name.into(), percent_encoded(&text(value))))),
        }
        Ok(())
    }

    /// Items that are no scalars: `name[0][key]=value`.
    fn numbered(&mut self, name: &str, values: &[Value]) -> Result<(), ArgumentProblem> {
        values.iter().enumerate().try_for_each(|(index, value)| self.inner(&format!("{name}%5B{index}%5D"), value))
    }

    fn object(&mut self, name: &str, map: &Map<String, Value>) -> Result<(), ArgumentProblem> {
        map.iter().try_for_each(|(key, value)| {
            let plain = |char: char| !char.is_control() && !matches!(char, '[' | ']');
            if key.is_empty() || key.len() > 128 || !key.chars().all(plain) {
                return Err(ArgumentProblem::BracketInName);
            }
            let mut name = format!("{name}%5B");
            percent(key, &mut name);
            self.inner(&(name + "%5D"), value)
        })
    }

    fn inner(&mut self, name: &str, value: &Value) -> Result<(), ArgumentProblem> {
        match value {
            Value::Object(map) => self.object(name, map),
            Value::Array(values) => self.list(name, values, ArrayStyle::Brackets),
            scalar => {
                self.0.push((name.into(), percent_encoded(&text(scalar))));
                Ok(())
            }
        }
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { "" } else { "&" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_stays_in_its_field() {
        use ArrayStyle::{Brackets, Comma, Repeat};
        for (case, name, value, style, expected) in [
            ("plain", "q", json!("rust"), None, Ok("q=rust")),
            ("another field", "q", json!("a&admin=1"), None, Ok("q=a%26admin%3D1")),
            ("another one for some", "q", json!("a;b=1"), None, Ok("q=a%3Bb%3D1")),
            ("a fragment", "q", json!("a#b"), None, Ok("q=a%23b")),
            ("blank and plus", "q", json!("a b+c"), None, Ok("q=a%20b%2Bc")),
            ("lines", "q", json!("a\r\nb"), None, Ok("q=a%0D%0Ab")),
            ("a number", "n", json!(1.5), None, Ok("n=1.5")),
            ("true", "b", json!(true), None, Ok("b=true")),
            ("nothing", "q", json!(""), None, Ok("q=")),
            ("a strange name", "a&b", json!("c"), None, Ok("a%26b=c")),
            ("a list", "a", json!(["x", 2]), None, Ok("a=x&a=2")),
            ("a list, repeated", "a", json!(["x&y", "z"]), Some(Repeat), Ok("a=x%26y&a=z")),
            ("a list, brackets", "a", json!(["x", "y"]), Some(Brackets), Ok("a%5B%5D=x&a%5B%5D=y")),
            ("a list, commas", "a", json!(["x", "y z"]), Some(Comma), Ok("a=x,y%20z")),
            ("an item with a comma", "a", json!(["x,y"]), Some(Comma), Err(ArgumentProblem::CommaInItem)),
            ("no items", "a", json!([]), None, Ok("")),
            ("an object", "m", json!({"k": "v&w"}), None, Ok("m%5Bk%5D=v%26w")),
            (
                "a deep one",
                "m",
                json!({"a": {"b": [1, 2]}}),
                None,
                Ok("m%5Ba%5D%5Bb%5D%5B%5D=1&m%5Ba%5D%5Bb%5D%5B%5D=2"),
            ),
            ("a list of objects", "m", json!([{"k": 1}, {"k": 2}]), None, Ok("m%5B0%5D%5Bk%5D=1&m%5B1%5D%5Bk%5D=2")),
            ("a name that ends its own", "m", json!({"a][b": 1}), None, Err(ArgumentProblem::BracketInName)),
            ("a name without anything", "m", json!({"": 1}), None, Err(ArgumentProblem::BracketInName)),
            ("a name with a separator", "m", json!({"a&b=": 1}), None, Ok("m%5Ba%26b%3D%5D=1")),
        ] {
            let mut fields = Fields::default();
            let added = fields.add(name, &value, style).map(|()| fields.to_string());
            assert_eq!(added.as_deref(), expected.as_ref().copied(), "{case}");
        }
    }

    #[test]
    fn a_placeholder_is_written_as_the_proxy_looks_for_it() {
        for (credential, expected) in [("123:AB-c_d.e", "k=123:AB-c_d.e"), ("a&b#c d", "k=a%26b%23c%20d")] {
            let mut fields = Fields::default();
            fields.add_credential("k", credential);
            assert_eq!(fields.to_string(), expected);
        }
    }
}
