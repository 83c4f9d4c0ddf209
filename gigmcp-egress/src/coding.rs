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

#[derive(Clone, Copy, Debug)]
enum Name {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
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
    /// Of the coding, and beyond what we read of it; others read more.
    #[error("the content coding is used in a way that is not read")]
    Unusual,
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
        let names = names(headers)?;
        if names.is_empty() {
            return Ok(None);
        }
        let stages =
            names.into_iter().rev().map(|name| Ok(Stage { coding: name.begin()?, pending: Bytes::new(), given: 0 }));
        Ok(Some(Self {
            stages: stages.collect::<Result<_, _>>()?,
            meter: Meter { taken: 0, ratio: limits.decoded_ratio },
        }))
    }

    /// The next piece of content, not empty and at most [`PIECE_BYTES`]. Takes what it needs from the beginning of `body`;
    /// `None` when all of it was taken and nothing more comes of it.
    pub(crate) fn next(&mut self, body: &mut Bytes) -> Result<Option<Bytes>, Unreadable> {
        pull(&mut self.stages, body, &mut self.meter)
    }

    /// Whether a part may hold the beginning of something that is not given before all of it has come.
    pub(crate) fn reads_blocks(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage.coding, Coding::Zstd(_)))
    }

    /// Whether the body may end here, after [`Decoder::next`] gave nothing more. No body at all is no content.
    pub(crate) fn finish(&self) -> Result<(), Unreadable> {
        let whole = self.meter.taken == 0 || self.stages.iter().all(|stage| stage.coding.has_ended());
        if whole { Ok(()) } else { Err(Unreadable::Truncated) }
    }
}

/// Whether a body with these headers can be read, plain or decoded.
pub(crate) fn is_readable(headers: &HeaderMap) -> bool {
    names(headers).is_ok()
}

/// How many windows reading a body with these headers takes.
pub(crate) fn windows(headers: &HeaderMap) -> usize {
    names(headers).map_or(0, |names| names.len())
}

/// The codings in the order in which they were applied. Their number is looked at before anything is made for them.
fn names(headers: &HeaderMap) -> Result<Vec<Name>, Unreadable> {
    let mut names = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for text in value.as_bytes().split(|byte| *byte == b',') {
            names.extend(Name::of(text.trim_ascii())?);
            if names.len() > MAX_CODINGS {
                return Err(Unreadable::Unusual);
            }
        }
    }
    Ok(names)
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
        let piece = last.coding.next(&mut last.pending)?;
        last.given += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if last.given + last.coding.effort() > meter.most() {
            return Err(Unreadable::Ratio);
        }
        if piece.is_some() {
            return Ok(piece);
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

impl Name {
    /// `None` for `identity`, which is no coding.
    fn of(text: &[u8]) -> Result<Option<Self>, Unreadable> {
        let named = |name: &str| text.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if named("identity") => Ok(None),
            () if named("gzip") || named("x-gzip") => Ok(Some(Self::Gzip)),
            () if named("deflate") => Ok(Some(Self::Deflate)),
            () if named("br") => Ok(Some(Self::Brotli)),
            () if named("zstd") => Ok(Some(Self::Zstd)),
            () => Err(Unreadable::Unknown),
        }
    }

    fn begin(self) -> Result<Coding, Unreadable> {
        Ok(match self {
            Self::Gzip => Coding::Gzip(Gzip::default()),
            Self::Deflate => Coding::Deflate(Deflate::default()),
            Self::Brotli => Coding::Brotli(Box::default()),
            Self::Zstd => Coding::Zstd(Box::new(Zstd::new()?)),
        })
    }
}

impl Coding {
    /// The next piece of what `input` holds; `None` when all of it was taken.
    fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Unreadable> {
        match self {
            Self::Gzip(gzip) => gzip.next(input),
            Self::Deflate(deflate) => deflate.next(input),
            Self::Brotli(brotli) => brotli.next(input),
            Self::Zstd(zstd) => zstd.next(input),
        }
    }

    /// Work that gave nothing, as bytes.
    fn effort(&self) -> u64 {
        match self {
            Self::Gzip(gzip) => gzip.effort(),
            Self::Deflate(_) | Self::Brotli(_) | Self::Zstd(_) => 0,
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
