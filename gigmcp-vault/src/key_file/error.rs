//! What can be wrong with a key file, said to the operator together with the fix.

use std::io;
use std::path::{Path, PathBuf};

use crate::key_ring::InvalidKeyRing;
use crate::key_wrap::KeyWrapError;

/// Why a key file was not read or written. The text names the file, what is wrong with it, and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is no file.
    #[error("there is no key file {}; restore it from a backup, or let a new one be created if nothing was sealed yet", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Something is at the path already, so nothing was written.
    #[error(
        "{} exists already; it was left as it is: use it, or move it away if no secret was sealed with it",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// This user may not read the file.
    #[error("key file {} cannot be read by uid {user}; run: chown {user} {} && chmod 600 {}", path.display(), path.display(), path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The effective user.
        user: u32,
    },
    /// A directory, symbolic link, device, FIFO or socket.
    #[error("key file {} is not a regular file; put the key file itself there, not a link to it", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs to someone else, who could have put any key there.
    #[error("key file {} belongs to uid {owner}, not to uid {user} or root; run: chown {user} {}", path.display(), path.display())]
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// The effective user.
        user: u32,
    },
    /// Group or others have some permission.
    #[error("key file {} is open to other users (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A group may read it that is none of this process's own, or others are named in an access control list.
    #[error(
        "key file {} can be read by group {group} (mode {mode:04o}) or by others whom an access control list names; run: chmod 400 {}, or give it to a group of this process's own", path.display(), path.display()
    )]
    OpenToGroup {
        /// The file.
        path: PathBuf,
        /// The group.
        group: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is not exactly the format.
    #[error("key file {}, line {line}: {problem}; restore it from a backup", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What.
        #[source]
        problem: MalformedKeyFile,
    },
    /// The ring has more keys than a key file can hold. The file is as it was.
    #[error(
        "key file {} has no room for {keys} keys; rewrap every secret, then forget the retired keys",
        path.display()
    )]
    TooManyKeys {
        /// The file.
        path: PathBuf,
        /// How many there are.
        keys: usize,
    },
    /// The file was wrapped by something else than what is at hand.
    #[error("key file {} was wrapped by `{found}`, not by `{expected}`; give the one that wrapped it", path.display())]
    OtherWrap {
        /// The file.
        path: PathBuf,
        /// The kind that stands in the file.
        found: String,
        /// The kind at hand.
        expected: &'static str,
    },
    /// The key that the file is encrypted with cannot be had.
    #[error("opening the wrapped key file {}", path.display())]
    Unwrap {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyWrapError,
    },
    /// The key that the file would be encrypted with cannot be wrapped. The file is as it was.
    #[error("wrapping the key file {}", path.display())]
    Wrap {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyWrapError,
    },
    /// The system refused something.
    #[error("{action} key file {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The kernel gave no random bytes for a new key.
    #[error("drawing random bytes for a new key")]
    Random(#[from] getrandom::Error),
}

impl KeyFileError {
    pub(super) fn opening(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::PermissionDenied => Self::Unreadable { path, user: rustix::process::geteuid().as_raw() },
            // NOFOLLOW answers a symbolic link with ELOOP, and a socket cannot be opened at all (ENXIO).
            _ if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
                || source.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) =>
            {
                Self::NotRegular { path }
            }
            _ => Self::Io { action: "opening", path, source },
        }
    }

    pub(super) fn creating(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            _ => Self::Io { action: "creating", path, source },
        }
    }

    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}

/// Why the content of a key file is refused. Quotes nothing of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedKeyFile {
    /// More than 64 KiB.
    #[error("the file is too long")]
    TooLong,
    /// Not plain ASCII text whose last line ends with a newline.
    #[error("not ASCII text that ends with a newline")]
    NotText,
    /// The keys in it are encrypted, and only [`KeyRing::load_wrapped`](crate::KeyRing::load_wrapped) reads them.
    #[error("the keys are wrapped, and what wrapped them was not given")]
    Wrapped,
    /// The keys in it are not encrypted, although they should be.
    #[error("the keys are not wrapped; load them as they are, and save them wrapped")]
    NotWrapped,
    /// Not a key file, or of a version that this program does not know.
    #[error("the first line is not that of a key file of version 1")]
    Header,
    /// The line does not have the words it should have, one space apart.
    #[error("expected `{expected}`")]
    Line {
        /// The shape of the line that should stand here.
        expected: &'static str,
    },
    /// A number is not decimal without leading zeros, or too large.
    #[error("not a version number")]
    Number,
    /// The id or key is not lower-case hex of the right length.
    #[error("not {digits} lower-case hex digits")]
    Hex {
        /// How many digits are expected.
        digits: usize,
    },
    /// The digest in the last line is not that of the lines before: a character was changed or lines were lost.
    #[error("the digest does not match the lines above")]
    Digest,
    /// The keys are well-formed but do not make a ring.
    #[error(transparent)]
    Ring(#[from] InvalidKeyRing),
}
