//! A server's standard error: hostile text, kept short and made harmless.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::broadcast;

use crate::Limits;

/// Collects lines from the server and hands them out.
#[derive(Debug)]
pub(crate) struct StderrLog(Mutex<State>);

/// What a read of the pipe brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Read {
    /// The end, or nothing yet.
    Nothing,
    /// Something, and there may be more.
    Some,
    /// More than the budget, and the rest of it was dropped.
    OverBudget,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    line: Vec<u8>,
    last: VecDeque<Arc<str>>,
    budget: Budget,
    dropped: u64,
    live: Option<broadcast::Sender<Arc<str>>>,
}

/// The lines of a server's standard error: those kept so far, then those to come.
#[derive(Debug)]
pub struct StderrLines {
    kept: VecDeque<Arc<str>>,
    live: Option<broadcast::Receiver<Arc<str>>>,
}

impl StderrLines {
    /// The next line, without control characters and cut to its longest length; `None` when the
    /// server has ended. A reader that falls far behind misses lines.
    ///
    /// Cancel safe: a line is not lost when the future is dropped.
    pub async fn next(&mut self) -> Option<String> {
        if let Some(line) = self.kept.pop_front() {
            return Some(line.to_string());
        }
        loop {
            match self.live.as_mut()?.recv().await {
                Ok(line) => return Some(line.to_string()),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => self.live = None,
            }
        }
    }
}

impl StderrLog {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (live, _) = broadcast::channel(CHANNEL_LINES);
        Self(Mutex::new(State {
            limits: limits.clone(),
            line: Vec::new(),
            last: VecDeque::new(),
            budget: Budget::new(limits.stderr_bytes_per_second, Instant::now()),
            dropped: 0,
            live: Some(live),
        }))
    }

    /// Takes what was read from the pipe, as far as the budget goes.
    pub(crate) fn push(&self, bytes: &[u8]) -> Read {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = state.budget.take(bytes.len(), Instant::now());
        let (taken, rest) = bytes.split_at(taken);
        for byte in taken {
            state.push_byte(*byte);
        }
        state.dropped += rest.len() as u64;
        if rest.is_empty() { Read::Some } else { Read::OverBudget }
    }

    /// Takes the unfinished line; nothing comes after it.
    pub(crate) fn finish(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.line.is_empty() {
            state.end_line();
        }
        state.tell_dropped();
        state.live = None;
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> Vec<String> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.last.iter().map(|line| line.to_string()).collect()
    }

    /// The last lines and those to come.
    pub(crate) fn lines(&self) -> StderrLines {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        StderrLines { kept: state.last.clone(), live: state.live.as_ref().map(broadcast::Sender::subscribe) }
    }
}

impl State {
    fn push_byte(&mut self, byte: u8) {
        if byte == b'\n' {
            self.end_line();
        } else if self.line.len() < self.limits.stderr_line_bytes {
            self.line.push(byte);
        }
    }

    fn end_line(&mut self) {
        self.tell_dropped();
        let line = sanitised(&String::from_utf8_lossy(&std::mem::take(&mut self.line)));
        self.keep(line);
    }

    fn tell_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            self.keep(format!("[{dropped} bytes dropped: too much on standard error]"));
        }
    }

    fn keep(&mut self, line: String) {
        let line: Arc<str> = line.into();
        if self.last.len() >= self.limits.stderr_lines.max(1) {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        if let Some(live) = &self.live {
            // An error says that nobody listens.
            let _ = live.send(line);
        }
    }
}

/// Bytes that may still be taken; refills with time, up to four seconds' worth.
#[derive(Debug)]
struct Budget {
    per_second: u64,
    left: u64,
    since: Instant,
}

impl Budget {
    fn new(per_second: u64, now: Instant) -> Self {
        Self { per_second, left: per_second.saturating_mul(4), since: now }
    }

    fn take(&mut self, wanted: usize, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.since);
        let refill = u128::from(self.per_second) * passed.as_millis() / 1000;
        if refill > 0 {
            let refill = u64::try_from(refill).unwrap_or(u64::MAX);
            self.left = self.left.saturating_add(refill).min(self.per_second.saturating_mul(4));
            self.since = now;
        }
        let taken = wanted.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= taken as u64;
        taken
    }
}

/// Removes terminal escape sequences, control characters, and the invisible characters that
/// reorder text or hide it.
pub(crate) fn sanitised(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                // A control sequence ends with a letter or one of @[\]^_`{|}~.
                while let Some(parameter) = characters.next_if(|next| matches!(next, ' '..='?')) {
                    let _ = parameter;
                }
                characters.next_if(|next| matches!(next, '@'..='~'));
            }
            '\t' => clean.push(' '),
            _ if character.is_control() || is_invisible(character) => {}
            _ => clean.push(character),
        }
    }
    clean
}

fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// A reader that is further behind than this misses lines.
const CHANNEL_LINES: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn text_comes_out_harmless() {
        for (case, text, expected) in [
            ("plain", "héllo wörld", "héllo wörld"),
            ("colour", "\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("clipboard", "a\u{1b}]52;c;AAAA\u{7}b", "a]52;c;AAAAb"),
            ("carriage return", "safe\revil", "safeevil"),
            ("reordering", "a\u{202e}b", "ab"),
            ("8-bit control", "a\u{9b}31mb", "a31mb"),
        ] {
            assert_eq!(sanitised(text), expected, "{case}");
        }
    }

    #[test]
    fn lines_and_their_number_are_bounded() {
        let limits = Limits { stderr_line_bytes: 4, ..Limits::default().stderr_lines(2) };
        let log = StderrLog::new(&limits);
        let _ = log.push(b"one\ntwo\nlong line\nend");
        assert_eq!(log.tail(), ["two", "long"]);
        log.finish();
        assert_eq!(log.tail(), ["long", "end"]);
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let limits = Limits { stderr_bytes_per_second: 1, ..Limits::default() };
        let log = StderrLog::new(&limits);
        assert_eq!(log.push(b"abc\n"), Read::Some);
        assert_eq!(log.push(b"more and more\n"), Read::OverBudget);
        log.finish();
        assert_eq!(log.tail(), ["abc", "[14 bytes dropped: too much on standard error]"]);
    }

    #[test]
    fn the_budget_refills_with_time() {
        let start = Instant::now();
        let mut budget = Budget::new(10, start);
        assert_eq!(budget.take(100, start), 40);
        assert_eq!(budget.take(100, start), 0);
        assert_eq!(budget.take(100, start + Duration::from_secs(1)), 10);
    }
}
