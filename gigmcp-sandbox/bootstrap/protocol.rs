//! What the host and the bootstrap say to each other.
//!
//! Compiled into both: the host writes a [`Plan`], the bootstrap carries it out and answers
//! with [`Report`]s. Both ends are built together, so there is no version to negotiate.

use super::wire::{Malformed, Reader, Writer};

/// The uid and gid of every process inside, as seen from inside.
pub(crate) const SERVER_ID: u32 = 65534;
/// The ports whose listeners are always handed to the host.
pub(crate) const TCP_PORTS: [u16; 4] = [443, 80, 3128, DNS_PORT];
/// The port of DNS.
pub(crate) const DNS_PORT: u16 = 53;

/// The name of the sandbox's end of a link.
pub(crate) const LINK_NAME: &str = "gig0";

/// The hardware address of the end of a link that has this address. Both ends know the other's by
/// this, so that none ever has to be asked for.
pub(crate) fn link_address([a, b, c, d]: [u8; 4]) -> [u8; 6] {
    // The second lowest bit: given locally, not by a manufacturer.
    [0x02, 0x67, a, b, c, d]
}

/// Everything needed to build one sandbox and start its server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    /// The unprivileged host uid and gid to become; absent where the host runs unprivileged.
    pub host_uid: Option<u32>,
    /// Which of the descriptors sent along are `cgroup.procs` files to join.
    pub cgroups: Vec<u32>,
    /// How the root is put together, in order.
    pub steps: Vec<Step>,
    /// Files shown in place of those of `/proc`, by the path below it.
    pub proc_files: Vec<(Vec<u8>, Vec<u8>)>,
    /// What network the server sees.
    pub network: NetworkPlan,
    /// The server's command line; the first is looked up in `PATH` if it has no slash.
    pub command: Vec<Vec<u8>>,
    /// The whole environment, as `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// The directory the server starts in.
    pub working_dir: Vec<u8>,
    /// Resource number and value, soft and hard alike.
    pub rlimits: Vec<(u64, u64)>,
    /// seccomp programs in kernel form, in the order they are installed.
    pub filters: Vec<Vec<u8>>,
    /// The calls that the last program makes wait for PID 1, with the error they get. With none,
    /// nobody listens, and the kernel answers `ENOSYS`.
    pub tripwires: Vec<(u64, u64)>,
    /// Whether such a call ends the sandbox.
    pub tripwires_kill: bool,
    /// Directories the server may write to.
    pub writable: Vec<Vec<u8>>,
}

/// A network to be made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum NetworkPlan {
    /// Loopback alone.
    #[default]
    None,
    /// Every address is local, and the sockets that listen at these ports go to the host: those of
    /// TCP first, each in the order given.
    Handoff { tcp: Vec<u16>, udp: Vec<u16> },
    /// A link between these addresses, over which these ports of the host can be reached.
    Link { sandbox: [u8; 4], host: [u8; 4], tcp: Vec<u16>, udp: Vec<u16> },
}

impl NetworkPlan {
    /// The ports that TCP can be dialled at.
    pub(crate) fn tcp(&self) -> &[u16] {
        match self {
            Self::None => &TCP_PORTS,
            Self::Handoff { tcp, .. } | Self::Link { tcp, .. } => tcp,
        }
    }

