//! Secrets between the database and the vault: what is bound to what when one is sealed.

mod check;
mod ledger;
mod owner;
mod rotation;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use gigmcp_vault::{Context, OpenError, PolicyHash, SealError, Sealed, SecretBytes, Vault};

pub(crate) use rotation::Rotation;

use crate::{
    kept::{Kept, KeptError},
    keys::Keys,
    spec::{SealedFor, ServerName},
    store::{Asker, SecretKey, SecretRow, Store, StoreError, Told, now_seconds},
    trail::{PublicKey, Signer, SignerError},
};
use ledger::{Entry, Ledger};

/// The secrets of this installation.
pub(crate) struct Secrets {
    store: Store,
    keys: Keys,
    /// The newest ledger that was seen and proven to be ours. Nobody can go back behind it.
    ledger: Mutex<Option<Arc<Ledger>>>,
    /// Those of one process who change secrets wait for each other; with other processes they contend.
    change: tokio::sync::Mutex<()>,
    /// What servers keep for owners, which goes when all that is theirs does.
    kept: Option<Kept>,
}

/// Why a secret could not be stored or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SecretError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("no stored secret opens with this master key; restore the key file or GIG_MASTER_KEY that sealed them")]
    OtherKey { source: Box<SecretError> },
    #[error("the secret cannot be sealed")]
    Seal(#[from] SealError),
    #[error(
        "the secret {name} of {server} does not open: it was set for other hosts or another place, it was moved or changed in the database, or the master key is another one; set it again with `gigmcp-gateway secret set`"
    )]
    Refused { server: String, name: String, source: OpenError },
    #[error(
        "the secret {name} of {server} is not the one that was set last: an older one was put back into the database, or it was taken out of it; set it again with `gigmcp-gateway secret set`"
    )]
    Replaced { server: String, name: String },
    #[error(
        "the database holds secrets and no ledger of them: it comes from a version of gigmcp without one, or somebody took the ledger away; if `gigmcp-gateway secret list` shows what you expect, accept it with `gigmcp-gateway secret accept --yes`"
    )]
    LedgerMissing,
    #[error(
        "the ledger of the secrets does not open with this master key; restore the database or the key file from your backup, or look at `gigmcp-gateway secret list` and accept what it shows with `gigmcp-gateway secret accept --yes`"
    )]
    LedgerRefused,
    #[error(
        "the secrets in the database are not those of its ledger: one was put back, changed, added or taken away by something else than gigmcp; restore the database from your backup, or look at `gigmcp-gateway secret list` and accept what it shows with `gigmcp-gateway secret accept --yes`"
    )]
    LedgerDiffers,
    #[error(
        "the database shows secrets of earlier than what this process has seen: if you restored a backup of it, restart the gateway; if not, somebody put back an older copy"
    )]
    LedgerOlder,
}

impl Secrets {
    pub(crate) fn new(store: Store, keys: Keys) -> Self {
        Self { store, keys, ledger: Mutex::default(), change: tokio::sync::Mutex::default(), kept: None }
    }

    /// With what servers keep in this data directory.
    pub(crate) fn with_kept(self, kept: Kept) -> Self {
        Self { kept: Some(kept), ..self }
    }

    /// What signs the audit trail.
    pub(crate) async fn audit_signer(&self) -> Result<Signer, SignerError> {
        Signer::open(&self.store, &*self.audit_vault().await?).await
    }

    /// What checks the signatures of the audit trail.
    pub(crate) async fn audit_keys(&self) -> Result<Vec<PublicKey>, StoreError> {
        Signer::trusted(&self.store, &*self.audit_vault().await?).await
    }

    /// Seals the keys of the audit trail with the active key.
    async fn rewrap_audit_keys(&self) -> Result<(), SignerError> {
        Signer::rewrap_all(&self.store, &self.keys.vault()).await
    }

    /// The vault with what opens the keys of the audit trail, also if another process has rotated the master key.
    async fn audit_vault(&self) -> Result<Arc<Vault>, StoreError> {
        for row in self.store.audit_keys().await? {
            if let Ok(sealed) = Sealed::from_bytes(&row.sealed) {
                self.keys.vault_for(&sealed).await;
            }
        }
        Ok(self.keys.vault())
    }

    /// Seals `value` for its owner, server, name, hosts and place, and stores it. Returns its version.
    pub(crate) async fn put(
        &self,
        key: SecretKey,
        sealed_for: &SealedFor,
        value: SecretBytes,
        told: Told,
    ) -> Result<i64, SecretError> {
        let _change = self.change.lock().await;
        let mut value = Some(value);
        let mut earlier = None;
        for _ in 0..MAX_TRIES {
            let (ledger, _) = self.current(&self.store, &key).await?;
            let version = ledger.entry(&key).map_or(1, |entry| entry.version + 1);
            // The ledger was opened, so this vault has the key that sealed it: a rotation begins with the ledger, and no
            // secret is sealed with an older key once that was done.
            let vault = self.keys.vault();
            let created_at = now_seconds();
            let context = context(&key, version, created_at, sealed_for);
            // What was sealed in vain is the only place where the value still is.
            let value = match (value.take(), earlier.take()) {
                (Some(value), _) => value,
                (None, Some((context, sealed))) => {
                    vault.open(&context, &sealed).map_err(|source| refused(&key, source))?
                }
                (None, None) => unreachable!("it was sealed"),
            };
            let sealed = vault.seal(&context, value)?;
            let entry = Entry::of(&key, version, sealed.as_bytes());
            let change = ledger.next(&vault, |entries| {
                entries.retain(|other| other.key != key);
                entries.push(entry);
            })?;
            let row = SecretRow {
                key: key.clone(),
                version,
                policy: sealed_for.to_string(),
                created_at,
                sealed: sealed.as_bytes().into(),
            };
            match self.store.put_secret(row, change, told.clone()).await {
                Err(StoreError::Changed) => earlier = Some((context, sealed)),
                done => return done.map(|()| version).map_err(SecretError::from),
            }
        }
        Err(StoreError::Changed.into())
    }

