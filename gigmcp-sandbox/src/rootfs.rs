//! What a server sees as its root.

use std::path::{Path, PathBuf};

/// What a server sees as its root. It is always read-only; `/tmp`, `/dev/shm` and `/run` are
/// writable tmpfs of the sandbox's own, and `/etc` has our user, hosts and resolver files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rootfs(pub(crate) Kind);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    SingleFile(PathBuf),
    Image(PathBuf),
    HostTools,
}

impl Rootfs {
    /// A root that holds one static program, as `/server`, and nothing else.
    ///
    /// The program is copied at every spawn, so changing the file does not change a running server.
    #[must_use]
    pub fn single_file(path: impl AsRef<Path>) -> Self {
        Self(Kind::SingleFile(path.as_ref().to_owned()))
    }

    /// An extracted image. The tree is not trusted: nothing is ever created in it and no symlink
    /// of it is followed outside the sandbox. Its `/proc`, `/dev`, `/sys`, `/tmp`, `/run` and
    /// `/.gig` are ignored. Its path is kept from the server where the kernel can make an overlay of it.
    #[must_use]
    pub fn image(dir: impl AsRef<Path>) -> Self {
        Self(Kind::Image(dir.as_ref().to_owned()))
    }

    /// The host's `/usr`, and from `/etc` what runtimes need to start. For servers that were not
    /// reviewed and are tried out by a developer.
    #[must_use]
    pub fn host_tools() -> Self {
        Self(Kind::HostTools)
    }
}
