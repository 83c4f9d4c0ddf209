//! Memory for keys and secrets: kept out of swap, core dumps and child processes as far as the kernel lets us, and wiped
//! before it is used again. The only unsafe code of the crate.
//!
//! Locking works by pages, and asking the kernel for some takes longer than sealing a secret. So pages are cut into
//! slots, and empty ones are kept for the next secret.
#![allow(unsafe_code, reason = "mapping memory; see each block")]

mod pages;
mod registers;

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

#[cfg(test)]
pub(crate) use pages::FORGONE;
pub use pages::MemoryProtection;

/// Bytes in protected memory, all zero at first, wiped on drop. Moving it moves no byte.
pub(crate) struct Protected {
    /// Points to a slot or pages of our own, at least `length` bytes rounded up to 8; dangling if `length` is 0.
    start: NonNull<u8>,
    length: usize,
    /// The [`generation`] that it is of. In another one there is nothing at `start`, or something else.
    generation: u32,
}

// SAFETY: the bytes belong to this value alone, as those of a Box do.
unsafe impl Send for Protected {}
// SAFETY: a shared reference gives out shared references only.
unsafe impl Sync for Protected {}

impl Protected {
    pub(crate) fn zeroed(length: usize) -> Self {
        let mut pool = pool();
        let start = if length == 0 { NonNull::dangling() } else { pool.take(length) };
        Self { start, length, generation: pool.generation }
    }

    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.as_mut_slice().copy_from_slice(bytes);
        copy
    }

    /// # Panics
    /// In a child that was made by `fork` after this was.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.assert_is_here();
        // SAFETY: `length` initialised bytes of our own (mapped zero, wiped to zero since), or none.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// # Panics
    /// As [`as_slice`](Self::as_slice).
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.assert_is_here();
        // SAFETY: as above, and the exclusive borrow of `self` is one of the bytes.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// Without this, a forked child would seal with a key that is all zero.
    fn assert_is_here(&self) {
        let is_here = self.length == 0 || self.generation == generation();
        assert!(is_here, "a child made by fork has no keys and secrets of its parent: load the key ring after forking");
    }
}

impl Drop for Protected {
    fn drop(&mut self) {
        if self.length == 0 || self.generation != generation() {
            return; // nothing was inherited that could be wiped
        }
        let words = self.start.as_ptr().cast::<u64>();
        for index in 0..self.length.div_ceil(8) {
            // SAFETY: slots and pages are aligned to 64 bytes and a multiple of 8 long. Volatile, so that it is done
            // although nobody reads it.
            unsafe { words.add(index).write_volatile(0) };
        }
        registers::wipe(); // copying goes through them
        pool().give(self.start, self.length);
    }
}

/// What the kernel gave for all keys and secrets of this process so far; asks for a first page if there is none yet.
///
/// Less than everything is not an error of the vault: it works the same, and whoever runs it decides. Locking fails above
/// the limit `RLIMIT_MEMLOCK`; `memfd_secret` needs Linux 5.14 and a kernel that was built with it.
///
/// ```
/// let protection = gigmcp_vault::memory_protection();
/// if !protection.locked {
///     eprintln!("secrets may reach swap: {protection:?}; raise the limit of locked memory (ulimit -l)");
/// }
/// ```
#[must_use]
pub fn memory_protection() -> MemoryProtection {
    drop(Protected::zeroed(1));
    pool().protection.expect("there is at least one page now")
}

/// Runs what handles keys in a call of its own, and then wipes where its stack was and what it left in registers: ciphers and
/// hashes keep keys in both, and moving a value copies it.
pub(crate) fn leaving_no_trace<R>(handle: impl FnOnce() -> R) -> R {
    #[inline(never)]
    fn below<R>(handle: impl FnOnce() -> R) -> R {
        handle()
    }
    #[inline(never)]
    fn wipe_stack() {
        black_box(&mut [0_u8; STACK_BYTES]);
    }
    let result = below(handle);
    wipe_stack();
    registers::wipe();
    result
}

/// Which process this is: another number in a child that was made by `fork`, which has none of its parent's pages.
fn generation() -> u32 {
    static MARK: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();
    static LAST: AtomicU32 = AtomicU32::new(0);
    let Some(mark) = MARK.get_or_init(pages::map_fork_mark) else { return 1 };
    match mark.load(Ordering::Relaxed) {
        0 => {
            let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            // Of two threads, both take what the first has written.
            mark.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|first| first, |_| next)
        }
        here => here,
    }
}

