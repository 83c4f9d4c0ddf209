//! Pages from the kernel, and what it promised about them.

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicU32;

#[cfg(target_os = "linux")]
use rustix::mm::{Advice, madvise};
use rustix::mm::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};

/// How the memory of keys and secrets is protected; each holds for all of it or is `false`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MemoryProtection {
    /// Taken from the kernel's own map of memory (`memfd_secret`), so that no other process reads it, through
    /// `/proc/PID/mem` or otherwise, not even with the rights of root, and most faults of the kernel do not either. Who can
    /// make this process run code, as a debugger does, still reads it.
    pub secret: bool,
    /// Never written to swap.
    pub locked: bool,
    /// Left out of core dumps.
    pub not_dumped: bool,
    /// Missing or zero in a child that is made by `fork`. Keys and secrets of the parent panic there when they are used:
    /// load the key ring in the process that uses it, after it has become a daemon.
    pub not_inherited: bool,
}

impl MemoryProtection {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            secret: self.secret && other.secret,
            locked: self.locked && other.locked,
            not_dumped: self.not_dumped && other.not_dumped,
            not_inherited: self.not_inherited && other.not_inherited,
        }
    }
}

/// At least `length` zero bytes, aligned to a page, with the best protection there is.
pub(super) fn map(length: usize) -> (NonNull<u8>, MemoryProtection) {
    #[cfg(target_os = "linux")]
    if !is_forgone()
        && let Some(start) = map_secret(length)
    {
        let all = MemoryProtection { secret: true, locked: true, not_dumped: true, not_inherited: true };
        return (start, all);
    }
    map_locked(length)
}

/// Only the tests do without what the kernel has, to see what its absence comes to.
#[cfg(target_os = "linux")]
fn is_forgone() -> bool {
    #[cfg(test)]
    return FORGONE.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(test))]
    false
}

#[cfg(test)]
pub(crate) static FORGONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// `start` and `length` as they were mapped, and nobody uses them any more.
pub(super) fn unmap(start: NonNull<u8>, length: usize) {
    // SAFETY: the caller gave the pages up. They are wiped already, so a failure leaks nothing but address space.
    let _ = unsafe { munmap(start.as_ptr().cast(), length) };
}

/// `None` if the kernel has no such memory, or allows no more of it.
#[cfg(target_os = "linux")]
fn map_secret(length: usize) -> Option<NonNull<u8>> {
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};

    // SAFETY: takes one integer and gives a new descriptor or an error.
    let number = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let number = RawFd::try_from(number).ok().filter(|number| *number >= 0)?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else knows it.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::fs::ftruncate(&file, length as u64).ok()?;
    // SAFETY: new pages at a place of the kernel's choice, over nothing of ours. They outlive the descriptor. The file has
    // no name and no other mapping, so nobody else can write to them or shorten it.
    let start =
        unsafe { rustix::mm::mmap(null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0) };
    let start = NonNull::new(start.ok()?.cast::<u8>())?;
    // The mapping is shared: without this, a child that wipes its copy would wipe ours. With it, there is nothing at this
    // place in a child, and touching it ends the child.
    // SAFETY: pages of our own; the advice changes nothing in this process.
    if unsafe { madvise(start.as_ptr().cast(), length, Advice::LinuxDontFork) }.is_err() {
        unmap(start, length);
        return None;
    }
    Some(start)
}

fn map_locked(length: usize) -> (NonNull<u8>, MemoryProtection) {
    let flags = MapFlags::PRIVATE;
    // SAFETY: new pages at a place of the kernel's choice, over nothing of ours.
    let start = unsafe { mmap_anonymous(null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags) };
    let start = start.ok().and_then(|start| NonNull::new(start.cast::<u8>()));
    let Some(start) = start else {
        handle_alloc_error(Layout::from_size_align(length, 1).unwrap_or(Layout::new::<u8>()));
    };
    let place: *mut c_void = start.as_ptr().cast();
    // SAFETY: pages of our own; locking changes nothing in them.
    let locked = unsafe { mlock(place, length) }.is_ok();
    #[cfg(target_os = "linux")]
    // SAFETY: pages of our own; the advices change nothing in this process.
    let [not_dumped, not_inherited] = [Advice::LinuxDontDump, Advice::LinuxWipeOnFork]
        .map(|advice| unsafe { madvise(place, length, advice) }.is_ok());
    #[cfg(not(target_os = "linux"))]
    let [not_dumped, not_inherited] = [false; 2];
    (start, MemoryProtection { secret: false, locked, not_dumped, not_inherited })
}

/// A number that is zero at first, and zero again in a child that is made by `fork`. `None` if the kernel has no such memory.
pub(super) fn map_fork_mark() -> Option<&'static AtomicU32> {
    #[cfg(target_os = "linux")]
    {
        let length = size_of::<AtomicU32>();
        let flags = MapFlags::PRIVATE;
        // SAFETY: a new page at a place of the kernel's choice, over nothing of ours.
        let start = unsafe { mmap_anonymous(null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags) }.ok()?;
        let start = NonNull::new(start.cast::<u8>())?;
        // SAFETY: a page of our own; the advice changes nothing in this process.
        if unsafe { madvise(start.as_ptr().cast(), length, Advice::LinuxWipeOnFork) }.is_err() {
            unmap(start, length);
            return None;
        }
        // SAFETY: aligned to a page, zero, never unmapped, and only ever reached through this reference.
        Some(unsafe { start.cast::<AtomicU32>().as_ref() })
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `/proc/self/smaps` says of the mapping that holds this address.
    fn flags(start: NonNull<u8>) -> Vec<String> {
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("readable");
        let address = start.as_ptr().addr();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((from, to)) = range
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&address);
            }
            if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().map(String::from).collect();
            }
        }
        panic!("{address:x} is not mapped");
    }

    #[test]
    fn what_is_reported_is_what_the_kernel_says() {
        for (start, got) in [map(4096), map_locked(4096)] {
            let flags = flags(start);
            let has = |flag: &str| flags.iter().any(|found| found == flag);
            assert_eq!(got.locked, has("lo"), "{got:?} {flags:?}");
            assert_eq!(got.not_dumped, has("dd"), "{got:?} {flags:?}");
            assert_eq!(got.not_inherited, has("dc") || has("wf"), "{got:?} {flags:?}");
            assert!(got.not_dumped && got.not_inherited, "every kernel that we know has these: {got:?}");
            // Read by the kernel on our behalf, where it can.
            // SAFETY: the page is ours.
            unsafe { start.as_ptr().write(7) };
            let memory = std::fs::File::open("/proc/self/mem").expect("readable");
            let mut byte = [0];
            let read = std::os::unix::fs::FileExt::read_exact_at(&memory, &mut byte, start.as_ptr().addr() as u64);
            assert_eq!(read.is_err(), got.secret, "{read:?}");
            unmap(start, 4096);
        }
    }
}
