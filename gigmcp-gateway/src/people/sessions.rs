//! Sessions: what a browser holds, and how long.

use std::{borrow::Cow, fmt, net::IpAddr};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use zeroize::Zeroizing;

use super::{
    Access, Actor, ApiScope, Area, Deed, Lifetime, People, PeopleError, Proof, Role, Rule, UserId, Via,
    record::{self, Kind},
};
use crate::{
    output::harmless,
    store::{AuditRow, LiveSession, SessionRow, now_seconds},
    token::{self, Token},
};

/// How long sessions hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// From the sign-in, whatever is done.
    pub(crate) longest: Lifetime,
    /// Without use.
    pub(crate) idle: Lifetime,
}

impl Terms {
    /// Sessions of at most this; without use, a day.
    pub(crate) fn of(longest: Lifetime) -> Self {
        Self { longest, idle: longest.min(Lifetime::hours(24)) }
    }
}

/// Where somebody comes from, bounded and without what could steer a terminal.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(super) address: IpAddr,
    pub(super) user_agent: String,
}

impl Origin {
    pub(crate) fn new(address: IpAddr, user_agent: &str) -> Self {
        let harmless = user_agent.chars().filter(|character| !character.is_control()).take(MAX_USER_AGENT).collect();
        Self { address: address.to_canonical(), user_agent: harmless }
    }

    /// What a browser says of itself, whatever the request is.
    pub(crate) fn agent(headers: &HeaderMap) -> Cow<'_, str> {
        let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        String::from_utf8_lossy(agent)
    }

    /// What counts as one source: of IPv6, the network that one customer is given.
    pub(crate) fn source(&self) -> [u8; 8] {
        match self.address {
            IpAddr::V4(address) => {
                let mut source = [0xff; 8];
                source[..4].copy_from_slice(&address.octets());
                source
            }
            IpAddr::V6(address) => address.octets()[..8].try_into().expect("eight of sixteen"),
        }
    }
}

/// What a browser holds: `gigs_` and 256 random bits.
pub(crate) struct SessionToken(Zeroizing<String>);

impl SessionToken {
    /// The text of a cookie, if it can be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        token::Kind::Session.fits(text).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub(super) fn of(minted: &Token) -> Self {
        Self(Zeroizing::new(minted.expose().to_owned()))
    }

    /// The same once more, for what goes on beside the request.
    pub(super) fn copy(&self) -> Self {
        Self(self.0.clone())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn hash(&self) -> String {
        token::hash(&self.0)
    }

    /// What pages of ours send with what they ask for: who has only the cookie of somebody cannot know it.
    pub(crate) fn csrf(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, CSRF).as_ref())
    }

    /// Whether this came with it.
    pub(crate) fn is_csrf(&self, given: &str) -> bool {
        token::same(&self.csrf(), given)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionToken(..)")
    }
}

impl LiveSession {
    /// Who is in it.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            user: self.row.user.clone(),
            role: self.role,
            via: Via::Session,
            viewing: self.viewed.clone(),
            proof: Some(Proof::Session(self.row.hash.clone())),
        }
    }
}

impl SessionRow {
    /// What it is called where it is shown. Nobody comes in with it.
    pub(crate) fn id(&self) -> &str {
        self.hash.get(..ID_LENGTH).unwrap_or(&self.hash)
    }

    /// Whether a browser that says this of itself is of the kind that the session began in: its name, its engine and its system.
    /// Versions are left out, as browsers are renewed while somebody is signed in; so is the address, as people move.
    fn fits(&self, agent: &str) -> bool {
        traits(&self.user_agent).eq(traits(agent))
    }
}

/// What of a browser's own description stays when it is renewed.
fn traits(agent: &str) -> impl Iterator<Item = char> + '_ {
    let told = agent.chars().filter(|character| !character.is_control()).take(MAX_USER_AGENT);
    // So that of a long one the same is looked at, however long its numbers are.
    told.filter(|character| !character.is_ascii_digit() && !matches!(character, '.' | '_')).take(MAX_TRAITS)
}

pub(crate) const READ: Rule = Rule::new(Access::OwnOr(Role::Admin), Deed::Read).with_scope(ApiScope::read(Area::Users));
pub(crate) const END: Rule = Rule::new(Access::OwnOr(Role::Admin), Deed::Prove);

