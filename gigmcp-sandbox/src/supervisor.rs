//! The one thread that starts sandboxes and watches them.
//!
//! It lives as long as the host process, so a sandbox depends on no runtime, no worker and no
//! caller's thread. Every descriptor it passes on goes through a socket after the fork, so no
//! descriptor of one sandbox is ever open in another's process.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::{oneshot, watch};

use crate::cgroup::{Cgroup, Removal, Tally, Watcher};
use crate::channel::{Launched, agree, launch, receive};
use crate::events::EventLog;
use crate::host_uids::UidLease;
use crate::network::Connected;
use crate::protocol::Report;
use crate::sandbox::Scissors;
use crate::seccomp::Programs;
use crate::state::State;
use crate::stderr::{Read, StderrLog};
use crate::veth::Link;
use crate::{Enforcement, Event, Exit, Intake, Network, OnTripwire, SpawnError, bootstrap, host};

/// A sandbox to be started.
pub(crate) struct Job {
    /// Plan, lifeline, standard input, output and error, then the files to be copied.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The read end of standard error.
    pub(crate) stderr: OwnedFd,
    pub(crate) lifeline: Scissors,
    pub(crate) log: Arc<StderrLog>,
    pub(crate) group: Option<Arc<Cgroup>>,
    pub(crate) uid: Option<UidLease>,
    pub(crate) state: Option<Arc<State>>,
    pub(crate) network: Network,
    pub(crate) wall_time: Option<Duration>,
    pub(crate) events: EventLog,
    /// In force inside, for the names of calls.
    pub(crate) programs: &'static Programs,
    pub(crate) on_tripwire: OnTripwire,
    pub(crate) check: Check,
    pub(crate) started: oneshot::Sender<Result<Started, SpawnError>>,
    pub(crate) ended: watch::Sender<Option<Exit>>,
    #[cfg(test)]
    pub(crate) seam: crate::attacks::Seam,
}

/// Judges what the bootstrap read back, before the server's program starts.
pub(crate) type Check = Box<dyn FnOnce(&BTreeMap<String, String>) -> Result<Enforcement, SpawnError> + Send>;

/// What is known once the server's program runs.
pub(crate) struct Started {
    /// For what the host says to PID 1.
    pub(crate) control: OwnedFd,
    pub(crate) enforcement: Enforcement,
    pub(crate) intake: Option<Intake>,
    /// The process that waits for PID 1.
    pub(crate) monitor: u32,
}

/// Hands a job to the thread, which is started at first use.
pub(crate) fn submit(job: Job) -> Result<(), SpawnError> {
    static SUPERVISOR: OnceLock<Result<Handle, Errno>> = OnceLock::new();
    let failed = |source: io::Error| SpawnError::Host { what: "starting the supervisor", source };
    let handle = SUPERVISOR
        .get_or_init(|| start().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)))
        .as_ref()
        .map_err(|errno| failed((*errno).into()))?;
    let gone = || failed(io::ErrorKind::BrokenPipe.into());
    handle.jobs.send(job).map_err(|_| gone())?;
    rustix::io::write(&handle.wake, &1_u64.to_ne_bytes()).map_err(|error| failed(error.into()))?;
    Ok(())
}

struct Handle {
    jobs: mpsc::Sender<Job>,
    wake: OwnedFd,
}

fn start() -> io::Result<Handle> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&events, &wake, Source::Wake.data(0), epoll::EventFlags::IN)?;
    let limits = Watcher::new()?;
    epoll::add(&events, limits.descriptor(), Source::Limits.data(0), epoll::EventFlags::IN)?;
    let (jobs, queue) = mpsc::channel();
    let mut supervisor =
        Supervisor { events, wake: wake.try_clone()?, queue, limits, look_at: None, live: HashMap::new(), next: 1 };
    std::thread::Builder::new().name("gigmcp-sandbox".to_owned()).spawn(move || supervisor.run())?;
    Ok(Handle { jobs, wake })
}

#[derive(Clone, Copy)]
enum Source {
    Wake,
    Process,
    Control,
    Stderr,
    /// A limit of some sandboxes.
    Limits,
}

impl Source {
    fn data(self, key: u64) -> epoll::EventData {
        epoll::EventData::new_u64(key << 3 | self as u64)
    }

