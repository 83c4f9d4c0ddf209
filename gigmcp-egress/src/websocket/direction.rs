use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::frame::{Opcode, Sender};
use super::reader::{FrameReader, PIECE_BYTES};
use super::relay::{Filter, PROTOCOL_ERROR, Violation};
use super::tally::{Tally, Way};
use super::writer::FrameWriter;
use crate::takeover::Stream;

/// One direction of a relay: reads frames, has them judged, and writes what passes as new frames. It reads on only when
/// what it had is written, so a slow reader slows the other end's writer.
pub(crate) struct Direction<F> {
    way: Way,
    from: ReadHalf<Box<dyn Stream>>,
    to: WriteHalf<Box<dyn Stream>>,
    reader: FrameReader,
    writer: FrameWriter,
    filter: F,
    /// A close frame passed, nothing may follow it.
    closed: bool,
}

/// How a direction came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// With a close frame.
    Closed,
    /// One side is gone, or does not write any more.
    Cut,
}

impl<F: Filter> Direction<F> {
    pub(crate) fn new(way: Way, from: ReadHalf<Box<dyn Stream>>, to: WriteHalf<Box<dyn Stream>>, filter: F) -> Self {
        let sender = match way {
            Way::Up => Sender::Client,
            Way::Down => Sender::Server,
        };
        let (reader, writer) = (FrameReader::new(sender), FrameWriter::new(sender));
        Self { way, from, to, reader, writer, filter, closed: false }
    }

    /// Relays until a close frame, the end of the stream, or something that must not pass. Cancel safe: may be called again.
    pub(crate) async fn run(&mut self, tally: &Tally) -> Result<End, Violation> {
        loop {
            while self.take_frame(tally)? {
                if self.writer.pending().len() >= PIECE_BYTES && self.flush(tally).await.is_err() {
                    return Ok(End::Cut);
                }
            }
            if self.flush(tally).await.is_err() {
                return Ok(End::Cut);
            }
            if self.closed {
                return Ok(End::Closed);
            }
            match self.reader.fill(&mut self.from).await {
                Ok(0) | Err(_) => return Ok(End::Cut),
                Ok(bytes) => tally.moved(bytes),
            }
        }
    }

    /// Judges one frame; `false` if there is none.
    fn take_frame(&mut self, tally: &Tally) -> Result<bool, Violation> {
        if self.closed {
            return Ok(false);
        }
        let piece = self.reader.next().map_err(|invalid| {
            tracing::info!(way = ?self.way, error = %invalid, "frame of a WebSocket refused");
            Violation { refusal: F::MALFORMED, code: PROTOCOL_ERROR }
        })?;
        let Some(piece) = piece else { return Ok(false) };
        if let Some(piece) = self.filter.pass(piece)? {
            self.closed = piece.opcode == Opcode::Close;
            tally.passed(self.way, piece.payload.len());
            self.writer.put(piece);
        }
        Ok(true)
    }

    async fn flush(&mut self, tally: &Tally) -> std::io::Result<()> {
        self.writer.flush(&mut self.to, |bytes| tally.moved(bytes)).await
    }

    /// Whether a close frame passed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Says good-bye to the reader of this direction, with this code unless a close frame passed, and ends its stream. Then
    /// reads what still comes from the other side and forgets it: a socket closed with bytes unread would take back the last
    /// that was written to it. Whoever calls this bounds its time.
    pub(crate) async fn end(&mut self, code: Option<u16>) {
        if let Some(code) = code.filter(|_| !self.closed) {
            self.writer.put_close(code);
        }
        if self.writer.flush(&mut self.to, |_| ()).await.is_ok() {
            let _ = self.to.shutdown().await;
        }
        let mut forgotten = [0; 1024];
        while self.from.read(&mut forgotten).await.is_ok_and(|bytes| bytes > 0) {}
    }

    /// Tells the reader of this direction that nothing more comes.
    pub(crate) async fn shutdown(&mut self) {
        let _ = self.to.shutdown().await;
    }
}
