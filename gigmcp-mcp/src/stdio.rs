//! A server behind a pair of pipes: our own raw JSON-RPC multiplexer.

mod handshake;
mod lines;
mod oversized;
mod pending;
mod pump;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

#[cfg(feature = "toolpack")]
pub(crate) use self::lines::{Line, Lines};

pub use self::handshake::{ConnectError, Hello};
use self::{
    pending::Pending,
    pump::{Outgoing, read_from, write_to},
};
use crate::{
    message::{Verdict, write_notification, write_request},
    object::quoted,
    upstream::{BoxFuture, Call, CallError, Outcome, Upstream},
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
    /// Default 60 s.
    pub call_timeout: Duration,
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
    /// Requests of the server that were answered with "method not found".
    pub refused_requests: u64,
    /// Answers and cancellations that were not written because the server does not read.
    pub unwritten: u64,
}

/// A server behind a pair of pipes.
///
/// Any number of requests may be under way; each has its own deadline, and giving one up tells the
/// server (`notifications/cancelled`). Dropping the upstream closes both pipes.
#[derive(Debug)]
pub struct StdioUpstream {
    shared: Arc<Shared>,
    hello: Hello,
    limits: StdioLimits,
    in_flight: Semaphore,
    _reader: AbortOnDropHandle<()>,
    _writer: AbortOnDropHandle<()>,
}

impl StdioUpstream {
    /// Takes over a server's pipes and speaks `initialize` with it. Needs a tokio runtime.
    ///
    /// Cancel safe: dropping the future closes both pipes.
    ///
    /// # Errors
    /// If the server does not complete the handshake in time.
    pub async fn connect(
        stdin: impl AsyncWrite + Send + Unpin + 'static,
        stdout: impl AsyncRead + Send + Unpin + 'static,
        limits: StdioLimits,
    ) -> Result<Self, ConnectError> {
        let (outgoing, queue) = mpsc::channel(QUEUED_LINES);
        let shared = Arc::new(Shared {
            pending: Pending::default(),
            outgoing,
            write_budget: Arc::new(Semaphore::new(limits.max_queued_bytes)),
            closed: CancellationToken::new(),
            tools_revision: AtomicU64::new(0),
            counters: Counters::default(),
        });
        let reader = tokio::spawn(read_from(stdout, Arc::clone(&shared), limits.max_line_bytes));
        let writer = tokio::spawn(write_to(stdin, Arc::clone(&shared), queue));
        let mut upstream = Self {
            shared,
            hello: Hello::unspoken(),
            limits,
            in_flight: Semaphore::new(limits.max_in_flight),
            _reader: AbortOnDropHandle::new(reader),
            _writer: AbortOnDropHandle::new(writer),
        };
        upstream.hello = handshake::initialize(&upstream).await?;
        Ok(upstream)
    }

    /// What the server said of itself.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// What the server did wrong so far.
    #[must_use]
    pub fn counters(&self) -> StdioCounters {
        self.shared.counters.read()
    }

    /// Waits until the server's output has ended. Cancel safe.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    async fn request(
        &self,
        method: &str,
        params: Option<&RawValue>,
        timeout: Duration,
        giving_up: GivingUp,
    ) -> Result<Verdict, CallError> {
        let deadline = Instant::now() + timeout;
        timeout_at(deadline, self.exchange(method, params, giving_up))
            .await
            .unwrap_or(Err(CallError::Timeout { after: timeout }))
    }

    async fn exchange(
        &self,
        method: &str,
        params: Option<&RawValue>,
        giving_up: GivingUp,
    ) -> Result<Verdict, CallError> {
        let _slot = self.in_flight.acquire().await.map_err(|_| CallError::Exited)?;
        let (id, answer) = self.shared.pending.enter().ok_or(CallError::Exited)?;
        let mut waiting = Waiting {
            shared: &self.shared,
            id,
            giving_up: GivingUp::Silently, // until the server may have heard of it
        };
        let line = write_request(id, method, params);
        self.shared.send(line, self.limits.max_queued_bytes).await?;
        waiting.giving_up = giving_up;
        answer.await.unwrap_or(Err(CallError::Exited))
    }

    async fn notify(&self, method: &str) -> Result<(), CallError> {
        let line = write_notification(method, None);
        self.shared.send(line, self.limits.max_queued_bytes).await
    }
}

