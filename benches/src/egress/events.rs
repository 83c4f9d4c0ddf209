//! Server-sent events: from the origin's writing one to the client's having it.

use super::client::Subject;
use super::origin::{EVENT_COUNT, EVENTS, now_nanos};
use super::world::HOST;
use crate::Failure;
use crate::figures::{Figures, Table};

pub(crate) async fn run(subjects: &[Subject]) -> Result<(), Failure> {
    let mut table = Table::new("delay of an event of an event stream (µs)", &["p50", "p99", "p50 added"]);
    let mut direct = None;
    for subject in subjects {
        let mut client = subject.connect(HOST).await?;
        let (mut figures, mut text, mut count) = (Figures::default(), String::new(), 0);
        client
            .stream_of(EVENTS, |piece| {
                let now = now_nanos()?;
                text.push_str(std::str::from_utf8(piece)?);
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let sent: u64 = event.trim_start_matches("data: ").parse()?;
                    figures.add(std::time::Duration::from_nanos(now.saturating_sub(sent)));
                    count += 1;
                    text = rest.to_owned();
                }
                Ok(())
            })
            .await?;
        if count != EVENT_COUNT {
            return Err(format!("{}: {count} events", subject.name).into());
        }
        let [p50, p99] = [50, 99].map(|percent| figures.percentile(percent).as_secs_f64() * 1e6);
        table.row(subject.name, &[p50, p99, p50 - *direct.get_or_insert(p50)]);
    }
    table.print("aim: events pass at once, p50 added at most 300");
    Ok(())
}
