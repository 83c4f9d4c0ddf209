//! The HTTP side: which profile is meant, and whether the caller may.

mod strangers;
mod streams;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use gigmcp_mcp::{Principal, ResponseBody, ServerIdentity, StreamableHttp, StreamableHttpLimits};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;

use crate::{
    api::{self, ApiError, Code, Router, State},
    front::{Answers, Arriving, Caller},
    output::whole,
    people::{Origin, Shown, TokenScope},
    profiles::Profiles,
    settings::Settings,
    spec::ProfileSlug,
    store::{Admission, Asker, Profile, StoreError, TokenOwner},
    token, tool_audit, welcome,
};
use strangers::Strangers;
use streams::{Streams, Until};

/// Everything behind the listener.
pub(crate) struct Endpoint {
    profiles: Arc<Profiles>,
    state: Arc<State>,
    api: Router<State>,
    transitional: Option<Transitional>,
    transport: StreamableHttp,
    streams: Streams,
    strangers: Strangers,
    /// Whether it is about to stop.
    leaving: AtomicBool,
}

/// The mounts `/mcp` and `/` with their token.
pub(crate) struct Transitional {
    pub(crate) slug: ProfileSlug,
    pub(crate) token_hash: String,
}

/// What a path leads to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Mount {
    Profile(ProfileSlug),
    Transitional,
}

/// What a caller may.
struct Admitted {
    opened: Opened,
    /// Whether the audit trail has been asked already whether it takes the row of one call.
    takes_audit: bool,
}

enum Opened {
    Token(Arc<TokenOwner>),
    Transitional(Box<Profile>),
}

impl Admitted {
    fn profile(&self) -> &Profile {
        match &self.opened {
            Opened::Token(owner) => &owner.profile,
            Opened::Transitional(profile) => profile,
        }
    }

    fn scope(&self) -> &TokenScope {
        match &self.opened {
            Opened::Token(owner) => &owner.token.scope,
            Opened::Transitional(_) => &WHOLE,
        }
    }

    /// Who comes with the token, and with the one that is put in its place: a token that is renewed keeps its name, which has no
    /// stroke in it, and what it is good for.
    fn owner(&self) -> String {
        let profile = &self.profile().slug;
        match &self.opened {
            Opened::Token(owner) => format!("{profile}/{}/{}", owner.token.name, owner.token.scope),
            Opened::Transitional(_) => profile.to_string(),
        }
    }
}

type Answer = Response<Until>;

impl Endpoint {
    pub(crate) fn new(
        state: Arc<State>,
        transitional: Option<Transitional>,
        address: SocketAddr,
        settings: &Settings,
    ) -> Self {
        let profiles = Arc::clone(&state.profiles);
        let api = Router::new(Arc::clone(&state), api::routes());
        Self {
            profiles,
            state,
            api,
            transitional,
            transport: transport(address, settings),
            streams: Streams::default(),
            strangers: Strangers::default(),
            leaving: AtomicBool::new(false),
        }
    }

    async fn answer_at(&self, mut request: Request<Arriving>, address: IpAddr) -> Answer {
        if request.uri().path() == "/metrics" {
            // Where monitors look for it; asked for with a key like all else.
            *request.uri_mut() = Uri::from_static(api::METRICS);
        }
        let path = request.uri().path();
        if path.strip_prefix(api::PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return self.api(request, address).await.map(Until::api);
        }
        match path {
            "/healthz" => return plain(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let leaving = self.leaving.load(Ordering::Relaxed);
                return match !leaving && self.state.desk.is_ready(self.state.store()).await {
                    true => plain(StatusCode::OK, "ready\n"),
                    false => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
                };
            }
            welcome::PATH if matches!(*request.method(), Method::GET | Method::HEAD) => {
                return welcome::page(|text| Until::always(ResponseBody::whole(text)));
            }
            _ => {}
        }
        let Some(mount) = self.mount(path) else { return plain(StatusCode::NOT_FOUND, "not found\n") };
        let hash = token::hash(bearer(request.headers()).unwrap_or_default());
        let request_had_token = bearer(request.headers()).is_some();
        if let Err(wait) = self.strangers.may_ask(&hash, address) {
            return slow_down(wait);
        }
        let (request, admitted) = match self.let_in(&mount, &hash, request).await {
            Ok(received) => received,
            Err(refused) => return refused.map(Until::always),
        };
        match admitted {
            Ok(Some(admitted)) => match self.profiles.scoped(admitted.profile(), admitted.scope()).await {
                Ok(aggregator) => {
                    let principal = Principal::new(format!("{}/{hash}", admitted.profile().slug));
                    let principal = principal.owned_by(admitted.owner());
                    let answer = self.transport.handle(&principal, &aggregator, request);
                    let answer = tool_audit::asked(admitted.takes_audit, answer).await;
                    self.streams.watch(answer, mount, hash)
                }
                Err(error) => {
                    tracing::error!("what is declared of the profile's servers could not be read: {}", whole(&error));
                    plain(StatusCode::SERVICE_UNAVAILABLE, "unavailable\n")
                }
            },
            Ok(None) => {
                if request_had_token {
                    self.state.people.failed.note(Shown::ProfileToken, "", &Origin::new(address, ""));
                }
                self.strangers.turned_away(&hash);
                unauthorized()
            }
            Err(error) => {
                tracing::error!("the token could not be checked: {}", whole(&error));
                plain(StatusCode::SERVICE_UNAVAILABLE, "unavailable\n")
            }
        }
    }

