use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::forward::http2::{Connection, Lease};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::pool::PoolKey;

/// Connections that carry several requests at a time. One identity never gets the connection of another.
pub(crate) struct SharedPool {
    connections: Mutex<HashMap<PoolKey, Vec<Connection>>>,
    limits: Limits,
}

impl SharedPool {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { connections: Mutex::default(), limits: limits.clone() }
    }

    /// A place for one more request on a connection that is in order.
    pub(crate) fn take(&self, key: &PoolKey) -> Option<Lease> {
        let mut connections = self.lock();
        let own = connections.get_mut(key)?;
        own.retain(|connection| connection.is_usable(&self.limits));
        let lease = own.iter().find_map(|connection| connection.lease(&self.limits));
        if own.is_empty() {
            connections.remove(key);
        }
        lease
    }

    /// Keeps a new connection, within the limits, and gives the first place on it.
    pub(crate) fn put(&self, key: PoolKey, connection: Connection) -> Lease {
        let lease = connection.first_lease();
        let mut connections = self.lock();
        // Connections nobody takes any more are closed by the next one that is made.
        connections.retain(|_, own| {
            own.retain(|connection| connection.is_usable(&self.limits));
            !own.is_empty()
        });
        let identity = key.identity.clone();
        if connections.get(&key).is_none_or(|own| own.len() < self.limits.pooled_per_host) {
            let of_identity = |(other, _): &(&PoolKey, &Vec<Connection>)| other.identity == identity;
            let kept: usize = connections.iter().filter(of_identity).map(|(_, own)| own.len()).sum();
            if kept >= self.limits.pooled_per_identity {
                // What is under way on it goes on; it takes nothing new.
                let oldest =
                    connections.iter().filter(of_identity).min_by_key(|(_, own)| own.first().map(Connection::rested));
                let oldest = oldest.map(|(key, _)| key.clone());
                if let Some(own) = oldest.and_then(|oldest| connections.get_mut(&oldest)) {
                    own.remove(0);
                }
            }
            connections.entry(key).or_default().push(connection);
        }
        lease
    }

    /// Takes no request of an identity whose sandbox is gone any more.
    pub(crate) fn forget(&self, identity: &Identity) {
        self.lock().retain(|key, _| key.identity != *identity);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PoolKey, Vec<Connection>>> {
        self.connections.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
