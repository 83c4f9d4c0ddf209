//! Following a registry: its roots, then its index, with the last good one kept.

mod state;
mod state_file;

use state::LastRoot;
pub use state::{InvalidState, State};
pub use state_file::{StateError, StateFile};

use std::error::Error;
use std::num::NonZeroU64;
use std::time::SystemTime;

use crate::envelope::Envelope;
use crate::index::Index;
use crate::root::{MAX_ROOT_BYTES, Root, RootError};
use crate::signatures::{InvalidSignatures, MAX_SIGNATURES_BYTES};
use crate::transport::{Download, Fetched, RegistryFile, Transport};
use crate::verify::{Freshness, MAX_INDEX_BYTES, SignedIndex, Verified, VerifyError};

/// Follows one registry.
///
/// What it has learnt is in [`IndexClient::state`]: store it after each refresh, and give it back at the next start. Without
/// it, an older index that has not expired would be taken again.
#[derive(Debug)]
pub struct IndexClient {
    root: Verified<Root>,
    index: Option<Verified<Index>>,
    state: State,
    /// Of an index that did not arrive whole.
    unfinished: Option<Download>,
}

impl IndexClient {
    /// Starts from the root that came with the program and what was stored, which is verified again.
    ///
    /// # Errors
    /// [`OpenError`] if the stored roots do not go on from the pinned one. A stored index that has expired, or that the
    /// keys of today have not signed, is none; what was seen of it still counts.
    pub fn new(pinned: Verified<Root>, state: State, now: SystemTime) -> Result<Self, OpenError> {
        let mut client = Self { root: pinned, index: None, state, unfinished: None };
        client.replay()?;
        client.take_stored(now);
        Ok(client)
    }

    /// What was learnt, to be stored.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The root that is trusted now.
    #[must_use]
    pub fn root(&self) -> &Verified<Root> {
        &self.root
    }

    /// The last good index, if it may still be used.
    #[must_use]
    pub fn index(&self, now: SystemTime) -> Option<&Verified<Index>> {
        self.root.index_keys(now).ok()?;
        self.index.as_ref().filter(|index| now < index.expires)
    }

    /// Looks for newer roots and then for a newer index. Whatever fails, the last good index stays, see
    /// [`IndexClient::index`]; what arrived of a newer one is kept, and the next attempt goes on from there.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing that had been verified, and keeps what arrived of roots that were whole.
    ///
    /// # Errors
    /// [`RefreshError`] says what could not be fetched or was refused.
    pub async fn refresh<T: Transport>(&mut self, transport: &T, now: SystemTime) -> Result<Refreshed, RefreshError> {
        self.follow_roots(transport, now).await?;
        self.root.index_keys(now)?;
        let known = if self.index(now).is_some() { self.state.tag.clone() } else { None };
        let download = self.unfinished.take().unwrap_or_else(|| Download::new(MAX_INDEX_FILE_BYTES));
        // Kept in its place while it is filled, so that a dropped refresh leaves it there.
        let download = self.unfinished.insert(download.unless_tagged(known));
        match fetch(transport, RegistryFile::Index, download).await? {
            Fetched::NotFound => Err(RefreshError::Missing),
            Fetched::NotModified if self.index(now).is_some() => Ok(Refreshed::Unchanged),
            Fetched::NotModified => Err(RefreshError::NotModified),
            Fetched::Complete => {
                let download = self.unfinished.take().expect("put there above");
                self.take(download, now)
            }
        }
    }

    fn take(&mut self, download: Download, now: SystemTime) -> Result<Refreshed, RefreshError> {
        let verified = self.verify(download.bytes(), now)?;
        let before = self.state.seen.as_ref().map(|seen| seen.digest());
        let refreshed =
            if before == Some(verified.seen().digest()) { Refreshed::Unchanged } else { Refreshed::Updated };
        self.state.seen = Some(verified.seen().clone());
        self.state.tag = download.tag().map(Into::into);
        self.state.index = Some(download.bytes().to_vec());
        self.index = Some(verified);
        Ok(refreshed)
    }

    /// An index that the keys of today have signed too is not forgotten with the keys before: one older than it, signed by
    /// both, could come back.
    fn take_stored(&mut self, now: SystemTime) {
        self.index = self.stored(now);
        if self.state.seen.is_none() {
            self.state.seen = self.index.as_ref().map(|index| index.seen().clone());
        }
    }

    /// The stored index, if the keys of today have signed it and it has not expired.
    fn stored(&self, now: SystemTime) -> Option<Verified<Index>> {
        self.verify(self.state.index.as_deref()?, now).ok()
    }

    fn verify(&self, file: &[u8], now: SystemTime) -> Result<Verified<Index>, RefreshError> {
        let envelope = Envelope::split(file)?;
        let freshness = Freshness { now, last_seen: self.state.seen.as_ref() };
        let keys = self.root.index_keys(now)?;
        Ok(SignedIndex::verify(envelope.document(), &envelope.signatures()?, keys, &freshness)?)
    }

