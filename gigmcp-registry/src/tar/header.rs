//! The 512 bytes before an entry's content.

use super::LayerRefusal;
use super::number::{octal_or_binary, seconds};

pub(super) const BLOCK: usize = 512;

/// How headers of GNU's own format are marked.
pub(super) const GNU: &[u8; 8] = b"ustar  \0";

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
            name: name(block)?,
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

/// With the prefix of ustar, which GNU's own format has not: there, times are in its place. Where they are not times, Go takes them
/// for a prefix all the same; Python does where there is no format at all; and star's prefix is shorter.
fn name(block: &Block) -> Result<Vec<u8>, LayerRefusal> {
    let (name, prefix) = (text(&block[..100]), text(&block[345..500]));
    let is_time = |field: &[u8]| field[0] == 0 || seconds(field).is_some();
    match block[257..265].first_chunk().unwrap_or(&[0; 8]) {
        [b'u', b's', b't', b'a', b'r', 0, ..] => {
            let is_star = &block[508..] == b"tar\0";
            match prefix {
                b"" => Ok(name.to_vec()),
                prefix if is_star && prefix.len() > 131 => Err(LayerRefusal::Prefix),
                prefix => Ok([prefix, b"/", name].concat()),
            }
        }
        GNU if is_time(&block[345..357]) && is_time(&block[357..369]) => Ok(name.to_vec()),
        GNU => Err(LayerRefusal::Prefix),
        _ if prefix.is_empty() => Ok(name.to_vec()),
        _ => Err(LayerRefusal::Prefix),
    }
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}
