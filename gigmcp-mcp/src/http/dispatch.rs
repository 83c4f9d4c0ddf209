//! From the body of a POST to its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::time::{Duration, timeout};

use super::{
    Principal, SESSION_HEADER, StreamableHttp,
    array::Array,
    body::{Part, ResponseBody, no_stream, resumable, stream_of_call},
    modern::is_modern,
    reply::{answer as answer_reply, empty, json as json_reply, plain, rpc_error},
    session::{CallStream, Session, lock},
    shares::{Shares, Taken, Unread},
};
use crate::{
    attended::Attended,
    level::LogLevel,
    message::{InvalidMessage, Message, Notification, Request, RequestId, RpcError, Verdict, write_response},
    object::{Members, items},
    stdio::ROOTS_CHANGED,
    upstream::{Call, Outcome, Upstream},
    version::{Era, LATEST_LEGACY, MODERN, ProtocolVersion},
};

/// The headers that a message is read with.
pub(super) struct Headers<'a> {
    pub(super) version: Option<&'a str>,
    pub(super) session: Option<&'a str>,
    /// Whether the client reads streams of events.
    pub(super) events: bool,
    pub(super) all: &'a HeaderMap,
}

impl StreamableHttp {
    pub(super) async fn dispatch<U: Upstream + ?Sized + 'static>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        headers: Headers<'_>,
        body: &Bytes,
    ) -> Response<ResponseBody> {
        let raw = match serde_json::from_slice::<&RawValue>(body) {
            Ok(raw) => raw,
            // It says where, and nothing of what stands there.
            Err(fault) => {
                let error = RpcError::new(RpcError::PARSE_ERROR, format!("Parse error: {fault}"));
                return rpc_error(StatusCode::BAD_REQUEST, None, &error);
            }
        };
        if raw.get().starts_with('[') {
            return self.batch(principal, upstream, headers, raw).await;
        }
        let message = match Message::from_raw(raw) {
            Ok(message) => message,
            Err(error) => return rpc_error(StatusCode::BAD_REQUEST, None, &invalid(&error)),
        };
        let modern = is_modern(headers.version, &message);
        let share = match &message {
            Message::Request(request) if takes_part(request, modern) => {
                match self.share(principal, request, body.len()) {
                    Ok(share) => Some(share),
                    Err(Busy { id, error }) => return rpc_error(StatusCode::TOO_MANY_REQUESTS, Some(&id), &error),
                }
            }
            _ => None,
        };
        if modern {
            return self.modern(principal, upstream, headers.all, message, headers.events, share).await;
        }
        if let Message::Request(request) = &message
            && &*request.method == "initialize"
        {
            return self.initialize(principal, upstream, request).await;
        }
        let id = match &message {
            Message::Request(request) => Some(&request.id),
            Message::Notification(_) | Message::Response(_) => None,
        };
        let session = match self.session(principal, &headers) {
            Ok(session) => session,
            Err(NoSession { status, error }) => return rpc_error(status, id, &error),
        };
        match message {
            Message::Request(request) => self.request(&session, upstream, (request, share), headers.events).await,
            Message::Notification(notification) => match session.notice(&notification) {
                Some(told) => {
                    session.speaks_to(upstream).await;
                    self.pass_notice(principal, upstream, told).await
                }
                None => {
                    take_note(&session, upstream, &notification);
                    empty(StatusCode::ACCEPTED)
                }
            },
            Message::Response(response) => {
                session.answered(response);
                empty(StatusCode::ACCEPTED)
            }
        }
    }

    /// A request's part of what its principal may have under way.
    fn share(&self, principal: &Principal, request: &Request, bytes: usize) -> Result<Taken, Busy> {
        self.shares.request(principal, bytes).ok_or_else(|| Busy::new(&request.id))
    }

    /// Answers a request: as JSON if the answer is all there is to say, else as a stream of events that it ends.
    async fn request<U: Upstream + ?Sized + 'static>(
        &self,
        session: &Arc<Session>,
        upstream: &Arc<U>,
        (request, share): (Request, Option<Taken>),
        events: bool,
    ) -> Response<ResponseBody> {
        let id = request.id.clone();
        let (parts, mut received) = stream_of_call(Unread::new(&self.shares, session.principal()));
        let sink = events.then(|| CallStream { session: Arc::clone(session), parts: parts.clone() });
        let begun = begin(session, upstream, request, sink, async move |verdict| {
            drop(share);
            parts.answer(&id, StatusCode::OK, &verdict).await;
        });
        let call = match begun {
            Ok(call) => call,
            Err(Busy { id, error }) => return rpc_error(StatusCode::TOO_MANY_REQUESTS, Some(&id), &error),
        };
        let limits = &self.limits;
        let comes_back = events && session.version.has_resumption();
        let first = match comes_back {
            true => call.until(timeout(limits.primed_after, received.next())).await,
            false => Ok(call.until(received.next()).await),
        };
        let kept =
            |received, first| resumable(session.lines.keep(received, limits.stream_for), first, limits.keep_alive);
        match first {
            Ok(Some(Part::Last(answer))) => answer_reply(answer),
            Ok(Some(Part::Event(first))) if comes_back => kept(received, Some(first)),
            Ok(Some(Part::Event(first))) => received.into_response(first, limits.keep_alive),
            Err(_) => kept(received, None),
            Ok(None) => plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        }
    }

    async fn initialize<U: Upstream + ?Sized + 'static>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        request: &Request,
    ) -> Response<ResponseBody> {
        #[derive(Deserialize)]
        struct Asked {
            #[serde(rename = "protocolVersion")]
            version: String,
        }
        let asked = request.params.as_deref().and_then(|params| serde_json::from_str::<Asked>(params.get()).ok());
        let Some(Asked { version }) = asked else {
            let error = RpcError::new(RpcError::INVALID_PARAMS, "protocolVersion is missing");
            return rpc_error(StatusCode::OK, Some(&request.id), &error);
        };
        let version: ProtocolVersion = version.parse().unwrap_or(LATEST_LEGACY);
        let params = request.params.as_deref().and_then(|params| Members::of(params).ok());
        let capabilities = params.and_then(|params| params.value("capabilities"));
        // It is kept as long as the session.
        if capabilities.is_some_and(|capabilities| capabilities.get().len() > MAX_CAPABILITIES_BYTES) {
            let error = RpcError::new(RpcError::INVALID_PARAMS, "params.capabilities is too long");
            return rpc_error(StatusCode::OK, Some(&request.id), &error);
        }
        let description = upstream.describe().await;
        let Ok(session) = self.sessions.begin(principal, version, capabilities) else {
            let error = RpcError::new(RpcError::INTERNAL_ERROR, "no session could be made");
            return rpc_error(StatusCode::INTERNAL_SERVER_ERROR, Some(&request.id), &error);
        };
        let mut result = json!({
            "protocolVersion": version.as_str(),
            "capabilities": description.declared(Era::Legacy),
            "serverInfo": { "name": self.identity.name, "version": self.identity.version },
        });
        if let Some(instructions) = description.instructions {
            result["instructions"] = instructions.into();
        }
        let result = serde_json::value::to_raw_value(&result).expect("strings are JSON");
        let text = write_response(Some(&request.id), &Verdict::Result(result));
        let mut response = json_reply(StatusCode::OK, text);
        let session = HeaderValue::try_from(session).expect("base64 is visible ASCII");
        response.headers_mut().insert(SESSION_HEADER, session);
        response
    }

    /// The session of anything but `initialize`, or why there is none.
    fn session(&self, principal: &Principal, headers: &Headers<'_>) -> Result<Arc<Session>, NoSession> {
        let refuse = |status, code, text: String| NoSession { status, error: RpcError::new(code, text) };
        if headers.version.is_some_and(|version| version.parse::<ProtocolVersion>().is_err()) {
            let text = "MCP-Protocol-Version is no revision that is spoken here".to_owned();
            return Err(refuse(StatusCode::BAD_REQUEST, RpcError::INVALID_REQUEST, text));
        }
        let Some(session) = headers.session else {
            let text = "Mcp-Session-Id is missing; initialize first".to_owned();
            return Err(refuse(StatusCode::BAD_REQUEST, RpcError::INVALID_REQUEST, text));
        };
        self.sessions.find(principal, session).ok_or_else(|| {
            let text = "there is no such session; initialize again".to_owned();
            refuse(StatusCode::NOT_FOUND, RpcError::INVALID_REQUEST, text)
        })
    }

    /// Several messages in one array, which only revision 2025-03-26 has.
    async fn batch<U: Upstream + ?Sized + 'static>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        headers: Headers<'_>,
        raw: &RawValue,
    ) -> Response<ResponseBody> {
        let refuse = |text: &str| {
            let error = RpcError::new(RpcError::INVALID_REQUEST, text);
            rpc_error(StatusCode::BAD_REQUEST, None, &error)
        };
        let Some(messages) = items(raw, self.limits.max_batch).ok().filter(|messages| !messages.is_empty()) else {
            return refuse(&format!("a batch has one to {} messages", self.limits.max_batch));
        };
        if headers.version == Some(MODERN) {
            return refuse(NO_BATCHES);
        }
        let session = match self.session(principal, &headers) {
            Ok(session) if session.version.has_batches() => session,
            Ok(_) => return refuse(NO_BATCHES),
            Err(NoSession { status, error }) => return rpc_error(status, None, &error),
        };
        let mut answers = Array::default();
        let mut requests = Vec::new();
        for message in messages {
            match Message::from_raw(message) {
                Ok(Message::Request(request)) if &*request.method != "initialize" => {
                    let (sender, answered) = tokio::sync::oneshot::channel();
                    let id = request.id.clone();
                    let waiting = (Arc::clone(&self.shares), principal.clone());
                    let begun = self.share(principal, &request, message.get().len()).and_then(|share| {
                        begin(&session, upstream, request, None, async move |verdict| {
                            // The client may have gone.
                            let _ = sender.send(waiting_answer(&waiting, &id, verdict));
                            drop(share);
                        })
                    });
                    match begun {
                        // Side by side.
                        Ok(call) => {
                            drop(call);
                            requests.push(answered);
                        }
                        Err(Busy { id, error }) => answers.push(&write_response(Some(&id), &Verdict::refused(&error))),
                    }
                }
                Ok(Message::Request(request)) => {
                    let error = RpcError::new(RpcError::INVALID_REQUEST, "initialize in a batch");
                    answers.push(&write_response(Some(&request.id), &Verdict::Error(error.to_raw())));
                }
                Ok(Message::Notification(notification)) => match session.notice(&notification) {
                    // Nobody is told that it was one too many.
                    Some(told) => drop(self.pass_notice(principal, upstream, told).await),
                    None => take_note(&session, upstream, &notification),
                },
                Ok(Message::Response(response)) => session.answered(response),
                Err(error) => {
                    answers.push(&write_response(None, &Verdict::Error(invalid(&error).to_raw())));
                }
            }
        }
        for request in requests {
            // Each is given up once it has been copied.
            if let Ok((answer, room)) = request.await {
                answers.push(&answer);
                answers.holds(room);
            }
        }
        match answers.end() {
            Some(text) => json_reply(StatusCode::OK, text),
            None => empty(StatusCode::ACCEPTED),
        }
    }
}

