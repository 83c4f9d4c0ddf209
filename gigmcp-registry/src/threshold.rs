//! Whether enough of the trusted keys have signed a message.

use std::collections::BTreeSet;

use crate::keys::{KeyId, TrustRoot};
use crate::signatures::Signatures;

impl TrustRoot {
    /// Signatures by other keys are ignored, so that keys can be added and removed; a wrong signature by a trusted key
    /// is an error even if enough others are right. A key counts once.
    pub(crate) fn check(&self, message: &[u8], signatures: &Signatures) -> Result<(), Untrusted> {
        let mut signed_by = BTreeSet::new();
        for signature in signatures.as_slice() {
            let Some(key) = self.key(&signature.key_id) else {
                continue;
            };
            if !key.verifies(message, signature) {
                return Err(Untrusted::WrongSignature { key: signature.key_id });
            }
            signed_by.insert(signature.key_id);
        }
        if signed_by.len() < self.threshold().get() {
            return Err(Untrusted::Threshold { signed: signed_by.len(), needed: self.threshold().get() });
        }
        Ok(())
    }
}

/// Why the signatures of a document do not make it trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// A trusted key's signature does not fit these bytes: document or signature were changed.
    #[error("the signature of key {key} is wrong")]
    WrongSignature {
        /// The key.
        key: KeyId,
    },
    /// Too few of the trusted keys have signed.
    #[error("{signed} of the trusted keys have signed, {needed} must")]
    Threshold {
        /// How many have signed.
        signed: usize,
        /// How many must.
        needed: usize,
    },
}
