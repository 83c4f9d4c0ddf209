//! Who uses a running server.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gigmcp_mcp::{Call, Outcome};
use serde::Deserialize;
use tokio::time::Instant;

use super::places::Places;

/// The uses of one process.
pub(super) struct Uses {
    state: Mutex<State>,
    /// Told when there is none any more.
    places: Arc<Places>,
}

struct State {
    under_way: usize,
    last: Instant,
    retired: bool,
    /// The resources that somebody is subscribed to.
    subscribed: HashSet<String>,
}

/// One of them; over when dropped.
pub(super) struct Use(Arc<Uses>);

impl Uses {
    pub(super) fn of(places: Arc<Places>) -> Arc<Self> {
        let state = State { under_way: 0, last: Instant::now(), retired: false, subscribed: HashSet::new() };
        Arc::new(Self { state: Mutex::new(state), places })
    }

    /// Begins one; none any more once it has been retired.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Use> {
        let mut state = self.lock();
        if state.retired {
            return None;
        }
        state.under_way += 1;
        Some(Use(Arc::clone(self)))
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.under_way == 0).then_some(state.last)
    }

    /// From now on nobody uses it, unless somebody has done so since.
    pub(super) fn retire(&self, idle_since: Instant) -> bool {
        let mut state = self.lock();
        let idle = state.under_way == 0 && state.last == idle_since;
        state.retired |= idle;
        idle
    }

    pub(super) fn is_retired(&self) -> bool {
        self.lock().retired
    }

    pub(super) fn is_listened_to(&self) -> bool {
        !self.lock().subscribed.is_empty()
    }

    /// Notes what a call that was answered has begun or ended.
    pub(super) fn note(&self, change: Option<Subscription>, outcome: &Outcome) {
        match (change, outcome) {
            (Some(Subscription::Begins(uri)), Outcome::Complete(_)) => drop(self.lock().subscribed.insert(uri)),
            (Some(Subscription::Ends(uri)), _) => drop(self.lock().subscribed.remove(&uri)),
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way -= 1;
        state.last = Instant::now();
        let idle = state.under_way == 0;
        drop(state);
        if idle {
            self.0.places.has_changed();
        }
    }
}

/// What a call does to subscriptions.
pub(super) enum Subscription {
    Begins(String),
    Ends(String),
}

#[derive(Deserialize)]
struct Resource {
    uri: String,
}

impl Subscription {
    pub(super) fn of(call: &Call) -> Option<Self> {
        let begins = match &*call.method {
            "resources/subscribe" => Self::Begins,
            "resources/unsubscribe" => Self::Ends,
            _ => return None,
        };
        let Resource { uri } = serde_json::from_str(call.params.as_deref()?.get()).ok()?;
        Some(begins(uri))
    }
}