/// An answer in a batch, with the room that it takes until all are there.
fn waiting_answer(
    (shares, principal): &(Arc<Shares>, Principal),
    id: &RequestId,
    verdict: Verdict,
) -> (Vec<u8>, Option<Taken>) {
    let room = shares.answer(principal, verdict.bytes());
    let verdict = if room.is_some() { verdict } else { Verdict::refused(&too_many_wait()) };
    (write_response(Some(id), &verdict), room)
}

/// What is left of an answer that there is no room for while it waits.
pub(super) fn too_many_wait() -> RpcError {
    let text = "the answer is too long to be kept with others that wait; ask for it alone, or for less of it";
    RpcError::new(RpcError::INTERNAL_ERROR, text).with_data(&json!({ "code": "answer-not-kept" }))
}

const NO_BATCHES: &str = "this revision of the protocol has no batches; send each message by itself";

/// Why a message has no session.
struct NoSession {
    status: StatusCode,
    error: RpcError,
}

/// A request was refused because too many are under way.
struct Busy {
    id: RequestId,
    error: RpcError,
}

impl Busy {
    fn new(id: &RequestId) -> Self {
        Self { id: id.clone(), error: RpcError::new(RpcError::INTERNAL_ERROR, "too many requests are under way") }
    }
}

/// Whether a request costs anything while it is under way. A stream that goes on is counted for itself.
fn takes_part(request: &Request, modern: bool) -> bool {
    match modern {
        true => &*request.method != "subscriptions/listen",
        false => &*request.method != "ping",
    }
}

