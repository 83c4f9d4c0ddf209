//! What is done with keys and secrets before the process is searched.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Poll, Waker};

use zeroize::Zeroizing;

use crate::context::Context;
use crate::context::tests::example;
use crate::exposure::Reason;
use crate::key::{Key, KeyId};
use crate::key_ring::KeyRing;
use crate::key_wrap::{KeyWrap, LocalKey, Passphrase};
use crate::memory::leaving_no_trace;
use crate::sealed::Sealed;
use crate::secret::SecretBytes;
use crate::secret_source::SecretSource;
use crate::vault::{Fresh, Vault};

/// What is to stay until the search is over.
pub(super) type Held = (Vec<u8>, Option<SecretBytes>);

pub(super) fn run(case: &str) -> Held {
    if let Some((_, run)) = CASES.iter().find(|(name, _)| *name == case) {
        run(&PathBuf::from(std::env::var_os("RESIDUE_DIRECTORY").expect("set by the test")));
        return (Vec::new(), None);
    }
    match CONTROLS.iter().find(|(name, ..)| *name == case) {
        Some((_, _, run)) => (run(), None),
        None => (Vec::new(), Some(Canary::Secret.bytes())),
    }
}

/// In the order in which the parent hands them over.
#[derive(Clone, Copy)]
enum Canary {
    Secret,
    KeyEncryptionKey,
    DataKey,
}

impl Canary {
    fn write(self, place: &mut [u8]) {
        let masked = hex::decode(std::env::var("RESIDUE_MASKED").expect("set by the test")).expect("hex");
        for (byte, masked) in place.iter_mut().zip(&masked[self as usize * 32..]) {
            *byte = black_box(*masked) ^ MASK;
        }
    }

    fn bytes(self) -> SecretBytes {
        let mut bytes = vec![0; 32];
        self.write(&mut bytes);
        SecretBytes::new(bytes)
    }
}

fn vault() -> Vault {
    let key = Canary::KeyEncryptionKey.bytes();
    Vault::new(KeyRing::from_key(KeyId::from_bytes([1; 16]), 1, &key).expect("32 bytes"))
}

/// With a data key that the parent knows.
fn seal(vault: &Vault) -> Sealed {
    let data_key = Key::fill(|place| {
        Canary::DataKey.write(place);
        Ok::<_, std::convert::Infallible>(())
    });
    let fresh = Fresh { data_key: data_key.expect("cannot fail"), wrap_nonce: WRAP_NONCE, salt: SALT, nonce: NONCE };
    leaving_no_trace(|| vault.seal_with(&example(), &Canary::Secret.bytes(), &fresh))
}

type Case = fn(&Path);

