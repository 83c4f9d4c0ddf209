//! Sealing, opening and rewrapping: the three things done with a key ring.

use std::fmt;
use std::sync::Arc;

use crate::body::{Body, wrap_associated_data};
use crate::context::Context;
use crate::exposure::{AuditSink, Witness};
use crate::key::{Key, WrappingKey};
use crate::key_ring::KeyRing;
use crate::memory::{Protected, leaving_no_trace};
use crate::sealed::{Layout, MAX_SECRET_BYTES, Sealed};
use crate::secret::SecretBytes;

/// Seals secrets and opens them again under the context they were sealed with.
///
/// Cheap to share behind an `Arc`; all methods are synchronous, take microseconds and do no I/O.
pub struct Vault {
    ring: KeyRing,
    /// Stands in for a key that is missing, so that its absence takes the same steps.
    decoy: WrappingKey,
    audit: Option<Arc<dyn AuditSink>>,
}

impl Vault {
    /// A vault that seals with the ring's active key and opens with all that the ring still allows. There is no vault
    /// without a key:
    ///
    /// ```compile_fail
    /// let vault = gigmcp_vault::Vault::default();
    /// ```
    #[must_use]
    pub fn new(ring: KeyRing) -> Self {
        let decoy = WrappingKey { id: ring.active_id(), version: 0, key: Key::copy_of(&[0; 32]) };
        Self { ring, decoy, audit: None }
    }

    /// Tells `audit` each time a secret that this vault opened is exposed, and why.
    #[must_use]
    pub fn audited(self, audit: Arc<dyn AuditSink>) -> Self {
        Self { audit: Some(audit), ..self }
    }

    /// The keys in use.
    #[must_use]
    pub fn key_ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Seals `secret` with a data key of its own, bound to `context`. The result is 206 bytes longer than the secret.
    ///
    /// # Errors
    /// [`SealError::TooLong`] above [`MAX_SECRET_BYTES`]; [`SealError::Random`] if the kernel gives no random bytes.
    pub fn seal(&self, context: &Context, secret: SecretBytes) -> Result<Sealed, SealError> {
        self.seal_borrowed(context, &secret)
    }

    pub(crate) fn seal_borrowed(&self, context: &Context, secret: &SecretBytes) -> Result<Sealed, SealError> {
        let length = secret.len();
        if length > MAX_SECRET_BYTES {
            return Err(SealError::TooLong { length });
        }
        let fresh = Fresh::random()?;
        Ok(leaving_no_trace(|| self.seal_with(context, secret, &fresh)))
    }

    /// Opens a sealed secret. `context` must be the one it was sealed with, in every field.
    ///
    /// # Errors
    /// [`OpenError::Refused`] if the key, the context or any byte is wrong; on purpose not told apart.
    pub fn open(&self, context: &Context, sealed: &Sealed) -> Result<SecretBytes, OpenError> {
        let opened = leaving_no_trace(|| self.open_staged(context, sealed)).map_err(|_| OpenError::Refused)?;
        Ok(match &self.audit {
            Some(audit) => opened.witnessed(Witness { context: context.clone(), sink: Arc::clone(audit) }),
            None => opened,
        })
    }

