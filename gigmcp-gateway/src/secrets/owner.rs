//! Somebody's secrets go, all at once.

use super::{MAX_TRIES, SecretError, Secrets, ledger::Ledger};
use crate::{
    spec::Owner,
    store::{LedgerChange, StoreError, Told},
};

impl Secrets {
    /// Takes away what somebody's tools run with: secrets, what runs with them, and what servers kept. Tokens of their profiles
    /// and keys go too. If this fails half-way, nothing of it is used any more, and it can be done again.
    pub(crate) async fn forget_owner(&self, owner: &Owner) -> Result<(), SecretError> {
        let _change = self.change.lock().await;
        for _ in 0..MAX_TRIES {
            match self.store.forget_user(owner.clone(), self.without(owner).await?).await {
                Err(StoreError::Changed) => {}
                done => return self.forget_kept(owner, done?).await,
            }
        }
        Err(StoreError::Changed.into())
    }

    /// Deletes an account with all that belongs to it.
    pub(crate) async fn remove_user(&self, owner: &Owner, told: Told) -> Result<(), SecretError> {
        let _change = self.change.lock().await;
        for _ in 0..MAX_TRIES {
            match self.store.delete_user(owner.clone(), self.without(owner).await?, told.clone()).await {
                Err(StoreError::Changed) => {}
                done => return self.forget_kept(owner, done?).await,
            }
        }
        Err(StoreError::Changed.into())
    }

    async fn forget_kept(&self, owner: &Owner, before: i64) -> Result<(), SecretError> {
        match &self.kept {
            Some(kept) => Ok(kept.forget(owner, before).await?),
            None => Ok(()),
        }
    }

    /// The ledger that does not tell of somebody's secrets; none if it tells of none.
    async fn without(&self, owner: &Owner) -> Result<Option<LedgerChange>, SecretError> {
        let ledger = self.verify(&self.store).await?;
        let mut any = false;
        let change = Ledger::next(&ledger, &self.keys.vault(), |entries| {
            let before = entries.len();
            entries.retain(|entry| entry.key.owner != *owner);
            any = entries.len() < before;
        })?;
        Ok(any.then_some(change))
    }
}
