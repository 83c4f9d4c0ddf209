//! Resources that were only ever named inside a result, and who named them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Which servers named a URI, and which of them first. Bounded; the oldest are forgotten.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Who named it first.
    owners: HashMap<Arc<str>, usize>,
    of_server: HashMap<usize, Named>,
}

#[derive(Debug, Default)]
struct Named {
    all: HashSet<Arc<str>>,
    /// Oldest first.
    order: VecDeque<Arc<str>>,
}

impl Links {
    /// Notes what a server's result names. The first to name a URI keeps it: a later server must not draw to itself what
    /// another one's result pointed at.
    pub(super) fn learn(&self, server: usize, uri: &str) {
        if uri.len() > MAX_URI_BYTES {
            return;
        }
        let mut known = self.lock();
        let Known { owners, of_server } = &mut *known;
        let named = of_server.entry(server).or_default();
        if named.all.contains(uri) {
            return;
        }
        let uri: Arc<str> = uri.into();
        named.all.insert(Arc::clone(&uri));
        named.order.push_back(Arc::clone(&uri));
        owners.entry(uri).or_insert(server);
        let oldest = if named.order.len() > MAX_LINKS { named.order.pop_front() } else { None };
        if let Some(oldest) = oldest {
            named.all.remove(&oldest);
            if owners.get(&oldest) == Some(&server) {
                owners.remove(&oldest);
            }
        }
    }

    /// Who named it first.
    pub(super) fn owner(&self, uri: &str) -> Option<usize> {
        self.lock().owners.get(uri).copied()
    }

    /// Whether this server has named it too.
    pub(super) fn has(&self, server: usize, uri: &str) -> bool {
        self.lock().of_server.get(&server).is_some_and(|named| named.all.contains(uri))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of one server, so that none can make those of another be forgotten.
const MAX_LINKS: usize = 1024;
const MAX_URI_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_a_resource_first_keeps_it() {
        let links = Links::default();
        for (server, uri) in [(1, "a:1"), (2, "a:1"), (2, "a:2"), (3, "a:3")] {
            links.learn(server, uri);
        }
        assert_eq!(["a:1", "a:2", "a:3", "a:4"].map(|uri| links.owner(uri)), [Some(1), Some(2), Some(3), None]);
        assert_eq!([1, 2, 3].map(|server| links.has(server, "a:1")), [true, true, false], "others have named it too");
        for number in 0..MAX_LINKS {
            links.learn(1, &format!("b:{number}"));
        }
        assert_eq!(links.owner("a:1"), None, "the oldest of the same server are forgotten");
        links.learn(2, "a:1");
        assert_eq!(links.owner("a:1"), None, "and what another one had named before does not become its own");
        assert_eq!((links.owner("b:0"), links.owner("a:2")), (Some(1), Some(2)), "and no others");
        links.learn(1, &"a".repeat(MAX_URI_BYTES + 1));
        assert_eq!(links.lock().owners.len(), MAX_LINKS + 2);
    }
}
