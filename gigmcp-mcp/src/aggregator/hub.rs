//! What the servers of one aggregator share: who listens, at which level, and to which resources.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use serde_json::value::RawValue;
use tokio::sync::broadcast;

use super::{
    FlowPolicy,
    backend::Entry,
    flow::{Flow, HasRead},
    links::Links,
    offer::Offer,
    pointing::{MAX_WORK, links_of_result, may_link},
    rate::Rates,
    skill_uris::exposed,
    tasks::{Ledger, Owner, TaskListeners},
    working::Working,
};
use crate::{
    catalogue::TooLong,
    level::LogLevel,
    message::Notification,
    object::quoted,
    sink::{ClientContext, ClientId},
    upstream::{Call, Event, List, Outcome},
};

pub(super) struct Hub {
    /// None once another aggregator has taken over.
    events: Mutex<Option<broadcast::Sender<Event>>>,
    pub(super) links: Links,
    pub(super) rates: Arc<Rates>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) flow: Flow,
    pub(super) tasks: TaskListeners,
    pub(super) working: Arc<Working>,
    entries: OnceLock<Vec<Weak<Entry>>>,
    levels: Mutex<HashMap<Option<ClientId>, LogLevel>>,
    subscriptions: Mutex<Subscriptions>,
}

/// What aggregators over the same servers have in common: one in the place of another, or beside it for a token for less.
#[derive(Clone, Default)]
pub(super) struct Shared {
    rates: Arc<Rates>,
    ledger: Arc<Ledger>,
    read: Arc<HasRead>,
    working: Arc<Working>,
}

/// A client that is subscribed to a resource.
#[derive(Default)]
struct Subscriber {
    owner: Owner,
    /// Whether it knows the resource as its server does, and whether with the server's name.
    by_own: bool,
    by_named: bool,
}

/// Who is subscribed to what, and each client to how much.
#[derive(Default)]
struct Subscriptions {
    clients: HashMap<Subscribed, BTreeMap<Option<ClientId>, Subscriber>>,
    of_client: HashMap<ClientId, usize>,
    /// Bytes of the URIs.
    bytes: usize,
}

impl Subscriptions {
    fn less_of(&mut self, client: Option<ClientId>) {
        let Some(client) = client else { return };
        if let Some(count) = self.of_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.of_client.remove(&client);
            }
        }
    }
}

/// A resource of one server, under the server's own URI.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Subscribed {
    pub(super) server: usize,
    pub(super) uri: Box<str>,
}

impl Hub {
    pub(super) fn new(flow: FlowPolicy, shared: Shared) -> Arc<Self> {
        let Shared { rates, ledger, read, working } = shared;
        Arc::new(Self {
            events: Mutex::new(Some(broadcast::Sender::new(QUEUED_EVENTS))),
            links: Links::default(),
            rates,
            ledger,
            flow: Flow::new(flow, read),
            tasks: TaskListeners::default(),
            working,
            entries: OnceLock::new(),
            levels: Mutex::default(),
            subscriptions: Mutex::default(),
        })
    }

    pub(super) fn shared(&self) -> Shared {
        let (rates, ledger) = (Arc::clone(&self.rates), Arc::clone(&self.ledger));
        Shared { rates, ledger, read: self.flow.read(), working: Arc::clone(&self.working) }
    }

    pub(super) fn connect(&self, entries: &[Arc<Entry>]) {
        let entries = entries.iter().map(Arc::downgrade).collect();
        assert!(self.entries.set(entries).is_ok(), "an aggregator is made once");
    }

    pub(super) fn publish(&self, event: Event) {
        if let Some(events) = &*lock(&self.events) {
            // Nobody may be listening.
            let _ = events.send(event);
        }
    }

    pub(super) fn subscribe_to_events(&self) -> broadcast::Receiver<Event> {
        match &*lock(&self.events) {
            Some(events) => events.subscribe(),
            None => broadcast::Sender::new(1).subscribe(), // which has ended
        }
    }

    /// Whoever listens hears the end of it.
    pub(super) fn end_events(&self) {
        drop(lock(&self.events).take());
    }

    /// Whether another aggregator has taken over.
    pub(super) fn is_replaced(&self) -> bool {
        lock(&self.events).is_none()
    }

    pub(super) fn publish_changed(&self, list: List) {
        self.publish(Notification { method: list.changed().into(), params: None }.into());
    }

