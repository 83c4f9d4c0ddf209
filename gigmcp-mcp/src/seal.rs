//! Tokens that a client keeps for us and cannot read, make or change.

#[cfg(any(fuzzing, test))]
pub(crate) mod laws;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};

/// Seals small texts under a key that lives as long as this process: cursors and states of requests.
pub(crate) struct Sealer(XChaCha20Poly1305);

impl Sealer {
    /// The one of this process, for what outlives whoever has sealed it.
    pub(crate) fn of_process() -> &'static Self {
        static SEALER: std::sync::OnceLock<Sealer> = std::sync::OnceLock::new();
        SEALER.get_or_init(Self::new)
    }

    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the kernel gives random numbers");
        Self(XChaCha20Poly1305::new(&key.into()))
    }

    /// A token: 24 random bytes of nonce, then the sealed text, as base64. `context` says what it is and whose, and is
    /// bound in: a token of one kind, or of one client, does not open as that of another.
    pub(crate) fn seal(&self, context: &[&str], plain: &[u8]) -> String {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the kernel gives random numbers");
        let payload = Payload { msg: plain, aad: &bound(context) };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).expect("it is far shorter than the limit");
        BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// What was sealed in this context; nothing if any byte of it or of the context is another.
    pub(crate) fn open(&self, context: &[&str], token: &str) -> Option<Vec<u8>> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: &bound(context) };
        self.0.decrypt(&XNonce::from(*nonce), payload).ok()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

/// Each part with its length, so that no two lists of parts look the same.
fn bound(context: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in context {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}

const NONCE_BYTES: usize = 24;
/// Longer ones are not opened. A server's state of 64 KiB fits, which is sealed twice.
pub(crate) const MAX_TOKEN_BYTES: usize = 128 << 10;
/// What is told of a longer one.
pub(crate) const TOO_LONG: &str = "the server's state is too long";
/// What a client is told of a state that does not open.
pub(crate) const STATE: &str = "requestState is not one that was given out for this request, or was used before";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn a_token_opens_whole_and_in_its_own_context_only() {
        let sealer = Sealer::new();
        let token = sealer.seal(&["cursor", "tools"], b"7");
        assert_eq!(sealer.open(&["cursor", "tools"], &token).unwrap(), b"7");
        assert_ne!(token, sealer.seal(&["cursor", "tools"], b"7"));
        for context in [&["cursor"][..], &["cursor", "prompts"], &["cursortools"], &["curso", "rtools"], &[]] {
            assert_eq!(sealer.open(context, &token), None, "{context:?}");
        }
        assert_eq!(Sealer::new().open(&["cursor", "tools"], &token), None, "another key");
        for position in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(sealer.open(&["cursor", "tools"], &changed), None, "{position}");
        }
        for nonsense in ["", "A", "not base64!", &token[1..], &"A".repeat(200_000)] {
            assert_eq!(sealer.open(&["cursor", "tools"], nonsense), None);
        }
    }
}
