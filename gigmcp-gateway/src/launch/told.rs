//! What the operator is told of a server that runs.

use gigmcp_sandbox::{Event, Events, Exit, StderrLines};
use tokio::time::{self, Instant};

use crate::{
    events,
    spec::{ProfileSlug, ServerName},
    tripwires::{Told, Untold},
};

/// Shows the operator what a server says beside the protocol. The lines are bounded and hold no control characters.
pub(super) async fn log_stderr(profile: ProfileSlug, server: ServerName, mut lines: StderrLines) {
    while let Some(line) = lines.next().await {
        tracing::debug!(%profile, %server, "stderr: {line}");
    }
}

/// Tells the operator what a server's sandbox refused, what it ran out of, and how it ended.
pub(super) async fn log_events(profile: ProfileSlug, server: ServerName, mut happening: Events) {
    let mut untold = Untold::default();
    let tell = |(call, pid, count): Told| {
        let what = events::what(&Event::Tripwire { call, pid, count });
        tracing::warn!(%profile, %server, call, pid, count, "{what}");
    };
    loop {
        let due = untold.next();
        let happened = tokio::select! {
            happened = happening.next() => happened,
            () = time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                untold.due(Instant::now()).into_iter().for_each(tell);
                continue;
            }
        };
        let Some(event) = happened else { return };
        let what = events::what(&event);
        if let Event::Ended(_) = event {
            // Nothing comes after it.
            std::mem::take(&mut untold).rest().for_each(tell);
        }
        match event {
            Event::Tripwire { call, pid, count } => {
                untold.add((call, pid, count), Instant::now()).into_iter().for_each(tell);
            }
            Event::OomKill { count } | Event::PidsExhausted { count } | Event::Lost { count } => {
                tracing::warn!(%profile, %server, count, "{what}");
            }
            Event::Ended(Exit::Exited(0) | Exit::Killed) => tracing::info!(%profile, %server, "{what}"),
            _ => tracing::warn!(%profile, %server, "{what}"),
        }
    }
}
