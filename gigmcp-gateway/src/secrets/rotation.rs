//! The master key changes, and every secret stays readable, whenever this is killed.
//!
//! 1. The new key is in the file, as the active one, before anything is sealed with it. The old one stays there.
//! 2. The ledger is sealed with it. From here on nobody can set a secret who has not read the file again: who does so has to
//!    open the ledger first, and to exchange it.
//! 3. So those that are still sealed with an old key only become fewer. Each is rewrapped, and exchanged only for what it was
//!    made from: one that was set or deleted in between stays so.
//! 4. The file is read again, and everything opened with it.
//!
//! Killed in between, the next run finds what is not sealed with the active key, and goes on there.

use std::sync::Arc;

use gigmcp_vault::{OpenError, RewrapError, Sealed, Vault};

use super::{SecretError, Secrets, check, context, ledger, refused};
use crate::{
    keys::{KeyFile, Keys, MasterKeyError},
    spec::SealedFor,
    store::{Rewrapped, SecretRow, Store, StoreError},
    trail::SignerError,
};

/// A rotation that was looked into and not begun.
pub(crate) struct Rotation {
    store: Store,
    file: KeyFile,
    /// How many secrets there are.
    pub(crate) secrets: usize,
    /// How many are not sealed with the active key.
    pub(crate) behind: usize,
    /// Version of the active key.
    pub(crate) version: u32,
    /// Whether an earlier rotation made the active key, and was not brought to its end.
    pub(crate) unfinished: bool,
}

/// What a rotation did.
#[derive(Debug)]
pub(crate) struct Rotated {
    pub(crate) version: u32,
    pub(crate) key: gigmcp_vault::KeyId,
    /// How many were sealed with another key and now are with this one.
    pub(crate) rewrapped: usize,
    /// How many were opened at the end.
    pub(crate) secrets: usize,
    /// Keys that still are in the file besides the active one.
    pub(crate) retired: usize,
}

/// Why the master key was not rotated. What was done until then is whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RotateError {
    #[error(transparent)]
    Key(#[from] MasterKeyError),
    #[error("the rotation stopped at the key of the audit trail; run it again to finish it")]
    Audit(#[from] SignerError),
    #[error("the kernel gave no random bytes for a new key")]
    Random(#[from] getrandom::Error),
    #[error("nothing was changed, because not everything opens now; mend it first, and see `gigmcp-gateway key check`")]
    Unsound { source: SecretError },
    #[error("the rotation stopped and every secret is readable; mend what is wrong and run it again to finish it")]
    Stopped { source: SecretError },
    #[error("there are {MAX_KEYS} keys in the file; take the old ones out with `gigmcp-gateway key drop-old`")]
    TooMany,
    #[error(
        "{behind} of {secrets} secrets are not sealed with the active key, so the old keys stay; finish the rotation with `gigmcp-gateway key rotate`"
    )]
    Unfinished { behind: usize, secrets: usize },
}

impl Rotation {
    /// Locks the key file, and opens everything.
    pub(crate) async fn look(store: Store, file: KeyFile) -> Result<Self, RotateError> {
        let ring = file.load().await?;
        let version = ring.active_version();
        let secrets = Secrets::new(store.clone(), Keys::fixed(ring));
        let unsound = |source| RotateError::Unsound { source };
        let (rows, ledger) = secrets.check().await.and_then(check::Checked::into_sound).map_err(unsound)?;
        let vault = secrets.keys.vault();
        let behind = rows.iter().filter(|row| !is_current(&vault, row)).count();
        let ledger_behind = ledger.row.as_ref().is_some_and(|row| !ledger::is_current(&vault, row));
        let unfinished = behind > 0 || (ledger_behind && !ledger.is_empty());
        Ok(Self { store, file, secrets: rows.len(), behind, version, unfinished })
    }

    /// Puts a new key into the file, if it was not done, and changes nothing else.
    pub(crate) async fn prepare(&mut self) -> Result<(), RotateError> {
        if !self.unfinished {
            let mut ring = self.file.load().await?;
            if ring.ids().count() >= MAX_KEYS {
                return Err(RotateError::TooMany);
            }
            ring.rotate()?;
            self.file.replace(&ring).await?;
            self.version = ring.active_version();
            self.behind = self.secrets;
        }
        Ok(())
    }

