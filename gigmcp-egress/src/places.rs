use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::identity::Identity;
use crate::limits::Limits;

/// So many places for each identity, so that none takes what is meant for all.
pub(crate) struct Places {
    each: usize,
    by_identity: Mutex<HashMap<Identity, Arc<Semaphore>>>,
}

/// What the bodies of an identity occupy.
pub(crate) struct BodyPlaces {
    /// Codings of requests that are undone, and of answers: who holds the one must not be kept from the other.
    pub(crate) decoders: Places,
    pub(crate) answers: Places,
    /// Bodies that are read whole.
    pub(crate) whole: Places,
}

impl BodyPlaces {
    pub(crate) fn new(limits: &Limits) -> Self {
        let [decoders, answers] = [limits.decoders; 2].map(Places::new);
        Self { decoders, answers, whole: Places::new(limits.rewritten_bodies) }
    }

    pub(crate) fn forget(&self, identity: &Identity) {
        self.decoders.forget(identity);
        self.answers.forget(identity);
        self.whole.forget(identity);
    }
}

impl Places {
    pub(crate) fn new(each: usize) -> Self {
        Self { each: each.max(1), by_identity: Mutex::default() }
    }

    /// So many places of this identity, when they are free. Of more than there are, all.
    pub(crate) async fn take(&self, identity: &Identity, count: usize) -> OwnedSemaphorePermit {
        let count = u32::try_from(count.min(self.each)).unwrap_or(u32::MAX);
        self.of(identity).acquire_many_owned(count).await.expect("the semaphore is never closed")
    }

    pub(crate) fn forget(&self, identity: &Identity) {
        self.by_identity.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(identity);
    }

    fn of(&self, identity: &Identity) -> Arc<Semaphore> {
        let mut by_identity = self.by_identity.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let places = by_identity.entry(identity.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.each)));
        Arc::clone(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_util::FutureExt as _;

    #[test]
    fn places_belong_to_an_identity() {
        let (places, one, two) = (Places::new(3), Identity::new("one"), Identity::new("two"));
        let taken = |identity, count| places.take(identity, count).now_or_never();
        let held = taken(&one, 2);
        assert!(held.is_some() && taken(&one, 2).is_none(), "one is left");
        assert!(taken(&one, 1).is_some());
        assert!(taken(&two, 9).is_some(), "another's are free, and nobody waits for more than there are");
        drop(held);
        assert!(taken(&one, 3).is_some());
    }
}
