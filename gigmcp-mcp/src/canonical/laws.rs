//! What holds for every canonical text.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a broken law")]

use serde_json::{Value, value::RawValue};

use super::canonical;

/// Of any JSON text: the canonical one is JSON, its own canonical text, and the same value to a reader.
pub fn mcp_canonical(input: &[u8]) {
    let Ok(raw) = serde_json::from_slice::<&RawValue>(input) else { return };
    let text = canonical(raw);
    let again = RawValue::from_string(text.to_string()).expect("a canonical text is JSON");
    assert_eq!(canonical(&again), text, "once is enough");
    // What a reader of a value refuses, such as a number that is too large, has no value to compare.
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value, "the same value");
    }
}
