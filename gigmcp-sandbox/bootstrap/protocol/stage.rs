//! The steps by which a start can fail.

use crate::wire::Malformed;

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The step of starting a sandbox that failed.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Stage { $($(#[$doc])* $name,)* }

        impl Stage {
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stage in words, for a message.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

stages! {
    /// Reading the plan and its descriptors.
    Plan = "reading the plan",
    /// Being no more to the kernel's schedulers than any process.
    Standing = "giving up the host's priority",
    /// Joining the control group.
    Cgroup = "joining the control group",
    /// A fresh session keyring.
    Keyring = "leaving the session keyring",
    /// The private mount namespace.
    MountNamespace = "making the mount namespace",
    /// Opening what is to be shown inside.
    Source = "opening a part of the root",
    /// Building the root on a tmpfs.
    Root = "building the root",
    /// Giving up the host's root user.
    DropUser = "becoming an unprivileged host user",
    /// The user namespace and those it owns.
    Namespaces = "making the namespaces",
    /// Mapping the one user.
    UserMap = "mapping the user",
    /// The host name of the sandbox.
    HostName = "setting the host name",
    /// The loopback interface and the route.
    Network = "setting up the network namespace",
    /// The listeners that the host accepts from.
    Listeners = "opening the listeners",
    /// The packet filter of a sandbox with a link.
    Filter = "loading the packet filter",
    /// The link between the sandbox and the host.
    Link = "making the link",
    /// PID 1 of the sandbox.
    Init = "preparing PID 1",
    /// The sandbox's own `/proc`.
    Proc = "mounting /proc",
    /// The sandbox's own terminals.
    Terminals = "mounting /dev/pts",
    /// Leaving the host's root.
    PivotRoot = "entering the root",
    /// Limits that the kernel keeps per user namespace.
    NamespaceLimits = "limiting the user namespace",
    /// The user namespace of the server, which owns nothing.
    InnerUserNamespace = "making the server's user namespace",
    /// The server's process.
    Fork = "making the server's process",
    /// Resource limits.
    Rlimits = "setting resource limits",
    /// Capabilities and identity.
    Capabilities = "giving up every capability",
    /// User namespaces inside must be impossible.
    NestedUserNamespace = "refusing nested user namespaces",
    /// `no_new_privs`.
    NoNewPrivs = "setting no_new_privs",
    /// Landlock.
    Landlock = "applying the Landlock ruleset",
    /// seccomp.
    Seccomp = "installing the seccomp filters",
    /// The working directory.
    WorkingDir = "entering the working directory",
    /// Starting the program itself.
    Exec = "starting the server's program",
}

impl Stage {
    pub(super) fn decode(number: u8) -> Result<Self, Malformed> {
        Self::ALL.get(usize::from(number)).copied().ok_or(Malformed)
    }
}
