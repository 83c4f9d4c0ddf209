//! Bodies of 50 MiB, and files of which parts are asked for.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{Body, Seen, full, hex_digest, status, streamed};

/// How long a large body is.
pub(crate) const LARGE_BYTES: usize = 50 << 20;

/// Says how much came, and its digest.
pub(super) async fn digest(mut body: Incoming) -> Response<Body> {
    let (mut digest, mut length) = (Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return status(StatusCode::BAD_REQUEST) };
        if let Some(data) = frame.data_ref() {
            digest.update(data);
            length += data.len();
        }
    }
    Response::new(full(format!("{length} {}\n", hex_digest(digest))))
}

/// A large body in which the key stands several times, also over the ends of pieces.
pub(super) fn answer(key: &str) -> Response<Body> {
    let (send, pieces) = mpsc::channel(1);
    let large = large(key);
    tokio::spawn(async move {
        let mut at = 0;
        // Of a length that ends nowhere in particular.
        while at < large.len() {
            let end = large.len().min(at + 10_007);
            if send.send(Frame::data(large.slice(at..end))).await.is_err() {
                return;
            }
            at = end;
        }
    });
    let mut answer = Response::new(streamed(pieces));
    answer.headers_mut().insert(header::CONTENT_LENGTH, LARGE_BYTES.into());
    answer
}

/// The digest of the large body with this in place of the key, which is as long.
pub(crate) fn large_digest(placeholder: &str) -> String {
    hex_digest(Sha256::new_with_prefix(large(placeholder)))
}

fn large(key: &str) -> Bytes {
    let line = (0..64).map(|at| b'0' + at).chain(*b"\n").collect::<Vec<_>>();
    let mut bytes: Vec<u8> = line.iter().copied().cycle().take(LARGE_BYTES).collect();
    for at in [100, 10_007 - 5, 1 << 20, LARGE_BYTES / 2, LARGE_BYTES - key.len()] {
        bytes[at..at + key.len()].copy_from_slice(key.as_bytes());
    }
    bytes.into()
}

/// The alphabet, or the part of it that a range asks for.
pub(super) fn part_of_file(seen: &Seen) -> Response<Body> {
    let file = Bytes::from_static(b"abcdefghijklmnopqrstuvwxyz");
    let range = seen.headers.get(header::RANGE).and_then(|range| {
        let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
    });
    let Some((first, last)) = range else { return Response::new(full(file)) };
    let mut answer = Response::new(full(file.slice(first..=last)));
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {first}-{last}/{}", file.len()).parse().unwrap();
    answer.headers_mut().insert(header::CONTENT_RANGE, range);
    answer
}
