//! Goes through the calls of one part of a start.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::compile::static_program;
use crate::probe::{PROBE_VARIABLE, probe};

/// What came of one call's failure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Outcome {
    /// The call, with its path or option.
    pub(crate) call: String,
    /// Whether the server's program started.
    pub(crate) ran: bool,
    /// Whether the server left what it was told to.
    pub(crate) canary: bool,
    /// `error`, or `started` with what was different.
    pub(crate) result: String,
}

fn tracer() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tracer");
        static_program("tests/tracer/main.rs", &output, &["--crate-name=tracer"])
    })
}

/// Lets every call of this part of a start fail with this error, one in each start.
pub(crate) fn walk(plan: &str, part: &str, errno: i32) -> Vec<Outcome> {
    // Links are made in a network namespace that ends with the walk.
    let mut host = Command::new("unshare")
        .args(["--net", "--"])
        .arg(tracer())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", crate::host::TEST, "--nocapture"])
        .env(crate::host::ROLE, format!("{plan} {part} {errno}"))
        .env(PROBE_VARIABLE, probe())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(host.stdout.take().unwrap()).lines().map(Result::unwrap);
    let outcomes = lines.filter_map(|line| Outcome::parse(line.split_once("outcome: ")?.1)).collect();
    assert!(host.wait().unwrap().success(), "{plan} {part} {errno}");
    outcomes
}

impl Outcome {
    pub(crate) fn print(&self) {
        println!("outcome: {}\t{}\t{}\t{}", self.call, self.ran, self.canary, self.result);
    }

    fn parse(line: &str) -> Option<Self> {
        let [call, ran, canary, result] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        let (call, result) = (call.to_owned(), result.to_owned());
        Some(Self { call, ran: ran == "true", canary: canary == "true", result })
    }
}
