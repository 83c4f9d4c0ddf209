//! Files without a name, which take up the disk as long as a process has them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{major, minor};
use rustix::io::Errno;

use crate::usage::descendants;

/// Bytes of the files without a name on this device that processes of the sandbox have open or mapped.
/// Not seen are those in flight between sockets, at most as many as [`Limits::open_files`](crate::Limits).
pub(super) fn bytes(monitor: u32, device: u64) -> Result<u64, Errno> {
    let mut files = HashMap::new();
    // PID 1 and the process that waits for it have none.
    for process in descendants(monitor).into_iter().filter(|(_, depth)| *depth > 1).map(|(process, _)| process) {
        let counted = open(process, device, &mut files).and_then(|()| mapped(process, device, &mut files));
        match counted {
            Err(error) if !ended(&error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(files.values().sum())
}

/// Whether the process, or what was looked at, is gone.
fn ended(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH))
}

fn open(process: u32, device: u64, files: &mut HashMap<u64, u64>) -> io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        let Ok(found) = fs::metadata(entry?.path()) else { continue };
        if found.nlink() == 0 && found.dev() == device {
            files.insert(found.ino(), found.blocks() * 512);
        }
    }
    Ok(())
}

/// Source: proc_pid_maps(5): range, rights, offset, device, inode, path.
fn mapped(process: u32, device: u64, files: &mut HashMap<u64, u64>) -> io::Result<()> {
    let device = format!("{:02x}:{:02x}", major(device), minor(device));
    for line in fs::read_to_string(format!("/proc/{process}/maps"))?.lines().filter(|line| line.ends_with("(deleted)"))
    {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [range, _, _, on, inode, ..] = fields[..] else { continue };
        let (Some((from, to)), Ok(inode)) = (range.split_once('-'), inode.parse()) else { continue };
        let address = |text| u64::from_str_radix(text, 16).unwrap_or(0);
        if on == device {
            files.entry(inode).or_insert(address(to).saturating_sub(address(from)));
        }
    }
    Ok(())
}
