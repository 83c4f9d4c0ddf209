//! The key that signs the chain: one of its own, which the vault seals like any other secret, so that it outlives the
//! keys of the vault.

use ed25519_dalek::SigningKey;
use gigmcp_vault::{Context, OpenError, PolicyHash, Reason, RewrapError, SealError, Sealed, SecretBytes, Vault};
use zeroize::Zeroizing;

use super::{Link, PublicKey, Statement, StatementKind};
use crate::store::{Store, StoreError, now_millis, now_seconds};

/// Signs what is said of the chain.
pub(crate) struct Signer {
    key: SigningKey,
    /// The keys that the vault vouches for, this one among them.
    trusted: Vec<PublicKey>,
}

/// A key as it lies in the database.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) id: String,
    pub(crate) created_at: i64,
    pub(crate) public_key: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SignerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the key that signs the audit trail cannot be sealed")]
    Seal(#[from] SealError),
    #[error("the key that signs the audit trail cannot be sealed with the new master key")]
    Rewrap(#[from] RewrapError),
    #[error("no random numbers")]
    Random(#[from] getrandom::Error),
}

impl Signer {
    /// The newest key that this vault opens; if there is none, a new one. All that it opens are sealed anew if the key of the
    /// vault is another by now.
    pub(crate) async fn open(store: &Store, vault: &Vault) -> Result<Self, SignerError> {
        loop {
            let rows = store.audit_keys().await?;
            let mut newest = None;
            let mut trusted = Vec::new();
            for row in &rows {
                if let Ok(key) = row.open(vault) {
                    row.rewrap(store, vault).await?;
                    trusted.push(PublicKey(key.verifying_key()));
                    newest = Some(key);
                }
            }
            if let Some(key) = newest {
                return Ok(Self { key, trusted });
            }
            if !rows.is_empty() {
                tracing::warn!(
                    "the master key opens no key that signed the audit trail; a new one signs it from now on"
                );
            }
            // If another gateway made one at the same time, that one counts.
            if let Some(signer) = Self::create(store, vault, rows.len()).await? {
                return Ok(signer);
            }
        }
    }

    /// Seals anew, with the vault's key of now, every key that the vault opens.
    pub(crate) async fn rewrap_all(store: &Store, vault: &Vault) -> Result<(), SignerError> {
        for row in store.audit_keys().await? {
            if row.open(vault).is_ok() {
                row.rewrap(store, vault).await?;
            }
        }
        Ok(())
    }

    /// The keys that this vault vouches for: nobody else can have put them into the database.
    pub(crate) async fn trusted(store: &Store, vault: &Vault) -> Result<Vec<PublicKey>, StoreError> {
        let rows = store.audit_keys().await?;
        let keys = rows.iter().filter_map(|row| row.open(vault).ok());
        Ok(keys.map(|key| PublicKey(key.verifying_key())).collect())
    }

    async fn create(store: &Store, vault: &Vault, seen: usize) -> Result<Option<Self>, SignerError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)?;
        let key = SigningKey::from_bytes(&seed);
        let public = PublicKey(key.verifying_key());
        let (id, created_at) = (public.id(), now_seconds());
        let sealed = vault.seal(&context(&id, created_at), SecretBytes::new(seed.to_vec()))?;
        let (public_key, sealed) = (public.as_bytes().to_vec(), sealed.as_bytes().to_vec());
        if !store.add_audit_key(KeyRow { id, created_at, public_key, sealed }, seen).await? {
            return Ok(None);
        }
        tracing::info!("a new key signs the audit trail: {public}");
        Ok(Some(Self::from_key(key)))
    }

    pub(super) fn from_key(key: SigningKey) -> Self {
        let trusted = vec![PublicKey(key.verifying_key())];
        Self { key, trusted }
    }

    pub(super) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Whether one of our keys signed it.
    pub(crate) fn vouches_for(&self, statement: &Statement) -> bool {
        self.trusted.iter().any(|key| key.id() == statement.signer && statement.is_signed_by(key))
    }

    /// What checks its signatures.
    #[cfg(test)]
    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    pub(crate) fn sign(&self, kind: StatementKind, link: Link) -> Statement {
        Statement::sign(kind, link, now_millis(), &self.key)
    }
}