/// What a client may declare.
const MAX_CAPABILITIES_BYTES: usize = 64 << 10;

/// Begins to answer a request. When the connection is lost, the call goes on.
fn begin<U, F>(
    session: &Arc<Session>,
    upstream: &Arc<U>,
    request: Request,
    sink: Option<CallStream>,
    done: impl FnOnce(Verdict) -> F + Send + 'static,
) -> Result<Attended, Busy>
where
    U: Upstream + ?Sized + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let under_way = if &*request.method == "ping" {
        None // it costs nothing
    } else {
        let Ok(place) = Arc::clone(&session.places).try_acquire_owned() else {
            return Err(Busy::new(&request.id));
        };
        Some((place, session.enter(&request.id)))
    };
    let (session, upstream) = (Arc::clone(session), Arc::clone(upstream));
    Ok(Attended::new(async move {
        let verdict = match &under_way {
            None => Verdict::Result(RawValue::from_string("{}".to_owned()).expect("it is JSON")),
            Some((_, under_way)) => tokio::select! {
                verdict = answer(&session, &upstream, request, sink) => verdict,
                () = under_way.token.cancelled() => {
                    Verdict::refused(&RpcError::new(RpcError::REQUEST_CANCELLED, "the request was cancelled"))
                }
            },
        };
        done(verdict).await;
    }))
}

