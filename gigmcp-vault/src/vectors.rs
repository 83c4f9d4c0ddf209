//! Makes the published test vectors and proves that the checked-in files are what this code makes, that each refused
//! one is refused at the step it names, and that the success ones open. Run with `GMV1_WRITE_VECTORS` set, it writes
//! the files anew; a difference then is a change of the format.

use std::fmt::Write as _;
use std::path::PathBuf;

use sha2::{Digest, Sha512};

use crate::body::{Body, wrap_associated_data};
use crate::context::{Context, PolicyHash};
use crate::key::{Key, KeyId, WrappingKey};
use crate::key_ring::KeyRing;
use crate::sealed::{Layout, MAX_SECRET_BYTES, Sealed};
use crate::secret::SecretBytes;
use crate::vault::{Fresh, Stage, Vault};

struct Vector {
    name: &'static str,
    comment: &'static str,
    step: Option<&'static str>,
    key: (u8, u32, [u8; 32]),
    minimum_version: u32,
    context: Context,
    sealed: Vec<u8>,
    plaintext: Option<Vec<u8>>,
    random: Option<Fresh>,
}

impl Vector {
    fn render(&self) -> String {
        let mut text = String::new();
        let context = &self.context;
        let (id, version, key) = self.key;
        let mut line = |name: &str, value: &str| writeln!(text, "{name}: {value}").expect("a String takes all");
        line("expect", if self.step.is_none() { "success" } else { "refused" });
        line("step", self.step.unwrap_or("none"));
        line("comment", self.comment);
        line("key-id", &hex::encode([id; 16]));
        line("key-version", &version.to_string());
        line("key", &hex::encode(key));
        line("minimum-version", &self.minimum_version.to_string());
        line("tenant", context.tenant.as_str());
        line("vault", context.vault.as_str());
        line("secret", context.secret.as_str());
        line("version", &context.version.to_string());
        line("purpose", context.purpose.as_str());
        line("created-at", &context.created_at.to_string());
        line("policy-hash", &hex::encode(context.policy.as_bytes()));
        line("context", &hex::encode(context.encode()));
        if let Some(random) = &self.random {
            line("data-key", &hex::encode(random.data_key.as_bytes()));
            line("salt", &hex::encode(random.salt));
            line("nonce", &hex::encode(random.nonce));
            line("wrap-nonce", &hex::encode(random.wrap_nonce));
        }
        if let Some(plaintext) = &self.plaintext {
            line("plaintext", &hex::encode(plaintext));
        }
        line("sealed", &hex::encode(&self.sealed));
        text
    }

    fn open(&self) -> Result<Vec<u8>, &'static str> {
        let (id, version, key) = self.key;
        let vault = vault(id, version, key, self.minimum_version);
        let sealed = Sealed::from_bytes(&self.sealed).map_err(|_| "layout")?;
        let opened = vault.open_staged(&self.context, &sealed).map_err(|stage| match stage {
            Stage::KeyLookup => "key",
            Stage::Unwrap => "unwrap",
            Stage::Commitment => "commitment",
            Stage::Body => "body",
        })?;
        Ok(opened.as_slice().to_vec())
    }
}

#[test]
fn checked_in_vectors_are_what_this_code_makes_and_does() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/gmv1");
    let vectors = vectors();
    for vector in &vectors {
        let path = directory.join(vector.name).with_extension("txt");
        let text = vector.render();
        if std::env::var_os("GMV1_WRITE_VECTORS").is_some() {
            std::fs::write(&path, &text).expect("writable");
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(stored, text, "{}", vector.name);
        let expected = vector.step.map_or_else(|| Ok(vector.plaintext.clone().expect("success has one")), Err);
        assert_eq!(vector.open(), expected, "{}", vector.name);
    }
    let files = std::fs::read_dir(directory).expect("readable").count();
    assert_eq!(files, vectors.len(), "each file comes from here");
}

