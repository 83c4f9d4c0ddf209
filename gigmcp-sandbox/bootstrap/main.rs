//! The trusted program that builds a sandbox and becomes its PID 1.
//!
//! One static binary without dependencies. It starts on the host, puts the root together, gives up
//! the host's root user, makes the namespaces and hands the listeners to the host. Then it forks:
//! the parent waits, the child is PID 1 inside. PID 1 enters the root, confines a child of its own,
//! starts the server in it, reaps, and ends everything when the host's lifeline closes.
//!
//! In another mode it waits for the end of the host's process and clears up after it.
#![deny(unsafe_code)]

mod confine;
mod identity;
mod init;
mod landlock;
mod link;
mod net;
mod netlink;
mod nft;
mod outer;
mod protocol;
mod root;
mod stage;
mod standing;
mod sweep;
#[allow(unsafe_code, reason = "the one place where the kernel is called; everything above uses owned descriptors")]
mod sys;
mod tripwires;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(mode) if mode == "outer" => outer::run(),
        Some(mode) if mode == "sweep" => sweep::run(std::env::args_os().skip(2)),
        // Seen by `host_report` and by people who find the program: it does nothing alone.
        Some(mode) if mode == "probe" => ExitCode::SUCCESS,
        Some(_) | None => ExitCode::from(2),
    }
}

/// Whether a test leaves this layer out to see what the others hold. The build that is embedded in the
/// library always says no: only the tests' own build of this program looks at its arguments.
#[cfg(not(leaves_out_layers))]
const fn left_out(_layer: &str) -> bool {
    false
}

#[cfg(leaves_out_layers)]
fn left_out(layer: &str) -> bool {
    std::env::args().skip(2).any(|name| name == layer)
}

/// A step that failed, as it is reported to the host.
struct Failure {
    stage: protocol::Stage,
    errno: i32,
    detail: String,
}

impl Failure {
    fn new(stage: protocol::Stage, error: &std::io::Error, detail: impl Into<String>) -> Self {
        Self { stage, errno: error.raw_os_error().unwrap_or(0), detail: detail.into() }
    }

    fn report(self) -> protocol::Report {
        let mut detail = self.detail;
        detail.truncate(detail.floor_char_boundary(DETAIL_BYTES));
        protocol::Report::Failed { stage: self.stage, errno: self.errno, detail }
    }
}

/// Says at which stage an operation failed.
trait At<T> {
    fn at(self, stage: protocol::Stage) -> Result<T, Failure>;
    fn at_with(self, stage: protocol::Stage, detail: &[u8]) -> Result<T, Failure>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, stage: protocol::Stage) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(stage, &error, ""))
    }

    fn at_with(self, stage: protocol::Stage, detail: &[u8]) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(stage, &error, String::from_utf8_lossy(detail)))
    }
}

/// A path of full length would not fit in what the host reads at once.
const DETAIL_BYTES: usize = 1024;
