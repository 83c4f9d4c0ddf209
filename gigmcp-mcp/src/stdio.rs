//! A server behind a pair of pipes: our own raw JSON-RPC multiplexer.

mod asks;
mod handshake;
mod lines;
mod modern;
mod notes;
mod oversized;
mod pending;
mod pump;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, broadcast, mpsc},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

#[cfg(feature = "toolpack")]
pub(crate) use self::lines::{Line, Lines};

pub use self::handshake::{ConnectError, Hello};
use self::{
    asks::Asks,
    modern::Listens,
    notes::{progress_token, token_prefix},
    pending::{Caller, Pending},
    pump::{Outgoing, read_from, write_to},
};
use crate::{
    describe::Description,
    message::{Verdict, write_notification, write_request},
    object::quoted,
    sink::{ClientContext, Features, Roots, Turns},
    upstream::{BoxFuture, Call, CallError, Event, List, Outcome, Upstream},
    version::Era,
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
    turn: Semaphore,
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
        Self::connect_with(stdin, stdout, limits, Features::default()).await
    }

    /// The same, telling the server that clients have these features.
    ///
    /// # Errors
    /// If the server does not complete the handshake in time.
    pub async fn connect_with(
        stdin: impl AsyncWrite + Send + Unpin + 'static,
        stdout: impl AsyncRead + Send + Unpin + 'static,
        limits: StdioLimits,
        features: Features,
    ) -> Result<Self, ConnectError> {
        Self::connect_as(stdin, stdout, limits, features, Era::Legacy).await
    }

    /// The same with a server of this era. Which one it is, [`StdioUpstream::probe`] can tell beforehand.
    ///
    /// # Errors
    /// If the server does not answer its first message in time, or speaks something else.
    pub async fn connect_as(
        stdin: impl AsyncWrite + Send + Unpin + 'static,
        stdout: impl AsyncRead + Send + Unpin + 'static,
        limits: StdioLimits,
        features: Features,
        era: Era,
    ) -> Result<Self, ConnectError> {
        let (outgoing, queue) = mpsc::channel(QUEUED_LINES);
        let shared = Arc::new(Shared {
            pending: Pending::default(),
            asks: Asks::default(),
            interactive: AtomicBool::new(features.turns == Turns::OneByOne),
            features,
            era,
            listens: Listens::default(),
            limits,
            outgoing,
            write_budget: Arc::new(Semaphore::new(limits.max_queued_bytes)),
            closed: CancellationToken::new(),
            revisions: Default::default(),
            events: broadcast::Sender::new(QUEUED_EVENTS),
            token_prefix: token_prefix(),
            counters: Counters::default(),
        });
        let reader = tokio::spawn(read_from(stdout, Arc::clone(&shared)));
        let writer = tokio::spawn(write_to(stdin, Arc::clone(&shared), queue));
        let mut upstream = Self {
            shared,
            hello: Hello::unspoken(),
            limits,
            in_flight: Semaphore::new(limits.max_in_flight),
            turn: Semaphore::new(1),
            _reader: AbortOnDropHandle::new(reader),
            _writer: AbortOnDropHandle::new(writer),
        };
        upstream.hello = match era {
            Era::Legacy => handshake::initialize(&upstream).await?,
            Era::Modern => modern::discover(&upstream).await?,
        };
        Ok(upstream)
    }

    /// What a server speaks, by a process that is to be thrown away: some lock their pipe to the era of the first message
    /// they hear, and some end. Worth remembering as long as the program is the same.
    ///
    /// A server of both eras is [`Era::Modern`]; whatever does not answer as one, [`Era::Legacy`].
    pub async fn probe(
        stdin: impl AsyncWrite + Send + Unpin + 'static,
        stdout: impl AsyncRead + Send + Unpin + 'static,
        limits: StdioLimits,
    ) -> Era {
        match Self::connect_as(stdin, stdout, limits, Features::default(), Era::Modern).await {
            Ok(_) => Era::Modern,
            Err(_) => Era::Legacy,
        }
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

    /// Whether calls go one at a time: the server has made a request, and nothing in one tells to which call it belongs. Worth
    /// remembering for the next start, see [`Features::turns`].
    #[must_use]
    pub fn is_interactive(&self) -> bool {
        self.shared.interactive.load(Ordering::Acquire)
    }

    async fn verdict(&self, call: &Call, context: Option<&ClientContext>) -> Result<Verdict, CallError> {
        let timeout = call.timeout.map_or(self.limits.call_timeout, |timeout| timeout.min(self.limits.call_timeout));
        let params = call.params.as_deref();
        let sink = call.sink.as_ref();
        let caller = sink.map(|sink| Caller::new(Arc::clone(sink), call.client, params.and_then(progress_token)));
        let giving_up = GivingUp::TellingTheServer;
        self.request(Asked { method: &call.method, params, caller, context, giving_up }, timeout).await
    }

    async fn request(&self, asked: Asked<'_>, timeout: Duration) -> Result<Verdict, CallError> {
        let last = Instant::now() + self.limits.max_call_time.max(timeout);
        let mut deadline = Instant::now() + timeout;
        let entered = AtomicU64::new(0);
        let mut exchange = std::pin::pin!(self.exchange(asked, &entered));
        loop {
            if let Ok(answer) = timeout_at(deadline, &mut exchange).await {
                return answer;
            }
            let now = Instant::now();
            match self.shared.pending.lives_until(entered.load(Ordering::Relaxed)) {
                // What lets it live on may come to an end before that time, so it is looked at again.
                Some(until) if until > now && last > now => {
                    deadline = until.min(last).min(now + self.limits.call_timeout);
                }
                _ => return Err(CallError::Timeout { after: timeout }),
            }
        }
    }

    async fn exchange(&self, asked: Asked<'_>, entered: &AtomicU64) -> Result<Verdict, CallError> {
        let Asked { method, params, caller, context, giving_up } = asked;
        let _turn = match &caller {
            Some(_) if self.is_interactive() => {
                let turn = self.turn.acquire().await.map_err(|_| CallError::Exited)?;
                // Those that began before it was known hold no turn.
                self.shared.pending.quiet().await;
                Some(turn)
            }
            _ => None,
        };
        let _slot = self.in_flight.acquire().await.map_err(|_| CallError::Exited)?;
        let wants_progress = caller.as_ref().is_some_and(Caller::wants_progress);
        let (id, answer) = self.shared.pending.enter(caller).ok_or(CallError::Exited)?;
        entered.store(id, Ordering::Relaxed);
        let mut waiting = Waiting {
            shared: &self.shared,
            id,
            giving_up: GivingUp::Silently, // until the server may have heard of it
        };
        let own = match self.shared.era {
            Era::Legacy => params.filter(|_| wants_progress).and_then(|params| self.shared.own_token(id, params)),
            Era::Modern => Some(self.shared.dressed(id, params, wants_progress, context)),
        };
        let line = write_request(id, method, own.as_deref().or(params));
        self.shared.send(line).await?;
        waiting.giving_up = giving_up;
        answer.await.unwrap_or(Err(CallError::Exited))
    }

    async fn notify(&self, method: &str) -> Result<(), CallError> {
        self.shared.send(write_notification(method, None)).await
    }
}

