//! Rows 1 to 35: files that are not ours to read, write, run or fill.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::case::{Case, Outcome, Stopped, World, any, case, done};
use crate::numbers as n;
use crate::sys::{self, AT_FDCWD, at, call, text};

pub(crate) const CASES: &[Case] = &[
    case(1, "read /etc/shadow", |_| read("/etc/shadow")),
    case(1, "list /root", |_| list("/root")),
    case(1, "read a file of the host by its path", |world| read(world.get("canary"))),
    case(2, "climb out with ../../..", |world| {
        std::env::set_current_dir("/")?;
        read(&format!("{}{}", "../".repeat(40), world.get("canary").trim_start_matches('/')))
    }),
    case(2, "read through an inherited descriptor", read_inherited),
    case(2, "climb out of an inherited directory", climb_inherited),
    case(2, "chroot below, climb, chroot again", chroot_and_climb),
    case(3, "follow /proc/1/root, cwd, exe", |_| {
        let names = ["root", "cwd", "exe"].map(|name| format!("/proc/1/{name}"));
        any(names.into_iter().filter(|name| fs::read_link(name).is_ok()).collect())
    }),
    case(3, "list /proc/1/root/", |_| list("/proc/1/root/")),
    case(15, "open /etc/hosts for writing", |_| open_to_write("/etc/hosts")),
    case(15, "open /etc/resolv.conf for writing", |_| open_to_write("/etc/resolv.conf")),
    case(15, "open a file below /usr for writing", |_| {
        let file = find("/usr", 1, Path::is_file).pop();
        open_to_write(&file.ok_or(Stopped::Nothing("no file"))?)
    }),
    case(15, "make /etc/ld.so.preload", |_| make("/etc/ld.so.preload")),
    case(15, "truncate /etc/hosts", |_| Ok(File::options().write(true).open("/etc/hosts")?.set_len(0).map(ok)?)),
    case(15, "delete /etc/hosts", |_| Ok(fs::remove_file("/etc/hosts").map(ok)?)),
    case(15, "chmod /etc/hosts", |_| Ok(fs::set_permissions("/etc/hosts", fs::Permissions::from_mode(0o666)).map(ok)?)),
    case(15, "chown /etc/hosts", |_| done(call(n::FCHOWNAT, &[AT_FDCWD, text("/etc/hosts"), 65534, 65534, 0]))),
    case(15, "touch /etc/hosts", |_| done(call(n::UTIMENSAT, &[AT_FDCWD, text("/etc/hosts"), 0, 0]))),
    case(15, "set a user attribute of /etc/hosts", |_| set_attribute("/etc/hosts", "user.x")),
    case(13, "open standard input for writing", |_| Ok(File::options().write(true).open("/proc/self/fd/0").map(ok)?)),
    case(13, "reopen a read-only descriptor for writing", |_| {
        let file = File::open("/etc/hosts")?;
        Ok(File::options().write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd())).map(ok)?)
    }),
    case(21, "make a file anywhere but in /tmp, /run, /dev/shm and /state", make_anywhere),
    case(21, "open any file outside those for writing", open_any_to_write),
    case(18, "mknod /dev/mem's number", |_| make_node(0o020_000, 1, 1)),
    case(18, "mknod a disk", |_| make_node(0o060_000, 8, 0)),
    case(18, "mknod an overlay whiteout", |_| make_node(0o020_000, 0, 0)),
    case(20, "find a device that is not one of ours", |_| any(devices())),
    case(20, "find a file, pipe or link too many in /dev", |_| {
        let extra = |name: &String| !DEV.contains(&name.as_str());
        any(names("/dev")?.into_iter().filter(extra).collect())
    }),
    case(20, "touch the host's devices", |_| {
        let touched = |name: &&str| call(n::UTIMENSAT, &[AT_FDCWD, text(&format!("/dev/{name}")), 0, 0]).is_ok();
        any(["null", "zero", "full", "random", "urandom"].into_iter().filter(touched).map(str::to_owned).collect())
    }),
    case(20, "find somebody's terminal in /dev/pts", |_| {
        any(names("/dev/pts")?.into_iter().filter(|name| name != "ptmx").collect())
    }),
    case(22, "gain by a set-user-id program", |world| gain(world.get("set_user_id"))),
    case(22, "gain by file capabilities", |world| gain(world.get("file_capabilities"))),
    case(22, "find a set-user-id file that works", |_| any(set_user_id_files())),
    case(23, "run a program put into /tmp", |_| run_copy("/tmp/redteam-copy"))
        .by_design("compilers and package managers do; it has no more rights than the server"),
    case(24, "run a program from a memfd", |_| run_from_memory())
        .by_design("as row 23; Landlock does not see it and seccomp keeps it as confined"),
    case(25, "run a script of /tmp with an interpreter of the root", |_| run_script())
        .by_design("what is run is the interpreter, the script is its input"),
    case(25, "map memory that can be written and run", |_| {
        done(call(n::MMAP, &[0, 4096, 7, 0x22, -1, 0])).map(|_| String::new())
    })
    .by_design("JIT compilers do"),
    case(27, "hard-link a file of the root into /tmp", |_| Ok(fs::hard_link("/etc/hosts", "/tmp/link").map(ok)?)),
    case(27, "rename over a file of the root", |_| {
        make("/tmp/file")?;
        Ok(fs::rename("/tmp/file", "/etc/hosts").map(ok)?)
    }),
    case(27, "rename a file of the root away", |_| Ok(fs::rename("/etc/hosts", "/etc/hosts2").map(ok)?)),
    case(27, "put a symlink in place of a file of the root", |_| {
        symlink("/tmp", "/tmp/link2")?;
        Ok(fs::rename("/tmp/link2", "/etc/hosts").map(ok)?)
    }),
    case(30, "make a sparse file of 1 TiB", |_| {
        sys::ignore_signal(25); // SIGXFSZ
        let file = File::create("/tmp/sparse")?;
        Ok(file.set_len(1 << 40).map(ok)?)
    }),
    case(30, "make 2,000 files in /tmp", |_| many_files("/tmp")).alone(),
    case(30, "make 2,000 files in /run", |_| many_files("/run")).alone(),
    case(30, "make 2,000 files in /dev/shm", |_| many_files("/dev/shm")).alone(),
    case(30, "make 2,000 directories, each in the last", |_| deep()).alone(),
    case(31, "write 64 MiB to /tmp", |_| fill("/tmp/file")).alone(),
    case(31, "write 64 MiB to /run", |_| fill("/run/file")).alone(),
    case(31, "write 64 MiB to /dev/shm", |_| fill("/dev/shm/file")).alone(),
    case(32, "set security.capability on a file of ours", |_| {
        make("/tmp/file")?;
        set_attribute("/tmp/file", "security.capability")
    }),
    case(32, "set a trusted attribute on a file of ours", |_| {
        make("/tmp/file")?;
        set_attribute("/tmp/file", "trusted.x")
    }),
    case(32, "keep 64 MiB in user attributes", |_| attribute_bomb()).alone(),
    case(33, "make 64 inotify instances", |_| repeat(64, || sys::descriptor(n::INOTIFY_INIT1, &[0]))).alone(),
    case(33, "watch 300 files by 30 instances", |_| watch_many()).alone(),
];

