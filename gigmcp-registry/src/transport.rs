//! Where a registry's files come from.

mod files;
#[cfg(feature = "https")]
mod https;

pub use files::{Files, FilesError};
#[cfg(feature = "https")]
pub use https::{HttpError, Https, HttpsError, InvalidHttps};

use std::fmt;
use std::future::Future;
use std::num::NonZeroU64;

/// A file of a registry. Its text is the path below the registry's address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RegistryFile {
    /// The index with its signatures, `index.jsonl`.
    Index,
    /// A root with its signatures, for example `root/2.jsonl`.
    Root(NonZeroU64),
}

impl fmt::Display for RegistryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => f.write_str("index.jsonl"),
            Self::Root(version) => write!(f, "root/{version}.jsonl"),
        }
    }
}

/// Fetches files. What it gives is not trusted: every byte of it is verified, and an implementation cannot weaken that.
///
/// It should give up after some time, and must not follow a way that it would not go by itself, such as a redirect from
/// https to plain http.
pub trait Transport {
    /// Why a file could not be fetched.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Puts the file into `download`: from where it stopped the last time, if it is still the same file, or anew.
    /// What has arrived when this fails or is dropped stays there for the next attempt.
    fn fetch(
        &self,
        file: RegistryFile,
        download: &mut Download,
    ) -> impl Future<Output = Result<Fetched, Self::Error>> + Send;
}

/// How fetching ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fetched {
    /// The file is in the download, whole.
    Complete,
    /// It is still the one whose tag was given.
    NotModified,
    /// There is no such file.
    NotFound,
}

/// A file on its way: what has arrived of it, and never more than it may have.
#[derive(Clone, Debug)]
pub struct Download {
    bytes: Vec<u8>,
    limit: usize,
    tag: Option<String>,
    known_tag: Option<String>,
}

impl Download {
    /// Nothing yet, of a file with at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, tag: None, known_tag: None }
    }

    /// Asks for the file only if it is not the one with this tag.
    #[must_use]
    pub fn unless_tagged(mut self, tag: Option<String>) -> Self {
        self.known_tag = tag;
        self
    }

    /// The tag of the file that is wanted only if it has another.
    #[must_use]
    pub fn known_tag(&self) -> Option<&str> {
        self.known_tag.as_deref()
    }

    /// The tag of the file that has arrived, in part or whole.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// What has arrived.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what has arrived, and begins a file with this tag: a strong one, under which a server has no two files.
    pub fn begin(&mut self, tag: Option<String>) {
        self.bytes.clear();
        // A tag is stored and sent back: what no server needs is none.
        self.tag = tag.filter(|tag| tag.len() <= MAX_TAG_BYTES && tag.bytes().all(|byte| byte.is_ascii_graphic()));
    }

    /// Adds what comes next.
    ///
    /// # Errors
    /// [`TooLong`] if that is more than the file may have; nothing is added.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), TooLong> {
        if chunk.len() > self.limit - self.bytes.len() {
            return Err(TooLong { limit: self.limit });
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// How many bytes there may be.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// A file is longer than it may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the file has more than {limit} bytes")]
pub struct TooLong {
    /// How many it may have.
    pub limit: usize,
}

const MAX_TAG_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_bounded() {
        let mut download = Download::new(4);
        assert_eq!(download.push(b"abc"), Ok(()));
        assert_eq!(download.push(b"de"), Err(TooLong { limit: 4 }));
        assert_eq!(download.push(b"d"), Ok(()));
        assert_eq!(download.push(b"e"), Err(TooLong { limit: 4 }));
        assert_eq!(download.bytes(), b"abcd");
        download.begin(Some("\"two\"".into()));
        assert_eq!((download.bytes(), download.tag()), (&b""[..], Some("\"two\"")));
        for tag in ["\"a\r\nHost: x\"".into(), "x".repeat(257), "\"ü\"".into()] {
            download.begin(Some(tag));
            assert_eq!(download.tag(), None);
        }
    }

    #[test]
    fn files_have_paths() {
        assert_eq!(RegistryFile::Index.to_string(), "index.jsonl");
        assert_eq!(RegistryFile::Root(NonZeroU64::MIN).to_string(), "root/1.jsonl");
    }
}
