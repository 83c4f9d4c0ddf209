//! What is left of keys and secrets in the memory of a process: nothing, after they are dropped, after an error and after a
//! panic that was caught. Each case runs in a child of its own, which searches itself through `/proc/self/mem`; the controls
//! show that the search finds what is there.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, mpsc};

use zeroize::Zeroizing;

use crate::body::Body;
use crate::context::tests::example;
use crate::exposure::Reason;
use crate::key::{Key, KeyId};
use crate::key_ring::KeyRing;
use crate::memory::FORGONE;
use crate::sealed::Sealed;
use crate::secret::SecretBytes;
use crate::vault::{Fresh, Vault};

/// What may not be found. None of them stands in this process but where a case puts it: each is made byte by byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Canary {
    Secret,
    KeyEncryptionKey,
    DataKey,
    /// Follows from the data key; the parent computes it, and hands it over so that it cannot be found.
    EncryptionKey,
}

impl Canary {
    const ALL: [Self; 4] = [Self::Secret, Self::KeyEncryptionKey, Self::DataKey, Self::EncryptionKey];

    /// A generator that repeats, instead of a text that would be found in the program itself.
    fn byte(self, at: usize) -> u8 {
        if self == Self::EncryptionKey {
            return MASKED.get().expect("set at the start")[at] ^ MASK;
        }
        let seed = (self as u64 + 1) * 1_000_003 + at as u64;
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8
    }

    fn write(self, place: &mut [u8]) {
        place.iter_mut().enumerate().for_each(|(at, byte)| *byte = self.byte(at));
    }

    fn bytes(self) -> SecretBytes {
        let mut bytes = vec![0; LENGTH];
        self.write(&mut bytes);
        SecretBytes::new(bytes)
    }

    /// How often the first half or the second stands in memory that can be read.
    fn count(self) -> usize {
        let (mut found, mut read) = (0, 0);
        let memory = File::open("/proc/self/mem").expect("readable");
        let mut window = vec![0_u8; WINDOW];
        for line in std::fs::read_to_string("/proc/self/maps").expect("readable").lines() {
            let mut words = line.split_whitespace();
            let (range, rights) = (words.next().expect("a range"), words.next().expect("rights"));
            let (from, to) = range.split_once('-').expect("two addresses");
            let number = |hex| u64::from_str_radix(hex, 16).expect("an address");
            let (mut from, to) = (number(from), number(to));
            while rights.starts_with('r') && from < to {
                let length = usize::try_from(to - from).map_or(WINDOW, |left| left.min(WINDOW));
                // The window is not searched: what was read before would be found again.
                let own = window.as_ptr() as u64;
                let overlaps = from < own + WINDOW as u64 && own < from + length as u64;
                if !overlaps && memory.read_exact_at(&mut window[..length], from).is_ok() {
                    read += length;
                    found += self.count_in(&window[..length]);
                }
                if overlaps {
                    found += self.count_around(&memory, &mut window, from, from + length as u64, own);
                }
                from += length as u64;
            }
        }
        assert!(read > 1 << 20, "only {read} bytes could be read");
        found
    }

    fn count_around(self, memory: &File, window: &mut [u8], from: u64, to: u64, own: u64) -> usize {
        let pieces = [(from, own.min(to)), (own + WINDOW as u64, to)];
        let mut found = 0;
        for (from, to) in pieces.into_iter().filter(|(from, to)| from < to) {
            let length = usize::try_from(to - from).expect("within a window");
            if memory.read_exact_at(&mut window[..length], from).is_ok() {
                found += self.count_in(&window[..length]);
            }
        }
        found
    }

    fn count_in(self, bytes: &[u8]) -> usize {
        let is_half = |at: usize, from: usize| {
            let piece = bytes.get(at..at + HALF).unwrap_or_default();
            piece.len() == HALF && piece.iter().enumerate().all(|(index, byte)| *byte == self.byte(from + index))
        };
        let (first, second) = (self.byte(0), self.byte(HALF));
        let halves = bytes.iter().enumerate().map(|(at, byte)| {
            usize::from(*byte == first && is_half(at, 0)) + usize::from(*byte == second && is_half(at, HALF))
        });
        halves.sum()
    }
}

