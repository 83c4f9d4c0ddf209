//! Reads tar archives: ustar, GNU and pax, with their long names and sparse files.
//!
//! A parser of our own, because readers of tar disagree on what is ambiguous, and an image that one of them reviewed and
//! another one runs is an attack. What two readers could read differently is refused here: a size that two headers give
//! differently, a name that is given twice, content of what has none, anything behind the end.

mod header;
mod name;
mod number;
mod pax;
mod refusal;
mod sparse;

use std::io::{self, Read};

pub(crate) use name::EntryPath;
pub use refusal::LayerRefusal;
pub(crate) use sparse::Segment;

use crate::extract::ImageLimits;
use header::{BLOCK, Block, Header};
use pax::Records;

/// Why reading an archive ended.
#[derive(Debug)]
pub(crate) enum TarError {
    Read(io::Error),
    Refused(LayerRefusal),
}

impl From<LayerRefusal> for TarError {
    fn from(refusal: LayerRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// One entry, as far as its headers say.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) path: EntryPath,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Seconds since 1970, between 0 and `u32::MAX`: what every file system can hold.
    pub(crate) modified: u32,
    /// Extended attributes, which are never set.
    pub(crate) attributes: u32,
}

#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Directory,
    File {
        bytes: u64,
        /// Where content is, if the file has holes.
        segments: Option<Vec<Segment>>,
    },
    Symlink(Vec<u8>),
    HardLink(EntryPath),
    /// A device, a FIFO.
    Special,
}

/// The entries of an archive, one after the other.
pub(crate) struct Archive<'a, R> {
    stream: R,
    limits: &'a ImageLimits,
    /// Content of the present entry that was not read yet, and the padding behind it.
    left: u64,
    padding: u64,
}

impl<'a, R: Read> Archive<'a, R> {
    pub(crate) fn new(stream: R, limits: &'a ImageLimits) -> Self {
        Self { stream, limits, left: 0, padding: 0 }
    }

