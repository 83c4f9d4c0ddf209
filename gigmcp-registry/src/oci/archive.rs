//! Layouts in a tar archive, as `skopeo copy … oci-archive:` and `docker save` write them.

use std::collections::HashSet;
use std::io::{self, Read};

use super::layout::{check_marker, copy};
use super::{Progress, PullError};
use crate::digest::Digest;
use crate::extract::ImageLimits;
use crate::store::Store;
use crate::tar::{Archive, Kind, TarError};

/// Puts all blobs of an archive into the store, each verified, whether they will be used or not: an archive is read once, in
/// its own order. What no image was made from is collected as garbage later.
pub(super) fn unpack(
    archive: impl Read,
    store: &Store,
    limits: &ImageLimits,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    let mut archive = Archive::new(archive, limits);
    let (mut is_layout, mut left, mut seen) = (false, limits.bytes, HashSet::new());
    let mut entries = 0;
    while let Some(entry) = archive.entry().map_err(unreadable)? {
        entries += 1;
        if entries > limits.entries {
            return Err(invalid("the archive has too many entries"));
        }
        let Kind::File { bytes, segments: None } = entry.kind else { continue };
        let mut content = Content(&mut archive);
        if entry.path.as_bytes() == b"oci-layout" {
            let mut marker = Vec::new();
            content.take(MARKER_BYTES).read_to_end(&mut marker).map_err(PullError::Layout)?;
            check_marker(&marker)?;
            is_layout = true;
        } else if let Some(digest) = blob_name(entry.path.as_bytes()) {
            left = left.checked_sub(bytes).ok_or(PullError::TooLarge { digest, limit: limits.bytes })?;
            if !seen.insert(digest) {
                return Err(invalid("the archive has a blob twice"));
            }
            put(&mut content, store, digest, bytes, progress)?;
        }
    }
    if is_layout { Ok(()) } else { Err(invalid("there is no file `oci-layout`")) }
}

fn put(
    content: &mut impl Read,
    store: &Store,
    digest: Digest,
    bytes: u64,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    while store.blob(&digest)?.is_none() {
        if let Some(partial) = store.partial(&digest, bytes)? {
            return copy(content, partial, digest, progress);
        }
        std::thread::sleep(std::time::Duration::from_millis(100)); // somebody else is at it
    }
    Ok(())
}

fn blob_name(path: &[u8]) -> Option<Digest> {
    let digits = std::str::from_utf8(path.strip_prefix(b"blobs/sha256/")?).ok()?;
    format!("sha256:{digits}").parse().ok()
}

/// The content of the present entry.
struct Content<'a, 'b, R>(&'a mut Archive<'b, R>);

impl<R: Read> Read for Content<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.content(buffer).map_err(|error| match error {
            TarError::Read(error) => error,
            TarError::Refused(refusal) => io::Error::new(io::ErrorKind::InvalidData, refusal),
        })
    }
}

fn unreadable(error: TarError) -> PullError {
    PullError::Layout(match error {
        TarError::Read(error) => error,
        TarError::Refused(refusal) => io::Error::new(io::ErrorKind::InvalidData, refusal),
    })
}

fn invalid(what: &'static str) -> PullError {
    PullError::Layout(io::Error::new(io::ErrorKind::InvalidData, what))
}

const MARKER_BYTES: u64 = 1024;
