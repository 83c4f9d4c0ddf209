//! From a description to a running sandbox.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{Gid, MemfdFlags, Mode, fchmod, fchown};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::{oneshot, watch};

use crate::builder::StateDirectory;
use crate::cgroup::{Cgroup, Unavailable};
use crate::events::EventLog;
use crate::host_uids::UidLease;
use crate::plan::Root;
use crate::posture::Posture;
use crate::protocol::{Plan, Stage};
use crate::sandbox::Lifeline;
use crate::state::{self, State};
use crate::stderr::StderrLog;
use crate::supervisor::{self, Job, Started};
use crate::usage::Meter;
use crate::{
    Level, Network, NetworkHandle, OnTripwire, Sandbox, SandboxBuilder, SpawnError, bootstrap, host, seccomp,
    sized_proc,
};

pub(crate) async fn spawn(mut builder: SandboxBuilder) -> Result<Sandbox, SpawnError> {
    if let Some(StateDirectory { quota, .. }) = &builder.state {
        // Between two measurements, a file cannot become much larger than all may be together; but large
        // enough to be noticed.
        builder.limits.file_bytes = builder.limits.file_bytes.min(quota.bytes.saturating_add(64 << 10));
    }
    let id = next_id().map_err(|source| SpawnError::Host { what: "reading randomness for an id", source })?;
    let required = builder.required.clone();
    let rlimits = builder.limits.rlimits();
    let wall_time = builder.limits.wall_time;
    let log = Arc::new(StderrLog::new(&builder.limits));
    let (profile, on_tripwire) = (builder.profile, builder.on_tripwire);
    #[cfg(test)]
    let seam = builder.seam.clone();
    let prepared = match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(move || prepare(builder)).await,
        // In another runtime, whose thread is kept for some milliseconds.
        Err(_) => Ok(prepare(builder)),
    };
    let prepared = prepared
        .map_err(|error| SpawnError::Host { what: "preparing the sandbox", source: io::Error::other(error) })??;
    let Prepared { plan, others, group, uid, state, network } = prepared;

    let pipes = Pipes::new(uid.as_ref()).map_err(pipes_failed)?;
    let lifeline = Lifeline::new(pipes.lifeline.1, group.clone().ok());
    if let Some(state) = &state {
        state::watch(state, lifeline.scissors())
            .map_err(|source| SpawnError::Host { what: "starting the thread that measures state", source })?;
    }
    let programs = seccomp::programs(profile)?;
    let (events, events_reader) = EventLog::new();
    let (started_sender, started) = oneshot::channel();
    let (ended_sender, ended) = watch::channel(None);
    let mut descriptors = vec![plan, pipes.lifeline.0, pipes.stdin.0, pipes.stdout.1, pipes.stderr.1];
    descriptors.extend(others);
    let meter = group.clone().ok();
    supervisor::submit(Job {
        descriptors,
        stderr: pipes.stderr.0,
        lifeline: lifeline.scissors(),
        log: log.clone(),
        group: group.clone().ok(),
        uid,
        state,
        network,
        wall_time,
        events,
        programs,
        on_tripwire,
        check: Box::new(move |found| {
            let unknown_calls = &programs.unknown;
            let cgroup_limits = match &group {
                Ok(group) => group.level(),
                Err(Unavailable { why, fix }) => Level::None { why: why.clone(), fix: fix.clone() },
            };
            let core_pattern = std::fs::read_to_string(CORE_PATTERN).ok();
            let core_pattern = core_pattern.as_deref();
            let posture = Posture { found, rlimits: &rlimits, unknown_calls, cgroup_limits, core_pattern };
            let enforcement = posture.enforcement();
            match required.into_iter().find(|layer| !enforcement.is_full(*layer)) {
                None => Ok(enforcement),
                Some(layer) => Err(SpawnError::LayerMissing { layer, why: enforcement.level(layer).to_string() }),
            }
        }),
        started: started_sender,
        ended: ended_sender,
        #[cfg(test)]
        seam,
    });
    let started = started.await.map_err(|_| SpawnError::Host {
        what: "the supervisor thread is gone",
        source: io::ErrorKind::BrokenPipe.into(),
    })?;
    let Started { enforcement, intake, control, monitor } = started?;
    Ok(Sandbox {
        id,
        lifeline,
        stdio: Some((pipes.stdin.1, pipes.stdout.0)),
        network: NetworkHandle { intake },
        enforcement,
        log,
        events: events_reader,
        control,
        meter: Meter { group: meter, monitor, ended: ended.clone() },
        ended,
    })
}