    async fn api(&self, mut request: Request<Arriving>, address: IpAddr) -> Response<api::Body> {
        // A page that rebinds its own name to our address still sends its own name.
        if !self.transport.serves_host(request.uri(), request.headers()) {
            let text = "this host name is not served here; GIG_ALLOWED_HOSTS and GIG_PUBLIC_URL name those that are";
            return api::refused(ApiError::new(Code::CrossSite, text));
        }
        // HTTP/2 has it in the target.
        let authority = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        if let Some(authority) = authority {
            request.headers_mut().entry(header::HOST).or_insert(authority);
        }
        self.api.answer(request, address).await
    }

    /// Says to whoever asks that others are to be asked.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Ends the streams on which clients only listen, so that their connections can end.
    pub(crate) fn end_streams(&self) {
        self.transport.end_streams();
        self.state.desk.end_streams();
    }

    /// Ends every server.
    pub(crate) async fn stop(&self) {
        self.profiles.stop().await;
    }

    /// Ends servers that were taken out of their profile or that nobody uses, and streams whose token does not open it any
    /// more; never returns.
    pub(crate) async fn follow_changes(&self) {
        tokio::join!(
            self.profiles.follow_changes(),
            self.profiles.reap(),
            self.follow_tokens(),
            self.follow_provider()
        );
    }

    async fn follow_provider(&self) {
        let Some(oidc) = &self.state.oidc else { return };
        let unseen = async {
            if let Some(longest) = oidc.config().programs {
                self.state.people.follow_unseen(longest).await;
            }
        };
        tokio::join!(Arc::clone(oidc).follow(), unseen);
    }

    async fn follow_tokens(&self) {
        let mut changes = self.profiles.store().changes();
        loop {
            // The store outlives this.
            drop(tokio::time::timeout(REVOCATION_DELAY, changes.changed()).await);
            for (mount, hash) in self.streams.under_way() {
                if let Ok(None) = self.admit(&mount, &hash).await {
                    self.streams.end(&(mount, hash));
                }
            }
        }
    }

    /// Reads a request of whoever may come in, and says what they may once it is whole: the end of a body can be held back, and
    /// the token be revoked meanwhile.
    async fn let_in(
        &self,
        mount: &Mount,
        hash: &str,
        request: Request<Arriving>,
    ) -> Result<(Request<Full<Bytes>>, Result<Option<Admitted>, StoreError>), Response<ResponseBody>> {
        let (changes, began) = (self.profiles.store().changes(), Instant::now());
        let admitted = self.admit(mount, hash).await;
        let Ok(Some(owner)) = &admitted else {
            // Nobody's bodies are not waited for.
            return Ok((request.map(|_| Full::default()), admitted));
        };
        self.strangers.let_in(hash);
        let room = self.api.bodies().of(owner.profile().owner.as_str());
        let received = self.transport.receive(request.map(|body| room.count(body))).await;
        let request = received.map_err(|refused| if room.is_full() { no_room() } else { refused })?;
        // An error is a sender that is gone, and with it the store.
        let changed = changes.has_changed().unwrap_or(true);
        match changed || began.elapsed() >= REVOCATION_DELAY {
            true => Ok((request, self.admit(mount, hash).await)),
            false => Ok((request, admitted)),
        }
    }

    fn mount(&self, path: &str) -> Option<Mount> {
        match path.strip_prefix("/mcp/p/") {
            Some(slug) => slug.parse().ok().map(Mount::Profile),
            None => (self.transitional.is_some() && matches!(path, "/" | "/mcp")).then_some(Mount::Transitional),
        }
    }

