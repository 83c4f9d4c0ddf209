//! Tokens of profiles: who has one runs tools.

use super::{
    Access, Actor, ApiScope, Area, Deed, Label, Lifetime, People, PeopleError, Role, Rule, TokenScope,
    record::{self, Kind},
};
use crate::{
    spec::{ProfileSlug, ServerName},
    store::{Absent, NewToken, StoreError, TokenRow, now_seconds},
    token::Token,
};

/// What a token is to be.
#[derive(Clone, Debug)]
pub(crate) struct TokenWish {
    pub(crate) name: Label,
    pub(crate) scope: TokenScope,
    pub(crate) holds: Option<Lifetime>,
}

pub(crate) const READ: Rule =
    Rule::new(Access::OwnOr(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::Profiles));
/// Whoever makes a token can run tools with what is the owner's, so only the owner does.
pub(crate) const CREATE: Rule = Rule::new(Access::Own, Deed::Use);
pub(crate) const REVOKE: Rule =
    Rule::new(Access::OwnOr(Role::Admin), Deed::Change).with_scope(ApiScope::write(Area::Profiles));

impl People {
    /// A profile of one's own, and its first token, shown once. Of a server, only the revision that was seen is agreed to, if
    /// one is named.
    pub(crate) async fn create_profile(
        &self,
        actor: &Actor,
        profile: &ProfileSlug,
        servers: Vec<(ServerName, Option<i64>)>,
    ) -> Result<Token, PeopleError> {
        actor.may(&CREATE, Some(&actor.user))?;
        let token = Token::mint();
        let row = record::done(Kind::Token, &actor.user, format!("created {} of {profile}", Label::first()), actor);
        let owner = actor.user.clone();
        self.store.create_profile_told(profile.clone(), owner, servers, token.hash(), actor.does(row)).await?;
        Ok(token)
    }

    /// One more token of one's own profile, shown once.
    pub(crate) async fn create_token(
        &self,
        actor: &Actor,
        profile: &ProfileSlug,
        wish: TokenWish,
    ) -> Result<Token, PeopleError> {
        let found = self.store.profile(profile.clone()).await?;
        actor.may(&CREATE, Some(&found.owner))?;
        let names: Vec<_> = found.servers.iter().map(|(name, _)| name).collect();
        if let Some(other) = wish.scope.servers().find(|server| !names.contains(server)) {
            let known = names.iter().map(ToString::to_string).collect();
            return Err(
                StoreError::Missing { what: "server in this profile called", name: other.to_string(), known }.into()
            );
        }
        let what = format!("created {} of {profile}{}", wish.name, told(&wish.scope));
        let row = record::done(Kind::Token, &found.owner, what, actor);
        let (token, new) = mint(wish);
        self.store.add_token(profile.clone(), new, actor.does(row)).await?;
        Ok(token)
    }

    /// A token in the place of the one of that name, which ends at once. It is good for the same, and for as long.
    pub(crate) async fn replace_token(
        &self,
        actor: &Actor,
        profile: &ProfileSlug,
        name: Label,
        absent: Absent,
    ) -> Result<(Token, NewToken), PeopleError> {
        let found = self.store.profile(profile.clone()).await?;
        actor.may(&CREATE, Some(&found.owner))?;
        let token = Token::mint();
        let (by, slug) = (actor.clone(), profile.clone());
        let tell = move |new: &NewToken| {
            let ends = if new.expires_at.is_some() { ", for as long as it held" } else { "" };
            let what = format!("replaced {} of {slug}{}{ends}", new.name, told(&new.scope));
            by.does(record::done(Kind::Token, &found.owner, what, &by))
        };
        let new = self.store.replace_token(profile.clone(), (name, token.hash()), absent, tell).await?;
        Ok((token, new))
    }

    /// The tokens of a profile, of which nobody can make them again.
    pub(crate) async fn tokens(&self, actor: &Actor, profile: &ProfileSlug) -> Result<Vec<TokenRow>, PeopleError> {
        let owner = self.store.profile(profile.clone()).await?.owner;
        actor.may(&READ, Some(&owner))?;
        Ok(self.store.tokens(profile.clone()).await?)
    }

    /// Ends a token at once.
    pub(crate) async fn revoke_token(
        &self,
        actor: &Actor,
        profile: &ProfileSlug,
        name: Label,
    ) -> Result<(), PeopleError> {
        let owner = self.store.profile(profile.clone()).await?.owner;
        actor.may(&REVOKE, Some(&owner))?;
        let row = record::done(Kind::Token, &owner, format!("revoked {name} of {profile}"), actor);
        Ok(self.store.revoke_token(profile.clone(), name, actor.does(row)).await?)
    }
}

fn mint(wish: TokenWish) -> (Token, NewToken) {
    let token = Token::mint();
    let TokenWish { name, scope, holds } = wish;
    let expires_at = holds.map(|holds| holds.end(now_seconds()));
    let new = NewToken { name, hash: token.hash(), scope, expires_at };
    (token, new)
}

fn told(scope: &TokenScope) -> String {
    match scope.is_whole() {
        true => String::new(),
        false => format!(" for {scope}"),
    }
}