    async fn follow_roots<T: Transport>(&mut self, transport: &T, now: SystemTime) -> Result<(), RefreshError> {
        for _ in 0..MAX_NEW_ROOTS {
            let Some(version) = self.root.version.checked_add(1) else { break };
            let mut download = Download::new(MAX_ROOT_FILE_BYTES);
            match fetch(transport, RegistryFile::Root(version), &mut download).await? {
                Fetched::Complete => self.adopt(download.bytes(), now)?,
                Fetched::NotFound | Fetched::NotModified => break,
            }
        }
        Ok(())
    }

    fn adopt(&mut self, file: &[u8], now: SystemTime) -> Result<(), RefreshError> {
        let envelope = Envelope::split(file)?;
        self.root = self.root.next(envelope.document(), &envelope.signatures()?)?;
        self.state.roots.push(file.to_vec());
        self.remember_root();
        self.take_stored(now);
        Ok(())
    }

    /// Goes from the pinned root to the stored ones after it. Those that a newer program brings itself are dropped.
    fn replay(&mut self) -> Result<(), OpenError> {
        for file in std::mem::take(&mut self.state.roots) {
            let envelope = Envelope::split(&file).map_err(OpenError::Signatures)?;
            let stored = Root::danger_from_unverified_json(envelope.document()).map_err(RootError::Invalid)?;
            if stored.version > self.root.version {
                let signatures = envelope.signatures().map_err(OpenError::Signatures)?;
                self.root = self.root.next(envelope.document(), &signatures)?;
                self.state.roots.push(file);
            }
        }
        match self.state.root {
            Some(last) if self.root.version < last.version => {
                Err(OpenError::Older { found: self.root.version, last_trusted: last.version })
            }
            Some(last) if self.root.version == last.version && self.root.seen().digest() != last.digest => {
                Err(OpenError::Forked { version: last.version })
            }
            _ => {
                self.remember_root();
                Ok(())
            }
        }
    }

    fn remember_root(&mut self) {
        let (version, digest) = (self.root.version, self.root.seen().digest());
        if self.state.root.is_some_and(|last| last.version < version)
            && self.root.is_fresh_start(&self.state.index_keys)
        {
            self.state.seen = None;
        }
        self.state.index_keys = self.root.index.ids();
        self.state.root = Some(LastRoot { version, digest });
    }
}

async fn fetch<T: Transport>(
    transport: &T,
    file: RegistryFile,
    download: &mut Download,
) -> Result<Fetched, RefreshError> {
    let fetched = transport.fetch(file, download).await;
    fetched.map_err(|source| RefreshError::Fetch { file, source: Box::new(source) })
}

/// How a refresh went well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refreshed {
    /// There is another index than before.
    Updated,
    /// It is the one from before.
    Unchanged,
}

/// Why a stored state cannot be gone on from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The root that the program brings, and what follows it in the state, ends before what was trusted already: the program
    /// is older than the one before it.
    #[error("root version {last_trusted} was trusted before, and the pinned one leads to version {found} only")]
    Older {
        /// Where the roots end.
        found: NonZeroU64,
        /// The version that was trusted.
        last_trusted: NonZeroU64,
    },
    /// Another root of the same version was trusted before: the state is of another registry.
    #[error("another root of version {version} was trusted before")]
    Forked {
        /// The version.
        version: NonZeroU64,
    },
    /// A stored root does not follow.
    #[error("a stored root does not follow the pinned one")]
    Root(#[from] RootError),
    /// A stored root has no signatures.
    #[error("a stored root has no signatures")]
    Signatures(#[source] InvalidSignatures),
}

/// Why there is no newer index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// A file could not be fetched. Trying again may help.
    #[error("fetching {file} of the registry")]
    Fetch {
        /// The file.
        file: RegistryFile,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// There is no index where it should be.
    #[error("there is no index at the registry's address")]
    Missing,
    /// An index that is not here is said not to have changed.
    #[error("the registry says that the index has not changed, but there is none to use here")]
    NotModified,
    /// The file has no signatures in front.
    #[error("a file of the registry has no signatures")]
    Signatures(#[from] InvalidSignatures),
    /// A new root is refused, or the present one has expired.
    #[error("the registry's root is not usable")]
    Root(#[from] RootError),
    /// The index is refused.
    #[error("the registry's index is not usable")]
    Index(#[from] VerifyError),
}

const MAX_INDEX_FILE_BYTES: usize = MAX_INDEX_BYTES + MAX_SIGNATURES_BYTES + 1;
const MAX_ROOT_FILE_BYTES: usize = MAX_ROOT_BYTES + MAX_SIGNATURES_BYTES + 1;

/// How many roots are taken in one refresh: a server that never ends its chain ends here, and the next refresh goes on.
const MAX_NEW_ROOTS: usize = 64;
