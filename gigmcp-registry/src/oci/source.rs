//! Where content comes from.

use std::path::PathBuf;
use std::sync::Arc;

use super::{ImageReference, Progress, PullError, layout};
use crate::digest::Digest;
use crate::remote::Remote;
use crate::store::{Partial, Store};

/// Which of a registry's two places something is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Manifest,
    Blob,
}

#[derive(Clone)]
pub(super) enum Source {
    Remote {
        remote: Remote,
        image: ImageReference,
    },
    Layout(PathBuf),
    /// All that there was is in the store.
    Store,
}

impl Source {
    /// How many layers come at the same time. A copy in a thread of its own cannot be stopped, so there is one only.
    pub(super) fn at_once(&self) -> usize {
        match self {
            Self::Remote { .. } => 3,
            Self::Layout(_) | Self::Store => 1,
        }
    }

    /// Content that is read whole, verified.
    pub(super) async fn small(&self, digest: Digest, limit: u64, kind: Kind) -> Result<Vec<u8>, PullError> {
        let content = match self {
            Self::Remote { remote, image } => remote.small(image, digest, limit, kind).await?,
            Self::Layout(directory) => layout::small(directory.clone(), digest, limit).await?,
            Self::Store => return Err(PullError::Missing { digest }),
        };
        match Digest::of(&content) {
            found if found == digest => Ok(content),
            found => Err(PullError::WrongDigest { expected: digest, found }),
        }
    }

    /// Content that goes into the store as it comes.
    pub(super) async fn blob(
        &self,
        store: &Store,
        digest: Digest,
        bytes: u64,
        progress: Arc<dyn Progress>,
    ) -> Result<(), PullError> {
        match self {
            Self::Remote { remote, image } => {
                let partial = claim(store, digest, bytes).await?;
                match partial {
                    Some(partial) => remote.blob(image, digest, partial, &*progress).await,
                    None => Ok(()),
                }
            }
            Self::Layout(directory) => layout::blob(directory.clone(), store.clone(), digest, bytes, progress).await,
            Self::Store => Err(PullError::Missing { digest }),
        }
    }
}

/// The beginning of a blob, once nobody else goes on with it; nothing, if the blob has become whole meanwhile.
async fn claim(store: &Store, digest: Digest, bytes: u64) -> Result<Option<Partial>, PullError> {
    loop {
        if store.blob(&digest)?.is_some() {
            return Ok(None);
        }
        let store = store.clone();
        // What is there is read, to go on with its digest.
        let claimed = tokio::task::spawn_blocking(move || store.partial(&digest, bytes));
        if let Some(partial) = claimed.await.expect("opening a file does not panic")? {
            return Ok(Some(partial));
        }
        // The kernel does not tell who waits without a thread when a lock is given up.
        tokio::time::sleep(LOCK_POLL).await;
    }
}

const LOCK_POLL: std::time::Duration = std::time::Duration::from_millis(100);
