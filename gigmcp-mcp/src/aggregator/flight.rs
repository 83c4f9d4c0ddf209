//! Work that many wait for and that is done once.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use crate::upstream::BoxFuture;

/// At most one piece of work at a time, in a task of its own: a waiter that goes away does not stop
/// it, dropping the flight does. What came of it is kept only by those who wait for it.
#[derive(Debug)]
pub(super) struct Flight<T> {
    current: Arc<Mutex<Option<Current<T>>>>,
}

#[derive(Debug)]
struct Current<T> {
    done: watch::Receiver<Option<T>>,
    task: AbortOnDropHandle<()>,
    since: Instant,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    pub(super) fn idle() -> Self {
        Self { current: Arc::default() }
    }

    /// When the work under way began.
    pub(super) fn since(&self) -> Option<Instant> {
        lock(&self.current).as_ref().filter(|current| !current.task.is_finished()).map(|current| current.since)
    }

    /// Joins the work under way or starts `work`. The future returned gives `None` if the work
    /// panicked or the flight was dropped.
    pub(super) fn join<F>(&self, work: impl FnOnce() -> F) -> BoxFuture<'static, Option<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut current = lock(&self.current);
        let under_way =
            current.as_ref().filter(|current| !current.task.is_finished()).map(|current| current.done.clone());
        let mut done = under_way.unwrap_or_else(|| {
            let (sender, done) = watch::channel(None);
            let work = work();
            // Weakly, as the flight is to end it when it is dropped.
            let kept = Arc::downgrade(&self.current);
            let task = tokio::spawn(async move {
                let done = work.await;
                // Not before whoever began it has put it there, for that holds the lock.
                drop(kept.upgrade().and_then(|kept| lock(&kept).take()));
                sender.send_replace(Some(done));
            });
            let since = Instant::now();
            *current = Some(Current { done: done.clone(), task: AbortOnDropHandle::new(task), since });
            done
        });
        Box::pin(async move { done.wait_for(Option::is_some).await.ok()?.clone() })
    }
}

fn lock<T>(current: &Mutex<Option<Current<T>>>) -> MutexGuard<'_, Option<Current<T>>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}
