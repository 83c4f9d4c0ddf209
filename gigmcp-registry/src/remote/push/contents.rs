//! What of a layout is pushed.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::PushError;
use crate::digest::Digest;
use crate::oci::{Descriptor, Document, DocumentFault, ManifestDocument, PullError, layout_blob};

/// All that an image is made of, in the order in which a registry takes it.
pub(super) struct Contents {
    pub(super) layout: PathBuf,
    pub(super) blobs: Vec<Blob>,
    pub(super) manifests: Vec<SmallDocument>,
}

pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

pub(super) struct SmallDocument {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) content: Vec<u8>,
}

impl Contents {
    pub(super) fn read(layout: &Path, digest: Digest) -> Result<Self, PushError> {
        let mut contents = Self { layout: layout.to_owned(), blobs: Vec::new(), manifests: Vec::new() };
        let mut seen = HashSet::new();
        let (content, document) = contents.document(digest)?;
        let top = SmallDocument { digest, media_type: media_type(&content, &document), content };
        match document {
            Document::Manifest(manifest) => contents.add(manifest, &mut seen),
            Document::Index(entries) => {
                for entry in entries {
                    let (content, document) = contents.document(entry.digest)?;
                    let Document::Manifest(manifest) = document else {
                        let source = DocumentFault::Nested;
                        return Err(PullError::Document { digest: entry.digest, source }.into());
                    };
                    contents.add(manifest, &mut seen);
                    let Descriptor { digest, media_type, .. } = entry;
                    contents.manifests.push(SmallDocument { digest, media_type, content });
                }
            }
        }
        contents.manifests.push(top);
        Ok(contents)
    }

    fn add(&mut self, manifest: ManifestDocument, seen: &mut HashSet<Digest>) {
        let layers = manifest.layers.into_iter().map(|(layer, _)| layer);
        for Descriptor { digest, size: bytes, .. } in layers.chain([manifest.config]) {
            if seen.insert(digest) {
                self.blobs.push(Blob { digest, bytes });
            }
        }
    }

    fn document(&self, digest: Digest) -> Result<(Vec<u8>, Document), PushError> {
        let mut content = Vec::new();
        let file = layout_blob(&self.layout, digest)?;
        file.take(DOCUMENT_BYTES).read_to_end(&mut content).map_err(PullError::Layout)?;
        match Digest::of(&content) {
            found if found != digest => Err(PullError::WrongDigest { expected: digest, found }.into()),
            _ => {
                let document = Document::parse(&content).map_err(|source| PullError::Document { digest, source })?;
                Ok((content, document))
            }
        }
    }
}

/// As it says itself, or else as its kind is called.
fn media_type(content: &[u8], document: &Document) -> String {
    let said: Option<serde_json::Value> = serde_json::from_slice(content).ok();
    let said = said.and_then(|said| said["mediaType"].as_str().map(str::to_owned));
    said.unwrap_or_else(|| match document {
        Document::Index(_) => "application/vnd.oci.image.index.v1+json".to_owned(),
        Document::Manifest(_) => "application/vnd.oci.image.manifest.v1+json".to_owned(),
    })
}

/// Whether a blob is what it should be, before it is sent.
pub(super) fn check(layout: &Path, digest: Digest, expected: u64) -> Result<(), PushError> {
    let (mut file, mut hasher, mut bytes) = (layout_blob(layout, digest)?, sha2::Sha256::new(), 0);
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece).map_err(PullError::Layout)? {
            0 => break,
            read => {
                hasher.update(&piece[..read]);
                bytes += read as u64;
            }
        }
    }
    match Digest::from_sha256(hasher) {
        found if found != digest => Err(PullError::WrongDigest { expected: digest, found }.into()),
        _ if bytes != expected => Err(PullError::WrongSize { digest, expected, found: Some(bytes) }.into()),
        _ => Ok(()),
    }
}

const DOCUMENT_BYTES: u64 = 4 << 20;
