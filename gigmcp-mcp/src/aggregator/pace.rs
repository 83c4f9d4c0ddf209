//! How fast a server may make its neighbours' clients listen.

use tokio::time::{Duration, Instant};

/// How long a list is left to settle before it is read again: a moment, and ever longer for one that never does.
#[derive(Debug)]
pub(super) struct Settling {
    pause: Duration,
    read: Option<Instant>,
}

impl Default for Settling {
    fn default() -> Self {
        Self { pause: SHORTEST, read: None }
    }
}

impl Settling {
    /// The list has changed: when it is to be read.
    pub(super) fn changed(&mut self) -> Instant {
        let now = Instant::now();
        let restless = self.read.is_some_and(|read| now - read <= self.pause);
        self.pause = if restless { (self.pause * 2).min(LONGEST) } else { SHORTEST };
        now + self.pause
    }

    /// It is read now.
    pub(super) fn read(&mut self) {
        self.read = Some(Instant::now());
    }
}

const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// How much a server may say that belongs to no call. All servers share one bounded queue to each client.
#[derive(Debug)]
pub(super) struct Talk {
    left: u32,
    since: Instant,
}

impl Default for Talk {
    fn default() -> Self {
        Self { left: MAX_A_SECOND, since: Instant::now() }
    }
}

impl Talk {
    /// Whether one more may be told; what is too much is lost.
    pub(super) fn may_go_on(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_secs(1) {
            *self = Self::default();
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

const MAX_A_SECOND: u32 = 64;