    fn encode(&self, out: &mut Writer) {
        let ports = |out: &mut Writer, tcp: &[u16], udp: &[u16]| {
            for list in [tcp, udp] {
                out.list(list, |out, port| out.number(u64::from(*port)));
            }
        };
        match self {
            Self::None => out.byte(0),
            Self::Handoff { tcp, udp } => {
                out.byte(1);
                ports(out, tcp, udp);
            }
            Self::Link { sandbox, host, tcp, udp } => {
                out.byte(2);
                for address in [sandbox, host] {
                    out.number(u64::from(u32::from_be_bytes(*address)));
                }
                ports(out, tcp, udp);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let ports = |from: &mut Reader<'_>| from.list(|from| u16::try_from(from.number()?).map_err(|_| Malformed));
        let address =
            |from: &mut Reader<'_>| u32::try_from(from.number()?).map(u32::to_be_bytes).map_err(|_| Malformed);
        Ok(match from.byte()? {
            0 => Self::None,
            1 => Self::Handoff { tcp: ports(from)?, udp: ports(from)? },
            2 => Self::Link { sandbox: address(from)?, host: address(from)?, tcp: ports(from)?, udp: ports(from)? },
            _ => return Err(Malformed),
        })
    }
}

/// One step of building the root on a tmpfs of our own. Destinations are relative to that
/// tmpfs; they are resolved without following any symlink and without leaving it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// An empty directory, and its parents.
    Dir { to: Vec<u8>, mode: u32 },
    /// A file with this content.
    File { to: Vec<u8>, mode: u32, content: Vec<u8> },
    /// A file with the content of the descriptor with this number among those sent along.
    Copy { to: Vec<u8>, mode: u32, descriptor: u32 },
    /// A symlink.
    Symlink { to: Vec<u8>, target: Vec<u8> },
    /// A host directory or file, read-only. With `beneath`, that path is resolved below `from`
    /// without following a symlink, and `from` is an image, whose path is kept from the server.
    Bind { to: Vec<u8>, from: Vec<u8>, beneath: Option<Vec<u8>> },
    /// A device of the host with the same name in `/dev`.
    Device { to: Vec<u8>, name: Vec<u8> },
    /// A host directory that the server may write to.
    State { to: Vec<u8>, from: Vec<u8> },
    /// A writable tmpfs with a size in bytes and a number of inodes, owned by the server.
    Tmpfs { to: Vec<u8>, mode: u32, bytes: u64, inodes: u64 },
}

impl Plan {
    /// Encodes the plan.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.host_uid.map_or(u64::MAX, u64::from));
        out.list(&self.cgroups, |out, item| out.number(u64::from(*item)));
        out.list(&self.steps, |out, step| step.encode(out));
        out.list(&self.proc_files, |out, (name, content)| {
            out.bytes(name);
            out.bytes(content);
        });
        self.network.encode(&mut out);
        out.list(&self.command, |out, item| out.bytes(item));
        out.list(&self.environment, |out, item| out.bytes(item));
        out.bytes(&self.working_dir);
        out.list(&self.rlimits, |out, (resource, value)| {
            out.number(*resource);
            out.number(*value);
        });
        out.list(&self.filters, |out, item| out.bytes(item));
        out.list(&self.tripwires, |out, (call, errno)| {
            out.number(*call);
            out.number(*errno);
        });
        out.byte(u8::from(self.tripwires_kill));
        out.list(&self.writable, |out, item| out.bytes(item));
        out.finish()
    }

    /// Decodes what [`Plan::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let owned = |from: &mut Reader<'_>| from.bytes().map(<[u8]>::to_vec);
        Ok(Self {
            host_uid: match from.number()? {
                u64::MAX => None,
                uid => Some(u32::try_from(uid).map_err(|_| Malformed)?),
            },
            cgroups: from.list(|from| u32::try_from(from.number()?).map_err(|_| Malformed))?,
            steps: from.list(Step::decode)?,
            proc_files: from.list(|from| Ok((owned(from)?, owned(from)?)))?,
            network: NetworkPlan::decode(&mut from)?,
            command: from.list(owned)?,
            environment: from.list(owned)?,
            working_dir: owned(&mut from)?,
            rlimits: from.list(|from| Ok((from.number()?, from.number()?)))?,
            filters: from.list(owned)?,
            tripwires: from.list(|from| Ok((from.number()?, from.number()?)))?,
            tripwires_kill: from.byte()? != 0,
            writable: from.list(owned)?,
        })
    }
}

