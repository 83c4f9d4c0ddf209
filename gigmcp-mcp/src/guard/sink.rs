//! The way back to a client, with a guard in it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{Finding, Guard};
use crate::{
    message::{Notification, Request, RpcError, Verdict},
    sink::Sink,
    upstream::BoxFuture,
};

/// A client's sink as one call of a server sees it.
#[derive(Debug)]
pub(super) struct Guarding {
    guard: Arc<Guard>,
    client: Arc<dyn Sink>,
    samplings: AtomicUsize,
}

impl Guarding {
    pub(super) fn new(guard: &Arc<Guard>, client: Arc<dyn Sink>) -> Arc<Self> {
        Arc::new(Self { guard: Arc::clone(guard), client, samplings: AtomicUsize::new(0) })
    }

    fn judged(&self, request: Request) -> Result<Request, RpcError> {
        if &*request.method == "sampling/createMessage"
            && self.samplings.fetch_add(1, Ordering::Relaxed) >= self.guard.policy.samplings_per_call
        {
            self.guard.tally.add(Finding::QuestionRefused, 1);
            return Err(RpcError::new(RpcError::INVALID_REQUEST, "the call has asked for too many samplings"));
        }
        self.guard.question(request)
    }
}

impl Sink for Guarding {
    fn notify(&self, notification: Notification) {
        self.client.notify(self.guard.notification(notification));
    }

    fn ask<'a>(&'a self, request: Request) -> BoxFuture<'a, Verdict> {
        match self.judged(request) {
            Ok(request) => self.client.ask(request),
            Err(error) => Box::pin(std::future::ready(Verdict::refused(&error))),
        }
    }
}
