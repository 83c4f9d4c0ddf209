//! The 512 bytes before an entry's content.

use super::LayerRefusal;
use super::number::{octal_or_binary, seconds};

pub(super) const BLOCK: usize = 512;

pub(super) type Block = [u8; BLOCK];

/// What one header says by itself.
///
/// Source: POSIX.1-2024, pax, ustar Interchange Format; GNU tar manual, Basic Tar Format.
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) modified: u32,
    pub(super) kind: u8,
}

impl Header {
    pub(super) fn parse(block: &Block) -> Result<Self, LayerRefusal> {
        if octal_or_binary(&block[148..156]) != Some(checksum(block)) {
            return Err(LayerRefusal::Checksum);
        }
        let size = octal_or_binary(&block[124..136]).ok_or(LayerRefusal::Number)?;
        let mode = octal_or_binary(&block[100..108]).ok_or(LayerRefusal::Number)?;
        Ok(Self {
            name: name(block),
            link: text(&block[157..257]).to_vec(),
            mode: (mode & 0o7777) as u32,
            size,
            modified: seconds(&block[136..148]).ok_or(LayerRefusal::Number)?,
            kind: block[156],
        })
    }
}

/// The sum of all bytes, with the field of the sum itself as spaces.
fn checksum(block: &Block) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..])
}

/// With the prefix of ustar, which GNU's own format has not: there, times are in its place.
fn name(block: &Block) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = if &block[257..263] == b"ustar\0" { text(&block[345..500]) } else { b"" };
    match prefix {
        b"" => name.to_vec(),
        prefix => [prefix, b"/", name].concat(),
    }
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}