    fn parse(data: u64) -> (Self, u64) {
        let source = match data & 7 {
            0 => Self::Wake,
            1 => Self::Process,
            2 => Self::Control,
            3 => Self::Stderr,
            _ => Self::Limits,
        };
        (source, data >> 3)
    }
}

struct Supervisor {
    events: OwnedFd,
    wake: OwnedFd,
    queue: mpsc::Receiver<Job>,
    limits: Watcher,
    /// When to look at all counts that tell nothing by themselves.
    look_at: Option<Instant>,
    live: HashMap<u64, Live>,
    next: u64,
}

/// A sandbox from fork to the end of its last process.
struct Live {
    child: Child,
    process: Option<OwnedFd>,
    control: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// When standard error is read again, after more than its budget came.
    stderr_resumes: Option<Instant>,
    lifeline: Scissors,
    log: Arc<StderrLog>,
    tally: Option<Tally>,
    /// When it is given up to remove the groups, and when to try again.
    removing: Option<(Instant, Instant)>,
    /// The link of [`Network::veth`], which goes with the sandbox.
    link: Option<Link>,
    wall_time: Option<Duration>,
    ends_at: Option<Instant>,
    starting: Option<Starting>,
    events: EventLog,
    programs: &'static Programs,
    on_tripwire: OnTripwire,
    exit: Option<Exit>,
    ended: watch::Sender<Option<Exit>>,
    uid: Option<UidLease>,
    state: Option<Arc<State>>,
}

struct Starting {
    started: oneshot::Sender<Result<Started, SpawnError>>,
    deadline: Instant,
    check: Option<Check>,
    enforcement: Option<Enforcement>,
    network: Network,
    intake: Option<Intake>,
    failure: Option<SpawnError>,
}

