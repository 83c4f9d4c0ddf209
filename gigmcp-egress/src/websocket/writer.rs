use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::frame::{FrameHeader, MAX_HEADER_BYTES, Mask, Opcode, Sender, apply_mask};
use super::reader::Piece;

/// Makes frames. Whole ones only: whatever happens, a close frame may follow what is already on its way.
pub(crate) struct FrameWriter {
    sender: Sender,
    out: BytesMut,
}

impl FrameWriter {
    pub(crate) fn new(sender: Sender) -> Self {
        Self { sender, out: BytesMut::new() }
    }

    /// Makes one frame of a piece.
    pub(crate) fn put(&mut self, piece: Piece) {
        let Piece { opcode, fin, mut payload } = piece;
        let mask = (self.sender == Sender::Client).then(new_mask);
        if let Some(mask) = mask {
            apply_mask(&mut payload, mask);
        }
        self.out.reserve(MAX_HEADER_BYTES + payload.len());
        FrameHeader { fin, opcode, mask, length: payload.len() as u64 }.write(&mut self.out);
        self.out.extend_from_slice(&payload);
    }

    /// Makes a close frame with a code and without a reason.
    pub(crate) fn put_close(&mut self, code: u16) {
        self.put(Piece { opcode: Opcode::Close, fin: true, payload: code.to_be_bytes()[..].into() });
    }

    /// The frames that have not been sent.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.out
    }

    /// Sends what is pending, and calls `moved` with each part. Cancel safe.
    pub(crate) async fn flush(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        moved: impl Fn(usize),
    ) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        while self.out.has_remaining() {
            match stream.write_buf(&mut self.out).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => moved(written),
            }
        }
        // A connection that rests holds nothing.
        self.out = BytesMut::new();
        stream.flush().await
    }
}

/// Nobody who chose the payload can foresee it (RFC 6455, section 10.3).
fn new_mask() -> Mask {
    let mut mask = [0; 4];
    aws_lc_rs::rand::fill(&mut mask).expect("the generator was seeded when the first key was made");
    mask
}
