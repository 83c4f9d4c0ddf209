//! What is said to a gateway, in memory that is wiped: there may be a credential in it.

use std::io::{self, Write};

use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

/// A body of JSON, whose memory is wiped when the last of its clones goes.
///
/// It is written once, into a buffer of its length: one that grows would leave what it held before.
pub(super) fn body(said: &impl Serialize) -> Bytes {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, said).expect("what is said is JSON");
    let mut text = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *text, said).expect("what is said is JSON");
    debug_assert_eq!((text.len(), text.capacity()), (length.0, length.0), "it never grew");
    Bytes::from_owner(text)
}

/// Counts what would be written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A credential.
#[derive(Serialize)]
pub(super) struct Value<'a> {
    pub(super) value: &'a str,
}

/// What a registry of images asks for.
#[derive(Serialize)]
pub(super) struct Login<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a str,
}

/// What whoever was invited has.
#[derive(Serialize)]
pub(super) struct Invited<'a> {
    pub(super) code: &'a str,
}

/// What they choose.
#[derive(Serialize)]
pub(super) struct Accepting<'a> {
    pub(super) code: &'a str,
    pub(super) password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_was_said_in_a_buffer_of_its_length() {
        for value in ["", "a-value", "\"\\\u{1}\u{e9}\n", &"x".repeat(20_000)] {
            let said = body(&Value { value });
            assert_eq!(said, serde_json::to_vec(&serde_json::json!({ "value": value })).expect("JSON"));
        }
    }
}
