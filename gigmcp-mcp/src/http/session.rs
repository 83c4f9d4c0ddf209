//! Sessions of clients.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use tokio::{
    sync::Semaphore,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{Principal, StreamableHttpLimits};
use crate::{message::RequestId, version::ProtocolVersion};

/// The table of sessions: bounded in all and per principal.
#[derive(Debug)]
pub(super) struct Sessions {
    table: Mutex<HashMap<Box<str>, Entry>>,
    max: usize,
    max_per_principal: usize,
    idle: Duration,
    max_in_flight: usize,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    last_used: Instant,
}

/// One client's session.
#[derive(Debug)]
pub(super) struct Session {
    principal: Principal,
    pub(super) version: ProtocolVersion,
    /// Places for requests under way.
    pub(super) places: Arc<Semaphore>,
    under_way: Mutex<HashMap<RequestId, CancellationToken>>,
    ended: CancellationToken,
}

impl Sessions {
    pub(super) fn new(limits: StreamableHttpLimits) -> Self {
        Self {
            table: Mutex::default(),
            max: limits.max_sessions.max(1),
            max_per_principal: limits.max_sessions_per_principal.max(1),
            idle: limits.session_idle,
            max_in_flight: limits.max_in_flight_per_session,
        }
    }

    /// Begins a session; its id is 144 random bits.
    pub(super) fn begin(&self, principal: &Principal, version: ProtocolVersion) -> Result<String, getrandom::Error> {
        let mut random = [0; 18];
        getrandom::fill(&mut random)?;
        let id = BASE64_URL_SAFE_NO_PAD.encode(random);
        let session = Session {
            principal: principal.clone(),
            version,
            places: Arc::new(Semaphore::new(self.max_in_flight)),
            under_way: Mutex::default(),
            ended: CancellationToken::new(),
        };
        let now = Instant::now();
        let mut table = self.lock();
        table.retain(|_, entry| now - entry.last_used < self.idle);
        make_room(&mut table, self.max_per_principal, |entry| entry.session.principal == *principal);
        make_room(&mut table, self.max, |_| true);
        let entry = Entry { session: Arc::new(session), last_used: now };
        table.insert(id.as_str().into(), entry);
        Ok(id)
    }

    /// The session of this id, if it is this principal's. One of another is as good as none.
    pub(super) fn find(&self, principal: &Principal, id: &str) -> Option<Arc<Session>> {
        let now = Instant::now();
        let mut table = self.lock();
        let entry = table.get_mut(id)?;
        if entry.session.principal != *principal {
            return None;
        }
        if now - entry.last_used >= self.idle {
            table.remove(id);
            return None;
        }
        entry.last_used = now;
        Some(Arc::clone(&entry.session))
    }

    /// Ends a session and gives up what is under way in it; whether there was one.
    pub(super) fn end(&self, principal: &Principal, id: &str) -> bool {
        let Some(session) = self.find(principal, id) else {
            return false;
        };
        self.lock().remove(id);
        session.ended.cancel();
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the entry unused for longest while `max` or more are `counted`.
fn make_room(table: &mut HashMap<Box<str>, Entry>, max: usize, counted: impl Fn(&Entry) -> bool) {
    while table.values().filter(|entry| counted(entry)).count() >= max {
        let oldest = table
            .iter()
            .filter(|(_, entry)| counted(entry))
            .min_by_key(|(_, entry)| entry.last_used)
            .map(|(id, _)| id.clone());
        match oldest {
            Some(id) => table.remove(&id),
            None => return,
        };
    }
}

impl Session {
    /// Notes a request under way; what is returned is cancelled when the client gives it up.
    pub(super) fn enter(self: &Arc<Self>, id: &RequestId) -> UnderWay {
        let token = self.ended.child_token();
        let mut under_way = self.under_way();
        // An id used twice at a time is the client's fault; then only the first can be cancelled.
        let listed = !under_way.contains_key(id);
        if listed {
            under_way.insert(id.clone(), token.clone());
        }
        drop(under_way);
        UnderWay { session: Arc::clone(self), id: listed.then(|| id.clone()), token }
    }

    /// The client gave a request up.
    pub(super) fn cancel(&self, id: &RequestId) {
        if let Some(token) = self.under_way().get(id) {
            token.cancel();
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<RequestId, CancellationToken>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way; dropped when it is done.
#[derive(Debug)]
pub(super) struct UnderWay {
    session: Arc<Session>,
    id: Option<RequestId>,
    pub(super) token: CancellationToken,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.session.under_way().remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;
    use crate::LATEST_LEGACY;

    fn sessions() -> Sessions {
        Sessions::new(StreamableHttpLimits {
            max_sessions: 3,
            max_sessions_per_principal: 2,
            session_idle: Duration::from_secs(60),
            ..StreamableHttpLimits::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_belongs_to_its_principal_alone() {
        let (sessions, one, two) = (sessions(), Principal::new("one"), Principal::new("two"));
        let id = sessions.begin(&one, LATEST_LEGACY).unwrap();
        assert!(sessions.find(&two, &id).is_none());
        assert!(!sessions.end(&two, &id));
        assert!(sessions.find(&one, &id).is_some());
        assert!(sessions.end(&one, &id));
        assert!(sessions.find(&one, &id).is_none());
        assert!(id.bytes().all(|byte| byte.is_ascii_graphic()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_session_unused_for_longest_makes_room() {
        let (sessions, one, two) = (sessions(), Principal::new("one"), Principal::new("two"));
        let mut ids = Vec::new();
        for principal in [&one, &one, &two] {
            ids.push(sessions.begin(principal, LATEST_LEGACY).unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        sessions.find(&one, &ids[0]).unwrap(); // used again
        tokio::time::advance(Duration::from_secs(1)).await;
        sessions.begin(&one, LATEST_LEGACY).unwrap(); // a third of `one`
        assert!(sessions.find(&one, &ids[1]).is_none());
        assert!(sessions.find(&one, &ids[0]).is_some());
        assert!(sessions.find(&two, &ids[2]).is_some(), "others are not touched");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_session_ends_and_a_used_one_does_not() {
        let (sessions, one) = (sessions(), Principal::new("one"));
        let used = sessions.begin(&one, LATEST_LEGACY).unwrap();
        let unused = sessions.begin(&one, LATEST_LEGACY).unwrap();
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(30)).await;
            assert!(sessions.find(&one, &used).is_some());
        }
        assert!(sessions.find(&one, &unused).is_none());
    }
}
