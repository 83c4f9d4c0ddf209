//! The bytes of a sealed secret: one canonical layout, written and read here only. See `FORMAT.md`.

#[cfg(any(fuzzing, test))]
pub(crate) mod laws;

use std::fmt;

use crate::key::KeyId;
use crate::vault::OpenError;

/// The longest secret that can be sealed, in bytes (64 KiB; keys and tokens are far shorter).
pub const MAX_SECRET_BYTES: usize = 64 << 10;

/// A sealed secret, well-formed but not yet proven genuine: only [`Vault::open`](crate::Vault::open) does that.
///
/// Safe to store, copy and log: without the key it tells the length of the secret and which key sealed it.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Sealed(Box<[u8]>);

impl Sealed {
    /// Reads stored bytes. Exactly one layout is accepted: known suite, no flags, exact length.
    ///
    /// # Errors
    /// [`OpenError::Refused`] for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpenError> {
        Layout::read(bytes).ok_or(OpenError::Refused)?;
        Ok(Self(bytes.into()))
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Which key the data key is wrapped with, as the header claims.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.layout().key_id
    }

    /// The version of that key, as the header claims.
    #[must_use]
    pub fn key_version(&self) -> u32 {
        self.layout().key_version
    }

    /// 32 bytes that fix the data key, the nonce and the context. Rewrapping leaves them as they are, sealing the same
    /// secret once more does not: they name one sealing.
    #[must_use]
    pub fn commitment(&self) -> &[u8; 32] {
        self.layout().commitment
    }

    pub(crate) fn layout(&self) -> Layout<'_> {
        Layout::read(&self.0).expect("checked when it was made")
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("key_id", &self.key_id())
            .field("key_version", &self.key_version())
            .field("bytes", &self.0.len())
            .finish()
    }
}

impl TryFrom<&[u8]> for Sealed {
    type Error = OpenError;

    fn try_from(bytes: &[u8]) -> Result<Self, OpenError> {
        Self::from_bytes(bytes)
    }
}

/// The fields of a sealed secret, in the order in which they stand.
#[derive(Clone, Copy)]
pub(crate) struct Layout<'a> {
    pub(crate) key_id: KeyId,
    pub(crate) key_version: u32,
    pub(crate) wrap_nonce: &'a [u8; 24],
    pub(crate) wrapped_key: &'a [u8; 48],
    pub(crate) salt: &'a [u8; 32],
    pub(crate) commitment: &'a [u8; 32],
    pub(crate) nonce: &'a [u8; 24],
    pub(crate) ciphertext: &'a [u8],
    pub(crate) tag: &'a [u8; 16],
}

impl<'a> Layout<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&PREFIX)?;
        let (key_id, rest) = rest.split_first_chunk()?;
        let (key_version, rest) = rest.split_first_chunk()?;
        let (wrap_nonce, rest) = rest.split_first_chunk()?;
        let (wrapped_key, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (commitment, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (ciphertext, tag) = rest.split_last_chunk()?;
        (ciphertext.len() == length && length <= MAX_SECRET_BYTES).then_some(Self {
            key_id: KeyId::from_bytes(*key_id),
            key_version: u32::from_be_bytes(*key_version),
            wrap_nonce,
            wrapped_key,
            salt,
            commitment,
            nonce,
            ciphertext,
            tag,
        })
    }

    /// # Panics
    /// If the ciphertext is longer than [`MAX_SECRET_BYTES`].
    pub(crate) fn write(&self) -> Sealed {
        assert!(self.ciphertext.len() <= MAX_SECRET_BYTES, "the vault checked the length");
        let length = u32::try_from(self.ciphertext.len()).expect("checked above");
        let mut bytes = Vec::with_capacity(OVERHEAD_BYTES + self.ciphertext.len());
        bytes.extend_from_slice(&PREFIX);
        bytes.extend_from_slice(self.key_id.as_bytes());
        bytes.extend_from_slice(&self.key_version.to_be_bytes());
        bytes.extend_from_slice(self.wrap_nonce);
        bytes.extend_from_slice(self.wrapped_key);
        bytes.extend_from_slice(self.salt);
        bytes.extend_from_slice(self.commitment);
        bytes.extend_from_slice(self.nonce);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(self.ciphertext);
        bytes.extend_from_slice(self.tag);
        Sealed(bytes.into())
    }
}

/// `magic ‖ suite ‖ flags`: the format, XChaCha20-Poly1305 with HKDF-SHA-512, and no flags. Also the start of every
/// hashed or authenticated string.
pub(crate) const PREFIX: [u8; 6] = *b"GMV1\x01\x00";

/// What sealing adds to the length of the secret.
pub(crate) const OVERHEAD_BYTES: usize = 6 + 16 + 4 + 24 + 48 + 32 + 32 + 24 + 4 + 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn example(ciphertext: &[u8]) -> Sealed {
        Layout {
            key_id: KeyId::from_bytes([1; 16]),
            key_version: 2,
            wrap_nonce: &[3; 24],
            wrapped_key: &[4; 48],
            salt: &[5; 32],
            commitment: &[6; 32],
            nonce: &[7; 24],
            ciphertext,
            tag: &[8; 16],
        }
        .write()
    }

    #[test]
    fn what_is_written_reads_back_and_has_206_bytes_more() {
        for length in [0, 1, 40, MAX_SECRET_BYTES] {
            let sealed = example(&vec![9; length]);
            assert_eq!(sealed.as_bytes().len(), length + 206);
            assert_eq!(Sealed::from_bytes(sealed.as_bytes()), Ok(sealed.clone()));
            assert_eq!((sealed.key_id(), sealed.key_version()), (KeyId::from_bytes([1; 16]), 2));
            assert_eq!(sealed.layout().ciphertext.len(), length);
        }
    }

    #[test]
    fn other_layouts_are_refused() {
        let good = example(b"body").as_bytes().to_vec();
        let edited = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            bytes
        };
        for (case, bytes) in [
            ("empty", Vec::new()),
            ("another magic", edited(3, b'2')),
            ("unknown suite", edited(4, 2)),
            ("a flag", edited(5, 1)),
            ("length too small", edited(189, 3)),
            ("length too large", edited(189, 5)),
            ("length huge", edited(186, 0xff)),
            ("a byte more", [good.as_slice(), b"x"].concat()),
            ("header only", good[..190].to_vec()),
        ] {
            assert_eq!(Sealed::from_bytes(&bytes), Err(OpenError::Refused), "{case}");
        }
        let mut long = example(&vec![9; MAX_SECRET_BYTES]).as_bytes().to_vec();
        long.push(0);
        long[186..190].copy_from_slice(&(MAX_SECRET_BYTES as u32 + 1).to_be_bytes());
        assert_eq!(Sealed::from_bytes(&long), Err(OpenError::Refused), "longer than a secret may be");
        assert!(Sealed::from_bytes(&good).is_ok());
    }

    #[test]
    fn every_truncation_is_refused() {
        let good = example(b"body");
        for length in 0..good.as_bytes().len() {
            assert_eq!(Sealed::from_bytes(&good.as_bytes()[..length]), Err(OpenError::Refused), "{length}");
        }
    }
}
