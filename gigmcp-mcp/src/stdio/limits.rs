//! What a server may cost, and what it did wrong.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Bounds on what a server behind pipes can cost.
#[derive(Clone, Copy, Debug)]
pub struct StdioLimits {
    /// Longest line kept; against an answer that fills the memory. A longer one fails the request it
    /// answers. Default 16 MiB.
    pub max_line_bytes: usize,
    /// Time for `initialize`; against a server that never speaks. Default 60 s, because a first
    /// start may unpack things.
    pub initialize_timeout: Duration,
    /// Time for any other request, from the moment it is made; against a server that never answers.
    /// Default 60 s. Progress, and the answer to a request of the server, begin it anew.
    pub call_timeout: Duration,
    /// Time for a call in all, however much progress it makes; against one that never ends. Default 1 h.
    pub max_call_time: Duration,
    /// How long a call that was given up is taken to be worked on, unless it is answered late: some servers do not stop, and what
    /// they then ask or log must not reach another client. Default 60 s.
    pub given_up_for: Duration,
    /// Time for a client to answer a request of the server; people think. Default 10 min.
    pub ask_timeout: Duration,
    /// Requests of the server that one call may cause; against a loop. Default 64.
    pub max_asks_per_call: usize,
    /// Requests of the server without an answer yet; more are refused. Default 32.
    pub max_asks: usize,
    /// Requests without an answer yet; further ones wait. Default 256.
    pub max_in_flight: usize,
    /// Bytes that wait to be written; against a server that does not read. Further requests wait.
    /// Default 16 MiB.
    pub max_queued_bytes: usize,
}

impl Default for StdioLimits {
    fn default() -> Self {
        Self {
            max_line_bytes: 16 << 20,
            initialize_timeout: Duration::from_secs(60),
            call_timeout: Duration::from_secs(60),
            max_call_time: Duration::from_secs(3600),
            given_up_for: Duration::from_secs(60),
            ask_timeout: Duration::from_secs(600),
            max_asks_per_call: 64,
            max_asks: 32,
            max_in_flight: 256,
            max_queued_bytes: 16 << 20,
        }
    }
}

/// What a server did that it should not have done, in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct StdioCounters {
    /// Lines that are no message: not JSON, not UTF-8, not JSON-RPC.
    pub invalid_lines: u64,
    /// Lines longer than allowed.
    pub oversized_lines: u64,
    /// Answers that nobody waits for: never asked, given up, or given twice.
    pub unexpected_responses: u64,
    /// Requests of the server that no client was asked: not offered, belonging to no call, too many.
    pub refused_requests: u64,
    /// Requests and log lines of the server of which nothing tells to which call they belong.
    pub ambiguous: u64,
    /// Progress of nothing: of a call that is over or wants none, or that did not get on.
    pub idle_progress: u64,
    /// Notifications that belong to no call and were too long to be told to anybody.
    pub oversized_events: u64,
    /// Notifications of extensions that reached nobody: of none that the server has declared, too long, too many, of a call that is
    /// over, or of which nothing tells whose they are.
    pub dropped_notices: u64,
    /// Answers and cancellations that were not written because the server does not read.
    pub unwritten: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) invalid_lines: AtomicU64,
    pub(super) oversized_lines: AtomicU64,
    pub(super) unexpected_responses: AtomicU64,
    pub(super) refused_requests: AtomicU64,
    pub(super) ambiguous: AtomicU64,
    pub(super) idle_progress: AtomicU64,
    pub(super) oversized_events: AtomicU64,
    pub(super) dropped_notices: AtomicU64,
    pub(super) unwritten: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> StdioCounters {
        StdioCounters {
            invalid_lines: self.invalid_lines.load(Ordering::Relaxed),
            oversized_lines: self.oversized_lines.load(Ordering::Relaxed),
            unexpected_responses: self.unexpected_responses.load(Ordering::Relaxed),
            refused_requests: self.refused_requests.load(Ordering::Relaxed),
            ambiguous: self.ambiguous.load(Ordering::Relaxed),
            idle_progress: self.idle_progress.load(Ordering::Relaxed),
            oversized_events: self.oversized_events.load(Ordering::Relaxed),
            dropped_notices: self.dropped_notices.load(Ordering::Relaxed),
            unwritten: self.unwritten.load(Ordering::Relaxed),
        }
    }
}
