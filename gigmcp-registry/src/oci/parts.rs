//! What an image is made of, from its digest to its layers.

use super::document::{Config, Descriptor, Document, Manifest};
use super::platform::Said;
use super::source::{Kind, Source};
use super::{DocumentFault, ImageConfig, Platform, PullError};
use crate::digest::Digest;
use crate::extract::{Compression, Exceeded, ExtractError, ImageLimits};
use crate::store::Store;

/// All that was read of an image before its layers.
pub(super) struct Parts {
    pub(super) layers: Vec<Part>,
    pub(super) config: ImageConfig,
    /// The manifests and the configuration.
    pub(super) documents: Vec<Digest>,
}

pub(super) struct Part {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    pub(super) compression: Compression,
    pub(super) diff_id: Digest,
}

/// Follows an image's digest to its layers for one platform.
pub(super) struct Reader<'a> {
    pub(super) store: &'a Store,
    pub(super) source: &'a Source,
    pub(super) limits: &'a ImageLimits,
    pub(super) platform: Platform,
}

impl Reader<'_> {
    pub(super) async fn read(&self, pin: Digest) -> Result<Parts, PullError> {
        let mut documents = vec![pin];
        let manifest = match self.document(pin).await? {
            Document::Manifest(manifest) => manifest,
            Document::Index(manifests) => {
                let chosen = self.choose(pin, &manifests)?;
                documents.push(chosen.digest);
                let Document::Manifest(manifest) = self.document(chosen.digest).await? else {
                    return Err(fault(chosen.digest, DocumentFault::Nested));
                };
                manifest
            }
        };
        documents.push(manifest.config.digest);
        self.with_config(manifest, documents).await
    }

    fn choose<'m>(&self, pin: Digest, manifests: &'m [Descriptor]) -> Result<&'m Descriptor, PullError> {
        let said = |descriptor: &Descriptor| descriptor.platform.as_ref().is_some_and(|said| self.platform.runs(said));
        match manifests.iter().find(|descriptor| said(descriptor)) {
            Some(chosen) if chosen.is_manifest() => Ok(chosen),
            Some(other) => Err(fault(pin, DocumentFault::MediaType(other.media_type.clone()))),
            None => {
                let offered = manifests.iter().filter_map(|descriptor| descriptor.platform.as_ref());
                Err(self.not_for_us(offered))
            }
        }
    }

    async fn with_config(&self, manifest: Manifest, documents: Vec<Digest>) -> Result<Parts, PullError> {
        let Manifest { config: descriptor, layers } = manifest;
        let content = self.small(descriptor.digest, Kind::Blob).await?;
        if content.len() as u64 != descriptor.size {
            let (digest, expected) = (descriptor.digest, descriptor.size);
            return Err(PullError::WrongSize { digest, expected, found: Some(content.len() as u64) });
        }
        let config = Config::parse(&content).map_err(|found| fault(descriptor.digest, found))?;
        if !self.platform.runs(&config.platform) {
            return Err(self.not_for_us([&config.platform]));
        }
        if layers.len() != config.diff_ids.len() {
            let found = DocumentFault::Layers { layers: layers.len(), diff_ids: config.diff_ids.len() };
            return Err(fault(descriptor.digest, found));
        }
        self.check_layers(&layers)?;
        let parts = layers.into_iter().zip(config.diff_ids).map(|((layer, compression), diff_id)| {
            let (digest, limit) = (layer.digest, self.limits.layer_bytes);
            if layer.size > limit {
                return Err(PullError::TooLarge { digest, limit });
            }
            Ok(Part { digest, bytes: layer.size, compression, diff_id })
        });
        Ok(Parts { layers: parts.collect::<Result<_, _>>()?, config: config.config, documents })
    }

    /// Before the first of them is fetched. What they unpack to is bounded, and hardly less than what they are stored in.
    fn check_layers(&self, layers: &[(Descriptor, Compression)]) -> Result<(), PullError> {
        if layers.len() > self.limits.layers {
            let exceeded = ExtractError::TooLarge { layer: self.limits.layers, exceeded: Exceeded::Layers };
            return Err(exceeded.into());
        }
        let (mut left, limit) = (self.limits.bytes, self.limits.bytes);
        for (Descriptor { digest, size, .. }, _) in layers {
            left = left.checked_sub(*size).ok_or(PullError::TooLarge { digest: *digest, limit })?;
        }
        Ok(())
    }

    async fn document(&self, digest: Digest) -> Result<Document, PullError> {
        let content = self.small(digest, Kind::Manifest).await?;
        Document::parse(&content).map_err(|found| fault(digest, found))
    }

    async fn small(&self, digest: Digest, kind: Kind) -> Result<Vec<u8>, PullError> {
        if let Some(content) = self.store.small_blob(&digest, DOCUMENT_BYTES)? {
            return Ok(content);
        }
        let content = self.source.small(digest, DOCUMENT_BYTES, kind).await?;
        self.store.put_small(&content)?;
        Ok(content)
    }

    fn not_for_us<'s>(&self, offered: impl IntoIterator<Item = &'s Said>) -> PullError {
        let offered = offered.into_iter().take(OFFERED).map(Said::to_string).collect();
        PullError::NoPlatform { wanted: self.platform, offered }
    }
}

fn fault(digest: Digest, source: DocumentFault) -> PullError {
    PullError::Document { digest, source }
}

/// What registries accept too.
const DOCUMENT_BYTES: u64 = 4 << 20;
/// In a message.
const OFFERED: usize = 20;