/// All slots there are. A global, as every allocator is one: pages are shared by vaults, keys and secrets alike.
static POOL: Mutex<Pool> = Mutex::new(Pool::new(0));

fn pool() -> MutexGuard<'static, Pool> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner); // nothing here panics half way
    if pool.generation != generation() {
        *pool = Pool::new(generation()); // the pages are the parent's
    }
    pool
}

struct Pool {
    /// Slots of 64 bytes, of 128, and so on, each class with pages of its own.
    classes: [Class; CLASSES],
    protection: Option<MemoryProtection>,
    generation: u32,
}

struct Class {
    /// By address.
    chunks: BTreeMap<usize, Chunk>,
    /// The addresses of those with a free slot.
    roomy: BTreeSet<usize>,
}

/// One page of up to 64 slots, or one slot of many pages.
struct Chunk {
    start: NonNull<u8>,
    free: u64,
}

// SAFETY: only says where the pages are; what is in them belongs to the `Protected` of each slot.
unsafe impl Send for Chunk {}

impl Pool {
    const fn new(generation: u32) -> Self {
        Self { classes: [const { Class::new() }; CLASSES], protection: None, generation }
    }

    fn take(&mut self, length: usize) -> NonNull<u8> {
        let Some((class, slot_bytes)) = class_of(length) else { return self.map(length) };
        if self.classes[class].roomy.is_empty() {
            let start = self.map(slot_bytes.max(PAGE_BYTES));
            self.classes[class].add(Chunk { start, free: all_slots(slot_bytes) });
        }
        self.classes[class].take(slot_bytes)
    }

    /// `start` is wiped and came from [`take`](Self::take) with this length.
    fn give(&mut self, start: NonNull<u8>, length: usize) {
        match class_of(length) {
            Some((class, slot_bytes)) => self.classes[class].give(start, slot_bytes),
            None => pages::unmap(start, length),
        }
    }

    fn map(&mut self, length: usize) -> NonNull<u8> {
        let (start, got) = pages::map(length);
        self.protection = Some(self.protection.map_or(got, |before| before.and(got)));
        start
    }
}

impl Class {
    const fn new() -> Self {
        Self { chunks: BTreeMap::new(), roomy: BTreeSet::new() }
    }

    fn add(&mut self, chunk: Chunk) {
        let address = chunk.start.as_ptr().addr();
        self.chunks.insert(address, chunk);
        self.roomy.insert(address);
    }

    fn take(&mut self, slot_bytes: usize) -> NonNull<u8> {
        let address = *self.roomy.first().expect("the caller made room");
        let chunk = self.chunks.get_mut(&address).expect("what has room is there");
        let slot = chunk.free.trailing_zeros() as usize;
        chunk.free &= chunk.free - 1;
        if chunk.free == 0 {
            self.roomy.remove(&address);
        }
        // SAFETY: a set bit in `free` is a slot inside the chunk.
        unsafe { chunk.start.add(slot * slot_bytes) }
    }

    fn give(&mut self, start: NonNull<u8>, slot_bytes: usize) {
        let slot_address = start.as_ptr().addr();
        let address = slot_address & !(PAGE_BYTES - 1); // slots longer than a page begin on one
        let chunk = self.chunks.get_mut(&address).expect("the slot came from this chunk");
        chunk.free |= 1 << ((slot_address - address) / slot_bytes);
        // One empty chunk is kept, so that opening one secret after the other asks the kernel for nothing.
        if chunk.free == all_slots(slot_bytes) && self.roomy.iter().any(|other| *other != address) {
            pages::unmap(chunk.start, slot_bytes.max(PAGE_BYTES));
            self.chunks.remove(&address);
            self.roomy.remove(&address);
        } else {
            self.roomy.insert(address);
        }
    }
}

/// Which slots hold so many bytes, and how long they are; none if it takes pages of its own.
fn class_of(length: usize) -> Option<(usize, usize)> {
    let slot_bytes = length.next_power_of_two().max(SMALLEST_SLOT_BYTES);
    let class = (slot_bytes / SMALLEST_SLOT_BYTES).trailing_zeros() as usize;
    (class < CLASSES).then_some((class, slot_bytes))
}

/// One bit for each slot of a chunk.
fn all_slots(slot_bytes: usize) -> u64 {
    let slots = (PAGE_BYTES / slot_bytes).max(1);
    u64::MAX >> (64 - slots)
}

