//! The stream of what belongs to no call.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    Principal, SESSION_HEADER, StreamableHttp,
    body::{Parts, ResponseBody, head_of_stream, resumable, stream_of_events},
    guard::{accepts, single_header},
    reply::{not_allowed, plain},
    session::{Session, lock},
    subject::subject,
};
use crate::{
    extension::is_of_protocol,
    message::write_notification,
    upstream::{Event, List, Upstream},
};

/// What a client can listen to, and in which session.
type Listened = (Receiver<Event>, Arc<Session>);

impl StreamableHttp {
    /// Answers a GET: a stream of changed lists and resources, and of log lines.
    pub(super) fn listen<U: Upstream + ?Sized + 'static>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        headers: &HeaderMap,
    ) -> Response<ResponseBody> {
        let (events, session) = match self.may_listen(principal, upstream, headers) {
            Ok(may) => may,
            Err(refused) => return *refused,
        };
        // One that comes back for the rest of an answer; an id of anything that is over begins anew.
        if let Ok(Some(last)) = single_header(headers, "last-event-id") {
            // Before it takes the stream from whoever reads it now.
            let Some(share) = self.shares.listener(principal) else {
                return plain(StatusCode::TOO_MANY_REQUESTS, "too many clients listen");
            };
            if let Some(reader) = session.lines.resume(last, self.limits.stream_for) {
                return resumable(reader.taking(share), None, self.limits.keep_alive);
            }
        }
        let (parts, received) = stream_of_events();
        let replaced = session.listen(parts.clone());
        let ended = self.streams.child_token();
        let upstream = Arc::clone(upstream);
        tokio::spawn(async move {
            // It may be another one than before, to which the client was subscribed.
            let moved = session.is_served_by(&upstream);
            if moved && session.has_asked_for_something() {
                session.moves_to(&upstream).await;
            }
            drop(upstream);
            tokio::select! {
                () = feed(&session, &parts, events) => {}
                () = parts.closed() => {}
                () = session.ended.cancelled() => {}
                () = replaced.cancelled() => {}
                () = ended.cancelled() => {}
            }
            session.listens_no_more(&parts);
        });
        received.into_response(Vec::new(), self.limits.keep_alive)
    }

    /// Answers a HEAD: as GET would be, without a stream, so that one that is open goes on.
    pub(super) fn would_listen<U: Upstream + ?Sized>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        headers: &HeaderMap,
    ) -> Response<ResponseBody> {
        match self.may_listen(principal, upstream, headers) {
            Ok(_) => head_of_stream(),
            Err(refused) => *refused,
        }
    }

    /// What a client can listen to, and in which of its sessions.
    fn may_listen<U: Upstream + ?Sized>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        headers: &HeaderMap,
    ) -> Result<Listened, Box<Response<ResponseBody>>> {
        let events = upstream.events().ok_or_else(|| not_allowed("POST, DELETE"))?;
        if !accepts(headers, "text/event-stream") {
            return Err(plain(StatusCode::NOT_ACCEPTABLE, "the client does not accept text/event-stream").into());
        }
        let Ok(Some(id)) = single_header(headers, SESSION_HEADER) else {
            return Err(plain(StatusCode::BAD_REQUEST, "Mcp-Session-Id is missing").into());
        };
        let session = self.sessions.find(principal, id);
        let session = session.ok_or_else(|| plain(StatusCode::NOT_FOUND, "there is no such session"))?;
        Ok((events, session))
    }

    /// Ends every stream of what belongs to no call, so that connections can end. Clients open new ones.
    pub fn end_streams(&self) {
        self.streams.cancel();
    }
}

/// Tells a client what it wants to see, until there is nobody to tell it.
async fn feed(session: &Session, parts: &Parts, mut events: Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(event) => {
                // One that another stream of this session is there for is not told twice.
                if session.is_listening(parts) && event.is_for(session.principal()) && wants(session, &event) {
                    parts.offer(write_notification(&event.method, event.params.as_deref()));
                } else if !session.is_listening(parts) {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => tell_all_changed(parts),
            // What is behind has been replaced by something else, with lists of its own.
            Err(RecvError::Closed) => return tell_all_changed(parts),
        }
    }
}

impl Event {
    /// Whether this principal may hear it. What an extension says of no call is somebody's, or nobody's.
    pub(super) fn is_for(&self, principal: &Principal) -> bool {
        self.owner().map_or_else(|| is_of_protocol(&self.method), |owner| *owner == principal.owner)
    }
}

/// What [`Session::wants`] says, without reading a long event for each session anew.
fn wants(session: &Session, event: &Event) -> bool {
    match &*event.method {
        "notifications/resources/updated" => {
            let subscribed = lock(&session.subscribed);
            !subscribed.is_empty() && subject(event).uri.as_deref().is_some_and(|uri| subscribed.contains_key(uri))
        }
        "notifications/message" => {
            let wanted = *lock(&session.level);
            wanted.is_none_or(|wanted| subject(event).level.is_none_or(|level| level >= wanted))
        }
        "notifications/elicitation/complete" => {
            subject(event).elicitation.as_deref().is_some_and(|id| session.was_shown(id))
        }
        _ => session.wants(event),
    }
}

fn tell_all_changed(parts: &Parts) {
    for list in List::ALL {
        parts.offer(write_notification(list.changed(), None));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::{
        super::{StreamableHttpLimits, session::Sessions, shares::Shares, subject::is_known},
        *,
    };
    use crate::{
        message::{Notification, Request},
        version::LATEST_LEGACY,
    };

    fn raw(text: &str) -> Option<Box<serde_json::value::RawValue>> {
        Some(serde_json::value::RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn the_end_of_an_elicitation_is_read_once_and_told_to_whom_it_was_shown() {
        let limits = StreamableHttpLimits::default();
        let (sessions, one) = (Sessions::new(limits, &Shares::new(limits)), Principal::new("one"));
        let session = || sessions.find(&one, &sessions.begin(&one, LATEST_LEGACY, None).unwrap()).unwrap();
        let (shown, other) = (session(), session());
        let params = raw(r#"{"mode":"url","elicitationId":"1"}"#);
        shown.note_elicitation(&Request { id: 0.into(), method: "elicitation/create".into(), params });
        let ends = |params| Event::from(Notification { method: "notifications/elicitation/complete".into(), params });
        let event = ends(raw(r#"{"elicitationId":"1"}"#));
        assert!(!wants(&other, &event));
        assert!(is_known(&event), "and whoever listens next need not read it");
        assert!(wants(&shown, &event), "twin");
        for params in [raw(r#"{"elicitationId":"2"}"#), raw("[]"), None] {
            assert!(!wants(&shown, &ends(params)));
        }
    }
}
