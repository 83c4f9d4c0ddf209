use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// When a byte of a stream last moved, in either direction.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    started: Instant,
    moved_millis: Arc<AtomicU64>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), moved_millis: Arc::default() }
    }

    /// Notes that something moved.
    pub(crate) fn touch(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_millis.store(millis, Ordering::Relaxed);
    }

    fn moved(&self) -> Instant {
        self.started + Duration::from_millis(self.moved_millis.load(Ordering::Relaxed))
    }
}

/// Tells when nothing has moved on a stream for a while. A stream of a connection needs its own: others may be busy.
#[derive(Debug)]
pub(crate) struct Stall {
    clock: Clock,
    deadline: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Stall {
    pub(crate) fn new(clock: Clock, deadline: Duration) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(clock.moved() + deadline));
        Self { clock, deadline, sleep }
    }

    /// Ready once the deadline has passed without a byte.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The timer is moved only when it fires, not with every byte.
        while self.sleep.as_mut().poll(cx).is_ready() {
            let due = self.clock.moved() + self.deadline;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(due);
        }
        Poll::Pending
    }

    /// Waits for it. Cancel safe.
    pub(crate) async fn wait(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_stalls_only_when_nothing_moves() {
        let clock = Clock::start();
        let mut stall = Stall::new(clock.clone(), Duration::from_secs(10));
        for _ in 0..3 {
            let early = tokio::time::timeout(Duration::from_secs(8), stall.wait()).await;
            assert!(early.is_err(), "bytes keep it alive beyond the deadline");
            clock.touch();
        }
        let waited = Instant::now();
        stall.wait().await;
        assert_eq!(waited.elapsed().as_secs(), 10);
    }
}
