//! Who is calling, how often they may, and whether it was they who meant it.

use std::net::IpAddr;

use http::{HeaderMap, Method, header};

use super::{
    CSRF_HEADER, Door, State,
    cookie::Cookie,
    error::{ApiError, Code},
    input::Raw,
    pace::Pace,
};
use crate::{
    output::whole,
    people::{Actor, Origin, SessionToken, Shown, Standing, UserId, Via},
    settings::Settings,
    store::{Begun, Kept, OnceKey},
};

/// What of the door does not lie in the database.
pub(crate) struct Front {
    pub(crate) cookie: Cookie,
    /// Where browsers reach us, if that was said.
    origin: Option<String>,
    callers: Pace,
    addresses: Pace,
}

impl Front {
    pub(crate) fn new(settings: &Settings) -> Self {
        let tls = match &settings.public_url {
            Some(url) => url.is_tls(),
            // Whoever listens for others has TLS before it, or nobody can sign in with a browser.
            None => settings.front.tls_files().is_some() || !settings.listen.ip().is_loopback(),
        };
        Self {
            cookie: if tls { Cookie::Tls } else { Cookie::Loopback },
            origin: settings.public_url.as_ref().map(|url| url.origin().to_owned()),
            callers: Pace::new(CALLER_PER_SECOND, CALLER_BURST),
            addresses: Pace::new(ADDRESS_PER_SECOND, ADDRESS_BURST),
        }
    }

    /// The session that a request comes with, for what is done with the session itself.
    pub(crate) fn session(&self, raw: &Raw) -> Result<SessionToken, ApiError> {
        self.cookie.find(&raw.headers)?.ok_or_else(ApiError::unauthenticated)
    }

    /// Whether the page that sent it is ours, as far as the browser says.
    fn is_ours(&self, headers: &HeaderMap) -> bool {
        let Ok(site) = single(headers, "sec-fetch-site") else { return false };
        let Ok(origin) = single(headers, header::ORIGIN.as_str()) else { return false };
        let Ok(host) = single(headers, header::HOST.as_str()) else { return false };
        // `none` is somebody who typed the address.
        let site = site.is_none_or(|site| matches!(site, "same-origin" | "none"));
        let origin = origin.is_none_or(|origin| {
            let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            let same = rest.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host));
            same || self.origin.as_deref() == Some(origin)
        });
        site && origin
    }
}

/// Whether somebody does something, or has begun something that goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Used {
    Now,
    Before,
}

impl State {
    /// Who began what goes on, if they still may. It does not count as a use, so it keeps nobody signed in.
    pub(crate) async fn still(&self, headers: &HeaderMap) -> Result<Option<Actor>, ApiError> {
        self.who(headers, Used::Before).await
    }

    async fn who(&self, headers: &HeaderMap, used: Used) -> Result<Option<Actor>, ApiError> {
        match (self.front.cookie.find(headers)?, bearer(headers)?) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(ApiError::invalid("there are a session and a key; send one of them")),
            (Some(token), None) => {
                let session = match used {
                    Used::Now => self.people.session(&token).await?,
                    Used::Before => self.people.look_at_session(&token).await?,
                };
                // A browser need not keep what lets nobody in.
                let ended = || ApiError::unauthenticated().with_header(header::SET_COOKIE, self.front.cookie.clear());
                let session = session.ok_or_else(ended)?;
                if self.people.is_elsewhere(&session, &Origin::agent(headers)).await? {
                    return Err(ended());
                }
                match self.people.standing(self.oidc.as_ref(), &token, &session).await? {
                    Standing::Holds => Ok(Some(session.actor())),
                    Standing::Over => Err(ended()),
                    Standing::Unconfirmed => Err(ApiError::new(Code::Unavailable, UNCONFIRMED)),
                }
            }
            (None, Some(key)) => self.people.api_key(key).await?.map(Some).ok_or_else(ApiError::unauthenticated),
        }
    }
}

impl Door for State {
    async fn caller(&self, headers: &HeaderMap) -> Result<Option<Actor>, ApiError> {
        self.who(headers, Used::Now).await
    }

    fn not_let_in(&self, error: &ApiError, headers: &HeaderMap, address: IpAddr) {
        if error.code == Code::Unauthenticated {
            let proof = if headers.contains_key(header::AUTHORIZATION) { Shown::ApiKey } else { Shown::Session };
            self.people.failed.note(proof, "", &Origin::new(address, ""));
        }
    }

    fn admit(&self, actor: Option<&Actor>, address: IpAddr) -> Result<(), ApiError> {
        let Some(actor) = actor else {
            return self.front.addresses.take(&Origin::new(address, "").source()).map_err(ApiError::wait);
        };
        // One's programs do not make one's pages wait.
        let who: (&UserId, Option<&str>) = match &actor.via {
            Via::ApiKey { name, .. } => (&actor.user, Some(name)),
            Via::Session | Via::Local => (&actor.user, None),
        };
        self.front.callers.take(&who).map_err(ApiError::wait)
    }

    async fn begin_once(&self, key: OnceKey) -> Result<Begun, ApiError> {
        Ok(self.store().begin_once(key).await?)
    }

    async fn end_once(&self, key: OnceKey, kept: Option<Kept>) {
        if let Err(error) = self.store().end_once(key, kept).await {
            // It counts as under way, and then as unknown.
            tracing::error!("what came of a request with an idempotency key is not kept: {}", whole(&error));
        }
    }

    fn session_cookie(&self) -> &'static str {
        self.front.cookie.name()
    }

    fn is_meant(&self, _: &Method, actor: Option<&Actor>, headers: &HeaderMap) -> Result<(), ApiError> {
        let is_session = match actor.map(|actor| &actor.via) {
            // No browser sends a key by itself.
            Some(Via::ApiKey { .. } | Via::Local) => return Ok(()),
            Some(Via::Session) => true,
            // Nor is anybody to be signed in as somebody else.
            None => false,
        };
        if !self.front.is_ours(headers) {
            return Err(ApiError::new(Code::CrossSite, "this was sent by a page of another site"));
        }
        if !is_session {
            return Ok(());
        }
        let token = self.front.cookie.find(headers)?.ok_or_else(ApiError::unauthenticated)?;
        let given = single(headers, CSRF_HEADER).ok().flatten();
        match given.is_some_and(|given| token.is_csrf(given)) {
            true => Ok(()),
            false => Err(ApiError::new(
                Code::CrossSite,
                format!("the header {CSRF_HEADER} is missing or not of this session; GET /api/v1/session tells it"),
            )),
        }
    }
}

/// The key of an `Authorization: Bearer` header. What is none of ours is none that works.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = single(headers, header::AUTHORIZATION.as_str())? else { return Ok(None) };
    match value.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(key)),
        _ => Err(ApiError::unauthenticated()),
    }
}

/// A header that comes once at most.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| ApiError::invalid(format!("the header {name} is not ASCII")))
        }
        (Some(_), Some(_)) => Err(ApiError::invalid(format!("the header {name} is there twice"))),
    }
}

const UNCONFIRMED: &str = "the identity provider could not be asked about this session for long; try again later";
/// More than the pages of one person ask for, and than a program needs that waits for its answers.
const CALLER_PER_SECOND: u32 = 20;
const CALLER_BURST: u32 = 200;
/// Many people may share one address.
const ADDRESS_PER_SECOND: u32 = 100;
const ADDRESS_BURST: u32 = 1000;
