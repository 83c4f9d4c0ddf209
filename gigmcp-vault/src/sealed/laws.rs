//! What the fuzzer holds the reader of sealed secrets to.

use super::{MAX_SECRET_BYTES, OVERHEAD_BYTES, Sealed};

/// What is read is written the same way again, is as long as it says, and shows its key as it stands.
pub fn vault_sealed(bytes: &[u8]) {
    let Ok(sealed) = Sealed::from_bytes(bytes) else { return };
    assert_eq!(sealed.as_bytes(), bytes);
    assert_eq!(sealed.layout().write().as_bytes(), bytes);
    assert_eq!(sealed.layout().ciphertext.len() + OVERHEAD_BYTES, bytes.len());
    assert!(sealed.layout().ciphertext.len() <= MAX_SECRET_BYTES);
    assert_eq!(sealed.key_id().as_bytes(), &bytes[6..22]);
    assert_eq!(sealed.key_version().to_be_bytes(), bytes[22..26]);
}
