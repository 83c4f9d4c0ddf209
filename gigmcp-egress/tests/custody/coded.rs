//! Bodies that are compressed, and what is in them.

use std::io::{Read as _, Write as _};

/// A text in every coding that the proxy asks for or may be given.
pub(crate) fn all(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(text).unwrap();
    vec![
        ("gzip", gzip.finish().unwrap()),
        ("deflate", zlib.finish().unwrap()),
        ("br", brotli(text)),
        ("zstd", zstd(text)),
    ]
}

/// What a client makes of a body.
pub(crate) fn decoded(coding: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    match coding {
        None | Some("identity") => text.extend_from_slice(body),
        Some("gzip") => drop(flate2::read::MultiGzDecoder::new(body).read_to_end(&mut text).unwrap()),
        Some("deflate") => drop(flate2::read::ZlibDecoder::new(body).read_to_end(&mut text).unwrap()),
        Some("br") => drop(brotli_decompressor::Decompressor::new(body, 4096).read_to_end(&mut text).unwrap()),
        Some(other) => panic!("{other} is not sent to a client"),
    }
    text
}

/// A stream of one block that is stored (RFC 7932, section 9.2). Nothing is gained by it, but it is one.
fn brotli(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len() - 1).unwrap();
    assert!(length < 1 << 16);
    // A window of 16 bits, not the last block, four nibbles of length, stored.
    let bits = length << 4 | 1 << 20;
    let mut stream = bits.to_le_bytes()[..3].to_vec();
    stream.extend_from_slice(text);
    stream.push(3); // the last block, empty
    stream
}

/// A frame of one block that is stored (RFC 8878, section 3.1.1).
fn zstd(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(length.to_le_bytes());
    frame.extend_from_slice(&(length << 3 | 1).to_le_bytes()[..3]);
    frame.extend_from_slice(text);
    frame
}

#[test]
fn codings_are_what_they_say() {
    for (coding, coded) in all(b"some text, long enough") {
        if coding != "zstd" {
            assert_eq!(decoded(Some(coding), &coded), b"some text, long enough", "{coding}");
        }
    }
}