/// Everything that may block: reading the root and compiling the policy.
fn prepare(builder: SandboxBuilder) -> Result<Prepared, SpawnError> {
    builder.limits.check()?;
    if !builder.working_dir.is_absolute() {
        return Err(SpawnError::InvalidText { what: "the working directory" });
    }
    // First, as the kernel gets ready for joining it meanwhile.
    let group = Cgroup::create(&builder.limits).map(Arc::new);
    let mut root = Root::new(&builder)?;
    let command = match builder.command.is_empty() {
        false => builder.command,
        true => vec![OsString::from("/server")],
    };
    if command[0].is_empty() {
        return Err(SpawnError::EmptyCommand);
    }
    let command: Vec<Vec<u8>> = command.into_iter().map(OsString::into_vec).collect();
    let environment = builder.environment.into_iter().map(|(name, value)| {
        let valid = !name.is_empty() && !name.as_bytes().contains(&b'=');
        let joined = [name.as_bytes(), b"=", value.as_bytes()].concat();
        valid.then_some(joined).ok_or(SpawnError::InvalidText { what: "an environment variable" })
    });
    let environment = environment.collect::<Result<Vec<_>, _>>()?;
    let working_dir = builder.working_dir.into_os_string().into_vec();
    for (what, items) in [
        ("the command", &command),
        ("an environment variable", &environment),
        ("the working directory", &vec![working_dir.clone()]),
    ] {
        if items.iter().any(|item| item.contains(&0)) {
            return Err(SpawnError::InvalidText { what });
        }
    }
    let uid = if host::is_root() { Some(builder.host_uids.lease()?) } else { None };
    let mut writable: Vec<&Path> = WRITABLE.iter().map(Path::new).collect();
    writable.extend(builder.writable.iter().map(|(path, _)| path.as_path()));
    let mut state = None;
    if let Some(StateDirectory { host, inside, quota }) = &builder.state {
        root.state(inside, &host.join(state::DATA))?;
        state = Some(Arc::new(State::open(host, inside, *quota, builder.limits.file_bytes, uid.as_ref())?));
        writable.push(inside);
    }
    let programs = seccomp::programs(builder.profile)?;
    let mut others = root.copied;
    let first = others.len();
    if let Ok(group) = &group {
        let files = group.join_files();
        others.extend(files.map_err(|source| SpawnError::Host { what: "opening the control group", source })?);
    }
    let boot_id = boot_id().map_err(|source| SpawnError::Host { what: "random bytes", source })?;
    let mut proc_files = vec![(BOOT_ID.to_vec(), boot_id)];
    if builder.sized_proc {
        proc_files.extend(sized_proc::files(&builder.limits));
    }
    let plan = Plan {
        host_uid: uid.as_ref().map(UidLease::uid),
        cgroups: (first..others.len()).map(|index| index as u32).collect(),
        steps: root.steps,
        proc_files,
        network: builder.network.plan()?,
        command,
        environment,
        working_dir,
        rlimits: builder.limits.rlimits(),
        filters: programs.filters.clone(),
        init_filter: programs.init.clone(),
        tripwires: programs.tripwires.iter().map(|(call, errno)| (u64::from(*call), u64::from(*errno))).collect(),
        tripwires_kill: builder.on_tripwire == OnTripwire::Kill,
        writable: writable.into_iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect(),
    };
    #[cfg(test)]
    let plan = builder.seam.plan(plan);
    let plan = bootstrap::sealed("plan", &plan.encode(), MemfdFlags::NOEXEC_SEAL)
        .map_err(|source| SpawnError::Host { what: "making the plan", source })?;
    Ok(Prepared { plan, others, group, uid, state, network: builder.network })
}

struct Prepared {
    plan: OwnedFd,
    /// What the plan refers to by number.
    others: Vec<OwnedFd>,
    group: Result<Arc<Cgroup>, Unavailable>,
    uid: Option<UidLease>,
    state: Option<Arc<State>>,
    network: Network,
}

/// Read end and write end each.
struct Pipes {
    lifeline: (OwnedFd, OwnedFd),
    stdin: (OwnedFd, OwnedFd),
    stdout: (OwnedFd, OwnedFd),
    stderr: (OwnedFd, OwnedFd),
}

impl Pipes {
    /// The server can open `/dev/stdout`, but only in the direction of the pipe: as root, its ends are for its group
    /// and stay ours, so that it cannot change that. Without root they are of its own user, who can.
    fn new(uid: Option<&UidLease>) -> io::Result<Self> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let (stdin, stdout, stderr) = (pipe()?, pipe()?, pipe()?);
        let (read, write) = (Mode::RUSR | Mode::RGRP, Mode::WUSR | Mode::WGRP);
        for (fd, mode) in [(&stdin.0, read), (&stdout.1, write), (&stderr.1, write)] {
            match uid {
                Some(uid) => {
                    fchown(fd, None, Some(Gid::from_raw(uid.uid())))?;
                    fchmod(fd, mode)?;
                }
                None => fchmod(fd, mode & Mode::RWXU)?,
            }
        }
        Ok(Self { lifeline: pipe()?, stdin, stdout, stderr })
    }
}

/// Giving them to another group is the first thing that takes a right of root's, and that group.
fn pipes_failed(source: io::Error) -> SpawnError {
    match Errno::from_io_error(&source) {
        Some(errno @ (Errno::PERM | Errno::INVAL)) => {
            let (stage, errno) = (Stage::DropUser, errno.raw_os_error());
            SpawnError::Setup { stage, detail: String::new(), fix: host::fix(stage, errno), source }
        }
        _ => SpawnError::Host { what: "making the server's pipes", source },
    }
}

/// Not by the number of the process: in a container that is 1 at every start, and others may keep what had the id.
fn next_id() -> io::Result<String> {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let process = match PROCESS.get() {
        Some(process) => *process,
        None => {
            let mut bytes = [0; 8];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
            *PROCESS.get_or_init(|| u64::from_ne_bytes(bytes))
        }
    };
    Ok(format!("{process:016x}-{:x}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// A boot id of the sandbox's own; the host's would name the machine to every server on it.
fn boot_id() -> io::Result<Vec<u8>> {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(format!("{}\n", parts.join("-")).into_bytes())
}

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";
const BOOT_ID: &[u8] = b"sys/kernel/random/boot_id";

/// Places inside that the server may write to.
const WRITABLE: &[&str] = &["/tmp", "/run", "/dev/shm"];
