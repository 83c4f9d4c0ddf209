//! What somebody agreed to, signed, so that nobody who only writes to the database can put something else in its place.

use ed25519_dalek::{Signature, Signer as _};
use sha2::{Digest, Sha256};

use super::{PublicKey, signer::Signer};
use crate::spec::ServerName;

/// A signature over the text of a policy and the server it is of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PolicySeal {
    /// The id of the key, see [`PublicKey::id`].
    pub(crate) signer: String,
    pub(crate) signature: Vec<u8>,
}

impl Signer {
    /// Signs a policy as it will stand in the database.
    pub(crate) fn seal_policy(&self, server: &ServerName, policy: &str) -> PolicySeal {
        let key = self.key();
        let signature = key.sign(&signed_bytes(server, policy)).to_bytes().to_vec();
        PolicySeal { signer: PublicKey(key.verifying_key()).id(), signature }
    }
}

impl PolicySeal {
    /// Whether one of these keys signed that policy of that server.
    pub(crate) fn is_of(&self, server: &ServerName, policy: &str, trusted: &[PublicKey]) -> bool {
        let Ok(signature) = Signature::from_slice(&self.signature) else { return false };
        let bytes = signed_bytes(server, policy);
        trusted.iter().any(|key| key.id() == self.signer && key.0.verify_strict(&bytes, &signature).is_ok())
    }
}

/// A label of its own, then two hashes: all of fixed length.
fn signed_bytes(server: &ServerName, policy: &str) -> Vec<u8> {
    [LABEL, &Sha256::digest(server.as_str())[..], &Sha256::digest(policy)[..]].concat()
}

const LABEL: &[u8] = b"gigmcp policy v1\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_of_one_policy_of_one_server_by_one_of_our_keys() {
        let (ours, other) = (Signer::for_test(1), Signer::for_test(2));
        let name = |text: &str| text.parse::<ServerName>().expect("a name");
        let seal = ours.seal_policy(&name("notes"), "{}");
        let trusted = [ours.public_key()];
        assert!(seal.is_of(&name("notes"), "{}", &trusted)); // twin of the refusals
        assert!(!seal.is_of(&name("tickets"), "{}", &trusted), "of another server");
        assert!(!seal.is_of(&name("notes"), "{ }", &trusted), "other text");
        assert!(!seal.is_of(&name("notes"), "{}", &[other.public_key()]), "nobody vouches for the key");
        let renamed = PolicySeal { signer: other.public_key().id(), ..seal.clone() };
        assert!(!renamed.is_of(&name("notes"), "{}", &[ours.public_key(), other.public_key()]), "another key's name");
        let mut damaged = seal;
        damaged.signature[3] ^= 1;
        assert!(!damaged.is_of(&name("notes"), "{}", &trusted));
    }
}
