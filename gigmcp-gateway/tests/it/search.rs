//! Looks for bytes where they must not be: in a sandbox's files, environments, command lines and memory.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Whether `needle` stands in `hay`.
pub(crate) fn holds(hay: &[u8], needle: &str) -> bool {
    memchr::memmem::find(hay, needle.as_bytes()).is_some()
}

/// Every place inside the sandbox of process `pid` where `needle` was found, as seen from the host.
///
/// Files are read through the process's own root, so this sees what the server could see, with root's rights.
pub(crate) fn in_sandbox(pid: u32, needle: &str) -> Vec<String> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let mut found = in_files(&root, needle);
    for entry in fs::read_dir(root.join("proc")).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        for name in ["environ", "cmdline"] {
            // A process may end while we look.
            if fs::read(entry.path().join(name)).is_ok_and(|bytes| holds(&bytes, needle)) {
                found.push(format!("{name} of pid {}", entry.file_name().display()));
            }
        }
    }
    if in_memory(pid, needle) {
        found.push(format!("memory of pid {pid}"));
    }
    found
}

/// Every file below `root` that holds `needle`; see [`files`].
pub(crate) fn in_files(root: impl AsRef<Path>, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for file in files(root.as_ref()) {
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{} cannot be searched: {error}", file.display()));
        if holds(&bytes, needle) {
            found.push(format!("file {}", file.display()));
        }
    }
    found
}

/// Whether `needle` stands in the writable memory of a process.
pub(crate) fn in_memory(pid: u32, needle: &str) -> bool {
    memory(pid).iter().any(|region| holds(region, needle))
}

/// The writable memory of a process.
pub(crate) fn memory(pid: u32) -> Vec<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut regions = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).unwrap();
        let start = u64::from_str_radix(start, 16).unwrap();
        let length = u64::from_str_radix(end, 16).unwrap() - start;
        let mut bytes = Vec::new();
        let read = memory.seek(SeekFrom::Start(start)).and_then(|_| (&memory).take(length).read_to_end(&mut bytes));
        if read.is_ok() {
            regions.push(bytes);
        }
    }
    assert!(!regions.is_empty(), "no memory of pid {pid} could be read, so finding nothing would mean nothing");
    regions
}

/// Regular files below `root` on the sandbox's own mounts; the host's tools under /usr are not the sandbox's.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            let inside = path.strip_prefix(root).unwrap();
            if ["proc", "dev", "sys", "usr"].iter().any(|skipped| inside == Path::new(skipped)) {
                continue;
            }
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found
}