/// What is mapped at once for small slots; where pages are larger, the rest of one stays unused.
const PAGE_BYTES: usize = 4096;
const SMALLEST_SLOT_BYTES: usize = 64;
/// Up to slots of 64 KiB, the longest secret that is sealed.
const CLASSES: usize = 11;
/// More than what handles keys uses below the call: Argon2id some 12 KiB, sealing and opening 6, but 48 where nothing is
/// optimised.
pub(crate) const STACK_BYTES: usize = if cfg!(debug_assertions) { 64 << 10 } else { 16 << 10 };

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::Command;

    use super::*;
    use crate::context::tests::example;
    use crate::key_ring::KeyRing;
    use crate::secret::SecretBytes;
    use crate::vault::Vault;

    #[test]
    fn slots_do_not_overlap_and_come_back_wiped() {
        for length in [1, 32, 63, 64, 65, 1000, 4096, 5000, 64 << 10, (64 << 10) + 1, 1 << 20] {
            let mut held: Vec<Protected> = (0..70).map(|_| Protected::zeroed(length)).collect();
            for (index, one) in held.iter_mut().enumerate() {
                assert!(one.as_slice().iter().all(|byte| *byte == 0), "{length}");
                one.as_mut_slice().fill(index as u8 + 1);
            }
            for (index, one) in held.iter().enumerate() {
                assert_eq!(one.as_slice().len(), length);
                assert!(one.as_slice().iter().all(|byte| *byte == index as u8 + 1), "{length}, {index}");
            }
            held.reverse();
            drop(held);
            let again: Vec<Protected> = (0..70).map(|_| Protected::zeroed(length)).collect();
            assert!(again.iter().all(|one| one.as_slice().iter().all(|byte| *byte == 0)), "{length}");
        }
    }

    #[test]
    fn threads_share_the_pool() {
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                scope.spawn(move || {
                    for round in 0..2000_usize {
                        let mut held: Vec<_> = (0..5).map(|each| Protected::zeroed(1 + (round * each) % 200)).collect();
                        held.iter_mut().for_each(|one| one.as_mut_slice().fill(thread));
                        assert!(held.iter().all(|one| one.as_slice().iter().all(|byte| *byte == thread)));
                    }
                });
            }
        });
    }

    #[test]
    fn empty_pages_are_given_back_but_for_one() {
        let (class, _) = class_of(2048).expect("there is one");
        let held: Vec<_> = (0..64).map(|_| Protected::zeroed(2048)).collect();
        assert!(pool().classes[class].chunks.len() >= 32);
        drop(held);
        // Other tests may hold some.
        assert!(pool().classes[class].chunks.len() < 8, "{}", pool().classes[class].chunks.len());
    }

    /// A daemon that forks after it loaded its keys must not go on with keys of nothing but zeros.
    #[test]
    fn a_forked_child_has_no_keys_but_can_have_its_own() {
        for memory in ["best", "older"] {
            let output = Command::new(std::env::current_exe().expect("a path"))
                .args(["--exact", "memory::tests::forks", "--ignored", "--nocapture", "--test-threads=1"])
                .env("FORK_MEMORY", memory)
                .output()
                .expect("started");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{memory}: {said}{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[test]
    #[ignore = "the child of the test above"]
    fn forks() {
        FORGONE.store(std::env::var("FORK_MEMORY").expect("set by the test") == "older", Ordering::Relaxed);
        let vault = Vault::new(KeyRing::generate().expect("random bytes"));
        let sealed = vault.seal(&example(), SecretBytes::from(vec![7; 40])).expect("random bytes");
        // SAFETY: this process has one thread that does anything, and the child ends in `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let used =
                catch_unwind(AssertUnwindSafe(|| vault.seal(&example(), SecretBytes::from(vec![7; 40])))).is_ok();
            drop(vault);
            let own = Vault::new(KeyRing::generate().expect("random bytes"));
            let resealed = own.seal(&example(), SecretBytes::from(vec![7; 40])).expect("random bytes");
            let works = own.open(&example(), &resealed).is_ok();
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(used) * 2 + i32::from(!works)) };
        }
        let mut status = 0;
        // SAFETY: waits for the child above; `status` outlives the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "killed by {}, or said {}", status & 0x7f, status >> 8);
        assert!(vault.open(&example(), &sealed).is_ok(), "the parent's are as they were");
    }

    #[test]
    fn no_bytes_take_no_memory() {
        let mut none = Protected::zeroed(0);
        assert!(none.as_slice().is_empty() && none.as_mut_slice().is_empty());
    }
}