/// Each leaves the process as it should be searched.
pub(super) const CASES: [(&str, Case); 15] = [
    ("drop", |_| {
        let vault = vault();
        let sealed = seal(&vault);
        let opened = vault.open(&example(), &sealed).expect("opens");
        assert_eq!(opened.expose(REASON, <[u8]>::len), 32);
    }),
    ("a data key of its own", |directory| {
        let sealed = vault().seal(&example(), Canary::Secret.bytes()).expect("random bytes");
        std::fs::write(directory.join("made.sealed"), sealed.as_bytes()).expect("written");
    }),
    ("rewrap", |_| {
        let vault = vault();
        drop(vault.rewrap(&example(), &seal(&vault)).expect("opens"));
    }),
    ("reencrypt", |directory| {
        let vault = vault();
        let sealed = vault.reencrypt(&example(), &seal(&vault)).expect("opens");
        std::fs::write(directory.join("made.sealed"), sealed.as_bytes()).expect("written");
    }),
    ("text", |_| {
        let vault = vault();
        let opened = vault.open(&example(), &seal(&vault)).expect("opens");
        assert!(opened.into_text().is_err(), "an error that has the secret");
    }),
    ("compared", |_| {
        let (one, other) = (Canary::Secret.bytes(), Canary::Secret.bytes());
        assert!(black_box(&one) == black_box(&other));
    }),
    ("refused", |_| {
        let vault = vault();
        let sealed = seal(&vault);
        let mut bytes = sealed.as_bytes().to_vec();
        *bytes.last_mut().expect("206 bytes") ^= 1;
        let damaged = Sealed::from_bytes(&bytes).expect("well-formed");
        assert!(vault.open(&example(), &damaged).is_err() && vault.reencrypt(&example(), &damaged).is_err());
        let foreign = Context { version: 9, ..example() };
        assert!(vault.open(&foreign, &sealed).is_err() && vault.rewrap(&foreign, &sealed).is_err());
    }),
    ("panic", |_| {
        let vault = vault();
        let sealed = seal(&vault);
        std::panic::set_hook(Box::new(|_| {}));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let opened = vault.open(&example(), &sealed).expect("opens");
            opened.expose(REASON, |_| panic!("in the middle of it"));
        }));
        assert!(caught.is_err());
    }),
    ("key file loaded", |directory| drop(KeyRing::load(directory.join("keys")).expect("loaded"))),
    ("key file saved", |directory| {
        let key = Canary::KeyEncryptionKey.bytes();
        let ring = KeyRing::from_key(KeyId::from_bytes([1; 16]), 1, &key).expect("32 bytes");
        ring.save(directory.join("saved")).expect("saved");
    }),
    ("key file made", |directory| {
        let mut ring = KeyRing::create(directory.join("made.keys")).expect("made");
        ring.rotate().expect("random bytes");
        ring.save(directory.join("made.keys")).expect("saved");
    }),
    ("key file refused", |directory| {
        let text = Zeroizing::new(std::fs::read(directory.join("keys")).expect("readable"));
        KeyRing::load(directory.join("keys")).expect("as it was");
        let file = std::fs::OpenOptions::new().write(true).open(directory.join("keys")).expect("there");
        let other = if text[text.len() - 2] == b'0' { b"1" } else { b"0" };
        std::os::unix::fs::FileExt::write_all_at(&file, other, text.len() as u64 - 2).expect("written");
        assert!(KeyRing::load(directory.join("keys")).is_err());
    }),
    ("local key", |directory| {
        let digits = SecretSource::File(directory.join("local-key")).read().expect("readable");
        wrapped_file(directory, &LocalKey::from_hex(&digits).expect("64 digits"));
    }),
    ("passphrase", |directory| {
        let text = SecretSource::File(directory.join("passphrase")).read().expect("readable");
        wrapped_file(directory, &Passphrase::new(text).expect("long enough"));
    }),
    ("stack", |_| leaving_no_trace(leave_on_stack)),
];

fn wrapped_file(directory: &Path, wrap: &dyn KeyWrap) {
    let path = directory.join("made.wrapped");
    drop(now(KeyRing::load_or_create_wrapped(&path, wrap)).expect("made"));
    now(KeyRing::rewrap_file(&path, wrap)).expect("rewrapped");
    drop(now(KeyRing::load_wrapped(&path, wrap)).expect("loaded"));
}

/// Returns what is to stay until the search is over.
type Control = fn() -> Vec<u8>;

/// What must be found of what, or the cases above show nothing.
pub(super) const CONTROLS: [(&str, &str, Control); 4] = [
    ("copied out", "secret", || {
        let vault = vault();
        let opened = vault.open(&example(), &seal(&vault)).expect("opens");
        opened.expose(REASON, <[u8]>::to_vec)
    }),
    ("in freed memory", "secret", || {
        // Long, so that what is allocated next overwrites its beginning only.
        let mut bytes = vec![0_u8; 60_000];
        Canary::Secret.write(&mut bytes[50_000..][..32]);
        black_box(&mut bytes);
        Vec::new()
    }),
    ("on the heap", "key-encryption key", || {
        let mut bytes = vec![0; 32];
        Canary::KeyEncryptionKey.write(&mut bytes);
        bytes
    }),
    // As a cipher does that does not wipe what it had: in a call that is over.
    ("on the stack", "data key", || {
        leave_on_stack();
        Vec::new()
    }),
];

#[inline(never)]
fn leave_on_stack() {
    let mut frame = [0; 8 << 10];
    Canary::DataKey.write(&mut frame[1 << 10..][..32]);
    black_box(&mut frame);
}

/// What asks no service is done within one poll.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits for something"),
    }
}

pub(super) const MASK: u8 = 0xa7;
pub(super) const WRAP_NONCE: [u8; 24] = [1; 24];
pub(super) const SALT: [u8; 32] = [2; 32];
pub(super) const NONCE: [u8; 24] = [3; 24];
const REASON: Reason = Reason::new("a test looks at it");
