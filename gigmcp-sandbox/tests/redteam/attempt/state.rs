//! Ways to keep more in `/state` than may be there, without being seen.
//!
//! Each holds many times the quota of the tests for half a minute, and then ends by itself.

use std::ffi::{c_int, c_long, c_void};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn mmap(at: *mut c_void, length: usize, rights: c_int, flags: c_int, fd: c_int, offset: c_long) -> *mut c_void;
    fn clone(run: extern "C" fn(*mut c_void) -> c_int, stack: *mut u8, flags: c_int, argument: *mut c_void) -> c_int;
    fn inotify_init1(flags: c_int) -> c_int;
    fn inotify_add_watch(fd: c_int, path: *const u8, events: u32) -> c_int;
    fn posix_fallocate(fd: c_int, offset: c_long, length: c_long) -> c_int;
    fn _exit(code: c_int) -> !;
}

/// The attempt of this name, if it is one against the quota.
pub(crate) fn attempt(name: &str) -> Option<io::Result<String>> {
    Some(match name {
        "state-open" => hold_nameless(Keep::Open),
        "state-mapped" => hold_nameless(Keep::OnePage),
        "state-own-table" => in_a_thread_with_its_own_descriptors(),
        "state-dead-leader" => after_the_first_thread(),
        "state-hidden" => hide_and_seek(),
        "state-unreadable" => unreadable_most_of_the_time(),
        "state-moving" => move_about(),
        _ => return None,
    })
}

#[derive(Clone, Copy)]
enum Keep {
    Open,
    OnePage,
}

fn big(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    // SAFETY: integers only.
    match unsafe { posix_fallocate(file.as_raw_fd(), 0, FILE_BYTES) } {
        0 => Ok(file),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn hold_nameless(keep: Keep) -> io::Result<String> {
    let mut open = Vec::new();
    for number in 0..FILES {
        let path = PathBuf::from(format!("/state/{number}"));
        let file = big(&path)?;
        fs::remove_file(path)?;
        match keep {
            Keep::Open => open.push(file),
            Keep::OnePage => {
                // SAFETY: a new mapping; PROT_READ and MAP_SHARED.
                let at = unsafe { mmap(std::ptr::null_mut(), 4096, 1, 1, file.as_raw_fd(), 0) };
                assert_ne!(at as isize, -1);
            }
        }
    }
    std::thread::sleep(HOLD);
    Ok(String::new())
}

extern "C" fn hold_and_end(_: *mut c_void) -> c_int {
    let ended = hold_nameless(Keep::Open);
    println!("{ended:?}");
    // SAFETY: ends every thread.
    unsafe { _exit(0) }
}

/// `CLONE_VM`, `CLONE_SIGHAND`, `CLONE_THREAD`, `CLONE_SYSVSEM`, but not `CLONE_FILES`.
fn in_a_thread_with_its_own_descriptors() -> io::Result<String> {
    let stack = Box::leak(vec![0_u8; 256 << 10].into_boxed_slice()).as_mut_ptr_range().end;
    // SAFETY: a stack of its own that is never freed. This thread does nothing but wait.
    unsafe { clone(hold_and_end, stack.wrapping_sub(stack as usize % 16), 0x5_0900, std::ptr::null_mut()) };
    std::thread::sleep(HOLD * 10);
    Ok(String::new())
}

fn after_the_first_thread() -> io::Result<String> {
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(100));
        hold_and_end(std::ptr::null_mut());
    });
    // SAFETY: `exit` ends this thread alone.
    unsafe { syscall(60, 0_usize) };
    Ok(String::new())
}

/// Moves what is too much to where whoever measures has been, as they tell by opening directories.
fn hide_and_seek() -> io::Result<String> {
    const IN_OPEN: u32 = 0x20;
    const IN_CLOSE_NOWRITE: u32 = 0x10;
    for name in ["a", "b", "c"] {
        fs::create_dir(Path::new("/state").join(name))?;
    }
    let listed = fs::read_dir("/state")?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    let [first, second, third] = &listed[..] else { panic!("{listed:?}") };
    for number in 0..MANY {
        File::create(second.join(number.to_string()))?;
    }
    let (here, there) = (third.join("big"), first.join("big"));
    fs::create_dir(&here)?;
    let watch = |path: &Path| format!("{}\0", path.display());
    // SAFETY: NUL-terminated names; a new descriptor.
    let (mut events, opened, closed) = unsafe {
        let fd = inotify_init1(0);
        let opened = inotify_add_watch(fd, watch(second).as_ptr(), IN_OPEN | 0x100_0000);
        let closed = inotify_add_watch(fd, watch(third).as_ptr(), IN_CLOSE_NOWRITE | 0x100_0000);
        (File::from_raw_fd(fd), opened, closed)
    };
    let (mut hidden, mut times) = (false, 0);
    let started = Instant::now();
    while started.elapsed() < HOLD {
        let mut buffer = [0_u8; 4096];
        let length = events.read(&mut buffer)?;
        let mut rest = &buffer[..length];
        while rest.len() >= 16 {
            let word = |at: usize| i32::from_ne_bytes(rest[at..at + 4].try_into().expect("four bytes"));
            let (of, name) = (word(0), word(12) as usize);
            if of == opened && !hidden {
                fs::rename(&here, &there)?;
                (hidden, times) = (true, times + 1);
                if times == 2 {
                    (0..FILES).try_for_each(|number| big(&there.join(number.to_string())).map(drop))?;
                }
            } else if of == closed && hidden {
                fs::rename(&there, &here)?;
                hidden = false;
            }
            rest = &rest[16 + name..];
        }
    }
    Ok(format!("hidden {times} times"))
}

/// Keeps others from looking but for a moment, in which there is little to be seen.
fn unreadable_most_of_the_time() -> io::Result<String> {
    let (around, inside) = (Path::new("/state/around"), Path::new("/state/around/inside"));
    fs::create_dir_all(inside)?;
    for _ in 0..20 {
        fs::set_permissions(around, fs::Permissions::from_mode(0o300))?;
        (0..FILES).try_for_each(|number| big(&inside.join(number.to_string())).map(drop))?;
        std::thread::sleep(Duration::from_millis(1400));
        (0..FILES).try_for_each(|number| fs::remove_file(inside.join(number.to_string())))?;
        fs::set_permissions(around, fs::Permissions::from_mode(0o700))?;
        std::thread::sleep(Duration::from_millis(350));
    }
    Ok(String::new())
}

/// An honest server that is always moving a file of more than half its quota, and telling how long it was held up.
fn move_about() -> io::Result<String> {
    for name in ["a", "b"] {
        fs::create_dir(Path::new("/state").join(name))?;
    }
    for number in 0..1000 {
        File::create(format!("/state/b/{number}"))?;
    }
    let places = [Path::new("/state/a/file"), Path::new("/state/b/file")];
    drop(big(places[0])?);
    let (started, mut longest, mut moves) = (Instant::now(), Duration::ZERO, 0_u64);
    while started.elapsed() < HOLD / 8 {
        for (from, to) in [(0, 1), (1, 0)] {
            let before = Instant::now();
            fs::rename(places[from], places[to])?;
            longest = longest.max(before.elapsed());
            moves += 1;
        }
    }
    Ok(format!("{moves} moves, longest {} us", longest.as_micros()))
}

const HOLD: Duration = Duration::from_secs(32);
const FILES: usize = 6;
const FILE_BYTES: c_long = 6 << 20;
/// As many as take milliseconds to look at.
const MANY: usize = 9000;
