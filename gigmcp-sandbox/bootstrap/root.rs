//! PID 1 enters the root that was put together for it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::outer::write_if_there;
use crate::protocol::Stage;
use crate::stage::Staged;
use crate::{At, Failure, left_out, sys};

/// Makes the staged tree the root, with `/proc` and terminals of the sandbox's own, all read-only.
pub(crate) fn enter(staged: &Staged, proc_files: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Failure> {
    let top = staged.path("root");
    // What came along from the host's mount namespace cannot be taken apart in this one; a new mount can.
    mount(&top, &top, "", sys::MS_BIND | sys::MS_REC, "").at(Stage::Root)?;
    let proc = top.join("proc");
    let flags = sys::MS_NOSUID | sys::MS_NODEV | sys::MS_NOEXEC;
    if left_out("pid") {
        mount(Path::new("/proc"), &proc, "", sys::MS_BIND | sys::MS_REC, "").at(Stage::Proc)?;
    } else {
        mount(Path::new("proc"), &proc, "proc", flags, "").at(Stage::Proc)?;
    }
    limit_user_namespace(&proc)?;
    cover_proc(staged, proc_files, &proc)?;
    let terminals = top.join("dev/pts");
    let flags = sys::MS_NOSUID | sys::MS_NOEXEC;
    mount(Path::new("devpts"), &terminals, "devpts", flags, TERMINALS).at(Stage::Terminals)?;
    if !left_out("read-only") {
        seal(&proc, sys::Seal::TreeNoExec).at(Stage::Proc)?;
    }
    std::env::set_current_dir(&top).at(Stage::PivotRoot)?;
    sys::make_this_the_root().at(Stage::PivotRoot)?;
    let how = if left_out("read-only") { sys::Seal::Writable } else { sys::Seal::One };
    seal(Path::new("/"), how).at(Stage::PivotRoot)
}

fn mount(source: &Path, target: &Path, kind: &str, flags: u64, data: &str) -> std::io::Result<()> {
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    sys::mount_at(&bytes(source), &bytes(target), kind.as_bytes(), flags, data.as_bytes())
}

fn seal(path: &Path, seal: sys::Seal) -> std::io::Result<()> {
    let opened = sys::open_at(None, path.as_os_str().as_bytes(), sys::O_PATH, 0, sys::RESOLVE_NO_SYMLINKS)?;
    sys::seal_mount(opened.as_fd(), seal)
}

/// Bounds what is otherwise counted for the host user as a whole, and allows one more user namespace
/// below ours: that of the server. These are limits of the user namespace we are root of.
fn limit_user_namespace(proc: &Path) -> Result<(), Failure> {
    if left_out("namespace limits") {
        return Ok(());
    }
    for (name, value) in NAMESPACE_LIMITS {
        let path = proc.join("sys/user").join(name);
        let path = path.to_string_lossy();
        write_if_there(&path, value).at_with(Stage::NamespaceLimits, name.as_bytes())?;
    }
    Ok(())
}

/// Puts our own files, or nothing, over what `/proc` tells of the host.
fn cover_proc(staged: &Staged, proc_files: &[(Vec<u8>, Vec<u8>)], proc: &Path) -> Result<(), Failure> {
    for (index, (name, _)) in proc_files.iter().enumerate() {
        let target = proc.join(Path::new(OsStr::from_bytes(name)));
        cover(&staged.path(&format!("proc-{index}")), &target).at_with(Stage::Proc, name)?;
    }
    if left_out("masks") {
        return Ok(());
    }
    for name in MASKED {
        let target = proc.join(name);
        let found = match fs::symlink_metadata(&target) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // Something may be there that would stay uncovered.
            Err(error) => return Err(error).at_with(Stage::Proc, name.as_bytes()),
        };
        let empty = if found.is_dir() { "empty-dir" } else { "empty-file" };
        cover(&staged.path(empty), &target).at_with(Stage::Proc, name.as_bytes())?;
    }
    Ok(())
}

fn cover(source: &Path, target: &PathBuf) -> std::io::Result<()> {
    mount(source, target, "", sys::MS_BIND, "")
}

/// What a server makes of terminals, it takes from all of the machine, which has 3,072 for all that is not its own.
const TERMINALS: &str = "newinstance,ptmxmode=0666,mode=620,max=16";

/// Of the 128 inotify instances that a user has by default, and so on. Namespaces beside the server's
/// own user namespace need rights that nothing inside has; this refuses them also without that.
const NAMESPACE_LIMITS: &[(&str, &str)] = &[
    ("max_user_namespaces", "1"),
    ("max_inotify_instances", "32"),
    ("max_inotify_watches", "8192"),
    ("max_mnt_namespaces", "0"),
    ("max_net_namespaces", "0"),
    ("max_pid_namespaces", "0"),
    ("max_ipc_namespaces", "0"),
    ("max_uts_namespaces", "0"),
    ("max_cgroup_namespaces", "0"),
    ("max_time_namespaces", "0"),
];

/// Files and directories of `/proc` that tell about the host and that no runtime was seen to need.
const MASKED: &[&str] = &[
    "acpi",
    "asound",
    "bootconfig",
    "buddyinfo",
    "bus",
    "cmdline",
    "config.gz",
    "diskstats",
    "driver",
    "dynamic_debug",
    "fs",
    "interrupts",
    "iomem",
    "ioports",
    "irq",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "locks",
    "modules",
    "mtrr",
    "pagetypeinfo",
    "partitions",
    "sched_debug",
    "scsi",
    "slabinfo",
    "softirqs",
    "swaps",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "tty",
    "vmallocinfo",
    "zoneinfo",
];