impl Upstream for StdioUpstream {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            if self.shared.era == Era::Modern {
                return self.call_modern(call).await;
            }
            match self.verdict(&call, None).await {
                Ok(Verdict::Result(result)) => Outcome::Complete(result),
                Ok(Verdict::Error(error)) => Outcome::Error(error),
                Err(error) => Outcome::Failed(error),
            }
        })
    }

    fn tell(&self, told: Call) {
        let roots = self.shared.features.roots == Roots::Forward && self.shared.era == Era::Legacy;
        if roots && &*told.method == ROOTS_CHANGED {
            // The server will ask for them, and no call is under way that it could ask for.
            self.shared.asks.expect_roots(told.sink);
            self.shared.send_now(write_notification(ROOTS_CHANGED, told.params.as_deref()));
        }
    }

    fn is_open(&self) -> bool {
        !self.shared.pending.is_closed()
    }

    fn is_occupied(&self) -> bool {
        self.is_interactive() && (self.turn.available_permits() == 0 || self.shared.pending.has_callers())
    }

    fn revision(&self, list: List) -> u64 {
        self.shared.revisions[list as usize].load(Ordering::Acquire)
    }

    fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
        Box::pin(std::future::ready(Description::read(&self.hello.result)))
    }

    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        Some(self.shared.events.subscribe())
    }
}

/// A request to the server.
struct Asked<'a> {
    method: &'a str,
    params: Option<&'a RawValue>,
    caller: Option<Caller>,
    context: Option<&'a ClientContext>,
    giving_up: GivingUp,
}

/// What the two tasks and the callers have in common.
#[derive(Debug)]
struct Shared {
    pending: Pending,
    asks: Asks,
    /// Calls of clients go one at a time.
    interactive: AtomicBool,
    features: Features,
    era: Era,
    listens: Listens,
    limits: StdioLimits,
    outgoing: mpsc::Sender<Outgoing>,
    write_budget: Arc<Semaphore>,
    closed: CancellationToken,
    revisions: [AtomicU64; List::ALL.len()],
    events: broadcast::Sender<Event>,
    token_prefix: Box<str>,
    counters: Counters,
}

impl Shared {
    /// Queues a line; waits while the server does not read.
    async fn send(&self, line: Vec<u8>) -> Result<(), CallError> {
        let bytes = line.len().min(self.limits.max_queued_bytes);
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
    ambiguous: AtomicU64,
    idle_progress: AtomicU64,
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
            ambiguous: self.ambiguous.load(Ordering::Relaxed),
            idle_progress: self.idle_progress.load(Ordering::Relaxed),
            unwritten: self.unwritten.load(Ordering::Relaxed),
        }
    }
}

pub(crate) const ROOTS_CHANGED: &str = "notifications/roots/list_changed";
const QUEUED_LINES: usize = 256;
/// What belongs to no call and was not read yet; a reader that is further behind misses some.
const QUEUED_EVENTS: usize = 256;
