//! Where a server's files come from.

use gigmcp_registry::{Digest, TreeDigest, Version};
use serde::{Deserialize, Serialize};

use super::text::{as_text, from_text};

/// Where a server's files come from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Source {
    /// One static executable, kept in the data directory under its SHA-256.
    Binary {
        /// 64 lower-case hexadecimal digits.
        sha256: String,
    },
    /// The host's own tools, read-only. Nobody reviewed what the command will run.
    HostTools,
    /// An image that a signed index names.
    Image(Image),
}

/// An image that a signed index names, unpacked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Image {
    /// The version that the manifest describes.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(crate) version: Version,
    /// SHA-256 of the whole manifest: what somebody agreed to.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(crate) manifest: Digest,
    /// What it was pulled by.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(crate) digest: Digest,
    /// The measure of its files, taken when they were unpacked. Nothing else is run.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(crate) tree: TreeDigest,
    /// The directory that it starts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) working_dir: Option<String>,
}
