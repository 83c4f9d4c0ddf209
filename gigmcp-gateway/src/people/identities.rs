//! Signing in by a provider: whose account it is that the provider vouches for.
//!
//! An account is found by issuer and subject alone. An address makes nobody the owner of an account that is there already: whoever is
//! signed in to it links an identity themselves. It only stands in for the code of an invitation, if the provider has verified it.

use std::time::Duration;

use super::{
    Access, Actor, ApiScope, Area, Confirmation, Deed, Origin, People, PeopleError, Role, Rule, SessionToken, Shown,
    UserId, Via,
    confirmation::SUSPENDED,
    factors::OWN,
    invitations::new_id,
    record::{self, Kind},
    throttle::Wait,
};
use crate::{
    oidc::{Answer, Flow, Grant, Identity, LocalPath, Oidc, OidcError, Proven, Purpose},
    output::whole,
    secrets::Secrets,
    store::{
        AuditRow, EndedBy, Fresh, Happened, IdentityRow, IdentitySignIn, LastOne, Linking, NewSession, Outcome,
        SealedGrant, SessionFor, SessionRow, StoreError, now_seconds,
    },
    token::{self, Token},
};

/// What a browser comes back with from the provider.
pub(crate) struct Return {
    /// What it kept of the sign-in that it was sent there for.
    pub(crate) flow: Option<Flow>,
    pub(crate) answer: Answer,
    pub(crate) origin: Origin,
    /// The session that it had until now; it ends.
    pub(crate) replaces: Option<SessionToken>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Back {
    SignedIn {
        token: SessionToken,
        expires_at: i64,
    },
    Linked,
    /// It is they who are in the session. What the browser keeps of it is good for one change.
    Confirmed,
}

/// By what somebody who is signed in proves once more that it is they.
#[derive(Default)]
pub(crate) struct OnceMore {
    pub(crate) confirmation: Option<Confirmation>,
    /// What the browser keeps of a sign-in at the provider.
    pub(crate) flow: Option<Flow>,
    /// Passwords are not taken, so an old one counts for nothing.
    pub(crate) by_provider_only: bool,
}

/// Why somebody is not let in, or an identity not linked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IdentityError {
    #[error(transparent)]
    Oidc(#[from] OidcError),
    #[error(
        "nobody was invited with the address that the provider has verified, and GIG_OIDC_NEW_ACCOUNTS is not `anyone`"
    )]
    NoAccount,
    #[error("there is an account with this address; whoever it belongs to signs in to it and links the identity")]
    AddressTaken,
    #[error("the account is disabled")]
    Disabled,
    #[error("the identity is that of another account")]
    Anothers,
    #[error("too many tries; wait {} s", .0.as_secs() + 1)]
    Wait(Duration),
    #[error("what the provider gave cannot be sealed")]
    NotSealed,
    #[error(transparent)]
    People(#[from] PeopleError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) const READ: Rule = Rule::new(Access::OwnOr(Role::Admin), Deed::Read).with_scope(ApiScope::read(Area::Users));

/// Who is that to a provider, an administrator says no more.
pub(crate) const UNLINK: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Prove);

impl People {
    /// Ends what a browser was sent to the provider for.
    pub(crate) async fn come_back(&self, oidc: &Oidc, returned: Return) -> Result<(Back, LocalPath), IdentityError> {
        let Return { flow, answer, origin, replaces } = returned;
        let flow = begun_here(flow, &answer).inspect_err(|_| self.failed.note(Shown::Flow, "", &origin))?;
        let source = origin.source();
        self.returns.begin(&source).map_err(|Wait { for_, first }| {
            if first {
                self.store.add_audit_later(record::of(Kind::Login, "", from(&origin), "wait"));
            }
            IdentityError::Wait(for_)
        })?;
        let proven = match self.proven(oidc, &flow, answer).await {
            Ok(proven) => proven,
            Err(error) => {
                self.not_let_in("", from(&origin), error.cause(), whole(&error)).await;
                return Err(error.into());
            }
        };
        let about = format!("{} {}", proven.identity, from(&origin));
        let known = self.store.identity(proven.identity.clone()).await?.map(|row| row.user);
        let done = match proven.admitted {
            Err(why) => {
                let ended = self.end_all(&proven.identity, known.as_ref(), why.cause()).await;
                ended.and(Err(OidcError::NotAdmitted(why).into()))
            }
            Ok(role) if flow.purpose() == Purpose::SignIn => {
                self.let_in_known(oidc, proven, role, origin, replaces).await
            }
            Ok(_) if flow.purpose() == Purpose::Confirm => {
                self.proven_once_more(&flow, proven.identity).await.map(|()| Back::Confirmed)
            }
            Ok(_) => self.linked(&flow, proven.identity).await.map(|()| Back::Linked),
        };
        match done {
            Ok(back) => {
                self.returns.take_back(&source);
                Ok((back, flow.return_to().clone()))
            }
            Err(error) => {
                let known = known.as_ref().map(UserId::as_str).unwrap_or_default();
                self.not_let_in(known, about, error.cause(), whole(&error)).await;
                Err(error)
            }
        }
    }

