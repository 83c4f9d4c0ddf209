use bytes::{Buf as _, Bytes};
use flate2::Crc;

use super::Unreadable;
use super::inflate::Inflate;

/// The coding `gzip` (RFC 1952): one member or several, one after the other, and nothing else.
#[derive(Default)]
pub(super) struct Gzip {
    part: Part,
    members: u64,
}

/// Where in a member we are.
enum Part {
    /// The header, as far as it has come.
    Header(Vec<u8>),
    Content(Box<(Inflate, Crc)>),
    /// Checksum and length, as far as they have come.
    Trailer(Crc, Vec<u8>),
}

impl Default for Part {
    fn default() -> Self {
        Self::Header(Vec::new())
    }
}

impl Gzip {
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Unreadable> {
        loop {
            match &mut self.part {
                Part::Header(header) => {
                    let before = header.len();
                    header.extend_from_slice(&input[..input.len().min(MAX_HEADER_BYTES - before)]);
                    match header_length(header) {
                        Ok(Some(length)) => {
                            input.advance(length - before);
                            self.part = Part::Content(Box::new((Inflate::raw(), Crc::new())));
                        }
                        Ok(None) if header.len() < MAX_HEADER_BYTES => {
                            input.clear();
                            return Ok(None);
                        }
                        // A name or comment of any length is read by others.
                        Ok(None) => return Err(Unreadable::Unusual),
                        Err(_) if self.members > 0 => return Err(Unreadable::Trailing),
                        Err(_) => return Err(Unreadable::Corrupt),
                    }
                }
                Part::Content(content) => {
                    let (stream, crc) = &mut **content;
                    if let Some(piece) = stream.next(input)? {
                        crc.update(&piece);
                        return Ok(Some(piece));
                    }
                    if !stream.has_ended() {
                        return Ok(None);
                    }
                    self.part = Part::Trailer(std::mem::take(crc), Vec::with_capacity(TRAILER_BYTES));
                }
                Part::Trailer(crc, trailer) => {
                    let taken = input.split_to(input.len().min(TRAILER_BYTES - trailer.len()));
                    trailer.extend_from_slice(&taken);
                    if trailer.len() < TRAILER_BYTES {
                        return Ok(None);
                    }
                    let expected = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat();
                    if *trailer != expected {
                        return Err(Unreadable::Corrupt);
                    }
                    self.members += 1;
                    self.part = Part::default();
                }
            }
        }
    }

    /// A member takes work, also one without content.
    pub(super) fn effort(&self) -> u64 {
        self.members.saturating_mul(MEMBER_BYTES)
    }

    /// Whether a member has ended and no other has begun.
    pub(super) fn has_ended(&self) -> bool {
        self.members > 0 && matches!(&self.part, Part::Header(header) if header.is_empty())
    }
}

/// The length of the header that `bytes` begin with; `None` if its end has not come.
fn header_length(bytes: &[u8]) -> Result<Option<usize>, Unreadable> {
    if bytes.iter().zip(MAGIC).any(|(byte, expected)| *byte != expected) {
        return Err(Unreadable::Corrupt);
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else { return Ok(None) };
    let flags = fixed[MAGIC.len()];
    if flags & RESERVED != 0 {
        return Err(Unreadable::Corrupt);
    }
    let Some(rest) = after_fields(flags, rest) else { return Ok(None) };
    let length = bytes.len() - rest.len();
    if flags & CHECKSUM == 0 {
        return Ok(Some(length));
    }
    let Some((checksum, _)) = rest.split_first_chunk() else { return Ok(None) };
    let mut crc = Crc::new();
    crc.update(&bytes[..length]);
    let matches = u16::from_le_bytes(*checksum) == crc.sum() as u16;
    if matches { Ok(Some(length + checksum.len())) } else { Err(Unreadable::Corrupt) }
}

/// What follows the fields of variable length.
fn after_fields(flags: u8, mut rest: &[u8]) -> Option<&[u8]> {
    if flags & EXTRA != 0 {
        let (length, after) = rest.split_first_chunk()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    Some(rest)
}

/// Two bytes of identification and the only method.
const MAGIC: [u8; 3] = [0x1F, 0x8B, 8];
const FIXED_BYTES: usize = 10;
const CHECKSUM: u8 = 0x02;
const EXTRA: u8 = 0x04;
const NAME: u8 = 0x08;
const COMMENT: u8 = 0x10;
const RESERVED: u8 = 0xE0;
const TRAILER_BYTES: usize = 8;
/// What beginning a member is worth.
const MEMBER_BYTES: u64 = 8 << 10;
/// Names and comments are short, or there are none.
const MAX_HEADER_BYTES: usize = 4 << 10;
