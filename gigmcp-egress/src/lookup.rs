use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Semaphore, watch};

use crate::dial::Resolver;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::name::HostName;

/// Asks the resolver, once per host at a time and within limits.
///
/// The system's resolver occupies a thread until it has its answer, whether somebody still waits or not. So a lookup counts
/// until it has really ended, and over a limit none is begun: otherwise names that never resolve would take every thread.
pub(crate) struct Lookups {
    resolver: Arc<dyn Resolver>,
    places: Arc<Semaphore>,
    per_identity: usize,
    under_way: Arc<Mutex<UnderWay>>,
}

#[derive(Default)]
struct UnderWay {
    answers: HashMap<HostName, watch::Receiver<Option<Answer>>>,
    counts: HashMap<Identity, usize>,
}

type Answer = Result<Vec<IpAddr>, Arc<io::Error>>;

impl Lookups {
    pub(crate) fn new(resolver: Arc<dyn Resolver>, limits: &Limits) -> Self {
        let places = Arc::new(Semaphore::new(limits.lookups));
        Self { resolver, places, per_identity: limits.lookups_per_identity, under_way: Arc::default() }
    }

    /// The addresses of a host. Dropping the future does not end the lookup.
    pub(crate) async fn resolve(&self, identity: &Identity, host: &HostName) -> io::Result<Vec<IpAddr>> {
        let mut answer = self.join(identity, host)?;
        let ended = || io::Error::other("the lookup ended without an answer");
        let answer = answer.wait_for(Option::is_some).await.map_err(|_| ended())?.clone();
        answer.ok_or_else(ended)?.map_err(io::Error::other)
    }

    /// Waits for the lookup of this host that is under way, or begins one on the account of this identity.
    fn join(&self, identity: &Identity, host: &HostName) -> io::Result<watch::Receiver<Option<Answer>>> {
        let mut under_way = lock(&self.under_way);
        if let Some(answer) = under_way.answers.get(host) {
            return Ok(answer.clone());
        }
        let too_many = || io::Error::new(io::ErrorKind::ResourceBusy, "too many lookups are under way");
        if under_way.counts.get(identity).is_some_and(|count| *count >= self.per_identity) {
            return Err(too_many());
        }
        let (sender, answer) = watch::channel(None);
        under_way.answers.insert(host.clone(), answer.clone());
        *under_way.counts.entry(identity.clone()).or_default() += 1;
        let (identity, host, under_way) = (identity.clone(), host.clone(), Arc::clone(&self.under_way));
        let lookup = Lookup { identity, host, under_way };
        let resolver = Arc::clone(&self.resolver);
        let places = Arc::clone(&self.places);
        tokio::spawn(async move {
            // In the order they came: those of one identity, however slow, are few.
            let place = places.acquire_owned().await;
            let resolved = resolver.resolve(&lookup.host).await.map_err(Arc::new);
            drop((lookup, place));
            sender.send_replace(Some(resolved));
        });
        Ok(answer)
    }
}

/// A lookup under way; dropped when it has ended, even by a panic.
struct Lookup {
    identity: Identity,
    host: HostName,
    under_way: Arc<Mutex<UnderWay>>,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut under_way = lock(&self.under_way);
        under_way.answers.remove(&self.host);
        if let Some(count) = under_way.counts.get_mut(&self.identity) {
            *count -= 1;
            if *count == 0 {
                under_way.counts.remove(&self.identity);
            }
        }
    }
}

fn lock(under_way: &Mutex<UnderWay>) -> MutexGuard<'_, UnderWay> {
    under_way.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
