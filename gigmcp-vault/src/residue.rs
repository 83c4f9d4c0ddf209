//! What is left of keys and secrets in the memory of a process: nothing, after they are dropped, after an error and after a
//! panic that was caught. Each case runs in a child of its own, which this process searches from outside; the controls show
//! that the search finds what is there.
//!
//! `./dev test` runs these in a release build too: optimised code leaves other things behind.

mod cases;
mod search;
mod stack;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use self::cases::{CASES, CONTROLS, NONCE, SALT, WRAP_NONCE};
use self::search::{Found, Wanted};
use crate::body::Body;
use crate::context::tests::example;
use crate::key::{Key, KeyId};
use crate::key_ring::KeyRing;
use crate::key_wrap::{KeyWrap, LocalKey};
use crate::memory::FORGONE;
use crate::sealed::Sealed;
use crate::secret::{SecretBytes, SecretString};
use crate::vault::Vault;

/// With the best memory there is, which the search cannot read, and with that of older kernels, which it can.
#[test]
fn nothing_is_left_after_drop_error_and_panic() {
    let mut left = Vec::new();
    for memory in MEMORIES {
        for (case, _) in CASES {
            let found = Child::start(case, memory).search();
            left.extend((!found.is_empty()).then(|| format!("{case}, {memory}: {found:?}")));
        }
    }
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn what_is_there_is_found() {
    for memory in MEMORIES {
        for (case, name, _) in CONTROLS {
            let found = Child::start(case, memory).search();
            assert!(found.contains_key(name), "{case}, {memory}: {name} is not in {found:?}");
        }
    }
}

#[test]
fn a_living_secret_is_hidden_by_secret_memory_alone() {
    assert!(Child::start("alive", "older").search().contains_key("secret"));
    let hidden = Child::start("alive", "best").search();
    assert_eq!(hidden.is_empty(), crate::memory::memory_protection().secret, "{hidden:?}");
}

/// A process that ran a case and now waits, and a directory with what it was given and made.
struct Child {
    process: std::process::Child,
    output: BufReader<ChildStdout>,
    directory: PathBuf,
    canaries: Canaries,
}

/// Random, so that nothing of them stands in the program; known to the parent, which looks for them.
struct Canaries {
    secret: [u8; 32],
    key_encryption_key: [u8; 32],
    data_key: [u8; 32],
    local_key: [u8; 32],
    passphrase: [u8; 16],
}

impl Child {
    fn start(case: &str, memory: &str) -> Self {
        let canaries = Canaries::random();
        let name = format!("gigmcp-vault-residue-{}-{}-{memory}", std::process::id(), case.replace(' ', "-"));
        let directory = std::env::temp_dir().join(name);
        canaries.write_into(&directory);
        let mut process = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "residue::searched", "--ignored", "--nocapture", "--test-threads=1"])
            .envs([("RESIDUE_CASE", case), ("RESIDUE_MEMORY", memory), ("RESIDUE_MASKED", &canaries.masked())])
            .env("RESIDUE_DIRECTORY", &directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut said = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        while !said.ends_with("\nresidue ready\n") {
            assert!(output.read_line(&mut said).expect("readable") > 0, "{case}, {memory}: {said}");
        }
        Self { process, output, directory, canaries }
    }

    fn search(mut self) -> Found {
        let mut wanted = Wanted::new();
        self.canaries.want(&mut wanted);
        want_made(&self.directory, &self.canaries, &mut wanted);
        let found = wanted.search(self.process.id());
        drop(self.process.stdin.take()); // it waits for this
        self.output.read_to_string(&mut String::new()).expect("readable");
        assert!(self.process.wait().expect("waited for").success());
        fs::remove_dir_all(&self.directory).expect("removed");
        found
    }
}

impl Canaries {
    fn random() -> Self {
        fn random<const N: usize>() -> [u8; N] {
            let mut bytes = [0; N];
            getrandom::fill(&mut bytes).expect("random bytes");
            bytes
        }
        Self {
            secret: random(),
            key_encryption_key: random(),
            data_key: random(),
            local_key: random(),
            passphrase: random(),
        }
    }

    /// What a case takes as bytes, so that it cannot be found where it was handed over.
    fn masked(&self) -> String {
        let mut bytes = [self.secret, self.key_encryption_key, self.data_key].concat();
        bytes.iter_mut().for_each(|byte| *byte ^= cases::MASK);
        hex::encode(bytes)
    }