impl KeyRow {
    fn open(&self, vault: &Vault) -> Result<SigningKey, OpenError> {
        let sealed = Sealed::from_bytes(&self.sealed)?;
        let seed = vault.open(&context(&self.id, self.created_at), &sealed)?;
        let seed =
            seed.expose(Reason::new("sign the audit trail"), |seed| <[u8; 32]>::try_from(seed).map(Zeroizing::new));
        let key = SigningKey::from_bytes(&*seed.map_err(|_| OpenError::Refused)?);
        match PublicKey(key.verifying_key()).id() == self.id {
            true => Ok(key),
            false => Err(OpenError::Refused),
        }
    }

    /// Wraps it with the vault's key of now.
    async fn rewrap(&self, store: &Store, vault: &Vault) -> Result<(), SignerError> {
        let sealed = Sealed::from_bytes(&self.sealed).map_err(RewrapError::from)?;
        if vault.is_current(&sealed) {
            return Ok(());
        }
        let sealed = vault.rewrap(&context(&self.id, self.created_at), &sealed)?;
        Ok(store.put_audit_key(Self { sealed: sealed.as_bytes().to_vec(), ..self.clone() }).await?)
    }
}

/// What a sealed key is bound to.
fn context(id: &str, created_at: i64) -> Context {
    let name = "a short name";
    Context {
        tenant: "gigmcp".parse().expect(name),
        vault: "gigmcp".parse().expect(name),
        secret: format!("audit/{id}").parse().expect(name),
        version: 1,
        purpose: PURPOSE.parse().expect(name),
        created_at: created_at.unsigned_abs(),
        policy: PolicyHash::of(&[]),
    }
}

/// What the vault is told that the key is for.
pub(crate) const PURPOSE: &str = "audit-signing";

#[cfg(test)]
mod tests {
    use gigmcp_vault::{KeyId, KeyRing};

    use super::*;
    use crate::store::testing::on_both;

    fn ring(key: u8) -> KeyRing {
        let bytes = SecretBytes::new(vec![key; 32]);
        KeyRing::from_key(KeyId::from_bytes([key; 16]), 1, &bytes).expect("a key of 32 bytes")
    }

    #[tokio::test]
    async fn gateways_that_start_at_once_make_one_key() {
        on_both(async |test| {
            let (store, vault) = (test.open(), Vault::new(ring(1)));
            let (one, other) = tokio::join!(Signer::open(&store, &vault), Signer::open(&store, &vault));
            let (one, other) = (one.expect("a key").public_key(), other.expect("a key").public_key());
            assert_eq!(one, other);
            assert_eq!(store.audit_keys().await.expect("it can be read").len(), 1);
        })
        .await;
    }

    #[tokio::test]
    async fn the_key_outlives_the_keys_that_seal_it_and_only_they_vouch_for_it() {
        on_both(async |test| {
            let store = test.open();
            let first = Signer::open(&store, &Vault::new(ring(1))).await.expect("a new key").public_key();
            let again = Signer::open(&store, &Vault::new(ring(1))).await.expect("the same key").public_key();
            assert_eq!(again, first);

            let mut rotated = ring(1);
            rotated.rotate().expect("random numbers");
            let rotated = Vault::new(rotated);
            assert_eq!(Signer::open(&store, &rotated).await.expect("the same key").public_key(), first);
            let row = store.audit_keys().await.expect("it can be read").remove(0);
            assert!(rotated.is_current(&Sealed::from_bytes(&row.sealed).expect("it is sealed")));
            assert_eq!(Signer::trusted(&store, &rotated).await.expect("it can be read"), std::slice::from_ref(&first));

            let other = Vault::new(ring(2));
            assert_eq!(Signer::trusted(&store, &other).await.expect("it can be read"), []);
            assert_ne!(Signer::open(&store, &other).await.expect("a new key").public_key(), first);
            // Put into the database by somebody who cannot seal.
            let forged = Signer::for_test(3).public_key();
            let (id, public_key) = (forged.id(), forged.as_bytes().to_vec());
            store.put_audit_key(KeyRow { id, public_key, ..row }).await.expect("it is written");
            assert_eq!(Signer::trusted(&store, &rotated).await.expect("it can be read"), std::slice::from_ref(&first));
        })
        .await;
    }
}