async fn answer<U: Upstream + ?Sized + 'static>(
    session: &Arc<Session>,
    upstream: &Arc<U>,
    request: Request,
    sink: Option<CallStream>,
) -> Verdict {
    let lasting = Lasting::of(&request);
    let room = match &lasting {
        Some(Lasting::Subscribe(uri)) if !lock(&session.subscribed).contains_key(uri) => match session.room_for(uri) {
            Some(room) => Some(room),
            None => {
                let text = "there are too many subscriptions; end some, or the sessions that have them";
                return Verdict::refused(&RpcError::new(RpcError::INTERNAL_ERROR, text));
            }
        },
        _ => None,
    };
    // Always noted, so that what serves it forgets the session with its end, whatever was asked for in it.
    let moved = session.is_served_by(upstream);
    if moved && (lasting.is_some() || session.has_asked_for_something()) {
        session.moves_to(upstream).await;
    }
    let mut call = Call::new(request.method, request.params).of_client(session.client);
    call.context = Some(Arc::clone(&lock(&session.context)));
    call.sink = sink.map(|sink| Arc::new(sink) as _);
    match upstream.call(call).await {
        Outcome::Complete(result) => {
            if let Some(lasting) = lasting {
                lasting.note(session, room);
            }
            Verdict::Result(result)
        }
        Outcome::InputRequired(_) | Outcome::Task(_) => Verdict::refused(&RpcError::new(
            RpcError::INTERNAL_ERROR,
            "the server asks in a way this client does not know",
        )),
        Outcome::Error(error) => {
            session.note_addresses(&error);
            Verdict::Error(error)
        }
        Outcome::Failed(error) => {
            let data = json!({ "code": error.code() });
            Verdict::refused(&RpcError::new(RpcError::INTERNAL_ERROR, error.to_string()).with_data(&data))
        }
    }
}

/// How long a call waits until what serves its session knows what its client asked for earlier.
const MOVING: Duration = Duration::from_secs(5);

