//! Sealing, opening and rewrapping, beside the ciphers and hashes that they are made of.

use std::hint::black_box;
use std::time::{Duration, Instant};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use gigmcp_vault::{Context, KeyRing, PolicyHash, Sealed, SecretBytes, Vault};
use hkdf::Hkdf;
use sha2::{Digest, Sha512};

use crate::Failure;
use crate::figures::{Figures, compare};

pub(crate) fn run() -> Result<(), Failure> {
    println!("memory of keys and secrets: {:?}\n", gigmcp_vault::memory_protection());
    let vault = Vault::new(KeyRing::generate()?);
    for length in [40, 1024, 16 << 10] {
        beside_bare(&vault, length)?;
    }
    rewrap()
}

fn beside_bare(vault: &Vault, length: usize) -> Result<(), Failure> {
    let context = context(1)?;
    let bare = Bare::new(length);
    let sealed = vault.seal(&context, SecretBytes::from(vec![7; length]))?;
    let (mut seal, mut open) = (Figures::default(), Figures::default());
    let (mut hashes, mut hkdf) = (Figures::default(), Figures::default());
    for _ in 0..ROUNDS {
        // Each secret is there before, one at a time, as someone has it who seals it.
        let mut taken = Duration::ZERO;
        for _ in 0..BATCH {
            let secret = SecretBytes::from(vec![7; length]);
            let clock = Instant::now();
            black_box(vault.seal(&context, secret)?);
            taken += clock.elapsed();
        }
        seal.add(taken / BATCH);
        let clock = Instant::now();
        for _ in 0..BATCH {
            black_box(vault.open(&context, &sealed)?);
        }
        open.add(clock.elapsed() / BATCH);
        for (figures, derive) in [(&mut hashes, Bare::hashes as fn(&Bare)), (&mut hkdf, Bare::hkdf)] {
            let mut buffer = vec![7; length];
            let clock = Instant::now();
            for _ in 0..BATCH {
                bare.ciphers(&mut buffer);
                derive(&bare);
            }
            figures.add(clock.elapsed() / BATCH);
        }
    }
    for (name, ours) in [("seal", &seal), ("open", &open)] {
        compare(&format!("{name} {length} bytes"), ours, "2 AEAD+2 H", &hashes);
        compare(&format!("{name} {length} bytes, beside what the format asks for"), ours, "with HKDF", &hkdf);
    }
    Ok(())
}

/// What any program would have to call.
struct Bare {
    key: [u8; 32],
    context: Vec<u8>,
}

impl Bare {
    fn new(length: usize) -> Self {
        Self { key: [length as u8; 32], context: vec![7; CONTEXT_BYTES] }
    }

    /// Two calls of the AEAD, each with a key and nonce of its own: 32 bytes, and the secret.
    fn ciphers(&self, secret: &mut [u8]) {
        let mut wrapped = self.key;
        for (buffer, associated_data) in [(wrapped.as_mut_slice(), &[1_u8; 154][..]), (secret, &[2; 64])] {
            let cipher = XChaCha20Poly1305::new(black_box(&self.key.into()));
            let tag = cipher.encrypt_inout_detached(&XNonce::from([3; 24]), associated_data, buffer.into());
            black_box(tag.expect("short enough"));
        }
    }

    /// The hash of what the commitment commits to, and that of the context.
    fn hashes(&self) {
        let info = Sha512::new().chain_update([4; 62]).chain_update(black_box(&self.context)).finalize();
        black_box((info, Sha512::digest(black_box(&self.context))));
    }

    /// The same, and the two keys that are derived by HKDF.
    fn hkdf(&self) {
        self.hashes();
        let extracted = Hkdf::<Sha512>::new(Some(&[5; 32]), black_box(&self.key));
        for label in [&b"gmv1 enc"[..], b"gmv1 commit"] {
            let mut key = [0; 32];
            extracted.expand_multi_info(&[label, &[6; 64]], &mut key).expect("32 bytes");
            black_box(key);
        }
    }
}

/// As a rotation does: each row read, rewrapped, and its bytes taken.
fn rewrap() -> Result<(), Failure> {
    let path = std::env::temp_dir().join(format!("gigmcp-bench-keys-{}", std::process::id()));
    let before = Vault::new(KeyRing::create(&path)?);
    let mut rows = Vec::with_capacity(SECRETS);
    for row in 0..SECRETS {
        let context = context(row as u64)?;
        let sealed = before.seal(&context, SecretBytes::from(vec![7; 40]))?;
        rows.push((context, sealed.as_bytes().to_vec()));
    }
    let mut ring = KeyRing::load(&path)?;
    std::fs::remove_file(&path)?;
    ring.rotate()?;
    let after = Vault::new(ring);
    let clock = Instant::now();
    for (context, row) in &mut rows {
        *row = after.rewrap(context, &Sealed::from_bytes(row)?)?.as_bytes().to_vec();
    }
    let taken = clock.elapsed();
    println!("rewrap of {SECRETS} secrets: {taken:.1?}, {:.1?} each", taken / u32::try_from(SECRETS)?);
    for (context, row) in &rows {
        assert!(after.is_current(&Sealed::from_bytes(row)?));
        after.open(context, &Sealed::from_bytes(row)?)?;
    }
    Ok(())
}

fn context(version: u64) -> Result<Context, Failure> {
    Ok(Context {
        tenant: "profile-7".parse()?,
        vault: "main".parse()?,
        secret: "github/token".parse()?,
        version,
        purpose: "header".parse()?,
        created_at: 1_767_225_600,
        policy: PolicyHash::of(&[("hosts", &["api.github.com"])]),
    })
}

/// As long as the encoding of the context above.
const CONTEXT_BYTES: usize = 7 * 4 + 9 + 4 + 12 + 8 + 6 + 8 + 32;
const ROUNDS: usize = 200;
const BATCH: u32 = 50;
const SECRETS: usize = 10_000;
