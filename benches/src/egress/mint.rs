//! Certificates made while a client waits: each connection is for a name that nobody asked for yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::client::{Subject, Way};
use super::connections::{AT_ONCE, WINDOW};
use crate::Failure;
use crate::figures::Table;

pub(crate) async fn run(subjects: &[Subject]) -> Result<(), Failure> {
    let mut table = Table::new("TLS connections a second, each to a new name with a certificate of its own", &["/s"]);
    for subject in subjects.iter().filter(|subject| subject.way == Way::Proxy) {
        table.row(subject.name, &[rate(subject).await?]);
    }
    table.print("no aim; a fresh RSA key for each would allow some 10 /s");
    Ok(())
}

async fn rate(subject: &Subject) -> Result<f64, Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let clock = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (subject, next) = (subject.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut count = 0;
            while clock.elapsed() < WINDOW {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MINTED {
                    break;
                }
                subject.connect(&mint_name(number)).await?;
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

pub(crate) fn mint_name(number: usize) -> String {
    format!("n{number}.mint.example.com")
}

/// So many names are known to squid.
pub(crate) const MINTED: usize = 20_000;
