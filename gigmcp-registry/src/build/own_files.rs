//! Files of one's own that go into an image beside the packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
        let mut left = LARGEST_BYTES;
        files.directory(directory, directory, into, 0, &mut left)?;
        Ok(files)
    }

    fn directory(
        &mut self,
        root: &Path,
        directory: &Path,
        into: &str,
        depth: usize,
        left: &mut u64,
    ) -> Result<(), OwnFilesError> {
        let failed = |source| OwnFilesError::Read { path: directory.to_owned(), source };
        if depth > DEEPEST {
            return Err(OwnFilesError::TooMuch { path: directory.to_owned() });
        }
        let mut entries = fs::read_dir(directory).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = entry.file_name().into_string().map_err(|_| OwnFilesError::Name { path: path.clone() })?;
            if is_left_out(&name) {
                let shown = path.strip_prefix(root).unwrap_or(&path);
                self.left_out.push(shown.display().to_string());
                continue;
            }
            let into = format!("{into}/{name}");
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                self.directory(root, &path, &into, depth + 1, left)?;
            } else if kind.is_file() {
                self.file(&path, &into, left)?;
            } else if kind.is_symlink() {
                return Err(OwnFilesError::Symlink { path });
            } else {
                return Err(OwnFilesError::Special { path });
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, into: &str, left: &mut u64) -> Result<(), OwnFilesError> {
        use rustix::fs::{Mode, OFlags, open};
        use std::os::unix::fs::PermissionsExt as _;
        let failed = |source| OwnFilesError::Read { path: path.to_owned(), source };
        // Whatever the directory said a moment before.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::File::from(open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?);
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(OwnFilesError::Special { path: path.to_owned() });
        }
        let mut content = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, *left + 1), &mut content).map_err(failed)?;
        *left =
            left.checked_sub(content.len() as u64).ok_or_else(|| OwnFilesError::TooMuch { path: path.to_owned() })?;
        let mode = if found.permissions().mode() & 0o111 == 0 { FileMode::Data } else { FileMode::Executable };
        Ok(self.tree.file(into, content, mode)?)
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
}
