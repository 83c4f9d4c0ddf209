//! Streamable HTTP towards clients, with and without a session.

mod array;
mod body;
mod client;
mod dispatch;
mod events;
mod guard;
mod modern;
mod notices;
mod polling;
mod receive;
mod reply;
mod service;
mod session;
mod shares;
mod subject;

use std::{collections::HashSet, error::Error, sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use self::client::ClientCapabilities;
pub use self::{body::ResponseBody, service::StreamableHttpService};
use self::{
    body::answers_unread,
    guard::{accepts, accepts_json, is_json, single_header},
    modern::{Parking, names_modern},
    reply::{empty, not_allowed, plain, rpc_error},
    session::Sessions,
    shares::Shares,
};
#[cfg(any(fuzzing, test))]
pub use self::{modern::mcp_headers, session::laws::mcp_sessions};
use crate::{message::RpcError, upstream::Upstream};

/// Whoever the caller authenticated, and what for: a session made by one principal is unknown to
/// every other. A gateway with several profiles names the profile in it too.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Principal {
    name: Arc<str>,
    owner: Arc<str>,
}

impl Principal {
    /// A principal of this name. It is compared and never shown to a client.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        Self { owner: Arc::clone(&name), name }
    }

    /// The same, whose requests are this owner's ([`ClientContext::owner`](crate::ClientContext::owner)): a name that stays when what
    /// the client shows is renewed, though its sessions do not. By default, it is the principal's own.
    #[must_use]
    pub fn owned_by(self, owner: impl Into<Arc<str>>) -> Self {
        Self { owner: owner.into(), ..self }
    }

    fn as_str(&self) -> &str {
        &self.name
    }

    fn owner(&self) -> Arc<str> {
        Arc::clone(&self.owner)
    }
}

/// What clients are told they are talking to.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// `serverInfo.name`.
    pub name: String,
    /// `serverInfo.version`.
    pub version: String,
}

/// Bounds on what clients can cost.
#[derive(Clone, Copy, Debug)]
pub struct StreamableHttpLimits {
    /// Longest body; against a body that fills the memory. Default 4 MiB.
    pub max_body_bytes: usize,
    /// Time for a body to arrive; against one that never ends. Default 30 s.
    pub body_timeout: Duration,
    /// Sessions of one principal; the one unused for longest makes room. Default 256.
    pub max_sessions_per_principal: usize,
    /// Sessions of all; of whoever has most, the one unused for longest makes room. Default 16,384.
    pub max_sessions: usize,
    /// How long a session may be unused. Default 12 h, because few clients survive the loss of one.
    pub session_idle: Duration,
    /// Requests under way in one session; more are refused. Default 128.
    pub max_in_flight_per_session: usize,
    /// Requests under way of one principal, in all its sessions and without one; more are refused. Default 4,096.
    pub max_in_flight_per_principal: usize,
    /// Bytes of these requests together; against large ones that wait. Default 64 MiB.
    pub max_bytes_per_principal: usize,
    /// Messages in one batch. Default 64.
    pub max_batch: usize,
    /// Calls that wait for their client to come back with answers; of whoever has most, the oldest makes room for one with fewer, and
    /// more fail. Default 1,024.
    pub max_parked: usize,
    /// The same, of one principal. Default 64.
    pub max_parked_per_principal: usize,
    /// How long a call waits for its client to come back. Default 10 min, because people think.
    pub parked_for: Duration,
    /// Clients without a session that listen; more are refused. Default 16,384, as many as sessions.
    pub max_listeners: usize,
    /// The same, of one principal. Default 256.
    pub max_listeners_per_principal: usize,
    /// Bytes of the URIs that clients of one principal are subscribed to, in all its sessions and on all its streams; more
    /// subscriptions are refused. Default 4 MiB.
    pub max_subscribed_bytes_per_principal: usize,
    /// Bytes of the answers of one principal that wait: in a batch for the others, or for a client that has to come back; and of what
    /// its calls were told and asked before their answers, and it has not read yet. What does not fit becomes an error; a
    /// notification is lost. Default 32 MiB.
    pub max_waiting_answer_bytes_per_principal: usize,
    /// Bytes of the answers of one principal that it has not read yet: they are kept, on however many connections. What does not
    /// fit becomes an error. Default 128 MiB.
    pub max_unread_answer_bytes_per_principal: usize,
    /// How long an answer may take before its stream is opened, if the client can come back to it (from 2025-11-25 on).
    /// Default 5 s.
    pub primed_after: Duration,
    /// How long such a stream stays open before the client has to come back for the rest; for intermediaries that end long
    /// connections. Default: for ever.
    pub stream_for: Option<Duration>,
    /// How long what was told on such a stream is kept after its end, for a client that lost the connection. Default 5 min.
    pub resumable_for: Duration,
    /// Bytes of what is kept so in all sessions; what ended first makes room, and of one principal no more than a quarter is
    /// kept. Default 64 MiB.
    pub max_resumable_bytes: usize,
    /// How long a stream may be silent before a sign of life is sent; against intermediaries that end silent connections.
    /// Default 15 s.
    pub keep_alive: Duration,
}

