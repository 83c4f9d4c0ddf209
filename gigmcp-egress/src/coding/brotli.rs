use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf as _, Bytes};

use super::{PIECE_BYTES, Unreadable};

/// The coding `br` (RFC 7932). Windows are at most 16 MiB: the extension for larger ones is not part of the coding.
pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    ended: bool,
}

impl Default for Brotli {
    fn default() -> Self {
        let allocators = (StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default());
        Self { state: BrotliState::new_strict(allocators.0, allocators.1, allocators.2), ended: false }
    }
}

impl Brotli {
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Unreadable> {
        if self.ended {
            return if input.is_empty() { Ok(None) } else { Err(Unreadable::Trailing) };
        }
        let mut piece = vec![0; PIECE_BYTES];
        let (mut in_left, mut taken) = (input.len(), 0);
        let (mut out_left, mut given, mut total) = (piece.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut in_left,
            &mut taken,
            input,
            &mut out_left,
            &mut given,
            &mut piece,
            &mut total,
            &mut self.state,
        );
        input.advance(taken);
        piece.truncate(given);
        match result {
            BrotliResult::ResultFailure => return Err(Unreadable::Corrupt),
            BrotliResult::ResultSuccess => self.ended = true,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        match piece.is_empty() {
            true if self.ended && !input.is_empty() => Err(Unreadable::Trailing),
            true => Ok(None),
            false => Ok(Some(piece.into())),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}
