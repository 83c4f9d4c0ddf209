//! Layers: an archive, compressed, and both digests.

use std::io::{self, Write};

use flate2::{Compression as Level, GzBuilder};
use sha2::{Digest as _, Sha256};

use super::tar_writer;
use super::tree::Tree;
use crate::digest::Digest;
use crate::extract::Compression;

/// A layer as an image refers to it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LayerBlob {
    /// Of the bytes as they are stored.
    pub digest: Digest,
    /// Of the archive in them.
    pub diff_id: Digest,
    /// How many bytes are stored.
    pub bytes: u64,
    /// How they are compressed.
    pub compression: Compression,
}

/// A layer with its bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LayerContent {
    /// What it is.
    pub layer: LayerBlob,
    /// Its bytes as they are stored.
    pub content: Vec<u8>,
}

impl Tree {
    /// The tree as a layer. `modified` is the time of everything in it, in seconds since 1970.
    ///
    /// The same tree becomes the same bytes, as long as this program is built with the same version of the compressor.
    ///
    /// # Errors
    /// A file of 8 GiB or more.
    pub fn layer(&self, compression: Compression, modified: u32) -> io::Result<LayerContent> {
        let mut out = Measured { inner: Encoder::new(compression)?, digest: Sha256::new() };
        tar_writer::write(self, modified, &mut out)?;
        let diff_id = Digest::from_sha256(out.digest);
        let content = out.inner.finish()?;
        let layer = LayerBlob { digest: Digest::of(&content), diff_id, bytes: content.len() as u64, compression };
        Ok(LayerContent { layer, content })
    }
}

impl LayerBlob {
    pub(super) fn media_type(&self) -> &'static str {
        match self.compression {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

enum Encoder {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(Vec::new()),
            // No time, no name, and 255 for the system, which says nothing.
            Compression::Gzip => {
                Self::Gzip(GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Level::new(6)))
            }
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
        })
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::None(content) => Ok(content),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(content) => content.write(buffer),
            Self::Gzip(encoder) => encoder.write(buffer),
            Self::Zstd(encoder) => encoder.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Measured<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.digest.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

const ZSTD_LEVEL: i32 = 9;