    /// Who it is. Each state is taken once, before the provider is asked anything.
    async fn proven(&self, oidc: &Oidc, flow: &Flow, answer: Answer) -> Result<Proven, OidcError> {
        let state = flow.state();
        match self.store.take_once(token::hash(&format!("state {state}")), flow.ends_at()).await {
            Ok(true) => {}
            Ok(false) => return Err(OidcError::Flow("state-replayed")),
            Err(error) => {
                tracing::error!("the state of a sign-in could not be kept: {}", whole(&error));
                return Err(OidcError::Busy);
            }
        }
        oidc.redeem(flow, answer).await
    }

    async fn let_in_known(
        &self,
        oidc: &Oidc,
        proven: Proven,
        role: Option<Role>,
        origin: Origin,
        replaces: Option<SessionToken>,
    ) -> Result<Back, IdentityError> {
        let token = SessionToken::of(&Token::mint_for(token::Kind::Session));
        let now = now_seconds();
        let expires_at = self.terms.longest.end(now);
        let Proven { identity, email, name, sid, grant, .. } = proven;
        let told_name = name.or_else(|| email.as_ref().map(|email| email.to_string()));
        let about = format!("{identity} {}", from(&origin));
        let given = IdentitySignIn {
            name: told_name.unwrap_or_else(|| identity.subject.clone()),
            identity,
            email,
            role,
            new_accounts: oidc.config().new_accounts,
            new_id: new_id()?,
            session: self.session_for(token.copy(), origin, replaces, grant, sid),
            told: Box::new(move |happened| told(happened, &about)),
        };
        match self.store.sign_in_identity(given).await? {
            Outcome::In(_) => Ok(Back::SignedIn { token, expires_at }),
            Outcome::Disabled(_) => Err(IdentityError::Disabled),
            Outcome::NoAccount => Err(IdentityError::NoAccount),
            Outcome::AddressTaken(_) => Err(IdentityError::AddressTaken),
            Outcome::NotSealed => Err(IdentityError::NotSealed),
        }
    }

    /// Makes the session, once it is known whose it is.
    fn session_for(
        &self,
        token: SessionToken,
        origin: Origin,
        replaces: Option<SessionToken>,
        grant: Grant,
        sid: Option<String>,
    ) -> SessionFor {
        let terms = self.terms;
        Box::new(move |user| {
            let now = now_seconds();
            let row = SessionRow {
                hash: token.hash(),
                user: user.clone(),
                created_at: now,
                expires_at: terms.longest.end(now),
                last_seen_at: now,
                user_agent: origin.user_agent,
                address: origin.address.to_string(),
                viewed: None,
            };
            let replaces = replaces.map(|token| token.hash());
            let session = NewSession { row, replaces, renewed: None, device: None, idle_seconds: terms.idle.seconds() };
            let refreshes = grant.refresh_token.is_some();
            Some((session, SealedGrant { sealed: grant.seal(&token, user)?, sid, refreshes }))
        })
    }

    async fn linked(&self, flow: &Flow, identity: Identity) -> Result<(), IdentityError> {
        let what = format!("linked {identity}");
        let told = move |user: &UserId| record::of(Kind::Account, user.as_str(), what.clone(), "allowed");
        done(self.store.link_identity(token::hash(&flow.state()), identity, Box::new(told)).await?)
    }

    async fn proven_once_more(&self, flow: &Flow, identity: Identity) -> Result<(), IdentityError> {
        let what = format!("proven once more by {identity}");
        let told = move |user: &UserId| record::of(Kind::Account, user.as_str(), what.clone(), "allowed");
        done(self.store.prove_session(token::hash(&flow.state()), identity, Box::new(told)).await?)
    }

    /// Whoever is signed in is about to prove once more who they are, at the provider.
    pub(crate) async fn begin_proof(
        &self,
        actor: &Actor,
        session: &SessionToken,
        flow: &Flow,
    ) -> Result<(), PeopleError> {
        actor.may(&OWN, Some(&actor.user))?;
        let begun = (token::hash(&flow.state()), flow.ends_at());
        Ok(self.store.begin_link(begun, session.hash(), None, actor.by()).await?)
    }

