//! The REST API: one table of routes, from which requests are led, callers are judged and the document is made.

mod cookie;
mod desk;
mod door;
mod error;
mod input;
mod members;
mod once;
mod openapi;
mod pace;
mod page;
mod reply;
mod route;
mod routes;
mod secret;
mod state;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use error::{ApiError, Code};
pub(crate) use input::{Raw, Variables};
pub(crate) use members::Members;
pub(crate) use pace::Pace;
pub(crate) use page::{Page, Paging};
pub(crate) use reply::Reply;
pub(crate) use route::{Call, Route, route};
pub(crate) use state::State;
pub(crate) use words::{Plain, Said, Text, Whole};

use std::{future::Future, io, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use tracing::Instrument;

use crate::{
    bodies::{Bodies, Room},
    people::{Access, Actor, Deed, anybody_may},
    store::{Begun, Kept, OnceKey},
};

/// What an answer of the API consists of.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Says who is calling. Everything that is decided before a handler runs, and does not depend on what it does, is here.
pub(crate) trait Door: Send + Sync + 'static {
    /// Who it is, if anybody; an error for a credential that is none any more.
    fn caller(&self, headers: &HeaderMap) -> impl Future<Output = Result<Option<Actor>, ApiError>> + Send;

    /// Notes somebody who came with what lets nobody in.
    fn not_let_in(&self, error: &ApiError, headers: &HeaderMap, address: IpAddr);

    /// Whether this many requests may be made by whoever it is.
    fn admit(&self, actor: Option<&Actor>, address: IpAddr) -> Result<(), ApiError>;

    /// Begins what is to be done once.
    fn begin_once(&self, key: OnceKey) -> impl Future<Output = Result<Begun, ApiError>> + Send;

    /// Keeps what came of it; of nothing, nothing is kept.
    fn end_once(&self, key: OnceKey, kept: Option<Kept>) -> impl Future<Output = ()> + Send;

    /// What the cookie of a session is called.
    fn session_cookie(&self) -> &'static str;

    /// Whether a request that a browser may have been tricked into was meant.
    fn is_meant(&self, method: &Method, actor: Option<&Actor>, headers: &HeaderMap) -> Result<(), ApiError>;
}

/// The routes, and what their handlers work on.
pub(crate) struct Router<S> {
    state: Arc<S>,
    routes: Vec<Route<S>>,
    /// By path, the places of its methods in `routes`.
    paths: matchit::Router<Vec<usize>>,
    document: Bytes,
    bodies: Arc<Bodies>,
}

impl<S: Door> Router<S> {
    /// A router of these routes, and the one that serves their document.
    pub(crate) fn new(state: Arc<S>, routes: Vec<Route<S>>) -> Self {
        let mut by_path: Vec<(&str, Vec<usize>)> = Vec::new();
        for (place, route) in routes.iter().enumerate() {
            match by_path.iter_mut().find(|(path, _)| *path == route.path) {
                Some((_, places)) => places.push(place),
                None => by_path.push((route.path, vec![place])),
            }
        }
        let mut paths = matchit::Router::new();
        for (path, places) in by_path {
            paths.insert(format!("{PREFIX}{path}"), places).expect("no two paths of the table overlap");
        }
        let document = serde_json::to_vec(&openapi::document(&routes, state.session_cookie())).expect("it is JSON");
        Self { state, routes, paths, document: document.into(), bodies: Arc::default() }
    }

