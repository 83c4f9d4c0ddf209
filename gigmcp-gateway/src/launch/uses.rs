//! Who uses a running server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gigmcp_mcp::Call;
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
    /// The resources that somebody is subscribed to, and how many: the aggregator of before and the new one both may be, and
    /// which of them speaks first is not known.
    subscribed: HashMap<String, usize>,
}

/// One of them; over when dropped.
pub(super) struct Use(Arc<Uses>);

impl Uses {
    pub(super) fn of(places: Arc<Places>) -> Arc<Self> {
        let state = State { under_way: 0, last: Instant::now(), retired: false, subscribed: HashMap::new() };
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

    /// From now on nobody uses it, whoever does: somebody said that it is to end, and it did nothing wrong.
    pub(super) fn retire_now(&self) {
        self.lock().retired = true;
    }

    pub(super) fn is_retired(&self) -> bool {
        self.lock().retired
    }

    pub(super) fn is_listened_to(&self) -> bool {
        !self.lock().subscribed.is_empty()
    }

    /// Somebody subscribes to it.
    pub(super) fn subscribes(self: &Arc<Self>, uri: String) -> Subscribing {
        *self.lock().subscribed.entry(uri.clone()).or_default() += 1;
        Subscribing { uses: Arc::clone(self), uri: Some(uri) }
    }

    /// Whether nobody is subscribed to it any more.
    pub(super) fn unsubscribes(&self, uri: &str) -> bool {
        let mut state = self.lock();
        let Some(count) = state.subscribed.get_mut(uri) else { return true };
        *count -= 1;
        let last = *count == 0;
        if last {
            state.subscribed.remove(uri);
        }
        last
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

/// A subscription that does not hold yet: nobody's, if it is refused or given up.
pub(super) struct Subscribing {
    uses: Arc<Uses>,
    uri: Option<String>,
}

impl Subscribing {
    pub(super) fn holds(mut self) {
        self.uri = None;
    }
}

impl Drop for Subscribing {
    fn drop(&mut self) {
        if let Some(uri) = self.uri.take() {
            self.uses.unsubscribes(&uri);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_used_is_not_retired_and_what_is_retired_is_not_used() {
        let uses = Uses::of(Places::new(1));
        let (one, two) = (uses.begin().expect("a use"), uses.begin().expect("another"));
        drop(one);
        assert_eq!(uses.idle_since(), None, "one goes on");
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        drop(two);
        let since = uses.idle_since().expect("nobody uses it");
        assert_eq!(since, Instant::now());
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        drop(uses.begin().expect("once more"));
        assert!(!uses.retire(since), "it was used since");
        assert!(uses.begin().is_some() && !uses.is_retired());
        assert!(uses.retire(uses.idle_since().expect("nobody uses it")));
        assert!(uses.begin().is_none() && uses.is_retired());
    }

    #[test]
    fn a_subscription_ends_with_the_last_who_has_it() {
        let uses = Uses::of(Places::new(1));
        for uri in ["a:1", "a:1", "a:2"] {
            uses.subscribes(uri.to_owned()).holds();
        }
        drop(uses.subscribes("a:1".to_owned())); // which was refused, or given up by its client
        assert!(!uses.unsubscribes("a:1") && uses.unsubscribes("a:2") && uses.is_listened_to());
        assert!(uses.unsubscribes("a:1") && !uses.is_listened_to());
        assert!(uses.unsubscribes("a:3"), "who knows better is not contradicted");
    }
}
