use std::fmt;

use zeroize::Zeroize;

/// The real value of a credential. Wiped when dropped, printed by nothing, read only where it is sent.
pub struct SecretString(Box<str>);

impl SecretString {
    /// Takes the text over.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The secret itself. Keep the borrow as short as the sending of it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Checks that the secret can stand in a header, alone and unchanged: 8 bytes to 8 KiB of visible ASCII.
    ///
    /// # Errors
    /// [`UnusableSecret`] says which rule is broken. A shorter secret would be found everywhere when answers are scrubbed.
    pub fn check(&self) -> Result<(), UnusableSecret> {
        if self.0.len() < MIN_SECRET_BYTES {
            return Err(UnusableSecret::TooShort);
        }
        if self.0.len() > MAX_SECRET_BYTES {
            return Err(UnusableSecret::TooLong);
        }
        if !self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UnusableSecret::NotVisibleAscii);
        }
        Ok(())
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self(text.into_boxed_str())
    }
}

impl Clone for SecretString {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString(_)")
    }
}

impl Drop for SecretString {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Why a secret cannot be injected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnusableSecret {
    /// Fewer than 8 bytes.
    #[error("the secret is shorter than 8 bytes, too short to be recognised in answers")]
    TooShort,
    /// More than 8 KiB, which no header takes, and for which every answer would be searched.
    #[error("the secret is longer than 8 KiB, too long for a header")]
    TooLong,
    /// A line break, NUL, blank or anything outside visible ASCII, which could start a second header.
    #[error("the secret holds something else than visible ASCII, such as a line break or a blank")]
    NotVisibleAscii,
}

const MIN_SECRET_BYTES: usize = 8;
const MAX_SECRET_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_ascii_is_usable() {
        for (case, text, expected) in [
            ("a key", "sk-live-0123456789", Ok(())),
            ("EGR-190 replacement syntax is literal", "sk-$1-{{x}}-\\0-key", Ok(())),
            ("EGR-190 CR LF", "sk-live\r\nX-Evil: 1", Err(UnusableSecret::NotVisibleAscii)),
            ("EGR-190 NUL", "sk-live-\0-12345", Err(UnusableSecret::NotVisibleAscii)),
            ("EGR-190 not ASCII", "sk-live-ключ", Err(UnusableSecret::NotVisibleAscii)),
            ("a blank at the end", "sk-live-012345 ", Err(UnusableSecret::NotVisibleAscii)),
            ("short", "1234567", Err(UnusableSecret::TooShort)),
            ("empty", "", Err(UnusableSecret::TooShort)),
        ] {
            assert_eq!(SecretString::new(text).check(), expected, "{case}");
        }
        for (length, expected) in [(8 << 10, Ok(())), ((8 << 10) + 1, Err(UnusableSecret::TooLong))] {
            assert_eq!(SecretString::new("k".repeat(length)).check(), expected, "{length} bytes");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", SecretString::new("sk-live-0123456789")), "SecretString(_)");
    }
}
