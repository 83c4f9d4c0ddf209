//! What the server asks its client, in the words of the conformance suite.

use serde_json::{Value, json};

use crate::wire::on_one_line;

/// A request of the server.
#[derive(Debug)]
pub(crate) struct Question {
    /// Names it in `inputRequests`. In earlier revisions it is the id of the request, if `keyed`.
    pub(crate) key: &'static str,
    pub(crate) keyed: bool,
    pub(crate) method: &'static str,
    pub(crate) params: Value,
}

impl Question {
    pub(crate) fn elicit(key: &'static str, message: &str, requested_schema: Value) -> Self {
        let params = json!({ "message": message, "requestedSchema": requested_schema });
        Self { key, keyed: true, method: "elicitation/create", params }
    }

    /// A form with one field.
    pub(crate) fn field(key: &'static str, message: &str, name: &str, kind: &str) -> Self {
        let schema = json!({ "type": "object", "properties": { name: { "type": kind } }, "required": [name] });
        Self::elicit(key, message, schema)
    }

    pub(crate) fn sample(key: &'static str, prompt: &str, max_tokens: u32) -> Self {
        let message = json!({ "role": "user", "content": { "type": "text", "text": prompt } });
        let params = json!({ "messages": [message], "maxTokens": max_tokens });
        Self { key, keyed: true, method: "sampling/createMessage", params }
    }

    pub(crate) fn roots(key: &'static str) -> Self {
        Self { key, keyed: true, method: "roots/list", params: json!({}) }
    }

    /// The same under a number, as most servers count their requests.
    pub(crate) fn numbered(mut self) -> Self {
        self.keyed = false;
        self
    }

    /// What the client must have declared.
    pub(crate) fn capability(&self) -> &'static str {
        match self.method {
            "elicitation/create" => "elicitation",
            "sampling/createMessage" => "sampling",
            _ => "roots",
        }
    }

    /// Whether `answer` has the shape of a result of this method.
    pub(crate) fn fits(&self, answer: &Value) -> bool {
        match self.method {
            "elicitation/create" => {
                matches!(answer["action"].as_str(), Some("accept" | "decline" | "cancel"))
                    && answer.get("content").is_none_or(Value::is_object)
            }
            "sampling/createMessage" => answer["role"].is_string() && !answer["content"].is_null(),
            _ => answer["roots"].is_array(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({ "method": self.method, "params": self.params })
    }
}

/// The form of SEP-1034: a default for every primitive type.
pub(crate) fn defaults() -> Value {
    written(include_str!("catalogue/sep1034.json"))
}

/// The form of SEP-1330: five shapes of a choice.
pub(crate) fn choices() -> Value {
    written(include_str!("catalogue/sep1330.json"))
}

fn written(text: &str) -> Value {
    serde_json::from_str(&on_one_line(text)).expect("the file beside this one is JSON")
}