    /// Wraps the data key anew with the active key, for when the key-encryption key changes. The body stays as it is, byte
    /// for byte, and is not decrypted: a body damaged earlier is carried along and still refused by [`open`](Self::open).
    ///
    /// # Errors
    /// [`RewrapError::Refused`] as [`open`](Self::open); [`RewrapError::Random`] if the kernel gives no random bytes.
    pub fn rewrap(&self, context: &Context, sealed: &Sealed) -> Result<Sealed, RewrapError> {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce)?;
        let rewrapped = leaving_no_trace(|| {
            let layout = sealed.layout();
            let context = context.encode();
            let (data_key, _) = self.data_key(&context, &layout)?;
            Ok(self.wrapped(&context, &data_key, &Layout { wrap_nonce: &nonce, ..layout }))
        });
        rewrapped.map_err(|_: Stage| OpenError::Refused.into())
    }

    /// Encrypts the secret anew with a new data key, and wraps that with the active key: for when a data key may have been
    /// seen, or so that an old copy of the sealed bytes shares nothing with the new one. The secret and its context stay.
    ///
    /// # Errors
    /// As [`rewrap`](Self::rewrap); a damaged body is refused here too.
    pub fn reencrypt(&self, context: &Context, sealed: &Sealed) -> Result<Sealed, RewrapError> {
        let fresh = Fresh::random()?;
        let reencrypted = leaving_no_trace(|| {
            let secret = self.open_staged(context, sealed)?;
            Ok(self.seal_with(context, &secret, &fresh))
        });
        reencrypted.map_err(|_: Stage| OpenError::Refused.into())
    }

    /// Whether the header names the active key. If not, [`rewrap`](Self::rewrap) is due.
    #[must_use]
    pub fn is_current(&self, sealed: &Sealed) -> bool {
        sealed.key_id() == self.ring.active_id() && sealed.key_version() == self.ring.active_version()
    }

    pub(crate) fn seal_with(&self, context: &Context, secret: &SecretBytes, fresh: &Fresh) -> Sealed {
        let context = context.encode();
        let body = Body::derive(&fresh.data_key, &fresh.salt, &fresh.nonce, &context);
        let (ciphertext, tag) = body.seal(secret.as_slice());
        let layout = Layout {
            key_id: self.ring.active_id(),
            key_version: self.ring.active_version(),
            wrap_nonce: &fresh.wrap_nonce,
            wrapped_key: &[0; 48],
            salt: &fresh.salt,
            commitment: body.commitment(),
            nonce: &fresh.nonce,
            ciphertext: &ciphertext,
            tag: &tag,
        };
        self.wrapped(&context, &fresh.data_key, &layout)
    }

    /// `layout` with its data key wrapped by the active key under the layout's `wrap_nonce`.
    pub(crate) fn wrapped(&self, context: &[u8], data_key: &Key, layout: &Layout<'_>) -> Sealed {
        let active = self.ring.active();
        let bound = wrap_associated_data(active.id, active.version, layout.salt, layout.commitment, context);
        let wrapped_key = active.wrap(layout.wrap_nonce, &bound, data_key);
        Layout { key_id: active.id, key_version: active.version, wrapped_key: &wrapped_key, ..*layout }.write()
    }

    pub(crate) fn open_staged(&self, context: &Context, sealed: &Sealed) -> Result<SecretBytes, Stage> {
        let layout = sealed.layout();
        let (_, body) = self.data_key(&context.encode(), &layout)?;
        body.open(layout.ciphertext, layout.tag).ok_or(Stage::Body)
    }

    /// The data key and what follows from it, proven to be the one that was committed to.
    ///
    /// Takes the same steps whether the key is unknown, the wrapping is wrong or the commitment is: only the result
    /// differs. The body is decrypted by the caller, after the commitment has been compared.
    pub(crate) fn data_key(&self, context: &[u8], layout: &Layout<'_>) -> Result<(Key, Body), Stage> {
        let known = self.ring.find(layout.key_id, layout.key_version);
        let bound = wrap_associated_data(layout.key_id, layout.key_version, layout.salt, layout.commitment, context);
        let unwrapped = known
            .unwrap_or(&self.decoy)
            .unwrap(layout.wrap_nonce, &bound, layout.wrapped_key)
            .filter(|_| known.is_some());
        let body = Body::derive(unwrapped.as_ref().unwrap_or(&self.decoy.key), layout.salt, layout.nonce, context);
        let committed = bool::from(body.commits_to(layout.commitment));
        match (known, unwrapped, committed) {
            (None, _, _) => Err(Stage::KeyLookup),
            (Some(_), None, _) => Err(Stage::Unwrap),
            (Some(_), Some(_), false) => Err(Stage::Commitment),
            (Some(_), Some(data_key), true) => Ok((data_key, body)),
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("ring", &self.ring).field("audited", &self.audit.is_some()).finish()
    }
}

/// The random parts of one sealing.
pub(crate) struct Fresh {
    pub(crate) data_key: Key,
    pub(crate) wrap_nonce: [u8; 24],
    pub(crate) salt: [u8; 32],
    pub(crate) nonce: [u8; 24],
}

impl Fresh {
    fn random() -> Result<Self, getrandom::Error> {
        // All at once: each question to the kernel takes as long as a hash.
        let mut drawn = Protected::zeroed(32 + 24 + 32 + 24);
        getrandom::fill(drawn.as_mut_slice())?;
        let (data_key, rest) = drawn.as_slice().split_first_chunk().expect("drawn above");
        let (wrap_nonce, rest) = rest.split_first_chunk().expect("drawn above");
        let (salt, rest) = rest.split_first_chunk().expect("drawn above");
        let (nonce, _) = rest.split_first_chunk().expect("drawn above");
        Ok(Self { data_key: Key::copy_of(data_key), wrap_nonce: *wrap_nonce, salt: *salt, nonce: *nonce })
    }
}

/// Where opening stopped. Never leaves the crate; the tests use it to know that a row fails for its own reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    KeyLookup,
    Unwrap,
    Commitment,
    Body,
}

/// Why a secret was not sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The secret is longer than [`MAX_SECRET_BYTES`].
    #[error("a secret has at most {MAX_SECRET_BYTES} bytes, this one has {length}")]
    TooLong {
        /// Length of the refused secret in bytes.
        length: usize,
    },
    /// The kernel gave no random bytes.
    #[error("drawing random bytes")]
    Random(#[from] getrandom::Error),
}

/// Why a sealed secret does not open.
///
/// One variant on purpose. Telling a wrong key, a foreign context and a damaged byte apart would let whoever can
/// write the store learn about keys and contexts by trying.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The key, the context or any byte is wrong.
    #[error("the sealed secret does not open")]
    Refused,
}

/// Why a sealed secret was not rewrapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewrapError {
    /// It would not open either.
    #[error(transparent)]
    Refused(#[from] OpenError),
    /// The kernel gave no random bytes.
    #[error("drawing random bytes")]
    Random(#[from] getrandom::Error),
}
