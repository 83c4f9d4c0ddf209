//! The one thread that starts sandboxes and watches them.
//!
//! It lives as long as the host process, so a sandbox depends on no runtime, no worker and no
//! caller's thread. Every descriptor it passes on goes through a socket after the fork, so no
//! descriptor of one sandbox is ever open in another's process.

mod job;
mod live;
mod start;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

pub(crate) use self::job::Job;
use self::live::Live;
pub(crate) use self::start::Started;
use self::start::{START_TIME, Starting};
use crate::cgroup::{Tally, Watcher};
use crate::channel::{Launched, launch, receive};
use crate::made_once::MadeOnce;
use crate::protocol::Report;
use crate::stderr::Read;
use crate::{Event, SpawnError, bootstrap};

/// Hands a job to the thread, which is started at first use. What comes of it is told by the job.
pub(crate) fn submit(job: Job) {
    static SUPERVISOR: MadeOnce<Handle> = MadeOnce::new();
    let handle = match SUPERVISOR.get_or_make(start) {
        Ok(handle) => handle,
        Err(error) => return job.fail(STARTING, error),
    };
    let job = Arc::new(Mutex::new(Some(job)));
    let sent = handle.jobs.send(Arc::clone(&job)).map_err(|_| Errno::PIPE);
    let woken = sent.and_then(|()| rustix::io::write(&handle.wake, &1_u64.to_ne_bytes()));
    // It is taken back, or it would be kept until the next wakes the thread.
    if let Err(error) = woken
        && let Some(job) = take(&job)
    {
        job.fail(STARTING, error.into());
    }
}

fn take(job: &Mutex<Option<Job>>) -> Option<Job> {
    job.lock().unwrap_or_else(PoisonError::into_inner).take()
}

struct Handle {
    jobs: mpsc::Sender<Arc<Mutex<Option<Job>>>>,
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
    Init,
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
            5 => Self::Init,
            _ => Self::Limits,
        };
        (source, data >> 3)
    }
}

struct Supervisor {
    events: OwnedFd,
    wake: OwnedFd,
    queue: mpsc::Receiver<Arc<Mutex<Option<Job>>>>,
    limits: Watcher,
    /// When to look at all counts that tell nothing by themselves.
    look_at: Option<Instant>,
    live: HashMap<u64, Live>,
    next: u64,
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
                    Source::Init => self.init_ended(key),
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
            let Some(job) = take(&job) else { continue };
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
                Err(source) => job.fail("starting the bootstrap", source),
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
            job.fail("watching the sandbox", error.into());
            return None;
        }
        let tally = job.group.map(Tally::new);
        if let Some(tally) = &tally {
            self.limits.add(key, tally.group());
        }
        Some(Live {
            child,
            process: Some(process),
            init: None,
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
                is_late: false,
                check: Some(job.check),
                posture: None,
                agreed: None,
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

    /// The kernel has ended everything else inside before it says so of PID 1.
    fn init_ended(&mut self, key: u64) {
        if let Some(live) = self.live.get_mut(&key) {
            live.init = None;
            live.lifeline.cut();
        }
    }

    /// Takes one report; the event comes again while there are more.
    fn listen(&mut self, key: u64) {
        let Some(live) = self.live.get_mut(&key) else { return };
        let Some(control) = &live.control else { return };
        match receive(control, live.starting.is_some()) {
            Ok(Some((Report::Monitor, descriptors))) => live.meet_init(descriptors, |init| {
                epoll::add(&self.events, init, Source::Init.data(key), epoll::EventFlags::IN)
            }),
            Ok(Some((report, descriptors))) => live.hear(report, descriptors),
            Ok(None) => live.control = None,
            // Said once, before what is left to read, if PID 1 ended with signals unread.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNRESET) => {}
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

    /// Ends the bookkeeping once neither the process that waits for PID 1 nor PID 1 is left. If only the first
    /// was killed, PID 1 closes its end of the socket while the kernel still ends the others.
    fn settle(&mut self, key: u64) {
        let now = Instant::now();
        let done = |live: &mut Live| live.has_ended() && live.remove_groups(now);
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

const STARTING: &str = "starting the supervisor";
/// With a pipe of 64 KiB, a flood moves at 1.3 MB a second.
const STDERR_PAUSE: Duration = Duration::from_millis(50);
