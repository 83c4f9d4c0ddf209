mod brotli;
mod gzip;
mod inflate;
mod zstd;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use brotli::Brotli;
use gzip::Gzip;
use inflate::Deflate;
use zstd::Zstd;

use crate::limits::Limits;

/// Reads a body with content codings (RFC 9110, section 8.4), piece by piece: whoever asks for the next piece decides when,
/// so that a small body of enormous content costs no more memory than its reader takes.
///
/// Reads `gzip`, `x-gzip`, `deflate` (with and without zlib's header, as servers disagree), `br` and `zstd`.
pub(crate) struct Decoder {
    /// The coding that was applied last comes first.
    stages: Vec<Stage>,
    meter: Meter,
}

/// How much content there may be.
struct Meter {
    /// Bytes of body until now.
    taken: u64,
    ratio: u64,
}

/// One coding, and what the one before it gave.
struct Stage {
    coding: Coding,
    pending: Bytes,
    given: u64,
}

enum Coding {
    Gzip(Gzip),
    Deflate(Deflate),
    Brotli(Box<Brotli>),
    Zstd(Box<Zstd>),
}

/// Why a body cannot be read, or not any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// A coding that we do not read, or more of them than anybody needs.
    #[error("the content coding is not known")]
    Unknown,
    /// Not of this coding, or damaged.
    #[error("the content is not of the coding it should be")]
    Corrupt,
    /// The end is missing.
    #[error("the content ends too early")]
    Truncated,
    /// Something follows the end, which another reader might read.
    #[error("something follows the content")]
    Trailing,
    /// A secret is in it.
    #[error("the content holds a secret")]
    Secret,
    /// Far more content than body.
    #[error("the content is too large for its body")]
    Ratio,
}

impl Decoder {
    /// A decoder for a body with these headers; `None` if it is plain.
    ///
    /// # Errors
    /// [`Unreadable::Unknown`]
    pub(crate) fn for_codings(headers: &HeaderMap, limits: &Limits) -> Result<Option<Self>, Unreadable> {
        let mut stages = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.as_bytes().split(|byte| *byte == b',') {
                if let Some(coding) = Coding::named(name.trim_ascii())? {
                    stages.push(Stage { coding, pending: Bytes::new(), given: 0 });
                }
            }
        }
        stages.reverse();
        match stages.len() {
            0 => Ok(None),
            1..=MAX_CODINGS => Ok(Some(Self { stages, meter: Meter { taken: 0, ratio: limits.decoded_ratio } })),
            _ => Err(Unreadable::Unknown),
        }
    }

    /// Takes a part of the body and gives what it holds, piece by piece.
    pub(crate) fn feed(&mut self, chunk: &[u8], give: &mut dyn FnMut(&[u8])) -> Result<(), Unreadable> {
        let mut body = Bytes::copy_from_slice(chunk);
        while let Some(piece) = self.next(&mut body)? {
            give(&piece);
        }
        Ok(())
    }

    /// The next piece of content, not empty and at most [`PIECE_BYTES`]. Takes what it needs from the beginning of `body`;
    /// `None` when all of it was taken and nothing more comes of it.
    pub(crate) fn next(&mut self, body: &mut Bytes) -> Result<Option<Bytes>, Unreadable> {
        pull(&mut self.stages, body, &mut self.meter)
    }

    /// Whether the body may end here, after [`Decoder::next`] gave nothing more. No body at all is no content.
    pub(crate) fn finish(&self) -> Result<(), Unreadable> {
        let whole = self.meter.taken == 0 || self.stages.iter().all(|stage| stage.coding.has_ended());
        if whole { Ok(()) } else { Err(Unreadable::Truncated) }
    }
}

/// Whether a body with these headers can be read, plain or decoded.
pub(crate) fn is_readable(headers: &HeaderMap) -> bool {
    Decoder::for_codings(headers, &Limits::default()).is_ok()
}

/// What the last of the stages gives next; the first of them reads the body. Each is held to the ratio, because what one
/// gives may be nothing to the next.
fn pull(stages: &mut [Stage], body: &mut Bytes, meter: &mut Meter) -> Result<Option<Bytes>, Unreadable> {
    let Some((last, before)) = stages.split_last_mut() else {
        // A little at a time, so that what counts as taken was read.
        let slice = body.split_to(body.len().min(SLICE_BYTES));
        meter.taken += slice.len() as u64;
        return Ok(Some(slice).filter(|slice| !slice.is_empty()));
    };
    loop {
        if let Some(piece) = last.coding.next(&mut last.pending)? {
            last.given += piece.len() as u64;
            return if last.given > meter.most() { Err(Unreadable::Ratio) } else { Ok(Some(piece)) };
        }
        match pull(before, body, meter)? {
            Some(more) => last.pending = more,
            None => return Ok(None),
        }
    }
}

impl Meter {
    fn most(&self) -> u64 {
        FREE_BYTES.saturating_add(self.taken.saturating_mul(self.ratio))
    }
}

impl Coding {
    /// `None` for `identity`, which is no coding.
    fn named(name: &[u8]) -> Result<Option<Self>, Unreadable> {
        Ok(Some(match &*name.to_ascii_lowercase() {
            b"identity" => return Ok(None),
            b"gzip" | b"x-gzip" => Self::Gzip(Gzip::default()),
            b"deflate" => Self::Deflate(Deflate::default()),
            b"br" => Self::Brotli(Box::default()),
            b"zstd" => Self::Zstd(Box::new(Zstd::new()?)),
            _ => return Err(Unreadable::Unknown),
        }))
    }

    /// The next piece of what `input` holds; `None` when all of it was taken.
    fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Unreadable> {
        match self {
            Self::Gzip(gzip) => gzip.next(input),
            Self::Deflate(deflate) => deflate.next(input),
            Self::Brotli(brotli) => brotli.next(input),
            Self::Zstd(zstd) => zstd.next(input),
        }
    }

    fn has_ended(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.has_ended(),
            Self::Deflate(deflate) => deflate.has_ended(),
            Self::Brotli(brotli) => brotli.has_ended(),
            Self::Zstd(zstd) => zstd.has_ended(),
        }
    }
}

/// No piece is longer.
pub(crate) const PIECE_BYTES: usize = 16 << 10;
const SLICE_BYTES: usize = 4 << 10;
/// More than one is a curiosity, more than two an attack.
const MAX_CODINGS: usize = 2;
/// What a body may hold whatever its length.
const FREE_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
