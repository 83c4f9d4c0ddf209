//! What servers ask the client of a session, and its answers.

use std::sync::{Arc, atomic::Ordering};

use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{
    Session,
    following::{Waiting, renumber},
    lock,
};
use crate::{
    aggregator::MAX_ADDRESSES,
    http::{Principal, body::Parts},
    level::LogLevel,
    message::{
        Notification, Request, RequestId, Response, RpcError, Verdict, error_code, write_notification, write_request,
    },
    object::{Members, items},
    sink::{Hearing, Sink},
    upstream::{BoxFuture, List},
};

/// One call's way back to its client: the stream of its own POST.
#[derive(Debug)]
pub(in crate::http) struct CallStream {
    pub(in crate::http) session: Arc<Session>,
    pub(in crate::http) parts: Parts,
}

impl Sink for CallStream {
    fn notify(&self, notification: Notification) {
        if self.session.wants(&notification) {
            self.parts.offer(write_notification(&notification.method, notification.params.as_deref()));
        }
    }

    fn has_extension_of(&self, method: &str) -> bool {
        self.session.has_extension_of(method)
    }

    fn ask<'a>(&'a self, request: Request) -> BoxFuture<'a, Verdict> {
        Box::pin(self.asked(request, None))
    }

    fn ask_following<'a>(&'a self, request: Request, hearing: Hearing) -> BoxFuture<'a, Verdict> {
        Box::pin(self.asked(request, Some(hearing)))
    }
}

impl CallStream {
    async fn asked(&self, mut request: Request, hearing: Option<Hearing>) -> Verdict {
        let follows = hearing.is_some();
        let answer = match self.session.begin_ask(&request, hearing) {
            Ok(asked) => match renumber(&mut request, follows.then_some(asked.id)) {
                Ok(()) => self.put(asked, &request).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(|error| Verdict::refused(&error))
    }

    async fn put(&self, mut asked: Asked<'_>, request: &Request) -> Result<Verdict, RpcError> {
        let line = write_request(asked.id, &request.method, request.params.as_deref());
        // A connection may be lost while the client is still there.
        let sent = if self.parts.is_unheard() {
            self.session.stream().filter(|stream| stream.offer(line)).inspect(|stream| asked.way = Some(stream.clone()))
        } else {
            asked.way = Some(self.parts.clone());
            self.parts.ask(line).await.then(|| self.parts.clone())
        };
        if sent.is_none() {
            return Err(RpcError::new(RpcError::INTERNAL_ERROR, "the client is not listening"));
        }
        let ended = RpcError::new(RpcError::INTERNAL_ERROR, "the client has gone");
        tokio::select! {
            answered = &mut asked.answered => answered.map_err(|_| ended),
            () = self.session.ended.cancelled() => Err(ended),
        }
    }
}

/// A request to the client, given up when dropped.
struct Asked<'a> {
    session: &'a Session,
    id: u64,
    answered: oneshot::Receiver<Verdict>,
    way: Option<Parts>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let waits = lock(&self.session.asks).remove(&self.id).is_some();
        if let Some(way) = self.way.take().filter(|_| waits) {
            let params = format!(r#"{{"requestId":{},"reason":"the server no longer waits"}}"#, self.id);
            let params = RawValue::from_string(params).expect("it is JSON");
            way.offer(write_notification("notifications/cancelled", Some(&params)));
        }
    }
}

impl Session {
    fn begin_ask(&self, request: &Request, hearing: Option<Hearing>) -> Result<Asked<'_>, RpcError> {
        if !self.has_extension_of(&request.method) {
            self.capabilities.allow(request).map_err(|undeclared| undeclared.to_rpc())?;
        }
        let mut asks = lock(&self.asks);
        if asks.len() >= MAX_ASKS {
            return Err(RpcError::new(RpcError::INTERNAL_ERROR, "too many requests wait for the client"));
        }
        let id = self.last_ask.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answered) = oneshot::channel();
        asks.insert(id, Waiting::new(sender, hearing));
        drop(asks);
        self.note_elicitation(request);
        Ok(Asked { session: self, id, answered, way: None })
    }

    /// The client has answered something. What was never asked, or not in this session, is nothing.
    pub(in crate::http) fn answered(&self, response: Response) {
        let asked = response.id.as_ref().and_then(RequestId::as_u64);
        let waiting = asked.and_then(|id| lock(&self.asks).remove(&id));
        if let Some(waiting) = waiting {
            // Whoever asked may just have given up.
            let _ = waiting.answer.send(response.verdict);
        }
    }

    /// Whether the client wants to see this.
    pub(in crate::http) fn wants(&self, notification: &Notification) -> bool {
        let member = |name: &str| {
            let params = notification.params.as_deref()?;
            Members::of(params).ok()?.string(name).map(|text| text.into_owned())
        };
        match &*notification.method {
            "notifications/message" => {
                let Some(wanted) = *lock(&self.level) else { return true };
                let level = member("level").and_then(|level| level.parse::<LogLevel>().ok());
                level.is_none_or(|level| level >= wanted)
            }
            "notifications/resources/updated" => {
                member("uri").is_some_and(|uri| lock(&self.subscribed).contains_key(&uri))
            }
            "notifications/elicitation/complete" => member("elicitationId").is_some_and(|id| self.was_shown(&id)),
            "notifications/progress" => true,
            method if List::ALL.into_iter().any(|list| list.changed() == method) => true,
            // A closed list: of tasks, above all, only the newer era knows, and whoever follows one says so.
            method => self.has_declared(method),
        }
    }

    /// Whether a notification is of an extension that the client has declared.
    pub(in crate::http) fn has_declared(&self, method: &str) -> bool {
        let context = Arc::clone(&lock(&self.context));
        context.extensions().owner_of_notice(method).is_some()
    }

    /// The same of a request of a server.
    fn has_extension_of(&self, method: &str) -> bool {
        let context = Arc::clone(&lock(&self.context));
        context.extensions().owner_of_request(method).is_some()
    }

    pub(in crate::http) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether this elicitation by URL is one that the client has been asked for.
    pub(in crate::http) fn was_shown(&self, elicitation: &str) -> bool {
        lock(&self.elicitations).iter().any(|shown| **shown == *elicitation)
    }

    /// The end of an elicitation by URL is told to nobody but whom it was shown.
    pub(in crate::http) fn note_elicitation(&self, request: &Request) {
        let shown = request.params.as_deref().filter(|_| &*request.method == "elicitation/create");
        shown.into_iter().for_each(|params| self.note_shown(params));
    }

    /// The same of an error that has addresses in it.
    pub(in crate::http) fn note_addresses(&self, error: &RawValue) {
        if error_code(error) != Some(RpcError::URL_ELICITATION_REQUIRED) {
            return;
        }
        let data = Members::of(error).ok().and_then(|members| Members::of(members.value("data")?).ok());
        let shown = data.and_then(|data| items(data.value("elicitations")?, MAX_ADDRESSES).ok());
        shown.into_iter().flatten().for_each(|params| self.note_shown(params));
    }

    fn note_shown(&self, params: &RawValue) {
        let id = Members::of(params).ok().and_then(|params| params.string("elicitationId").map(String::from));
        if let Some(id) = id.filter(|id| id.len() <= MAX_ELICITATION_ID_BYTES) {
            let mut elicitations = lock(&self.elicitations);
            elicitations.push_back(id);
            if elicitations.len() > MAX_ASKS {
                elicitations.pop_front();
            }
        }
    }
}

const MAX_ELICITATION_ID_BYTES: usize = 1024;
/// Requests that wait for one client.
const MAX_ASKS: usize = 64;