impl Supervisor {
    fn run(&mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            let timeout = self.until_deadline();
            match epoll::wait(&self.events, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                // Only possible with arguments that are wrong from the start.
                Err(_) => return,
            }
            for event in events.drain(..) {
                let (source, key) = Source::parse(event.data.u64());
                match source {
                    Source::Wake => self.take_jobs(),
                    Source::Process => self.reap(key),
                    Source::Control => self.listen(key),
                    Source::Stderr => self.read_stderr(key),
                    Source::Limits => self.look_at_limits(),
                }
                self.settle(key);
            }
            self.enforce_deadlines();
        }
    }

    fn take_jobs(&mut self) {
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
        while let Ok(job) = self.queue.try_recv() {
            let key = self.next;
            self.next += 1;
            let command = bootstrap::command();
            #[cfg(test)]
            let command = job.seam.command(command);
            match command.and_then(|command| launch(command, &job.descriptors)) {
                Ok(launched) => {
                    if let Some(live) = self.watch(key, job, launched) {
                        self.live.insert(key, live);
                    }
                }
                Err(source) => {
                    let _ = job.started.send(Err(SpawnError::Host { what: "starting the bootstrap", source }));
                }
            }
        }
    }

    fn watch(&mut self, key: u64, job: Job, launched: Launched) -> Option<Live> {
        let Launched { mut child, process, control } = launched;
        let readable = epoll::EventFlags::IN;
        let watched = epoll::add(&self.events, &process, Source::Process.data(key), readable)
            .and_then(|()| epoll::add(&self.events, &control, Source::Control.data(key), readable))
            .and_then(|()| epoll::add(&self.events, &job.stderr, Source::Stderr.data(key), readable))
            .and_then(|()| fcntl_setfl(&job.stderr, fcntl_getfl(&job.stderr)? | OFlags::NONBLOCK));
        if let Err(error) = watched {
            job.lifeline.cut();
            // It has not read its plan yet, or will find the lifeline cut.
            let _ = pidfd_send_signal(&process, Signal::KILL);
            let _ = child.wait();
            let source = error.into();
            let _ = job.started.send(Err(SpawnError::Host { what: "watching the sandbox", source }));
            return None;
        }
        let tally = job.group.map(Tally::new);
        if let Some(tally) = &tally {
            self.limits.add(key, tally.group());
        }
        Some(Live {
            child,
            process: Some(process),
            control: Some(control),
            stderr: Some(job.stderr),
            stderr_resumes: None,
            lifeline: job.lifeline,
            log: job.log,
            tally,
            removing: None,
            link: None,
            wall_time: job.wall_time,
            ends_at: None,
            starting: Some(Starting {
                started: job.started,
                deadline: Instant::now() + START_TIME,
                check: Some(job.check),
                enforcement: None,
                network: job.network,
                intake: None,
                failure: None,
            }),
            events: job.events,
            programs: job.programs,
            on_tripwire: job.on_tripwire,
            exit: None,
            ended: job.ended,
            uid: job.uid,
            state: job.state,
        })
    }

    fn reap(&mut self, key: u64) {
        let Some(live) = self.live.get_mut(&key) else {
            return;
        };
        match live.child.try_wait() {
            Ok(None) => {}
            // An error says that somebody else in the process has reaped it.
            Ok(Some(_)) | Err(_) => {
                live.process = None;
                live.lifeline.cut();
            }
        }
    }

    /// Takes one report; the event comes again while there are more.
    fn listen(&mut self, key: u64) {
        let Some(live) = self.live.get_mut(&key) else { return };
        let Some(control) = &live.control else { return };
        match receive(control, live.starting.is_some()) {
            Ok(Some((report, descriptors))) => live.hear(report, descriptors),
            Ok(None) => live.control = None,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                live.lifeline.cut();
                live.control = None;
            }
        }
    }

    /// Reads what is there. After more than the budget, the pipe is left alone for a while, so that
    /// a flood costs the server its time and not ours.
    fn read_stderr(&mut self, key: u64) {
        let Some(live) = self.live.get_mut(&key) else {
            return;
        };
        if let (Read::OverBudget, Some(stderr)) = (live.read_stderr(), &live.stderr)
            && epoll::delete(&self.events, stderr).is_ok()
        {
            live.stderr_resumes = Some(Instant::now() + STDERR_PAUSE);
        }
    }

    /// Ends the bookkeeping once neither the process that waits for PID 1 nor PID 1 is left.
    fn settle(&mut self, key: u64) {
        let now = Instant::now();
        let done = |live: &mut Live| live.process.is_none() && live.control.is_none() && live.remove_groups(now);
        if !self.live.get_mut(&key).is_some_and(done) {
            return;
        }
        let Some(mut live) = self.live.remove(&key) else {
            return;
        };
        self.limits.remove(key);
        while matches!(live.read_stderr(), Read::Some | Read::OverBudget) {}
        live.log.finish();
        let died = if live.out_of_memory() { SpawnError::OutOfMemory } else { SpawnError::Died };
        let exit = live.exit();
        let Live { link, state, uid, starting, ended, events, .. } = live;
        let linked = link.is_some();
        let tell = move || {
            // Before anybody can learn of the end, so that nothing is left and the next finds them free.
            drop((link, uid));
            if let Some(state) = state {
                state.release();
            }
            if let Some(starting) = starting {
                let _ = starting.started.send(Err(starting.failure.unwrap_or(died)));
            }
            events.push(Event::Ended(exit));
            let _ = ended.send(Some(exit));
        };
        if !linked {
            return tell();
        }
        // The kernel takes tens of milliseconds to remove a link, for which nobody else should wait. Where
        // there can be no thread, those who wait notice that nobody is left to tell them.
        let _ = std::thread::Builder::new().name("gigmcp-link".to_owned()).spawn(tell);
    }

    /// Tells what happened at limits.
    fn look_at_limits(&mut self) {
        let now = Instant::now();
        for key in self.limits.take() {
            if let Some(live) = self.live.get_mut(&key) {
                live.tell_limits(|tally| tally.hint(now));
            }
        }
    }

    /// Whether it is time to look at the counts of all.
    fn looks_at_all(&mut self, now: Instant) -> bool {
        let due = self.look_at.is_some_and(|at| at <= now);
        if due || self.look_at.is_none() {
            self.look_at = self.limits.looks_every().map(|every| now + every);
        }
        due
    }

    fn until_deadline(&self) -> Option<Timespec> {
        let next = self.live.values().filter_map(Live::next_time).chain(self.look_at).min()?;
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec::try_from(left).ok()
    }

    fn enforce_deadlines(&mut self) {
        let now = Instant::now();
        let all = self.looks_at_all(now);
        let mut leaving = Vec::new();
        for (key, live) in &mut self.live {
            if all || live.tally.as_ref().and_then(Tally::next_look).is_some_and(|at| at <= now) {
                live.tell_limits(|tally| tally.look(now));
            }
            if live.removing.is_some_and(|(_, again)| again <= now) {
                leaving.push(*key);
            }
            if live.stderr_resumes.is_some_and(|resumes| resumes <= now) {
                live.stderr_resumes = None;
                if let Some(stderr) = &live.stderr {
                    let watched = epoll::add(&self.events, stderr, Source::Stderr.data(*key), epoll::EventFlags::IN);
                    // Short of memory: tried again later.
                    live.stderr_resumes = watched.err().map(|_| now + STDERR_PAUSE);
                }
            }
            if live.deadline().is_some_and(|deadline| deadline <= now) {
                live.run_late();
            }
        }
        leaving.into_iter().for_each(|key| self.settle(key));
    }
}

