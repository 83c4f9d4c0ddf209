//! From bytes that anyone may have sent to an index that enough trusted keys have signed.

use std::ops::Deref;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::index::{Index, InvalidIndex};
use crate::keys::TrustRoot;
use crate::name::ServerName;
use crate::seen::{Images, Seen};
use crate::signatures::Signatures;
use crate::threshold::Untrusted;
use crate::version::Version;

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
        freshness: &Freshness<'_>,
    ) -> Result<Verified<Index>, VerifyError> {
        if bytes.len() > MAX_INDEX_BYTES {
            return Err(VerifyError::TooLong { length: bytes.len() });
        }
        let digest = Digest::of(bytes);
        root.check(&signed_message(digest), signatures)?;
        freshness.check(Index::parse(bytes)?, digest)
    }
}

/// What is signed: a label that no other document starts with, and the digest of the bytes.
pub(crate) fn signed_message(index: Digest) -> Vec<u8> {
    format!("gigmcp index v2\n{index}\n").into_bytes()
}

/// Against what an index must be fresh. Both fields are the caller's to know; neither has a safe default.
#[derive(Clone, Copy, Debug)]
pub struct Freshness<'a> {
    /// The time.
    pub now: SystemTime,
    /// What was seen before, if anything: [`Verified::seen`] of the index verified last.
    pub last_seen: Option<&'a Seen>,
}

impl Freshness<'_> {
    /// Takes an index whose signatures were right.
    pub(crate) fn check(&self, index: Index, digest: Digest) -> Result<Verified<Index>, VerifyError> {
        if index.generated.duration_since(self.now).is_ok_and(|ahead| ahead > MAX_CLOCK_SKEW) {
            return Err(VerifyError::NotYetValid);
        }
        if self.now >= index.expires {
            return Err(VerifyError::Expired);
        }
        if let Some(last) = self.last_seen {
            if index.sequence < last.sequence {
                return Err(VerifyError::Older { sequence: index.sequence, last_seen: last.sequence });
            }
            if index.sequence == last.sequence && digest != last.digest {
                return Err(VerifyError::Forked { sequence: index.sequence });
            }
        }
        let images = self.images(&index)?;
        let seen = Seen { sequence: index.sequence, digest, images };
        Ok(Verified { document: index, seen })
    }

    /// The images of this index and of those before: what a version once was, it stays, even if it was gone meanwhile.
    fn images(&self, index: &Index) -> Result<Images, VerifyError> {
        let mut images = self.last_seen.map(|last| last.images.clone()).unwrap_or_default();
        for (name, server) in &index.servers {
            // Looked up before it is cloned: there are thousands of servers, and most are known.
            if !images.contains_key(name) {
                images.insert(name.clone(), Default::default());
            }
            let known = images.get_mut(name).expect("inserted if it was missing");
            for (version, manifest) in &server.versions {
                let now = manifest.image.digest;
                let before = *known.entry(*version).or_insert(now);
                if before != now {
                    return Err(VerifyError::Repinned { name: name.clone(), version: *version, before, now });
                }
            }
        }
        Ok(images)
    }
}

/// A document signed by enough of the trusted keys, and not rolled back. Only [`SignedIndex`] and
/// [`SignedRoot`](crate::SignedRoot) make one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified<T> {
    pub(crate) document: T,
    pub(crate) seen: Seen,
}

impl<T> Verified<T> {
    /// What to remember for the next verification.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
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
    /// Not signed as it must be.
    #[error("the index is not signed by those who are trusted")]
    Untrusted(#[from] Untrusted),
    /// Signed, but not an index.
    #[error("the signed index is invalid")]
    Invalid(#[from] InvalidIndex),
    /// Made in the future: this machine's clock is behind, perhaps because someone wants an expired index to be used.
    #[error("the index was made in the future: this machine's clock is behind")]
    NotYetValid,
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
    /// A version has another image than in an index seen before. What changes must get a new version.
    #[error("the image of {name} {version} was {before} and is {now}, under the same version")]
    Repinned {
        /// The server.
        name: ServerName,
        /// Its version.
        version: Version,
        /// The image's digest in an index before.
        before: Digest,
        /// The image's digest in this one.
        now: Digest,
    },
}

/// The largest index that is looked at: 16 MiB, some 15,000 manifests. Bounds time and memory spent on a hostile one.
pub const MAX_INDEX_BYTES: usize = 16 << 20;

/// How far a publisher's clock may be ahead of ours.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(600);
