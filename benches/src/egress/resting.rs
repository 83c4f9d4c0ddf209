//! Memory that a connection takes which was used once and rests.

use super::client::{Subject, Way};
use super::origin::SMALL;
use super::world::HOST;
use crate::Failure;
use crate::figures::Table;
use crate::idle::{children, resident};

pub(crate) async fn run(subjects: &[Subject]) -> Result<(), Failure> {
    let mut table = Table::new("memory for each of 1000 resting TLS connections (KiB)", &["resident", "of which kept"]);
    for subject in subjects {
        let mut clients = Vec::with_capacity(COUNT);
        // What is made once is there before.
        subject.connect(HOST).await?.get(SMALL).await?;
        let before = with_children(subject.process)?;
        for _ in 0..COUNT {
            let mut client = subject.connect(HOST).await?;
            client.get(SMALL).await?;
            clients.push(client);
        }
        let full = with_children(subject.process)?;
        drop(clients);
        // The next request is behind all the ends of connections.
        subject.connect(HOST).await?.get(SMALL).await?;
        let after = with_children(subject.process)?;
        let each = |now: u64| now.saturating_sub(before) as f64 / COUNT as f64 / 1024.0;
        let name =
            if subject.way == Way::Straight && subject.name == "direct" { "origin itself" } else { subject.name };
        table.row(name, &[each(full), each(after)]);
    }
    table.print("aim: at most 40; kept is what the process still holds when all are closed");
    Ok(())
}

/// Resident memory of a process and those it started.
fn with_children(process: u32) -> Result<u64, Failure> {
    let mut bytes = resident(process)?;
    for child in children(process)? {
        bytes += with_children(child)?;
    }
    Ok(bytes)
}

const COUNT: usize = 1000;
