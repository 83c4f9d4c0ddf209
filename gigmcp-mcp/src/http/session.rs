//! Sessions of clients.

mod asks;
mod following;
#[cfg(any(fuzzing, test))]
pub(super) mod laws;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::value::RawValue;
use tokio::{
    sync::Semaphore,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

pub(super) use self::asks::CallStream;
use self::following::Waiting;
pub(super) use self::following::renumber;
use super::{
    Principal, StreamableHttpLimits,
    body::Parts,
    client::ClientCapabilities,
    polling::{Lines, Room},
    shares::{Shares, Taken},
};
use crate::{
    level::LogLevel,
    message::RequestId,
    object::is_object,
    sink::{Asked, ClientContext, ClientId},
    upstream::Upstream,
    version::ProtocolVersion,
};

/// The table of sessions: bounded in all and per principal.
#[derive(Debug)]
pub(super) struct Sessions {
    table: Mutex<HashMap<Box<str>, Entry>>,
    max: usize,
    max_per_principal: usize,
    idle: Duration,
    max_in_flight: usize,
    /// What all of them keep for clients that lose a connection.
    room: Arc<Room>,
    shares: Arc<Shares>,
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
    pub(super) client: ClientId,
    pub(super) capabilities: ClientCapabilities,
    /// What servers of the newer era are told of the client.
    pub(super) context: Mutex<Arc<ClientContext>>,
    /// What servers asked the client, by our own ids.
    asks: Mutex<HashMap<u64, Waiting>>,
    last_ask: AtomicU64,
    pub(super) level: Mutex<Option<LogLevel>>,
    /// What it is subscribed to, and what that takes of its principal's share.
    pub(super) subscribed: Mutex<BTreeMap<String, Taken>>,
    shares: Arc<Shares>,
    elicitations: Mutex<VecDeque<String>>,
    /// Streams that the client can come back to.
    pub(super) lines: Arc<Lines>,
    stream: Mutex<Option<Stream>>,
    served_by: Mutex<Option<ServedBy>>,
    /// Places for requests under way.
    pub(super) places: Arc<Semaphore>,
    under_way: Mutex<HashMap<RequestId, CancellationToken>>,
    pub(super) ended: CancellationToken,
}

/// Where a client listens, and what is cancelled when it no longer does.
#[derive(Debug)]
struct Stream {
    parts: Parts,
    replaced: CancellationToken,
}

/// What a session has made its mark on, and how it is told that the session has ended.
struct ServedBy {
    address: usize,
    goodbye: Box<dyn Fn() + Send>,
}

impl fmt::Debug for ServedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.address)
    }
}

impl Sessions {
    pub(super) fn new(limits: StreamableHttpLimits, shares: &Arc<Shares>) -> Self {
        Self {
            table: Mutex::default(),
            max: limits.max_sessions.max(1),
            max_per_principal: limits.max_sessions_per_principal.max(1),
            idle: limits.session_idle,
            max_in_flight: limits.max_in_flight_per_session,
            room: Room::new(limits.max_resumable_bytes, limits.resumable_for),
            shares: Arc::clone(shares),
        }
    }

