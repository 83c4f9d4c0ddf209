//! Deletes what of the audit trail has become too old.

use std::time::Duration;

use crate::{output::whole, store::Store};

/// Deletes rows older than `kept`, now and every hour; never returns.
pub(crate) async fn follow_age(store: Store, kept: Duration) {
    let mut clock = tokio::time::interval(EVERY);
    loop {
        clock.tick().await;
        let mut deleted = 0;
        loop {
            match store.prune_audit(kept).await {
                Ok(0) => break,
                Ok(count) => deleted += count,
                Err(error) => {
                    tracing::warn!("old audit rows could not be deleted: {}", whole(&error));
                    break;
                }
            }
            // What is written meanwhile waits for a few of these rows at most.
            tokio::time::sleep(PAUSE).await;
        }
        if deleted > 0 {
            tracing::info!("{deleted} audit rows older than {} days were deleted", kept.as_secs() / SECONDS_A_DAY);
        }
    }
}

/// How many days, as a setting tells it, are kept; none for ever.
pub(crate) fn kept(days: u64) -> Option<Duration> {
    (days > 0).then(|| Duration::from_secs(days * SECONDS_A_DAY))
}

const EVERY: Duration = Duration::from_secs(3600);
const PAUSE: Duration = Duration::from_millis(10);
const SECONDS_A_DAY: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_too_old_when_no_days_are_set() {
        assert_eq!(kept(0), None);
        assert_eq!(kept(1), Some(Duration::from_secs(86_400)), "twin");
    }
}
