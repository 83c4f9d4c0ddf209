//! The key-encryption keys: one that seals, and older ones that still open.

use std::collections::HashSet;

use crate::key::{Key, KeyId, WrappingKey};
use crate::secret::SecretBytes;

/// One active key, which seals, and any number of retired keys, which only open.
///
/// Keys are ordered by version; the active one is the newest. Keys below the minimum version are kept but not used,
/// so that after a rotation nothing sealed under an old key opens any more.
#[derive(Debug)]
pub struct KeyRing {
    /// Newest first, never empty.
    keys: Vec<WrappingKey>,
    minimum_version: u32,
}

impl KeyRing {
    /// A ring with one new random key of version 1.
    ///
    /// # Errors
    /// If the kernel gives no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        Ok(Self { keys: vec![WrappingKey::random(1)?], minimum_version: 1 })
    }

    /// A ring with one key that is kept elsewhere. `key` must be 32 bytes from a cryptographic random generator.
    ///
    /// # Errors
    /// [`InvalidKeyRing`] if the key has another length or the version is 0.
    pub fn from_key(id: KeyId, version: u32, key: &SecretBytes) -> Result<Self, InvalidKeyRing> {
        let bytes = key.as_slice();
        let key = bytes.try_into().map_err(|_| InvalidKeyRing::KeyLength { length: bytes.len() })?;
        let key = Key::copy_of(key);
        Self::from_keys(vec![WrappingKey { id, version, key }], version)
    }

    /// Adds a new random active key; the one active until now retires. Save the ring before sealing with it.
    ///
    /// # Errors
    /// If the kernel gives no random bytes; the ring is then unchanged.
    ///
    /// # Panics
    /// After 2³² rotations.
    pub fn rotate(&mut self) -> Result<(), getrandom::Error> {
        let version = self.active().version.checked_add(1).expect("nobody rotates four billion times");
        self.keys.insert(0, WrappingKey::random(version)?);
        Ok(())
    }

    /// Refuses from now on everything sealed under a key older than `version`. The minimum never goes down.
    ///
    /// # Errors
    /// [`InvalidKeyRing::MinimumVersion`] if that would refuse the active key or lower the minimum.
    pub fn raise_minimum_version(&mut self, version: u32) -> Result<(), InvalidKeyRing> {
        if version < self.minimum_version || version > self.active().version {
            return Err(InvalidKeyRing::MinimumVersion);
        }
        self.minimum_version = version;
        Ok(())
    }

    /// Forgets all keys but the active one: what they sealed does not open any more, and not ever without a copy of them.
    /// Returns how many there were.
    pub fn forget_retired(&mut self) -> usize {
        let retired = self.keys.split_off(1).len();
        self.minimum_version = self.active().version;
        retired
    }

    /// The id and version of each key that may still open, the active one first.
    pub fn ids(&self) -> impl Iterator<Item = (KeyId, u32)> {
        let allowed = self.keys.iter().filter(|key| key.version >= self.minimum_version);
        allowed.map(|key| (key.id, key.version))
    }

    /// Whether the ring has this key, and it may still open.
    #[must_use]
    pub fn holds(&self, id: KeyId, version: u32) -> bool {
        self.find(id, version).is_some()
    }

    /// Which key seals now.
    #[must_use]
    pub fn active_id(&self) -> KeyId {
        self.active().id
    }

    /// The version of the key that seals now.
    #[must_use]
    pub fn active_version(&self) -> u32 {
        self.active().version
    }

    /// The oldest version that still opens.
    #[must_use]
    pub fn minimum_version(&self) -> u32 {
        self.minimum_version
    }

    /// A ring with this one key, version 1.
    pub(crate) fn of(id: KeyId, key: Key) -> Self {
        Self { keys: vec![WrappingKey { id, version: 1, key }], minimum_version: 1 }
    }

    /// `keys` newest first.
    pub(crate) fn from_keys(keys: Vec<WrappingKey>, minimum_version: u32) -> Result<Self, InvalidKeyRing> {
        let mut ids = HashSet::new();
        let newest = keys.first().ok_or(InvalidKeyRing::NoKey)?.version;
        if minimum_version == 0 || minimum_version > newest {
            return Err(InvalidKeyRing::MinimumVersion);
        }
        if keys.iter().any(|key| key.version == 0) || !keys.is_sorted_by(|newer, older| newer.version > older.version) {
            return Err(InvalidKeyRing::Order);
        }
        if !keys.iter().all(|key| ids.insert(key.id)) {
            return Err(InvalidKeyRing::RepeatedId);
        }
        Ok(Self { keys, minimum_version })
    }

    pub(crate) fn active(&self) -> &WrappingKey {
        &self.keys[0]
    }

    pub(crate) fn keys(&self) -> &[WrappingKey] {
        &self.keys
    }

    /// The key with this id and version, if it may still open.
    pub(crate) fn find(&self, id: KeyId, version: u32) -> Option<&WrappingKey> {
        self.keys.iter().find(|key| key.id == id && key.version == version && version >= self.minimum_version)
    }
}

