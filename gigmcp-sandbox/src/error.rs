//! Why a sandbox did not start.

use std::io;
use std::path::PathBuf;

use crate::protocol::Stage;
use crate::{Layer, StateQuota};

/// Why a sandbox did not start. Whatever the variant, nothing of it runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// This is not Linux. The crate compiles elsewhere, but only Linux has the mechanisms.
    #[error("sandboxes need Linux")]
    NotLinux,
    /// The command has no program.
    #[error("the command is empty")]
    EmptyCommand,
    /// A name, argument, variable or path that the kernel could not take, such as one with a NUL.
    #[error(
        "{what} cannot be used: it is empty, holds a NUL byte or, in a variable's name, a `=`, or is a path that is not absolute"
    )]
    InvalidText {
        /// Which input.
        what: &'static str,
    },
    /// No program starts within this limit.
    #[error("`Limits::{limit}` is too low for any program: {least} at least")]
    LimitTooLow {
        /// The limit's name.
        limit: &'static str,
        /// The least it can be.
        least: u64,
    },
    /// A path given to [`SandboxBuilder::read_only`](crate::SandboxBuilder::read_only) is not shown.
    #[error("{} cannot be shown in a sandbox: {why}", path.display())]
    RefusedPath {
        /// The host's path.
        path: PathBuf,
        /// The reason.
        why: PathRefusal,
    },
    /// The root file system cannot be used.
    #[error("the root file system {} cannot be used: {why}", path.display())]
    RefusedRootfs {
        /// The host's path.
        path: PathBuf,
        /// The reason.
        why: RootfsRefusal,
    },
    /// The state directory belongs to a sandbox that still runs, of this process or another.
    #[error("the state directory {} is in use by another sandbox", path.display())]
    StateInUse {
        /// The host's path.
        path: PathBuf,
    },
    /// The state directory holds more than its quota already.
    #[error("the state directory {} holds more than {} bytes or {} files; remove some or raise its quota",
        path.display(), quota.bytes, quota.files)]
    StateQuota {
        /// The host's path.
        path: PathBuf,
        /// What was allowed.
        quota: StateQuota,
    },
    /// A file of the root file system could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// The host's path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Every uid of the range is in use by a live sandbox, or the range is unusable.
    #[error("all {range} host uids for sandboxes are in use")]
    HostUidsExhausted {
        /// How many the range holds.
        range: usize,
    },
    /// The ports of a [`Network`](crate::Network) cannot be had.
    #[error("the ports of the network cannot be had: {why}")]
    RefusedPorts {
        /// The reason.
        why: PortRefusal,
    },
    /// A [`Network::veth`](crate::Network::veth) was used for a second sandbox; it is for one. Make
    /// another.
    #[error("this network's link is, or was, another sandbox's; make one for each sandbox")]
    NetworkTaken,
    /// The host's libseccomp could not compile the policy.
    #[error("compiling the seccomp policy: {reason}")]
    SeccompPolicy {
        /// What libseccomp, or the parser, said.
        reason: String,
    },
    /// The host process could not make a pipe, socket, memfd, thread or process.
    #[error("{what}{}", hint(source))]
    Host {
        /// What was attempted.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A step of building the sandbox failed.
    #[error("{}{}; {fix}", stage.name(), detail_in_brackets(detail))]
    Setup {
        /// The step.
        stage: Stage,
        /// What it was about, such as a path or a program's name; may be empty.
        detail: String,
        /// What to do about it.
        fix: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The process that builds the sandbox ended without a word: it was killed.
    #[error("the process that builds the sandbox was killed")]
    Died,
    /// Memory ran out while the sandbox was built: [`Limits::memory_bytes`](crate::Limits::memory_bytes) is too
    /// little for what goes into it, or the host has none left.
    #[error("memory ran out while the sandbox was built")]
    OutOfMemory,
    /// The sandbox did not come up in time.
    #[error("the sandbox did not start within {seconds} s")]
    TimedOut {
        /// How long was waited.
        seconds: u64,
    },
    /// A layer demanded by [`SandboxBuilder::require`](crate::SandboxBuilder::require) is not, or
    /// not fully, in force. The server's program was not started.
    #[error("{layer} is required but not fully in force: {why}")]
    LayerMissing {
        /// The layer.
        layer: Layer,
        /// What is missing, and the fix where one is known.
        why: String,
    },
}

/// What the operator can do about a failure of the host process itself.
fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(EMFILE | EINVAL) => "; raise the host process's limit of open files",
        _ => "",
    }
}

const EINVAL: i32 = 22;
const EMFILE: i32 = 24;

fn detail_in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// Why the ports of a network cannot be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PortRefusal {
    /// There are more than can be handed over at once.
    #[error("with those that every sandbox has, they are more than {max}")]
    TooMany {
        /// How many there may be.
        max: usize,
    },
    /// Port 0 stands for any port.
    #[error("port 0 is none")]
    Zero,
    /// [`Network::none`](crate::Network::none) has nobody to listen.
    #[error("without a network nobody listens")]
    NoNetwork,
}

/// Why a host path is not shown inside.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PathRefusal {
    /// This is not Linux.
    #[error("sandboxes need Linux")]
    NotLinux,
    /// It is not absolute, or not in its simplest form (`..`, `.`, double slashes).
    #[error("it is not a plain absolute path")]
    NotAbsolute,
    /// It is a directory that holds the host's secrets, devices or sockets.
    #[error("it is a directory of the system; name what is needed below it")]
    System,
    /// It, or a directory on the way to it, is a symlink, so what is shown could be something else.
    #[error("it is, or lies behind, a symlink; name its target")]
    Symlink,
    /// It holds files that no sandbox left there, so it is not given to one.
    #[error("it holds files that no sandbox left there; name an empty directory")]
    NotState,
    /// It is not a directory.
    #[error("it is not a directory")]
    NotADirectory,
    /// It is a socket, device or pipe, a way out of the sandbox.
    #[error("it is a socket, device or pipe")]
    Special,
    /// A directory below it holds a socket, device or pipe.
    #[error("a socket, device or pipe lies below it")]
    SpecialBelow,
    /// It has more entries than are looked through for sockets.
    #[error("it has too many entries to be looked through for sockets")]
    TooLarge,
    /// It does not exist or may not be read, or a directory below it may be entered but not listed.
    #[error("it does not exist or cannot be read")]
    Unreadable,
    /// Its mount point would have to be made inside the image, which is not trusted.
    #[error("its mount point would lie inside the image")]
    InsideImage,
    /// It would cover something the sandbox makes itself.
    #[error("the sandbox has something of its own there")]
    Reserved,
}

/// Why a root file system is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RootfsRefusal {
    /// It is the host's own root.
    #[error("it is the host's own root")]
    Host,
    /// It is not a directory, or for a single file not a regular file.
    #[error("it is not of the right kind")]
    WrongKind,
    /// `/etc` is not a plain directory. Images that make it a symlink aim at the host.
    #[error("its /etc is not a directory")]
    EtcNotADirectory,
    /// A symlink at the top level leads out of the image.
    #[error("a symlink at its top leads out of it")]
    EscapingSymlink,
    /// A device, socket or pipe at the top level or in `/etc`.
    #[error("it holds a device, socket or pipe at its top or in /etc")]
    Special,
    /// Its top, or a directory in its `/etc`, has more entries than are read.
    #[error("its top or a directory in its /etc has too many entries")]
    TooManyEntries,
    /// `/etc` has more entries or bytes than are copied.
    #[error("its /etc is too large")]
    EtcTooLarge,
}