    /// Whoever is signed in is about to add an identity. That is another way in, so it takes more than a session: see
    /// [`once_more`](Self::once_more).
    pub(crate) async fn begin_link(
        &self,
        actor: &Actor,
        session: &SessionToken,
        once_more: OnceMore,
        flow: &Flow,
        secrets: &Secrets,
    ) -> Result<(), PeopleError> {
        actor.may(&OWN, Some(&actor.user))?;
        let fresh = self.once_more(actor, session, once_more, secrets).await?;
        let begun = (token::hash(&flow.state()), flow.ends_at());
        Ok(self.store.begin_link(begun, session.hash(), fresh, actor.by()).await?)
    }

    /// Who somebody is to providers.
    pub(crate) async fn identities(&self, actor: &Actor, of: &UserId) -> Result<Vec<IdentityRow>, PeopleError> {
        actor.may(&READ, Some(of))?;
        Ok(self.store.identities_of(of.clone()).await?)
    }

    /// Takes an identity away, by the name under which it is shown.
    pub(crate) async fn unlink(
        &self,
        actor: &Actor,
        session: &SessionToken,
        id: &str,
        once_more: OnceMore,
        secrets: &Secrets,
    ) -> Result<(), PeopleError> {
        actor.may(&OWN, Some(&actor.user))?;
        let fresh = self.once_more(actor, session, once_more, secrets).await?;
        self.take_identity(actor, &actor.user, id, LastOne::Stays, fresh).await
    }

    /// The same for somebody else: they have lost it, or it is not theirs. With the last one they are let in no more until they are
    /// given a code for a password. On the command line, of anybody.
    pub(crate) async fn unlink_of(&self, actor: &Actor, of: &UserId, id: &str) -> Result<(), PeopleError> {
        actor.may(&UNLINK, Some(of))?;
        if *of == actor.user && actor.via != Via::Local {
            return Err(PeopleError::OwnIdentity);
        }
        self.take_identity(actor, of, id, LastOne::Goes, None).await
    }

    async fn take_identity(
        &self,
        actor: &Actor,
        of: &UserId,
        id: &str,
        last: LastOne,
        fresh: Option<Fresh>,
    ) -> Result<(), PeopleError> {
        let all = self.store.identities_of(of.clone()).await?;
        let found = all.into_iter().find(|row| row.id() == id);
        let missing = || StoreError::Missing { what: "identity", name: id.to_owned(), known: Vec::new() };
        let identity = found.ok_or_else(missing)?.identity;
        let row = record::done(Kind::Account, of, format!("unlinked {identity}"), actor);
        Ok(self.store.unlink_identity((of.clone(), identity), last, fresh, actor.does(row)).await?)
    }

    /// What the provider gave with a session, to sign out there too.
    pub(crate) async fn grant(&self, session: &SessionToken, user: &UserId) -> Result<Option<Grant>, PeopleError> {
        let sealed = self.store.grant(session.hash()).await?;
        Ok(sealed.and_then(|sealed| Grant::open(&sealed, session, user)))
    }

    /// Ends the sessions that a provider says are over. Told once, it is done once.
    pub(crate) async fn provider_says_over(
        &self,
        oidc: &Oidc,
        token: &str,
        origin: &Origin,
    ) -> Result<(), IdentityError> {
        let source = origin.source();
        self.notices.begin(&source).map_err(|Wait { for_, .. }| IdentityError::Wait(for_))?;
        let issuer = oidc.config().issuer.as_str().to_owned();
        let notice = match oidc.logout_notice(token).await {
            Ok(notice) => notice,
            Err(error) => {
                self.not_let_in("", format!("back-channel logout {}", from(origin)), error.cause(), whole(&error))
                    .await;
                return Err(error.into());
            }
        };
        let once = token::hash(&format!("logout {issuer} {}", notice.id));
        let about = format!("back-channel logout of {}", notice.subject.as_deref().unwrap_or("a session"));
        let told = move |count: u64| record::of(Kind::Logout, "", format!("{about}, {count} sessions"), "allowed");
        let ended = EndedBy { issuer, subject: notice.subject, sid: notice.sid };
        if self.store.end_provider_sessions_once(ended, once, notice.expires_at, Box::new(told)).await?.is_none() {
            let error = OidcError::Flow("logout-replayed");
            self.not_let_in("", format!("back-channel logout {}", from(origin)), error.cause(), whole(&error)).await;
            return Err(error.into());
        }
        self.notices.take_back(&source);
        Ok(())
    }

