//! Files with holes, in the four ways that GNU tar has written them.
//!
//! Source: GNU tar manual, Storing Sparse Files.

use super::header::{BLOCK, Block};
use super::number::{decimal, octal_or_binary};
use super::pax::once;
use super::{LayerRefusal, TarError};

/// A run of content in a file; outside of all of them it is zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// The records `GNU.sparse.*` of one file.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct SparseRecords {
    pub(super) name: Option<Vec<u8>>,
    bytes: Option<u64>,
    major: Option<u64>,
    minor: Option<u64>,
    count: Option<u64>,
    /// The map of format 0.1, or offsets and lengths of 0.0 in turn.
    numbers: Vec<u64>,
    mapped: Option<()>,
}

impl SparseRecords {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), LayerRefusal> {
        let number = || decimal(value).ok_or(LayerRefusal::Sparse);
        match key {
            b"name" => once(&mut self.name, value.to_vec()),
            b"size" | b"realsize" => once(&mut self.bytes, number()?),
            b"major" => once(&mut self.major, number()?),
            b"minor" => once(&mut self.minor, number()?),
            b"numblocks" => once(&mut self.count, number()?),
            b"offset" if self.numbers.len().is_multiple_of(2) => self.push(number()?),
            b"numbytes" if !self.numbers.len().is_multiple_of(2) => self.push(number()?),
            b"map" => {
                once(&mut self.mapped, ())?;
                let numbers = value.split(|byte| *byte == b',').filter(|_| !value.is_empty());
                numbers.map(|text| decimal(text).ok_or(LayerRefusal::Sparse)).try_for_each(|number| self.push(number?))
            }
            _ => Err(LayerRefusal::Sparse),
        }
    }

    fn push(&mut self, number: u64) -> Result<(), LayerRefusal> {
        self.numbers.push(number);
        if self.numbers.len() > 2 * SEGMENTS { Err(LayerRefusal::Sparse) } else { Ok(()) }
    }

    /// Whether the map is in front of the content (format 1.0) and not in the records.
    pub(super) fn in_content(&self) -> Result<bool, LayerRefusal> {
        match (self.major, self.minor) {
            (Some(1), Some(0)) if self.numbers.is_empty() && self.count.is_none() && self.mapped.is_none() => Ok(true),
            (None, None) | (Some(0), Some(0 | 1)) => Ok(false),
            _ => Err(LayerRefusal::Sparse),
        }
    }

    pub(super) fn bytes(&self) -> Result<u64, LayerRefusal> {
        self.bytes.ok_or(LayerRefusal::Sparse)
    }

    pub(super) fn segments(&self) -> Result<Vec<Segment>, LayerRefusal> {
        let (pairs, rest) = self.numbers.as_chunks::<2>();
        if !rest.is_empty() || self.count != Some(pairs.len() as u64) {
            return Err(LayerRefusal::Sparse);
        }
        Ok(pairs.iter().map(|[offset, bytes]| Segment { offset: *offset, bytes: *bytes }).collect())
    }
}

/// The map of a header of type `S`, with the blocks that go on with it, and the size of the file.
pub(super) fn old_gnu(
    header: &Block,
    mut next: impl FnMut() -> Result<Block, TarError>,
) -> Result<(u64, Vec<Segment>), TarError> {
    let bytes = octal_or_binary(&header[483..495]).ok_or(LayerRefusal::Sparse)?;
    let mut segments = Vec::new();
    read_pairs(&header[386..482], &mut segments)?;
    let mut goes_on = header[482];
    while goes_on != 0 {
        let block = next()?;
        read_pairs(&block[..504], &mut segments)?;
        goes_on = block[504];
        if segments.len() > SEGMENTS {
            return Err(LayerRefusal::Sparse.into());
        }
    }
    Ok((bytes, segments))
}

fn read_pairs(field: &[u8], segments: &mut Vec<Segment>) -> Result<(), LayerRefusal> {
    for pair in field.chunks_exact(24).take_while(|pair| pair.iter().any(|byte| *byte != 0)) {
        let number = |field| octal_or_binary(field).ok_or(LayerRefusal::Sparse);
        segments.push(Segment { offset: number(&pair[..12])?, bytes: number(&pair[12..])? });
    }
    Ok(())
}

/// The map of format 1.0: a count, then offsets and lengths, each on a line, padded to whole blocks.
pub(super) fn in_content(mut next: impl FnMut() -> Result<Block, TarError>) -> Result<Vec<Segment>, TarError> {
    let mut lines = Lines { block: [0; BLOCK], at: BLOCK, next: &mut next };
    let count = lines.number()?;
    if count > SEGMENTS as u64 {
        return Err(LayerRefusal::Sparse.into());
    }
    (0..count).map(|_| Ok(Segment { offset: lines.number()?, bytes: lines.number()? })).collect()
}

struct Lines<'a, F> {
    block: Block,
    at: usize,
    next: &'a mut F,
}

impl<F: FnMut() -> Result<Block, TarError>> Lines<'_, F> {
    fn number(&mut self) -> Result<u64, TarError> {
        let mut digits = Vec::new();
        while digits.len() <= 20 {
            if self.at == BLOCK {
                (self.block, self.at) = ((self.next)()?, 0);
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return decimal(&digits).ok_or(LayerRefusal::Sparse.into()),
                byte => digits.push(byte),
            }
        }
        Err(LayerRefusal::Sparse.into())
    }
}

/// Segments follow each other, are in the file, and are all that is stored.
pub(super) fn check(segments: &[Segment], bytes: u64, stored: u64) -> Result<(), LayerRefusal> {
    let (mut end, mut content) = (0_u64, 0_u64);
    for segment in segments {
        if segment.offset < end {
            return Err(LayerRefusal::Sparse);
        }
        end = segment.offset.checked_add(segment.bytes).ok_or(LayerRefusal::Sparse)?;
        content = content.checked_add(segment.bytes).ok_or(LayerRefusal::Sparse)?;
    }
    if end > bytes || content != stored { Err(LayerRefusal::Sparse) } else { Ok(()) }
}

/// More holes than a file has that somebody made on purpose: each is 16 bytes of ours.
const SEGMENTS: usize = 100_000;
