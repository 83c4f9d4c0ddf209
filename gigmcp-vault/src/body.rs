//! The body of a sealed secret: what is encrypted with the data key, and the commitment that fixes which key that was.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{Tag, XNonce};
use hkdf::Hkdf;
use sha2::{Digest, Sha512};
use subtle::{Choice, ConstantTimeEq};

use crate::key::{Key, KeyId};
use crate::memory::Protected;
use crate::sealed::PREFIX;
use crate::secret::SecretBytes;

/// What the data key, salt, nonce and context of one secret determine together.
///
/// XChaCha20-Poly1305 alone does not commit to its key: whoever knows two keys can build one ciphertext that opens
/// under both. The commitment fixes key, nonce, suite and context, and is compared before anything is decrypted.
pub(crate) struct Body {
    encryption_key: Key,
    commitment: [u8; 32],
    info: [u8; 64],
    nonce: [u8; 24],
}

impl Body {
    /// `context` is the canonical encoding.
    pub(crate) fn derive(data_key: &Key, salt: &[u8; 32], nonce: &[u8; 24], context: &[u8]) -> Self {
        let info: [u8; 64] = Sha512::new()
            .chain_update(PREFIX)
            .chain_update(salt)
            .chain_update(nonce)
            .chain_update(context)
            .finalize()
            .into();
        let extracted = Hkdf::<Sha512>::new(Some(salt), data_key.as_bytes());
        let encryption_key = Key::fill(|key| extracted.expand_multi_info(&[ENCRYPTION_LABEL, &info], key))
            .expect("32 bytes are fewer than HKDF can give");
        let mut commitment = [0; 32];
        extracted
            .expand_multi_info(&[COMMITMENT_LABEL, &info], &mut commitment)
            .expect("32 bytes are fewer than HKDF can give");
        Self { encryption_key, commitment, info, nonce: *nonce }
    }

    pub(crate) fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    #[cfg(test)]
    pub(crate) fn encryption_key(&self) -> &[u8; 32] {
        self.encryption_key.as_bytes()
    }

    pub(crate) fn commits_to(&self, stored: &[u8; 32]) -> Choice {
        self.commitment.as_slice().ct_eq(stored.as_slice())
    }

    /// The ciphertext and its tag.
    pub(crate) fn seal(&self, secret: &[u8]) -> (Vec<u8>, [u8; 16]) {
        let mut ciphertext = vec![0; secret.len()];
        let in_out = InOutBuf::new(secret, &mut ciphertext).expect("both have one length");
        let tag = self
            .encryption_key
            .cipher()
            .encrypt_inout_detached(&XNonce::from(self.nonce), &self.info, in_out)
            .expect("the vault bounds the length");
        (ciphertext, tag.into())
    }

    /// The secret, if the tag is right. Call only after [`commits_to`](Self::commits_to) said so.
    pub(crate) fn open(&self, ciphertext: &[u8], tag: &[u8; 16]) -> Option<SecretBytes> {
        let mut secret = Protected::zeroed(ciphertext.len());
        let in_out = InOutBuf::new(ciphertext, secret.as_mut_slice()).expect("both have one length");
        self.encryption_key
            .cipher()
            .decrypt_inout_detached(&XNonce::from(self.nonce), &self.info, in_out, &Tag::from(*tag))
            .ok()?;
        Some(SecretBytes::from_protected(secret))
    }
}

/// What a wrapped data key is bound to: which key wraps it, and which body and context it belongs to.
pub(crate) fn wrap_associated_data(
    key_id: KeyId,
    key_version: u32,
    salt: &[u8; 32],
    commitment: &[u8; 32],
    context: &[u8],
) -> Vec<u8> {
    [PREFIX.as_slice(), key_id.as_bytes(), &key_version.to_be_bytes(), salt, commitment, &Sha512::digest(context)]
        .concat()
}

const ENCRYPTION_LABEL: &[u8] = b"gmv1 enc";
const COMMITMENT_LABEL: &[u8] = b"gmv1 commit";
