//! Images in a directory, as `skopeo` and `buildah` write them.
//!
//! Source: OCI image specification 1.1, image-layout.md.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};

use super::{Progress, PullError, PullEvent};
use crate::digest::Digest;
use crate::extract::open_directory;
use crate::store::{BlobFault, Partial, Store};

/// Whether a directory, or an archive of one, says that it is a layout, in its file `oci-layout`.
pub(super) fn check_marker(content: &[u8]) -> Result<(), PullError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    match serde_json::from_slice::<Marker>(content) {
        Ok(marker) if marker.image_layout_version == "1.0.0" => Ok(()),
        _ => Err(PullError::Layout(io::Error::new(io::ErrorKind::InvalidData, "this is no OCI layout, version 1.0.0"))),
    }
}

/// The file `oci-layout` of a directory.
pub(super) async fn check(directory: PathBuf) -> Result<(), PullError> {
    blocking(move || {
        let mut content = Vec::new();
        let directory = open_directory(&directory).map_err(|error| PullError::Layout(error.into()))?;
        let marker = open(&directory, "oci-layout").map_err(PullError::Layout)?;
        marker.take(MARKER_BYTES).read_to_end(&mut content).map_err(PullError::Layout)?;
        check_marker(&content)
    })
    .await
}

pub(super) async fn small(directory: PathBuf, digest: Digest, limit: u64) -> Result<Vec<u8>, PullError> {
    blocking(move || {
        let mut content = Vec::new();
        open_blob(&directory, digest)?.take(limit + 1).read_to_end(&mut content).map_err(PullError::Layout)?;
        if content.len() as u64 > limit { Err(PullError::TooLarge { digest, limit }) } else { Ok(content) }
    })
    .await
}

pub(super) async fn blob(
    directory: PathBuf,
    store: Store,
    digest: Digest,
    bytes: u64,
    progress: Arc<dyn Progress>,
) -> Result<(), PullError> {
    blocking(move || {
        let content = open_blob(&directory, digest)?;
        while store.blob(&digest)?.is_none() {
            // Whoever else is at it copies a file too, or stops.
            if let Some(partial) = store.partial(&digest, bytes)? {
                return copy(content, partial, digest, &*progress);
            }
            std::thread::sleep(LOCK_POLL);
        }
        Ok(())
    })
    .await
}

/// Copies a blob from its beginning. There is nothing to gain by going on where an attempt before stopped.
pub(super) fn copy(
    mut content: impl Read,
    mut partial: Partial,
    digest: Digest,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    partial.restart().map_err(PullError::Layout)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = match content.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => return discard(partial, PullError::Layout(error)),
        };
        if let Err(fault) = partial.write(&piece[..read]) {
            let error = explain(fault, digest, partial.bytes());
            return discard(partial, error);
        }
        progress.event(PullEvent::Fetched { digest, bytes: partial.have(), of: partial.bytes() });
    }
    let bytes = partial.bytes();
    partial.finish().map_err(|fault| explain(fault, digest, bytes))
}

fn discard(partial: Partial, error: PullError) -> Result<(), PullError> {
    partial.discard()?;
    Err(error)
}

/// What is wrong with a blob, for people.
pub(crate) fn explain(fault: BlobFault, digest: Digest, expected: u64) -> PullError {
    match fault {
        BlobFault::Digest(found) => PullError::WrongDigest { expected: digest, found },
        BlobFault::Long => PullError::WrongSize { digest, expected, found: None },
        BlobFault::Short(found) => PullError::WrongSize { digest, expected, found: Some(found) },
        BlobFault::Store(error) => error.into(),
    }
}

/// An image that a layout lists.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LayoutImage {
    /// Of its index or manifest.
    pub digest: Digest,
    /// The name it is listed by.
    pub tag: Option<String>,
    /// All that is said of it.
    #[cfg_attr(not(feature = "build"), allow(dead_code, reason = "whoever writes layouts keeps it"))]
    pub(crate) descriptor: serde_json::Value,
}

/// The images that a layout directory lists in its `index.json`. Nothing of them is read.
///
/// # Errors
/// [`PullError::Layout`] if it is no layout directory.
pub fn layout_images(directory: impl AsRef<Path>) -> Result<Vec<LayoutImage>, PullError> {
    let invalid = || PullError::Layout(io::Error::new(io::ErrorKind::InvalidData, "`index.json` is no list of images"));
    let root = open_directory(directory.as_ref()).map_err(|error| PullError::Layout(error.into()))?;
    let read = |name: &str, limit| {
        let mut content = Vec::new();
        open(&root, name).and_then(|file| file.take(limit).read_to_end(&mut content)).map_err(PullError::Layout)?;
        Ok::<_, PullError>(content)
    };
    check_marker(&read("oci-layout", MARKER_BYTES)?)?;
    let index: serde_json::Value = serde_json::from_slice(&read("index.json", INDEX_BYTES)?).map_err(|_| invalid())?;
    let image = |descriptor: &serde_json::Value| {
        let digest = descriptor["digest"].as_str()?.parse().ok()?;
        let tag = descriptor["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned);
        Some(LayoutImage { digest, tag, descriptor: descriptor.clone() })
    };
    let images = index["manifests"].as_array().ok_or_else(invalid)?.iter().map(image);
    images.collect::<Option<_>>().ok_or_else(invalid)
}

/// Content of a layout, not verified.
pub(crate) fn open_blob(directory: &Path, digest: Digest) -> Result<File, PullError> {
    let blobs = open_directory(directory).and_then(|layout| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(openat(layout, "blobs", flags, Mode::empty())?, "sha256", flags, Mode::empty())
    });
    let blobs = blobs.map_err(|error| PullError::Layout(error.into()))?;
    match open(&blobs, &digest.to_hex()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PullError::Missing { digest }),
        opened => opened.map_err(PullError::Layout),
    }
}

/// A regular file, and nothing that blocks or leads elsewhere.
fn open(directory: &impl std::os::fd::AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(directory, name, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "there is no regular file")),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

const PIECE_BYTES: usize = 128 << 10;
/// A list of thousands of images.
const INDEX_BYTES: u64 = 4 << 20;
const MARKER_BYTES: u64 = 1024;
const LOCK_POLL: std::time::Duration = std::time::Duration::from_millis(100);
