use std::collections::{BTreeSet, VecDeque};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// What the library does without telling.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Note {
    /// It reset a stream that it had not given to us.
    Reset { stream: u32, reason: Reason },
    /// It answered a stream that it had not given to us, because its head is too large.
    Answered { stream: u32 },
    /// It waits for the rest of a frame or of a header block, for longer than the deadline.
    SlowHead,
}

impl Note {
    /// The stream it is about; 0 is the connection.
    pub(crate) fn stream(self) -> u32 {
        match self {
            Self::Reset { stream, .. } | Self::Answered { stream } => stream,
            Self::SlowHead => 0,
        }
    }
}

/// The bytes under a server's HTTP/2 connection. Follows the frames in both directions, their headers only.
pub(crate) struct Watched<T> {
    io: T,
    incoming: Frames,
    outgoing: Frames,
    /// Since when something that is not a body has been begun and not ended.
    head_since: Option<Instant>,
    head_deadline: Duration,
    sleep: Pin<Box<Sleep>>,
    notes: mpsc::UnboundedSender<Note>,
    own: Own,
}

impl<T> Watched<T> {
    pub(crate) fn new(io: T, head_deadline: Duration) -> (Self, mpsc::UnboundedReceiver<Note>, Own) {
        let (notes, noted) = mpsc::unbounded_channel();
        let own = Own::default();
        let watched = Self {
            io,
            incoming: Frames::after(PREFACE_BYTES),
            outgoing: Frames::after(0),
            head_since: None,
            head_deadline,
            sleep: Box::pin(tokio::time::sleep(head_deadline)),
            notes,
            own: own.clone(),
        };
        (watched, noted, own)
    }

    fn read(&mut self, bytes: &[u8]) {
        self.incoming.follow(bytes, |_| ());
        let inside = self.incoming.is_inside_head();
        self.own.inside_head.store(inside, Ordering::Relaxed);
        match (inside, self.head_since) {
            (true, None) => {
                let now = Instant::now();
                self.head_since = Some(now);
                self.sleep.as_mut().reset(now + self.head_deadline);
            }
            (false, Some(_)) => self.head_since = None,
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let (own, notes) = (&self.own, &self.notes);
        self.outgoing.follow(bytes, |event| {
            let note = match event {
                Event::Answer { stream } => Note::Answered { stream },
                Event::Reset { stream, reason } => Note::Reset { stream, reason },
                Event::End { stream } => return own.ended(stream),
            };
            let harmless = matches!(note, Note::Reset { reason: Reason::NO_ERROR | Reason::CANCEL, .. });
            if !harmless && !own.knows(note.stream()) {
                // The server may be gone already, and then nobody records any more.
                let _ = notes.send(note);
            }
            if let Event::Reset { stream, .. } = event {
                own.ended(stream);
            }
        });
    }
}

/// Streams that were given to us, whose exchange leaves an audit event of its own.
#[derive(Clone, Default)]
pub(crate) struct Own {
    streams: Arc<Mutex<Streams>>,
    /// Whether the client has begun something that is not a body.
    inside_head: Arc<AtomicBool>,
}

#[derive(Default)]
struct Streams {
    /// Until their end has been written.
    open: BTreeSet<u32>,
    /// Those the client gave up: mostly nothing more is written for them.
    given_up: VecDeque<u32>,
}

impl Own {
    pub(crate) fn open(&self, stream: u32) {
        let mut streams = self.lock();
        streams.open.insert(stream);
        if streams.open.len() > REMEMBERED_STREAMS {
            streams.open.pop_first();
        }
    }

    pub(crate) fn give_up(&self, stream: u32) {
        let mut streams = self.lock();
        if streams.open.remove(&stream) {
            streams.given_up.push_back(stream);
            if streams.given_up.len() > REMEMBERED_STREAMS {
                streams.given_up.pop_front();
            }
        }
    }

    pub(crate) fn is_inside_head(&self) -> bool {
        self.inside_head.load(Ordering::Relaxed)
    }

    fn ended(&self, stream: u32) {
        self.lock().open.remove(&stream);
    }

    pub(crate) fn knows(&self, stream: u32) -> bool {
        let streams = self.lock();
        streams.open.contains(&stream) || streams.given_up.contains(&stream)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Where in a sequence of frames we are (RFC 9113, section 4.1).
struct Frames {
    /// Bytes of the preface or a payload until the next frame.
    skip: usize,
    /// The frame's header, and of a reset the reason.
    head: Vec<u8>,
    kind: u8,
    /// Whether a header block goes on in the next frame.
    block_open: bool,
}

/// What matters of the frames that pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    /// The beginning of a header block.
    Answer {
        stream: u32,
    },
    Reset {
        stream: u32,
        reason: Reason,
    },
    /// The last frame of a stream.
    End {
        stream: u32,
    },
}

impl Frames {
    fn after(preface: usize) -> Self {
        Self { skip: preface, head: Vec::with_capacity(RESET_BYTES), kind: DATA, block_open: false }
    }

