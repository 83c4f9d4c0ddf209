//! How deep the stack is used by what handles keys: no deeper than it is wiped.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use super::cases::now;
use crate::context::tests::example;
use crate::key_file::text;
use crate::key_ring::KeyRing;
use crate::key_wrap::{KeyWrap, Passphrase};
use crate::memory::STACK_BYTES;
use crate::sealed::MAX_SECRET_BYTES;
use crate::secret::{SecretBytes, SecretString};
use crate::vault::Vault;

#[test]
fn the_stack_is_wiped_as_deep_as_it_is_used() {
    let vault = Vault::new(KeyRing::generate().expect("random bytes"));
    let (mut short, mut long) = (SecretBytes::from(vec![7; 40]), SecretBytes::from(vec![7; MAX_SECRET_BYTES]));
    let ring = KeyRing::generate().expect("random bytes");
    let content = text::render(&ring);
    let passphrase = Passphrase::new(SecretString::from(String::from("a passphrase"))).expect("long enough");
    for secret in [&mut short, &mut long] {
        let sealed = vault.seal_borrowed(&example(), secret).expect("short enough");
        is_wiped("seal", || drop(vault.seal_borrowed(&example(), secret)));
        is_wiped("open", || drop(vault.open(&example(), &sealed)));
        is_wiped("rewrap", || drop(vault.rewrap(&example(), &sealed)));
        is_wiped("reencrypt", || drop(vault.reencrypt(&example(), &sealed)));
    }
    is_wiped("render", || drop(text::render(&ring)));
    is_wiped("parse", || drop(text::parse(content.as_bytes())));
    is_wiped("passphrase", || drop(now(passphrase.wrap(&short))));
    let used = std::panic::catch_unwind(|| {
        is_wiped("twin", || {
            let _ = black_box([7_u8; STACK_BYTES]);
        })
    });
    assert!(used.is_err(), "deeper use is noticed");
}

fn is_wiped(case: &str, run: impl FnOnce()) {
    let here = 0_u8;
    let top = black_box(&raw const here).addr();
    paint();
    below(run);
    let mut stack = vec![0; PAINTED - (16 << 10)];
    let memory = File::open("/proc/self/mem").expect("readable");
    let start = (top - stack.len()) as u64;
    memory.read_exact_at(&mut stack, start).expect("our own stack");
    let first = stack.iter().position(|byte| *byte != PAINT).expect("something was called");
    let used = stack.len() - first;
    // What is deepest was written by the wiping, but for the address it returned to.
    let is_wiped = stack[first..].iter().skip(256).take(512).all(|byte| *byte == 0);
    assert!(is_wiped && used < STACK_BYTES + CALLS, "{case} uses {used} bytes, {STACK_BYTES} are wiped");
}

#[inline(never)]
fn paint() {
    black_box(&mut [PAINT; PAINTED]);
}

#[inline(never)]
fn below(run: impl FnOnce()) {
    run();
}

const PAINT: u8 = 0xa5;
const PAINTED: usize = 256 << 10;
/// The frames between here and the call that is wiped.
const CALLS: usize = 8 << 10;
