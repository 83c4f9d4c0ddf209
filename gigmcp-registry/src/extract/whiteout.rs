//! Names that remove what lower layers have.
//!
//! Source: OCI image specification 1.1, layer.md, Whiteouts.

use crate::tar::{Entry, EntryPath, Kind, LayerRefusal};

/// What an entry means.
pub(super) enum Meaning<'a> {
    Entry,
    /// What lower layers have at this path is not there.
    Whiteout(Vec<u8>),
    /// What lower layers have in this directory is not there.
    Opaque(&'a [u8]),
}

impl<'a> Meaning<'a> {
    pub(super) fn of(entry: &'a Entry) -> Result<Self, LayerRefusal> {
        let (dir, name) = entry.path.split();
        if dir.split(|byte| *byte == b'/').any(|part| part.starts_with(PREFIX)) {
            return Err(LayerRefusal::Whiteout);
        }
        let Some(removed) = name.strip_prefix(PREFIX) else { return Ok(Self::Entry) };
        if entry.kind != (Kind::File { bytes: 0, segments: None }) {
            return Err(LayerRefusal::Whiteout);
        }
        match removed {
            b".wh..opq" => Ok(Self::Opaque(dir)),
            // The rest of that prefix belongs to AUFS.
            b"" | b"." | b".." => Err(LayerRefusal::Whiteout),
            _ if removed.starts_with(PREFIX) => Err(LayerRefusal::Whiteout),
            _ if dir.is_empty() => Ok(Self::Whiteout(removed.to_vec())),
            _ => Ok(Self::Whiteout([dir, b"/", removed].concat())),
        }
    }
}

/// Whether a path could be that of a file in a tree.
pub(super) fn is_plain(path: &EntryPath) -> bool {
    !path.as_bytes().split(|byte| *byte == b'/').any(|part| part.starts_with(PREFIX))
}

const PREFIX: &[u8] = b".wh.";