const DEV: [&str; 14] = [
    "core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero",
];

fn ok<T>(_: T) -> String {
    String::new()
}

/// Reads a little; an empty file tells nothing.
pub(crate) fn read(path: &str) -> Outcome {
    let mut found = Vec::new();
    File::open(path)?.take(256).read_to_end(&mut found)?;
    if found.is_empty() {
        return Err(Stopped::Nothing("empty"));
    }
    Ok(String::from_utf8_lossy(&found).escape_default().take(60).collect())
}

pub(crate) fn names(path: &str) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(path)?.flatten();
    Ok(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn list(path: &str) -> Outcome {
    any(names(path)?)
}

/// Makes a file that was not there.
fn make(path: &str) -> Outcome {
    Ok(File::create(path).map(ok)?)
}

pub(crate) fn open_to_write(path: &str) -> Outcome {
    Ok(File::options().write(true).open(path).map(ok)?)
}

fn read_inherited(world: &World) -> Outcome {
    let mut found = Vec::new();
    for fd in world.descriptors.iter().filter(|fd| **fd > 2) {
        let mut byte = [0];
        if sys::readable(*fd, 0) && sys::borrowed(*fd).read(&mut byte).is_ok_and(|length| length > 0) {
            found.push(fd.to_string());
        }
    }
    any(found)
}

fn climb_inherited(world: &World) -> Outcome {
    let path = format!("{}{}", "../".repeat(40), world.get("canary").trim_start_matches('/'));
    let opens = |fd: &&i32| sys::descriptor(n::OPENAT, &[i64::from(**fd), text(&path), 0]).is_ok();
    let others = world.descriptors.iter().filter(|fd| **fd > 2);
    any(others.filter(opens).map(ToString::to_string).collect())
}

/// The old way out of a chroot: keep a directory that is above the new root.
fn chroot_and_climb(world: &World) -> Outcome {
    let _ = fs::create_dir("/tmp/below");
    let above = File::open("/")?;
    call(n::CHROOT, &[text("/tmp/below")])?;
    call(n::FCHDIR, &[i64::from(above.as_raw_fd())])?;
    let path = format!("{}{}", "../".repeat(40), world.get("canary").trim_start_matches('/'));
    read(&path)
}

/// The first so many paths below that this finds, those at the top first; `/proc` is left out, symlinks are not followed.
fn find(top: &str, count: usize, mut wanted: impl FnMut(&Path) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = VecDeque::from([PathBuf::from(top)]);
    let mut seen = 0;
    while let Some(path) = open.pop_front() {
        seen += 1;
        if seen > MOST_FILES {
            break;
        }
        if wanted(&path) {
            found.push(path.display().to_string());
        }
        if found.len() == count {
            break;
        }
        if path != Path::new("/proc") && fs::symlink_metadata(&path).is_ok_and(|kind| kind.is_dir()) {
            open.extend(fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    found
}

fn is_writable_place(path: &Path) -> bool {
    ["/tmp", "/run", "/dev/shm", "/state", "/proc"].iter().any(|place| path.starts_with(place))
}

/// Whether it is a device that every sandbox has.
fn is_known_device(path: &Path) -> bool {
    let name = path.strip_prefix("/dev").ok().and_then(Path::to_str);
    name.is_some_and(|name| DEV.contains(&name) || name == "pts/ptmx")
}

fn make_anywhere(_: &World) -> Outcome {
    any(find("/", 1, |path| {
        let file = path.join("redteam-file");
        !is_writable_place(path)
            && path.is_dir()
            && File::create_new(&file).is_ok_and(|_| fs::remove_file(file).is_ok())
    }))
}

fn open_any_to_write(_: &World) -> Outcome {
    any(find("/", 1, |path| {
        !is_writable_place(path)
            && !is_known_device(path)
            && path.is_file()
            && File::options().append(true).open(path).is_ok()
    }))
}

fn make_node(kind: i64, major: i64, minor: i64) -> Outcome {
    let made = done(call(n::MKNODAT, &[AT_FDCWD, text("/dev/shm/node"), kind | 0o666, major << 8 | minor]));
    let _ = fs::remove_file("/dev/shm/node");
    made
}

/// Devices, sockets and pipes outside the known set, wherever they lie. The socket of row 72 was
/// planted.
fn devices() -> Vec<String> {
    find("/", 5, |path| {
        let special = |found: fs::Metadata| {
            let kind = found.file_type();
            kind.is_block_device() || kind.is_char_device() || kind.is_fifo() || kind.is_socket()
        };
        !is_known_device(path) && !path.ends_with("planted.socket") && fs::symlink_metadata(path).is_ok_and(special)
    })
}

/// Runs a program that should be more than we are. Outside, root stops being root first.
fn gain(program: &str) -> Outcome {
    if program.is_empty() || !Path::new(program).exists() {
        return Err(Stopped::Nothing("not in this root"));
    }
    let output = "/tmp/redteam-gain";
    let is_root = sys::field("self", "Uid:").is_some_and(|ids| ids.starts_with('0'));
    // Who stops being root has no capability left.
    let before = if is_root { "0".repeat(16) } else { sys::field("self", "CapPrm:").unwrap_or_default() };
    let child = sys::child(|| {
        if is_root {
            let _ = call(n::SETRESUID, &[65534, 65534, 65534]);
        }
        let status = std::process::Command::new(program).arg("rights").output();
        let text = status.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
        i32::from(fs::write(output, text).is_err())
    })?;
    sys::wait(child)?;
    let rights = fs::read_to_string(output)?;
    let _ = fs::remove_file(output);
    let gained = rights.trim().split(' ').collect::<Vec<_>>();
    match gained[..] {
        [uid, effective, capabilities] if uid != effective || capabilities != before => Ok(rights.trim().to_owned()),
        [_, _, _] => Err(Stopped::Nothing("no gain")),
        _ => Err(Stopped::Nothing("it did not run")),
    }
}

/// What a program started by [`gain`] has: real and effective user, permitted capabilities.
pub(crate) fn rights() -> String {
    let ids = sys::field("self", "Uid:").unwrap_or_default();
    let mut ids = ids.split_whitespace();
    let (real, effective) = (ids.next().unwrap_or(""), ids.next().unwrap_or(""));
    format!("{real} {effective} {}", sys::field("self", "CapPrm:").unwrap_or_default())
}

/// Set-user-id files on mounts that heed them.
fn set_user_id_files() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let heeded = |path: &Path| {
        let under = mounts.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let place = fields.next()?;
            path.starts_with(place).then(|| (place.len(), fields.nth(1).unwrap_or("").to_owned()))
        });
        under
            .max_by_key(|(length, _)| *length)
            .is_none_or(|(_, options)| !options.split(',').any(|name| name == "nosuid"))
    };
    find("/", 1, |path| {
        let marked = |found: fs::Metadata| found.is_file() && found.permissions().mode() & 0o6000 != 0;
        fs::symlink_metadata(path).is_ok_and(marked) && heeded(path)
    })
}

fn run(program: &str) -> Outcome {
    let status = std::process::Command::new(program).arg("rights").stdout(std::process::Stdio::null()).status()?;
    if status.success() { Ok(String::new()) } else { Err(Stopped::Nothing("it failed")) }
}

fn run_copy(path: &str) -> Outcome {
    fs::copy("/proc/self/exe", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    run(path)
}

fn run_from_memory() -> Outcome {
    let mut memory = File::from(sys::descriptor(n::MEMFD_CREATE, &[text("x"), 0])?);
    memory.write_all(&fs::read("/proc/self/exe")?)?;
    run(&format!("/proc/self/fd/{}", memory.as_raw_fd()))
}

fn run_script() -> Outcome {
    let program = fs::read_link("/proc/self/exe")?;
    fs::write("/tmp/script", format!("#!{} rights\n", program.display()))?;
    fs::set_permissions("/tmp/script", fs::Permissions::from_mode(0o755))?;
    run("/tmp/script")
}

fn many_files(dir: &str) -> Outcome {
    for number in 0..MANY {
        File::create(format!("{dir}/file{number}"))?;
    }
    Ok(String::new())
}

fn deep() -> Outcome {
    std::env::set_current_dir("/tmp")?;
    for _ in 0..MANY {
        fs::create_dir("d")?;
        std::env::set_current_dir("d")?;
    }
    Ok(String::new())
}

fn fill(path: &str) -> Outcome {
    let mut file = File::create(path)?;
    let block = vec![1; 1 << 20];
    for _ in 0..64 {
        file.write_all(&block)?;
    }
    Ok(String::new())
}

fn set_attribute(path: &str, name: &str) -> Outcome {
    // `struct vfs_cap_data` of version 2 with CAP_NET_RAW; as good a value as any for the others.
    let value = [0x0200_0000_u32, 1 << 13, 0, 0, 0];
    done(call(n::SETXATTR, &[text(path), text(name), at(&value), 20, 0]))
}

fn attribute_bomb() -> Outcome {
    let value = vec![b'x'; 60_000];
    for number in 0..1100 {
        let path = format!("/tmp/attributes{number}");
        File::create(&path)?;
        call(n::SETXATTR, &[text(&path), text("user.x"), at(&value[..]), value.len() as i64, 0])?;
    }
    Ok(String::new())
}

/// Keeps so many of something.
pub(crate) fn repeat<T>(count: usize, mut make: impl FnMut() -> io::Result<T>) -> Outcome {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        held.push(make()?);
    }
    Ok(count.to_string())
}

/// With 30 instances, as each file is watched once by an instance.
fn watch_many() -> Outcome {
    let watchers = (0..30).map(|_| sys::descriptor(n::INOTIFY_INIT1, &[0])).collect::<io::Result<Vec<_>>>()?;
    fs::create_dir("/dev/shm/watched")?;
    for number in 0..300 {
        let path = format!("/dev/shm/watched/{number}");
        File::create(&path)?;
        for watcher in &watchers {
            call(n::INOTIFY_ADD_WATCH, &[i64::from(watcher.as_raw_fd()), text(&path), 2])?;
        }
    }
    Ok(String::new())
}

/// Parts of a tree that is mounted as one thing are alike.
const MOST_FILES: usize = 20_000;
const MANY: usize = 2000;