impl Live {
    /// The next moment that something is overdue.
    fn deadline(&self) -> Option<Instant> {
        self.starting.as_ref().map_or(self.ends_at, |starting| Some(starting.deadline))
    }

    /// When the supervisor has something to do for it even if nothing happens.
    fn next_time(&self) -> Option<Instant> {
        let look = self.tally.as_ref().and_then(Tally::next_look);
        let again = self.removing.map(|(_, again)| again);
        self.deadline().into_iter().chain(self.stderr_resumes).chain(look).chain(again).min()
    }

    /// Tells what was found at the limits. One process killed for want of memory ends the whole: half a
    /// server is no server. v2 kills all at once by itself.
    fn tell_limits(&mut self, look: impl FnOnce(&mut Tally) -> Vec<Event>) {
        let found = self.tally.as_mut().map(look).unwrap_or_default();
        found.into_iter().for_each(|event| self.events.push(event));
        if self.out_of_memory() {
            self.lifeline.cut();
        }
    }

    fn out_of_memory(&self) -> bool {
        self.tally.as_ref().is_some_and(Tally::out_of_memory)
    }

    /// Tries to remove the groups, and says whether that is over. Processes whose parent was killed may
    /// take a moment to leave.
    fn remove_groups(&mut self, now: Instant) -> bool {
        if self.removing.is_none() {
            self.tell_limits(|tally| tally.last_look(now));
        }
        let (give_up, again) = *self.removing.get_or_insert((now + REMOVAL_TIME, now));
        match self.tally.as_ref().filter(|_| again <= now).map(Tally::remove) {
            Some(Removal::Busy(pause)) => {
                self.removing = Some((give_up, now + pause));
                give_up <= now
            }
            Some(Removal::Done) => true,
            None => self.tally.is_none(),
        }
    }

    /// How it ended, once everything is known.
    fn exit(&self) -> Exit {
        match self.exit {
            _ if self.state.as_ref().is_some_and(|state| state.is_over()) => Exit::StateQuota,
            // The server's end is the consequence, or was about to be.
            None | Some(Exit::Exited(_) | Exit::Signaled(_)) if self.out_of_memory() => Exit::OomKilled,
            exit => exit.unwrap_or(Exit::Killed),
        }
    }

    /// Gives up a start that takes too long, or ends a server that ran too long.
    fn run_late(&mut self) {
        self.lifeline.cut();
        match self.starting.take() {
            Some(starting) => {
                let _ = starting.started.send(Err(SpawnError::TimedOut { seconds: START_TIME.as_secs() }));
            }
            None => {
                self.ends_at = None;
                self.ended_as(Exit::TimedOut);
            }
        }
        self.kill();
    }

    fn kill(&self) {
        if let Some(process) = &self.process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }

    fn hear(&mut self, report: Report, descriptors: Vec<OwnedFd>) {
        match (report, &mut self.starting) {
            (Report::Network, Some(_)) => self.connect(descriptors),
            (Report::Posture(found), Some(_)) => self.judge(found.into_iter().collect()),
            (Report::Failed { stage, errno, detail }, Some(starting)) => {
                let source = io::Error::from_raw_os_error(errno);
                let fix = host::fix(stage, errno);
                starting.failure = Some(SpawnError::Setup { stage, detail, fix, source });
                self.lifeline.cut();
            }
            (Report::Running, Some(_)) => self.running(),
            (Report::Exited(code), None) => self.ended_as(Exit::Exited(code)),
            (Report::Signaled(SIGSYS), None) => self.ended_as(Exit::SeccompKilled),
            (Report::Signaled(signal), None) => self.ended_as(Exit::Signaled(signal)),
            (Report::Tripwire { call, pid, count }, None) => self.tripped(call, pid, count),
            // Out of turn: only a PID 1 that is not ours any more would say so.
            (
                Report::Network
                | Report::Posture(_)
                | Report::Failed { .. }
                | Report::Running
                | Report::Exited(_)
                | Report::Signaled(_)
                | Report::Tripwire { .. }
                | Report::Listener,
                _,
            ) => self.lifeline.cut(),
        }
    }