impl Default for StreamableHttpLimits {
    fn default() -> Self {
        Self {
            max_body_bytes: 4 << 20,
            body_timeout: Duration::from_secs(30),
            max_sessions_per_principal: 256,
            max_sessions: 16_384,
            session_idle: Duration::from_secs(12 * 3600),
            max_in_flight_per_session: 128,
            max_in_flight_per_principal: 4096,
            max_bytes_per_principal: 64 << 20,
            max_batch: 64,
            max_parked: 1024,
            max_parked_per_principal: 64,
            parked_for: Duration::from_secs(600),
            max_listeners: 16_384,
            max_listeners_per_principal: 256,
            max_subscribed_bytes_per_principal: 4 << 20,
            max_waiting_answer_bytes_per_principal: 32 << 20,
            max_unread_answer_bytes_per_principal: 128 << 20,
            primed_after: Duration::from_secs(5),
            stream_for: None,
            resumable_for: Duration::from_secs(300),
            max_resumable_bytes: 64 << 20,
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// What clients hold of a [`StreamableHttp`], each bounded by its limits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Occupancy {
    /// Sessions, those included that have been unused for too long and are not yet forgotten.
    pub sessions: usize,
    /// Calls that wait for their client to come back.
    pub parked: usize,
    /// Clients without a session that listen.
    pub listeners: usize,
    /// Bytes that are kept for clients that lose a connection.
    pub resumable_bytes: usize,
}

/// The server end of MCP's streamable HTTP, for clients with a session (2024-11-05 to 2025-11-25) and without one
/// (2026-07-28) at the same address. It knows no web framework and authenticates nobody: the caller does that first.
#[derive(Debug)]
pub struct StreamableHttp {
    identity: ServerIdentity,
    limits: StreamableHttpLimits,
    sessions: Sessions,
    hosts: HashSet<Box<str>>,
    origins: HashSet<Box<str>>,
    /// Is cancelled when streams are to end.
    streams: CancellationToken,
    parking: Arc<Parking>,
    listeners: Arc<Semaphore>,
    shares: Arc<Shares>,
}

impl StreamableHttp {
    /// An endpoint that answers only under the names of this machine itself (`localhost`,
    /// `127.0.0.1`, `[::1]`, any port), and browsers only from pages of such an origin.
    #[must_use]
    pub fn new(identity: ServerIdentity, limits: StreamableHttpLimits) -> Self {
        let shares = Shares::new(limits);
        Self {
            identity,
            sessions: Sessions::new(limits, &shares),
            limits,
            hosts: guard::LOOPBACK.into_iter().map(Into::into).collect(),
            origins: HashSet::new(),
            streams: CancellationToken::new(),
            parking: Parking::new(limits, &shares),
            listeners: Arc::new(Semaphore::new(limits.max_listeners)),
            shares,
        }
    }

    /// Answers under this host name too (without port).
    #[must_use]
    pub fn allow_host(mut self, host: &str) -> Self {
        self.hosts.insert(host.to_ascii_lowercase().into());
        self
    }

    /// Answers browsers on pages of this origin too, such as `https://app.example.com`.
    #[must_use]
    pub fn allow_origin(mut self, origin: &str) -> Self {
        self.origins.insert(origin.to_ascii_lowercase().into());
        self
    }

    /// Whether a request is for a host name under which this answers; for whatever else is served at the same address.
    pub fn serves_host(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        guard::host_is_allowed(&self.hosts, uri, headers)
    }

    /// Answers one HTTP request of a client that the caller has authenticated as `principal`.
    ///
    /// Dropping the future, or the body, ends a call under way if its client has no session. If it has one, a lost
    /// connection is not a cancellation. Needs a tokio runtime.
    pub async fn handle<U, B>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        request: Request<B>,
    ) -> Response<ResponseBody>
    where
        U: Upstream + ?Sized + 'static,
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if !guard::host_is_allowed(&self.hosts, request.uri(), request.headers()) {
            return plain(StatusCode::FORBIDDEN, "this host name is not served here");
        }
        if !guard::origin_is_allowed(&self.origins, request.headers()) {
            return plain(StatusCode::FORBIDDEN, "this origin is not allowed");
        }
        match *request.method() {
            Method::GET | Method::HEAD | Method::DELETE if names_modern(request.headers()) => not_allowed("POST"),
            Method::POST => self.counted(principal, self.post(principal, upstream, request).await),
            Method::DELETE => self.delete(principal, &request),
            Method::GET => self.listen(principal, upstream, request.headers()),
            Method::HEAD => self.would_listen(principal, upstream, request.headers()),
            _ => not_allowed("GET, HEAD, POST, DELETE"),
        }
    }

