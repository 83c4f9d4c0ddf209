//! What is signed about the chain.

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Link;

/// What a [`Statement`] says of its place.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StatementKind {
    /// The chain begins after it.
    Begin,
    /// The chain reached it.
    Head,
    /// Rows were deleted up to it, because they were old or too many.
    Pruned,
}

/// What was said of the chain and signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Statement {
    pub(crate) kind: StatementKind,
    pub(crate) link: Link,
    /// When it was signed, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// The id of the key, see [`PublicKey::id`].
    pub(crate) signer: String,
    pub(crate) signature: Vec<u8>,
}

impl Statement {
    /// Signs.
    pub(super) fn sign(kind: StatementKind, link: Link, at_ms: i64, key: &SigningKey) -> Self {
        let signer = PublicKey(key.verifying_key()).id();
        let unsigned = Self { kind, link, at_ms, signer, signature: Vec::new() };
        let signature = key.sign(&unsigned.signed_bytes()).to_bytes().to_vec();
        Self { signature, ..unsigned }
    }

    /// Whether this key signed it.
    pub(crate) fn is_signed_by(&self, key: &PublicKey) -> bool {
        let signature = Signature::from_slice(&self.signature);
        signature.is_ok_and(|signature| key.0.verify_strict(&self.signed_bytes(), &signature).is_ok())
    }

    /// A label, then kind, place and time (8 bytes each, big-endian) with the hash between: all of fixed length.
    fn signed_bytes(&self) -> Vec<u8> {
        let kind: &[u8; 8] = match self.kind {
            StatementKind::Begin => b"begin\0\0\0",
            StatementKind::Head => b"head\0\0\0\0",
            StatementKind::Pruned => b"pruned\0\0",
        };
        let (place, time) = (self.link.place.to_be_bytes(), self.at_ms.to_be_bytes());
        [LABEL, kind, &place, self.link.hash.as_bytes(), &time].concat()
    }
}

impl StatementKind {
    /// As it stands in the database and in exports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Head => "head",
            Self::Pruned => "pruned",
        }
    }
}

/// It is none of the three.
#[derive(Debug, thiserror::Error)]
#[error("it is neither `begin`, `head` nor `pruned`")]
pub(crate) struct InvalidKind;

impl FromStr for StatementKind {
    type Err = InvalidKind;

    fn from_str(text: &str) -> Result<Self, InvalidKind> {
        [Self::Begin, Self::Head, Self::Pruned].into_iter().find(|kind| kind.as_str() == text).ok_or(InvalidKind)
    }
}

/// What checks signatures: an Ed25519 key; as text, 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PublicKey(pub(super) VerifyingKey);

/// It is no Ed25519 key.
#[derive(Debug, thiserror::Error)]
#[error("a public key of the audit trail is 64 hexadecimal digits, as `audit verify` prints it")]
pub(crate) struct InvalidPublicKey;

impl PublicKey {
    /// A short name for it: the beginning of its SHA-256.
    pub(crate) fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.0.as_bytes())[..8])
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidPublicKey> {
        let bytes = bytes.try_into().map_err(|_| InvalidPublicKey)?;
        VerifyingKey::from_bytes(bytes).map(Self).map_err(|_| InvalidPublicKey)
    }
}

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        Self::from_bytes(&hex::decode(text).map_err(|_| InvalidPublicKey)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0.as_bytes()))
    }
}

const LABEL: &[u8] = b"gigmcp audit statement v1\0";