fn vectors() -> Vec<Vector> {
    let honest = |label: &'static str, comment, context: Context, plaintext: &[u8]| {
        let fresh = fresh(label);
        let sealed = vault(KEY.0, KEY.1, KEY.2, 1).seal_with(&context, &SecretBytes::new(plaintext.to_vec()), &fresh);
        Vector {
            name: label,
            comment,
            step: None,
            key: KEY,
            minimum_version: 1,
            context,
            sealed: sealed.as_bytes().to_vec(),
            plaintext: Some(plaintext.to_vec()),
            random: Some(fresh),
        }
    };
    let base = || honest("success", "a token", context(), SECRET);
    let refused = |name, comment, step, change: &dyn Fn(&mut Vector)| {
        let mut vector = Vector { name, comment, step: Some(step), plaintext: None, ..base() };
        change(&mut vector);
        vector
    };
    let flipped = |name, comment, step, at: usize| {
        refused(name, comment, step, &move |vector| {
            vector.random = None;
            vector.sealed[at] ^= 1;
        })
    };
    let in_context = |name, change: &dyn Fn(&mut Context)| {
        refused(name, "sealed under another context", "unwrap", &|vector| {
            vector.random = None;
            change(&mut vector.context);
        })
    };
    let unicode = Context {
        tenant: "mandant-Ä".parse().expect("valid"),
        secret: "x".repeat(255).parse().expect("valid"),
        version: u64::MAX,
        created_at: 0,
        ..context()
    };
    vec![
        base(),
        honest("success-empty", "a secret of zero bytes", context(), b""),
        honest("success-long-names", "longest name, non-ASCII text, largest number", unicode, &[0xa5; 1000]),
        refused("layout-empty", "no bytes at all", "layout", &|vector| {
            vector.random = None;
            vector.sealed.clear();
        }),
        flipped("layout-magic", "GMV0", "layout", 3),
        flipped("layout-suite", "suite 0", "layout", 4),
        flipped("layout-flags", "flag 1", "layout", 5),
        flipped("layout-length", "length one off", "layout", 189),
        refused("layout-truncated", "last byte missing", "layout", &|vector| {
            vector.random = None;
            vector.sealed.pop();
        }),
        refused("layout-trailing", "a zero byte after the tag", "layout", &|vector| {
            vector.random = None;
            vector.sealed.push(0);
        }),
        refused("layout-too-long", "consistent, but one byte longer than a secret may be", "layout", &|vector| {
            vector.random = None;
            let length = MAX_SECRET_BYTES + 1;
            vector.sealed.truncate(190);
            vector.sealed[186..190].copy_from_slice(&u32::try_from(length).expect("small").to_be_bytes());
            vector.sealed.resize(190 + length + 16, 0);
        }),
        flipped("key-id", "an id that is not in the ring", "key", 6),
        flipped("key-version", "the id of a key with another version", "key", 25),
        refused("key-below-minimum", "sealed under version 1, minimum is 2", "key", &|vector| {
            vector.minimum_version = 2;
        }),
        refused("unwrap-other-key", "the ring has another key under the same id", "unwrap", &|vector| {
            vector.key.2[0] ^= 1;
        }),
        flipped("unwrap-nonce", "a bit of the wrap nonce", "unwrap", 26),
        flipped("unwrap-wrapped-key", "a bit of the wrapped key", "unwrap", 50),
        flipped("unwrap-salt", "a bit of the salt", "unwrap", 98),
        flipped("unwrap-commitment", "a bit of the commitment", "unwrap", 130),
        in_context("context-tenant", &|context| context.tenant = "profile-8".parse().expect("valid")),
        in_context("context-vault", &|context| context.vault = "Main".parse().expect("valid")),
        in_context("context-secret", &|context| context.secret = "github/token2".parse().expect("valid")),
        in_context("context-version", &|context| context.version = 2),
        in_context("context-purpose", &|context| context.purpose = "query".parse().expect("valid")),
        in_context("context-created-at", &|context| context.created_at += 1),
        in_context("context-policy", &|context| context.policy = PolicyHash::from_bytes([0; 32])),
        flipped("commitment-nonce", "a bit of the body's nonce", "commitment", 162),
        refused(
            "commitment-other",
            "wrapped by the key's holder around a commitment to nothing",
            "commitment",
            &|vector| {
                vector.sealed = wrapped_around_false_commitment(&vector.context);
                vector.random = None;
            },
        ),
        refused(
            "commitment-other-data-key",
            "another data key, honestly wrapped for this body",
            "commitment",
            &|vector| {
                vector.sealed = wrapped_other_data_key(&vector.context, &vector.sealed);
                vector.random = None;
            },
        ),
        flipped("body-ciphertext", "a bit of the ciphertext", "body", 190),
        flipped("body-tag", "a bit of the tag", "body", 190 + SECRET.len()),
    ]
}