impl People {
    /// The session of a token, if it holds now.
    pub(crate) async fn session(&self, token: &SessionToken) -> Result<Option<LiveSession>, PeopleError> {
        let found = self.look_at_session(token).await?;
        if let Some(found) = &found {
            self.store.session_seen(&found.row);
            self.note_view_over(found).await?;
        }
        Ok(found)
    }

    /// The same without using it.
    pub(crate) async fn look_at_session(&self, token: &SessionToken) -> Result<Option<LiveSession>, PeopleError> {
        let hash = token.hash();
        let found = self.store.session(hash.clone(), self.terms.idle.seconds()).await?;
        Ok(found.filter(|found| token::same(&found.row.hash, &hash)))
    }

    /// Whoever was looked at is told that it is over, when the session is used next.
    async fn note_view_over(&self, found: &LiveSession) -> Result<(), PeopleError> {
        match &found.row.viewed {
            Some((viewed, until)) if *until <= now_seconds() => {
                let row = record::done(Kind::View, viewed, "ended by its time", &found.actor());
                Ok(self.store.end_view_over(found.row.hash.clone(), row).await?)
            }
            _ => Ok(()),
        }
    }

    /// Ends a session if what came with its token is another browser than the one it is of; whether it does.
    pub(crate) async fn is_elsewhere(&self, session: &LiveSession, agent: &str) -> Result<bool, PeopleError> {
        if session.row.fits(agent) {
            return Ok(false);
        }
        let what = format!("ended {}, it came from another browser: {}", session.row.id(), harmless(agent));
        let what = what.chars().take(MAX_USER_AGENT).collect();
        let row = record::of(Kind::Session, session.row.user.as_str(), what, "elsewhere");
        self.store.end_session(session.row.hash.clone(), AuditRow { alarm: true, ..row }).await?;
        Ok(true)
    }

    /// Ends the session of a token. One that does not hold any more is ended as well.
    pub(crate) async fn sign_out(&self, token: &SessionToken) -> Result<(), PeopleError> {
        if let Some(session) = self.store.session(token.hash(), self.terms.idle.seconds()).await? {
            let actor = session.actor();
            if let Some((viewed, _)) = &session.viewed {
                // It ends with the session, and whoever was looked at is told.
                self.store.add_audit(record::done(Kind::View, viewed, "ended", &actor)).await?;
            }
            let row = record::done(Kind::Logout, &session.row.user, session.row.id(), &actor);
            self.store.end_session(session.row.hash, row).await?;
        }
        Ok(())
    }

    /// The sessions of somebody.
    pub(crate) async fn sessions(&self, actor: &Actor, of: &UserId) -> Result<Vec<SessionRow>, PeopleError> {
        actor.may(&READ, Some(of))?;
        let now = now_seconds();
        let mut sessions = self.store.sessions_of(of.clone()).await?;
        sessions.retain(|session| now < session.last_seen_at.saturating_add(self.terms.idle.seconds()));
        Ok(sessions)
    }

    /// Ends one session of somebody, by the name under which it is shown.
    pub(crate) async fn end_session(&self, actor: &Actor, of: &UserId, id: &str) -> Result<(), PeopleError> {
        actor.may(&END, Some(of))?;
        let sessions = self.store.sessions_of(of.clone()).await?;
        let session = sessions.into_iter().find(|session| session.id() == id).ok_or(PeopleError::NoSession)?;
        let row = record::done(Kind::Session, of, format!("ended {id}"), actor);
        match self.store.end_session(session.hash, actor.does(row)).await? {
            true => Ok(()),
            false => Err(PeopleError::NoSession),
        }
    }

    /// Ends all sessions of somebody, but for one if it is to be kept. Says how many.
    pub(crate) async fn end_sessions(
        &self,
        actor: &Actor,
        of: &UserId,
        keep: Option<&SessionToken>,
    ) -> Result<u64, PeopleError> {
        actor.may(&END, Some(of))?;
        let row = record::done(Kind::Session, of, "ended all", actor);
        Ok(self.store.end_sessions(of.clone(), keep.map(SessionToken::hash), actor.does(row)).await?)
    }
}

const CSRF: &[u8] = b"gigmcp csrf v1";
const ID_LENGTH: usize = 16;
const MAX_USER_AGENT: usize = 256;
const MAX_TRAITS: usize = 128;
