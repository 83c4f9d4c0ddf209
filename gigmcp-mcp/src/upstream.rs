//! The one seam: everything that answers MCP requests is an [`Upstream`].

use std::{
    any::Any,
    error::Error,
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::sync::broadcast;

use crate::{
    describe::Description,
    message::{Notification, RpcError},
    mirror::Mirrored,
    name::ServerId,
    sink::{ClientContext, ClientId, Sink},
};

/// A boxed future, so that the traits here can be used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that answers MCP requests: a server behind pipes, a whole [`Aggregator`], a tool of
/// one's own.
///
/// [`Aggregator`]: crate::Aggregator
pub trait Upstream: Send + Sync {
    /// Sends one request and waits for its answer.
    ///
    /// Dropping the future gives the request up; an implementation tells its server so.
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome>;

    /// Whether a request has any hope of an answer. `false` is final.
    fn is_open(&self) -> bool {
        true
    }

    /// Whether a further call with a [`Sink`] would wait for those under way, because the server's requests say nothing of
    /// the call they belong to; or could not be asked anything, because the server may still work on what was given up.
    fn is_occupied(&self) -> bool {
        false
    }

    /// Whoever runs it does not end it for lack of use as long as the answer lives. `None` if that has happened already: then
    /// it is to be started again, and nothing is lost.
    fn hold(&self) -> Option<Hold> {
        Some(Hold::default())
    }

    /// As long as the answer lives, what the server asks and logs may be of this client: it works on a task of its, though no
    /// request is under way.
    fn works_for(&self, client: ClientId) -> Hold {
        let _ = client;
        Hold::default()
    }

    /// How long what was given up is taken to be worked on. Default 60 s.
    fn given_up_for(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Whether it was ended for lack of use. One that ended otherwise has failed, and is not started again for ever.
    fn is_retired(&self) -> bool {
        false
    }

    /// Ends it, because it does not answer any more; what is under way fails.
    fn end(&self) {}

    /// By which name whoever runs it knows it, for records; none by default.
    fn instance(&self) -> Option<&str> {
        None
    }

    /// Grows when the server said that one of its lists changed.
    fn revision(&self, _list: List) -> u64 {
        0
    }

    /// What it can do. By default, it has tools and nothing else.
    fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
        Box::pin(std::future::ready(Description::of_tools()))
    }

    /// Which arguments of a tool are sent in headers too. By default none are.
    fn mirrored<'a>(&'a self, _tool: &'a str) -> BoxFuture<'a, Arc<[Mirrored]>> {
        Box::pin(std::future::ready(Arc::default()))
    }

    /// A client says something that wants no answer: its roots have changed. Where a server asks for more because of it, the
    /// call's [`Sink`] leads to the client. By default it is not passed on.
    fn tell(&self, _told: Call) {}

    /// The same of a notification of an extension that the client has declared: it may hold anything, and is judged before it is
    /// told.
    fn notify<'a>(&'a self, told: Call) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.tell(told) })
    }

    /// A client has gone; what was kept for it may be forgotten.
    fn forget(&self, _client: ClientId) {}

    /// What the server says without being asked: changed lists and resources, log lines that belong to no call. None if it
    /// never does. Who reads too slowly misses some.
    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        None
    }
}

/// Keeps a server from being ended for lack of use, until it is dropped.
#[derive(Default)]
pub struct Hold(Option<Box<dyn Any + Send + Sync>>);

impl Hold {
    /// One that drops `what` when it is dropped.
    pub fn new(what: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(what)))
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.0.is_some()).finish()
    }
}

/// A notification that belongs to no call.
#[derive(Clone, Debug)]
pub struct Event {
    notification: Arc<Notification>,
    owner: Option<Arc<str>>,
}

impl Event {
    /// One that nobody hears but this owner ([`ClientContext::owner`]): all that its server knows can only be of it.
    pub fn of(owner: Arc<str>, notification: Notification) -> Self {
        Self { notification: Arc::new(notification), owner: Some(owner) }
    }