impl Upstream for StdioUpstream {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let timeout =
                call.timeout.map_or(self.limits.call_timeout, |timeout| timeout.min(self.limits.call_timeout));
            let params = call.params.as_deref();
            match self.request(&call.method, params, timeout, GivingUp::TellingTheServer).await {
                Ok(Verdict::Result(result)) => Outcome::Complete(result),
                Ok(Verdict::Error(error)) => Outcome::Error(error),
                Err(error) => Outcome::Failed(error),
            }
        })
    }

    fn is_open(&self) -> bool {
        !self.shared.pending.is_closed()
    }

    fn tools_revision(&self) -> u64 {
        self.shared.tools_revision.load(Ordering::Acquire)
    }
}

/// What the two tasks and the callers have in common.
#[derive(Debug)]
struct Shared {
    pending: Pending,
    outgoing: mpsc::Sender<Outgoing>,
    write_budget: Arc<Semaphore>,
    closed: CancellationToken,
    tools_revision: AtomicU64,
    counters: Counters,
}

impl Shared {
    /// Queues a line; waits while the server does not read.
    async fn send(&self, line: Vec<u8>, max_queued_bytes: usize) -> Result<(), CallError> {
        let bytes = line.len().min(max_queued_bytes);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.write_budget).acquire_many_owned(permits).await.map_err(|_| CallError::Exited)?;
        let outgoing = Outgoing { line, _budget: Some(budget) };
        self.outgoing.send(outgoing).await.map_err(|_| CallError::Exited)
    }

    /// Queues a line if there is room; the reader and destructors cannot wait.
    fn send_now(&self, line: Vec<u8>) {
        let outgoing = Outgoing { line, _budget: None };
        if self.outgoing.try_send(outgoing).is_err() {
            Counters::add(&self.counters.unwritten);
        }
    }

    fn close(&self) {
        self.pending.close(&CallError::Exited);
        self.closed.cancel();
    }
}

/// A request under way. Dropped before its answer came, it is given up.
struct Waiting<'a> {
    shared: &'a Shared,
    id: u64,
    giving_up: GivingUp,
}

#[derive(Clone, Copy, Debug)]
enum GivingUp {
    TellingTheServer,
    /// `initialize` must not be cancelled, and what was not sent need not be.
    Silently,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let was_waiting = self.shared.pending.forget(self.id);
        match self.giving_up {
            GivingUp::TellingTheServer if was_waiting => {
                let reason = quoted("the request was given up");
                let params = format!(r#"{{"requestId":{},"reason":{reason}}}"#, self.id);
                let params = RawValue::from_string(params).expect("an integer and a string are JSON");
                let line = write_notification("notifications/cancelled", Some(&params));
                self.shared.send_now(line);
            }
            GivingUp::TellingTheServer | GivingUp::Silently => {}
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    invalid_lines: AtomicU64,
    oversized_lines: AtomicU64,
    unexpected_responses: AtomicU64,
    refused_requests: AtomicU64,
    unwritten: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> StdioCounters {
        StdioCounters {
            invalid_lines: self.invalid_lines.load(Ordering::Relaxed),
            oversized_lines: self.oversized_lines.load(Ordering::Relaxed),
            unexpected_responses: self.unexpected_responses.load(Ordering::Relaxed),
            refused_requests: self.refused_requests.load(Ordering::Relaxed),
            unwritten: self.unwritten.load(Ordering::Relaxed),
        }
    }
}

const QUEUED_LINES: usize = 256;
