//! Work that whoever waits for it does himself, and a task of its own when nobody waits any more.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

use crate::upstream::BoxFuture;

/// Goes on to its end, whatever becomes of who attends it. As long as somebody does, it costs no task and no change of
/// threads.
pub(crate) struct Attended(Option<BoxFuture<'static, ()>>);

impl Attended {
    pub(crate) fn new(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(work)))
    }

    /// Works until `enough` is there; the rest is done in a task. Dropping the future leaves all that is left to a task.
    pub(crate) async fn until<T>(mut self, enough: impl Future<Output = T>) -> T {
        let mut enough = pin!(enough);
        poll_fn(|context| {
            if let Poll::Ready(enough) = enough.as_mut().poll(context) {
                return Poll::Ready(enough);
            }
            match self.poll(context) {
                // What ended the work may be what was waited for.
                Poll::Ready(()) => enough.as_mut().poll(context),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Works to the end.
    pub(crate) async fn to_the_end(mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Out of its place meanwhile: if it panics, that is its end.
        let Some(mut work) = self.0.take() else { return Poll::Ready(()) };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        let Some(work) = self.0.take() else { return };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(work)),
            Err(_) => tracing::error!("work was left undone: the runtime is gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use std::time::Duration;

    use tokio::{
        sync::{mpsc, oneshot},
        time::{sleep, timeout},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_when_nobody_waits_for_it() {
        let (sender, done) = oneshot::channel();
        let work = Attended::new(async move {
            sleep(Duration::from_secs(10)).await;
            sender.send(()).unwrap();
        });
        assert!(timeout(Duration::from_secs(1), work.to_the_end()).await.is_err(), "it is given up in between");
        done.await.expect("it was done");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_enough_comes_before_the_end() {
        let (sender, mut parts) = mpsc::channel(8);
        let work = Attended::new(async move {
            sender.send(1).await.unwrap();
            sleep(Duration::from_secs(10)).await;
            sender.send(2).await.unwrap();
        });
        assert_eq!(work.until(parts.recv()).await, Some(1));
        assert_eq!(parts.recv().await, Some(2), "the rest");
        assert_eq!(parts.recv().await, None);
    }

    #[tokio::test]
    async fn work_that_ends_without_what_was_waited_for_is_noticed() {
        let (sender, mut parts) = mpsc::channel::<u32>(8);
        let work = Attended::new(async move { drop(sender) });
        assert_eq!(work.until(parts.recv()).await, None);
    }
}
