//! What the operator is told of a server that runs.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gigmcp_egress::Identity;
use gigmcp_sandbox::{Event, Events, Exit, StderrLines};
use tokio::time::{self, Instant};

use crate::{
    events,
    redact::Redactor,
    spec::{ProfileSlug, ServerName},
    tripwires::{Told, Untold},
};

/// Shows the operator what a server says beside the protocol. The lines are bounded and hold neither control characters nor
/// what stands for a credential.
pub(super) async fn log_stderr(profile: ProfileSlug, server: ServerName, mut lines: StderrLines, redactor: Redactor) {
    while let Some(line) = lines.next().await {
        let line = redactor.line(&line);
        tracing::debug!(%profile, %server, "stderr: {line}");
    }
}

/// Whether a server was ended because nobody used it: its sandbox does not know why.
#[derive(Clone, Default)]
pub(super) struct Unused(Arc<AtomicBool>);

impl Unused {
    /// It is ended now.
    pub(super) fn ends(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// How a server ended, in words.
    fn how(&self, exit: Exit) -> Cow<'static, str> {
        match exit {
            Exit::Killed | Exit::Exited(0) if self.0.load(Ordering::Acquire) => {
                "ended, as nobody used it; the next call starts it again".into()
            }
            exit => events::what(&Event::Ended(exit)),
        }
    }
}

/// Tells the operator what a server's sandbox refused, what it ran out of, and how it ended.
pub(super) async fn log_events(
    (profile, server, instance): (ProfileSlug, ServerName, Identity),
    mut happening: Events,
    unused: Unused,
) {
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
            Event::Ended(exit @ (Exit::Exited(0) | Exit::Killed)) => {
                tracing::info!(%profile, %server, %instance, "{}", unused.how(exit));
            }
            _ => tracing::warn!(%profile, %server, "{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_server_that_nobody_used_is_told_as_that_and_any_other_as_it_was() {
        for (exit, unused, expected) in [
            (Exit::Killed, true, "ended, as nobody used it"),
            (Exit::Exited(0), true, "ended, as nobody used it"),
            (Exit::Killed, false, "was ended from outside"),
            (Exit::Exited(0), false, "exited with code 0"),
            (Exit::OomKilled, true, "used more memory"),
        ] {
            let ended = Unused::default();
            if unused {
                ended.ends();
            }
            assert!(ended.how(exit).starts_with(expected), "{exit:?}, {unused}: {}", ended.how(exit));
        }
    }
}
