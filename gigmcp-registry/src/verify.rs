//! From bytes that anyone may have sent to an index that enough trusted keys have signed.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::time::SystemTime;

use crate::digest::Digest;
use crate::index::{Index, InvalidIndex};
use crate::keys::{KeyId, TrustRoot};
use crate::signatures::Signatures;

/// An index as it is published: bytes, and signatures beside them. Nothing of it is a value before it is verified.
#[derive(Debug)]
pub enum SignedIndex {}

impl SignedIndex {
    /// Verifies the signatures over `bytes`, and only then parses them.
    ///
    /// Signatures by keys that are not in `root` are ignored, so that keys can be added and removed; a wrong
    /// signature by a trusted key is an error even if enough others are right. A key counts once.
    ///
    /// # Errors
    /// [`VerifyError`] says which check refused the index. Nothing of a refused index is parsed unless its signatures
    /// were right.
    ///
    /// # Examples
    /// See the front page.
    pub fn verify(
        bytes: &[u8],
        signatures: &Signatures,
        root: &TrustRoot,
        freshness: &Freshness,
    ) -> Result<Verified<Index>, VerifyError> {
        if bytes.len() > MAX_INDEX_BYTES {
            return Err(VerifyError::TooLong { length: bytes.len() });
        }
        let digest = Digest::of(bytes);
        let message = signed_message(digest);
        let mut signed_by = BTreeSet::new();
        for signature in signatures.as_slice() {
            let Some(key) = root.key(&signature.key_id) else {
                continue;
            };
            if !key.verifies(&message, signature) {
                return Err(VerifyError::WrongSignature { key: signature.key_id });
            }
            signed_by.insert(signature.key_id);
        }
        if signed_by.len() < root.threshold().get() {
            return Err(VerifyError::Threshold { signed: signed_by.len(), needed: root.threshold().get() });
        }

        let index = Index::parse(bytes)?;
        if freshness.now >= index.expires {
            return Err(VerifyError::Expired);
        }
        let seen = Seen { sequence: index.sequence, digest };
        if let Some(last) = freshness.last_seen {
            if seen.sequence < last.sequence {
                return Err(VerifyError::Older { sequence: seen.sequence, last_seen: last.sequence });
            }
            if seen.sequence == last.sequence && seen.digest != last.digest {
                return Err(VerifyError::Forked { sequence: seen.sequence });
            }
        }
        Ok(Verified { document: index, seen })
    }
}

/// What is signed: a label that no other document starts with, and the digest of the bytes.
pub(crate) fn signed_message(index: Digest) -> Vec<u8> {
    format!("gigmcp index v2\n{index}\n").into_bytes()
}

/// Against what an index must be fresh. Both fields are the caller's to know; neither has a safe default.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// The time.
    pub now: SystemTime,
    /// The newest index verified before, if any; [`Verified::seen`] of that one.
    pub last_seen: Option<Seen>,
}

/// Which index was verified. Store it, and give it back with the next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The index's sequence number.
    pub sequence: u64,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// A document signed by enough of the trusted keys, neither expired nor rolled back. Only
/// [`SignedIndex::verify`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified<T> {
    document: T,
    seen: Seen,
}

impl<T> Verified<T> {
    /// What to remember for the next verification.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.document
    }
}

/// Why an index is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Larger than [`MAX_INDEX_BYTES`].
    #[error("the index has {length} bytes, more than {MAX_INDEX_BYTES}")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// A trusted key's signature does not fit these bytes: index or signature were changed.
    #[error("the signature of key {key} is wrong")]
    WrongSignature {
        /// The key.
        key: KeyId,
    },
    /// Too few of the trusted keys have signed.
    #[error("{signed} trusted keys have signed the index, {needed} are needed")]
    Threshold {
        /// How many have signed.
        signed: usize,
        /// How many must.
        needed: usize,
    },
    /// Signed, but not an index.
    #[error("the signed index is invalid")]
    Invalid(#[from] InvalidIndex),
    /// Past its time: whoever serves it may be holding back a newer one.
    #[error("the index has expired")]
    Expired,
    /// Older than one seen before.
    #[error("the index has sequence {sequence}, but {last_seen} was seen before")]
    Older {
        /// Its sequence number.
        sequence: u64,
        /// The highest seen.
        last_seen: u64,
    },
    /// Another index with the sequence number of the last one seen.
    #[error("there are two different indexes with sequence {sequence}")]
    Forked {
        /// The sequence number.
        sequence: u64,
    },
}

/// The largest index that is looked at: 16 MiB, some 15,000 manifests. Bounds time and memory spent on a hostile one.
pub const MAX_INDEX_BYTES: usize = 16 << 20;
