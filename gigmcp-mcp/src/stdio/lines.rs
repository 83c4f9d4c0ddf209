//! Lines of bounded length out of a stream that may hold anything.

#[cfg(any(fuzzing, test))]
pub(super) mod laws;

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Reads lines; one that is too long is passed over without being kept.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    max_bytes: usize,
    /// Nothing was read yet.
    begins: bool,
}

/// What stood on a line.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Line<'a> {
    /// The whole line without its end.
    Whole(&'a [u8]),
    /// A line longer than allowed: how it began and how it ended.
    TooLong { head: &'a [u8], tail: &'a [u8] },
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R, max_bytes: usize) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER_BYTES, reader), line: Vec::new(), max_bytes, begins: true }
    }

    /// The next line; `None` at the end. Not cancel safe. A last line without an end is a line. A byte order mark, with which some
    /// programs on Windows begin to write, is no part of the first.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let begins = std::mem::take(&mut self.begins);
        self.line.clear();
        self.line.shrink_to(KEPT_CAPACITY);
        let limit = self.max_bytes as u64 + 1; // one more for the line's end
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut self.line).await?;
        if read == 0 {
            return Ok(None);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() > self.max_bytes {
            let tail = pass_over(&mut self.reader).await?;
            self.line.truncate(END_BYTES);
            let head = self.line.len();
            self.line.extend_from_slice(&tail);
            let (head, tail) = self.line.split_at(head);
            return Ok(Some(Line::TooLong { head, tail }));
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        let line = self.line.strip_prefix(BYTE_ORDER_MARK).filter(|_| begins);
        Ok(Some(Line::Whole(line.unwrap_or(&self.line))))
    }
}

/// Reads to the end of the line and keeps only the last bytes before it.
async fn pass_over(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    let mut piece = Vec::with_capacity(BUFFER_BYTES);
    loop {
        piece.clear();
        let read = (&mut *reader).take(BUFFER_BYTES as u64).read_until(b'\n', &mut piece).await?;
        let ended = piece.last() == Some(&b'\n');
        if ended {
            piece.pop();
        }
        tail.extend_from_slice(&piece);
        tail.drain(..tail.len().saturating_sub(END_BYTES));
        if ended || read == 0 {
            return Ok(tail);
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
const BUFFER_BYTES: usize = 64 << 10;
const END_BYTES: usize = 1 << 10;
/// A buffer that once held a large answer gives the memory back.
const KEPT_CAPACITY: usize = 256 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[tokio::test]
    async fn long_lines_are_passed_over_and_the_next_one_is_read() {
        for (case, text, expected) in [
            ("plain", "a\nbc\n", vec!["a", "bc"]),
            ("carriage returns", "a\r\n\r\nb\n", vec!["a", "", "b"]),
            ("no end at the end", "a\nb", vec!["a", "b"]),
            ("exactly as long as allowed", "12345678\nx\n", vec!["12345678", "x"]),
            ("one longer", "123456789\nx\n", vec!["!123456789+", "x"]),
            ("far longer", "1234567890abcdef\nx\n", vec!["!123456789+0abcdef", "x"]),
            ("long and never ended", "1234567890", vec!["!123456789+0"]),
            ("nothing", "", vec![]),
            ("a byte order mark", "\u{feff}a\nb\n", vec!["a", "b"]),
            ("two of them", "\u{feff}\u{feff}a\n", vec!["\u{feff}a"]),
            ("later, as written", "a\n\u{feff}b\n", vec!["a", "\u{feff}b"]),
            ("in the middle, as written", "a\u{feff}\n", vec!["a\u{feff}"]),
        ] {
            let mut lines = Lines::new(text.as_bytes(), 8);
            let mut read = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                read.push(match line {
                    Line::Whole(line) => text(line),
                    Line::TooLong { head, tail } => format!("!{}+{}", text(head), text(tail)),
                });
            }
            assert_eq!(read, expected, "{case}");
        }
    }

    #[tokio::test]
    async fn a_gigabyte_without_a_line_end_is_not_kept() {
        let endless = tokio::io::repeat(b'x').take(1 << 30).chain(&b"\nnext\n"[..]);
        let mut lines = Lines::new(endless, 1 << 20);
        assert!(matches!(lines.next().await.unwrap(), Some(Line::TooLong { .. })));
        assert!(lines.line.capacity() <= 4 << 20, "{}", lines.line.capacity());
        assert_eq!(lines.next().await.unwrap(), Some(Line::Whole(b"next")));
    }
}
