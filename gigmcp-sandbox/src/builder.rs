//! Describes a sandbox and starts it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::rootfs::Rootfs;
use crate::{HostUids, Layer, Limits, Network, OnTripwire, Profile, Sandbox, SpawnError, StateQuota};

/// Describes a sandbox. Made by [`Sandbox::builder`].
#[derive(Clone, Debug)]
pub struct SandboxBuilder {
    pub(crate) rootfs: Rootfs,
    pub(crate) command: Vec<OsString>,
    pub(crate) environment: BTreeMap<OsString, OsString>,
    pub(crate) read_only: Vec<PathBuf>,
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
    pub(crate) ca_bundle: Option<Vec<u8>>,
    pub(crate) sized_proc: bool,
    pub(crate) state: Option<StateDirectory>,
    pub(crate) writable: Vec<(PathBuf, u64)>,
    pub(crate) network: Network,
    pub(crate) limits: Limits,
    pub(crate) profile: Profile,
    pub(crate) on_tripwire: OnTripwire,
    pub(crate) required: Vec<Layer>,
    pub(crate) host_uids: HostUids,
    pub(crate) working_dir: PathBuf,
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) seam: crate::attacks::Seam,
}

/// A directory of the host that outlives the server.
#[derive(Clone, Debug)]
pub(crate) struct StateDirectory {
    pub(crate) host: PathBuf,
    pub(crate) inside: PathBuf,
    pub(crate) quota: StateQuota,
}

impl SandboxBuilder {
    pub(crate) fn new(rootfs: Rootfs) -> Self {
        Self {
            rootfs,
            command: Vec::new(),
            environment: BTreeMap::new(),
            read_only: Vec::new(),
            files: Vec::new(),
            ca_bundle: None,
            sized_proc: false,
            state: None,
            writable: Vec::new(),
            network: Network::none(),
            limits: Limits::default(),
            profile: Profile::default(),
            on_tripwire: OnTripwire::default(),
            required: Vec::new(),
            host_uids: HostUids::default(),
            working_dir: PathBuf::from("/tmp"),
            #[cfg(all(test, target_os = "linux"))]
            seam: crate::attacks::Seam::default(),
        }
    }

    /// The program and its arguments. A program without a slash is looked up inside, in the `PATH`
    /// of the sandbox's environment. Default: `/server`, which only a single-file root has.
    #[must_use]
    pub fn command(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a variable. The environment is otherwise empty: nothing of the host's is passed on.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Shows a directory or file of the host at the same path inside, read-only. Refused at
    /// [`spawn`](Self::spawn) if it is a directory of the system or holds a socket or device.
    #[must_use]
    pub fn read_only(mut self, path: impl Into<PathBuf>) -> Self {
        self.read_only.push(path.into());
        self
    }

    /// Puts a small read-only file at an absolute path inside.
    #[must_use]
    pub fn file(mut self, inside: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((inside.into(), content.into()));
        self
    }

    /// Shows in `/proc/meminfo` and `/proc/cpuinfo` a machine as large as the limits, so that programs
    /// which size themselves by those do not plan with more than they get. Default: the host's.
    #[must_use]
    pub fn sized_proc(mut self) -> Self {
        self.sized_proc = true;
        self
    }

    /// Puts certificate authorities, in PEM, where libraries look for them: `/etc/ssl/certs/ca-certificates.crt`,
    /// `/etc/ssl/cert.pem` and `/etc/pki/tls/certs/ca-bundle.crt`, in place of the root's own.
    #[must_use]
    pub fn ca_bundle(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_bundle = Some(pem.into());
        self
    }

    /// Lets the server write to a directory of the host, at `/state`, which outlives it. One sandbox at a
    /// time can use it, and its files belong to whom the server runs as; [`HostUids`] says who that is.
    ///
    /// What lies in it was made by the server: follow no symlink there. `/proc/self/mountinfo` tells the server where
    /// the directory lies on its file system: give it a path that says nothing.
    #[must_use]
    pub fn state(self, dir: impl Into<PathBuf>, quota: StateQuota) -> Self {
        self.state_at(STATE, dir, quota)
    }

    /// The same at another absolute path inside. An image's own top-level entry of that name makes room for it; a path
    /// deeper in what the image has is refused at [`spawn`](Self::spawn), as nothing is mounted inside an image.
    #[must_use]
    pub fn state_at(mut self, inside: impl Into<PathBuf>, dir: impl Into<PathBuf>, quota: StateQuota) -> Self {
        self.state = Some(StateDirectory { host: dir.into(), inside: inside.into(), quota });
        self
    }

    /// Lets the server write to a directory inside that is empty at every start and holds so many bytes, of its memory.
    /// Where it may lie is as for [`state_at`](Self::state_at).
    #[must_use]
    pub fn writable(mut self, inside: impl Into<PathBuf>, max_bytes: u64) -> Self {
        self.writable.push((inside.into(), max_bytes));
        self
    }

    /// What network the server sees. Default: [`Network::none`].
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// How much the server may use. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The system calls the server may make. Default: [`Profile::Any`].
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// What happens when the server makes a call that no server makes. Default: [`OnTripwire::Report`].
    #[must_use]
    pub fn on_tripwire(mut self, on_tripwire: OnTripwire) -> Self {
        self.on_tripwire = on_tripwire;
        self
    }

    /// Makes it an error if this layer is not fully in force.
    #[must_use]
    pub fn require(mut self, layer: Layer) -> Self {
        self.required.push(layer);
        self
    }

    /// The host uids to run as when the host process is root. Default: [`HostUids::default`].
    #[must_use]
    pub fn host_uids(mut self, host_uids: HostUids) -> Self {
        self.host_uids = host_uids;
        self
    }

    /// The directory inside that the server starts in. Default: `/tmp`.
    #[must_use]
    pub fn working_dir(mut self, inside: impl Into<PathBuf>) -> Self {
        self.working_dir = inside.into();
        self
    }

    /// Builds the sandbox and starts the server in it.
    ///
    /// Returns once the server's program runs. May be called on any thread of any runtime; the
    /// sandbox does not depend on either afterwards.
    ///
    /// Cancel safe: dropping the future ends whatever was started of the sandbox.
    ///
    /// # Errors
    /// [`SpawnError`], which names the step that failed and the fix. Nothing runs then.
    pub async fn spawn(self) -> Result<Sandbox, SpawnError> {
        #[cfg(target_os = "linux")]
        return crate::launch::spawn(self).await;
        #[cfg(not(target_os = "linux"))]
        Err(SpawnError::NotLinux)
    }
}

/// Where a state directory is seen inside, unless somewhere else is said.
const STATE: &str = "/state";
