//! The document that carries the signatures of another.

use serde::{Deserialize, Serialize};

use crate::digest::lower_hex;
use crate::keys::KeyId;
use crate::strict_json::Object;

/// A signature and the key that is said to have made it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Signature {
    pub(crate) key_id: KeyId,
    pub(crate) bytes: [u8; 64],
}

impl Signature {
    /// The key that is said to have signed.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
}

/// The signatures of a document, none of them checked yet.
///
/// As JSON: `{"signatures":[{"keyId":"<64 hex digits>","signature":"<128 hex digits>"}]}`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Signatures(Vec<Signature>);

impl Signatures {
    /// Signatures to publish together.
    #[must_use]
    pub fn new(signatures: Vec<Signature>) -> Self {
        Self(signatures)
    }

    /// Reads a signatures document. It is not trusted and therefore small: at most 64 KiB and 64 signatures.
    ///
    /// # Errors
    /// [`InvalidSignatures`] for whatever is not exactly such a document.
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidSignatures> {
        if text.len() > MAX_SIGNATURES_BYTES {
            return Err(InvalidSignatures::TooLong);
        }
        let Object(document): Object<Document> = serde_json::from_slice(text)?;
        if document.signatures.len() > MAX_SIGNATURES {
            return Err(InvalidSignatures::TooMany);
        }
        let read = |Object(entry): Object<Entry>| {
            let key_id = entry.key_id.parse().map_err(|_| InvalidSignatures::Hex)?;
            let bytes = lower_hex(&entry.signature).ok_or(InvalidSignatures::Hex)?;
            Ok(Signature { key_id, bytes })
        };
        let signatures = Self(document.signatures.into_iter().map(read).collect::<Result<_, InvalidSignatures>>()?);
        if signatures.to_json().as_bytes() != text {
            return Err(InvalidSignatures::NotCanonical);
        }
        Ok(signatures)
    }

    /// Adds a signature, in place of one by the same key.
    pub fn add(&mut self, signature: Signature) {
        self.0.retain(|other| other.key_id != signature.key_id);
        self.0.push(signature);
    }

    /// The signatures, as said: none of them is checked.
    pub fn iter(&self) -> impl Iterator<Item = &Signature> {
        self.0.iter()
    }

    /// The document to publish.
    #[must_use]
    pub fn to_json(&self) -> String {
        let signatures = self.0.iter().map(|signature| {
            Object(Entry { key_id: signature.key_id.to_string(), signature: hex::encode(signature.bytes) })
        });
        serde_json::to_string(&Document { signatures: signatures.collect() }).expect("text always has JSON")
    }

    pub(crate) fn as_slice(&self) -> &[Signature] {
        &self.0
    }
}

/// Why a document does not hold signatures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSignatures {
    /// More than 64 KiB.
    #[error("the signatures document is longer than {MAX_SIGNATURES_BYTES} bytes")]
    TooLong,
    /// More than 64 signatures.
    #[error("the signatures document has more than {MAX_SIGNATURES} signatures")]
    TooMany,
    /// No end of the line that should hold them, in its first 64 KiB.
    #[error("the file does not begin with a line of signatures")]
    NoLine,
    /// Blanks, another order of fields, other escapes: nobody but who signs has reason to change a byte of them.
    #[error("the signatures are not written in their canonical form")]
    NotCanonical,
    /// A key id or signature is not lower-case hex of its length.
    #[error("a key id is 64 and a signature 128 lower-case hex digits")]
    Hex,
    /// Not JSON of the right shape.
    #[error("the signatures document is not JSON of its format")]
    Syntax(#[from] serde_json::Error),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    signatures: Vec<Object<Entry>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    key_id: String,
    signature: String,
}

pub(crate) const MAX_SIGNATURES_BYTES: usize = 64 << 10;
const MAX_SIGNATURES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    #[test]
    fn only_the_format_is_read() {
        let signature = SigningKey::from_seed(&[1; 32]).sign_index(b"index");
        let good = Signatures::new(vec![signature; 2]);
        assert_eq!(Signatures::from_json(good.to_json().as_bytes()).expect("valid"), good);
        let one = Signatures::new(vec![signature]).to_json();
        for (case, text, expected) in [
            ("empty", String::new(), "Syntax"),
            ("unknown field", one.replace("}]}", "}],\"more\":1}"), "Syntax"),
            ("entry with more", one.replace("}]}", ",\"more\":1}]}"), "Syntax"),
            ("missing field", "{}".into(), "Syntax"),
            ("repeated field", "{\"signatures\":[],\"signatures\":[]}".into(), "Syntax"),
            ("an array", "[[]]".into(), "Syntax"),
            ("something after it", one.clone() + "x", "Syntax"),
            ("short signature", one.replace("\"}]}", "").split_at(one.len() - 6).0.to_owned() + "\"}]}", "Hex"),
            ("upper-case hex", one.replace(&hex::encode(signature.bytes), &hex::encode_upper(signature.bytes)), "Hex"),
            ("a blank", one.replacen(':', ": ", 1), "NotCanonical"),
            ("a newline behind it", one.clone() + "\n", "NotCanonical"),
            ("escapes", one.replacen("keyId", "\\u006beyId", 1), "NotCanonical"),
            ("too many", Signatures::new(vec![signature; 65]).to_json(), "TooMany"),
            ("too long", " ".repeat(MAX_SIGNATURES_BYTES + 1), "TooLong"),
        ] {
            let error = Signatures::from_json(text.as_bytes()).expect_err(case);
            assert!(format!("{error:?}").starts_with(expected), "{case}: {error:?}");
        }
        assert!(Signatures::from_json(Signatures::new(vec![signature; 64]).to_json().as_bytes()).is_ok());
    }
}