    /// The path as the table writes it, if it is there.
    pub(crate) fn template(&self, path: &str) -> Option<&'static str> {
        match path {
            DOCUMENT => Some("/openapi.json"),
            path => {
                self.paths.at(path).ok().and_then(|found| found.value.first()).map(|place| self.routes[*place].path)
            }
        }
    }

    /// What the bodies of requests may hold together, for others that read some at the same address.
    pub(crate) fn bodies(&self) -> &Arc<Bodies> {
        &self.bodies
    }

    /// The table, for tests that go through all of it.
    #[cfg(test)]
    pub(crate) fn routes(&self) -> &[Route<S>] {
        &self.routes
    }

    /// Answers one request whose path begins with [`PREFIX`]. Never fails: every fault is an answer.
    pub(crate) async fn answer<B>(&self, request: Request<B>, address: IpAddr) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let request_id = request_id();
        // Whatever is logged meanwhile can be found by the id that the caller was told.
        let span = tracing::error_span!("request", id = %request_id);
        let answered = async {
            match (request.uri().path() == DOCUMENT, request.method()) {
                (true, &Method::GET | &Method::HEAD) => Ok(self.document()),
                (true, _) => Err(no_such_method("GET, HEAD")),
                (false, _) => self.lead(request, address, &request_id).await,
            }
        };
        finished(answered.instrument(span).await, &request_id)
    }

    async fn lead<B>(&self, request: Request<B>, address: IpAddr, request_id: &str) -> Result<Response<Body>, ApiError>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let (route, path) = self.route(&parts.method, parts.uri.path())?;
        // Before anything is looked up: also who comes with nothing good is told to wait.
        self.state.admit(None, address)?;
        let caller = self.caller(route, &parts.headers, address).await?;
        if let Some(actor) = &caller {
            self.state.admit(Some(actor), address)?;
        }
        let viewed = caller.as_ref().and_then(|actor| actor.viewing.as_ref()).map(|(viewed, _)| viewed.clone());
        let request = Request::from_parts(parts, (body, path));
        let answered = self.receive(route, caller, request, address, request_id).await;
        match viewed.and_then(|viewed| HeaderValue::from_str(viewed.as_str()).ok()) {
            None => answered,
            // Also on what went wrong: whoever shows it can say whose pages these are.
            Some(viewed) => {
                let mut response = answered.unwrap_or_else(|error| error.into_response(request_id));
                response.headers_mut().insert(VIEWING, viewed);
                Ok(response)
            }
        }
    }

    /// Who is calling, if that route asks at all.
    async fn caller(&self, route: &Route<S>, headers: &HeaderMap, address: IpAddr) -> Result<Option<Actor>, ApiError> {
        match route.rule.access {
            // Whoever signs in may have a cookie of before, which may have ended, or be of somebody else.
            Access::Public => Ok(None),
            _ => {
                let caller = self.state.caller(headers).await;
                caller.inspect_err(|error| self.state.not_let_in(error, headers, address))
            }
        }
    }

    /// Reads the body of whoever may, and acts on it as what they are when it is whole: its end can be held back, and whoever held
    /// it back would act with rights of before.
    async fn receive<B>(
        &self,
        route: &Route<S>,
        caller: Option<Actor>,
        request: Request<(B, Variables)>,
        address: IpAddr,
        request_id: &str,
    ) -> Result<Response<Body>, ApiError>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, (body, path)) = request.into_parts();
        let mut caller = self.judge(route, caller, &parts.headers)?;
        let mut whole = Bytes::new();
        if !body.is_end_stream() {
            let room = match &caller {
                Some(actor) => self.bodies.of(actor.user.as_str()),
                None if route.own_room => self.bodies.of_provider(address),
                None => self.bodies.of_stranger(address),
            };
            whole = read(body, &room, Bounds::of(route)).await?;
            caller = self.judge(route, self.caller(route, &parts.headers, address).await?, &parts.headers)?;
        }
        self.act(route, caller, Request::from_parts(parts, (whole, path)), address, request_id).await
    }

    /// What is done for a caller who was let in.
    async fn act(
        &self,
        route: &Route<S>,
        caller: Option<Actor>,
        request: Request<(Bytes, Variables)>,
        address: IpAddr,
        request_id: &str,
    ) -> Result<Response<Body>, ApiError> {
        let (parts, (body, path)) = request.into_parts();
        let path_and_query = parts.uri.path_and_query().map_or("", |path| path.as_str());
        // What only looks is done as often as it is asked, and nothing is kept of it: a key of the control plane that may only
        // look would fill the database.
        let once = match route.rule.deed {
            Deed::Read => None,
            _ => once::key(&parts.headers, &parts.method, path_and_query, caller.as_ref(), &body)?,
        };
        let raw = Raw {
            request_id: request_id.to_owned(),
            address,
            headers: parts.headers,
            path,
            query: parts.uri.query().map(ToOwned::to_owned),
            body,
        };
        match once {
            None => (route.handler)(Arc::clone(&self.state), caller, raw).await,
            Some(key) => self.once(route, key, caller, raw).await,
        }
    }

    /// The same, but what was done with this key before is not done again.
    async fn once(
        &self,
        route: &Route<S>,
        key: OnceKey,
        caller: Option<Actor>,
        raw: Raw,
    ) -> Result<Response<Body>, ApiError> {
        let (request_id, replay) = (raw.request_id.clone(), route.replay);
        let begun = self.state.begin_once(key.clone()).await?;
        if let Some(answer) = once::answer(begun, &request_id)? {
            return Ok(answer);
        }
        let answering = (route.handler)(Arc::clone(&self.state), caller, raw);
        let state = Arc::clone(&self.state);
        // It is not given up when whoever asked goes away: they will ask what came of it.
        let span = tracing::Span::current();
        let doing = async move {
            let (answered, kept) = once::kept(answering.await, replay, &request_id).await;
            state.end_once(key, kept).await;
            answered
        };
        tokio::spawn(doing.instrument(span)).await.map_err(|error| ApiError::internal(&error))?
    }

    /// Where it leads, and the variables of its path.
    fn route(&self, method: &Method, path: &str) -> Result<(&Route<S>, Variables), ApiError> {
        let found = self.paths.at(path).map_err(|_| ApiError::not_found("path"))?;
        let places = found.value;
        // Answered like GET; the front leaves the body out.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let routes = places.iter().map(|place| &self.routes[*place]);
        let route = routes.clone().find(|route| route.method == method).ok_or_else(|| {
            let head = routes.clone().any(|route| route.method == Method::GET).then_some("HEAD");
            no_such_method(&routes.map(|route| route.method.as_str()).chain(head).collect::<Vec<_>>().join(", "))
        })?;
        let decoded = |(name, value): (&str, &str)| {
            let value = percent_encoding::percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| ApiError::not_found("path"))?;
            Ok((name.to_owned(), value.into_owned()))
        };
        Ok((route, found.params.iter().map(decoded).collect::<Result<_, ApiError>>()?))
    }

    /// Whether this caller may use that route at all. What belongs to somebody is judged again, by the same rule, where it is
    /// found and its owner is known.
    fn judge(&self, route: &Route<S>, caller: Option<Actor>, headers: &HeaderMap) -> Result<Option<Actor>, ApiError> {
        if caller.is_none() {
            anybody_may(&route.rule)?;
        }
        if !route.method.is_safe() {
            self.state.is_meant(&route.method, caller.as_ref(), headers)?;
        }
        let Some(actor) = caller else { return Ok(None) };
        let owner = if route.rule.deed == Deed::Leave { &actor.user } else { actor.shown() };
        actor.may(&route.rule, Some(owner))?;
        Ok(Some(actor))
    }

    fn document(&self) -> Response<Body> {
        let mut response = reply::whole(StatusCode::OK, self.document.clone());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// The routes of the gateway.
pub(crate) fn routes() -> Vec<Route<State>> {
    routes::all()
}

/// What is refused before it is led anywhere.
pub(crate) fn refused(error: ApiError) -> Response<Body> {
    finished(Err(error), &request_id())
}

/// An answer with what all have.
fn finished(answered: Result<Response<Body>, ApiError>, request_id: &str) -> Response<Body> {
    let mut response = answered.unwrap_or_else(|error| error.into_response(request_id));
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(REQUEST_ID, HeaderValue::from_str(request_id).expect("it is hexadecimal"));
    response
}

/// What the body of a request may cost.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    max_bytes: usize,
    deadline: Duration,
}

