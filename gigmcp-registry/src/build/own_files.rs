//! Files of one's own that go into an image beside the packages.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, open, openat, statat};
use rustix::io::Errno;

use super::tree::{FileMode, Tree, TreeError};

/// The files of a directory as they would be in an image, and what was left out.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OwnFiles {
    /// The files, below the path that was asked for.
    pub tree: Tree,
    /// Paths in the directory that were left out because of their names: they are made by tools, or may hold secrets.
    pub left_out: Vec<String>,
}

impl OwnFiles {
    /// Reads a directory. Whatever begins with a dot is left out (`.npmrc`, `.env`, `.git`), and so are keys, certificates,
    /// credentials, logs and what package managers make (`node_modules`, `__pycache__`, virtual environments).
    ///
    /// # Errors
    /// [`OwnFilesError`]: a symlink or something else that is no file, something too large, or unreadable.
    pub fn read(directory: &Path, into: &str) -> Result<Self, OwnFilesError> {
        let mut files = Self::default();
        let root = open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = root.map_err(|error| OwnFilesError::Read { path: directory.to_owned(), source: error.into() })?;
        let mut left = LARGEST_BYTES;
        files.directory(&Place { root: directory, opened: &root, inside: String::new(), depth: 0 }, into, &mut left)?;
        Ok(files)
    }

    fn directory(&mut self, place: &Place<'_>, into: &str, left: &mut u64) -> Result<(), OwnFilesError> {
        if place.depth > DEEPEST {
            return Err(OwnFilesError::TooMuch { path: place.path("") });
        }
        for name in place.names()? {
            if is_left_out(&name) {
                self.left_out.push(place.inside(&name));
                continue;
            }
            let into = format!("{into}/{name}");
            match place.kind(&name)? {
                FileType::Directory => {
                    let opened = place.open(&name, OFlags::DIRECTORY)?;
                    let inside = place.inside(&name);
                    let next = Place { root: place.root, opened: &opened, inside, depth: place.depth + 1 };
                    self.directory(&next, &into, left)?;
                }
                FileType::RegularFile => self.file(place, &name, &into, left)?,
                FileType::Symlink => return Err(OwnFilesError::Symlink { path: place.path(&name) }),
                _ => return Err(OwnFilesError::Special { path: place.path(&name) }),
            }
        }
        Ok(())
    }

    fn file(&mut self, place: &Place<'_>, name: &str, into: &str, left: &mut u64) -> Result<(), OwnFilesError> {
        let failed = |source| OwnFilesError::Read { path: place.path(name), source };
        let file = fs::File::from(place.open(name, OFlags::NONBLOCK)?);
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(OwnFilesError::Special { path: place.path(name) });
        }
        let mut content = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, *left + 1), &mut content).map_err(failed)?;
        let rest = left.checked_sub(content.len() as u64);
        *left = rest.ok_or_else(|| OwnFilesError::TooMuch { path: place.path(name) })?;
        let mode = if found.permissions().mode() & 0o111 == 0 { FileMode::Data } else { FileMode::Executable };
        Ok(self.tree.file(into, content, mode)?)
    }
}

/// An open directory: what is in it is reached from there, whatever becomes of its path meanwhile.
struct Place<'a> {
    root: &'a Path,
    opened: &'a OwnedFd,
    /// Below the root.
    inside: String,
    depth: usize,
}

impl Place<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(&self.inside).join(name)
    }

    fn inside(&self, name: &str) -> String {
        if self.inside.is_empty() { name.to_owned() } else { format!("{}/{name}", self.inside) }
    }

    /// In the order of their bytes.
    fn names(&self) -> Result<Vec<String>, OwnFilesError> {
        let failed = |error: Errno| OwnFilesError::Read { path: self.path(""), source: error.into() };
        let mut names = Vec::new();
        for entry in Dir::read_from(self.opened).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let name = str::from_utf8(name)
                .map_err(|_| OwnFilesError::Name { path: self.path(&String::from_utf8_lossy(name)) })?;
            names.push(name.to_owned());
        }
        names.sort();
        Ok(names)
    }

    fn kind(&self, name: &str) -> Result<FileType, OwnFilesError> {
        let found = statat(self.opened, name, AtFlags::SYMLINK_NOFOLLOW);
        let found = found.map_err(|error| OwnFilesError::Read { path: self.path(name), source: error.into() })?;
        Ok(FileType::from_raw_mode(found.st_mode))
    }

    /// Through no symlink, whatever the directory said a moment before.
    fn open(&self, name: &str, flags: OFlags) -> Result<OwnedFd, OwnFilesError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.opened, name, flags, Mode::empty())
            .map_err(|error| OwnFilesError::Read { path: self.path(name), source: error.into() })
    }
}

