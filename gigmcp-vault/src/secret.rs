//! Values that are wiped on drop and cannot be printed, copied or serialised by accident.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::exposure::{Reason, Witness};
use crate::memory::Protected;

/// Secret bytes in [protected memory](crate::memory_protection): wiped on drop, compared in constant time, readable only
/// inside [`expose`](Self::expose), and only with a reason.
///
/// There is no `Clone`, no `Display` and no serialisation; `Debug` shows neither content nor length.
///
/// ```compile_fail
/// let secret = gigmcp_vault::SecretBytes::from(vec![1, 2, 3]);
/// let copy = secret.clone();
/// ```
pub struct SecretBytes {
    bytes: Protected,
    witness: Option<Box<Witness>>,
}

impl SecretBytes {
    /// Moves `bytes` into protected memory and wipes the allocation they came in, whole.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let secret = Self::from_protected(Protected::copy_of(&bytes));
        bytes.zeroize();
        secret
    }

    /// Lends the bytes to `read`. The reason goes to the audit of the vault that opened the secret, if it has one. What
    /// `read` copies out is no longer wiped by this type.
    ///
    /// ```
    /// use gigmcp_vault::{Reason, SecretBytes};
    ///
    /// let secret = SecretBytes::from(b"hunter2".to_vec());
    /// let length = secret.expose(Reason::new("count its letters"), |bytes| bytes.len());
    /// assert_eq!(length, 7);
    /// ```
    pub fn expose<R>(&self, reason: Reason, read: impl FnOnce(&[u8]) -> R) -> R {
        if let Some(witness) = &self.witness {
            witness.tell(reason);
        }
        read(self.bytes.as_slice())
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.as_slice().len()
    }

    /// Whether the secret is zero bytes long.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.as_slice().is_empty()
    }

    /// Turns the bytes into text without copying them.
    ///
    /// # Errors
    /// [`NotUtf8`] if they are not UTF-8; they are wiped.
    pub fn into_text(self) -> Result<SecretString, NotUtf8> {
        match std::str::from_utf8(self.bytes.as_slice()) {
            Ok(_) => Ok(SecretString(self)),
            Err(_) => Err(NotUtf8),
        }
    }

    pub(crate) fn from_protected(bytes: Protected) -> Self {
        Self { bytes, witness: None }
    }

    pub(crate) fn witnessed(self, witness: Witness) -> Self {
        Self { witness: Some(Box::new(witness)), ..self }
    }

    /// For sealing and the like, which expose nothing.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self::new(std::mem::take(&mut *bytes))
    }
}

impl ConstantTimeEq for SecretBytes {
    /// Takes time that depends on the lengths, not on the contents.
    fn ct_eq(&self, other: &Self) -> Choice {
        self.as_slice().ct_eq(other.as_slice())
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

/// Secret text: [`SecretBytes`] that are known to be UTF-8.
///
/// ```compile_fail
/// let secret = gigmcp_vault::SecretString::from(String::from("hunter2"));
/// println!("{secret}");
/// ```
pub struct SecretString(SecretBytes);

impl SecretString {
    /// Moves `text` into protected memory and wipes the allocation it came in, whole.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretBytes::new(text.into_bytes()))
    }

    /// Lends the text to `read`, as [`SecretBytes::expose`].
    pub fn expose<R>(&self, reason: Reason, read: impl FnOnce(&str) -> R) -> R {
        self.0.expose(reason, |bytes| read(text_of(bytes)))
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the secret is zero bytes long.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Turns the text into bytes without copying it.
    #[must_use]
    pub fn into_bytes(self) -> SecretBytes {
        self.0
    }

    /// For what the crate itself does with a key or a passphrase.
    pub(crate) fn as_str(&self) -> &str {
        text_of(self.0.as_slice())
    }
}

fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("checked when the text was made")
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl ConstantTimeEq for SecretString {
    /// Takes time that depends on the lengths, not on the contents.
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SecretString {}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString(..)")
    }
}

/// The secret is not UTF-8 text. Says nothing about where or why, since that would describe the secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the secret is not UTF-8 text")]
pub struct NotUtf8;

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: Reason = Reason::new("a test compares it");

    #[test]
    fn debug_shows_neither_content_nor_length() {
        let bytes = SecretBytes::from(b"hunter2".to_vec());
        let text = SecretString::from(String::from("hunter2"));
        assert_eq!(format!("{bytes:?} {text:?}"), "SecretBytes(..) SecretString(..)");
    }

    #[test]
    fn equality_is_of_the_whole_content() {
        for (left, right, same) in
            [("", "", true), ("abc", "abc", true), ("abc", "abd", false), ("abc", "abcd", false), ("", "a", false)]
        {
            let [left, right] = [left, right].map(|text| SecretString::from(String::from(text)));
            assert_eq!(left == right, same);
            assert_eq!(left.into_bytes() == right.into_bytes(), same);
        }
    }

    #[test]
    fn text_and_bytes_turn_into_each_other_without_a_copy() {
        let text = SecretString::from(String::from("pässwörd"));
        let address = text.expose(REASON, str::as_ptr);
        let bytes = text.into_bytes();
        assert_eq!(bytes.expose(REASON, <[u8]>::as_ptr), address);
        let text = bytes.into_text().expect("it was text");
        text.expose(REASON, |text| {
            assert_eq!(text, "pässwörd");
            assert_eq!(text.as_ptr(), address);
        });
        assert_eq!(SecretBytes::from(vec![0xff]).into_text().err(), Some(NotUtf8));
    }
}
