//! An answer as something that is read line by line, in another thread than the one that receives it.

use std::io::{self, BufRead, BufReader, Read};

use bytes::{Buf, Bytes};
use hyper::body::Incoming;
use tokio::sync::mpsc;

/// The two ends; a few parts lie between them.
pub(super) fn pipe() -> (impl BufRead + Send + 'static, Sender) {
    let (sender, parts) = mpsc::channel(AHEAD);
    (BufReader::new(Parts { parts, part: Bytes::new() }), Sender(sender))
}

/// Where an answer goes in.
pub(super) struct Sender(mpsc::Sender<io::Result<Bytes>>);

impl Sender {
    /// Sends it to its end, or until nobody reads any more. One that is cut off is an error for whoever reads.
    pub(super) async fn send(self, mut body: Incoming) {
        loop {
            let part = super::next(&mut body).await.map_err(io::Error::other).transpose();
            let Some(part) = part else { return };
            let is_last = part.is_err();
            if self.0.send(part).await.is_err() || is_last {
                return;
            }
        }
    }
}

struct Parts {
    parts: mpsc::Receiver<io::Result<Bytes>>,
    part: Bytes,
}

impl Read for Parts {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.part = part?,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.part.len());
        self.part.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

const AHEAD: usize = 4;
