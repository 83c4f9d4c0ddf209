//! Five thousand clients that only listen, and tool calls at a steady rate: whether memory stays flat, what a call takes, and
//! whether anybody is lost.
//!
//! The gateway (token, policy, sandbox, audit) and our bare endpoint have as many clients and calls each, at the same time, so that
//! both see the same machine.

mod caller;
mod idle;
mod memory;
mod target;
mod wire;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::{
    caller::{Calls, Pacer},
    idle::Idle,
    memory::{Series, mib},
    target::Target,
};
use crate::Failure;

/// One way to the server under load.
struct Way {
    target: Arc<Target>,
    idle: Idle,
    calls: Calls,
    memory: Series,
    /// Resident before there were clients.
    empty: u64,
}

/// Loads both for so many seconds, five minutes if nothing is said.
pub(crate) fn run(seconds: Option<&str>) -> Result<(), Failure> {
    let seconds = match seconds {
        None => 300,
        Some(text) => text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?,
    };
    raise_descriptors()?;
    // The load generator has a thread of its own, and nothing else runs in it.
    let load = move || -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(load(Duration::from_secs(seconds)))
    };
    thread::spawn(load).join().map_err(|_| "the load generator panicked")?
}

async fn load(taken: Duration) -> Result<(), Failure> {
    println!(
        "{CLIENTS} idle clients and {RATE} tools/call of 1 KiB a second for {} s, at the gateway and at our bare endpoint each;\n\
         they, the servers and this load generator are processes of their own and share {} cores\n",
        taken.as_secs(),
        thread::available_parallelism()?
    );
    let directory = tempfile::tempdir()?;
    let mut ways = Vec::new();
    for target in [Target::whole(directory.path(), PLACES)?, Target::bare(PLACES)?] {
        ways.push(prepare(Arc::new(target)).await?);
    }
    let pacer = Pacer::start(RATE, taken, ways.iter().map(|way| way.calls.senders()).collect());
    watch(&mut ways, taken).await?;
    let late = pacer.join()?;
    let mut faults = Vec::new();
    for way in ways {
        faults.extend(judge(way).await?);
    }
    println!("the load generator sent no call later than {late:.1?} after its time");
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.join("; ").into()),
    }
}

/// Brings the clients, of which half have a session and half are of the revision without.
async fn prepare(target: Arc<Target>) -> Result<Way, Failure> {
    // What a first call makes is there before anything is measured.
    let calls = Calls::open(&target, WORKERS).await?;
    let empty = memory::now(target.pid)?.resident;
    let clock = Instant::now();
    let idle = Idle::open(&target, CLIENTS).await?;
    let each = memory::now(target.pid)?.resident.saturating_sub(empty) as f64 / CLIENTS as f64 / 1024.0;
    println!("{}: {CLIENTS} clients came in {:.1?} and take {each:.1} KiB each", target.name, clock.elapsed());
    Ok(Way { target, idle, calls, memory: Series::default(), empty })
}

async fn watch(ways: &mut [Way], taken: Duration) -> Result<(), Failure> {
    println!("\n  memory in MiB: resident, proportional (PSS), anonymous (heap and stacks)");
    let (clock, mut next) = (Instant::now(), Duration::ZERO);
    let mut often = tokio::time::interval(SAMPLE);
    loop {
        often.tick().await;
        let elapsed = clock.elapsed();
        for way in &mut *ways {
            way.memory.add(elapsed, memory::now(way.target.pid)?);
        }
        // A tick may come a moment early or late.
        if elapsed + SAMPLE / 2 >= next || elapsed >= taken {
            next += SHOWN;
            print!("  {:>4} s", elapsed.as_secs());
            for way in &*ways {
                let now = way.memory.last();
                let (resident, proportional, anonymous) =
                    (mib(now.resident), mib(now.proportional), mib(now.anonymous));
                print!("   {}: {resident:>6.1} {proportional:>6.1} {anonymous:>6.1}", way.target.name);
                print!(" {:>6} calls", way.calls.done());
            }
            println!();
        }
        if elapsed >= taken {
            return Ok(());
        }
    }
}

/// Says how it went, and what was wrong.
async fn judge(way: Way) -> Result<Vec<String>, Failure> {
    let Way { target, idle, calls, memory, empty } = way;
    let name = target.name;
    let calls = calls.end().await;
    let figures = &calls.figures;
    let (p50, p99, max) = (figures.percentile(50), figures.percentile(99), figures.percentile(100));
    println!(
        "\n{name}: {} calls, p50 {p50:.0?}, p99 {p99:.0?}, max {max:.0?}, {} failed",
        calls.done,
        calls.errors.len()
    );
    let slope = memory.slope();
    let per_call = slope.growth / (calls.done as f64 * slope.part).max(1.0);
    println!(
        "  anonymous memory: {:+.1} KiB a minute after the first {} s, {per_call:+.0} bytes a call; resident {:.1} MiB before there were clients",
        slope.per_minute / 1024.0,
        slope.from.as_secs(),
        mib(empty)
    );
    let mut faults = Vec::new();
    if slope.growth > ALLOWED_GROWTH {
        faults.push(format!("{name}: memory grew by {:.1} MiB", slope.growth / f64::from(1 << 20)));
    }
    if calls.done != calls.sent {
        faults.push(format!("{name}: {} of {} calls were answered", calls.done, calls.sent));
    }
    if let Some(error) = calls.errors.first() {
        faults.push(format!("{name}: {} calls failed, the first with: {error}", calls.errors.len()));
    }
    let kept = idle.end(&target).await?;
    println!(
        "  {} of {CLIENTS} clients were still listening, {} of {} sessions still known",
        kept.listening, kept.known, kept.sessions
    );
    if kept.listening != CLIENTS || kept.known != kept.sessions {
        faults.push(format!("{name}: clients were lost"));
    }
    Ok(faults)
}

/// Each client is a descriptor here, and one in what it talks to, which inherits the limit.
fn raise_descriptors() -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let needed = 2 * CLIENTS as u64 + 1000;
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(
            format!("{needed} open files are needed, and the hard limit is lower: raise it (`ulimit -Hn`)").into()
        );
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

const CLIENTS: usize = 5000;
/// Calls a second.
const RATE: u32 = 200;
/// Profiles with a server and a token of their own.
const PLACES: usize = 25;
/// Connections that calls take turns on.
const WORKERS: usize = 50;
const SAMPLE: Duration = Duration::from_secs(5);
const SHOWN: Duration = Duration::from_secs(30);
/// What the line through all samples may rise by; one that holds on to 60 bytes of each call rises by more in five minutes.
const ALLOWED_GROWTH: f64 = 3.0 * 1024.0 * 1024.0;