    /// Whoever calls one profile waits for those who call it, and not for those who call another.
    fn asker(&self, mount: &Mount) -> Asker {
        match (mount, &self.transitional) {
            (Mount::Profile(slug), _) => Asker::Profile(slug.clone()),
            (Mount::Transitional, Some(transitional)) => Asker::Profile(transitional.slug.clone()),
            (Mount::Transitional, None) => Asker::Gateway,
        }
    }

    /// What the caller may, if the token opens the mount.
    ///
    /// A missing, malformed, wrong or expired token and a profile that is not there take the same steps and get the
    /// same answer, so that nothing tells them apart.
    async fn admit(&self, mount: &Mount, hash: &str) -> Result<Option<Admitted>, StoreError> {
        let store = self.profiles.store().in_turn_of(self.asker(mount));
        let Admission { owner, takes_audit } = store.admission(hash).await?;
        match (mount, &self.transitional) {
            (Mount::Profile(slug), _) => {
                let opens = |owner: &Arc<TokenOwner>| token::same(&owner.hash, hash) & (owner.profile.slug == *slug);
                Ok(owner.filter(opens).map(|owner| {
                    store.admitted(hash, &owner);
                    Admitted { opened: Opened::Token(owner), takes_audit }
                }))
            }
            (Mount::Transitional, Some(transitional)) if token::same(&transitional.token_hash, hash) => {
                match store.profile(transitional.slug.clone()).await {
                    Err(StoreError::Missing { .. }) => Ok(None),
                    Ok(profile) if !profile.active => Ok(None),
                    profile => {
                        Ok(Some(Admitted { opened: Opened::Transitional(Box::new(profile?)), takes_audit: false }))
                    }
                }
            }
            (Mount::Transitional, _) => Ok(None),
        }
    }
}

impl Answers for Endpoint {
    type Body = Until;

    async fn answer(&self, request: Request<Arriving>, caller: Caller) -> Answer {
        self.answer_at(request, caller.address).await
    }

    fn route(&self, path: &str) -> &'static str {
        match path {
            "/healthz" => "/healthz",
            "/readyz" => "/readyz",
            "/metrics" => "/metrics",
            welcome::PATH => welcome::PATH,
            "/" | "/mcp" if self.transitional.is_some() => "/mcp",
            _ if path.starts_with("/mcp/p/") => "/mcp/p/{profile}",
            _ => self.api.template(path).unwrap_or("none"),
        }
    }
}

fn transport(address: SocketAddr, settings: &Settings) -> StreamableHttp {
    let identity = ServerIdentity { name: "gigmcp".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let stream_for = settings.stream_seconds.map(Duration::from_secs);
    let limits = StreamableHttpLimits { stream_for, ..StreamableHttpLimits::default() };
    let mut transport = StreamableHttp::new(identity, limits);
    if !address.ip().is_loopback() && !address.ip().is_unspecified() {
        transport = transport.allow_host(&address.ip().to_string());
    }
    for host in &settings.allowed_hosts {
        transport = transport.allow_host(host.as_ref());
    }
    if let Some(url) = &settings.public_url {
        transport = transport.allow_host(url.host()).allow_origin(url.origin());
    }
    for origin in &settings.allowed_origins {
        transport = transport.allow_origin(origin.as_ref());
    }
    transport
}

/// The token of exactly one `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next()?, values.next());
    let (scheme, token) = first.to_str().ok()?.split_once(' ')?;
    (second.is_none() && scheme.eq_ignore_ascii_case("bearer")).then_some(token)
}

/// The same whatever is wrong with it, and whether there is such a profile.
const UNAUTHORIZED: &str =
    "unauthorized: Authorization has to be `Bearer TOKEN`, with a token of this profile that is in force\n";