    pub(crate) fn shared(&self) -> &Arc<Notification> {
        &self.notification
    }

    /// Who alone may hear it; whoever is there, if nobody is named. Of an extension, nobody hears one that names nobody.
    #[must_use]
    pub fn owner(&self) -> Option<&Arc<str>> {
        self.owner.as_ref()
    }
}

impl From<Notification> for Event {
    /// One for everybody who listens to such things.
    fn from(notification: Notification) -> Self {
        Self { notification: Arc::new(notification), owner: None }
    }
}

impl Deref for Event {
    type Target = Notification;

    fn deref(&self) -> &Notification {
        &self.notification
    }
}

/// What a server can tell us has changed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum List {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list` and `resources/templates/list`.
    Resources,
}

impl List {
    /// Every list.
    pub const ALL: [Self; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    /// The notification that it has changed.
    #[must_use]
    pub fn changed(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
        }
    }
}

/// One request on its way to a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// What is asked for.
    pub method: Box<str>,
    /// As the client wrote it; absent stays absent.
    pub params: Option<Box<RawValue>>,
    /// How long the answer may take, if not as long as the upstream allows by itself.
    pub timeout: Option<Duration>,
    /// Which call of a tool it is, if it is one that an [`Aggregator`](crate::Aggregator) passes on.
    pub id: Option<CallId>,
    /// Where the server's notifications and requests go while it is under way; without one, nowhere.
    pub sink: Option<Arc<dyn Sink>>,
    /// Whose it is, for what lasts longer than the call.
    pub client: Option<ClientId>,
    /// What a server of the newer era is told of it.
    pub context: Option<Arc<ClientContext>>,
    /// How many samplings it has asked for, with all the requests that it takes. Clones count together.
    pub(crate) samplings: Arc<AtomicUsize>,
}

impl Call {
    /// A request.
    pub fn new(method: impl Into<Box<str>>, params: Option<Box<RawValue>>) -> Self {
        let (method, samplings) = (method.into(), Arc::default());
        Self { method, params, timeout: None, id: None, sink: None, client: None, context: None, samplings }
    }

    /// The same, with a way back to its client.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// The same, of this client.
    #[must_use]
    pub fn of_client(mut self, client: ClientId) -> Self {
        self.client = Some(client);
        self
    }

    /// The same with a shorter deadline. It never lengthens the upstream's own.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// The id of a call of a tool, as in its [`CallRecord`](crate::CallRecord). No two are the same, in this process or another. As
/// text, 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId(u128);

impl CallId {
    /// A new one: 64 bits that are this process's, and a counter.
    pub(crate) fn next() -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let process = PROCESS.get_or_init(|| {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).expect("the kernel gives random numbers");
            u64::from_ne_bytes(bytes)
        });
        Self(u128::from(*process) << 64 | u128::from(COUNTER.fetch_add(1, Ordering::Relaxed)))
    }

    /// Out of its text.
    pub(crate) fn read(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// What became of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The server's result, as written.
    Complete(Box<RawValue>),
    /// The server needs input first: a result of the newer era with `resultType` `input_required`, as written. The same
    /// request is to be made again with the answers: by a clone of its [`Call`], which counts what it asks for on and on.
    InputRequired(Box<RawValue>),
    /// The work goes on as a task: a result of the newer era with `resultType` `task`, as written. Only a client that has
    /// declared the extension gets one.
    Task(Box<RawValue>),
    /// The server's error object, or ours (see [`RpcError::to_raw`]), as it goes to the client.
    Error(Box<RawValue>),
    /// The server did not answer.
    Failed(CallError),
}

impl Outcome {
    /// An error of our own.
    #[must_use]
    pub fn refused(error: &RpcError) -> Self {
        Self::Error(error.to_raw())
    }
}