    /// The servers, in their order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.entries.get().into_iter().flatten().filter_map(Weak::upgrade)
    }

    /// Under which URI clients know a resource of a server: its own, unless a server before it has the same.
    fn exposed_uri(&self, server: usize, uri: &str, work: &Cell<usize>) -> Option<String> {
        let entries = self.entries.get()?;
        let own = entries.get(server)?.upgrade()?;
        if self.is_misleading(uri, work) {
            return Some(exposed(own.name.as_str(), uri));
        }
        let taken = entries.iter().take(server).filter_map(Weak::upgrade).any(|entry| entry.lists_uri(uri));
        Some(if taken && own.lists_uri(uri) { prefixed(own.name.as_str(), uri) } else { uri.to_owned() })
    }

    /// The same for one that this server only names: in its name if it would lead to another server otherwise.
    pub(super) fn linked_uri(&self, server: usize, uri: &str, work: &Cell<usize>) -> Option<String> {
        let exposed = self.exposed_uri(server, uri, work)?;
        let own = self.entries.get()?.get(server)?.upgrade()?;
        if exposed != uri || own.lists_uri(uri) {
            return Some(exposed);
        }
        let leads_elsewhere = match self.links.owner(uri) {
            _ if self.entries().any(|entry| entry.lists_uri(uri)) => true,
            // Whoever has named it first gets it, unless it is this one's, and nobody else's.
            Some(first) if first != server => self.others_have(server, uri, work) || !self.has(server, uri, work),
            _ => self.is_anothers_within(server, uri, work),
        };
        Some(if leads_elsewhere { prefixed(own.name.as_str(), uri) } else { exposed })
    }

    /// Whether a server has this by what is known of it, and the one at that place has not. Where that takes too long to tell, it
    /// is another's.
    pub(super) fn is_anothers(&self, server: usize, uri: &str) -> bool {
        self.is_anothers_within(server, uri, &Cell::new(MAX_WORK))
    }

    fn is_anothers_within(&self, server: usize, uri: &str, work: &Cell<usize>) -> bool {
        // Others first: this one has nothing in the rule.
        self.others_have(server, uri, work) && !self.has(server, uri, work)
    }

    fn has(&self, server: usize, uri: &str, work: &Cell<usize>) -> bool {
        self.entries().any(|entry| entry.index == server && entry.has_within(uri, work, TooLong::FitsNot))
    }

    fn others_have(&self, server: usize, uri: &str, work: &Cell<usize>) -> bool {
        self.entries().any(|entry| entry.index != server && entry.has_within(uri, work, TooLong::Fits))
    }

    /// An outcome whose links lead to what clients know.
    pub(super) async fn pointing(&self, server: usize, offer: &Offer, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Complete(result) => {
                Outcome::Complete(self.pointing_result(server, offer, &result).await.unwrap_or(result))
            }
            outcome => outcome,
        }
    }

    /// The same for a result, if something in it is to be changed.
    pub(super) async fn pointing_result(
        &self,
        server: usize,
        offer: &Offer,
        result: &RawValue,
    ) -> Option<Box<RawValue>> {
        if !may_link(result) {
            return None;
        }
        // What a server has that nobody has looked at yet is another's too.
        for entry in self.entries() {
            entry.known().await;
        }
        links_of_result(self, (server, offer), result)
    }

    /// Notes a client's level; what the servers are to be set to.
    pub(super) fn set_level(&self, client: Option<ClientId>, level: LogLevel) -> LogLevel {
        let mut levels = lock(&self.levels);
        levels.insert(client, level);
        levels.values().copied().min().unwrap_or(level)
    }

    /// The level a server is to be set to, if any client has asked for one.
    pub(super) fn level(&self) -> Option<LogLevel> {
        lock(&self.levels).values().copied().min()
    }

    /// Notes a subscription of a client, whose it is, and as what the client knows the resource; whether it is the first to it.
    /// `None` if there are too many.
    pub(super) fn subscribe(
        &self,
        to: Subscribed,
        (client, owner): (Option<ClientId>, Owner),
        exposed: &str,
    ) -> Option<bool> {
        let mut subscriptions = lock(&self.subscriptions);
        let Subscriptions { clients, of_client, bytes } = &mut *subscriptions;
        let known = clients.get(&to);
        let is_full = || clients.len() >= MAX_SUBSCRIPTIONS || *bytes + to.uri.len() > MAX_SUBSCRIBED_BYTES;
        if known.is_none() && is_full() {
            return None;
        }
        if known.is_none_or(|known| !known.contains_key(&client))
            && let Some(client) = client
        {
            let count = of_client.entry(client).or_default();
            if *count >= MAX_SUBSCRIPTIONS_PER_CLIENT {
                return None;
            }
            *count += 1;
        }
        if known.is_none() {
            *bytes += to.uri.len();
        }
        // One that is about to be left is one that the server knows of.
        let first = known.is_none();
        let is_own = *to.uri == *exposed;
        let subscriber = clients.entry(to).or_default().entry(client).or_default();
        subscriber.owner = owner;
        subscriber.by_own |= is_own;
        subscriber.by_named |= !is_own;
        Some(first)
    }

    /// As what those who are subscribed to it know a resource of the server with this name.
    pub(super) fn names_of(&self, to: &Subscribed, server: &str) -> BTreeSet<String> {
        let subscriptions = lock(&self.subscriptions);
        let subscribers = || subscriptions.clients.get(to).into_iter().flat_map(BTreeMap::values);
        let mut names = BTreeSet::new();
        if subscribers().any(|subscriber| subscriber.by_own) {
            names.insert(to.uri.to_string());
        }
        if subscribers().any(|subscriber| subscriber.by_named) {
            // A file of a skill has two; both lead to this server alone.
            names.extend([prefixed(server, &to.uri), exposed(server, &to.uri)]);
        }
        names
    }

    /// The calls that subscribe to this again: one of each owner who is subscribed to it, as the server is to know of all whose it is
    /// what it says of it on its own.
    pub(super) fn subscribes_again(&self, to: &Subscribed) -> Vec<Call> {
        let subscriptions = lock(&self.subscriptions);
        let subscribers = subscriptions.clients.get(to).into_iter().flat_map(BTreeMap::values);
        let owners: BTreeSet<_> = subscribers.map(|subscriber| &subscriber.owner).collect();
        let nothing = || RawValue::from_string("{}".to_owned()).expect("it is JSON");
        let of = |owner| Arc::new(ClientContext { owner: Some(owner), ..ClientContext::new(nothing()) });
        let again = owners
            .into_iter()
            .cloned()
            .map(|owner| Call { context: owner.map(of), ..of_uri("resources/subscribe", &to.uri) });
        again.collect()
    }

    /// What this client is subscribed to: this, or else what is `known` by the same name.
    pub(super) fn subscribed_by(
        &self,
        client: Option<ClientId>,
        this: Option<&Subscribed>,
        known: impl Fn(&Subscribed) -> bool,
    ) -> Option<Subscribed> {
        let subscriptions = lock(&self.subscriptions);
        let has = |to: &Subscribed| subscriptions.clients.get(to).is_some_and(|clients| clients.contains_key(&client));
        if let Some(this) = this.filter(|this| has(this)) {
            return Some(this.clone());
        }
        let mut own =
            subscriptions.clients.iter().filter(|(_, clients)| clients.contains_key(&client)).map(|(to, _)| to);
        own.find(|to| known(to)).cloned()
    }

    /// Forgets what [`forget`](Self::forget) has left to nobody, if it is still nobody's; whether it was. The server is to be told
    /// then.
    pub(super) fn is_left(&self, to: &Subscribed) -> bool {
        let mut subscriptions = lock(&self.subscriptions);
        let left = subscriptions.clients.get(to).is_some_and(BTreeMap::is_empty);
        if left {
            subscriptions.clients.remove(to);
            subscriptions.bytes -= to.uri.len();
        }
        left
    }

    /// Ends a subscription; whether it was the last to this resource.
    pub(super) fn unsubscribe(&self, to: &Subscribed, client: Option<ClientId>) -> bool {
        let mut subscriptions = lock(&self.subscriptions);
        let Some(clients) = subscriptions.clients.get_mut(to) else { return false };
        let was_there = clients.remove(&client).is_some();
        // One that is about to be left is told to the server by whoever leaves it.
        let last = was_there && clients.is_empty();
        if last {
            subscriptions.clients.remove(to);
            subscriptions.bytes -= to.uri.len();
        }
        if was_there {
            subscriptions.less_of(client);
        }
        last
    }

    /// What a server that has just started is to be told of earlier.
    pub(super) fn to_resume(&self, server: usize) -> Vec<Box<str>> {
        let subscriptions = lock(&self.subscriptions);
        let wanted = subscriptions.clients.iter().filter(|(key, clients)| key.server == server && !clients.is_empty());
        wanted.map(|(key, _)| key.uri.clone()).collect()
    }

    /// Forgets a client; what nobody is subscribed to any more, and is [left](Self::is_left) next.
    pub(super) fn forget(&self, client: ClientId) -> Vec<Subscribed> {
        lock(&self.levels).remove(&Some(client));
        self.rates.forget(client);
        self.flow.forget(client);
        let mut subscriptions = lock(&self.subscriptions);
        let mut over = Vec::new();
        let Subscriptions { clients, of_client, .. } = &mut *subscriptions;
        of_client.remove(&client);
        for (key, clients) in clients {
            if clients.remove(&Some(client)).is_some() && clients.is_empty() {
                over.push(key.clone());
            }
        }
        over
    }
}

/// How clients know a resource whose own URI another server has taken.
pub(super) fn prefixed(server: &str, uri: &str) -> String {
    format!("{server}+{uri}")
}

pub(super) fn set_level(level: LogLevel) -> Call {
    let params = format!(r#"{{"level":"{}"}}"#, level.as_str());
    Call::new("logging/setLevel", Some(RawValue::from_string(params).expect("it is JSON")))
}

pub(super) fn of_uri(method: &str, uri: &str) -> Call {
    let params = format!(r#"{{"uri":{}}}"#, quoted(uri));
    Call::new(method, Some(RawValue::from_string(params).expect("it is JSON")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const QUEUED_EVENTS: usize = 256;
/// Of all clients of a profile together; against a client that subscribes to everything it can think of.
const MAX_SUBSCRIPTIONS: usize = 10_000;
/// Of the URIs of all these.
const MAX_SUBSCRIBED_BYTES: usize = 16 << 20;
/// Of one client, so that it leaves room for the others.
const MAX_SUBSCRIPTIONS_PER_CLIENT: usize = 1024;
