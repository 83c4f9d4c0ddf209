//! The root of the sandbox, put together on a tmpfs of our own.
//!
//! No mount point is ever made in a tree that is not ours: every destination is resolved with
//! `openat2` without following symlinks and without leaving the tmpfs it belongs to.

use std::collections::HashMap;
use std::fs::{File, symlink_metadata};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, fchown};
use std::path::{Path, PathBuf};

use crate::protocol::{Plan, Stage, Step};
use crate::{At, Failure, left_out, sys};

/// Where the tmpfs is mounted, inside our private mount namespace: the first that exists.
const PLACES: [&str; 4] = ["/run", "/mnt", "/var", "/srv"];
/// Our tmpfs holds names, small files and a copied server, so this bounds mistakes only.
const STAGE_OPTIONS: &[u8] = b"size=1g,mode=0755";
const WITHIN: u64 = sys::RESOLVE_BENEATH | sys::RESOLVE_NO_SYMLINKS | sys::RESOLVE_NO_MAGICLINKS;

/// A finished tree, and what else stands beside it on the tmpfs.
pub(crate) struct Staged {
    place: &'static str,
    /// Whether an image is shown by a bind mount, which tells its path.
    pub(crate) image_path_shown: bool,
}

impl Staged {
    /// Where something on the tmpfs stands.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        Path::new(self.place).join(below)
    }
}

/// Carries out the plan's steps. `owner` owns the writable places.
pub(crate) fn build(plan: &Plan, copied: &[OwnedFd], owner: u32) -> Result<Staged, Failure> {
    sys::mount_at(b"none", b"/", b"", sys::MS_REC | sys::MS_PRIVATE, b"").at(Stage::MountNamespace)?;
    // Opened before our tmpfs covers a place that they may lie under.
    let sources = plan.steps.iter().map(open_source).collect::<Result<Vec<_>, _>>()?;
    let found = PLACES.into_iter().find(|place| symlink_metadata(place).is_ok_and(|found| found.is_dir()));
    let place = found.unwrap_or("/tmp");
    let flags = sys::MS_NOSUID | sys::MS_NODEV;
    sys::mount_at(b"tmpfs", place.as_bytes(), b"tmpfs", flags, STAGE_OPTIONS).at_with(Stage::Root, place.as_bytes())?;
    let top = sys::open_at(None, place.as_bytes(), sys::O_RDONLY | sys::O_DIRECTORY, 0, 0).at(Stage::Root)?;
    let mut tree =
        Tree { place, dirs: HashMap::from([(Vec::new(), top)]), owner, image: None, image_path_shown: false };
    for (step, source) in plan.steps.iter().zip(&sources) {
        let to = destination(step);
        // Told as the place inside that it will be.
        let inside = to.strip_prefix(b"/root").unwrap_or(to);
        tree.carry_out(step, source.as_ref(), copied).at_with(Stage::Root, inside)?;
    }
    for (index, (name, content)) in plan.proc_files.iter().enumerate() {
        let written = tree.file(format!("/proc-{index}").as_bytes(), 0o444);
        written.and_then(|mut file| file.write_all(content)).at_with(Stage::Root, name)?;
    }
    Ok(Staged { place, image_path_shown: tree.image_path_shown })
}

/// What a step shows of the host; for a part of an image, the image.
fn open_source(step: &Step) -> Result<Option<OwnedFd>, Failure> {
    let (path, opened) = match step {
        Step::Bind { from, beneath: None, .. } | Step::State { from, .. } => {
            (from.clone(), sys::open_at(None, from, sys::O_PATH, 0, sys::RESOLVE_NO_SYMLINKS))
        }
        Step::Bind { from, beneath: Some(_), .. } => {
            (from.clone(), sys::open_at(None, from, sys::O_PATH | sys::O_DIRECTORY, 0, sys::RESOLVE_NO_MAGICLINKS))
        }
        Step::Device { name, .. } => {
            let path = [b"/dev/", name.as_slice()].concat();
            let opened = sys::open_at(None, &path, sys::O_PATH | sys::O_NOFOLLOW, 0, 0);
            (path, opened)
        }
        Step::Dir { .. } | Step::File { .. } | Step::Copy { .. } | Step::Symlink { .. } | Step::Tmpfs { .. } => {
            return Ok(None);
        }
    };
    opened.map(Some).at_with(Stage::Source, &path)
}