/// And how long that may take at all; against a server that answers nothing, once for each of a thousand subscriptions.
const MOVED: Duration = Duration::from_secs(120);

/// What a client asks for beyond one call.
enum Lasting {
    Level(LogLevel),
    Subscribe(String),
    Unsubscribe(String),
}

impl Lasting {
    fn of(request: &Request) -> Option<Self> {
        let member = |name| Members::of(request.params.as_deref()?).ok()?.string(name).map(String::from);
        match &*request.method {
            "logging/setLevel" => member("level")?.parse().ok().map(Self::Level),
            "resources/subscribe" => member("uri").map(Self::Subscribe),
            "resources/unsubscribe" => member("uri").map(Self::Unsubscribe),
            _ => None,
        }
    }

    /// With the room that a new subscription takes.
    fn note(self, session: &Session, room: Option<Taken>) {
        match self {
            Self::Level(level) => {
                *lock(&session.level) = Some(level);
                Arc::make_mut(&mut lock(&session.context)).level = Some(level);
            }
            Self::Subscribe(uri) => {
                room.and_then(|room| lock(&session.subscribed).insert(uri, room));
            }
            Self::Unsubscribe(uri) => drop(lock(&session.subscribed).remove(&uri)),
        }
    }
}

impl Session {
    pub(super) fn has_asked_for_something(&self) -> bool {
        lock(&self.level).is_some() || !lock(&self.subscribed).is_empty()
    }

    /// Makes sure that what serves the session now knows what its client asked for. What takes longer goes on meanwhile: a call of
    /// one server does not wait for another.
    pub(super) async fn moves_to<U: Upstream + ?Sized + 'static>(self: &Arc<Self>, upstream: &Arc<U>) {
        let moving = timeout(MOVED, Self::move_to(Arc::clone(self), Arc::clone(upstream)));
        drop(timeout(MOVING, tokio::spawn(moving)).await);
    }

    async fn move_to<U: Upstream + ?Sized + 'static>(self: Arc<Self>, upstream: Arc<U>) {
        let (level, subscribed) = (*lock(&self.level), lock(&self.subscribed).keys().cloned().collect::<Vec<_>>());
        let level = level.map(|level| ("logging/setLevel", json!({ "level": level.as_str() })));
        let subscribed = subscribed.into_iter().map(|uri| ("resources/subscribe", json!({ "uri": uri })));
        for (method, params) in level.into_iter().chain(subscribed) {
            let params = serde_json::value::to_raw_value(&params).expect("strings are JSON");
            let mut call = Call::new(method, Some(params)).of_client(self.client);
            // They are still somebody's, and no stranger's.
            call.context = Some(Arc::clone(&lock(&self.context)));
            drop(upstream.call(call).await);
        }
    }
}

fn take_note<U: Upstream + ?Sized>(session: &Arc<Session>, upstream: &Arc<U>, notification: &Notification) {
    if &*notification.method == ROOTS_CHANGED && session.capabilities.has_roots() {
        // It says nothing more than that, and nobody judges or bounds what else a client would say with it.
        let mut told = Call::new(ROOTS_CHANGED, None).of_client(session.client);
        told.context = Some(Arc::clone(&lock(&session.context)));
        // There is no call whose stream the client could be asked on; there may be one of what belongs to none.
        told.sink = Some(Arc::new(CallStream { session: Arc::clone(session), parts: no_stream() }));
        return upstream.tell(told);
    }
    if &*notification.method == "notifications/progress" {
        return session.gets_on(notification);
    }
    if &*notification.method != "notifications/cancelled" {
        return;
    }
    let id = notification
        .params
        .as_deref()
        .and_then(|params| Members::of(params).ok())
        .and_then(|members| RequestId::from_raw(members.value("requestId")?));
    if let Some(id) = id {
        session.cancel(&id);
    }
}

fn invalid(error: &InvalidMessage) -> RpcError {
    let code = match error {
        InvalidMessage::Json(_) => RpcError::PARSE_ERROR,
        InvalidMessage::Envelope { .. } => RpcError::INVALID_REQUEST,
    };
    RpcError::new(code, error.to_string())
}
