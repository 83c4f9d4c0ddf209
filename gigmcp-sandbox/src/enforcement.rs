//! What is in force, layer by layer.

use std::fmt;

/// One mechanism that confines a server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Layer {
    /// A user namespace: one unprivileged user, uid 65534, and no root.
    User,
    /// A mount namespace with a root of our own making.
    Mount,
    /// A process namespace: no other process can be seen or signalled.
    Pid,
    /// A network namespace without any interface but loopback; or, with
    /// [`Network::veth`](crate::Network::veth), one link behind a packet filter that was seen to refuse.
    Net,
    /// A namespace for System V IPC and POSIX message queues.
    Ipc,
    /// A namespace for the host name.
    Uts,
    /// A namespace for cgroup paths.
    Cgroup,
    /// The network namespace belongs to a user namespace that the server is not in, so not even
    /// a capability won inside could reconfigure it.
    NetnsOwnership,
    /// All five capability sets are empty.
    Capabilities,
    /// `no_new_privs`: set-user-id and file capabilities have no effect.
    NoNewPrivs,
    /// Two seccomp programs: an allowlist and argument rules.
    Seccomp,
    /// A Landlock ruleset: files, TCP ports, signals, abstract sockets.
    Landlock,
    /// Resource limits of the kernel per process and user. Partial where the host takes core dumps at a
    /// socket (`@` in `kernel.core_pattern`), which no limit keeps a crash from.
    Rlimits,
    /// Limits on memory, processes and CPU time of the whole sandbox by a control group.
    CgroupLimits,
    /// The root is read-only.
    ReadOnlyRoot,
    /// No user namespace can be made inside.
    NestedUserns,
}

impl Layer {
    /// Every layer, in the order of a report.
    pub const ALL: [Self; 16] = [
        Self::User,
        Self::Mount,
        Self::Pid,
        Self::Net,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::NetnsOwnership,
        Self::Capabilities,
        Self::NoNewPrivs,
        Self::Seccomp,
        Self::Landlock,
        Self::Rlimits,
        Self::CgroupLimits,
        Self::ReadOnlyRoot,
        Self::NestedUserns,
    ];

    /// The layer's name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user namespace",
            Self::Mount => "mount namespace",
            Self::Pid => "pid namespace",
            Self::Net => "network namespace",
            Self::Ipc => "ipc namespace",
            Self::Uts => "uts namespace",
            Self::Cgroup => "cgroup namespace",
            Self::NetnsOwnership => "network namespace ownership",
            Self::Capabilities => "no capabilities",
            Self::NoNewPrivs => "no_new_privs",
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::Rlimits => "rlimits",
            Self::CgroupLimits => "cgroup limits",
            Self::ReadOnlyRoot => "read-only root",
            Self::NestedUserns => "no nested user namespaces",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// How far a layer is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Level {
    /// As designed.
    Full,
    /// In force with a gap, which the text names.
    Partial(String),
    /// Not in force.
    None {
        /// What is missing.
        why: String,
        /// What the operator can do about it.
        fix: String,
    },
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => out.write_str("full"),
            Self::Partial(why) => write!(out, "partial: {why}"),
            Self::None { why, fix } => write!(out, "none: {why}; fix: {fix}"),
        }
    }
}

/// What was found to be in force, by reading it back from the kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Enforcement {
    levels: Vec<(Layer, Level)>,
}

impl Enforcement {
    pub(crate) fn new(level: impl Fn(Layer) -> Level) -> Self {
        Self { levels: Layer::ALL.map(|layer| (layer, level(layer))).to_vec() }
    }

    /// How far this layer is in force.
    #[must_use]
    pub fn level(&self, layer: Layer) -> &Level {
        let found = self.levels.iter().find(|(known, _)| *known == layer);
        &found.expect("a report has every layer").1
    }

    /// Whether this layer is fully in force.
    #[must_use]
    pub fn is_full(&self, layer: Layer) -> bool {
        matches!(self.level(layer), Level::Full)
    }

    /// Every layer with its level, in a fixed order.
    pub fn layers(&self) -> impl Iterator<Item = (Layer, &Level)> {
        self.levels.iter().map(|(layer, level)| (*layer, level))
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (layer, level) in self.layers() {
            writeln!(out, "{:<28} {level}", layer.name())?;
        }
        Ok(())
    }
}
