//! Keys of the control plane: for programs, for what they were made for.

use super::{
    Access, Actor, ApiScope, Area, Deed, Label, Lifetime, People, PeopleError, Proof, Role, Rule, Scopes, UserId, Via,
    record::{self, Kind},
};
use crate::{
    store::{ApiKeyRow, NewApiKey, now_seconds},
    token::{self, Token},
};

pub(crate) const READ: Rule = Rule::new(Access::OwnOr(Role::Admin), Deed::Read).with_scope(ApiScope::read(Area::Users));
/// Not with a key: one that got into other hands must not make others.
pub(crate) const CREATE: Rule = Rule::new(Access::Own, Deed::Prove);
pub(crate) const REVOKE: Rule = Rule::new(Access::OwnOr(Role::Admin), Deed::Prove);

impl People {
    /// A key of one's own, shown once.
    pub(crate) async fn create_api_key(
        &self,
        actor: &Actor,
        name: Label,
        scopes: Scopes,
        holds: Option<Lifetime>,
    ) -> Result<Token, PeopleError> {
        actor.may(&CREATE, Some(&actor.user))?;
        let above = scopes.above(actor.role);
        if !above.is_empty() {
            return Err(PeopleError::ScopesAbove { scopes: above.join(", "), role: actor.role });
        }
        let token = Token::mint_for(token::Kind::ApiKey);
        let row = record::done(Kind::ApiKey, &actor.user, format!("created {name} for {scopes}"), actor);
        let expires_at = holds.map(|holds| holds.end(now_seconds()));
        let new = NewApiKey { user: actor.user.clone(), name, hash: token.hash(), scopes, expires_at };
        self.store.add_api_key(new, actor.does(row)).await?;
        Ok(token)
    }

    /// The keys of somebody.
    pub(crate) async fn api_keys(&self, actor: &Actor, of: &UserId) -> Result<Vec<ApiKeyRow>, PeopleError> {
        actor.may(&READ, Some(of))?;
        Ok(self.store.api_keys(of.clone()).await?)
    }

    /// Ends a key at once.
    pub(crate) async fn revoke_api_key(&self, actor: &Actor, of: &UserId, name: Label) -> Result<(), PeopleError> {
        actor.may(&REVOKE, Some(of))?;
        let row = record::done(Kind::ApiKey, of, format!("revoked {name}"), actor);
        Ok(self.store.revoke_api_key(of.clone(), name, actor.does(row)).await?)
    }

    /// Who comes with a key, if it works now.
    pub(crate) async fn api_key(&self, key: &str) -> Result<Option<Actor>, PeopleError> {
        if !token::Kind::ApiKey.fits(key) {
            return Ok(None);
        }
        let hash = token::hash(key);
        let found = self.store.api_key(hash.clone()).await?.filter(|(row, _)| token::same(&row.hash, &hash));
        let Some((row, role)) = found else { return Ok(None) };
        self.store.api_key_used(&row);
        let via = Via::ApiKey { name: row.name.to_string(), scopes: row.scopes };
        let proof = Some(Proof::ApiKey(row.hash));
        Ok(Some(Actor { user: row.user, role, via, viewing: None, proof }))
    }
}
