//! Files without a name, which take up the disk as long as a process has them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};
use rustix::io::Errno;

use crate::sys::have_same_descriptors;
use crate::usage::descendants;

/// Bytes of the files without a name on this device that processes of the sandbox have open or mapped. What
/// such a file takes cannot be asked for where it is only mapped and we lack the right: then it counts as the most
/// that it can be.
///
/// Not seen are those in flight between sockets, at most as many as [`Limits::open_files`](crate::Limits).
pub(super) fn bytes(monitor: u32, inside_at: &Path, device: u64, most: u64) -> Result<u64, Errno> {
    let mut search = Search { at: inside_at, device, most, files: HashMap::new() };
    for process in inside(monitor) {
        match search.process(process) {
            Err(error) if !ended(&error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(search.files.values().fold(0, |sum, bytes| sum.saturating_add(*bytes)))
}

/// The server's processes. PID 1 and the process that waits for it keep no files.
pub(super) fn inside(monitor: u32) -> Vec<u32> {
    descendants(monitor).into_iter().filter(|(_, depth)| *depth > 1).map(|(process, _)| process).collect()
}

/// The threads of a process.
pub(super) fn threads(process: u32) -> io::Result<Vec<u32>> {
    let entries = fs::read_dir(format!("/proc/{process}/task"))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Whether the process, or what was looked at, is gone.
pub(super) fn ended(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH))
}

struct Search<'a> {
    /// Where the directory is seen inside.
    at: &'a Path,
    device: u64,
    most: u64,
    /// Bytes by inode.
    files: HashMap<u64, u64>,
}

impl Search<'_> {
    /// Looks at every thread: each may have descriptors of its own, and those of a first thread that has ended
    /// are gone while the others' are not.
    fn process(&mut self, process: u32) -> io::Result<()> {
        let mut seen: Vec<u32> = Vec::new();
        let mut memory_seen = false;
        for thread in threads(process)? {
            let looked = match seen.iter().any(|other| have_same_descriptors(*other, thread)) {
                true => Ok(()),
                false => self.open(thread).map(|()| seen.push(thread)),
            };
            // All threads of a process share its memory, but one that has ended has none.
            let looked = match memory_seen {
                true => looked,
                false => looked.and_then(|()| self.mapped(thread)).map(|found| memory_seen = found),
            };
            match looked {
                Err(error) if !ended(&error) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Every thread has a directory like that of a process, which is only not listed.
    fn open(&mut self, thread: u32) -> io::Result<()> {
        for entry in fs::read_dir(format!("/proc/{thread}/fd"))? {
            let Ok(found) = fs::metadata(entry?.path()) else { continue };
            self.found(&found);
        }
        Ok(())
    }

    fn found(&mut self, found: &fs::Metadata) {
        if found.nlink() == 0 && found.dev() == self.device {
            self.files.insert(found.ino(), found.blocks() * 512);
        }
    }

    /// Whether there is any memory. Source: proc_pid_maps(5): range, rights, offset, device, inode, path.
    ///
    /// Not all that is deleted was the server's: the host replaces its libraries while they are in use.
    fn mapped(&mut self, thread: u32) -> io::Result<bool> {
        let device = format!("{:02x}:{:02x}", major(self.device), minor(self.device));
        let maps = fs::read_to_string(format!("/proc/{thread}/maps"))?;
        for line in maps.lines().filter(|line| line.ends_with(" (deleted)")) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [range, _, _, on, inode, path, ..] = fields[..] else { continue };
            let Ok(inode) = inode.parse() else { continue };
            if on != device || !Path::new(path).starts_with(self.at) || self.files.contains_key(&inode) {
                continue;
            }
            match fs::metadata(format!("/proc/{thread}/map_files/{}", unpadded(range))) {
                Ok(found) => self.found(&found),
                // Unmapped since, so that what is told of the others is as old.
                Err(error) if ended(&error) => {}
                Err(_) => drop(self.files.insert(inode, self.most)),
            }
        }
        Ok(!maps.is_empty())
    }
}

/// As the directory `map_files` writes a range, without leading zeros.
fn unpadded(range: &str) -> String {
    let short = |address: &str| match address.trim_start_matches('0') {
        "" => "0".to_owned(),
        short => short.to_owned(),
    };
    range.split('-').map(short).collect::<Vec<_>>().join("-")
}
