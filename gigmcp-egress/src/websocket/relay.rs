use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::direction::{Direction, End};
use super::reader::Piece;
use super::scrub::Scrub;
use super::search::Search;
use super::tally::{Tally, Way};
use crate::audit::{Entry, Verdict};
use crate::grant::BoxFuture;
use crate::live::{LivePlaceholders, Owner};
use crate::refusal::Refusal;
use crate::scrub::Scrubber;
use crate::takeover::Stream;

/// Two sides that have agreed to speak WebSocket, and all that is watched while they do.
pub(crate) struct Relay {
    pub(crate) live: Arc<LivePlaceholders>,
    /// What it means that the sandbox sent this placeholder.
    pub(crate) judge: Box<dyn Fn(&Owner) -> Refusal + Send>,
    /// For the secrets that the upstream may repeat.
    pub(crate) scrubber: Option<Scrubber>,
    pub(crate) still_allowed: StillAllowed,
    /// How often that is asked: [`Limits::revocation_interval`](crate::Limits::revocation_interval).
    pub(crate) recheck: Duration,
    /// [`Limits::idle_deadline`](crate::Limits::idle_deadline).
    pub(crate) idle_deadline: Duration,
    pub(crate) entry: Entry,
}

/// Asks whether a rule still allows the connection; bounds its own time, and an answer that did not come is a refusal.
pub(crate) type StillAllowed = Box<dyn Fn() -> BoxFuture<'static, Result<(), Refusal>> + Send + Sync>;

/// Judges what passes in one direction, piece by piece.
pub(crate) trait Filter {
    /// What it means that a frame is not well-formed.
    const MALFORMED: Refusal;

    /// What passes of this piece by now.
    fn pass(&mut self, piece: Piece) -> Result<Option<Piece>, Violation>;
}

/// Something that ends a relay at once, and the code that both sides are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Violation {
    pub(crate) refusal: Refusal,
    pub(crate) code: u16,
}

/// How a relay ended, and the code for the sides that were not told by each other.
struct Outcome {
    verdict: Verdict,
    code: Option<u16>,
}

impl Relay {
    /// Relays between the sandbox (`down`) and its upstream (`up`) to the end, and records it once, before a side is told of a
    /// refusal. If it is dropped before, that is recorded too.
    pub(crate) async fn run(self, down: Box<dyn Stream>, up: Box<dyn Stream>) {
        let Self { live, judge, scrubber, still_allowed, recheck, idle_deadline, entry } = self;
        let ((from_down, to_down), (from_up, to_up)) = (tokio::io::split(down), tokio::io::split(up));
        let mut upward = Direction::new(Way::Up, from_down, to_up, Search::new(live, judge));
        let mut downward = Direction::new(Way::Down, from_up, to_down, Scrub::new(scrubber));
        let tally = Tally::new(entry);
        let Outcome { verdict, code } = tokio::select! {
            ended = both(&mut upward, &mut downward, &tally) => match ended {
                Err(violation) => violation.into(),
                Ok(()) if upward.is_closed() || downward.is_closed() => Outcome { verdict: Verdict::Allowed, code: None },
                Ok(()) => Outcome { verdict: Verdict::Aborted, code: None },
            },
            outcome = watch(&tally, &still_allowed, recheck.min(idle_deadline), idle_deadline) => outcome,
        };
        tally.record(verdict).await;
        let _ = timeout(GRACE, async { tokio::join!(upward.end(code), downward.end(code)) }).await;
    }
}

impl From<Violation> for Outcome {
    fn from(Violation { refusal, code }: Violation) -> Self {
        Self { verdict: Verdict::Refused(refusal), code: Some(code) }
    }
}

/// Runs both directions to their ends. When one has ended, the other has a while to end as well: for the answer to a close
/// frame, or for what was on its way.
async fn both(up: &mut Direction<Search>, down: &mut Direction<Scrub>, tally: &Tally) -> Result<(), Violation> {
    let rest = tokio::select! {
        end = up.run(tally) => match end? {
            End::Closed => timeout(GRACE, down.run(tally)).await,
            End::Cut => timeout(GRACE, async { up.shutdown().await; down.run(tally).await }).await,
        },
        end = down.run(tally) => match end? {
            End::Closed => timeout(GRACE, up.run(tally)).await,
            End::Cut => timeout(GRACE, async { down.shutdown().await; up.run(tally).await }).await,
        },
    };
    rest.unwrap_or(Ok(End::Cut))?;
    Ok(())
}

/// Ends when no rule allows the connection any more, or when nothing has moved for too long.
async fn watch(tally: &Tally, still_allowed: &StillAllowed, every: Duration, idle_deadline: Duration) -> Outcome {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // the first comes at once
    let (mut total, mut moved) = (tally.total_moved(), Instant::now());
    loop {
        ticks.tick().await;
        if let Err(refusal) = still_allowed().await {
            return Violation { refusal, code: POLICY_VIOLATION }.into();
        }
        match tally.total_moved() {
            now if now != total => (total, moved) = (now, Instant::now()),
            _ if moved.elapsed() >= idle_deadline => {
                return Outcome { verdict: Verdict::Aborted, code: Some(GOING_AWAY) };
            }
            _ => {}
        }
    }
}

/// RFC 6455, section 7.4.1.
const GOING_AWAY: u16 = 1001;
pub(crate) const PROTOCOL_ERROR: u16 = 1002;
pub(crate) const POLICY_VIOLATION: u16 = 1008;
/// How long one side may take to end after the other has, and to take its close frame.
const GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