impl Step {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Dir { to, mode } => {
                out.byte(0);
                out.bytes(to);
                out.number(u64::from(*mode));
            }
            Self::File { to, mode, content } => {
                out.byte(1);
                out.bytes(to);
                out.number(u64::from(*mode));
                out.bytes(content);
            }
            Self::Copy { to, mode, descriptor } => {
                out.byte(2);
                out.bytes(to);
                out.number(u64::from(*mode));
                out.number(u64::from(*descriptor));
            }
            Self::Symlink { to, target } => {
                out.byte(3);
                out.bytes(to);
                out.bytes(target);
            }
            Self::Bind { to, from, beneath } => {
                out.byte(4);
                out.bytes(to);
                out.bytes(from);
                out.byte(u8::from(beneath.is_some()));
                out.bytes(beneath.as_deref().unwrap_or_default());
            }
            Self::Tmpfs { to, mode, bytes, inodes } => {
                out.byte(5);
                out.bytes(to);
                out.number(u64::from(*mode));
                out.number(*bytes);
                out.number(*inodes);
            }
            Self::State { to, from } => {
                out.byte(7);
                out.bytes(to);
                out.bytes(from);
            }
            Self::Device { to, name } => {
                out.byte(6);
                out.bytes(to);
                out.bytes(name);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = from.byte()?;
        let to = from.bytes()?.to_vec();
        let short = |from: &mut Reader<'_>| u32::try_from(from.number()?).map_err(|_| Malformed);
        Ok(match kind {
            0 => Self::Dir { to, mode: short(from)? },
            1 => Self::File { to, mode: short(from)?, content: from.bytes()?.to_vec() },
            2 => Self::Copy { to, mode: short(from)?, descriptor: short(from)? },
            3 => Self::Symlink { to, target: from.bytes()?.to_vec() },
            4 => {
                let source = from.bytes()?.to_vec();
                let below = from.byte()? != 0;
                let beneath = from.bytes()?.to_vec();
                Self::Bind { to, from: source, beneath: below.then_some(beneath) }
            }
            5 => Self::Tmpfs { to, mode: short(from)?, bytes: from.number()?, inodes: from.number()? },
            6 => Self::Device { to, name: from.bytes()?.to_vec() },
            7 => Self::State { to, from: from.bytes()?.to_vec() },
            _ => return Err(Malformed),
        })
    }
}

/// What the bootstrap tells the host, one message of the control socket each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Report {
    /// The network namespace stands. With hand-off, the listeners come with this message; where a link
    /// is wanted, the namespace itself, and nothing goes on until the host has made the link.
    Network,
    /// To PID 1, from the server's process: the listener of the last seccomp program comes with this.
    Listener,
    /// What PID 1 and the server's process read back about themselves, as `key` and `value`.
    Posture(Vec<(String, String)>),
    /// The server's program runs.
    Running,
    /// A step failed and nothing runs.
    Failed { stage: Stage, errno: i32, detail: String },
    /// The server ended by itself with this code.
    Exited(i32),
    /// The server was ended by this signal.
    Signaled(i32),
    /// A call that no server makes was made so many times since the last such report, the last time
    /// by this thread inside.
    Tripwire { call: u32, pid: u32, count: u64 },
}

impl Report {
    /// Encodes the report.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Network => out.byte(0),
            Self::Posture(entries) => {
                out.byte(1);
                out.list(entries, |out, (key, value)| {
                    out.bytes(key.as_bytes());
                    out.bytes(value.as_bytes());
                });
            }
            Self::Running => out.byte(2),
            Self::Failed { stage, errno, detail } => {
                out.byte(3);
                out.byte(*stage as u8);
                out.number(u64::from(errno.unsigned_abs()));
                out.bytes(detail.as_bytes());
            }
            Self::Exited(code) => {
                out.byte(4);
                out.number(u64::from(code.unsigned_abs()));
            }
            Self::Signaled(signal) => {
                out.byte(5);
                out.number(u64::from(signal.unsigned_abs()));
            }
            Self::Tripwire { call, pid, count } => {
                out.byte(6);
                out.number(u64::from(*call));
                out.number(u64::from(*pid));
                out.number(*count);
            }
            Self::Listener => out.byte(7),
        }
        out.finish()
    }

    /// Decodes what [`Report::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let small = |from: &mut Reader<'_>| i32::try_from(from.number()?).map_err(|_| Malformed);
        let short = |from: &mut Reader<'_>| u32::try_from(from.number()?).map_err(|_| Malformed);
        Ok(match from.byte()? {
            0 => Self::Network,
            1 => Self::Posture(from.list(|from| Ok((from.text()?, from.text()?)))?),
            2 => Self::Running,
            3 => Self::Failed { stage: Stage::decode(from.byte()?)?, errno: small(&mut from)?, detail: from.text()? },
            4 => Self::Exited(small(&mut from)?),
            5 => Self::Signaled(small(&mut from)?),
            6 => Self::Tripwire { call: short(&mut from)?, pid: short(&mut from)?, count: from.number()? },
            7 => Self::Listener,
            _ => return Err(Malformed),
        })
    }
}

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