fn destination(step: &Step) -> &[u8] {
    match step {
        Step::Dir { to, .. }
        | Step::File { to, .. }
        | Step::Copy { to, .. }
        | Step::Symlink { to, .. }
        | Step::Bind { to, .. }
        | Step::Tmpfs { to, .. }
        | Step::State { to, .. }
        | Step::Device { to, .. } => to,
    }
}

/// The file systems we made.
struct Tree {
    place: &'static str,
    /// Every directory of ours opened so far, by its path; the empty one is the top.
    dirs: HashMap<Vec<u8>, OwnedFd>,
    owner: u32,
    /// The image under a name that tells nothing of the host.
    image: Option<OwnedFd>,
    image_path_shown: bool,
}

impl Tree {
    fn carry_out(&mut self, step: &Step, source: Option<&OwnedFd>, copied: &[OwnedFd]) -> io::Result<()> {
        match (step, source) {
            (Step::Dir { to, mode }, _) => self.dir(to, *mode).map(drop),
            (Step::File { to, mode, content }, _) => self.file(to, *mode)?.write_all(content),
            (Step::Copy { to, mode, descriptor }, _) => {
                let source = copied.get(*descriptor as usize).ok_or(io::ErrorKind::NotFound)?;
                let mut source = File::from(source.try_clone()?);
                io::copy(&mut source, &mut self.file(to, *mode)?).map(drop)
            }
            (Step::Symlink { to, target }, _) => {
                let (parent, name) = self.parent(to)?;
                sys::make_symlink_at(parent, name, target)
            }
            (Step::Tmpfs { to, mode, bytes, inodes }, _) => self.tmpfs(to, *mode, *bytes, *inodes),
            (Step::Bind { to, beneath: None, .. }, Some(source)) => self.bind(source, to),
            (Step::Bind { to, beneath: Some(name), .. }, Some(image)) => {
                let image = self.neutral(image)?;
                let source = sys::open_at(Some(image.as_fd()), name, sys::O_PATH | sys::O_NOFOLLOW, 0, WITHIN)?;
                self.bind(&source, to)
            }
            (Step::Device { to, .. }, Some(source)) => {
                if !File::from(source.try_clone()?).metadata()?.file_type().is_char_device() {
                    return Err(io::Error::from_raw_os_error(EINVAL));
                }
                let target = self.file(to, 0o444)?;
                sys::mount_at(&by_number(source.as_fd()), &by_number(target.as_fd()), b"", sys::MS_BIND, b"")?;
                if left_out("read-only") {
                    return Ok(());
                }
                sys::seal_mount(self.mounted(to)?.as_fd(), sys::Seal::Device)
            }
            (Step::State { to, .. }, Some(source)) => {
                let target = by_number(self.dir(to, 0o755)?);
                self.bind_at(source, &target, to, sys::Seal::Writable)
            }
            (Step::Bind { .. } | Step::State { .. } | Step::Device { .. }, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn tmpfs(&mut self, to: &[u8], mode: u32, bytes: u64, inodes: u64) -> io::Result<()> {
        let options = format!("size={bytes},nr_inodes={inodes},mode={mode:o}");
        let target = by_number(self.dir(to, 0o755)?);
        sys::mount_at(b"tmpfs", &target, b"tmpfs", sys::MS_NOSUID | sys::MS_NODEV, options.as_bytes())?;
        let (parent, name) = self.parent(to)?;
        let flags = sys::O_RDONLY | sys::O_DIRECTORY | sys::O_NOFOLLOW;
        let mounted = sys::open_at(Some(parent), name, flags, 0, WITHIN)?;
        fchown(&mounted, Some(self.owner), Some(self.owner))?;
        // From now on this is the directory with that path.
        self.dirs.insert(to.to_vec(), mounted);
        Ok(())
    }

    fn bind(&mut self, source: &OwnedFd, to: &[u8]) -> io::Result<()> {
        let kind = File::from(source.try_clone()?).metadata()?.file_type();
        let target = if kind.is_dir() {
            by_number(self.dir(to, 0o755)?)
        } else if kind.is_file() {
            // Closed only after the mount, which names it by its number.
            let file = self.file(to, 0o444)?;
            return self.bind_at(source, &by_number(file.as_fd()), to, sys::Seal::Tree);
        } else {
            return Err(io::Error::from_raw_os_error(EINVAL));
        };
        self.bind_at(source, &target, to, sys::Seal::Tree)?;
        // What is mounted there is not ours: nothing may be made in it.
        self.dirs.retain(|path, _| path != to);
        Ok(())
    }

    fn bind_at(&mut self, source: &OwnedFd, target: &[u8], to: &[u8], seal: sys::Seal) -> io::Result<()> {
        sys::mount_at(&by_number(source.as_fd()), target, b"", sys::MS_BIND | sys::MS_REC, b"")?;
        let seal = if left_out("read-only") { sys::Seal::Writable } else { seal };
        sys::seal_mount(self.mounted(to)?.as_fd(), seal)
    }

    /// What was mounted here.
    fn mounted(&mut self, to: &[u8]) -> io::Result<OwnedFd> {
        let (parent, name) = self.parent(to)?;
        sys::open_at(Some(parent), name, sys::O_PATH | sys::O_NOFOLLOW, 0, WITHIN)
    }

    /// The image as an overlay without an upper layer: its mounts then tell the names given here and
    /// not the host's path. Where overlays cannot be made, the image itself.
    fn neutral(&mut self, image: &OwnedFd) -> io::Result<OwnedFd> {
        if let Some(made) = &self.image {
            return made.try_clone();
        }
        let lower = by_number(self.dir(b"/lower/image", 0o755)?);
        sys::mount_at(&by_number(image.as_fd()), &lower, b"", sys::MS_BIND, b"")?;
        // Two layers, or the kernel wants an upper one.
        self.dir(b"/lower/empty", 0o755)?;
        // The image's own attributes may not lead the overlay anywhere.
        let options = format!(
            "lowerdir={0}/lower/image:{0}/lower/empty,redirect_dir=nofollow,metacopy=off,index=off,nfs_export=off,xino=off",
            self.place
        );
        let target = by_number(self.dir(b"/image", 0o755)?);
        let flags = sys::MS_NOSUID | sys::MS_NODEV | sys::MS_RDONLY;
        let made = match sys::mount_at(b"image", &target, b"overlay", flags, options.as_bytes()) {
            Ok(()) => {
                let (top, name) = self.parent(b"/image")?;
                sys::open_at(Some(top), name, sys::O_PATH | sys::O_DIRECTORY | sys::O_NOFOLLOW, 0, WITHIN)?
            }
            Err(_) => {
                self.image_path_shown = true;
                image.try_clone()?
            }
        };
        self.image = Some(made.try_clone()?);
        Ok(made)
    }

    /// Makes a new file.
    fn file(&mut self, to: &[u8], mode: u32) -> io::Result<File> {
        let (parent, name) = self.parent(to)?;
        let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL | sys::O_NOFOLLOW;
        sys::open_at(Some(parent), name, flags, u64::from(mode), WITHIN | sys::RESOLVE_NO_XDEV).map(File::from)
    }

    /// The directory, made with its parents where it does not exist.
    fn dir(&mut self, to: &[u8], mode: u32) -> io::Result<BorrowedFd<'_>> {
        if !self.dirs.contains_key(to) {
            let (parent, name) = self.parent(to)?;
            sys::make_dir_at(parent, name, mode)?;
            let flags = sys::O_RDONLY | sys::O_DIRECTORY | sys::O_NOFOLLOW;
            let opened = sys::open_at(Some(parent), name, flags, 0, WITHIN | sys::RESOLVE_NO_XDEV)?;
            self.dirs.insert(to.to_vec(), opened);
        }
        self.dirs.get(to).map(AsFd::as_fd).ok_or(io::ErrorKind::NotFound.into())
    }

    fn parent<'a>(&mut self, to: &'a [u8]) -> io::Result<(BorrowedFd<'_>, &'a [u8])> {
        let split = to.iter().rposition(|byte| *byte == b'/').ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.dir(&to[..split], 0o755)?, &to[split + 1..]))
    }
}

fn by_number(fd: BorrowedFd<'_>) -> Vec<u8> {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes()
}

const EINVAL: i32 = 22;