/// Why a set of keys is not a key ring.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKeyRing {
    /// There is no active key.
    #[error("there is no active key")]
    NoKey,
    /// A key is not 32 bytes long.
    #[error("a key has 32 bytes, this one has {length}")]
    KeyLength {
        /// Length of the refused key in bytes.
        length: usize,
    },
    /// Versions start at 1, the active key has the highest, no two are equal.
    #[error("key versions must start at 1 and fall from the active key to the oldest")]
    Order,
    /// Two keys have one id.
    #[error("two keys have the same id")]
    RepeatedId,
    /// The minimum version is 0, above the active key's, or lower than it was.
    #[error("the minimum version must be between the present one and the active key's")]
    MinimumVersion,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[(u8, u32)], minimum_version: u32) -> Result<KeyRing, InvalidKeyRing> {
        let keys = keys.iter().map(|&(id, version)| WrappingKey {
            id: KeyId::from_bytes([id; 16]),
            version,
            key: Key::random().expect("random bytes"),
        });
        KeyRing::from_keys(keys.collect(), minimum_version)
    }

    #[test]
    fn only_ordered_distinct_keys_are_a_ring() {
        for (case, keys, minimum, expected) in [
            ("one key", &[(1, 1)][..], 1, None),
            ("two keys", &[(2, 5), (1, 3)], 4, None),
            ("none", &[], 1, Some(InvalidKeyRing::NoKey)),
            ("version 0", &[(1, 0)], 0, Some(InvalidKeyRing::MinimumVersion)),
            ("retired version 0", &[(2, 1), (1, 0)], 1, Some(InvalidKeyRing::Order)),
            ("oldest first", &[(1, 1), (2, 2)], 1, Some(InvalidKeyRing::Order)),
            ("one version twice", &[(2, 1), (1, 1)], 1, Some(InvalidKeyRing::Order)),
            ("one id twice", &[(1, 2), (1, 1)], 1, Some(InvalidKeyRing::RepeatedId)),
            ("minimum above all", &[(1, 1)], 2, Some(InvalidKeyRing::MinimumVersion)),
        ] {
            assert_eq!(ring(keys, minimum).err(), expected, "{case}");
        }
    }

    #[test]
    fn keys_below_the_minimum_are_not_found() {
        let mut ring = ring(&[(2, 2), (1, 1)], 1).expect("valid");
        let old = KeyId::from_bytes([1; 16]);
        assert!(ring.find(old, 1).is_some());
        assert!(ring.find(old, 2).is_none(), "the id of one key with the version of another");
        assert_eq!(ring.raise_minimum_version(3), Err(InvalidKeyRing::MinimumVersion));
        assert_eq!(ring.raise_minimum_version(2), Ok(()));
        assert_eq!(ring.raise_minimum_version(1), Err(InvalidKeyRing::MinimumVersion));
        assert!(ring.find(old, 1).is_none());
        assert!(ring.find(KeyId::from_bytes([2; 16]), 2).is_some());
    }

    #[test]
    fn forgotten_keys_are_gone() {
        let mut ring = ring(&[(3, 7), (2, 2), (1, 1)], 2).expect("valid");
        let [new, old, below] = [(3, 7), (2, 2), (1, 1)].map(|(id, version)| (KeyId::from_bytes([id; 16]), version));
        assert_eq!(ring.ids().collect::<Vec<_>>(), [new, old]);
        assert!(ring.holds(old.0, old.1) && !ring.holds(below.0, below.1) && !ring.holds(old.0, new.1));
        assert_eq!((ring.forget_retired(), ring.forget_retired()), (2, 0));
        assert_eq!(ring.ids().collect::<Vec<_>>(), [new]);
        assert_eq!((ring.minimum_version(), ring.active_id()), (7, new.0));
    }

    #[test]
    fn a_key_has_32_bytes() {
        let id = KeyId::from_bytes([1; 16]);
        for (length, expected) in [
            (31, Some(InvalidKeyRing::KeyLength { length: 31 })),
            (32, None),
            (33, Some(InvalidKeyRing::KeyLength { length: 33 })),
        ] {
            let key = SecretBytes::from(vec![7; length]);
            assert_eq!(KeyRing::from_key(id, 1, &key).err(), expected, "{length}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let ring = KeyRing::from_key(KeyId::from_bytes([1; 16]), 1, &SecretBytes::from(vec![0xab; 32])).expect("valid");
        let shown = format!("{ring:?}").to_lowercase();
        assert!(shown.contains("minimum_version: 1"));
        assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
    }
}
