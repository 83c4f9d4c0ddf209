//! How often a server may end by itself before it is left alone for a while.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// When a server has ended by itself lately. Whoever ends it on purpose does not count.
#[derive(Debug, Default)]
pub(super) struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// It has ended by itself.
    pub(super) fn ended(&mut self, now: Instant, max: usize) {
        self.0.push_back(now);
        while self.0.len() > max.max(1) {
            self.0.pop_front();
        }
    }

    /// Until when it is not started, if it has ended `max` times within `window`.
    pub(super) fn barred_until(&mut self, now: Instant, max: usize, window: Duration) -> Option<Instant> {
        self.0.retain(|ended| now.duration_since(*ended) < window);
        (self.0.len() >= max.max(1)).then(|| self.0.front().map(|first| *first + window)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_lately_counts() {
        let (mut restarts, begin, window) = (Restarts::default(), Instant::now(), Duration::from_secs(60));
        let at = |seconds| begin + Duration::from_secs(seconds);
        for seconds in [0, 30, 50] {
            assert_eq!(restarts.barred_until(at(seconds), 3, window), None);
            restarts.ended(at(seconds), 3);
        }
        assert_eq!(restarts.barred_until(at(50), 3, window), Some(at(60)));
        assert_eq!(restarts.barred_until(at(60), 3, window), None, "the first is long ago");
        restarts.ended(at(61), 3);
        assert_eq!(restarts.barred_until(at(61), 3, window), Some(at(90)));
    }
}
