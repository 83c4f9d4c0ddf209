//! The HTTP side: which profile is meant, and whether the caller may.

use std::{net::SocketAddr, time::Duration};

use gigmcp_mcp::{Principal, ResponseBody, ServerIdentity, StreamableHttp, StreamableHttpLimits};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::{
    output::whole,
    profiles::Profiles,
    settings::Settings,
    spec::ProfileSlug,
    store::{Asker, Profile, StoreError},
    token,
};

/// Everything behind the listener.
pub(crate) struct Endpoint {
    profiles: Profiles,
    transitional: Option<Transitional>,
    transport: StreamableHttp,
}

/// The mounts `/mcp` and `/` with their token.
pub(crate) struct Transitional {
    pub(crate) slug: ProfileSlug,
    pub(crate) token_hash: String,
}

/// What a path leads to.
enum Mount {
    Profile(ProfileSlug),
    Transitional,
}

type Answer = Response<ResponseBody>;

impl Endpoint {
    pub(crate) fn new(
        profiles: Profiles,
        transitional: Option<Transitional>,
        address: SocketAddr,
        settings: &Settings,
    ) -> Self {
        Self { profiles, transitional, transport: transport(address, settings) }
    }

    /// Answers one request. Never fails: every fault is an answer.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if path == "/healthz" {
            return plain(StatusCode::OK, "ok\n");
        }
        let Some(mount) = self.mount(path) else { return plain(StatusCode::NOT_FOUND, "not found\n") };
        match self.admit(mount, request.headers()).await {
            Ok(Some((profile, principal))) => {
                let aggregator = self.profiles.aggregator(&profile);
                self.transport.handle(&principal, &aggregator, request).await
            }
            Ok(None) => unauthorized(),
            Err(error) => {
                tracing::error!("the token could not be checked: {}", whole(&error));
                plain(StatusCode::SERVICE_UNAVAILABLE, "unavailable\n")
            }
        }
    }

    /// Ends the streams on which clients only listen, so that their connections can end.
    pub(crate) fn end_streams(&self) {
        self.transport.end_streams();
    }

    /// Ends every server.
    pub(crate) async fn stop(&self) {
        self.profiles.stop().await;
    }

    /// Ends servers that were taken out of their profile; never returns.
    pub(crate) async fn follow_changes(&self) {
        self.profiles.follow_changes().await;
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

    /// Who is calling, if the token opens the mount.
    ///
    /// A missing, malformed or wrong token and a profile that is not there take the same steps and get the
    /// same answer, so that nothing tells them apart.
    async fn admit(&self, mount: Mount, headers: &HeaderMap) -> Result<Option<(Profile, Principal)>, StoreError> {
        let hash = token::hash(bearer(headers).unwrap_or_default());
        let store = self.profiles.store().in_turn_of(self.asker(&mount));
        let owner = store.token_owner(hash.clone()).await?;
        let admitted = match (mount, &self.transitional) {
            (Mount::Profile(slug), _) => owner
                .filter(|owner| token::same(&owner.hash, &hash) & (owner.profile.slug == slug))
                .map(|owner| owner.profile),
            (Mount::Transitional, Some(transitional)) if token::same(&transitional.token_hash, &hash) => {
                match store.profile(transitional.slug.clone()).await {
                    Err(StoreError::Missing { .. }) => None,
                    profile => Some(profile?),
                }
            }
            (Mount::Transitional, _) => None,
        };
        Ok(admitted.map(|profile| {
            let principal = Principal::new(format!("{}/{hash}", profile.slug));
            (profile, principal)
        }))
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
        transport = transport.allow_host(host);
    }
    for origin in &settings.allowed_origins {
        transport = transport.allow_origin(origin);
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

fn unauthorized() -> Answer {
    let mut answer = plain(StatusCode::UNAUTHORIZED, "unauthorized\n");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(ResponseBody::whole(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

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
    use crate::{host::Host, serve, spec::Owner};

    #[tokio::test]
    async fn who_calls_one_profile_does_not_wait_for_who_calls_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let command = Settings::augment_args(clap::Command::new("gigmcp-gateway"));
        let data = directory.path().to_str().expect("text");
        // Nothing else is to ask the database meanwhile.
        let given = command.get_matches_from(["gigmcp-gateway", "--audit-days", "0", "--data-dir", data]);
        let settings = Settings::from_arg_matches(&given).expect("settings");
        let host = Host::open(&settings).expect("a new data directory");
        let store = host.store.clone();
        store.stays_open();
        for slug in ["loud", "quiet"] {
            let (slug, hash) = (slug.parse().expect("a profile name"), token::hash(slug));
            store.create_profile(slug, Owner::local(), Vec::new(), hash).await.expect("a new profile");
        }
        let started = serve::supervisor(&settings, host, HashMap::new()).await;
        let (supervisor, custody) = started.expect("all that is needed");
        custody.close().await;
        let supervisor = Arc::new(supervisor);
        let profiles = Profiles::new(supervisor, Duration::from_secs(60));
        let endpoint = Arc::new(Endpoint::new(profiles, None, settings.listen, &settings));

        let held = store.hold().await;
        let done = Arc::new(AtomicUsize::new(0));
        let mut calls = Vec::new();
        for (called, slug) in [(1000, "loud"), (1, "quiet")] {
            for _ in 0..called {
                let (endpoint, done) = (Arc::clone(&endpoint), Arc::clone(&done));
                calls.push(tokio::spawn(async move {
                    let mut headers = HeaderMap::new();
                    headers.insert(header::AUTHORIZATION, format!("Bearer {slug}").parse().expect("a header"));
                    let mount = Mount::Profile(slug.parse().expect("a profile name"));
                    assert!(endpoint.admit(mount, &headers).await.expect("it can be read").is_some(), "{slug}");
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