impl Stage {
    fn decode(number: u8) -> Result<Self, Malformed> {
        Self::ALL.get(usize::from(number)).copied().ok_or(Malformed)
    }
}

stages! {
    /// Reading the plan and its descriptors.
    Plan = "reading the plan",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let to = b"/root/x".to_vec();
        Plan {
            host_uid: Some(61_184),
            cgroups: vec![5, 6],
            steps: vec![
                Step::Dir { to: to.clone(), mode: 0o755 },
                Step::File { to: to.clone(), mode: 0o444, content: vec![0, 255] },
                Step::Copy { to: to.clone(), mode: 0o555, descriptor: 3 },
                Step::Symlink { to: to.clone(), target: b"usr".to_vec() },
                Step::Bind { to: to.clone(), from: b"/usr".to_vec(), beneath: None },
                Step::Bind { to: to.clone(), from: b"/image".to_vec(), beneath: Some(b"usr".to_vec()) },
                Step::Tmpfs { to: to.clone(), mode: 0o1777, bytes: u64::MAX, inodes: 1 },
                Step::Device { to: to.clone(), name: b"null".to_vec() },
                Step::State { to, from: b"/srv/state".to_vec() },
            ],
            proc_files: vec![(b"cpuinfo".to_vec(), Vec::new())],
            network: NetworkPlan::Handoff { tcp: vec![443], udp: vec![53, 123] },
            command: vec![b"/server".to_vec()],
            environment: vec![b"A=b".to_vec()],
            working_dir: b"/tmp".to_vec(),
            rlimits: vec![(7, 4096)],
            filters: vec![vec![6; 8]],
            tripwires: vec![(101, 1)],
            tripwires_kill: true,
            writable: vec![b"/tmp".to_vec()],
        }
    }

    #[test]
    fn a_plan_and_every_report_come_back_as_they_were() {
        assert_eq!(Plan::decode(&plan().encode()), Ok(plan()));
        let (sandbox, host) = ([10, 199, 0, 2], [10, 199, 0, 1]);
        for network in [NetworkPlan::None, NetworkPlan::Link { sandbox, host, tcp: vec![3128], udp: Vec::new() }] {
            let plan = Plan { network, ..plan() };
            assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
        }
        for report in [
            Report::Network,
            Report::Posture(vec![("a".to_owned(), "b".to_owned())]),
            Report::Running,
            Report::Failed { stage: Stage::Exec, errno: 2, detail: "x".to_owned() },
            Report::Exited(255),
            Report::Signaled(31),
            Report::Tripwire { call: 101, pid: 2, count: u64::MAX },
            Report::Listener,
        ] {
            assert_eq!(Report::decode(&report.encode()), Ok(report));
        }
    }

    #[test]
    fn a_message_cut_short_is_malformed() {
        let whole = plan().encode();
        for length in 0..whole.len() {
            assert_eq!(Plan::decode(&whole[..length]), Err(Malformed), "{length} bytes");
        }
        let unknown_stage = [3, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Report::decode(&unknown_stage), Err(Malformed));
        let endless_list = [1, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(Report::decode(&endless_list), Err(Malformed));
    }
}