    /// Does it. `progress` hears how many secrets of how many are done.
    pub(crate) async fn run(mut self, mut progress: impl FnMut(usize, usize)) -> Result<Rotated, RotateError> {
        self.prepare().await?;
        let stopped = |source| RotateError::Stopped { source };
        // From the file, not from memory: what cannot be read again must not seal anything.
        let secrets = Secrets::new(self.store.clone(), Keys::fixed(self.file.load().await?));
        secrets.reseal_ledger().await.map_err(stopped)?;
        let rewrapped = secrets.rewrap_all(&mut progress).await.map_err(stopped)?;
        secrets.rewrap_audit_keys().await?;
        let ring = self.file.load().await?;
        let (version, key, retired) = (ring.active_version(), ring.active_id(), ring.ids().count() - 1);
        let secrets = Secrets::new(self.store, Keys::fixed(ring));
        let (rows, _) = secrets.check().await.and_then(check::Checked::into_sound).map_err(stopped)?;
        let vault = secrets.keys.vault();
        match rows.iter().filter(|row| !is_current(&vault, row)).count() {
            0 => Ok(Rotated { version, key, rewrapped, secrets: rows.len(), retired }),
            behind => Err(RotateError::Unfinished { behind, secrets: rows.len() }),
        }
    }

    /// Takes the keys out of the file that no secret is sealed with any more. Says how many they were.
    pub(crate) async fn drop_old(self) -> Result<usize, RotateError> {
        if self.unfinished {
            return Err(RotateError::Unfinished { behind: self.behind, secrets: self.secrets });
        }
        let mut ring = self.file.load().await?;
        // So that nobody seals with an old key from here on, even where there is no secret yet.
        let secrets = Secrets::new(self.store.clone(), Keys::fixed(self.file.load().await?));
        secrets.reseal_ledger().await.map_err(|source| RotateError::Stopped { source })?;
        secrets.rewrap_audit_keys().await?;
        let dropped = ring.forget_retired();
        if dropped > 0 {
            // A loss of power must not bring back a secret that the old key sealed.
            self.store.sync().map_err(|source| RotateError::Stopped { source: source.into() })?;
            self.file.replace(&ring).await?;
        }
        Ok(dropped)
    }
}

impl Secrets {
    /// Seals the ledger with the active key, if it is not.
    async fn reseal_ledger(&self) -> Result<(), SecretError> {
        for _ in 0..super::MAX_TRIES {
            let ledger = self.verify(&self.store).await?;
            let vault = self.keys.vault();
            if ledger.row.as_ref().is_some_and(|row| ledger::is_current(&vault, row)) && ledger.counter > 0 {
                return Ok(());
            }
            match self.store.exchange_ledger(ledger.next(&vault, |_| {})?).await {
                Err(StoreError::Changed) => {}
                done => return Ok(done?),
            }
        }
        Err(StoreError::Changed.into())
    }

    /// Rewraps what is not sealed with the active key, until nothing is left of it. Says how many it were.
    async fn rewrap_all(&self, progress: &mut impl FnMut(usize, usize)) -> Result<usize, SecretError> {
        let mut done = 0;
        loop {
            let vault = self.keys.vault();
            let mut behind = self.store.secrets().await?;
            let all = behind.len();
            behind.retain(|row| !is_current(&vault, row));
            if behind.is_empty() {
                return Ok(done);
            }
            let ready = all - behind.len();
            for (at, rows) in behind.chunks(BATCH).enumerate() {
                let rewrapped = rows.iter().map(|row| rewrap(&vault, row)).collect::<Result<_, _>>()?;
                done += usize::try_from(self.store.rewrap_secrets(rewrapped).await?).unwrap_or(usize::MAX);
                progress(ready + at * BATCH + rows.len(), all);
            }
        }
    }
}

fn is_current(vault: &Arc<Vault>, row: &SecretRow) -> bool {
    Sealed::from_bytes(&row.sealed).is_ok_and(|sealed| vault.is_current(&sealed))
}

fn rewrap(vault: &Vault, row: &SecretRow) -> Result<Rewrapped, SecretError> {
    let refused = |source| refused(&row.key, source);
    let context = context(&row.key, row.version, row.created_at, &SealedFor::from_row(&row.policy));
    let sealed = Sealed::from_bytes(&row.sealed).map_err(refused)?;
    let rewrapped = vault.rewrap(&context, &sealed).map_err(|error| match error {
        RewrapError::Random(source) => SecretError::Seal(source.into()),
        RewrapError::Refused(source) => refused(source),
        _ => refused(OpenError::Refused),
    })?;
    Ok(Rewrapped { key: row.key.clone(), from: row.sealed.clone(), to: rewrapped.as_bytes().into() })
}

/// A key file has room for three times as many.
const MAX_KEYS: usize = 200;
/// How many secrets share a transaction: others' changes wait for it.
const BATCH: usize = 32;