    /// What a case reads from files.
    fn write_into(&self, directory: &Path) {
        fs::DirBuilder::new().mode(0o700).create(directory).expect("a new directory");
        let write = |name: &str, text: &str| {
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(directory.join(name));
            file.and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
        };
        write("local-key", &hex::encode(self.local_key));
        write("passphrase", &hex::encode(self.passphrase));
        self.ring().save(directory.join("keys")).expect("saved");
    }

    fn ring(&self) -> KeyRing {
        KeyRing::from_key(KeyId::from_bytes([1; 16]), 1, &SecretBytes::from(self.key_encryption_key.to_vec()))
            .expect("32 bytes")
    }

    fn want(&self, wanted: &mut Wanted) {
        wanted.bytes("secret", &self.secret);
        wanted.key("key-encryption key", &self.key_encryption_key);
        wanted.key("local key", &self.local_key);
        wanted.key("data key", &self.data_key);
        wanted.hex("passphrase", &hex::encode(self.passphrase));
        wanted.subkey("wrap's subkey", &self.key_encryption_key, &WRAP_NONCE);
        let body = Body::derive(&Key::copy_of(&self.data_key), &SALT, &NONCE, &example().encode());
        wanted.key("encryption key", body.encryption_key());
        wanted.subkey("body's subkey", body.encryption_key(), &NONCE);
        let (extracted, _) = hkdf::Hkdf::<sha2::Sha512>::extract(Some(&SALT), &self.data_key);
        wanted.bytes("extracted key", &extracted);
    }
}

/// The keys that the child drew itself, out of what it made of them.
fn want_made(directory: &Path, canaries: &Canaries, wanted: &mut Wanted) {
    if let Ok(bytes) = fs::read(directory.join("made.sealed")) {
        let sealed = Sealed::from_bytes(&bytes).expect("well-formed");
        let (data_key, _) = Vault::new(canaries.ring()).data_key(&example().encode(), &sealed.layout()).expect("ours");
        wanted.key("drawn data key", data_key.as_bytes());
    }
    let mut want_ring = |ring: &KeyRing| ring.keys().iter().for_each(|key| wanted.key("drawn key", key.key.as_bytes()));
    if let Ok(ring) = KeyRing::load(directory.join("made.keys")) {
        want_ring(&ring);
    }
    let Ok(text) = fs::read_to_string(directory.join("made.wrapped")) else { return };
    let line = text.lines().nth(1).expect("as FORMAT.md says");
    let (kind, wrapped) = line.strip_prefix("wrapped-key ").and_then(|line| line.split_once(' ')).expect("as above");
    let wrap: Box<dyn KeyWrap> = match kind {
        "local" => Box::new(LocalKey::new(&SecretBytes::from(canaries.local_key.to_vec())).expect("32 bytes")),
        _ => {
            let passphrase = hex::encode(canaries.passphrase);
            let salt = hex::decode(wrapped.split(':').nth(3).expect("as FORMAT.md says")).expect("hex");
            let params = argon2::Params::new(64 << 10, 3, 4, Some(32)).expect("valid");
            let mut key = [0; 32];
            argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
                .hash_password_into(passphrase.as_bytes(), &salt, &mut key)
                .expect("valid");
            wanted.key("key of the passphrase", &key);
            Box::new(crate::key_wrap::Passphrase::new(SecretString::from(passphrase)).expect("long enough"))
        }
    };
    wanted.key("file key", cases::now(wrap.unwrap(wrapped)).expect("ours").as_slice());
    let ring = cases::now(KeyRing::load_wrapped(directory.join("made.wrapped"), wrap.as_ref())).expect("ours");
    for key in ring.keys() {
        wanted.key("drawn key", key.key.as_bytes());
    }
}

#[test]
#[ignore = "the child of the tests above"]
fn searched() {
    let variable = |name: &str| std::env::var(name).expect("set by the test");
    let case = variable("RESIDUE_CASE");
    FORGONE.store(variable("RESIDUE_MEMORY") == "older", Ordering::Relaxed);
    // In a thread that then waits, so that what was left on its stack is not overwritten.
    let (done, is_done) = mpsc::channel();
    let (end, is_over) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let held = cases::run(&case);
        done.send(()).expect("the test waits");
        let _ = is_over.recv();
        drop(held);
    });
    is_done.recv().expect("the case ran");
    println!("\nresidue ready");
    std::io::stdin().read_line(&mut String::new()).expect("closed by the test");
    drop(end);
    thread.join().expect("nothing panicked");
}

const MEMORIES: [&str; 2] = ["best", "older"];
