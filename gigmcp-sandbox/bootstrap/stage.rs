//! The root of the sandbox, put together on a tmpfs of our own.
//!
//! Bubblewrap gets this one finished tree. No mount point is ever made in a tree that is not
//! ours: every destination is resolved with `openat2` without following symlinks and without
//! leaving the tmpfs it belongs to.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, fchown};

use crate::protocol::{Stage, Step};
use crate::{At, Failure, sys};

/// Where the tmpfs is mounted, inside our private mount namespace: the first that exists.
/// Not `/tmp`, which bubblewrap covers with its own.
const PLACES: [&str; 4] = ["/run", "/mnt", "/var", "/srv"];
/// Our tmpfs holds names, small files and a copied server, so this bounds mistakes only.
const STAGE_OPTIONS: &[u8] = b"size=1g,mode=0755";
const WITHIN: u64 = sys::RESOLVE_BENEATH | sys::RESOLVE_NO_SYMLINKS | sys::RESOLVE_NO_MAGICLINKS;

/// Carries out the steps. `owner` owns the writable places. Returns where the tree stands.
pub(crate) fn build(steps: &[Step], copied: &[OwnedFd], owner: u32) -> Result<&'static str, Failure> {
    sys::mount_at(b"none", b"/", b"", sys::MS_REC | sys::MS_PRIVATE, b"").at(Stage::MountNamespace)?;
    // Opened before our tmpfs covers a place that they may lie under.
    let sources = steps.iter().map(open_source).collect::<Result<Vec<_>, _>>()?;
    let place =
        PLACES.into_iter().find(|place| std::fs::metadata(place).is_ok_and(|found| found.is_dir())).unwrap_or("/tmp");
    let flags = sys::MS_NOSUID | sys::MS_NODEV;
    sys::mount_at(b"tmpfs", place.as_bytes(), b"tmpfs", flags, STAGE_OPTIONS).at_with(Stage::Root, place.as_bytes())?;
    let top = sys::open_at(None, place.as_bytes(), sys::O_RDONLY | sys::O_DIRECTORY, 0, 0).at(Stage::Root)?;
    let mut tree = Tree { owned: vec![(Vec::new(), top)], owner };
    for (step, source) in steps.iter().zip(sources) {
        tree.carry_out(step, source, copied).at_with(Stage::Root, destination(step))?;
    }
    Ok(place)
}

fn open_source(step: &Step) -> Result<Option<OwnedFd>, Failure> {
    let Step::Bind { from, beneath, .. } = step else { return Ok(None) };
    let opened = match beneath {
        None => sys::open_at(None, from, sys::O_PATH, 0, sys::RESOLVE_NO_SYMLINKS),
        Some(name) => sys::open_at(None, from, sys::O_PATH | sys::O_DIRECTORY, 0, sys::RESOLVE_NO_MAGICLINKS)
            .and_then(|dir| sys::open_at(Some(dir.as_fd()), name, sys::O_PATH | sys::O_NOFOLLOW, 0, WITHIN)),
    };
    opened.map(Some).at_with(Stage::Source, beneath.as_deref().unwrap_or(from))
}

fn destination(step: &Step) -> &[u8] {
    match step {
        Step::Dir { to, .. }
        | Step::File { to, .. }
        | Step::Copy { to, .. }
        | Step::Symlink { to, .. }
        | Step::Bind { to, .. }
        | Step::Tmpfs { to, .. }
        | Step::Bootstrap { to } => to,
    }
}

/// The file systems we made, by the path they stand at.
struct Tree {
    owned: Vec<(Vec<u8>, OwnedFd)>,
    owner: u32,
}

