//! Makes an unpacked tree read-only, and measures it.
//!
//! A tree is measured as the SHA-256 of the text `gigmcp tree v1`, a newline, and one record for each entry below the root, a
//! directory before what is in it, and names in one directory in the order of their bytes:
//!
//! ```text
//! kind        1 byte: `d` directory, `f` file, `x` executable file, `l` symlink
//! path        its length in bytes, 4 bytes; the path from the root, without one at its beginning
//! for f and x the time of modification in seconds since 1970, 8 bytes; SHA-256 of the content, 32 bytes
//! for l       the target's length in bytes, 4 bytes; the target
//! ```
//!
//! Numbers are unsigned and begin with the highest byte. Modes follow from the kind, and anything with another mode, a device, a
//! FIFO or a socket is an error. Not measured is what unpacking does not decide, or nobody can tell by reading: owners, extended
//! attributes, the times of directories and symlinks, parts of a second, and whether two names are one file or two with the same
//! content.

mod fingerprint;
mod tree_digest;
mod walk;

pub(crate) use fingerprint::{Fingerprint, fingerprint};
pub use tree_digest::TreeDigest;
pub use walk::SealError;
pub(crate) use walk::{measure, seal};

/// Mode of files.
pub(crate) const PLAIN: u32 = 0o444;
/// Mode of files that can be executed, and of directories.
pub(crate) const EXECUTABLE: u32 = 0o555;
