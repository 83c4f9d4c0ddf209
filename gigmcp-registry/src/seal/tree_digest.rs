use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, InvalidDigest};

/// The measure of an unpacked tree: what is in it, and not what it was made from. Written as a [`Digest`] is.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TreeDigest(pub(crate) Digest);

impl FromStr for TreeDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        text.parse().map(Self)
    }
}

impl fmt::Display for TreeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TreeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeDigest({self})")
    }
}

/// Of an empty tree.
impl Default for TreeDigest {
    fn default() -> Self {
        Self(Digest::of(super::walk::START))
    }
}