/// By its name alone: what it holds is not looked at.
fn is_left_out(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let stem = lower.split('.').next().unwrap_or_default();
    lower.starts_with('.')
        || MADE.contains(&lower.as_str())
        || SECRET_ENDS.iter().any(|end| lower.ends_with(end))
        || SECRET_STEMS.iter().any(|begin| stem.starts_with(begin))
        || SECRET_NAMES.contains(&lower.as_str())
}

const MADE: &[&str] = &["node_modules", "__pycache__", "venv", "env", "npm-debug.log", "target"];
const SECRET_ENDS: &[&str] = &[
    ".pem",
    ".key",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".ppk",
    ".asc",
    ".gpg",
    ".env",
    ".pyc",
    ".log",
    "_rsa",
    "_ed25519",
    "_ecdsa",
    "_dsa",
];
const SECRET_STEMS: &[&str] = &["id_rsa", "id_ed25519", "id_ecdsa", "id_dsa", "credentials", "secrets"];
const SECRET_NAMES: &[&str] = &["pip.conf", "netrc", "_netrc", "htpasswd", "service-account.json", "kubeconfig"];
const DEEPEST: usize = 32;
const LARGEST_BYTES: u64 = 256 << 20;

/// Why a directory is not put into an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnFilesError {
    /// A symlink could lead out of the directory, to another file tomorrow.
    #[error("{} is a symlink", path.display())]
    Symlink {
        /// Which one.
        path: PathBuf,
    },
    /// A socket, device or FIFO.
    #[error("{} is no regular file", path.display())]
    Special {
        /// Which one.
        path: PathBuf,
    },
    /// A name that is no UTF-8.
    #[error("{} is not named in UTF-8", path.display())]
    Name {
        /// Which one.
        path: PathBuf,
    },
    /// More than 256 MiB, or more than 32 directories in each other.
    #[error("{} is too large or too deep", path.display())]
    TooMuch {
        /// Where it became too much.
        path: PathBuf,
    },
    /// Something cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something has no place in an image.
    #[error("placing the files")]
    Place(#[from] TreeError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known() {
        for (name, expected) in [
            (".npmrc", true),
            (".env", true),
            (".env.production", true),
            (".git", true),
            ("prod.env", true),
            ("Server.KEY", true),
            ("id_rsa", true),
            ("id_ed25519.pub", true),
            ("deploy_rsa", true),
            ("credentials.json", true),
            ("pip.conf", true),
            ("node_modules", true),
            ("index.js", false),
            ("environment.js", false),
            ("keys.js", false),
            ("package.json", false),
            ("README.md", false),
        ] {
            assert_eq!(is_left_out(name), expected, "{name}");
        }
    }

    /// A directory that becomes a symlink while it is read, over and over.
    #[test]
    fn what_is_read_is_in_the_directory() {
        let desk = tempfile::tempdir().expect("a directory");
        let path = |name: &str| desk.path().join(name);
        for (directory, text) in [("source/lib", "mine"), ("elsewhere", "secret")] {
            fs::create_dir_all(path(directory)).expect("a directory");
            fs::write(path(directory).join("a.js"), text).expect("a file");
        }
        std::os::unix::fs::symlink(path("elsewhere"), path("link")).expect("a link");
        let done = std::sync::atomic::AtomicBool::new(false);
        let mut found = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use rustix::fs::{CWD, RenameFlags, renameat_with};
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    renameat_with(CWD, path("source/lib"), CWD, path("link"), RenameFlags::EXCHANGE)
                        .expect("exchanged");
                }
            });
            // Looked at when the other thread has ended: it would go on for ever behind a failure.
            let files = (0..20_000).filter_map(|_| OwnFiles::read(&path("source"), "app").ok());
            found.extend(files.map(|files| files.tree.content("app/lib/a.js").map(<[u8]>::to_vec)));
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(!found.is_empty() && found.iter().all(|content| content.as_deref() == Some(b"mine")));
    }
}
