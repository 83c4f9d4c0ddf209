//! How fast a server may make its neighbours' clients listen.

use tokio::time::{Duration, Instant};

/// How long a list is left to settle before it is read again: a moment, and ever longer for one that never does.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// How often in a row it changed as soon as it had been read.
    restless: u32,
    read: Option<Instant>,
}

impl Settling {
    /// The list has changed: when it is to be read.
    pub(super) fn changed(&mut self) -> Instant {
        let now = Instant::now();
        let restless = self.read.is_some_and(|read| now - read <= self.pause());
        self.restless = if restless { self.restless.saturating_add(1) } else { 0 };
        now + self.pause()
    }

    fn pause(&self) -> Duration {
        // Several lists that change one after the other, as at a sign-in, are no storm.
        let doublings = self.restless.saturating_sub(FREE).min(16);
        (SHORTEST * 2_u32.pow(doublings)).min(LONGEST)
    }

    /// It is read now.
    pub(super) fn read(&mut self) {
        self.read = Some(Instant::now());
    }
}

const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
/// Changes in a row that are read without a longer pause.
const FREE: u32 = 4;

/// How much a server may say that belongs to no call, as all servers share one bounded queue to each client; or a client of what
/// wants no answer.
#[derive(Debug)]
pub(crate) struct Talk {
    left: u32,
    bytes: usize,
    since: Instant,
}

impl Default for Talk {
    fn default() -> Self {
        Self { left: MAX_A_SECOND, bytes: MAX_BYTES_A_SECOND, since: Instant::now() }
    }
}

impl Talk {
    /// Whether one more of this length may be told; what is too much is lost.
    pub(crate) fn may_go_on(&mut self, bytes: usize) -> bool {
        if self.is_over() {
            *self = Self::default();
        }
        let may = self.left > 0 && bytes <= self.bytes;
        self.left = self.left.saturating_sub(1);
        self.bytes -= if may { bytes } else { 0 };
        may
    }

    /// Whether it has been silent for so long that nothing of what it said counts.
    pub(super) fn is_over(&self) -> bool {
        self.since.elapsed() >= Duration::from_secs(1)
    }
}

const MAX_A_SECOND: u32 = 64;
/// Each of thousands who listen may want to be told it all.
const MAX_BYTES_A_SECOND: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_talks_so_often_and_so_long_a_second() {
        let mut talk = Talk::default();
        let told = |talk: &mut Talk, bytes| (0..1000).filter(|_| talk.may_go_on(bytes)).count();
        assert_eq!(told(&mut talk, 100), MAX_A_SECOND as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(told(&mut talk, 64 << 10), 8);
        assert!(!talk.may_go_on(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(told(&mut talk, 100), MAX_A_SECOND as usize, "twin: in the next second");
    }
}
