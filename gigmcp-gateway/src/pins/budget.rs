//! How often what a server says otherwise than before is written down.

use std::time::{Duration, Instant};

/// Some at once, and one a minute: against a server that fills the database and the audit trail by changing what it says. What is
/// not written down is held back all the same.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    /// Since when the next one grows.
    since: Option<Instant>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: AT_ONCE, since: None }
    }
}

impl Budget {
    pub(super) fn is_left(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let grown = u32::try_from(now.duration_since(since).as_secs() / EVERY.as_secs()).unwrap_or(u32::MAX);
        if grown > 0 {
            self.left = self.left.saturating_add(grown).min(AT_ONCE);
            self.since = Some(now);
        }
        self.left > 0
    }

    pub(super) fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

pub(super) const AT_ONCE: u32 = 20;
const EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_a_minute() {
        let (mut budget, began) = (Budget::default(), Instant::now());
        for _ in 0..AT_ONCE {
            assert!(budget.is_left(began));
            budget.spend();
        }
        assert!(!budget.is_left(began + EVERY - Duration::from_secs(1)));
        assert!(budget.is_left(began + EVERY), "twin");
        budget.spend();
        assert!(!budget.is_left(began + EVERY));
        budget.is_left(began + 1000 * EVERY);
        assert_eq!(budget.left, AT_ONCE);
    }
}