    /// The next entry; what was left of the one before is skipped.
    pub(crate) fn entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip()?;
        let mut pending = Pending::default();
        while let Some(block) = self.block()? {
            if block.iter().all(|byte| *byte == 0) {
                pending.must_be_empty()?;
                self.only_zeros_follow()?;
                return Ok(None);
            }
            let header = Header::parse(&block)?;
            match header.kind {
                b'x' => pending.records(Records::parse(&self.extension(header.size)?)?)?,
                b'g' => Records::check_global(&self.extension(header.size)?)?,
                b'L' => pending.long_name(name::long(self.extension(header.size)?)?)?,
                b'K' => pending.long_link(name::long(self.extension(header.size)?)?)?,
                _ => return self.described(header, &block, pending).map(Some),
            }
        }
        pending.must_be_empty()?;
        Ok(None)
    }

    /// Content of the present entry, without its holes; 0 at its end.
    pub(crate) fn content(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        match self.read(&mut buffer[..wanted])? {
            0 => Err(LayerRefusal::CutShort.into()),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }

    fn described(&mut self, header: Header, block: &Block, pending: Pending) -> Result<Entry, TarError> {
        let Pending { records, long_name, long_link } = pending;
        let records = records.unwrap_or_default();
        let stored = records.stored_bytes(&header)?;
        self.hold(stored);
        let kind = header.kind;
        let sparse = if kind == b'S' || records.is_sparse() { Some(self.sparse(block, &records, kind)?) } else { None };
        let given = records.sparse.name.or(records.path).or(long_name);
        let raw = given.unwrap_or(header.name);
        let link = records.link.or(long_link).unwrap_or(header.link);
        let kind = match kind {
            // All readers take what is older than types of entries for a directory then; of what has a type, only some do.
            b'\0' if raw.ends_with(b"/") && sparse.is_none() => empty(stored, Kind::Directory)?,
            b'0' | b'\0' | b'7' | b'S' if raw.ends_with(b"/") => return Err(LayerRefusal::FileOrDirectory.into()),
            b'0' | b'\0' | b'7' | b'S' => match sparse {
                Some((bytes, segments)) => Kind::File { bytes, segments: Some(segments) },
                None => Kind::File { bytes: stored, segments: None },
            },
            _ if sparse.is_some() => return Err(LayerRefusal::Sparse.into()),
            b'1' => empty(stored, Kind::HardLink(EntryPath::parse(&link, self.limits)?))?,
            b'2' => empty(stored, Kind::Symlink(name::target(link)?))?,
            b'3' | b'4' | b'6' => empty(stored, Kind::Special)?,
            b'5' => empty(stored, Kind::Directory)?,
            _ => return Err(LayerRefusal::UnknownType.into()),
        };
        Ok(Entry {
            path: EntryPath::parse(&raw, self.limits)?,
            kind,
            mode: header.mode,
            modified: records.modified.unwrap_or(header.modified),
            attributes: records.attributes,
        })
    }

    /// The size of a sparse file and where its content is, which must be all that is stored.
    fn sparse(&mut self, block: &Block, records: &Records, kind: u8) -> Result<(u64, Vec<Segment>), TarError> {
        let (bytes, segments) = if kind == b'S' {
            // In other formats, the beginning of the name is where this one has the map.
            if records.is_sparse() || block[257..265] != *header::GNU {
                return Err(LayerRefusal::Sparse.into());
            }
            // The map goes on in blocks before the content, which the size does not count.
            sparse::old_gnu(block, || self.block()?.ok_or(LayerRefusal::CutShort.into()))?
        } else if records.sparse.in_content()? {
            let bytes = records.sparse.bytes()?;
            (bytes, sparse::in_content(|| self.content_block())?)
        } else {
            (records.sparse.bytes()?, records.sparse.segments()?)
        };
        sparse::check(&segments, bytes, self.left)?;
        Ok((bytes, segments))
    }

    fn content_block(&mut self) -> Result<Block, TarError> {
        self.left = self.left.checked_sub(BLOCK as u64).ok_or(LayerRefusal::Sparse)?;
        self.block()?.ok_or(LayerRefusal::CutShort.into())
    }

    /// The whole content of a header that extends the next one.
    fn extension(&mut self, bytes: u64) -> Result<Vec<u8>, TarError> {
        if bytes > self.limits.extension_bytes {
            return Err(LayerRefusal::LongExtension.into());
        }
        self.hold(bytes);
        let mut content = vec![0; bytes as usize];
        let mut read = 0;
        while read < content.len() {
            read += self.content(&mut content[read..])?;
        }
        self.skip()?;
        Ok(content)
    }

    fn hold(&mut self, bytes: u64) {
        self.left = bytes;
        self.padding = bytes.wrapping_neg() % BLOCK as u64;
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 8192];
        while self.content(&mut buffer)? > 0 {}
        self.left = std::mem::take(&mut self.padding);
        while self.content(&mut buffer)? > 0 {}
        Ok(())
    }

    fn block(&mut self) -> Result<Option<Block>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(LayerRefusal::CutShort.into()),
                read => filled += read,
            }
        }
        Ok(Some(block))
    }

    fn only_zeros_follow(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 8192];
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(()),
                read if buffer[..read].iter().all(|byte| *byte == 0) => {}
                _ => return Err(LayerRefusal::BehindTheEnd.into()),
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(LayerRefusal::CutShort.into()),
                read => return read.map_err(TarError::Read),
            }
        }
    }
}

/// What the headers before an entry's own say about it.
#[derive(Default)]
struct Pending {
    records: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Pending {
    fn records(&mut self, records: Records) -> Result<(), LayerRefusal> {
        let twice = self.records.is_some() || self.long_name.is_some() || self.long_link.is_some();
        if twice {
            return Err(LayerRefusal::SaidTwice);
        }
        self.records = Some(records);
        Ok(())
    }

    fn long_name(&mut self, name: Vec<u8>) -> Result<(), LayerRefusal> {
        if self.records.is_some() || self.long_name.is_some() {
            return Err(LayerRefusal::SaidTwice);
        }
        self.long_name = Some(name);
        Ok(())
    }

    fn long_link(&mut self, name: Vec<u8>) -> Result<(), LayerRefusal> {
        if self.records.is_some() || self.long_link.is_some() {
            return Err(LayerRefusal::SaidTwice);
        }
        self.long_link = Some(name);
        Ok(())
    }

    /// At the end of the archive.
    fn must_be_empty(&self) -> Result<(), LayerRefusal> {
        match (&self.records, &self.long_name, &self.long_link) {
            (None, None, None) => Ok(()),
            _ => Err(LayerRefusal::CutShort),
        }
    }
}

/// Content of what has none is skipped by some readers, and read as headers by others.
fn empty(stored: u64, kind: Kind) -> Result<Kind, LayerRefusal> {
    if stored == 0 { Ok(kind) } else { Err(LayerRefusal::ContentOfNoFile) }
}
