//! Images on disk, shared between servers and between processes.
//!
//! ```text
//! lock               held shared by whoever adds, alone by whoever removes
//! blobs/HEX          manifests, configurations and layers, verified, by digest
//! partial/HEX        blobs of which a beginning is there
//! trees/HEX/rootfs   unpacked images, sealed, by tree digest; a lease is a shared lock on the directory above
//! images/HEX-ARCH    which tree an image became: JSON
//! staging/           trees and files that are being made
//! ```
//!
//! Whatever has its final name is whole: it was made in `staging` or `partial`, verified, synced, and moved there in one
//! step. A process may be killed at any moment; what it leaves has no final name, and is removed by the next one to open the
//! store or to collect garbage. Locks are the kernel's (`flock`), which end with their process.

mod blob;
mod collect;
mod error;
mod lease;
mod places;
mod record;
mod staging;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

pub(crate) use blob::{BlobFault, Partial};
pub use collect::{Collected, Keep};
pub use error::{LeaseError, StoreError};
pub use lease::Lease;
pub(crate) use record::Record;

use crate::lock::Locked;
use crate::seal::{Fingerprint, TreeDigest};
use places::Places;

/// A directory of images. Clones share what they remember.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Places,
    /// Trees that were measured by this process, and how they looked then.
    measured: Mutex<HashMap<TreeDigest, Fingerprint>>,
}

/// Held by whoever adds to the store, so that nothing is collected meanwhile.
#[derive(Debug)]
pub(crate) struct Adding {
    _lock: Locked,
}

impl Store {
    /// Opens the store in this directory, which is made if it is not there, and removes what was left half done.
    ///
    /// Others than its user can reach trees by their digests, as a sandbox with a user of its own must, and list nothing.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the directory cannot be made or read, and [`StoreError::OthersCanWrite`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let places = Places::open(path.as_ref())?;
        let store = Self(Arc::new(Inner { places, measured: Mutex::default() }));
        // Whoever adds at this moment has things in there that are not left behind.
        if let Some(_alone) = store.0.places.lock_alone()? {
            store.0.places.sweep()?;
        }
        Ok(store)
    }

    /// Blocks while another process collects garbage.
    pub(crate) fn adding(&self) -> Result<Adding, StoreError> {
        self.0.places.lock_shared().map(|lock| Adding { _lock: lock })
    }
}
