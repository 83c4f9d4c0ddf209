//! What the fuzzer holds the readers of key files to.

use super::{text, wrapped};

/// What is read as a key file is written the same way again: a ring has one spelling.
pub fn vault_key_file(content: &[u8]) {
    if let Ok(ring) = text::parse(content) {
        assert_eq!(text::render(&ring).as_bytes(), content);
    }
}

/// The same of a wrapped one.
pub fn vault_wrapped_key_file(content: &[u8]) {
    if let Ok((kind, file)) = wrapped::parse(content) {
        assert_eq!(file.render(&kind).as_bytes(), content);
    }
}