    /// The provider does not let somebody in any more: their sessions by it end, and all else that is theirs waits.
    async fn end_all(
        &self,
        identity: &Identity,
        of: Option<&UserId>,
        cause: &'static str,
    ) -> Result<(), IdentityError> {
        let (about, what) = (of.map(UserId::to_string).unwrap_or_default(), format!("ended those of {identity}"));
        let suspended = if of.is_some() { format!("; {SUSPENDED}") } else { String::new() };
        let told =
            move |count: u64| record::of(Kind::Session, &about, format!("{what}, {count} sessions{suspended}"), cause);
        self.store.refuse_identity(identity.clone(), Box::new(told)).await?;
        Ok(())
    }

    async fn not_let_in(&self, about: &str, subject: String, cause: &str, why: String) {
        tracing::info!("not let in by the provider: {why}");
        if let Err(error) = self.store.add_audit(record::of(Kind::Login, about, subject, cause)).await {
            tracing::error!("a failed sign-in could not be audited: {}", whole(&error));
        }
    }

    /// Proves once more who is in a session, which may be in other hands: by one's own password and second factor, if there is a
    /// password and it is taken; otherwise by a sign-in at the provider just now, in this browser. That is used up with what it is for.
    async fn once_more(
        &self,
        actor: &Actor,
        session: &SessionToken,
        OnceMore { confirmation, flow, by_provider_only }: OnceMore,
        secrets: &Secrets,
    ) -> Result<Option<Fresh>, PeopleError> {
        let password = self.store.user(actor.user.clone()).await?.password.filter(|_| !by_provider_only);
        match (password, confirmation) {
            (Some(_), Some(confirmation)) => self.confirmed_twice(actor, confirmation, secrets).await.map(|_| None),
            (Some(_), None) => Err(PeopleError::Wrong),
            (None, _) => {
                let flow = flow.filter(|flow| flow.purpose() == Purpose::Confirm).ok_or(StoreError::NotFresh)?;
                Ok(Some(Fresh { state: token::hash(&flow.state()), session: session.hash() }))
            }
        }
    }
}

impl IdentityRow {
    /// What it is called where it is shown.
    pub(crate) fn id(&self) -> String {
        let hash = token::hash(&format!("{}\n{}", self.identity.issuer, self.identity.subject));
        hash.get(..16).unwrap_or_default().to_owned()
    }
}

impl IdentityError {
    /// For the audit trail.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Oidc(error) => error.cause(),
            Self::NoAccount => "no-account",
            Self::AddressTaken => "address-taken",
            Self::Disabled => "disabled",
            Self::Anothers => "anothers-identity",
            Self::Wait(_) => "wait",
            Self::NotSealed | Self::People(_) | Self::Store(_) => "failed",
        }
    }
}

/// What the browser kept, if what it came back with belongs to it. It is asked before anything is counted: nobody guesses a state of
/// 256 bits.
fn begun_here(flow: Option<Flow>, answer: &Answer) -> Result<Flow, OidcError> {
    let flow = flow.filter(|flow| flow.purpose() != Purpose::SignOut).ok_or(OidcError::Flow("no-flow"))?;
    let fits = answer.state.as_deref().is_some_and(|state| flow.is_state(state));
    if fits { Ok(flow) } else { Err(OidcError::Flow("state")) }
}

fn done(linking: Linking) -> Result<(), IdentityError> {
    match linking {
        Linking::Done(_) => Ok(()),
        Linking::Over => Err(OidcError::Flow("link-over").into()),
        Linking::Anothers => Err(IdentityError::Anothers),
    }
}

fn from(origin: &Origin) -> String {
    format!("by the provider, from {}", origin.address)
}

/// What happened, for the audit trail.
pub(super) fn told(happened: &Happened, about: &str) -> AuditRow {
    match happened {
        Happened::SignedIn { user } => record::of(Kind::Login, user.as_str(), about.to_owned(), "allowed"),
        Happened::Made { user, role } => {
            record::of(Kind::Account, user.as_str(), format!("made as {role}, {about}"), "allowed")
        }
        Happened::Role { user, from, to } => {
            record::of(Kind::Account, user.as_str(), format!("role {to} instead of {from}, {about}"), "allowed")
        }
        Happened::KeptAdministrator { user, said } => {
            let what = format!("stays the last administrator, although {said} is said, {about}");
            AuditRow { alarm: true, ..record::of(Kind::Account, user.as_str(), what, "last-administrator") }
        }
    }
}
