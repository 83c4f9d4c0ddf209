//! Opens everything, and says what does not.

use std::sync::Arc;

use gigmcp_vault::{KeyId, OpenError, Sealed, Vault};

use super::{SecretError, Secrets, context, ledger::Ledger, refused};
use crate::{
    spec::SealedFor,
    store::{SecretRow, Told},
};

/// All secrets, and which of them open.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) rows: Vec<CheckedRow>,
    pub(super) ledger: Result<Arc<Ledger>, SecretError>,
}

/// One secret, and whether it opens.
#[derive(Debug)]
pub(crate) struct CheckedRow {
    pub(crate) row: SecretRow,
    /// Which key sealed it, as its head says.
    pub(crate) key: Option<(KeyId, u32)>,
    pub(crate) refusal: Option<SecretError>,
}

impl Checked {
    /// What is wrong with the ledger, if something is.
    pub(crate) fn ledger_refusal(&self) -> Option<&SecretError> {
        self.ledger.as_ref().err()
    }

    /// The first thing that is wrong, with what to do about it.
    pub(super) fn into_sound(self) -> Result<(Vec<SecretRow>, Arc<Ledger>), SecretError> {
        let ledger = self.ledger?;
        let rows = self.rows.into_iter().map(|row| row.refusal.map_or(Ok(row.row), Err));
        Ok((rows.collect::<Result<_, _>>()?, ledger))
    }
}

impl Secrets {
    /// Which key seals now.
    pub(crate) fn active_key(&self) -> String {
        let vault = self.keys.vault();
        format!("{} version {}", vault.key_ring().active_id(), vault.key_ring().active_version())
    }

    /// Opens every secret, and the ledger.
    pub(crate) async fn check(&self) -> Result<Checked, SecretError> {
        let mut rows = Vec::new();
        for row in self.store.secrets().await? {
            let sealed = Sealed::from_bytes(&row.sealed);
            let vault = match &sealed {
                Ok(sealed) => self.keys.vault_for(sealed).await,
                Err(_) => self.keys.vault(),
            };
            let key = sealed.as_ref().ok().map(|sealed| (sealed.key_id(), sealed.key_version()));
            let refusal = opens(&vault, &row).err().map(|source| refused(&row.key, source));
            rows.push(CheckedRow { row, key, refusal });
        }
        // A database that does not answer is no fault of the ledger.
        let ledger = match self.verify(&self.store).await {
            Err(SecretError::Store(error)) => return Err(error.into()),
            ledger => ledger,
        };
        Ok(Checked { rows, ledger })
    }

    /// Checks that the master key is the one that sealed what is stored, and that the ledger tells of it. A secret that does
    /// not open while others do is a fault of its own; when none opens, the key is another one.
    pub(crate) async fn check_key(&self) -> Result<(), SecretError> {
        let checked = self.check().await?;
        let all = !checked.rows.is_empty() && checked.rows.iter().all(|row| row.refusal.is_some());
        for error in checked.rows.into_iter().filter_map(|row| row.refusal) {
            match all {
                true => return Err(SecretError::OtherKey { source: Box::new(error) }),
                false => tracing::warn!("{error}"),
            }
        }
        checked.ledger.map(drop)
    }

    /// Seals a ledger of the secrets as they are now, whatever was known of them before. Says how many there are.
    pub(crate) async fn accept(&self, told: Told) -> Result<usize, SecretError> {
        let (rows, from) = self.store.secrets_and_ledger().await?;
        let entries: Vec<_> = rows.iter().map(|row| super::Entry::of(&row.key, row.version, &row.sealed)).collect();
        let change = super::ledger::accept(&self.keys.vault(), from, &entries)?;
        self.store.accept_ledger(change, told).await?;
        Ok(entries.len())
    }
}

/// Whether a row opens as what it says it is.
pub(super) fn opens(vault: &Vault, row: &SecretRow) -> Result<(), OpenError> {
    let context = context(&row.key, row.version, row.created_at, &SealedFor::from_row(&row.policy));
    Sealed::from_bytes(&row.sealed).and_then(|sealed| vault.open(&context, &sealed)).map(drop)
}
