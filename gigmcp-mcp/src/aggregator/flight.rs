//! Work that many wait for and that is done once.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::upstream::BoxFuture;

/// At most one piece of work at a time, in a task of its own: a waiter that goes away does not stop
/// it, dropping the flight does.
#[derive(Debug)]
pub(super) struct Flight<T> {
    current: Mutex<Option<Current<T>>>,
}

#[derive(Debug)]
struct Current<T> {
    done: watch::Receiver<Option<T>>,
    task: AbortOnDropHandle<()>,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    pub(super) fn idle() -> Self {
        Self { current: Mutex::new(None) }
    }

    /// Joins the work under way or starts `work`. The future returned gives `None` if the work
    /// panicked or the flight was dropped.
    pub(super) fn join<F>(&self, work: impl FnOnce() -> F) -> BoxFuture<'static, Option<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = current
            .as_ref()
            .filter(|current| !current.task.is_finished() && current.done.borrow().is_none())
            .map(|current| current.done.clone());
        let mut done = under_way.unwrap_or_else(|| {
            let (sender, done) = watch::channel(None);
            let work = work();
            let task = tokio::spawn(async move {
                sender.send_replace(Some(work.await));
            });
            *current = Some(Current { done: done.clone(), task: AbortOnDropHandle::new(task) });
            done
        });
        Box::pin(async move { done.wait_for(Option::is_some).await.ok()?.clone() })
    }
}
