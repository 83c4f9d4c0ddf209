//! Values that are wiped on drop and cannot be printed, copied or serialised by accident.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// Secret bytes: wiped on drop, compared in constant time, readable only inside [`expose`](Self::expose).
///
/// There is no `Clone`, no `Display` and no serialisation; `Debug` shows neither content nor length.
///
/// ```compile_fail
/// let secret = gigmcp_vault::SecretBytes::from(vec![1, 2, 3]);
/// let copy = secret.clone();
/// ```
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes ownership of `bytes`; the allocation is kept, not copied, and wiped whole on drop.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Lends the bytes to `read`. What `read` copies out is no longer wiped by this type.
    pub fn expose<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        read(&self.0)
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

    /// Turns the bytes into text without copying them.
    ///
    /// # Errors
    /// [`NotUtf8`] if they are not UTF-8; they are wiped.
    pub fn into_text(mut self) -> Result<SecretString, NotUtf8> {
        String::from_utf8(std::mem::take(&mut *self.0)).map(SecretString::new).map_err(|refused| {
            drop(Zeroizing::new(refused.into_bytes()));
            NotUtf8
        })
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl ConstantTimeEq for SecretBytes {
    /// Takes time that depends on the lengths, not on the contents.
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.as_slice().ct_eq(other.0.as_slice())
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
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Takes ownership of `text`; the allocation is kept, not copied, and wiped whole on drop.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Lends the text to `read`. What `read` copies out is no longer wiped by this type.
    pub fn expose<R>(&self, read: impl FnOnce(&str) -> R) -> R {
        read(&self.0)
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
    pub fn into_bytes(mut self) -> SecretBytes {
        SecretBytes::new(std::mem::take(&mut *self.0).into_bytes())
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl ConstantTimeEq for SecretString {
    /// Takes time that depends on the lengths, not on the contents.
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.as_bytes().ct_eq(other.0.as_bytes())
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
        let address = text.expose(str::as_ptr);
        let bytes = text.into_bytes();
        assert_eq!(bytes.expose(<[u8]>::as_ptr), address);
        let text = bytes.into_text().expect("it was text");
        text.expose(|text| {
            assert_eq!(text, "pässwörd");
            assert_eq!(text.as_ptr(), address);
        });
        assert_eq!(SecretBytes::from(vec![0xff]).into_text().err(), Some(NotUtf8));
    }
}
