//! The root: which keys are trusted, and how that changes.

mod document;

pub use document::InvalidRoot;

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::SystemTime;

use crate::digest::Digest;
use crate::keys::{KeyId, TrustRoot};
use crate::moment;
use crate::seen::{Images, Seen};
use crate::signatures::Signatures;
use crate::threshold::Untrusted;
use crate::verify::Verified;

/// The keys of a registry. Each version is signed by enough root keys of the version before, and of its own.
///
/// Root keys are used a few times a year and can be kept away from every network; index keys sign every index, and are
/// replaced by the next root if they are lost.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Root {
    /// Counts up by one.
    pub version: NonZeroU64,
    /// From when on no index may be trusted for this root any more.
    pub expires: SystemTime,
    /// The keys that sign the next root, and how many of them must.
    pub root: TrustRoot,
    /// The keys that sign the index, and how many of them must.
    pub index: TrustRoot,
}

impl Root {
    /// A root to publish, which expires at a whole second.
    ///
    /// # Errors
    /// [`InvalidRoot::Expires`] if a root cannot say that it expires then.
    pub fn new(
        version: NonZeroU64,
        expires: SystemTime,
        root: TrustRoot,
        index: TrustRoot,
    ) -> Result<Self, InvalidRoot> {
        moment::format(expires).ok_or(InvalidRoot::Expires)?;
        Ok(Self { version, expires, root, index })
    }

    /// Reads a root that nobody has verified, for whoever publishes or compares them. To trust one, use [`SignedRoot`].
    ///
    /// # Errors
    /// [`InvalidRoot`] for whatever is not the canonical JSON of a root.
    pub fn danger_from_unverified_json(bytes: &[u8]) -> Result<Self, InvalidRoot> {
        document::parse(bytes)
    }

    /// The canonical bytes, the ones to sign.
    ///
    /// # Panics
    /// If a moment was put into it that no root can write, see [`Root::new`].
    #[must_use]
    pub fn to_json(&self) -> String {
        document::json(self)
    }
}

/// A root as it is published: bytes, and signatures beside them.
#[derive(Debug)]
pub enum SignedRoot {}

impl SignedRoot {
    /// Takes the root that came with the program, or that the operator has checked by its digest: the anchor of all trust.
    /// Must be signed by its own keys, which shows that they exist and are at hand.
    ///
    /// # Errors
    /// [`RootError`] if it is no root or not signed by its own keys. Expiry is looked at by [`Verified::index_keys`]: an
    /// expired root still leads to the next one.
    pub fn pinned(bytes: &[u8], signatures: &Signatures) -> Result<Verified<Root>, RootError> {
        bounded(bytes)?;
        let root = document::parse(bytes)?;
        root.root.check(&signed_message(Digest::of(bytes)), signatures).map_err(RootError::NotByItself)?;
        Ok(verified(root, bytes))
    }
}

impl Verified<Root> {
    /// Takes the next version: signed by enough of this one's root keys, which is checked before anything is parsed, and
    /// by enough of its own.
    ///
    /// # Errors
    /// [`RootError`] says which check refused it.
    pub fn next(&self, bytes: &[u8], signatures: &Signatures) -> Result<Self, RootError> {
        bounded(bytes)?;
        let message = signed_message(Digest::of(bytes));
        self.root.check(&message, signatures).map_err(RootError::NotByTheOneBefore)?;
        let next = document::parse(bytes)?;
        if Some(next.version) != self.version.checked_add(1) {
            return Err(RootError::Version { current: self.version, found: next.version });
        }
        next.root.check(&message, signatures).map_err(RootError::NotByItself)?;
        Ok(verified(next, bytes))
    }

    /// The keys that may sign an index now.
    ///
    /// # Errors
    /// [`RootError::Expired`] if this root has: whoever serves it may be holding back the next.
    pub fn index_keys(&self, now: SystemTime) -> Result<&TrustRoot, RootError> {
        if now >= self.expires {
            return Err(RootError::Expired { version: self.version });
        }
        Ok(&self.index)
    }

    /// Whether what was seen of indexes signed by `before` is to be forgotten: if too few of those keys are left to sign
    /// alone, none of the indexes before can come back, and whoever had stolen the keys may have published the highest
    /// sequence number.
    pub(crate) fn is_fresh_start(&self, before: &BTreeSet<KeyId>) -> bool {
        self.index.ids().intersection(before).count() < self.index.threshold().get()
    }
}

/// What is signed: a label that no other document starts with, and the digest of the bytes.
pub(crate) fn signed_message(root: Digest) -> Vec<u8> {
    format!("gigmcp root v1\n{root}\n").into_bytes()
}

fn bounded(bytes: &[u8]) -> Result<(), RootError> {
    let length = bytes.len();
    if length > MAX_ROOT_BYTES { Err(RootError::TooLong { length }) } else { Ok(()) }
}

fn verified(root: Root, bytes: &[u8]) -> Verified<Root> {
    let seen = Seen { sequence: root.version.get(), digest: Digest::of(bytes), images: Images::new() };
    Verified { document: root, seen }
}

/// Why a root is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// Larger than [`MAX_ROOT_BYTES`].
    #[error("the root has {length} bytes, more than {MAX_ROOT_BYTES}")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// Too few root keys of the version before have signed.
    #[error("the root is not signed by the keys of the one before")]
    NotByTheOneBefore(#[source] Untrusted),
    /// Too few of its own root keys have signed.
    #[error("the root is not signed by its own keys")]
    NotByItself(#[source] Untrusted),
    /// Signed, but no root.
    #[error("the root is invalid")]
    Invalid(#[from] InvalidRoot),
    /// Not the version after the present one: older, the same again, or one is missing between.
    #[error("a root of version {found} does not follow version {current}")]
    Version {
        /// The version that is trusted.
        current: NonZeroU64,
        /// The version that should follow it.
        found: NonZeroU64,
    },
    /// Past its time.
    #[error("the root, version {version}, has expired")]
    Expired {
        /// Its version.
        version: NonZeroU64,
    },
}

/// The largest root that is looked at: 64 KiB, some 900 keys.
pub const MAX_ROOT_BYTES: usize = 64 << 10;