    /// Deletes a secret.
    pub(crate) async fn delete(&self, key: SecretKey, told: Told) -> Result<(), SecretError> {
        let _change = self.change.lock().await;
        for _ in 0..MAX_TRIES {
            let (ledger, _) = self.current(&self.store, &key).await?;
            let change = ledger.next(&self.keys.vault(), |entries| {
                entries.retain(|other| other.key != key);
            })?;
            match self.store.delete_secret(key.clone(), change, told.clone()).await {
                Err(StoreError::Changed) => {}
                done => return Ok(done?),
            }
        }
        Err(StoreError::Changed.into())
    }

    /// Removes a server with its place in profiles and its secrets.
    pub(crate) async fn remove_server(&self, name: ServerName, told: Told) -> Result<(), SecretError> {
        let _change = self.change.lock().await;
        for _ in 0..MAX_TRIES {
            let ledger = self.verify(&self.store).await?;
            let change = ledger.next(&self.keys.vault(), |entries| {
                entries.retain(|entry| entry.key.server != name);
            })?;
            match self.store.remove_server(name.clone(), Some(change), told.clone()).await {
                Err(StoreError::Changed) => {}
                done => return Ok(done?),
            }
        }
        Err(StoreError::Changed.into())
    }

    /// Opens the secret of that key for these hosts and that place, if one is set.
    ///
    /// They are part of what was sealed: a secret set for one host does not open for another.
    pub(crate) async fn open(
        &self,
        asker: Asker,
        key: SecretKey,
        sealed_for: &SealedFor,
    ) -> Result<Option<SecretBytes>, SecretError> {
        let store = self.store.in_turn_of(asker);
        let mut refusal = None;
        // The second time for a row that a rotation changed after it was read.
        for _ in 0..2 {
            let (ledger, row) = self.current(&store, &key).await?;
            let Some(row) = ledger.newest(&key, row)? else { return Ok(None) };
            let context = context(&key, row.version, row.created_at, sealed_for);
            let Ok(sealed) = Sealed::from_bytes(&row.sealed) else { return Err(refused(&key, OpenError::Refused)) };
            let vault = self.keys.vault_for(&sealed).await;
            match vault.open(&context, &sealed) {
                Ok(secret) => return Ok(Some(secret)),
                Err(source) => refusal = Some(source),
            }
            if vault.key_ring().holds(sealed.key_id(), sealed.key_version()) {
                break;
            }
        }
        Err(refused(&key, refusal.expect("it was tried")))
    }

    /// The ledger, proven to be ours and the newest, and a secret's row as it stood with it.
    async fn current(&self, store: &Store, key: &SecretKey) -> Result<(Arc<Ledger>, Option<SecretRow>), SecretError> {
        for _ in 0..MAX_TRIES {
            let (row, ledger) = store.secret_and_ledger(key.clone()).await?;
            match self.newest() {
                Some(known) if known.row == ledger => return Ok((known, row)),
                _ => {}
            }
            // A new one, which has to be proven; then what was read before is read again.
            let proven = self.verify(store).await?;
            if proven.is_empty() && row.is_none() {
                return Ok((proven, None));
            }
        }
        Err(StoreError::Changed.into())
    }

    /// Proves the ledger in the database against all secrets.
    async fn verify(&self, store: &Store) -> Result<Arc<Ledger>, SecretError> {
        let known = self.newest();
        let (rows, row) = store.secrets_and_ledger().await?;
        let entries: Vec<Entry> = rows.iter().map(|row| Entry::of(&row.key, row.version, &row.sealed)).collect();
        let Some(row) = row else {
            return match entries.is_empty() {
                true => Ok(Arc::new(Ledger::nothing(None))),
                false => Err(SecretError::LedgerMissing),
            };
        };
        let older = |known: Arc<Ledger>| known.row.as_ref() != Some(&row) && known.counter >= row.counter;
        if known.is_some_and(older) {
            // Read after what is known, and yet older.
            return Err(SecretError::LedgerOlder);
        }
        let vault = match Sealed::from_bytes(&row.sealed) {
            Ok(sealed) => self.keys.vault_for(&sealed).await,
            Err(_) => self.keys.vault(),
        };
        let ledger = Arc::new(Ledger::prove(&vault, row, entries)?);
        let mut newest = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|newest| newest.counter < ledger.counter) {
            *newest = Some(Arc::clone(&ledger));
        }
        Ok(ledger)
    }

    fn newest(&self) -> Option<Arc<Ledger>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn refused(key: &SecretKey, source: OpenError) -> SecretError {
    SecretError::Refused { server: key.server.to_string(), name: key.name.to_string(), source }
}

/// Everything a sealed secret is bound to.
fn context(key: &SecretKey, version: i64, created_at: i64, sealed_for: &SealedFor) -> Context {
    Context {
        tenant: key.owner.as_str().parse().expect("an owner has 1 to 64 bytes"),
        vault: "gigmcp".parse().expect("a short name"),
        secret: format!("{}/{}", key.server, key.name).parse().expect("both names are short"),
        version: version.unsigned_abs(),
        purpose: "egress".parse().expect("a short name"),
        created_at: created_at.unsigned_abs(),
        policy: PolicyHash::of(&[("hosts", &sealed_for.hosts()[..]), ("place", &[sealed_for.place()])]),
    }
}

/// How often a change is tried that others come before.
const MAX_TRIES: usize = 64;