    /// Begins a session; its id is 144 random bits.
    pub(super) fn begin(
        &self,
        principal: &Principal,
        version: ProtocolVersion,
        declared: Option<&RawValue>,
    ) -> Result<String, getrandom::Error> {
        let mut random = [0; 18];
        getrandom::fill(&mut random)?;
        let id = BASE64_URL_SAFE_NO_PAD.encode(random);
        let declared = declared.filter(|declared| is_object(declared));
        let none = || RawValue::from_string("{}".to_owned()).expect("it is JSON");
        let mut context = ClientContext::new(declared.map_or_else(none, ToOwned::to_owned));
        context.asked = Asked::BySink;
        context.owner = Some(principal.owner());
        let session = Session {
            principal: principal.clone(),
            version,
            client: ClientId::new(),
            capabilities: ClientCapabilities::read(declared),
            context: Mutex::new(Arc::new(context)),
            asks: Mutex::default(),
            last_ask: AtomicU64::new(0),
            level: Mutex::default(),
            subscribed: Mutex::default(),
            shares: Arc::clone(&self.shares),
            elicitations: Mutex::default(),
            lines: Lines::new(&self.room, principal),
            stream: Mutex::default(),
            served_by: Mutex::default(),
            places: Arc::new(Semaphore::new(self.max_in_flight)),
            under_way: Mutex::default(),
            ended: CancellationToken::new(),
        };
        let now = Instant::now();
        let mut table = self.lock();
        let mut over: Vec<Entry> =
            table.extract_if(|_, entry| entry.is_over(now, self.idle)).map(|(_, entry)| entry).collect();
        let own = |entry: &Entry| entry.session.principal == *principal;
        while table.values().filter(|entry| own(entry)).count() >= self.max_per_principal
            && let Some(id) = oldest(&table, own)
        {
            over.extend(table.remove(&id));
        }
        while table.len() >= self.max
            && let Some(id) = oldest_of_most(&table)
        {
            over.extend(table.remove(&id));
        }
        let entry = Entry { session: Arc::new(session), last_used: now };
        table.insert(id.as_str().into(), entry);
        drop(table);
        over.iter().for_each(|entry| entry.session.end());
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
        if entry.is_over(now, self.idle) {
            let entry = table.remove(id);
            drop(table);
            entry.into_iter().for_each(|entry| entry.session.end());
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
        session.end();
        true
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Bytes that are kept for clients that lose a connection.
    pub(super) fn resumable_bytes(&self) -> usize {
        self.room.bytes()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Whether it was unused for too long. A client that listens is there.
    fn is_over(&self, now: Instant, idle: Duration) -> bool {
        now - self.last_used >= idle && self.session.stream().is_none()
    }
}

/// The one of these that was unused for longest.
fn oldest(table: &HashMap<Box<str>, Entry>, of: impl Fn(&Entry) -> bool) -> Option<Box<str>> {
    let these = table.iter().filter(|(_, entry)| of(entry));
    these.min_by_key(|(_, entry)| entry.last_used).map(|(id, _)| id.clone())
}

/// The same of whoever has most: who has few sessions loses none to who has many.
fn oldest_of_most(table: &HashMap<Box<str>, Entry>) -> Option<Box<str>> {
    let mut counts: HashMap<&Principal, usize> = HashMap::new();
    table.values().for_each(|entry| *counts.entry(&entry.session.principal).or_default() += 1);
    let most = counts.values().copied().max()?;
    oldest(table, |entry| counts[&entry.session.principal] == most)
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

    /// The client listens on a new stream, and no longer on the one before. What is returned is cancelled when there is
    /// another: else each would be there as long as its connection, with whatever it costs.
    pub(super) fn listen(&self, parts: Parts) -> CancellationToken {
        let replaced = CancellationToken::new();
        let before = lock(&self.stream).replace(Stream { parts, replaced: replaced.clone() });
        before.into_iter().for_each(|before| before.replaced.cancel());
        replaced
    }

    pub(super) fn is_listening(&self, parts: &Parts) -> bool {
        lock(&self.stream).as_ref().is_some_and(|stream| stream.parts.is(parts))
    }

    pub(super) fn listens_no_more(&self, parts: &Parts) {
        lock(&self.stream).take_if(|stream| stream.parts.is(parts));
    }

    /// Where the client listens to what belongs to no call.
    fn stream(&self) -> Option<Parts> {
        let stream = lock(&self.stream);
        stream.as_ref().map(|stream| &stream.parts).filter(|parts| !parts.is_closed()).cloned()
    }

    /// Notes what serves the session now, to be told when it ends. Whether it was something else before, which knew what
    /// the client has asked for.
    pub(super) fn is_served_by<U: Upstream + ?Sized + 'static>(&self, upstream: &Arc<U>) -> bool {
        let address = Arc::as_ptr(upstream).cast::<()>() as usize;
        let mut served_by = lock(&self.served_by);
        if served_by.as_ref().is_some_and(|known| known.address == address) {
            return false;
        }
        let (weak, client) = (Arc::downgrade(upstream), self.client);
        let goodbye = Box::new(move || {
            if let Some(upstream) = weak.upgrade() {
                upstream.forget(client);
            }
        });
        let before = served_by.replace(ServedBy { address, goodbye });
        drop(served_by);
        before.map(|before| (before.goodbye)()).is_some()
    }

    /// Room for one more subscription; none if its principal has too many, in all its sessions.
    pub(super) fn room_for(&self, uri: &String) -> Option<Taken> {
        self.shares.subscribed(&self.principal, [uri])
    }

    /// Gives up what is under way and forgets what was asked for.
    fn end(&self) {
        self.ended.cancel();
        if let Some(served_by) = &*lock(&self.served_by) {
            (served_by.goodbye)();
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<RequestId, CancellationToken>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that was already on its way when the session ended may have asked for something after the goodbye.
impl Drop for Session {
    fn drop(&mut self) {
        let served_by = self.served_by.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(served_by) = served_by {
            (served_by.goodbye)();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let limits = StreamableHttpLimits {
            max_sessions: 3,
            max_sessions_per_principal: 2,
            session_idle: Duration::from_secs(60),
            ..StreamableHttpLimits::default()
        };
        Sessions::new(limits, &Shares::new(limits))
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_belongs_to_its_principal_alone() {
        let (sessions, one, two) = (sessions(), Principal::new("one"), Principal::new("two"));
        let id = sessions.begin(&one, LATEST_LEGACY, None).unwrap();
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
            ids.push(sessions.begin(principal, LATEST_LEGACY, None).unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        sessions.find(&one, &ids[0]).unwrap(); // used again
        tokio::time::advance(Duration::from_secs(1)).await;
        sessions.begin(&one, LATEST_LEGACY, None).unwrap(); // a third of `one`
        assert!(sessions.find(&one, &ids[1]).is_none());
        assert!(sessions.find(&one, &ids[0]).is_some());
        assert!(sessions.find(&two, &ids[2]).is_some(), "others are not touched");
    }

    #[test]
    fn where_there_is_room_for_none_there_is_the_newest() {
        let limits = StreamableHttpLimits { max_sessions: 0, ..StreamableHttpLimits::default() };
        for limits in [limits, StreamableHttpLimits { max_sessions_per_principal: 0, ..limits }] {
            let sessions = Sessions::new(limits, &Shares::new(limits));
            let one = Principal::new("one");
            let [first, second] = [(); 2].map(|()| sessions.begin(&one, LATEST_LEGACY, None).unwrap());
            assert!(sessions.find(&one, &first).is_none() && sessions.find(&one, &second).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_few_sessions_loses_none_to_who_has_many() {
        for (all, stays) in [(["two", "one", "one"], true), (["two", "one", "four"], false)] {
            let sessions = sessions();
            let mut ids = Vec::new();
            for name in all {
                ids.push(sessions.begin(&Principal::new(name), LATEST_LEGACY, None).unwrap());
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            sessions.begin(&Principal::new("three"), LATEST_LEGACY, None).unwrap();
            assert_eq!(sessions.find(&Principal::new("two"), &ids[0]).is_some(), stays, "{all:?}");
            assert_eq!(sessions.find(&Principal::new("one"), &ids[1]).is_some(), !stays, "twin: {all:?}");
            assert_eq!(sessions.len(), 3);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_session_ends_and_a_used_one_does_not() {
        let (sessions, one) = (sessions(), Principal::new("one"));
        let used = sessions.begin(&one, LATEST_LEGACY, None).unwrap();
        let unused = sessions.begin(&one, LATEST_LEGACY, None).unwrap();
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(30)).await;
            assert!(sessions.find(&one, &used).is_some());
        }
        assert!(sessions.find(&one, &unused).is_none());
    }

    struct Leaky(std::sync::atomic::AtomicUsize);

    impl Upstream for Leaky {
        fn call<'a>(&'a self, _: crate::Call) -> crate::BoxFuture<'a, crate::Outcome> {
            Box::pin(std::future::pending())
        }

        fn forget(&self, _: ClientId) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn what_was_asked_for_after_the_end_is_forgotten_too() {
        let (sessions, one) = (sessions(), Principal::new("one"));
        let upstream = Arc::new(Leaky(0.into()));
        let forgotten = || upstream.0.load(std::sync::atomic::Ordering::SeqCst);
        // Two requests at once: one that ends the session, and one that has just found it.
        let id = sessions.begin(&one, LATEST_LEGACY, None).unwrap();
        let found = sessions.find(&one, &id).unwrap();
        assert!(sessions.end(&one, &id));
        found.is_served_by(&upstream);
        assert_eq!(forgotten(), 0);
        drop(found);
        assert_eq!(forgotten(), 1);
        // Twin: in the usual order it is told at once.
        let id = sessions.begin(&one, LATEST_LEGACY, None).unwrap();
        sessions.find(&one, &id).unwrap().is_served_by(&upstream);
        assert!(sessions.end(&one, &id));
        assert!(forgotten() >= 2);
    }
}
