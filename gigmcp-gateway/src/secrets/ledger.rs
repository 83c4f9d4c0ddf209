//! The ledger: which secrets there are, and which sealing of each is the newest.
//!
//! A row of a secret is bound to what stands in it, so it can be put back when it is not the newest any more. The ledger is
//! one more thing that the vault sealed, of which there is one: a hash of the list of all secrets, numbered by a counter. Who
//! has no key cannot make one that fits an older row; an older ledger fits the older rows that it was made for, all
//! together.

use std::collections::HashMap;

use gigmcp_vault::{Context, PolicyHash, Reason, Sealed, SecretBytes, Vault};
use sha2::{Digest, Sha256};

use super::SecretError;
use crate::store::{LedgerChange, LedgerRow, SecretKey, SecretRow, now_millis};

/// One secret as the ledger knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) key: SecretKey,
    pub(super) version: i64,
    /// Names one sealing, and stays as it is when the key is wrapped anew; zeros for what is no sealed secret.
    commitment: [u8; 32],
}

impl Entry {
    pub(super) fn of(key: &SecretKey, version: i64, sealed: &[u8]) -> Self {
        let commitment = Sealed::from_bytes(sealed).map_or([0; 32], |sealed| *sealed.commitment());
        Self { key: key.clone(), version, commitment }
    }
}

/// The list that a ledger was proven to be of.
#[derive(Debug)]
pub(super) struct Ledger {
    /// As it lies in the database; what does not open and tells of nothing stands here too, to be replaced.
    pub(super) row: Option<LedgerRow>,
    /// Proven, other than what stands in the row; 0 if nothing was proven.
    pub(super) counter: i64,
    entries: HashMap<SecretKey, Entry>,
}

impl Ledger {
    /// Nothing was sealed yet, or nothing of what was is there any more.
    pub(super) fn nothing(row: Option<LedgerRow>) -> Self {
        Self { row, counter: 0, entries: HashMap::new() }
    }

    /// Opens the ledger and compares it with all secrets there are.
    pub(super) fn prove(vault: &Vault, row: LedgerRow, entries: Vec<Entry>) -> Result<Self, SecretError> {
        let opened = u64::try_from(row.counter).ok().and_then(|counter| {
            let sealed = Sealed::from_bytes(&row.sealed).ok()?;
            vault.open(&context(counter), &sealed).ok()
        });
        let Some(opened) = opened else {
            return match entries.is_empty() {
                // No secret is lost with the key that sealed it: as good as none.
                true => Ok(Self::nothing(Some(row))),
                false => Err(SecretError::LedgerRefused),
            };
        };
        let digest = digest(&entries);
        match opened.expose(Reason::new("compare with the secrets"), |listed| listed == digest) {
            true => Ok(Self::of(row, entries)),
            false => Err(SecretError::LedgerDiffers),
        }
    }

    fn of(row: LedgerRow, entries: Vec<Entry>) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        Self { counter: row.counter, row: Some(row), entries }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entry(&self, key: &SecretKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The row, if it is the newest of its secret; `None` if the secret is not set, and was not taken away.
    pub(super) fn newest(&self, key: &SecretKey, row: Option<SecretRow>) -> Result<Option<SecretRow>, SecretError> {
        let found = row.as_ref().map(|row| Entry::of(key, row.version, &row.sealed));
        match found.as_ref() == self.entry(key) {
            true => Ok(row),
            false => Err(SecretError::Replaced { server: key.server.to_string(), name: key.name.to_string() }),
        }
    }

    /// The ledger after this one, of the list as `change` leaves it.
    pub(super) fn next(
        &self,
        vault: &Vault,
        change: impl FnOnce(&mut Vec<Entry>),
    ) -> Result<LedgerChange, SecretError> {
        let mut entries: Vec<Entry> = self.entries.values().cloned().collect();
        change(&mut entries);
        // The first of all begins with the time, so that one that is begun anew is not taken for an older one.
        let counter = match self.entries.is_empty() {
            true => now_millis().max(self.counter + 1),
            false => self.counter + 1,
        };
        Ok(LedgerChange { from: self.row.clone(), to: seal(vault, counter, &entries)? })
    }
}

/// A ledger of what there is, whatever was known before of it.
pub(super) fn accept(vault: &Vault, from: Option<LedgerRow>, entries: &[Entry]) -> Result<LedgerChange, SecretError> {
    let before = from.as_ref().filter(|row| opens(vault, row)).map_or(0, |row| row.counter);
    let to = seal(vault, now_millis().max(before + 1), entries)?;
    Ok(LedgerChange { from, to })
}

/// Whether the active key of the vault sealed the ledger, so that nobody who lacks it can seal a secret.
pub(super) fn is_current(vault: &Vault, row: &LedgerRow) -> bool {
    Sealed::from_bytes(&row.sealed).is_ok_and(|sealed| vault.is_current(&sealed))
}

fn opens(vault: &Vault, row: &LedgerRow) -> bool {
    let sealed = Sealed::from_bytes(&row.sealed).ok();
    let counter = u64::try_from(row.counter).ok();
    sealed.zip(counter).is_some_and(|(sealed, counter)| vault.open(&context(counter), &sealed).is_ok())
}

fn seal(vault: &Vault, counter: i64, entries: &[Entry]) -> Result<LedgerRow, SecretError> {
    let sealed = vault.seal(&context(counter.unsigned_abs()), SecretBytes::new(digest(entries).to_vec()))?;
    Ok(LedgerRow { counter, sealed: sealed.as_bytes().into() })
}

/// Each field preceded by its length, so that two lists have one digest only if they are equal.
fn digest(entries: &[Entry]) -> [u8; 32] {
    let fields =
        |entry: &'_ Entry| [entry.key.owner.to_string(), entry.key.server.to_string(), entry.key.name.to_string()];
    let mut sorted: Vec<([String; 3], &Entry)> = entries.iter().map(|entry| (fields(entry), entry)).collect();
    sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut digest = Sha256::new().chain_update("gigmcp secret ledger v1");
    for (names, entry) in sorted {
        for name in names {
            digest.update(u32::try_from(name.len()).expect("names are short").to_be_bytes());
            digest.update(name);
        }
        digest.update(entry.version.to_be_bytes());
        digest.update(entry.commitment);
    }
    digest.finalize().into()
}

/// No secret has this purpose.
fn context(counter: u64) -> Context {
    let name = "a short name";
    Context {
        tenant: "gigmcp".parse().expect(name),
        vault: "gigmcp".parse().expect(name),
        secret: "ledger".parse().expect(name),
        version: counter,
        purpose: "ledger".parse().expect(name),
        created_at: 0,
        policy: PolicyHash::of(&[]),
    }
}
