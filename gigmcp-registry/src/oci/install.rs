//! From a digest to a tree that can be run.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::parts::{Part, Parts, Reader};
use super::source::Source;
use super::{ImageConfig, ImageReference, Platform, Progress, PullError, PullEvent, archive, layout};
use crate::digest::Digest;
use crate::extract::{Extracted, ImageLimits, Layer, extract};
use crate::remote::Remote;
use crate::seal::TreeDigest;
use crate::store::{Lease, Record, Store};

/// An image that can be run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Installed {
    /// The digest of what was unpacked. Whoever remembers it gets the same tree, or none, from [`Store::lease`].
    pub tree: TreeDigest,
    /// How the image wants to be started.
    pub config: ImageConfig,
    /// What was unpacked; nothing if the tree was there.
    pub extracted: Option<Extracted>,
    /// Keeps the tree from being collected until it is written down that it is needed.
    pub lease: Lease,
}

/// Brings images into a store.
#[derive(Clone)]
pub struct Installer {
    store: Store,
    platform: Platform,
    limits: ImageLimits,
    progress: Arc<dyn Progress>,
}

impl Installer {
    /// Brings images for this platform into this store.
    #[must_use]
    pub fn new(store: Store, platform: Platform) -> Self {
        Self { store, platform, limits: ImageLimits::default(), progress: Arc::new(|_| {}) }
    }

    /// With other bounds than [`ImageLimits::default`].
    #[must_use]
    pub fn limits(mut self, limits: ImageLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells how it goes on.
    #[must_use]
    pub fn progress(mut self, progress: impl Progress + 'static) -> Self {
        self.progress = Arc::new(progress);
        self
    }

    /// Installs an image from its registry, or a mirror of that.
    ///
    /// Dropping the future stops it: what was fetched of a layer stays for the next attempt.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn pull(&self, remote: &Remote, image: &ImageReference) -> Result<Installed, PullError> {
        let source = Source::Remote { remote: remote.clone(), image: image.clone() };
        self.install(image.digest, source, async || Ok(())).await
    }

    /// Installs an image from an OCI layout directory.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn from_layout(&self, directory: impl AsRef<Path>, digest: Digest) -> Result<Installed, PullError> {
        let directory = directory.as_ref().to_owned();
        let source = Source::Layout(directory.clone());
        self.install(digest, source, async move || layout::check(directory).await).await
    }

    /// Installs an image from a tar archive of an OCI layout directory, not compressed.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn from_archive(
        &self,
        content: impl Read + Send + 'static,
        digest: Digest,
    ) -> Result<Installed, PullError> {
        let Self { store, limits, progress, .. } = self.clone();
        let unpack =
            async move || layout::blocking(move || archive::unpack(content, &store, &limits, &*progress)).await;
        self.install(digest, Source::Store, unpack).await
    }

    async fn install(
        &self,
        pin: Digest,
        source: Source,
        prepare: impl AsyncFnOnce() -> Result<(), PullError>,
    ) -> Result<Installed, PullError> {
        let store = self.store.clone();
        // Until the lease is given: nothing that is put there is collected.
        let adding = layout::blocking(move || Ok(store.adding()?)).await?;
        if let Some(installed) = self.already_there(pin).await? {
            return Ok(installed);
        }
        prepare().await?;
        let parts = self.reader(&source).read(pin).await?;
        let bytes = parts.layers.iter().map(|part| part.bytes).sum();
        self.progress.event(PullEvent::Layers { count: parts.layers.len(), bytes });
        self.fetch(&source, &parts.layers).await?;
        self.progress.event(PullEvent::Unpacking);
        let this = self.clone();
        let installed = layout::blocking(move || {
            let installed = this.unpack(pin, parts);
            drop(adding);
            installed
        });
        let installed = installed.await?;
        self.progress.event(PullEvent::Installed);
        Ok(installed)
    }

    fn reader<'a>(&'a self, source: &'a Source) -> Reader<'a> {
        Reader { store: &self.store, source, limits: &self.limits, platform: self.platform }
    }

    async fn already_there(&self, pin: Digest) -> Result<Option<Installed>, PullError> {
        let Some(record) = self.store.record(&pin, self.platform.architecture())? else { return Ok(None) };
        // By the digests again: a record says which tree it is, and nothing else is taken from it.
        let Ok(Parts { config, .. }) = self.reader(&Source::Store).read(pin).await else { return Ok(None) };
        let (store, tree) = (self.store.clone(), record.tree);
        // One that was damaged is made again.
        let lease = layout::blocking(move || Ok(store.lease(tree).ok())).await?;
        Ok(lease.map(|lease| Installed { tree, config, extracted: None, lease }))
    }

    async fn fetch(&self, source: &Source, layers: &[Part]) -> Result<(), PullError> {
        let mut left = layers.iter().map(|part| (part.digest, part.bytes));
        let mut running = JoinSet::<Result<(), PullError>>::new();
        loop {
            while running.len() < source.at_once()
                && let Some((digest, bytes)) = left.next()
            {
                let (store, source, progress) = (self.store.clone(), source.clone(), Arc::clone(&self.progress));
                running.spawn(async move {
                    match store.blob(&digest)? {
                        Some(_) => progress.event(PullEvent::Fetched { digest, bytes, of: bytes }),
                        None => source.blob(&store, digest, bytes, progress).await?,
                    }
                    Ok(())
                });
            }
            match running.join_next().await {
                None => return Ok(()),
                Some(Ok(fetched)) => fetched?,
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }

    fn unpack(&self, pin: Digest, parts: Parts) -> Result<Installed, PullError> {
        let blobs = parts.documents.iter().copied().chain(parts.layers.iter().map(|part| part.digest)).collect();
        let layers = parts.layers.into_iter().map(|Part { digest, compression, diff_id, .. }| {
            let content = self.store.blob(&digest)?.ok_or(PullError::Missing { digest })?;
            Ok(Layer { content, compression, diff_id })
        });
        let layers = layers.collect::<Result<Vec<_>, PullError>>()?;
        let staging = self.store.staging()?;
        let extracted = extract(&staging.rootfs(), layers, &self.limits)?;
        let tree = extracted.tree;
        staging.publish(tree)?;
        let record = Record { tree, blobs };
        self.store.write_record(&pin, self.platform.architecture(), &record)?;
        let lease = self.store.lease(tree)?;
        Ok(Installed { tree, config: parts.config, extracted: Some(extracted), lease })
    }
}

impl std::fmt::Debug for Installer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installer")
            .field("store", &self.store)
            .field("platform", &self.platform)
            .finish_non_exhaustive()
    }
}