fn vault() -> Vault {
    let key = Canary::KeyEncryptionKey.bytes();
    Vault::new(KeyRing::from_key(KeyId::from_bytes([1; 16]), 1, &key).expect("32 bytes"))
}

fn seal(vault: &Vault) -> Sealed {
    let data_key = Key::fill(|place| {
        Canary::DataKey.write(place);
        Ok::<_, std::convert::Infallible>(())
    });
    let fresh = Fresh { data_key: data_key.expect("cannot fail"), wrap_nonce: [1; 24], salt: SALT, nonce: NONCE };
    crate::vault::leaving_no_trace(|| vault.seal_with(&example(), &Canary::Secret.bytes(), &fresh))
}

/// Each leaves the process as it should be searched.
const CASES: [(&str, fn()); 8] = [
    ("drop", || {
        let vault = vault();
        let sealed = seal(&vault);
        let opened = vault.open(&example(), &sealed).expect("opens");
        assert_eq!(opened.expose(REASON, <[u8]>::len), LENGTH);
    }),
    ("rewrap and reencrypt", || {
        let vault = vault();
        let sealed = seal(&vault);
        drop((vault.rewrap(&example(), &sealed).expect("opens"), vault.reencrypt(&example(), &sealed).expect("opens")));
    }),
    ("text", || {
        let vault = vault();
        let opened = vault.open(&example(), &seal(&vault)).expect("opens");
        assert!(opened.into_text().is_err(), "an error that has the secret");
    }),
    ("refused", || {
        let vault = vault();
        let sealed = seal(&vault);
        let mut bytes = sealed.as_bytes().to_vec();
        *bytes.last_mut().expect("206 bytes") ^= 1;
        let damaged = Sealed::from_bytes(&bytes).expect("well-formed");
        assert!(vault.open(&example(), &damaged).is_err() && vault.reencrypt(&example(), &damaged).is_err());
        let foreign = crate::context::Context { version: 9, ..example() };
        assert!(vault.open(&foreign, &sealed).is_err() && vault.rewrap(&foreign, &sealed).is_err());
    }),
    ("panic", || {
        let vault = vault();
        let sealed = seal(&vault);
        std::panic::set_hook(Box::new(|_| {}));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let opened = vault.open(&example(), &sealed).expect("opens");
            opened.expose(REASON, |_| panic!("in the middle of it"));
        }));
        assert!(caught.is_err());
    }),
    ("key file", || {
        let path = std::env::temp_dir().join(format!("gigmcp-vault-residue-{}", std::process::id()));
        let ring =
            KeyRing::from_key(KeyId::from_bytes([1; 16]), 1, &Canary::KeyEncryptionKey.bytes()).expect("32 bytes");
        ring.save(&path).expect("saved");
        drop(KeyRing::load(&path).expect("loaded"));
        std::fs::remove_file(&path).expect("removed");
    }),
    ("wiped vector", || {
        let mut bytes = Zeroizing::new(vec![0; LENGTH]);
        Canary::Secret.write(&mut bytes);
        drop(SecretBytes::from(bytes));
    }),
    ("stack", || crate::vault::leaving_no_trace(leave_on_stack)),
];

/// What must be found, or the cases above show nothing.
const CONTROLS: [(&str, Control, Canary); 4] = [
    ("copied out", copied_out, Canary::Secret),
    ("in freed memory", freed, Canary::Secret),
    ("on the heap", on_the_heap, Canary::KeyEncryptionKey),
    ("on the stack", on_the_stack, Canary::DataKey),
];

/// Returns what is to stay until the search is over.
type Control = fn() -> Vec<u8>;

fn copied_out() -> Vec<u8> {
    let vault = vault();
    let opened = vault.open(&example(), &seal(&vault)).expect("opens");
    opened.expose(REASON, <[u8]>::to_vec)
}

fn freed() -> Vec<u8> {
    // Long, so that what is allocated next overwrites its beginning only.
    let mut bytes = vec![0_u8; 60_000];
    Canary::Secret.write(&mut bytes[50_000..][..LENGTH]);
    Vec::new()
}

