//! A warm `tools/call`: straight over the server's pipes, through ours, and through those of others, all before the same
//! server and with the same client. Each way is a process of its own; they take turns.

mod direct;
pub(crate) mod endpoint;
mod http;
mod peers;
mod start;
mod subject;
pub(crate) mod whole;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use self::{
    direct::Direct,
    http::{Line, message},
    subject::{Kind, Subject},
};
pub(crate) use self::{
    endpoint::{ENDPOINT, part},
    http::{INITIALIZE, head_end, is_whole},
};
use crate::{
    Failure,
    figures::{Figures, Table},
};

/// Measures all ways, or the straight one and ours with the word `ours`.
pub(crate) async fn run(chosen: Option<&str>) -> Result<(), Failure> {
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| chosen != Some("ours") || kind.is_ours()).collect();
    // The load generator has a thread of its own, and nothing else runs in it.
    std::thread::spawn(move || measure(&kinds)).join().map_err(|_| "the load generator panicked")?
}

fn measure(kinds: &[Kind]) -> Result<(), Failure> {
    println!(
        "tools/call: the server, each proxy and this load generator are processes of their own and share {} cores;\n\
         every way leads to the same program, and what it adds to the straight way is in microseconds\n",
        std::thread::available_parallelism()?
    );
    start::run(kinds)?;
    let directory = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut direct = Direct::start()?;
    let mut subjects = Vec::new();
    for kind in kinds {
        let subject = kind.start(directory.path())?;
        let session = runtime.block_on(http::open_session(&subject))?;
        subjects.push((subject, session));
    }
    for bytes in [1 << 10, 64 << 10] {
        let title = format!("a result of {} KiB", bytes >> 10);
        let alone = cell(&runtime, &mut direct, &subjects, Work::Call { bytes }, 1)?;
        let many = cell(&runtime, &mut direct, &subjects, Work::Call { bytes }, IN_FLIGHT)?;
        print(&title, &subjects, &alone, &many);
    }
    let lists = cell(&runtime, &mut direct, &subjects, Work::List, 1)?;
    let mut table = Table::new("tools/list of 500 tools", &["p50", "p99"]);
    table.row("stdio", &[micros(lists[0].p50()), micros(lists[0].p99())]);
    for ((subject, _), measured) in subjects.iter().zip(&lists[1..]) {
        table.row(subject.name(), &[added(measured.p50(), lists[0].p50()), added(measured.p99(), lists[0].p99())]);
    }
    table.print("what we answer from memory is there sooner than the server's own answer");
    Ok(())
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Work {
    Call { bytes: usize },
    List,
}

/// What one way took.
#[derive(Default)]
struct Measured {
    figures: Figures,
    calls: usize,
    taken: Duration,
}

impl Measured {
    fn p50(&self) -> Duration {
        self.figures.percentile(50)
    }

    fn p99(&self) -> Duration {
        self.figures.percentile(99)
    }

    fn rate(&self) -> f64 {
        self.calls as f64 / self.taken.as_secs_f64()
    }

    fn add(&mut self, durations: Vec<Duration>, taken: Duration) {
        self.calls += durations.len();
        self.taken += taken;
        durations.into_iter().for_each(|duration| self.figures.add(duration));
    }
}

/// One thing measured in all ways: the straight one first.
fn cell(
    runtime: &tokio::runtime::Runtime,
    direct: &mut Direct,
    subjects: &[(Subject, Option<String>)],
    work: Work,
    in_flight: usize,
) -> Result<Vec<Measured>, Failure> {
    let mut lines = Vec::new();
    for (subject, session) in subjects {
        let opened: Result<Vec<Line>, Failure> = runtime.block_on(async {
            let mut opened = Vec::new();
            for number in 0..in_flight {
                opened.push(Line::open(subject, session.as_deref(), &message(work, subject.tool()), number).await?);
            }
            Ok(opened)
        });
        lines.push(opened?);
    }
    let mut measured: Vec<Measured> = (0..=subjects.len()).map(|_| Measured::default()).collect();
    for turn in 0..=TURNS {
        let clock = Instant::now();
        let durations = direct.calls(&message(work, "make"), in_flight, SLICE)?;
        if turn > 0 {
            measured[0].add(durations, clock.elapsed());
        }
        for (at, lines) in lines.iter_mut().enumerate() {
            let clock = Instant::now();
            let durations = runtime.block_on(http::calls(lines, SLICE))?;
            // The first turn is for warming up.
            if turn > 0 {
                measured[at + 1].add(durations, clock.elapsed());
            }
        }
    }
    Ok(measured)
}

fn print(title: &str, subjects: &[(Subject, Option<String>)], alone: &[Measured], many: &[Measured]) {
    let mut table = Table::new(title, &["1: p50", "1: p99", "32: p50", "32: p99", "32: calls/s"]);
    let row = |at: usize| [alone[at].p50(), alone[at].p99(), many[at].p50(), many[at].p99()];
    let straight = row(0);
    table.row("stdio", &[&straight.map(micros)[..], &[many[0].rate()]].concat());
    for (at, (subject, _)) in subjects.iter().enumerate() {
        let mut figures: Vec<f64> = row(at + 1).iter().zip(straight).map(|(one, bare)| added(*one, bare)).collect();
        figures.push(many[at + 1].rate());
        table.row(subject.name(), &figures);
    }
    table.note("the first row is whole times; below it is what each adds");
    table.print("aim: 60 added at p50 bare, 150 with token, policy and audit; 30000 calls/s; fastest of all");
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn added(duration: Duration, bare: Duration) -> f64 {
    micros(duration) - micros(bare)
}

fn server() -> Result<PathBuf, Failure> {
    let directory = std::env::var_os("TEST_DEMO_SERVERS").ok_or("run this by ./dev bench")?;
    Ok(std::path::absolute(PathBuf::from(directory).join("gigmcp-bench-server"))?)
}

const IN_FLIGHT: usize = 32;
const TURNS: usize = 6;
/// How long a way has its turn.
const SLICE: Duration = Duration::from_millis(350);
