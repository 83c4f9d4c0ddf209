//! Layout directories, written.
//!
//! Source: OCI image specification 1.1, image-layout.md.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::image::{INDEX, described};
use super::layer::LayerContent;
use crate::digest::Digest;
use crate::oci::{LayoutImage, PullError, layout_blob, layout_images};

/// A layout directory that images are written to. What is in it already stays.
#[derive(Clone, Debug)]
pub struct Layout(PathBuf);

impl Layout {
    /// Opens a layout, or makes one of a directory that is empty or not there.
    ///
    /// # Errors
    /// [`LayoutError::Occupied`] if something else is there.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LayoutError> {
        let layout = Self(path.as_ref().to_owned());
        let is_new = match fs::read_dir(&layout.0) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(source) => return Err(LayoutError::Read { path: layout.0, source }),
        };
        if is_new {
            let blobs = layout.0.join("blobs/sha256");
            fs::create_dir_all(&blobs).map_err(|source| LayoutError::Write { path: blobs, source })?;
            layout.put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            layout.write_index(&[])?;
        } else if !layout.0.join("oci-layout").is_file() {
            return Err(LayoutError::Occupied { path: layout.0 });
        }
        Ok(layout)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Adds a layer's content.
    ///
    /// # Errors
    /// [`LayoutError`] if it cannot be written.
    pub fn add(&self, layer: &LayerContent) -> Result<(), LayoutError> {
        self.blob(layer.layer.digest, &layer.content)
    }

    /// Copies a blob of another layout, verified.
    pub(super) fn copy(&self, from: &Path, digest: Digest) -> Result<(), LayoutError> {
        let source = |source| LayoutError::Read { path: from.to_owned(), source };
        let mut content = Vec::new();
        let mut file = layout_blob(from, digest).map_err(|source| LayoutError::Base { source: Box::new(source) })?;
        file.read_to_end(&mut content).map_err(source)?;
        match Digest::of(&content) {
            found if found == digest => self.blob(digest, &content),
            found => Err(LayoutError::Base { source: Box::new(PullError::WrongDigest { expected: digest, found }) }),
        }
    }

    pub(super) fn json(&self, document: &Value) -> Result<(Digest, u64), LayoutError> {
        let content = document.to_string().into_bytes();
        let digest = Digest::of(&content);
        self.blob(digest, &content)?;
        Ok((digest, content.len() as u64))
    }

    /// Lists an image in `index.json`.
    pub(super) fn list(&self, digest: Digest, bytes: u64, tag: Option<&str>) -> Result<(), LayoutError> {
        let images = layout_images(&self.0).map_err(|source| LayoutError::Base { source: Box::new(source) })?;
        let stays = |image: &LayoutImage| image.digest != digest && (tag.is_none() || image.tag.as_deref() != tag);
        let mut entries: Vec<Value> = images.into_iter().filter(stays).map(|image| image.descriptor).collect();
        let mut entry = described(INDEX, digest, bytes);
        if let Some(tag) = tag {
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        }
        entries.push(entry);
        self.write_index(&entries)
    }

    fn write_index(&self, entries: &[Value]) -> Result<(), LayoutError> {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        self.put("index.json", index.to_string().as_bytes())
    }

    fn blob(&self, digest: Digest, content: &[u8]) -> Result<(), LayoutError> {
        self.put(&format!("blobs/sha256/{}", digest.to_hex()), content)
    }

    /// Whole, or not at all.
    fn put(&self, name: &str, content: &[u8]) -> Result<(), LayoutError> {
        let path = self.0.join(name);
        let new = self.0.join(format!("{name}.new"));
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(content)?;
            fs::rename(&new, &path)
        });
        written.map_err(|source| LayoutError::Write { path, source })
    }
}

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
