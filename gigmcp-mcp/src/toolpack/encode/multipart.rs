//! `multipart/form-data` bodies (RFC 7578).

use gigmcp_registry::{ArrayStyle, Part};
use serde_json::Value;

use super::{DEFAULT_STYLE, joined, text};
use crate::toolpack::arguments::ArgumentProblem;

/// A body in parts. What separates them is 128 random bits, drawn after the values are known: no value can hold it.
#[derive(Clone, Debug)]
pub(in crate::toolpack) struct Multipart {
    boundary: String,
    body: Vec<u8>,
}

impl Multipart {
    pub(in crate::toolpack) fn new() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the kernel gives random numbers");
        Self { boundary: format!("gigmcp-{:032x}", u128::from_ne_bytes(bytes)), body: Vec::new() }
    }

    /// Adds a value: a list in its style, an object as JSON, a file with its name and type.
    pub(in crate::toolpack) fn add(
        &mut self,
        name: &str,
        value: &Value,
        style: Option<ArrayStyle>,
        file: Option<&Part>,
    ) -> Result<(), ArgumentProblem> {
        match (value, style.unwrap_or(DEFAULT_STYLE)) {
            (Value::Array(values), ArrayStyle::Comma) => self.part(name, file, None, &joined(values)?),
            (Value::Array(values), style) => {
                let suffix = if style == ArrayStyle::Brackets { "[]" } else { "" };
                values.iter().for_each(|value| self.value(&format!("{name}{suffix}"), file, value));
            }
            (value, _) => self.value(name, file, value),
        }
        Ok(())
    }

    pub(in crate::toolpack) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    pub(in crate::toolpack) fn into_bytes(mut self) -> Vec<u8> {
        self.body.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        self.body
    }

    fn value(&mut self, name: &str, file: Option<&Part>, value: &Value) {
        let json = (value.is_object() || value.is_array()).then_some("application/json");
        self.part(name, file, json, &text(value));
    }

    fn part(&mut self, name: &str, file: Option<&Part>, media_type: Option<&str>, text: &str) {
        let mut head = format!("--{}\r\nContent-Disposition: form-data; name=\"{}\"", self.boundary, quoted(name));
        if let Some(file) = file {
            head.push_str(&format!("; filename=\"{}\"", quoted(&file.file_name)));
        }
        if let Some(media_type) = file.and_then(|file| file.content_type.as_deref()).or(media_type) {
            head.push_str("\r\nContent-Type: ");
            head.push_str(media_type);
        }
        head.push_str("\r\n\r\n");
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(text.as_bytes());
        self.body.extend_from_slice(b"\r\n");
    }
}

/// A name as browsers write it: what would end it or its line is escaped.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(add: impl FnOnce(&mut Multipart)) -> String {
        let mut body = Multipart::new();
        add(&mut body);
        let boundary = body.boundary.clone();
        String::from_utf8(body.into_bytes()).unwrap().replace(&boundary, "B")
    }

    #[test]
    fn a_value_stays_in_its_part() {
        let part = Part { file_name: "a.md".into(), content_type: Some("text/markdown".into()) };
        let text = written(|body| {
            body.add("title", &json!("a\r\n--B--\r\nb"), None, None).unwrap();
            body.add("file", &json!("# x"), None, Some(&part)).unwrap();
            body.add("tags", &json!(["x", "y"]), Some(ArrayStyle::Brackets), None).unwrap();
            body.add("meta", &json!({"k": 1}), None, None).unwrap();
        });
        let expected = "--B\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\na\r\n--B--\r\nb\r\n\
            --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.md\"\r\nContent-Type: text/markdown\r\n\r\n# x\r\n\
            --B\r\nContent-Disposition: form-data; name=\"tags[]\"\r\n\r\nx\r\n\
            --B\r\nContent-Disposition: form-data; name=\"tags[]\"\r\n\r\ny\r\n\
            --B\r\nContent-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json\r\n\r\n{\"k\":1}\r\n--B--\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_name_cannot_end_itself() {
        let text = written(|body| body.add("a\"; filename=\"x\r\nb", &json!("v"), None, None).unwrap());
        assert!(text.contains("name=\"a%22; filename=%22x%0D%0Ab\"\r\n"), "{text}");
    }

    #[test]
    fn no_two_boundaries_are_the_same() {
        let (one, two) = (Multipart::new(), Multipart::new());
        assert_ne!(one.boundary, two.boundary);
        assert_eq!(one.boundary.len(), "gigmcp-".len() + 32);
    }
}
