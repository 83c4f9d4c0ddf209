//! Secrets between the database and the vault: what is bound to what when one is sealed.

use gigmcp_egress::HostPattern;
use gigmcp_vault::{Context, OpenError, PolicyHash, SealError, Sealed, SecretBytes, Vault};

use crate::{
    store::{Asker, SecretKey, SecretRow, Store, StoreError, now_seconds},
    trail::{PublicKey, Signer, SignerError},
};

/// The secrets of this installation.
pub(crate) struct Secrets {
    store: Store,
    vault: Vault,
}

/// Why a secret could not be stored or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SecretError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no stored secret opens with this master key; restore the key file or GIG_MASTER_KEY that sealed them")]
    OtherKey { source: Box<SecretError> },
    #[error("the secret cannot be sealed")]
    Seal(#[from] SealError),
    #[error(
        "the secret {name} of {server} does not open: it was set for another host, it was moved or changed in the database, or the master key is another one; set it again with `gigmcp-gateway secret set`"
    )]
    Refused { server: String, name: String, source: OpenError },
}

impl Secrets {
    pub(crate) fn new(store: Store, vault: Vault) -> Self {
        Self { store, vault }
    }

    /// What signs the audit trail.
    pub(crate) async fn audit_signer(&self) -> Result<Signer, SignerError> {
        Signer::open(&self.store, &self.vault).await
    }

    /// What checks the signatures of the audit trail.
    pub(crate) async fn audit_keys(&self) -> Result<Vec<PublicKey>, StoreError> {
        Signer::trusted(&self.store, &self.vault).await
    }

    /// Seals `value` for its owner, server, name and host, and stores it. Returns its version.
    pub(crate) async fn put(&self, key: SecretKey, host: &HostPattern, value: SecretBytes) -> Result<i64, SecretError> {
        let version = self.store.secret(key.clone()).await?.map_or(1, |row| row.version + 1);
        let created_at = now_seconds();
        let policy = host.to_string();
        let sealed = self.vault.seal(&context(&key, version, created_at, &policy), value)?;
        let sealed = sealed.as_bytes().to_vec();
        self.store.put_secret(SecretRow { key, version, policy, created_at, sealed }).await?;
        Ok(version)
    }

    /// Checks that the master key is the one that sealed what is stored. A secret that does not open while others do is
    /// a fault of its own; when none opens, the key is another one.
    pub(crate) async fn check_key(&self) -> Result<(), SecretError> {
        let rows = self.store.secrets().await?;
        let count = rows.len();
        let mut refused = Vec::new();
        for row in rows {
            let context = context(&row.key, row.version, row.created_at, &row.policy);
            let opened = Sealed::from_bytes(&row.sealed).and_then(|sealed| self.vault.open(&context, &sealed));
            refused.extend(opened.err().map(|source| (row.key, source)));
        }
        let all = count > 0 && refused.len() == count;
        for (key, source) in refused {
            let error = SecretError::Refused { server: key.server.to_string(), name: key.name.to_string(), source };
            match all {
                true => return Err(SecretError::OtherKey { source: Box::new(error) }),
                false => tracing::warn!("{error}"),
            }
        }
        Ok(())
    }

    /// Opens the secret of that key for `host`, if one is set.
    ///
    /// The host asked for is part of what was sealed: a secret set for one host does not open for another.
    pub(crate) async fn open(
        &self,
        asker: Asker,
        key: SecretKey,
        host: &HostPattern,
    ) -> Result<Option<SecretBytes>, SecretError> {
        let Some(row) = self.store.in_turn_of(asker).secret(key.clone()).await? else { return Ok(None) };
        let context = context(&key, row.version, row.created_at, &host.to_string());
        let opened = Sealed::from_bytes(&row.sealed).and_then(|sealed| self.vault.open(&context, &sealed));
        opened.map(Some).map_err(|source| SecretError::Refused {
            server: key.server.to_string(),
            name: key.name.to_string(),
            source,
        })
    }
}

/// Everything a sealed secret is bound to.
fn context(key: &SecretKey, version: i64, created_at: i64, host: &str) -> Context {
    Context {
        tenant: key.owner.as_str().parse().expect("an owner has 1 to 64 bytes"),
        vault: "gigmcp".parse().expect("a short name"),
        secret: format!("{}/{}", key.server, key.name).parse().expect("both names are short"),
        version: version.unsigned_abs(),
        purpose: "egress".parse().expect("a short name"),
        created_at: created_at.unsigned_abs(),
        policy: PolicyHash::of(&[("hosts", &[host]), ("place", &["header"])]),
    }
}
