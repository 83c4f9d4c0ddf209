//! Looking at another's pages as they see them, without being able to change anything.

use super::{
    Access, Actor, Deed, Lifetime, People, PeopleError, Refusal, Role, Rule, SessionToken, UserId, Via,
    record::{self, Kind},
};
use crate::{
    oidc::Grant,
    store::{Told, now_seconds},
    token::{self, Token},
};

pub(crate) const BEGIN: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Prove);
pub(crate) const END: Rule = Rule::new(Access::SignedIn, Deed::Leave);

impl People {
    /// Begins to look at somebody's pages, for a while. The session gets another token. [`Actor::may`] refuses all but reading
    /// until the view ends, and what is read is what the other may read.
    pub(crate) async fn view(
        &self,
        actor: &Actor,
        session: &SessionToken,
        viewed: &UserId,
        holds: Lifetime,
    ) -> Result<SessionToken, PeopleError> {
        actor.may(&BEGIN, Some(viewed))?;
        if actor.via != Via::Session {
            return Err(Refusal::Key.into());
        }
        if *viewed == actor.user {
            return Err(PeopleError::OwnView);
        }
        if holds > LONGEST {
            return Err(PeopleError::ViewTime);
        }
        self.store.user(viewed.clone()).await?;
        let row = record::done(Kind::View, viewed, format!("begun, for {holds}"), actor);
        self.change_view(actor, session, Some((viewed.clone(), holds.end(now_seconds()))), actor.does(row)).await
    }

    /// Ends it before its time.
    pub(crate) async fn end_view(&self, actor: &Actor, session: &SessionToken) -> Result<SessionToken, PeopleError> {
        actor.may(&END, Some(&actor.user))?;
        let row = record::done(Kind::View, actor.shown(), "ended", actor);
        self.change_view(actor, session, None, row.into()).await
    }

    async fn change_view(
        &self,
        actor: &Actor,
        session: &SessionToken,
        viewed: Option<(UserId, i64)>,
        told: Told,
    ) -> Result<SessionToken, PeopleError> {
        let renamed = SessionToken::of(&Token::mint_for(token::Kind::Session));
        // What a provider gave opens only with the token that it was sealed for.
        let before = self.store.grant(session.hash()).await?;
        let sealed = before.and_then(|before| {
            let after = Grant::open(&before, session, &actor.user)?.seal(&renamed, &actor.user)?;
            Some((before, after))
        });
        match self.store.set_view(session.hash(), renamed.hash(), viewed, sealed, told).await? {
            true => Ok(renamed),
            false => Err(PeopleError::NoSession),
        }
    }
}

const LONGEST: Lifetime = Lifetime::minutes(60);
