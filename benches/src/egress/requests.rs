//! Warm requests on kept connections: one at a time, and on many connections at once.

use std::time::{Duration, Instant};

use super::client::Subject;
use super::origin::{SMALL, SMALL_BYTES};
use super::world::HOST;
use crate::Failure;
use crate::figures::{Figures, Table};

pub(crate) async fn run(subjects: &[Subject]) -> Result<(), Failure> {
    one_at_a_time(subjects).await?;
    many_at_once(subjects).await
}

/// All take turns, so that each sees the same machine.
async fn one_at_a_time(subjects: &[Subject]) -> Result<(), Failure> {
    let mut clients = Vec::new();
    for subject in subjects {
        clients.push(subject.connect(HOST).await?);
    }
    let mut figures: Vec<Figures> = subjects.iter().map(|_| Figures::default()).collect();
    let start = Instant::now();
    for round in 0..ROUNDS {
        if start.elapsed() > LONGEST {
            break;
        }
        for (client, figures) in clients.iter_mut().zip(&mut figures) {
            let clock = Instant::now();
            let length = client.get(SMALL).await?;
            if length != SMALL_BYTES {
                return Err(format!("{}: {length} bytes", client.name).into());
            }
            if round >= WARM {
                figures.add(clock.elapsed());
            }
        }
    }
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    let mut table = Table::new(
        "https request with a credential, warm, 1 KiB answer, one at a time (µs)",
        &["p50", "p99", "p50 added", "p99 added"],
    );
    let direct = [50, 99].map(|percent| micros(figures[0].percentile(percent)));
    for (subject, figures) in subjects.iter().zip(&figures) {
        let own = [50, 99].map(|percent| micros(figures.percentile(percent)));
        table.row(subject.name, &[own[0], own[1], own[0] - direct[0], own[1] - direct[1]]);
    }
    table.print("aim: p50 added at most 300");
    Ok(())
}

async fn many_at_once(subjects: &[Subject]) -> Result<(), Failure> {
    let mut rates = vec![0.0_f64; subjects.len()];
    for _ in 0..2 {
        for (rate, subject) in rates.iter_mut().zip(subjects) {
            *rate = rate.max(throughput(subject).await?);
        }
    }
    let mut table = Table::new("https requests with a credential, 1 KiB answers, 32 connections", &["/s", "of direct"]);
    for (subject, rate) in subjects.iter().zip(&rates) {
        table.row(subject.name, &[*rate, rate / rates[0]]);
    }
    table.print("aim: at least 0.70 of direct, with a core for each process");
    Ok(())
}

async fn throughput(subject: &Subject) -> Result<f64, Failure> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = subject.connect(HOST).await?;
        client.get(SMALL).await?;
        clients.push(client);
    }
    let clock = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut client in clients {
        tasks.spawn(async move {
            let mut count = 0;
            while clock.elapsed() < WINDOW {
                client.get(SMALL).await?;
                count += 1;
            }
            Ok::<_, Failure>(count)
        });
    }
    let mut count = 0;
    while let Some(done) = tasks.join_next().await {
        count += done??;
    }
    Ok(f64::from(count) / clock.elapsed().as_secs_f64())
}

const ROUNDS: usize = 2500;
const WARM: usize = 100;
/// On a machine that is not quiet.
const LONGEST: Duration = Duration::from_secs(20);
const CONNECTIONS: usize = 32;
const WINDOW: Duration = Duration::from_millis(1500);
