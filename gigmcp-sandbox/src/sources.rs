//! Which of the host's files may be shown inside.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use crate::PathRefusal;

/// Whether a host path may be shown inside by
/// [`SandboxBuilder::read_only`](crate::SandboxBuilder::read_only), which checks the same at every spawn.
///
/// # Errors
/// The reason why not.
pub fn check_read_only(path: impl AsRef<Path>) -> Result<(), PathRefusal> {
    let path = path.as_ref();
    if !is_plain(path) {
        return Err(PathRefusal::NotAbsolute);
    }
    check_source(path)
}

/// Whether a host directory may be a state directory.
pub(crate) fn check_state(path: &Path) -> Result<(), PathRefusal> {
    if !is_plain(path) {
        return Err(PathRefusal::NotAbsolute);
    }
    let kind = check_path(path)?;
    if kind.is_dir() { Ok(()) } else { Err(PathRefusal::NotADirectory) }
}

/// Whether a host path may be shown inside.
pub(crate) fn check_source(path: &Path) -> Result<(), PathRefusal> {
    let kind = check_path(path)?;
    if is_special(kind) {
        return Err(PathRefusal::Special);
    }
    if kind.is_dir() { check_below(path) } else { Ok(()) }
}

/// Whether a path says what it means.
pub(crate) fn is_plain(path: &Path) -> bool {
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && components.all(|part| matches!(part, Component::Normal(_)))
        && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
        && !path.as_os_str().as_bytes().contains(&0)
}

/// What is at a path, if it is not the system's and is what it seems to be.
fn check_path(path: &Path) -> Result<fs::FileType, PathRefusal> {
    if REFUSED_SOURCES.iter().any(|refused| path == Path::new(refused)) {
        return Err(PathRefusal::System);
    }
    if ["/proc", "/sys", "/dev"].iter().any(|tree| path.starts_with(tree)) {
        return Err(PathRefusal::System);
    }
    let found = fs::symlink_metadata(path).map_err(|_| PathRefusal::Unreadable)?;
    let kind = found.file_type();
    if kind.is_symlink() {
        return Err(PathRefusal::Symlink);
    }
    // A symlink on the way could lead to what is refused by name above.
    if fs::canonicalize(path).map_err(|_| PathRefusal::Unreadable)? != path {
        return Err(PathRefusal::Symlink);
    }
    Ok(kind)
}

fn is_special(kind: fs::FileType) -> bool {
    kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device()
}

/// Looks for sockets, which can be connected to through a read-only mount.
fn check_below(top: &Path) -> Result<(), PathRefusal> {
    let is_root = rustix::process::geteuid().is_root();
    let mut left = SCANNED_ENTRIES;
    let mut open = vec![top.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            // What we may not enter, the sandbox may not either: it has no more rights. Root is
            // refused only by other machines' file systems, which may well let others in.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_root && !can_enter(&dir) => continue,
            Err(_) => return Err(PathRefusal::Unreadable),
        };
        for entry in entries {
            let entry = entry.map_err(|_| PathRefusal::Unreadable)?;
            left = left.checked_sub(1).ok_or(PathRefusal::TooLarge)?;
            let kind = entry.file_type().map_err(|_| PathRefusal::Unreadable)?;
            if is_special(kind) {
                return Err(PathRefusal::SpecialBelow);
            }
            if kind.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Whether names in a directory can be looked up, which needs no right to list them.
fn can_enter(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::EXEC_OK).is_ok()
}

const SCANNED_ENTRIES: usize = 1_000_000;

/// Host directories that are never shown whole.
const REFUSED_SOURCES: &[&str] =
    &["/", "/proc", "/sys", "/dev", "/run", "/var", "/var/run", "/etc", "/root", "/home", "/boot", "/tmp"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_paths_outside_the_system_are_shown() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (case, path, expected) in [
            ("a directory", dir.to_owned(), Ok(())), // twin of the refusals
            ("a file", dir.join("Cargo.toml"), Ok(())),
            ("the root", "/".into(), Err(PathRefusal::System)),
            ("a system directory", "/etc".into(), Err(PathRefusal::System)),
            ("below /proc", "/proc/self".into(), Err(PathRefusal::System)),
            ("a device", "/dev/null".into(), Err(PathRefusal::System)),
            ("not there", dir.join("missing"), Err(PathRefusal::Unreadable)),
        ] {
            assert_eq!(check_source(&path), expected, "{case}");
        }
    }

    #[test]
    fn paths_are_plain_or_not() {
        for (path, expected) in [
            ("/opt/app", true),
            ("opt/app", false),
            ("/opt/../etc", false),
            ("/opt/./app", false),
            ("/opt//app", false),
            ("/opt/app/", false),
        ] {
            assert_eq!(is_plain(Path::new(path)), expected, "{path}");
        }
    }
}
