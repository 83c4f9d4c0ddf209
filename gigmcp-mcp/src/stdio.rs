//! A server behind a pair of pipes: our own raw JSON-RPC multiplexer.

mod asks;
mod exchange;
mod handshake;
mod launch;
mod limits;
mod lines;
mod modern;
mod notes;
mod notices;
mod oversized;
mod pending;
mod pump;
mod shared;
mod tokens;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, broadcast, mpsc},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

#[cfg(any(fuzzing, test))]
pub use self::lines::laws::mcp_lines;
#[cfg(feature = "toolpack")]
pub(crate) use self::lines::{Line, Lines};

use self::{
    asks::Asks,
    exchange::whose,
    limits::Counters,
    modern::Listens,
    notices::Owners,
    pending::Pending,
    pump::{read_from, write_to},
    shared::Shared,
    tokens::Tokens,
};
pub use self::{
    handshake::{ConnectError, Hello},
    launch::StdioLaunch,
    limits::{StdioCounters, StdioLimits},
};
use crate::{
    describe::Description,
    message::{Verdict, write_notification},
    sink::{ClientId, Features, Roots, Turns},
    upstream::{BoxFuture, Call, Event, Hold, List, Outcome, Upstream},
    version::Era,
};

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
            tokens: Tokens::new(),
            declared: Default::default(),
            owners: Owners::default(),
            notices: Default::default(),
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
        // Nobody has done that before.
        let _ = upstream.shared.declared.set(Description::read(&upstream.hello.result).extensions);
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

    /// How many requests wait for an answer.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.shared.pending.len()
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
}

impl Upstream for StdioUpstream {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            self.shared.owners.note(&call);
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
        if self.shared.is_of_extension(&told.method) {
            self.shared.owners.note(&told);
            match self.shared.pending.is_told(whose(&told), TOLD) {
                true => self.shared.tell_of_extension(&told),
                false => Counters::add(&self.shared.counters.unwritten),
            }
        } else if roots && &*told.method == ROOTS_CHANGED {
            self.shared.owners.note(&told);
            let whose = whose(&told);
            if !self.shared.pending.is_told(whose.clone(), TOLD) {
                return Counters::add(&self.shared.counters.unwritten);
            }
            // The server will ask for them, and no call is under way that it could ask for.
            self.shared.asks.expect_roots(told.sink, whose);
            self.shared.send_if_room(write_notification(ROOTS_CHANGED, told.params.as_deref()));
        }
    }

    fn is_open(&self) -> bool {
        !self.shared.pending.is_closed()
    }

    fn end(&self) {
        self.shared.close();
    }

    fn is_occupied(&self) -> bool {
        // What it may still work on, though nobody waits for it, would make its next question nobody's.
        let pending = &self.shared.pending;
        self.is_interactive() && (self.turn.available_permits() == 0 || pending.has_callers() || pending.has_given_up())
    }

    fn works_for(&self, client: ClientId) -> Hold {
        Hold::new(Working { id: self.shared.pending.works_on(client), shared: Arc::clone(&self.shared) })
    }

    fn given_up_for(&self) -> std::time::Duration {
        self.limits.given_up_for
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

/// For how long a server may ask and log for what it was told. Whoever tells it something again and again keeps others from
/// being asked by this process, and so it is short.
const TOLD: std::time::Duration = std::time::Duration::from_secs(5);

/// A task of the server's that is waited for.
struct Working {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.shared.pending.works_no_more(self.id);
    }
}

pub(crate) const ROOTS_CHANGED: &str = "notifications/roots/list_changed";
const QUEUED_LINES: usize = 256;
/// What belongs to no call and was not read yet; a reader that is further behind misses some.
const QUEUED_EVENTS: usize = 256;
