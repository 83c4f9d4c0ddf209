//! New connections: TCP, `CONNECT` where there is one, a full TLS handshake, one request.

use std::time::{Duration, Instant};

use super::client::Subject;
use super::origin::{SMALL, SMALL_BYTES};
use super::world::HOST;
use crate::Failure;
use crate::figures::Table;

pub(crate) async fn run(subjects: &[Subject]) -> Result<(), Failure> {
    let mut table = Table::new(
        "new TLS connections a second, one request each, 4 at once, no resumption",
        &["/s", "of direct", "of nginx"],
    );
    let mut rates = vec![0.0_f64; subjects.len()];
    for _ in 0..ROUNDS {
        for (rate, subject) in rates.iter_mut().zip(subjects) {
            *rate = rate.max(once(subject).await?);
        }
    }
    let of = |name: &str| subjects.iter().position(|subject| subject.name == name).map_or(f64::NAN, |at| rates[at]);
    for (subject, rate) in subjects.iter().zip(&rates) {
        table.row(subject.name, &[*rate, rate / of("direct"), rate / of("nginx")]);
    }
    table.print("aim: at least 0.70 of nginx, a plain TLS terminator");
    Ok(())
}

async fn once(subject: &Subject) -> Result<f64, Failure> {
    let clock = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let subject = subject.clone();
        tasks.spawn(async move {
            let mut count = 0;
            while clock.elapsed() < WINDOW {
                let length = subject.connect(HOST).await?.get(SMALL).await?;
                if length != SMALL_BYTES {
                    return Err(format!("{}: {length} bytes", subject.name).into());
                }
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

pub(crate) const AT_ONCE: usize = 4;
pub(crate) const WINDOW: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 2;
