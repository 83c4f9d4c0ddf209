use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::identity::Identity;

/// So many places for each identity, so that none takes what is meant for all.
pub(crate) struct Places {
    each: usize,
    by_identity: Mutex<HashMap<Identity, Arc<Semaphore>>>,
}

impl Places {
    pub(crate) fn new(each: usize) -> Self {
        Self { each: each.max(1), by_identity: Mutex::default() }
    }

    /// A place of this identity, if one is left.
    pub(crate) fn try_take(&self, identity: &Identity) -> Option<OwnedSemaphorePermit> {
        self.of(identity).try_acquire_owned().ok()
    }

    /// A place of this identity, when there is one.
    pub(crate) async fn take(&self, identity: &Identity) -> OwnedSemaphorePermit {
        self.of(identity).acquire_owned().await.expect("the semaphore is never closed")
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

    #[test]
    fn places_belong_to_an_identity() {
        let (places, one, two) = (Places::new(1), Identity::new("one"), Identity::new("two"));
        let held = places.try_take(&one);
        assert!(held.is_some() && places.try_take(&one).is_none());
        assert!(places.try_take(&two).is_some(), "another's are free");
        drop(held);
        assert!(places.try_take(&one).is_some());
    }
}