    /// What clients hold at this moment.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            sessions: self.sessions.len(),
            parked: self.parking.len(),
            listeners: self.limits.max_listeners - self.listeners.available_permits(),
            resumable_bytes: self.sessions.resumable_bytes(),
        }
    }

    async fn post<U, B>(&self, principal: &Principal, upstream: &Arc<U>, request: Request<B>) -> Response<ResponseBody>
    where
        U: Upstream + ?Sized + 'static,
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        if !accepts_json(&parts.headers) {
            return plain(StatusCode::NOT_ACCEPTABLE, "the client does not accept application/json");
        }
        if !is_json(&parts.headers) {
            return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not application/json");
        }
        let version = single_header(&parts.headers, VERSION_HEADER);
        let session = single_header(&parts.headers, SESSION_HEADER);
        let (Ok(version), Ok(session)) = (version, session) else {
            let error = RpcError::new(RpcError::INVALID_REQUEST, "a header is ambiguous");
            return rpc_error(StatusCode::BAD_REQUEST, None, &error);
        };
        let body = match self.whole(body).await {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        let events = accepts(&parts.headers, "text/event-stream");
        let headers = dispatch::Headers { version, session, events, all: &parts.headers };
        self.dispatch(principal, upstream, headers, &body).await
    }

    /// The answer, as part of what its principal has not read yet.
    fn counted(&self, principal: &Principal, answer: Response<ResponseBody>) -> Response<ResponseBody> {
        let Some(bytes) = answer.body().whole_bytes().filter(|bytes| *bytes >= UNCOUNTED_BYTES) else { return answer };
        match self.shares.unread(principal, bytes) {
            Some(room) => answer.map(|body| body.taking(room)),
            None => rpc_error(StatusCode::TOO_MANY_REQUESTS, None, &answers_unread()),
        }
    }

    fn delete<B>(&self, principal: &Principal, request: &Request<B>) -> Response<ResponseBody> {
        match single_header(request.headers(), SESSION_HEADER) {
            Ok(Some(id)) if self.sessions.end(principal, id) => empty(StatusCode::NO_CONTENT),
            Ok(Some(_)) => plain(StatusCode::NOT_FOUND, "there is no such session"),
            Ok(None) | Err(_) => plain(StatusCode::BAD_REQUEST, "Mcp-Session-Id is missing"),
        }
    }
}

/// What a connection takes up anyway.
const UNCOUNTED_BYTES: usize = 2 << 10;
const VERSION_HEADER: &str = "mcp-protocol-version";
const SESSION_HEADER: &str = "mcp-session-id";