/// Why a server did not answer a request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The deadline passed; the server was told that we no longer wait.
    #[error("no answer within {} s", after.as_secs_f32())]
    Timeout {
        /// The deadline.
        after: Duration,
    },
    /// The deadline passed while the server worked on other calls. Nothing was sent to it, so this says nothing of how it is;
    /// trying again may help.
    #[error("no turn within {} s: the server works on other calls, and this one was not sent", after.as_secs_f32())]
    NoTurn {
        /// The deadline.
        after: Duration,
    },
    /// Whoever calls has given up so many calls that the server may still be at, that no more of theirs are sent. Nothing was sent to
    /// it, so this says nothing of how it is; trying again may help, after a minute.
    #[error("the server may still be at {calls} calls that this client has given up, and this one was not sent")]
    GivenUp {
        /// How many.
        calls: usize,
    },
    /// The server's output ended. Whether the request had an effect is unknown.
    #[error("the server exited before it answered, and may have done what was asked")]
    Exited,
    /// The server was ended, by whoever runs it. Whether the request had an effect is unknown.
    #[error("{detail}")]
    Ended {
        /// The stable code of the reason.
        code: &'static str,
        /// The reason in words; fixed text.
        detail: &'static str,
    },
    /// The answer was one line longer than allowed and was not kept.
    #[error("the answer is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// What came back is no answer.
    #[error("the server broke the protocol: {reason}")]
    Protocol {
        /// What is wrong with it; fixed text.
        reason: &'static str,
    },
}

impl CallError {
    /// The stable code a client finds in the error's `data`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "server-timeout",
            Self::NoTurn { .. } | Self::GivenUp { .. } => "server-busy",
            Self::Exited => "server-exited",
            Self::Ended { code, .. } => code,
            Self::TooLong { .. } => "server-answer-too-long",
            Self::Protocol { .. } => "server-protocol",
        }
    }

    /// The error a client gets.
    #[must_use]
    pub fn to_rpc(&self, server: &ServerId) -> RpcError {
        failure(server, "call", self.code(), &self.to_string())
    }
}

/// Starts a server. The aggregator calls it when the server is needed and not there; never twice at
/// the same time.
pub trait Launch: Send + Sync {
    /// Starts the server and speaks `initialize` with it.
    ///
    /// Dropping the future must leave nothing running. Dropping the last handle to the upstream
    /// must end the server.
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>>;

    /// Starts the same server once more, beside the one that is occupied ([`Upstream::is_occupied`]), to work on one call
    /// at a time ([`Turns::OneByOne`](crate::Turns)). By default, and for a server that shares its files, there is none: calls
    /// wait for their turn.
    fn launch_beside<'a>(&'a self) -> BoxFuture<'a, Result<Option<Arc<dyn Upstream>>, LaunchError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Why a server did not start. For two readers: `detail` may go to a client, the source is for the
/// operator's log only.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{stage}: {detail}")]
pub struct LaunchError {
    /// The step that failed, such as `start` or `initialize`.
    pub stage: &'static str,
    /// The stable code a client finds in the error's `data`.
    pub code: &'static str,
    /// What may be shown to a client: no path, no secret.
    pub detail: String,
    /// When it may be tried again.
    pub again: Again,
    /// The cause, for the operator.
    #[source]
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

/// When a start that failed may be tried again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Again {
    /// A little later, and later with each failure in a row: what failed is the server.
    #[default]
    Later,
    /// At the next call: something else stood in the way.
    AtOnce,
}

impl LaunchError {
    /// A failure with nothing more to tell the operator.
    pub fn new(stage: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self { stage, code, detail: detail.into(), again: Again::Later, source: None }
    }

    /// The same with its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The same where not the server is to blame.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.again = Again::AtOnce;
        self
    }

    /// The error a client gets.
    #[must_use]
    pub fn to_rpc(&self, server: &ServerId) -> RpcError {
        failure(server, self.stage, self.code, &self.detail)
    }
}

/// The error object for a fault on this side of a server.
pub(crate) fn failure(server: &ServerId, stage: &str, code: &str, detail: &str) -> RpcError {
    RpcError::new(RpcError::INTERNAL_ERROR, format!("server {server} failed at {stage}: {detail}"))
        .with_data(&serde_json::json!({ "code": code, "server": server.as_str(), "stage": stage }))
}
