use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::frame::{FrameHeader, InvalidFrame, Opcode, Sender, apply_mask};

/// A frame, or a part of one that is too long to be held whole; such a part stands as a fragment of its own.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    pub(crate) opcode: Opcode,
    /// Whether the message ends with this piece.
    pub(crate) fin: bool,
    /// Without mask.
    pub(crate) payload: BytesMut,
}

/// Takes the frames of one sender apart. Holds no more than one piece and what a read brought beyond it.
pub(crate) struct FrameReader {
    sender: Sender,
    input: BytesMut,
    /// The frame of which the header was read: what is left of it.
    open: Option<FrameHeader>,
    in_message: bool,
}

impl FrameReader {
    pub(crate) fn new(sender: Sender) -> Self {
        Self { sender, input: BytesMut::new(), open: None, in_message: false }
    }

    /// Reads once; 0 at the end of the stream. Cancel safe.
    pub(crate) async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.input.is_empty() {
            // Lets go of what a long frame needed.
            self.input = BytesMut::with_capacity(READ_BYTES);
        }
        self.input.reserve(READ_BYTES);
        stream.read_buf(&mut self.input).await
    }

    /// The next piece, if it is there whole.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, InvalidFrame> {
        let Some(mut frame) = self.header()? else { return Ok(None) };
        let length = frame.length.min(PIECE_BYTES as u64) as usize;
        if self.input.len() < length {
            self.open = Some(frame);
            return Ok(None);
        }
        let mut payload = self.input.split_to(length);
        if let Some(mask) = frame.mask {
            apply_mask(&mut payload, mask);
        }
        if frame.opcode == Opcode::Close && !is_close(&payload) {
            return Err(InvalidFrame::Close);
        }
        let opcode = frame.opcode;
        frame.length -= length as u64;
        let fin = frame.fin && frame.length == 0;
        if frame.length > 0 {
            frame.opcode = Opcode::Continuation;
            self.open = Some(frame);
        }
        Ok(Some(Piece { opcode, fin, payload }))
    }

    /// The header of the frame that is being read.
    fn header(&mut self) -> Result<Option<FrameHeader>, InvalidFrame> {
        if let Some(open) = self.open.take() {
            return Ok(Some(open));
        }
        let Some((header, length)) = FrameHeader::read(&self.input, self.sender)? else { return Ok(None) };
        if !header.opcode.is_control() {
            if self.in_message != (header.opcode == Opcode::Continuation) {
                return Err(InvalidFrame::Order);
            }
            self.in_message = !header.fin;
        }
        self.input.advance(length);
        Ok(Some(header))
    }
}

/// Nothing, or a code and a reason (RFC 6455, sections 5.5.1 and 7.4).
fn is_close(payload: &[u8]) -> bool {
    match payload.split_first_chunk() {
        None => payload.is_empty(),
        Some((code, reason)) => {
            let code = u16::from_be_bytes(*code);
            // 1004 to 1006 and 1015 stand for what is never sent.
            matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) && std::str::from_utf8(reason).is_ok()
        }
    }
}

