//! A layer as it is stored, and the archive in it.

use std::io::{self, BufRead as _, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use zstd::stream::raw::DParameter;

use super::error::Fault;
use super::{Exceeded, ImageLimits};
use crate::digest::Digest;
use crate::tar::LayerRefusal;

/// How a layer is compressed, which its media type says.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Compression {
    /// `application/vnd.oci.image.layer.v1.tar`.
    None,
    /// `…tar+gzip`, and Docker's `…tar.gzip`.
    Gzip,
    /// `…tar+zstd`.
    Zstd,
}

/// A layer to unpack.
#[derive(Debug)]
pub struct Layer<R> {
    /// The bytes as they are stored. Their own digest should have been verified before.
    pub content: R,
    /// How they are compressed.
    pub compression: Compression,
    /// The digest of the archive in them, from the image's configuration.
    pub diff_id: Digest,
}

/// What a layer was, once it has been read to its end.
pub(super) struct Found {
    pub(super) diff_id: Digest,
    pub(super) bytes: u64,
}

/// The archive in a layer: measured, and ended by the limits.
pub(super) struct Unpacked<R: Read> {
    decoder: Decoder<R>,
    digest: Sha256,
    bytes: u64,
    bytes_limit: u64,
    ratio: u64,
}

enum Decoder<R: Read> {
    None(BufReader<Counted<R>>),
    Gzip(MultiGzDecoder<BufReader<Counted<R>>>),
    Zstd(zstd::Decoder<'static, BufReader<Counted<R>>>),
}

impl<R: Read> Unpacked<R> {
    pub(super) fn new(layer: Layer<R>, limits: &ImageLimits, bytes_before: u64) -> Result<Self, Fault> {
        let mut content =
            BufReader::with_capacity(PIECE_BYTES, Counted { inner: layer.content, bytes: 0, failed: false });
        let start = content.fill_buf().map_err(Fault::Read)?;
        let magic = [(Compression::Gzip, GZIP), (Compression::Zstd, ZSTD)];
        let seen =
            magic.iter().find(|(_, magic)| start.starts_with(magic)).map_or(Compression::None, |(kind, _)| *kind);
        // Skippable frames of zstd have other magics, and no layer begins with one.
        if seen != layer.compression {
            return Err(LayerRefusal::Compression.into());
        }
        let decoder = match layer.compression {
            Compression::None => Decoder::None(content),
            Compression::Gzip => Decoder::Gzip(MultiGzDecoder::new(content)),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(content).map_err(Fault::Read)?;
                decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(Fault::Read)?;
                Decoder::Zstd(decoder)
            }
        };
        let bytes_limit = limits.bytes.saturating_sub(bytes_before);
        Ok(Self { decoder, digest: Sha256::new(), bytes: 0, bytes_limit, ratio: limits.ratio })
    }

    /// After the end of the archive: what it was. There must be nothing more.
    pub(super) fn finish(mut self) -> Result<Found, Fault> {
        let mut byte = [0];
        if self.read(&mut byte).map_err(Fault::from_read)? > 0
            || !self.source().fill_buf().map_err(Fault::Read)?.is_empty()
        {
            return Err(LayerRefusal::Damaged.into());
        }
        Ok(Found { diff_id: Digest::from_sha256(self.digest), bytes: self.bytes })
    }

    fn source(&mut self) -> &mut BufReader<Counted<R>> {
        match &mut self.decoder {
            Decoder::None(source) => source,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }

    fn check(&mut self) -> Result<(), Exceeded> {
        if self.bytes > self.bytes_limit {
            return Err(Exceeded::Bytes);
        }
        let stored = self.source().get_ref().bytes;
        if self.bytes > RATIO_FROM && self.bytes / stored.max(1) > self.ratio { Err(Exceeded::Ratio) } else { Ok(()) }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.decoder {
            Decoder::None(source) => source.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        };
        let read = match read {
            Err(error) if self.source().get_ref().failed || error.kind() == io::ErrorKind::Interrupted => {
                return Err(error);
            }
            Err(_) => return Err(io::Error::other(LayerRefusal::Damaged)),
            Ok(read) => read,
        };
        self.digest.update(&buffer[..read]);
        self.bytes += read as u64;
        self.check().map_err(io::Error::other)?;
        Ok(read)
    }
}

/// Counts what is read, and remembers whose fault an error was.
struct Counted<R> {
    inner: R,
    bytes: u64,
    failed: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        match &read {
            Ok(read) => self.bytes += *read as u64,
            Err(error) => self.failed = error.kind() != io::ErrorKind::Interrupted,
        }
        read
    }
}

const PIECE_BYTES: usize = 128 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// 128 MiB, which the highest level of zstd needs; more is only had by asking for it, and costs as much memory.
const WINDOW_LOG: u32 = 27;
/// Smaller layers may be all zeros.
const RATIO_FROM: u64 = 64 << 20;
