use std::io;

use super::Registry;
use crate::digest::Digest;
use crate::extract::ExtractError;
use crate::remote::RemoteError;
use crate::store::{LeaseError, StoreError};

/// Why an image was not installed. Nothing of it can be used then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// A manifest, index or configuration is not one, or not of a kind that is supported.
    #[error("reading {digest}")]
    Document {
        /// Which one.
        digest: Digest,
        /// What is wrong.
        source: DocumentFault,
    },
    /// The image is for other machines.
    #[error("the image is not for {wanted}, but for {}", offered.join(", "))]
    NoPlatform {
        /// What this machine is.
        wanted: super::Platform,
        /// What there is.
        offered: Vec<String>,
    },
    /// The content is not what was asked for.
    #[error("instead of {expected} came {found}")]
    WrongDigest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The content is shorter or longer than the manifest says.
    #[error("{digest} should have {expected} bytes, and has {}", found.map_or("more".to_owned(), |found| found.to_string()))]
    WrongSize {
        /// Which content.
        digest: Digest,
        /// What the manifest says.
        expected: u64,
        /// What it has, unless it is more.
        found: Option<u64>,
    },
    /// Something is larger than the limits allow; it was not fetched to its end.
    #[error("{digest} has more than {limit} bytes")]
    TooLarge {
        /// Which content.
        digest: Digest,
        /// How much it may have.
        limit: u64,
    },
    /// The content is not there.
    #[error("there is no {digest}")]
    Missing {
        /// Which content.
        digest: Digest,
    },
    /// A registry and its mirrors did not give what was asked for: why the last one did not.
    #[error("asking {registry}")]
    Remote {
        /// Which registry.
        registry: Registry,
        /// Why not.
        source: RemoteError,
    },
    /// A layout directory or an archive could not be read, or is none.
    #[error("reading the layout")]
    Layout(#[source] io::Error),
    /// A layer was refused, or is not what the configuration promises.
    #[error("unpacking the image")]
    Extract(#[from] ExtractError),
    /// The store could not be used.
    #[error("using the store")]
    Store(#[from] StoreError),
    /// What was just unpacked is not there as it was.
    #[error("using the tree")]
    Lease(#[from] LeaseError),
}

/// What is wrong with a manifest, an index or a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentFault {
    /// It is no JSON, lacks something, or has it twice.
    #[error("it is no JSON of this kind")]
    Json(#[from] serde_json::Error),
    /// It has another `schemaVersion` than 2.
    #[error("version {0} of the format is not supported")]
    Version(u64),
    /// It has a field whose name is written in other letters than it should be, which some programs read all the same.
    #[error("the field {0:?} is spelled otherwise than it should be")]
    Spelling(String),
    /// It is neither index nor manifest, or both.
    #[error("it is neither an index nor a manifest")]
    Kind,
    /// It, or what it refers to, is of another kind.
    #[error("the media type {0} is not the one it should be")]
    MediaType(String),
    /// Something that should be a digest is none.
    #[error("a digest cannot be read")]
    Digest,
    /// There are more or fewer layers than diff IDs.
    #[error("there are {layers} layers and {diff_ids} diff IDs")]
    Layers {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// An index refers to an index.
    #[error("an index is in an index")]
    Nested,
}
