//! From the start of a process to its first answer, and what it holds then.

use std::time::Instant;

use super::{
    Work,
    direct::Direct,
    http::{self, Line, message},
    server,
    subject::{Kind, Subject},
};
use crate::{
    Failure,
    figures::{Figures, Table},
    idle::{children, proportional},
};

pub(super) fn run(kinds: &[Kind]) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let directory = tempfile::tempdir()?;
    let mut table = Table::new("from the start to the first answer", &["ms", "MiB then"]);
    let mut straight = Figures::default();
    for _ in 0..ROUNDS {
        let clock = Instant::now();
        Direct::start()?.call(&message(Work::Call { bytes: 1024 }, "make"))?;
        straight.add(clock.elapsed());
    }
    table.row("stdio", &[straight.percentile(50).as_secs_f64() * 1e3, 0.0]);
    for kind in kinds {
        let (mut taken, mut bytes) = (Figures::default(), Vec::new());
        // What is only done once in the life of an installation is not measured.
        let rounds = if *kind == Kind::Whole { 0..=ROUNDS } else { 1..=ROUNDS };
        for round in rounds {
            let clock = Instant::now();
            let subject = kind.start(directory.path())?;
            runtime.block_on(first_answer(&subject))?;
            if round > 0 {
                taken.add(clock.elapsed());
                bytes.push(without_server(subject.id)?);
            }
            drop(subject.running);
        }
        bytes.sort_unstable();
        let mib = bytes[bytes.len() / 2] as f64 / f64::from(1 << 20);
        table.row(kind.name(), &[taken.percentile(50).as_secs_f64() * 1e3, mib]);
    }
    table.note("the server's own memory is not counted, and what is shared is divided among those who share it");
    table.print("aim: 30 MiB");
    Ok(())
}

async fn first_answer(subject: &Subject) -> Result<(), Failure> {
    let session = http::open_session(subject).await?;
    let message = message(Work::Call { bytes: 1024 }, subject.tool());
    Line::open(subject, session.as_deref(), &message, 0).await?.exchange().await?;
    Ok(())
}

/// The memory of a process and all below it, but for the server.
fn without_server(id: u32) -> Result<u64, Failure> {
    let server = server()?;
    let name = server.file_name().unwrap_or_default();
    // In a sandbox it is a copy under another name, and the last of its line.
    let program = std::fs::read_link(format!("/proc/{id}/exe"))?;
    let mut sum = if program.file_name() == Some(name) { 0 } else { proportional(id)? };
    let below = children(id)?;
    for child in below {
        sum += without_server(child)?;
    }
    Ok(sum)
}

const ROUNDS: usize = 3;
