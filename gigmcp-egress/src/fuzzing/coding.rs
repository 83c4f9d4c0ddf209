use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};

use super::pieces::Pieces;
use crate::coding::{Decoder, PIECE_BYTES};
use crate::limits::Limits;

/// A coded body gives the same content however it was cut, never more than its ratio allows, in pieces of bounded size.
pub fn content_coding(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let Some(pieces) = Pieces::of(rest) else { return };
    let coding = ["gzip", "deflate", "br", "gzip, br", "deflate, gzip", "zstd"][usize::from(first % 6)];
    let body = pieces.template();
    let (whole, cut) = (decode(coding, &[body]), decode(coding, &pieces.cut(body)));
    // A damaged body may be given up sooner or later, but what was given of it is the same.
    let common = whole.0.len().min(cut.0.len());
    assert_eq!(whole.0[..common], cut.0[..common], "the same for every cut");
    if whole.1 && cut.1 {
        assert_eq!(whole.0.len(), cut.0.len(), "the same for every cut");
    }
    let most = FREE_BYTES + RATIO * body.len() as u64;
    assert!(whole.0.len().max(cut.0.len()) as u64 <= most, "no more than the ratio allows");
}

/// The content, and whether it came to its end.
fn decode(coding: &'static str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
    let limits = Limits { decoded_ratio: RATIO, ..Limits::default() };
    let mut decoder = Decoder::for_codings(&headers, &limits).unwrap().unwrap();
    let mut content = Vec::new();
    for piece in pieces {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(given)) => {
                    assert!((1..=PIECE_BYTES).contains(&given.len()));
                    content.extend_from_slice(&given);
                }
                Ok(None) => break,
                Err(_) => return (content, false),
            }
        }
        assert!(piece.is_empty(), "all was taken");
    }
    (content, decoder.finish().is_ok())
}

const RATIO: u64 = 100;
/// What the decoder lets every body hold.
const FREE_BYTES: u64 = 1 << 20;
