//! However the bytes arrive, the same lines are read, and of none more than is allowed is kept.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a broken law")]

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use tokio::io::ReadBuf;

use super::*;
use crate::{
    message::{Message, Response, write_notification, write_response},
    stdio::{
        oversized::{Answers, answered},
        pump::append_line,
    },
};

/// The first byte says how long a line may be, the second how many of the next are lengths of pieces; the rest is what a server
/// writes.
pub fn mcp_lines(input: &[u8]) {
    let [max, count, rest @ ..] = input else { return };
    let Some((lengths, text)) = rest.split_at_checked(usize::from(count % 8)) else { return };
    let max = 8 + usize::from(*max);
    let expected = expected(text, max);
    assert_eq!(read(text, &[], max), expected, "in one piece");
    assert_eq!(read(text, lengths, max), expected, "in pieces");
    for line in text.split(|byte| *byte == b'\n') {
        stays_itself(line);
        ends_tell_no_lie(line, max);
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Read {
    Whole(Vec<u8>),
    TooLong(Vec<u8>, Vec<u8>),
}

/// The same, said simply.
fn expected(text: &[u8], max: usize) -> Vec<Read> {
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop(); // what follows the last line's end is no line
    }
    let read = |(number, line): (usize, &[u8])| {
        if line.len() <= max {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let unmarked = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 0);
            return Read::Whole(unmarked.unwrap_or(line).to_vec());
        }
        let (head, rest) = line.split_at(max + 1);
        Read::TooLong(head[..head.len().min(END_BYTES)].to_vec(), rest[rest.len().saturating_sub(END_BYTES)..].to_vec())
    };
    lines.into_iter().enumerate().map(read).collect()
}

fn read(text: &[u8], lengths: &[u8], max: usize) -> Vec<Read> {
    let mut lines = Lines::new(Arriving { text, lengths, turn: 0, pause: false }, max);
    let mut read = Vec::new();
    while let Some(line) = now(lines.next()).unwrap() {
        read.push(match line {
            Line::Whole(line) => Read::Whole(line.to_vec()),
            Line::TooLong { head, tail } => Read::TooLong(head.to_vec(), tail.to_vec()),
        });
        assert!(lines.line.capacity() <= 2 * (max + 1) + 2 * END_BYTES + 64, "{}", lines.line.capacity());
    }
    read
}

/// Bytes that come in pieces of these lengths, in turns, with a pause after each.
struct Arriving<'a> {
    text: &'a [u8],
    lengths: &'a [u8],
    turn: usize,
    pause: bool,
}

impl AsyncRead for Arriving<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pause = !self.pause;
        if self.pause {
            return Poll::Pending; // it is polled again at once
        }
        let length = match self.lengths {
            [] => self.text.len(),
            lengths => usize::from(lengths[self.turn % lengths.len()]).max(1),
        };
        let (piece, rest) = self.text.split_at(length.min(self.text.len()).min(into.remaining()));
        into.put_slice(piece);
        (self.text, self.turn) = (rest, self.turn + 1);
        Poll::Ready(Ok(()))
    }
}

fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

/// A message that is passed on is the same message, on one line.
fn stays_itself(line: &[u8]) {
    let Ok(message) = Message::parse(line) else { return };
    let (text, again): (Vec<u8>, fn(&Message) -> String) = match &message {
        Message::Response(Response { id, verdict }) => {
            (write_response(id.as_ref(), verdict), |message| format!("{message:?}"))
        }
        Message::Notification(note) => {
            (write_notification(&note.method, note.params.as_deref()), |message| format!("{message:?}"))
        }
        Message::Request(request) => {
            (write_notification(&request.method, request.params.as_deref()), |message| match message {
                Message::Request(request) => format!("{:?} {:?}", request.method, request.params),
                Message::Notification(note) => format!("{:?} {:?}", note.method, note.params),
                Message::Response(_) => String::new(),
            })
        }
    };
    assert_eq!(again(&Message::parse(&text).unwrap()), again(&message));
    let mut written = Vec::new();
    append_line(&mut written, &text);
    assert_eq!(written.pop(), Some(b'\n'));
    assert!(!written.contains(&b'\n') && !written.contains(&b'\r'));
    assert!(Message::parse(&written).is_ok());
}

/// Of an answer that is too long, no other request is taken to be the one answered.
fn ends_tell_no_lie(line: &[u8], max: usize) {
    if line.len() <= max {
        return;
    }
    let Ok(Message::Response(Response { id, .. })) = Message::parse(line) else { return };
    let (head, tail) = line.split_at(max + 1);
    let found = answered(&head[..head.len().min(END_BYTES)], &tail[tail.len().saturating_sub(END_BYTES)..]);
    let id = id.and_then(|id| id.as_u64());
    assert!(found == Answers::Unknown || id.is_some_and(|id| found == Answers::Call(id)), "{found:?} is not {id:?}");
}