/// What only the holder of the key can make: everything is genuine but the commitment, which the wrapping covers.
fn wrapped_around_false_commitment(context: &Context) -> Vec<u8> {
    let fresh = fresh("commitment-other");
    let body = Body::derive(&fresh.data_key, &fresh.salt, &fresh.nonce, &context.encode());
    let (ciphertext, tag) = body.seal(SECRET);
    let layout = Layout {
        key_id: KeyId::from_bytes([KEY.0; 16]),
        key_version: KEY.1,
        wrap_nonce: &fresh.wrap_nonce,
        wrapped_key: &[0; 48],
        salt: &fresh.salt,
        commitment: &[0x5a; 32],
        nonce: &fresh.nonce,
        ciphertext: &ciphertext,
        tag: &tag,
    };
    let vault = vault(KEY.0, KEY.1, KEY.2, 1);
    vault.wrapped(&context.encode(), &fresh.data_key, &layout).as_bytes().to_vec()
}

/// An honest body, but the wrapped key is another one: the commitment is to the first.
fn wrapped_other_data_key(context: &Context, sealed: &[u8]) -> Vec<u8> {
    let sealed = Sealed::from_bytes(sealed).expect("sealed honestly");
    let other = fresh("commitment-other-data-key").data_key;
    vault(KEY.0, KEY.1, KEY.2, 1).wrapped(&context.encode(), &other, &sealed.layout()).as_bytes().to_vec()
}

#[test]
fn associated_data_of_the_wrap_is_154_bytes() {
    let bound = wrap_associated_data(KeyId::from_bytes([1; 16]), 1, &[2; 32], &[3; 32], b"context");
    assert_eq!(bound.len(), 154);
}

fn vault(id: u8, version: u32, key: [u8; 32], minimum_version: u32) -> Vault {
    let key = WrappingKey { id: KeyId::from_bytes([id; 16]), version, key: key_of(key) };
    // A newer key stands above it only where the minimum asks for one.
    let newer = (minimum_version > version).then(|| WrappingKey {
        id: KeyId::from_bytes([0xee; 16]),
        version: minimum_version,
        key: key_of([0xee; 32]),
    });
    let keys = newer.into_iter().chain([key]).collect();
    Vault::new(KeyRing::from_keys(keys, minimum_version).expect("valid"))
}

/// Reproducible bytes that look random: no vector may depend on what this code happens to draw.
fn fresh(label: &str) -> Fresh {
    let bytes = |part: &str| -> [u8; 64] { Sha512::digest(format!("gmv1 vector {label} {part}")).into() };
    let (data_key, salt, nonce, wrap_nonce) = (bytes("data key"), bytes("salt"), bytes("nonce"), bytes("wrap nonce"));
    Fresh {
        data_key: key_of(*data_key.first_chunk().expect("64 bytes")),
        salt: *salt.first_chunk().expect("64 bytes"),
        nonce: *nonce.first_chunk().expect("64 bytes"),
        wrap_nonce: *wrap_nonce.first_chunk().expect("64 bytes"),
    }
}

fn key_of(bytes: [u8; 32]) -> Key {
    Key::copy_of(&bytes)
}

fn context() -> Context {
    crate::context::tests::example()
}

const SECRET: &[u8] = b"a real key, 24 bytes lon";
const KEY: (u8, u32, [u8; 32]) = (0x11, 1, *b"0123456789abcdef0123456789abcdef");
