use bytes::{Buf as _, Bytes};
use flate2::{Decompress, FlushDecompress, Status};

use super::{PIECE_BYTES, Unreadable};

/// A deflated stream (RFC 1951), alone or in zlib's frame (RFC 1950).
pub(super) struct Inflate {
    stream: Decompress,
    ended: bool,
}

impl Inflate {
    pub(super) fn raw() -> Self {
        Self { stream: Decompress::new(false), ended: false }
    }

    fn zlib() -> Self {
        Self { stream: Decompress::new(true), ended: false }
    }

    /// The next piece; `None` when all of `input` was taken, or when the stream has ended before that.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Unreadable> {
        while !self.ended {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let before = self.stream.total_in();
            let status = self
                .stream
                .decompress_vec(input, &mut piece, FlushDecompress::None)
                .map_err(|_| Unreadable::Corrupt)?;
            let taken = (self.stream.total_in() - before) as usize;
            input.advance(taken);
            self.ended = status == Status::StreamEnd;
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
            if input.is_empty() {
                return Ok(None);
            }
            if taken == 0 && !self.ended {
                return Err(Unreadable::Corrupt);
            }
        }
        Ok(None)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

/// The coding `deflate`: zlib's format by the standard, the bare stream from many servers.
#[derive(Default)]
pub(super) struct Deflate {
    stream: Option<Inflate>,
    /// The first byte, as long as the second has not come.
    first: Option<u8>,
}

impl Deflate {
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Unreadable> {
        if self.stream.is_none() {
            let mut begin = Vec::from_iter(self.first.take());
            begin.extend_from_slice(input);
            match *begin {
                [] => return Ok(None),
                [first] => {
                    self.first = Some(first);
                    input.clear();
                    return Ok(None);
                }
                [first, second, ..] => {
                    self.stream = Some(if is_zlib(first, second) { Inflate::zlib() } else { Inflate::raw() });
                }
            }
            *input = begin.into();
        }
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match stream.next(input)? {
            None if stream.has_ended() && !input.is_empty() => Err(Unreadable::Trailing),
            piece => Ok(piece),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.stream.as_ref().is_some_and(Inflate::has_ended)
    }
}

/// RFC 1950, section 2.2: the method, the window, no dictionary, and a check of these. A bare stream does not begin so: it
/// would be a stored block with bits set that encoders leave clear.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0F == 8 && first >> 4 <= 7 && second & 0x20 == 0 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}
