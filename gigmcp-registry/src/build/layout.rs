//! Layout directories, written.
//!
//! Source: OCI image specification 1.1, image-layout.md.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::image::{INDEX, described};
use super::layer::LayerContent;
use crate::digest::Digest;
use crate::lock::Locked;
use crate::oci::{LayoutImage, PullError, layout_blob, layout_images};

/// A layout directory that images are written to. What is in it already stays.
///
/// Nothing is written before an image is whole: a build that fails leaves what was there.
#[derive(Clone, Debug)]
pub struct Layout {
    path: PathBuf,
    /// What the image needs that is not written yet.
    blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Layout {
    /// Opens a layout, or one to be made of a directory that is empty or not there.
    ///
    /// # Errors
    /// [`LayoutError::Occupied`] if something else is there.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LayoutError> {
        let path = path.as_ref().to_owned();
        let is_new = match fs::read_dir(&path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(source) => return Err(LayoutError::Read { path, source }),
        };
        if !is_new && !path.join(MARK).is_file() {
            return Err(LayoutError::Occupied { path });
        }
        Ok(Self { path, blobs: Arc::default() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a layer's content, which is written with the image.
    pub fn add(&self, layer: LayerContent) {
        self.blob(layer.layer.digest, layer.content);
    }

    /// Copies a blob of another layout, verified.
    pub(super) fn copy(&self, from: &Path, digest: Digest) -> Result<(), LayoutError> {
        let source = |source| LayoutError::Read { path: from.to_owned(), source };
        let mut content = Vec::new();
        let mut file = layout_blob(from, digest).map_err(|source| LayoutError::Base { source: Box::new(source) })?;
        file.read_to_end(&mut content).map_err(source)?;
        match Digest::of(&content) {
            found if found == digest => {
                self.blob(digest, content);
                Ok(())
            }
            found => Err(LayoutError::Base { source: Box::new(PullError::WrongDigest { expected: digest, found }) }),
        }
    }

    pub(super) fn json(&self, document: &Value) -> (Digest, u64) {
        let content = document.to_string().into_bytes();
        let (digest, bytes) = (Digest::of(&content), content.len() as u64);
        self.blob(digest, content);
        (digest, bytes)
    }

    /// Writes what was added, and lists the image in `index.json`, last.
    pub(super) fn list(&self, digest: Digest, bytes: u64, tag: Option<&str>) -> Result<(), LayoutError> {
        let _alone = self.lock()?;
        for (name, content) in self.blobs().iter() {
            self.put(&format!("{BLOBS}/{name}"), content)?;
        }
        self.blobs().clear();
        if !self.path.join("index.json").exists() {
            self.write_index(&[])?;
        }
        let images = layout_images(&self.path).map_err(|source| LayoutError::Base { source: Box::new(source) })?;
        let stays = |image: &LayoutImage| image.digest != digest && (tag.is_none() || image.tag.as_deref() != tag);
        let mut entries: Vec<Value> = images.into_iter().filter(stays).map(|image| image.descriptor).collect();
        let mut entry = described(INDEX, digest, bytes);
        if let Some(tag) = tag {
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        }
        entries.push(entry);
        self.write_index(&entries)
    }

    /// Makes the directory if it is not there, and keeps other builds from listing their images at the same time.
    fn lock(&self) -> Result<Locked, LayoutError> {
        let blobs = self.path.join(BLOBS);
        fs::create_dir_all(&blobs).map_err(|source| LayoutError::Write { path: blobs, source })?;
        let locked = File::open(&self.path)
            .and_then(Locked::alone)
            .map_err(|source| LayoutError::Write { path: self.path.clone(), source })?;
        if !self.path.join(MARK).exists() {
            self.put(MARK, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(locked)
    }

    fn write_index(&self, entries: &[Value]) -> Result<(), LayoutError> {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        self.put("index.json", index.to_string().as_bytes())
    }

    fn blob(&self, digest: Digest, content: Vec<u8>) {
        self.blobs().insert(digest.to_hex(), content);
    }

    fn blobs(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whole, or not at all, and through no symlink.
    fn put(&self, name: &str, content: &[u8]) -> Result<(), LayoutError> {
        let path = self.path.join(name);
        let directory = path.parent().unwrap_or(&self.path);
        let all = Permissions::from_mode(0o666); // without what the umask takes
        let written = tempfile::Builder::new().permissions(all).tempfile_in(directory).and_then(|mut file| {
            file.write_all(content)?;
            file.persist(&path).map_err(|error| error.error)
        });
        written.map(drop).map_err(|source| LayoutError::Write { path, source })
    }
}

const MARK: &str = "oci-layout";
const BLOBS: &str = "blobs/sha256";

/// Why a layout cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The directory holds something else.
    #[error("{} holds something that is no image layout", path.display())]
    Occupied {
        /// Which directory.
        path: PathBuf,
    },
    /// Something cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something cannot be written.
    #[error("writing {}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is in a layout is not what it should be.
    #[error("using what is in the layout")]
    Base {
        /// What is wrong.
        source: Box<PullError>,
    },
}
