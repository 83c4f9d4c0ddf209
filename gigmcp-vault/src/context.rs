//! Whose secret it is and what it may be used for: everything a sealed secret is bound to.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// What a sealed secret is bound to. It opens only under exactly the context it was sealed with.
///
/// None of it is stored in the sealed bytes: the caller takes it from where it already stands (the row's
/// columns, the policy now in force), so that editing any of that without the key makes the secret unreadable.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Context {
    /// Who owns the secret.
    pub tenant: TenantId,
    /// The collection it is kept in.
    pub vault: VaultId,
    /// The secret itself, unique in its vault.
    pub secret: SecretId,
    /// Which value of the secret this is; counts up each time the value changes.
    pub version: u64,
    /// What the value is for, for example `header` or `oauth-refresh`.
    pub purpose: Purpose,
    /// When this version was made, in seconds since the Unix epoch.
    pub created_at: u64,
    /// The rules under which the secret may be used.
    pub policy: PolicyHash,
}

impl Context {
    /// What the parts of a wrapped key file are sealed under.
    pub(crate) fn of_key_file(part: &str, kind: &str, policy: PolicyHash) -> Self {
        let name = "a short name";
        Self {
            tenant: "gigmcp-vault".parse().expect(name),
            vault: "keys".parse().expect(name),
            secret: part.parse().expect(name),
            version: 1,
            purpose: kind.parse().expect(name),
            created_at: 0,
            policy,
        }
    }

    /// The canonical encoding: the seven fields in their order, each as its length (4 bytes, big-endian) and its
    /// bytes; numbers are 8 bytes, big-endian. Two contexts have the same encoding only if they are equal.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let fields: [&[u8]; 7] = [
            self.tenant.as_str().as_bytes(),
            self.vault.as_str().as_bytes(),
            self.secret.as_str().as_bytes(),
            &self.version.to_be_bytes(),
            self.purpose.as_str().as_bytes(),
            &self.created_at.to_be_bytes(),
            self.policy.as_bytes(),
        ];
        let mut encoded = Vec::with_capacity(fields.iter().map(|field| 4 + field.len()).sum());
        for field in fields {
            put(&mut encoded, field);
        }
        encoded
    }
}

/// SHA-256 over the rules of a secret: which hosts it may be sent to, of which kind it is, where it is put.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct PolicyHash([u8; 32]);

impl PolicyHash {
    /// A hash that the caller computed over a canonical form of its own.
    #[must_use]
    pub const fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Hashes named fields with their values. Order counts, of the fields and of the values: sort what is a set.
    ///
    /// The hashed bytes are the label `gmv1 policy`, then for each field its name, the number of its values
    /// (4 bytes, big-endian) and the values; label, names and values are preceded by their length (4 bytes, big-endian).
    ///
    /// ```
    /// use gigmcp_vault::PolicyHash;
    ///
    /// let narrow = PolicyHash::of(&[("hosts", &["api.example.com"]), ("place", &["header", "Authorization"])]);
    /// let wide = PolicyHash::of(&[("hosts", &["**.example.com"]), ("place", &["header", "Authorization"])]);
    /// assert_ne!(narrow, wide);
    /// ```
    #[must_use]
    pub fn of(fields: &[(&str, &[&str])]) -> Self {
        let mut encoded = Vec::new();
        put(&mut encoded, b"gmv1 policy");
        for (name, values) in fields {
            put(&mut encoded, name.as_bytes());
            encoded.extend_from_slice(&length(values.len()));
            for value in *values {
                put(&mut encoded, value.as_bytes());
            }
        }
        Self(Sha256::digest(&encoded).into())
    }

    /// The 32 bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PolicyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyHash({})", hex::encode(self.0))
    }
}

/// One name for four types, so that a tenant cannot be passed where a secret is meant.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// UTF-8 text of 1 to 255 bytes, compared byte for byte.
        #[derive(Clone, Debug, Eq, Hash, PartialEq)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let fits = (1..=MAX_NAME_BYTES).contains(&text.len());
                fits.then(|| Self(text.into())).ok_or(InvalidName { length: text.len() })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// Who owns a secret, for example a profile or a user.
    TenantId
}
name_type! {
    /// A collection of secrets.
    VaultId
}
name_type! {
    /// A secret, unique in its vault, for example the row's id or `server/credential`.
    SecretId
}
name_type! {
    /// What a secret is for.
    Purpose
}

/// The text cannot name a tenant, vault, secret or purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a name has 1 to {MAX_NAME_BYTES} bytes, this one has {length}")]
pub struct InvalidName {
    /// Length of the refused text in bytes.
    pub length: usize,
}

fn put(encoded: &mut Vec<u8>, field: &[u8]) {
    encoded.extend_from_slice(&length(field.len()));
    encoded.extend_from_slice(field);
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("names and rules are far shorter than 4 GiB").to_be_bytes()
}

const MAX_NAME_BYTES: usize = 255;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Context {
        Context {
            tenant: "profile-7".parse().expect("valid"),
            vault: "main".parse().expect("valid"),
            secret: "github/token".parse().expect("valid"),
            version: 3,
            purpose: "header".parse().expect("valid"),
            created_at: 1_767_225_600,
            policy: PolicyHash::of(&[("hosts", &["api.github.com"])]),
        }
    }

    #[test]
    fn moving_a_byte_between_fields_changes_the_encoding() {
        let left = Context { tenant: "ab".parse().expect("valid"), vault: "c".parse().expect("valid"), ..example() };
        let right = Context { tenant: "a".parse().expect("valid"), vault: "bc".parse().expect("valid"), ..example() };
        assert_ne!(left.encode(), right.encode());
        assert_eq!(left.encode(), left.clone().encode());
    }

    #[test]
    fn encoding_is_lengths_and_bytes_in_order() {
        let encoded = example().encode();
        assert!(
            encoded.starts_with(b"\0\0\0\x09profile-7\0\0\0\x04main\0\0\0\x0cgithub/token\0\0\0\x08\0\0\0\0\0\0\0\x03")
        );
        assert_eq!(encoded.len(), 7 * 4 + 9 + 4 + 12 + 8 + 6 + 8 + 32);
    }

    #[test]
    fn names_have_1_to_255_bytes() {
        for (length, expected) in [(0, false), (1, true), (255, true), (256, false)] {
            let parsed = "x".repeat(length).parse::<TenantId>();
            assert_eq!(parsed.err(), (!expected).then_some(InvalidName { length }), "{length}");
        }
    }

    #[test]
    fn policies_differ_where_only_grouping_differs() {
        let hashes = [
            PolicyHash::of(&[("hosts", &["a", "b"]), ("place", &[])]),
            PolicyHash::of(&[("hosts", &["a"]), ("b", &["place"])]),
            PolicyHash::of(&[("hosts", &["ab"]), ("place", &[])]),
            PolicyHash::of(&[("hosts", &["b", "a"]), ("place", &[])]),
            PolicyHash::of(&[("hosts", &["a", "b", "place"])]),
        ];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash), "row {index}");
        }
    }
}