impl Bounds {
    fn of<S>(route: &Route<S>) -> Self {
        match route.rule.access {
            // Anybody can send one.
            Access::Public => {
                Self { max_bytes: route.max_body_bytes.min(STRANGERS_BODY_BYTES), deadline: STRANGERS_BODY_DEADLINE }
            }
            _ => Self { max_bytes: route.max_body_bytes, deadline: BODY_DEADLINE },
        }
    }
}

async fn read<B>(body: B, room: &Room, bounds: Bounds) -> Result<Bytes, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Bounds { max_bytes, deadline } = bounds;
    let too_large = || ApiError::new(Code::TooLarge, format!("the body is larger than {max_bytes} bytes"));
    // A length that is announced need not be waited for.
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large());
    }
    let body = room.count(Box::pin(body));
    match tokio::time::timeout(deadline, Limited::new(body, max_bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) if room.is_full() => {
            Err(ApiError::new(Code::Unavailable, "too many bodies are on their way; try again")
                .with_header(header::RETRY_AFTER, HeaderValue::from_static("1")))
        }
        Ok(Err(_)) => Err(ApiError::invalid("the body ended early")),
        Err(_) => Err(ApiError::invalid(format!("the body took longer than {} s", deadline.as_secs()))),
    }
}

fn no_such_method(allowed: &str) -> ApiError {
    let allowed = HeaderValue::from_str(allowed).expect("methods are tokens");
    ApiError::new(Code::MethodNotAllowed, "this path has no such method").with_header(header::ALLOW, allowed)
}

/// Finds a request in the log; never the caller's own, which could be made to look like another's.
fn request_id() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    hex::encode(bytes)
}

/// Where all paths of the API begin.
pub(crate) const PREFIX: &str = "/api/v1";
/// Counters for monitors.
pub(crate) const METRICS: &str = "/api/v1/metrics";
/// The document itself.
const DOCUMENT: &str = "/api/v1/openapi.json";
/// `__Host-`: only from this host, over TLS, and for every path. Without TLS, browsers take no such cookie.
pub(crate) const SESSION_COOKIE: &str = "__Host-gig_session";
/// Shows that a request comes from our own pages.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";
/// Whose pages are shown, if they are not one's own.
pub(crate) const VIEWING: HeaderName = HeaderName::from_static("x-viewing");
/// Nothing of an answer is a page: it is not run, framed, guessed at or told of to others.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long the body of somebody who is known may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// The same of anybody.
const STRANGERS_BODY_DEADLINE: Duration = Duration::from_secs(5);
/// More than an address, a password, a code, or what a provider signs.
const STRANGERS_BODY_BYTES: usize = 16 << 10;
