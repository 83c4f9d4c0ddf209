//! Files with secrets in them: read only if no one else can, written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::error::KeyFileError;

/// Who may be able to read a file with a key in it, beside root. Its owner is root or the effective user, and nobody else may
/// write to it or execute it, whatever is chosen here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readers {
    /// Nobody but its owner, and the last component of its path is no symbolic link: a file that we made.
    Owner,
    /// The group too, if it is one of this process's own groups and no access control list names anybody else, and links
    /// are followed: a file that an orchestrator mounted. Kubernetes links to its secrets, and gives them to the group of
    /// the pod. Who else is in that group the kernel does not say: let it have no other members.
    Group,
    /// What systemd lets read a credential: it gives access by an access control list, whose mask stands at the group.
    /// For files in `$CREDENTIALS_DIRECTORY` only, which systemd made.
    Credential,
}

/// At most `limit` bytes and one more, so that the caller can tell.
pub(crate) fn read(path: &Path, readers: Readers, limit: usize) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    // Without NONBLOCK, opening a FIFO would hang before it could be seen to be one.
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, readers == Readers::Owner);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|source| KeyFileError::opening(path, source))?;
    check(path, &file, readers)?;
    // Reserved in full: a Vec that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|source| KeyFileError::io("reading", path, source))?;
    Ok(content)
}

/// Makes the file, with its directory, if nothing is at the path.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    let directory = directory_of(path);
    let missing = directory.ancestors().take_while(|ancestor| !ancestor.exists()).count();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| KeyFileError::io("making the directory of", path, source))?;
    // A file that is there must be whole, also for a process that starts at the same time: written under a
    // name of its own, then linked to the right one, which fails if that is taken.
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix)?;
    let new = with_suffix(path, &format!(".{}.new", hex::encode(suffix)));
    write_new(&new, content)?;
    let linked = fs::hard_link(&new, path);
    remove_unfinished(&new);
    linked.map_err(|source| KeyFileError::creating(path, source))?;
    // And those that a directory was made in, or a power cut takes it away with the file.
    directory.ancestors().take(missing + 1).try_for_each(|made| match made.as_os_str().is_empty() {
        true => sync_directory(Path::new(".")),
        false => sync_directory(made),
    })
}

/// Puts the file in the place of the one that is there. Who may read that one may read this one: it has its owner, group and
/// mode, so that a service still can when root replaced its file.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    let new = with_suffix(path, ".new");
    write_new(&new, content)?;
    if let Err(source) = resemble(path, &new).and_then(|()| fs::rename(&new, path)) {
        remove_unfinished(&new);
        return Err(KeyFileError::io("replacing", path, source));
    }
    sync_directory(directory_of(path))
}

fn check(path: &Path, file: &File, readers: Readers) -> Result<(), KeyFileError> {
    let found = file.metadata().map_err(|source| KeyFileError::io("examining", path, source))?;
    if !found.is_file() {
        return Err(KeyFileError::NotRegular { path: path.into() });
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user && found.uid() != 0 {
        return Err(KeyFileError::WrongOwner { path: path.into(), owner: found.uid(), user });
    }
    let mode = found.mode() & 0o7777;
    let forbidden = match readers {
        Readers::Owner => 0o077,
        Readers::Group | Readers::Credential => 0o037,
    };
    if mode & forbidden != 0 {
        return Err(KeyFileError::OpenToOthers { path: path.into(), mode });
    }
    let group_reads = mode & 0o040 != 0;
    if readers == Readers::Group && group_reads && (!is_our_group(found.gid()) || has_access_list(file)) {
        return Err(KeyFileError::OpenToGroup { path: path.into(), group: found.gid(), mode });
    }
    Ok(())
}

fn is_our_group(group: u32) -> bool {
    // Groups that cannot be listed are none of ours.
    let others = rustix::process::getgroups().unwrap_or_default();
    rustix::process::getegid().as_raw() == group || others.iter().any(|ours| ours.as_raw() == group)
}

/// With one, the bits of the group are a mask, and anybody may be named in it.
fn has_access_list(file: &File) -> bool {
    let mut list = [0_u8; 256];
    match rustix::fs::fgetxattr(file, "system.posix_acl_access", &mut list[..]) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => false,
        // There is one, or it is not known.
        Ok(_) | Err(_) => true,
    }
}

fn resemble(old: &Path, new: &Path) -> std::io::Result<()> {
    let old = match fs::symlink_metadata(old) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    // A file of nobody's trust would have been refused when it was read; this is for one that was not read.
    let mode = old.mode() & 0o640 | 0o400;
    let (new, ours) = (File::open(new)?, fs::symlink_metadata(new)?);
    if (old.uid(), old.gid()) != (ours.uid(), ours.gid()) {
        std::os::unix::fs::fchown(&new, Some(old.uid()), Some(old.gid()))?;
    }
    new.set_permissions(fs::Permissions::from_mode(mode))?;
    new.sync_all()
}

fn write_new(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|source| KeyFileError::creating(path, source))?;
    let written = file
        .set_permissions(fs::Permissions::from_mode(0o600)) // a umask may have taken more away
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all());
    written.map_err(|source| {
        remove_unfinished(path);
        KeyFileError::io("writing", path, source)
    })
}

/// The error that led here is the one to report; a file that cannot be removed is named by the next attempt.
fn remove_unfinished(path: &Path) {
    drop(fs::remove_file(path));
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_directory(directory: &Path) -> Result<(), KeyFileError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| KeyFileError::io("syncing the directory", directory, source))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
