//! The way back to a client, with a guard in it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{Finding, Guard, questions::is_ours};
use crate::{
    hygiene::is_dirty,
    message::{Notification, Request, RpcError, Verdict},
    sink::{Hearing, Sink},
    upstream::{BoxFuture, Call},
};

/// A client's sink as one call of a server sees it.
#[derive(Debug)]
pub(super) struct Guarding {
    guard: Arc<Guard>,
    client: Arc<dyn Sink>,
    /// Of its call.
    samplings: Arc<AtomicUsize>,
}

impl Guarding {
    pub(super) fn new(guard: &Arc<Guard>, call: &Call, client: Arc<dyn Sink>) -> Arc<Self> {
        Arc::new(Self { guard: Arc::clone(guard), client, samplings: Arc::clone(&call.samplings) })
    }

    fn judged(&self, request: Request) -> Result<Request, RpcError> {
        if &*request.method == "sampling/createMessage"
            && self.samplings.fetch_add(1, Ordering::Relaxed) >= self.guard.policy.samplings_per_call
        {
            self.guard.tally.add(Finding::QuestionRefused, 1);
            return Err(RpcError::new(RpcError::INVALID_REQUEST, "the call has asked for too many samplings"));
        }
        // To a client without sessions it is the name of the question.
        if serde_json::from_str::<String>(request.id.as_json()).is_ok_and(|id| is_ours(&id) || is_dirty(&id)) {
            return Err(self.guard.refused("the id of the request holds what is not to be seen, or is one of ours"));
        }
        // What an extension asks for by another name than it has written reaches nobody.
        if is_dirty(&request.method) {
            return Err(self.guard.refused("the method of the request holds what is not to be seen"));
        }
        self.guard.question(request)
    }
}

impl Sink for Guarding {
    fn notify(&self, notification: Notification) {
        if let Some(notification) = self.guard.notification(notification) {
            self.client.notify(notification);
        }
    }

    fn can_be_asked(&self) -> bool {
        self.client.can_be_asked()
    }

    fn has_extension_of(&self, method: &str) -> bool {
        self.client.has_extension_of(method)
    }

    fn ask<'a>(&'a self, request: Request) -> BoxFuture<'a, Verdict> {
        match self.judged(request) {
            Ok(request) => Box::pin(async { self.guard.answer(self.client.ask(request).await) }),
            Err(error) => Box::pin(std::future::ready(Verdict::refused(&error))),
        }
    }

    fn ask_following<'a>(&'a self, request: Request, hearing: Hearing) -> BoxFuture<'a, Verdict> {
        match self.judged(request) {
            Ok(request) => Box::pin(async { self.guard.answer(self.client.ask_following(request, hearing).await) }),
            Err(error) => Box::pin(std::future::ready(Verdict::refused(&error))),
        }
    }
}
