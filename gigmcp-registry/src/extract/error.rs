use std::io;

use rustix::io::Errno;

use crate::digest::Digest;
use crate::seal::SealError;
use crate::tar::{LayerRefusal, TarError};

/// Why an image was not unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// A layer holds something that is refused.
    #[error("layer {layer}, entry {entry} ({path:?}): {why}")]
    Refused {
        /// Which layer, the lowest being 0.
        layer: usize,
        /// Which entry of it, the first being 1; one more than there are, at the end.
        entry: u64,
        /// The entry's path with unprintable bytes escaped, as far as it was read.
        path: String,
        /// What is wrong.
        why: LayerRefusal,
    },
    /// The image is larger than the limits allow.
    #[error("layer {layer}: {exceeded}")]
    TooLarge {
        /// Which layer, the lowest being 0.
        layer: usize,
        /// Which limit.
        exceeded: Exceeded,
    },
    /// The content of a layer is not what the image's configuration promises.
    #[error("layer {layer} is {found} and should be {expected}")]
    DiffId {
        /// Which layer, the lowest being 0.
        layer: usize,
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A layer could not be read.
    #[error("reading layer {layer}")]
    Read {
        /// Which layer, the lowest being 0.
        layer: usize,
        /// Why not.
        source: io::Error,
    },
    /// The tree could not be written.
    #[error("writing {path:?} of layer {layer}")]
    Write {
        /// Which layer, the lowest being 0.
        layer: usize,
        /// The entry's path with unprintable bytes escaped.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The directory cannot be opened, or is not empty.
    #[error("opening the directory of the tree")]
    Open(#[source] io::Error),
    /// The file system takes different names for the same: it ignores case, or Unicode forms.
    #[error("the file system does not keep names apart")]
    FoldsNames,
    /// The tree could not be made read-only, or measured.
    #[error("measuring the tree")]
    Seal(#[source] SealError),
}

/// Which limit an image exceeds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Exceeded {
    /// [`ImageLimits::layers`](crate::ImageLimits::layers).
    #[error("there are too many layers")]
    Layers,
    /// [`ImageLimits::bytes`](crate::ImageLimits::bytes).
    #[error("it unpacks to too many bytes")]
    Bytes,
    /// [`ImageLimits::ratio`](crate::ImageLimits::ratio).
    #[error("it unpacks to too many times its size")]
    Ratio,
    /// [`ImageLimits::entries`](crate::ImageLimits::entries).
    #[error("there are too many entries")]
    Entries,
}

/// An error without its place.
#[derive(Debug)]
pub(super) enum Fault {
    Refused(LayerRefusal),
    Exceeded(Exceeded),
    Read(io::Error),
    Write(io::Error),
}

impl Fault {
    pub(super) fn write(errno: Errno) -> Self {
        Self::Write(errno.into())
    }
}

impl From<LayerRefusal> for Fault {
    fn from(refusal: LayerRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Exceeded> for Fault {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

impl From<TarError> for Fault {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Refused(refusal) => Self::Refused(refusal),
            TarError::Read(error) => Self::from_read(error),
        }
    }
}

impl Fault {
    /// What [`super::layer::Unpacked`] says through the interface of [`io::Read`].
    pub(super) fn from_read(error: io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(exceeded) = inner.and_then(|inner| inner.downcast_ref::<Exceeded>()) {
            return Self::Exceeded(*exceeded);
        }
        if let Some(refusal) = inner.and_then(|inner| inner.downcast_ref::<LayerRefusal>()) {
            return Self::Refused(*refusal);
        }
        Self::Read(error)
    }
}