fn unauthorized() -> Answer {
    let mut answer = plain(StatusCode::UNAUTHORIZED, UNAUTHORIZED);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// For those without a token that opens something, of whom there are too many from there.
fn slow_down(wait: Duration) -> Answer {
    let mut answer = plain(StatusCode::TOO_MANY_REQUESTS, "too many requests without a valid token; wait\n");
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    answer
}

fn no_room() -> Response<ResponseBody> {
    let mut answer = Response::new(ResponseBody::whole("too many bodies are on their way; try again\n"));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Until::always(ResponseBody::whole(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// What the one token of the mounts `/mcp` and `/` is good for.
static WHOLE: TokenScope = TokenScope::WHOLE;
/// How long a stream may go on whose token opens nothing any more.
const REVOCATION_DELAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::{
        host::Host,
        people::Label,
        serve,
        spec::Owner,
        store::{Absent, AuditRow, NewToken, Store},
    };

    /// An endpoint of these profiles, each opened by its own name, and what it has in the store.
    async fn opened(slugs: &[&str]) -> (tempfile::TempDir, Store, Arc<Endpoint>) {
        let directory = tempfile::tempdir().expect("a directory");
        let command = Settings::augment_args(clap::Command::new("gigmcp-gateway"));
        let data = directory.path().to_str().expect("text");
        // Nothing else is to ask the database meanwhile.
        let given = command.get_matches_from(["gigmcp-gateway", "--audit-days", "0", "--data-dir", data]);
        let settings = Settings::from_arg_matches(&given).expect("settings");
        let host = Host::open(&settings).expect("a new data directory");
        let store = host.store.clone();
        store.stays_open();
        for slug in slugs {
            let (slug, hash) = (slug.parse().expect("a profile name"), token::hash(slug));
            store.create_profile(slug, Owner::local(), Vec::new(), hash).await.expect("a new profile");
        }
        let started = serve::supervisor(&settings, host, HashMap::new()).await;
        let (supervisor, custody) = started.expect("all that is needed");
        custody.close().await;
        let supervisor = Arc::new(supervisor);
        let state = Arc::new(State::new(supervisor, &settings));
        (directory, store, Arc::new(Endpoint::new(state, None, settings.listen, &settings)))
    }

    #[tokio::test]
    async fn a_token_that_is_renewed_is_the_same_client_and_another_is_not() {
        let (_directory, store, endpoint) = opened(&["one", "two"]).await;
        let owner = async |slug: &str, token: &str| {
            let mount = Mount::Profile(slug.parse().expect("a profile name"));
            let admitted = endpoint.admit(&mount, &token::hash(token)).await.expect("it can be read");
            admitted.expect("it is let in").owner()
        };
        let slug = || "one".parse().expect("a profile name");
        let first = owner("one", "one").await;
        let renewed = (Label::first(), token::hash("renewed"));
        let told = |_: &NewToken| AuditRow::default().into();
        store.replace_token(slug(), renewed, Absent::Refused, told).await.expect("there is one");
        assert_eq!(owner("one", "renewed").await, first);
        let less: TokenScope = "srv".parse().expect("a scope");
        for (case, name, scope) in [("another name", "phone", TokenScope::default()), ("for less", "default", less)] {
            let new = NewToken { name: name.parse().expect("a name"), scope, ..NewToken::first(token::hash(case)) };
            if name == "default" {
                store.revoke_token(slug(), Label::first(), AuditRow::default()).await.expect("there is one");
            }
            store.add_token(slug(), new, AuditRow::default()).await.expect("a new one");
            assert_ne!(owner("one", case).await, first, "{case}");
        }
        assert_ne!(owner("two", "two").await, first, "of another profile");
    }

    #[tokio::test]
    async fn who_calls_one_profile_does_not_wait_for_who_calls_another() {
        let (_directory, store, endpoint) = opened(&["loud", "quiet"]).await;
        let held = store.hold().await;
        let done = Arc::new(AtomicUsize::new(0));
        let mut calls = Vec::new();
        for (called, slug) in [(1000, "loud"), (1, "quiet")] {
            for _ in 0..called {
                let (endpoint, done) = (Arc::clone(&endpoint), Arc::clone(&done));
                calls.push(tokio::spawn(async move {
                    let mount = Mount::Profile(slug.parse().expect("a profile name"));
                    assert!(
                        endpoint.admit(&mount, &token::hash(slug)).await.expect("it can be read").is_some(),
                        "{slug}"
                    );
                    done.fetch_add(1, Ordering::SeqCst)
                }));
            }
            while store.waiting() < calls.len() {
                tokio::task::yield_now().await;
            }
        }
        drop(held);
        let before = calls.pop().expect("the last").await.expect("it was let in");
        assert_eq!(before, 1, "in whose turn it came next");
        for call in calls {
            call.await.expect("twin: the others are let in as well");
        }
    }

    #[test]
    fn only_one_well_formed_bearer_header_counts() {
        for (case, values, expected) in [
            ("well formed", &["Bearer abc"][..], Some("abc")), // twin of the refusals
            ("scheme in any case", &["bearer abc"], Some("abc")),
            ("none", &[], None),
            ("two", &["Bearer abc", "Bearer abc"], None),
            ("other scheme", &["Basic abc"], None),
            ("no token", &["Bearer"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(bearer(&headers), expected, "{case}");
        }
    }
}
