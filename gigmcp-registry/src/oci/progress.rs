use crate::digest::Digest;

/// Hears how an installation goes on. It is called between pieces of content, so it should not block.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn event(&self, event: PullEvent);
}

impl<F: Fn(PullEvent) + Send + Sync> Progress for F {
    fn event(&self, event: PullEvent) {
        self(event);
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PullEvent {
    /// The manifest was read: so much is to come, unless it is there already.
    Layers {
        /// How many layers.
        count: usize,
        /// Their size as they are stored.
        bytes: u64,
    },
    /// So much of a layer is there. The first time it says what was left of an attempt before.
    Fetched {
        /// Which layer.
        digest: Digest,
        /// How much of it is there.
        bytes: u64,
        /// Its size.
        of: u64,
    },
    /// All layers are there and are unpacked now.
    Unpacking,
    /// The image can be used.
    Installed,
}
