//! Unpacks the layers of an image into one read-only tree.
//!
//! Nothing in a layer is believed. Every path is resolved by the kernel below the tree's root and through no symlink
//! (`openat2`), nothing is ever written in place, and what a server must not get is not there: devices, FIFOs, owners,
//! set-id bits, capabilities and other extended attributes.

mod error;
#[cfg(any(fuzzing, test))]
pub(crate) mod laws;
mod layer;
mod limits;
mod report;
mod tree;
mod whiteout;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

pub use error::{Exceeded, ExtractError};
pub use layer::{Compression, Layer};
pub use limits::ImageLimits;
pub use report::{Dropped, Extracted};

use crate::seal;
use crate::tar::{Archive, Entry, EntryPath, Kind, LayerRefusal, Segment};
use error::Fault;
use layer::Unpacked;
use tree::{Touched, Tree};
use whiteout::Meaning;

/// Unpacks layers, the lowest first, into the empty directory `into`, and makes the result read-only.
///
/// Files get mode 0444, or 0555 if anybody might execute them, and directories 0555, all of the calling user: a sandbox
/// has one user, and an image nothing to hide from it. Files keep their time of modification, in whole seconds. Hard links,
/// symlinks, holes and names are kept as they are; names that only differ in case or Unicode form stay two.
///
/// The directory should be one that nobody else can enter. After an error, what is in it must not be used.
///
/// # Errors
/// [`ExtractError`]: a layer is not what its diff ID says, holds something that is refused, exceeds the limits, or cannot be
/// written.
pub fn extract<R: Read>(
    into: &Path,
    layers: impl IntoIterator<Item = Layer<R>>,
    limits: &ImageLimits,
) -> Result<Extracted, ExtractError> {
    let mut extraction = Extraction { tree: Tree::open(into)?, limits, report: Extracted::default() };
    for (number, layer) in layers.into_iter().enumerate() {
        if number >= limits.layers {
            return Err(ExtractError::TooLarge { layer: number, exceeded: Exceeded::Layers });
        }
        extraction.apply(number, layer)?;
    }
    let Extraction { tree, mut report, .. } = extraction;
    report.tree = seal::seal(&tree.root).map_err(ExtractError::Seal)?;
    Ok(report)
}

struct Extraction<'a> {
    tree: Tree,
    limits: &'a ImageLimits,
    report: Extracted,
}

impl Extraction<'_> {
    fn apply<R: Read>(&mut self, number: usize, layer: Layer<R>) -> Result<(), ExtractError> {
        let expected = layer.diff_id;
        let mut at = Place { entry: 0, path: None };
        let mut stream =
            Unpacked::new(layer, self.limits, self.report.unpacked_bytes).map_err(|fault| at.error(number, fault))?;
        let applied = self.entries(&mut stream, number > 0, &mut at);
        let found = applied.and_then(|()| stream.finish()).map_err(|fault| at.error(number, fault))?;
        if found.diff_id != expected {
            return Err(ExtractError::DiffId { layer: number, expected, found: found.diff_id });
        }
        self.report.unpacked_bytes += found.bytes;
        Ok(())
    }

    fn entries(&mut self, stream: &mut Unpacked<impl Read>, is_upper: bool, at: &mut Place) -> Result<(), Fault> {
        let mut archive = Archive::new(stream, self.limits);
        // Only layers above the lowest can remove something that is not their own.
        let mut touched = is_upper.then(Touched::default);
        loop {
            *at = Place { entry: at.entry + 1, path: None };
            let Some(entry) = archive.entry()? else { return Ok(()) };
            at.path = Some(entry.path.clone());
            self.report.entries += 1;
            self.check_entries()?;
            self.report.dropped.attributes += u64::from(entry.attributes);
            match Meaning::of(&entry)? {
                Meaning::Entry => {
                    self.place(&entry, &mut archive)?;
                    self.check_entries()?;
                    if let Some(touched) = &mut touched {
                        touched.add(&entry.path);
                    }
                }
                Meaning::Whiteout(path) => touched.iter_mut().try_for_each(|own| self.tree.remove_lower(&path, own))?,
                Meaning::Opaque(path) => touched.iter_mut().try_for_each(|own| self.tree.clear_lower(path, own))?,
            }
        }
    }

    /// An entry of 512 bytes can name as many directories as may be in each other.
    fn check_entries(&self) -> Result<(), Exceeded> {
        let made = self.report.entries + self.tree.implied;
        if made > self.limits.entries { Err(Exceeded::Entries) } else { Ok(()) }
    }

    fn place(&mut self, entry: &Entry, archive: &mut Archive<'_, impl Read>) -> Result<(), Fault> {
        if entry.path.is_root() {
            return if entry.kind == Kind::Directory { Ok(()) } else { Err(LayerRefusal::Root.into()) };
        }
        match &entry.kind {
            Kind::Directory => self.tree.directory(&entry.path),
            Kind::File { bytes, segments } => self.file(entry, *bytes, segments.as_deref(), archive),
            Kind::Symlink(target) => self.tree.symlink(&entry.path, target),
            Kind::HardLink(target) => self.tree.hard_link(&entry.path, target),
            Kind::Special => {
                self.report.dropped.special += 1;
                self.tree.remove(&entry.path)
            }
        }
    }

    fn file(
        &mut self,
        entry: &Entry,
        bytes: u64,
        segments: Option<&[Segment]>,
        archive: &mut Archive<'_, impl Read>,
    ) -> Result<(), Fault> {
        self.report.file_bytes = self.report.file_bytes.saturating_add(bytes);
        if self.report.file_bytes > self.limits.bytes {
            return Err(Exceeded::Bytes.into());
        }
        self.report.dropped.mode_bits += u64::from(entry.mode & 0o7000 != 0);
        let mut file = self.tree.file(&entry.path)?;
        match segments {
            None => file.fill(archive)?,
            Some(segments) => file.fill_sparse(archive, segments, bytes)?,
        }
        file.finish(entry.mode & 0o111 != 0, entry.modified)
    }
}

/// Which entry is being worked on, for errors.
struct Place {
    entry: u64,
    path: Option<EntryPath>,
}

impl Place {
    fn error(&self, layer: usize, fault: Fault) -> ExtractError {
        let path = self.path.as_ref().map(|path| path.as_bytes().escape_ascii().to_string()).unwrap_or_default();
        match fault {
            Fault::Refused(why) => ExtractError::Refused { layer, entry: self.entry, path, why },
            Fault::Exceeded(exceeded) => ExtractError::TooLarge { layer, exceeded },
            Fault::Read(source) => ExtractError::Read { layer, source },
            Fault::Write(source) => ExtractError::Write { layer, path, source },
        }
    }
}

/// Opens a directory without following a symlink in its place.
pub(crate) fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The names in a directory, in the order of their bytes.
pub(crate) fn names(dir: impl AsFd) -> rustix::io::Result<Vec<Box<[u8]>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        match entry?.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(name.into()),
        }
    }
    names.sort_unstable();
    Ok(names)
}
