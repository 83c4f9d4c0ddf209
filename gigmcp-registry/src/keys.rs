//! Keys that sign an index, and the set of them that is trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use ed25519_dalek::{Signer, VerifyingKey};

use crate::digest::{Digest, lower_hex};
use crate::signatures::Signature;
use crate::threshold::Untrusted;

/// Names a public key: the SHA-256 of its 32 bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 32]);

impl FromStr for KeyId {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        lower_hex(text).map(Self).ok_or(InvalidKey::Hex)
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

/// An Ed25519 public key, written as 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key's name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(*Digest::of(self.0.as_bytes()).as_bytes())
    }

    /// Strict verification: no small-order points, no second encoding of a signature (RFC 8032, section 5.1.7).
    pub(crate) fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.bytes);
        self.0.verify_strict(message, &signature).is_ok()
    }

    /// A signature without a label that says of what, as the original system made them.
    pub(crate) fn check_bare(&self, message: &[u8], signature: Option<&[u8; 64]>) -> Result<(), Untrusted> {
        let key_id = self.id();
        let right = signature.is_some_and(|bytes| self.verifies(message, &Signature { key_id, bytes: *bytes }));
        right.then_some(()).ok_or(Untrusted::WrongSignature { key: key_id })
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bytes: [u8; 32] = lower_hex(text).ok_or(InvalidKey::Hex)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidKey::Point)?;
        if key.is_weak() || !is_reduced(&bytes) {
            return Err(InvalidKey::Point);
        }
        Ok(Self(key))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.as_bytes()))
    }
}

/// An Ed25519 private key; wiped on drop, not printable.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key with this seed: 32 bytes from a cryptographic random generator.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The key to publish.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs the bytes of an index, exactly as they will be published.
    #[must_use]
    pub fn sign_index(&self, index: &[u8]) -> Signature {
        self.sign(&crate::verify::signed_message(Digest::of(index)))
    }

    /// Signs the bytes of a root, exactly as they will be published.
    #[must_use]
    pub fn sign_root(&self, root: &[u8]) -> Signature {
        self.sign(&crate::root::signed_message(Digest::of(root)))
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature { key_id: self.public_key().id(), bytes: self.0.sign(message).to_bytes() }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.public_key().id())
    }
}

/// The keys that are trusted to sign, and how many of them must agree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustRoot {
    keys: BTreeMap<KeyId, PublicKey>,
    threshold: NonZeroUsize,
}

impl TrustRoot {
    /// Trusts what at least `threshold` of `keys` have signed.
    ///
    /// # Errors
    /// [`InvalidTrustRoot`] if a key is given twice, or if there are fewer keys than the threshold.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>, threshold: NonZeroUsize) -> Result<Self, InvalidTrustRoot> {
        let mut trusted = BTreeMap::new();
        for key in keys {
            if trusted.insert(key.id(), key).is_some() {
                return Err(InvalidTrustRoot::Repeated { key: key.id() });
            }
        }
        if trusted.len() < threshold.get() {
            return Err(InvalidTrustRoot::TooFew { keys: trusted.len(), threshold: threshold.get() });
        }
        Ok(Self { keys: trusted, threshold })
    }

    /// How many keys must have signed.
    #[must_use]
    pub fn threshold(&self) -> NonZeroUsize {
        self.threshold
    }

    /// The keys, in the order of their ids.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }

    pub(crate) fn ids(&self) -> BTreeSet<KeyId> {
        self.keys.keys().copied().collect()
    }

    pub(crate) fn key(&self, id: &KeyId) -> Option<&PublicKey> {
        self.keys.get(id)
    }
}

/// Whether the number in a point's encoding is below 2^255 - 19. Others stand for a point that has an encoding below, and
/// would be the same key under a second id.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = bytes;
    *first < 0xed || last & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

/// The text is not a key or its id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// Not 64 lower-case hex digits.
    #[error("a key is 64 lower-case hex digits")]
    Hex,
    /// Not a point of the curve, a second spelling of one, or one for which signatures mean nothing.
    #[error("the digits are not a usable Ed25519 public key")]
    Point,
}

/// Why a set of keys is not a trust root.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTrustRoot {
    /// A key would count twice.
    #[error("key {key} is given twice")]
    Repeated {
        /// The key.
        key: KeyId,
    },
    /// The threshold can never be met.
    #[error("{threshold} of {keys} keys can never sign")]
    TooFew {
        /// How many keys there are.
        keys: usize,
        /// How many must sign.
        threshold: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> PublicKey {
        SigningKey::from_seed(&[seed; 32]).public_key()
    }

    #[test]
    fn a_trust_root_has_distinct_keys_and_a_threshold_they_can_meet() {
        let root = |seeds: &[u8], threshold| {
            TrustRoot::new(seeds.iter().map(|seed| key(*seed)), NonZeroUsize::new(threshold).expect("not zero"))
                .map(|root| root.threshold().get())
        };
        for (case, seeds, threshold, expected) in [
            ("one", &[1][..], 1, Ok(1)),
            ("two of three", &[1, 2, 3], 2, Ok(2)),
            ("none", &[], 1, Err(InvalidTrustRoot::TooFew { keys: 0, threshold: 1 })),
            ("two of one", &[1], 2, Err(InvalidTrustRoot::TooFew { keys: 1, threshold: 2 })),
            ("one given twice", &[1, 1], 2, Err(InvalidTrustRoot::Repeated { key: key(1).id() })),
        ] {
            assert_eq!(root(seeds, threshold), expected, "{case}");
        }
    }

    #[test]
    fn public_keys_have_one_spelling_and_are_usable() {
        let good = key(1).to_string();
        assert_eq!(good.parse(), Ok(key(1)));
        assert_eq!(good.to_uppercase().parse::<PublicKey>(), Err(InvalidKey::Hex));
        assert_eq!(good[2..].parse::<PublicKey>(), Err(InvalidKey::Hex));
        // The neutral element and a point of order 4: everybody can sign for them.
        for weak in [format!("01{}", "00".repeat(31)), "00".repeat(32)] {
            assert_eq!(weak.parse::<PublicKey>(), Err(InvalidKey::Point), "{weak}");
        }
        // The points 3 and 4 above the neutral element's y, and their encodings with the prime added.
        for (y, reduced) in [("03", true), ("04", true), ("f0", false), ("f1", false)] {
            let rest = if reduced { "00".repeat(31) } else { format!("{}7f", "ff".repeat(30)) };
            let expected = if reduced { None } else { Some(InvalidKey::Point) };
            assert_eq!(format!("{y}{rest}").parse::<PublicKey>().err(), expected, "{y}");
        }
        let no_point = format!("02{}", "00".repeat(31));
        assert_eq!(no_point.parse::<PublicKey>(), Err(InvalidKey::Point));
    }

    #[test]
    fn a_signing_key_does_not_print() {
        let signer = SigningKey::from_seed(&[0xab; 32]);
        assert_eq!(format!("{signer:?}"), format!("SigningKey({:?})", signer.public_key().id()));
    }
}