    fn tripped(&mut self, call: u32, pid: u32, count: u64) {
        let call = self.programs.call_name(call);
        self.events.push(Event::Tripwire { call, pid, count });
        if self.on_tripwire == OnTripwire::Kill {
            // PID 1 has ended everything before it said so.
            self.ended_as(Exit::Tripwire { call });
            self.lifeline.cut();
        }
    }

    /// The first reason counts: what comes after it is its consequence.
    fn ended_as(&mut self, exit: Exit) {
        self.exit.get_or_insert(exit);
    }

    /// Makes the host's end of the network.
    fn connect(&mut self, descriptors: Vec<OwnedFd>) {
        let (Some(starting), Some(control)) = (&mut self.starting, &self.control) else { return };
        match starting.network.connect(descriptors) {
            Ok(Connected { intake, link }) => {
                // The bootstrap waits for its end of the link. If it is gone, so is everything.
                let told = link.is_none() || agree(control).is_ok();
                (starting.intake, self.link) = (intake, link);
                if !told {
                    self.lifeline.cut();
                }
            }
            Err(error) => {
                starting.failure = Some(error);
                self.lifeline.cut();
                // There may be no PID 1 yet that would notice.
                self.kill();
            }
        }
    }

    /// Lets the server's program start if every demanded layer is in force.
    fn judge(&mut self, found: BTreeMap<String, String>) {
        let Some(starting) = &mut self.starting else { return };
        let Some(check) = starting.check.take() else { return self.lifeline.cut() };
        match (check(&found), &self.control) {
            (Ok(enforcement), Some(control)) if agree(control).is_ok() => starting.enforcement = Some(enforcement),
            (Ok(_), _) => self.lifeline.cut(),
            (Err(error), _) => {
                starting.failure = Some(error);
                self.lifeline.cut();
            }
        }
    }

    fn running(&mut self) {
        let Some(mut starting) = self.starting.take() else { return };
        let Some(enforcement) = starting.enforcement.take() else {
            // It runs without our word, so it is not our PID 1 that says so.
            self.starting = Some(starting);
            return self.lifeline.cut();
        };
        if let Some(state) = &self.state {
            state.runs(self.child.id());
        }
        self.ends_at = self.wall_time.and_then(|time| Instant::now().checked_add(time));
        let intake = starting.intake;
        let result = match self.control.as_ref().map(OwnedFd::try_clone) {
            Some(Ok(control)) => Ok(Started { enforcement, intake, control, monitor: self.child.id() }),
            _ => Err(SpawnError::Host { what: "copying a descriptor", source: Errno::MFILE.into() }),
        };
        // A caller that has given up has cut the lifeline.
        let _ = starting.started.send(result);
    }

    /// Reads once, at most what the pipe holds unless the server has enlarged it.
    fn read_stderr(&mut self) -> Read {
        let Some(stderr) = &self.stderr else {
            return Read::Nothing;
        };
        let mut buffer = [0_u8; 64 << 10];
        match rustix::io::read(stderr, &mut buffer) {
            Ok(0) => {
                self.stderr = None;
                Read::Nothing
            }
            Ok(length) => self.log.push(&buffer[..length]),
            Err(Errno::INTR) => Read::Some,
            Err(_) => Read::Nothing,
        }
    }
}

/// Far longer than a start takes on a machine under load.
const START_TIME: Duration = Duration::from_secs(30);
/// How long groups may take to become empty after the last process we know of has ended.
const REMOVAL_TIME: Duration = Duration::from_secs(5);
/// With a pipe of 64 KiB, a flood moves at 1.3 MB a second.
const STDERR_PAUSE: Duration = Duration::from_millis(50);
/// The same on every architecture that we run on.
const SIGSYS: i32 = 31;