fn on_the_heap() -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    Canary::KeyEncryptionKey.write(&mut bytes);
    bytes
}

/// As a cipher does that does not wipe what it had: in a call that is over.
fn on_the_stack() -> Vec<u8> {
    leave_on_stack();
    Vec::new()
}

#[inline(never)]
fn leave_on_stack() {
    let mut frame = [0; 8 << 10];
    Canary::DataKey.write(&mut frame[1 << 10..][..LENGTH]);
    black_box(&mut frame);
}

/// With the best memory there is, which the search cannot read, and with that of older kernels, which it can.
#[test]
fn nothing_is_left_after_drop_error_and_panic() {
    for memory in ["best", "older"] {
        for (case, _) in CASES {
            assert_eq!(child(case, memory), NOTHING, "{case}, {memory}");
        }
    }
}

#[test]
fn what_is_there_is_found() {
    for (case, _, canary) in CONTROLS {
        let found = child(case, "best");
        let line = found.lines().find(|line| line.starts_with(&format!("{canary:?}: "))).expect("a line for each");
        assert!(!line.ends_with(": 0"), "{case}: {found}");
    }
}

#[test]
fn a_living_secret_is_hidden_by_secret_memory_alone() {
    assert!(child("alive", "older").starts_with("Secret: 2\n"), "both halves, in one place");
    let hidden = child("alive", "best").starts_with("Secret: 0\n");
    assert_eq!(hidden, crate::memory::memory_protection().secret);
}

fn child(case: &str, memory: &str) -> String {
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "residue::searched", "--ignored", "--nocapture", "--test-threads=1"])
        .envs([("RESIDUE_CASE", case), ("RESIDUE_MEMORY", memory), ("RESIDUE_MASKED", &masked())])
        .output()
        .expect("started");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{case}: {text} {}", String::from_utf8_lossy(&output.stderr));
    let lines = text.lines().filter_map(|line| line.strip_prefix("residue "));
    lines.map(|line| format!("{line}\n")).collect()
}

fn masked() -> String {
    let mut data_key = [0; LENGTH];
    Canary::DataKey.write(&mut data_key);
    let body = Body::derive(&Key::copy_of(&data_key), &SALT, &NONCE, &example().encode());
    hex::encode(body.encryption_key().map(|byte| byte ^ MASK))
}

#[test]
#[ignore = "the child of the tests above"]
fn searched() {
    let case = std::env::var("RESIDUE_CASE").expect("set by the test");
    let masked = hex::decode(std::env::var("RESIDUE_MASKED").expect("set by the test")).expect("hex");
    MASKED.set(masked).expect("set once");
    FORGONE.store(std::env::var("RESIDUE_MEMORY").expect("set by the test") == "older", Ordering::Relaxed);
    // In a thread that then waits, so that what was left on its stack is not overwritten by the search.
    let (done, is_done) = mpsc::channel();
    let (end, is_over) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let held = run(&case);
        done.send(()).expect("the test waits");
        let _ = is_over.recv();
        drop(held);
    });
    is_done.recv().expect("the case ran");
    for canary in Canary::ALL {
        println!("\nresidue {canary:?}: {}", canary.count());
    }
    drop(end);
    thread.join().expect("nothing panicked");
}

fn run(case: &str) -> (Vec<u8>, Option<SecretBytes>) {
    if let Some((_, run)) = CASES.iter().find(|(name, _)| *name == case) {
        run();
        return (Vec::new(), None);
    }
    match CONTROLS.iter().find(|(name, ..)| *name == case) {
        Some((_, run, _)) => (run(), None),
        None => (Vec::new(), Some(Canary::Secret.bytes())),
    }
}

static MASKED: OnceLock<Vec<u8>> = OnceLock::new();

const NOTHING: &str = "Secret: 0\nKeyEncryptionKey: 0\nDataKey: 0\nEncryptionKey: 0\n";
const MASK: u8 = 0xa7;
const SALT: [u8; 32] = [2; 32];
const NONCE: [u8; 24] = [3; 24];
const REASON: Reason = Reason::new("a test looks at it");
const LENGTH: usize = 32;
const HALF: usize = LENGTH / 2;
const WINDOW: usize = 1 << 20;