    fn follow(&mut self, mut bytes: &[u8], mut on: impl FnMut(Event)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = if self.head.get(3) == Some(&RST_STREAM) { RESET_BYTES } else { HEAD_BYTES };
            let taken = (wanted - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            let &[a, b, c, kind, flags, d, e, f, g, ref reason @ ..] = self.head.as_slice() else { continue };
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let stream = u32::from_be_bytes([d, e, f, g]) & (u32::MAX >> 1);
            self.kind = kind;
            if kind == HEADERS {
                on(Event::Answer { stream });
            }
            if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                on(Event::End { stream });
            }
            if matches!(kind, HEADERS | CONTINUATION) {
                self.block_open = flags & END_HEADERS == 0;
            }
            if kind == RST_STREAM && length == 4 {
                let Ok(reason) = <[u8; 4]>::try_from(reason) else { continue };
                on(Event::Reset { stream, reason: u32::from_be_bytes(reason).into() });
            } else {
                // A reset of another length ends the connection, so what is skipped wrongly then matters no more.
                self.skip = length;
            }
            self.head.clear();
        }
    }

    /// Inside anything but the payload of DATA, whose pace the deadline of its stream judges.
    fn is_inside_head(&self) -> bool {
        self.block_open || !self.head.is_empty() || self.skip > 0 && self.kind != DATA
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let outcome = Pin::new(&mut this.io).poll_read(cx, buf);
        match &outcome {
            Poll::Ready(Ok(())) => this.read(&buf.filled()[before..]),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                if this.head_since.is_some() && this.sleep.as_mut().poll(cx).is_ready() {
                    this.head_since = None;
                    let _ = this.notes.send(Note::SlowHead);
                }
            }
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = outcome {
            this.wrote(&buf[..written]);
        }
        outcome
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(mut written)) = outcome {
            for buf in bufs {
                let part = written.min(buf.len());
                this.wrote(&buf[..part]);
                written -= part;
            }
        }
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const RESET_BYTES: usize = HEAD_BYTES + 4;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// More than can wait to be written.
const REMEMBERED_STREAMS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn ends_are_seen_over_every_split() {
        let bytes = [
            frame(4, 0, 0, &[0; 12]),
            frame(RST_STREAM, 0, 5, &1_u32.to_be_bytes()),
            frame(HEADERS, END_HEADERS, 3, &[0x88]),
            frame(DATA, END_STREAM, 3, &frame(RST_STREAM, 0, 9, &1_u32.to_be_bytes())),
            frame(RST_STREAM, 0, 7, &7_u32.to_be_bytes()),
        ]
        .concat();
        for split in 0..bytes.len() {
            let (mut frames, mut seen) = (Frames::after(0), Vec::new());
            for part in [&bytes[..split], &bytes[split..]] {
                frames.follow(part, |event| seen.push(event));
            }
            let expected = [
                Event::Reset { stream: 5, reason: Reason::PROTOCOL_ERROR },
                Event::Answer { stream: 3 },
                Event::End { stream: 3 },
                Event::Reset { stream: 7, reason: Reason::REFUSED_STREAM },
            ];
            assert_eq!(seen, expected, "split at {split}: what stands in a payload is no frame");
        }
    }

    #[test]
    fn a_head_lasts_until_its_block_ends() {
        let mut frames = Frames::after(3);
        for (case, bytes, inside) in [
            ("preface", vec![0; 3], false),
            ("a frame begun", vec![0, 0], true),
            ("a block begun", vec![2, HEADERS, 0, 0, 0, 0, 1, 9, 9], true),
            ("and continued", frame(CONTINUATION, 0, 1, b"x"), true),
            ("and ended", frame(CONTINUATION, END_HEADERS, 1, b"x"), false),
            ("a body begun", frame(DATA, 0, 1, b"xyz")[..10].to_vec(), false),
            ("and ended", b"yz".to_vec(), false),
            ("half a ping", frame(6, 0, 0, &[0; 8])[..12].to_vec(), true),
        ] {
            frames.follow(&bytes, |_| ());
            assert_eq!(frames.is_inside_head(), inside, "{case}");
        }
    }
}