impl Tree {
    fn carry_out(&mut self, step: &Step, source: Option<OwnedFd>, copied: &[OwnedFd]) -> io::Result<()> {
        match step {
            Step::Dir { to, mode } => {
                let dir = self.dir(to)?;
                reopen(&dir)?.set_permissions(Permissions::from_mode(*mode))
            }
            Step::File { to, mode, content } => self.file(to, *mode)?.write_all(content),
            Step::Copy { to, mode, descriptor } => {
                let source = copied.get(*descriptor as usize).ok_or(io::ErrorKind::NotFound)?;
                let mut source = File::from(source.try_clone()?);
                io::copy(&mut source, &mut self.file(to, *mode)?).map(drop)
            }
            Step::Bootstrap { to } => {
                let mut source = File::open("/proc/self/exe")?;
                io::copy(&mut source, &mut self.file(to, 0o555)?).map(drop)
            }
            Step::Symlink { to, target } => {
                let (parent, name) = self.parent(to)?;
                sys::make_symlink_at(parent.as_fd(), name, target)
            }
            Step::Bind { to, .. } => {
                let source = source.ok_or(io::ErrorKind::NotFound)?;
                self.bind(&source, to)
            }
            Step::Tmpfs { to, mode, bytes, inodes } => {
                let options = format!("size={bytes},nr_inodes={inodes},mode={mode:o}");
                let target = self.dir(to)?;
                let flags = sys::MS_NOSUID | sys::MS_NODEV;
                sys::mount_at(b"tmpfs", &by_number(target.as_fd()), b"tmpfs", flags, options.as_bytes())?;
                let (parent, name) = self.parent(to)?;
                let mounted = sys::open_at(
                    Some(parent.as_fd()),
                    name,
                    sys::O_RDONLY | sys::O_DIRECTORY | sys::O_NOFOLLOW,
                    0,
                    WITHIN,
                )?;
                fchown(&mounted, Some(self.owner), Some(self.owner))?;
                self.owned.push((to.clone(), mounted));
                Ok(())
            }
        }
    }

    fn bind(&self, source: &OwnedFd, to: &[u8]) -> io::Result<()> {
        let kind = File::from(source.try_clone()?).metadata()?.file_type();
        let target = if kind.is_dir() {
            self.dir(to)?
        } else if kind.is_file() {
            self.file(to, 0o444)?.into()
        } else {
            return Err(io::Error::from_raw_os_error(EINVAL));
        };
        let flags = sys::MS_BIND | sys::MS_REC;
        sys::mount_at(&by_number(source.as_fd()), &by_number(target.as_fd()), b"", flags, b"")?;
        let (parent, name) = self.parent(to)?;
        let flags = sys::O_PATH | sys::O_NOFOLLOW;
        let mounted = sys::open_at(Some(parent.as_fd()), name, flags, 0, WITHIN)?;
        sys::seal_mount(mounted.as_fd())
    }

    /// Makes a new file.
    fn file(&self, to: &[u8], mode: u32) -> io::Result<File> {
        let (parent, name) = self.parent(to)?;
        let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL | sys::O_NOFOLLOW;
        let file = sys::open_at(Some(parent.as_fd()), name, flags, 0o600, WITHIN | sys::RESOLVE_NO_XDEV)?;
        let file = File::from(file);
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(file)
    }

    /// The directory, made with its parents where it does not exist.
    fn dir(&self, to: &[u8]) -> io::Result<OwnedFd> {
        let (root, below) = self.home(to);
        let mut at = open_dir(root, b".")?;
        for name in below.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match sys::make_dir_at(at.as_fd(), name, 0o755) {
                Ok(()) => {
                    let made = open_dir(at.as_fd(), name)?;
                    reopen(&made)?.set_permissions(Permissions::from_mode(0o755))?;
                    at = made;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    at = open_dir(at.as_fd(), name)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(at)
    }

    fn parent<'a>(&self, to: &'a [u8]) -> io::Result<(OwnedFd, &'a [u8])> {
        let split = to.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let (dir, name) = to.split_at(split);
        Ok((self.dir(dir)?, name.strip_prefix(b"/").unwrap_or(name)))
    }

    /// The file system of ours that a path lies on, the innermost first.
    fn home<'a>(&self, to: &'a [u8]) -> (BorrowedFd<'_>, &'a [u8]) {
        let found = self.owned.iter().rev().find_map(|(prefix, fd)| {
            let below = to.strip_prefix(prefix.as_slice())?;
            (prefix.is_empty() || below.is_empty() || below.starts_with(b"/")).then_some((fd.as_fd(), below))
        });
        found.expect("the empty prefix fits every path")
    }
}

fn open_dir(at: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = sys::O_PATH | sys::O_DIRECTORY | sys::O_NOFOLLOW;
    sys::open_at(Some(at), name, flags, 0, WITHIN | sys::RESOLVE_NO_XDEV)
}

/// A descriptor that can be changed through, from one that only names.
fn reopen(dir: &OwnedFd) -> io::Result<File> {
    let flags = sys::O_RDONLY | sys::O_DIRECTORY;
    sys::open_at(Some(dir.as_fd()), b".", flags, 0, WITHIN | sys::RESOLVE_NO_XDEV).map(File::from)
}

fn by_number(fd: BorrowedFd<'_>) -> Vec<u8> {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes()
}

const EINVAL: i32 = 22;