/// A longer frame is passed on in fragments. A multiple of the length of a mask.
pub(crate) const PIECE_BYTES: usize = 64 << 10;
/// Also what a resting connection holds in each direction.
const READ_BYTES: usize = 16 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::websocket::writer::FrameWriter;

    /// What a reader gives for bytes that come in chunks.
    async fn read(sender: Sender, chunks: impl IntoIterator<Item = &[u8]>) -> Result<Vec<Piece>, InvalidFrame> {
        let (mut reader, mut pieces) = (FrameReader::new(sender), Vec::new());
        for mut chunk in chunks {
            while !chunk.is_empty() {
                reader.fill(&mut chunk).await.unwrap();
                while let Some(piece) = reader.next()? {
                    pieces.push(piece);
                }
            }
        }
        Ok(pieces)
    }

    fn piece(opcode: Opcode, fin: bool, payload: &[u8]) -> Piece {
        Piece { opcode, fin, payload: payload.into() }
    }

    #[tokio::test]
    async fn frames_are_the_same_over_every_split() {
        let pieces = || {
            [
                piece(Opcode::Text, false, b"one "),
                piece(Opcode::Ping, true, b"in between"),
                piece(Opcode::Continuation, false, b""),
                piece(Opcode::Continuation, true, &[b'x'; 200]),
                piece(Opcode::Binary, true, b"\0\xFF"),
                piece(Opcode::Close, true, b"\x03\xE8bye"),
            ]
        };
        for sender in [Sender::Client, Sender::Server] {
            let mut writer = FrameWriter::new(sender);
            pieces().into_iter().for_each(|piece| writer.put(piece));
            let bytes = writer.pending().to_vec();
            for split in 0..=bytes.len() {
                let (left, right) = bytes.split_at(split);
                assert_eq!(read(sender, [left, right]).await.unwrap(), pieces(), "split at {split}");
            }
            assert_eq!(read(sender, bytes.chunks(1)).await.unwrap(), pieces(), "one byte at a time");
        }
    }

    #[tokio::test]
    async fn a_long_frame_comes_in_pieces() {
        for (length, expected) in [
            (PIECE_BYTES, &[(Opcode::Binary, true, PIECE_BYTES)][..]),
            (PIECE_BYTES + 1, &[(Opcode::Binary, false, PIECE_BYTES), (Opcode::Continuation, true, 1)]),
            (
                3 * PIECE_BYTES,
                &[
                    (Opcode::Binary, false, PIECE_BYTES),
                    (Opcode::Continuation, false, PIECE_BYTES),
                    (Opcode::Continuation, true, PIECE_BYTES),
                ],
            ),
        ] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut writer = FrameWriter::new(Sender::Client);
            writer.put(piece(Opcode::Binary, true, &payload));
            let pieces = read(Sender::Client, [writer.pending()]).await.unwrap();
            let shapes: Vec<_> = pieces.iter().map(|piece| (piece.opcode, piece.fin, piece.payload.len())).collect();
            assert_eq!(shapes, expected);
            assert_eq!(pieces.iter().flat_map(|piece| piece.payload.to_vec()).collect::<Vec<_>>(), payload);
        }
    }

    #[tokio::test]
    async fn frames_follow_each_other_in_one_order() {
        for (case, frames, expected) in [
            ("two messages", &[0x81, 0, 0x82, 0][..], Ok(2)),
            ("fragments with a pong between", &[0x01, 0, 0x8A, 0, 0x80, 0], Ok(3)),
            ("a continuation of nothing", &[0x80, 0], Err(InvalidFrame::Order)),
            ("after the end of a message", &[0x01, 0, 0x80, 0, 0x80, 0], Err(InvalidFrame::Order)),
            ("a message within a message", &[0x01, 0, 0x81, 0], Err(InvalidFrame::Order)),
            ("a close without code", &[0x88, 0], Ok(1)),
            ("a close with code", &[0x88, 2, 0x03, 0xE8], Ok(1)),
            ("a close of the application", &[0x88, 2, 0x0F, 0xA0], Ok(1)),
            ("half a code", &[0x88, 1, 0x03], Err(InvalidFrame::Close)),
            ("the code for no code", &[0x88, 2, 0x03, 0xED], Err(InvalidFrame::Close)),
            ("the code for a lost connection", &[0x88, 2, 0x03, 0xEE], Err(InvalidFrame::Close)),
            ("a code below all", &[0x88, 2, 0, 1], Err(InvalidFrame::Close)),
            ("a reason that is not UTF-8", &[0x88, 3, 0x03, 0xE8, 0xFF], Err(InvalidFrame::Close)),
        ] {
            let read = read(Sender::Server, [frames]).await;
            assert_eq!(read.map(|pieces| pieces.len()), expected, "{case}");
        }
    }
}
