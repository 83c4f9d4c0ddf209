//! 32-byte keys: the data key of one secret, and the key-encryption keys that wrap data keys.

use std::fmt;

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use subtle::ConstantTimeEq;

use crate::memory::Protected;

/// Names a key-encryption key: 16 random bytes, written as 32 lower-case hex digits. Not secret.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// 32 secret bytes at one place in protected memory: moving the owner leaves no copy behind, dropping it wipes them.
pub(crate) struct Key(Protected);

impl Key {
    /// Lets `fill` write the key where it will stay.
    pub(crate) fn fill<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self(Protected::zeroed(32));
        fill(key.0.as_mut_slice().try_into().expect("32 bytes were asked for"))?;
        Ok(key)
    }

    pub(crate) fn copy_of(bytes: &[u8; 32]) -> Self {
        Self(Protected::copy_of(bytes))
    }

    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        Self::fill(|key| getrandom::fill(key))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_slice().try_into().expect("a key has 32 bytes")
    }

    pub(crate) fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.as_bytes().into())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

/// A key-encryption key with its name and its place in the order of keys.
pub(crate) struct WrappingKey {
    pub(crate) id: KeyId,
    pub(crate) version: u32,
    pub(crate) key: Key,
}

impl WrappingKey {
    pub(crate) fn random(version: u32) -> Result<Self, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(Self { id: KeyId(id), version, key: Key::random()? })
    }

    /// The 32 bytes of `data_key`, encrypted, and the 16 bytes of the tag.
    pub(crate) fn wrap(&self, nonce: &[u8; 24], associated_data: &[u8], data_key: &Key) -> [u8; 48] {
        let mut wrapped = [0; 48];
        let (body, tag) = wrapped.split_at_mut(32);
        let in_out = InOutBuf::new(data_key.as_bytes(), body).expect("both are 32 bytes");
        let computed = self
            .key
            .cipher()
            .encrypt_inout_detached(&XNonce::from(*nonce), associated_data, in_out)
            .expect("32 bytes are not too long");
        tag.copy_from_slice(&computed);
        wrapped
    }

    /// The data key, if this key wrapped it with this nonce and associated data.
    pub(crate) fn unwrap(&self, nonce: &[u8; 24], associated_data: &[u8], wrapped: &[u8; 48]) -> Option<Key> {
        let (body, tag) = wrapped.split_last_chunk::<16>().expect("48 is more than 16");
        Key::fill(|key| {
            let in_out = InOutBuf::new(body, key.as_mut_slice()).expect("both are 32 bytes");
            self.key.cipher().decrypt_inout_detached(&XNonce::from(*nonce), associated_data, in_out, &Tag::from(*tag))
        })
        .ok()
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappingKey").field("id", &self.id).field("version", &self.version).finish_non_exhaustive()
    }
}
