use bytes::{Buf as _, Bytes};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::{PIECE_BYTES, Unreadable};

/// The coding `zstd` (RFC 8878): one frame or several. Windows are at most 8 MiB, as RFC 9659 has it for the web.
///
/// By the reference implementation: of the others, ruzstd 0.8 unpacks a block whole without holding it to its 128 KiB, so
/// that 4 KB became 262 MB before anybody could look.
pub(super) struct Zstd {
    decoder: Decoder<'static>,
    /// Whether a frame is over and no other has begun.
    between: bool,
    /// Whether more output waits than found room.
    full: bool,
}

impl Zstd {
    pub(super) fn new() -> Result<Self, Unreadable> {
        #[cfg(test)]
        MADE.with(|made| made.set(made.get() + 1));
        let mut decoder = Decoder::new().map_err(|_| Unreadable::Unknown)?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(|_| Unreadable::Unknown)?;
        Ok(Self { decoder, between: true, full: false })
    }

    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Unreadable> {
        if input.is_empty() && !self.full {
            return Ok(None);
        }
        let mut piece = vec![0; PIECE_BYTES];
        while !input.is_empty() || self.full {
            let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(&mut piece));
            // How much input the library would like next; 0 at the end of a frame.
            // At the beginning of a frame, of what is one: a window that is larger than ours, which others take.
            let began = self.between && input.starts_with(&MAGIC);
            let failed = |_| if began { Unreadable::Unusual } else { Unreadable::Corrupt };
            let wanted = self.decoder.run(&mut from, &mut to).map_err(failed)?;
            let (taken, given) = (from.pos(), to.pos());
            input.advance(taken);
            piece.truncate(given);
            self.full = given == PIECE_BYTES && wanted > 0;
            self.between = wanted == 0;
            if given > 0 {
                return Ok(Some(piece.into()));
            }
            if taken == 0 {
                return Ok(None);
            }
        }
        Ok(None)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.between
    }
}

const WINDOW_LOG: u32 = 23;
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

#[cfg(test)]
thread_local! {
    /// How many were made.
    pub(super) static MADE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
