use crate::refusal::Refusal;

/// Finds the empty line that ends a block of lines, and looks at each byte once, however the bytes come in.
///
/// Lines end in CRLF. A lone CR or LF ends a line for some programs and not for others, so there must be none; neither
/// may there be any other control byte but a tab. What is refused here is refused without waiting for the rest.
#[derive(Debug)]
pub(super) struct Scan {
    seen: usize,
    line: usize,
    block: Block,
    max_bytes: usize,
}

/// What the block is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Block {
    /// The head of a request. One empty line before it is skipped: some clients send it behind a body (RFC 9112, section 2.2).
    Head,
    /// The trailers behind the last chunk, of which there may be none.
    Trailers,
}

impl Scan {
    pub(super) fn new(block: Block, max_bytes: usize) -> Self {
        Self { seen: 0, line: 0, block, max_bytes }
    }

    /// Where the block ends, behind its empty line; `None` if more bytes are needed. `bytes` are those of the call before
    /// with more behind them.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        // No byte beyond the limit is looked at, so it does not matter how many came at once.
        let visible = &bytes[..bytes.len().min(self.max_bytes)];
        while let Some(run) = visible[self.seen..].iter().position(|byte| is_control(*byte)) {
            self.seen += run;
            match (visible[self.seen], visible.get(self.seen + 1)) {
                (b'\r', Some(b'\n')) => {}
                (b'\r', None) => return self.more(bytes.len()),
                _ => return Err(Refusal::Malformed),
            }
            let empty = self.seen == self.line;
            let first = self.is_first_line();
            let leading = self.block == Block::Head && first && self.line == 0;
            self.seen += CRLF;
            if empty && !leading {
                // Behind one skipped line a head must begin.
                return if self.block == Block::Head && first { Err(Refusal::Malformed) } else { Ok(Some(self.seen)) };
            }
            self.line = self.seen;
        }
        self.seen = visible.len();
        self.more(bytes.len())
    }

    /// Whether nothing has come yet but what may stand between two requests.
    pub(super) fn is_blank(&self, bytes: &[u8]) -> bool {
        matches!(bytes, b"" | b"\r" | b"\r\n")
    }

    fn more(&self, received: usize) -> Result<Option<usize>, Refusal> {
        match received < self.max_bytes {
            true => Ok(None),
            false if self.block == Block::Head && self.is_first_line() => Err(Refusal::TargetTooLong),
            false => Err(Refusal::HeadTooLarge),
        }
    }

    /// Whether the line that is being read is the first, or the second behind an empty one.
    fn is_first_line(&self) -> bool {
        self.line == 0 || self.line == CRLF
    }
}

fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f
}

/// The length of a line end.
pub(super) const CRLF: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn byte_by_byte(block: Block, max_bytes: usize, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let mut scan = Scan::new(block, max_bytes);
        for end in 0..=bytes.len() {
            match scan.end(&bytes[..end]) {
                Ok(None) => {}
                outcome => return outcome,
            }
        }
        Ok(None)
    }

    #[test]
    fn a_block_ends_at_its_empty_line_and_lines_end_in_crlf() {
        use Block::{Head, Trailers};
        for (case, block, bytes, expected) in [
            ("head", Head, "GET / HTTP/1.1\r\nA: b\r\n\r\nmore", Ok(Some(24))),
            ("without fields", Head, "GET / HTTP/1.1\r\n\r\n", Ok(Some(18))),
            ("cut", Head, "GET / HTTP/1.1\r\nA: b\r\n\r", Ok(None)),
            ("nothing", Head, "", Ok(None)),
            ("EGR-128 one empty line before", Head, "\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(20))),
            ("EGR-128 two empty lines before", Head, "\r\n\r\nGET / HTTP/1.1\r\n\r\n", Err(Refusal::Malformed)),
            ("EGR-118 LF", Head, "GET / HTTP/1.1\nA: b\r\n\r\n", Err(Refusal::Malformed)),
            ("EGR-118 LF at the end", Head, "GET / HTTP/1.1\r\nA: b\r\n\n", Err(Refusal::Malformed)),
            ("EGR-118 CR", Head, "GET / HTTP/1.1\rA: b\r\n\r\n", Err(Refusal::Malformed)),
            ("EGR-118 CR CR LF", Head, "GET / HTTP/1.1\r\r\n\r\n", Err(Refusal::Malformed)),
            ("LF first", Head, "\nGET / HTTP/1.1\r\n\r\n", Err(Refusal::Malformed)),
            ("NUL", Head, "GET / HTTP/1.1\r\nA: b\0\r\n\r\n", Err(Refusal::Malformed)),
            ("DEL", Head, "GET / HTTP/1.1\r\nA: b\x7f\r\n\r\n", Err(Refusal::Malformed)),
            ("a tab may be in a value", Head, "GET / HTTP/1.1\r\nA: b\tc\r\n\r\n", Ok(Some(26))),
            ("no trailers", Trailers, "\r\nGET", Ok(Some(2))),
            ("trailers", Trailers, "A: b\r\n\r\n", Ok(Some(8))),
        ] {
            assert_eq!(Scan::new(block, 100).end(bytes.as_bytes()), expected, "{case}");
            assert_eq!(byte_by_byte(block, 100, bytes.as_bytes()), expected, "{case}, byte by byte");
        }
    }

    #[test]
    fn no_byte_is_read_beyond_the_limit() {
        let head = b"GET /aaaa HTTP/1.1\r\nA: b\r\n\r\n";
        for (max_bytes, expected) in [
            (head.len(), Ok(Some(head.len()))),
            (head.len() - 1, Err(Refusal::HeadTooLarge)),
            (20, Err(Refusal::HeadTooLarge)),
            (10, Err(Refusal::TargetTooLong)),
        ] {
            assert_eq!(Scan::new(Block::Head, max_bytes).end(head), expected, "{max_bytes}");
            assert_eq!(byte_by_byte(Block::Head, max_bytes, head), expected, "{max_bytes}, byte by byte");
        }
    }
}
