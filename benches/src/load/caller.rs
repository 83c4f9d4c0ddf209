//! Calls that come when their time has come, whether or not those before have been answered.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

use super::{
    idle::{VERSION, open_session},
    target::Target,
    wire::{Wire, has_result},
};
use crate::{Failure, figures::Figures};

/// Those who call one target.
pub(super) struct Calls {
    senders: Vec<UnboundedSender<Instant>>,
    done: Arc<AtomicUsize>,
    workers: JoinSet<Made>,
}

/// What one of them, or all, did.
#[derive(Default)]
pub(super) struct Made {
    pub(super) sent: usize,
    pub(super) done: usize,
    pub(super) errors: Vec<String>,
    pub(super) figures: Figures,
}

impl Calls {
    /// Opens a session on each of so many connections, and makes a call on it.
    pub(super) async fn open(target: &Arc<Target>, workers: usize) -> Result<Self, Failure> {
        let (mut senders, mut running) = (Vec::new(), JoinSet::new());
        let done = Arc::new(AtomicUsize::new(0));
        for number in 0..workers {
            let mut wire = Wire::open(target.address, Ipv4Addr::LOCALHOST).await?;
            let session = open_session(target, number, &mut wire).await?;
            let headers = [VERSION, ("mcp-session-id", &*session)];
            let request = target.request(number, "POST", &headers, CALL);
            let answer = wire.exchange(&request).await?;
            if !has_result(answer) {
                return Err(format!("{}: {}", target.name, String::from_utf8_lossy(answer)).into());
            }
            let (sender, due) = unbounded_channel();
            senders.push(sender);
            running.spawn(work(wire, request, due, Arc::clone(&done)));
        }
        Ok(Self { senders, done, workers: running })
    }

    pub(super) fn senders(&self) -> Vec<UnboundedSender<Instant>> {
        self.senders.clone()
    }

    pub(super) fn done(&self) -> usize {
        self.done.load(SeqCst)
    }

    /// All that was made, once nothing more is to come.
    pub(super) async fn end(mut self) -> Made {
        self.senders.clear();
        let mut all = Made::default();
        while let Some(made) = self.workers.join_next().await {
            match made {
                Ok(made) => {
                    all.sent += made.sent;
                    all.done += made.done;
                    all.errors.extend(made.errors);
                    all.figures.extend(made.figures);
                }
                Err(error) => all.errors.push(error.to_string()),
            }
        }
        all
    }
}

/// How long a call took counts from when it was due, so it counts too what it waited for one before it.
async fn work(mut wire: Wire, request: Vec<u8>, mut due: UnboundedReceiver<Instant>, done: Arc<AtomicUsize>) -> Made {
    let mut made = Made::default();
    while let Some(due) = due.recv().await {
        made.sent += 1;
        match tokio::time::timeout(PATIENCE, wire.exchange(&request)).await {
            Ok(Ok(answer)) if has_result(answer) => {
                made.figures.add(due.elapsed());
                made.done += 1;
                done.fetch_add(1, SeqCst);
            }
            Ok(Ok(answer)) => made.errors.push(String::from_utf8_lossy(answer).into_owned()),
            Ok(Err(error)) => {
                made.errors.push(error.to_string());
                return made;
            }
            Err(_) => {
                made.errors.push(format!("no answer in {} s", PATIENCE.as_secs()));
                return made;
            }
        }
    }
    made
}

/// The clock of all calls, which is a thread of its own: timers of the runtime are as coarse as a call takes.
pub(super) struct Pacer(thread::JoinHandle<Duration>);

impl Pacer {
    /// Sends each target `rate` calls a second for so long, evenly, and never to all targets at once.
    pub(super) fn start(rate: u32, taken: Duration, targets: Vec<Vec<UnboundedSender<Instant>>>) -> Self {
        Self(thread::spawn(move || {
            let all = rate * u32::try_from(targets.len()).unwrap_or(1);
            let (begin, mut late) = (Instant::now(), Duration::ZERO);
            for number in 0.. {
                let due = begin + Duration::from_secs(number as u64) / all;
                if due >= begin + taken {
                    break;
                }
                thread::sleep(due.saturating_duration_since(Instant::now()));
                late = late.max(due.elapsed());
                let workers = &targets[number % targets.len()];
                let worker = &workers[number / targets.len() % workers.len()];
                // Whoever is gone has said why.
                let _ = worker.send(Instant::now());
            }
            late
        }))
    }

    /// By how much it was late at most.
    pub(super) fn join(self) -> Result<Duration, Failure> {
        self.0.join().map_err(|_| "the pacer panicked".into())
    }
}

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bench_make","arguments":{"bytes":1024}}}"#;
const PATIENCE: Duration = Duration::from_secs(30);
