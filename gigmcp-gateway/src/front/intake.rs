//! Which connections are taken: a bounded number, of all and of one address.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use super::{Limits, Proxies, Stats};
use crate::people::Origin;

/// The listener, and the places behind it.
pub(crate) struct Intake {
    listener: TcpListener,
    places: Arc<Semaphore>,
    of_address: Arc<OfAddress>,
    max_of_address: usize,
    proxies: Proxies,
    /// Told when there is no place: connections on which nothing happens make room.
    full: watch::Sender<Option<Instant>>,
    stats: Arc<Stats>,
}

/// How many places each address has.
#[derive(Debug, Default)]
struct OfAddress(Mutex<HashMap<[u8; 8], usize>>);

/// A connection that was taken.
pub(crate) struct Arrived {
    pub(crate) stream: TcpStream,
    pub(super) address: IpAddr,
    pub(super) full: watch::Receiver<Option<Instant>>,
    pub(super) _place: Place,
}

/// Given back when dropped.
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    of_address: Option<(Arc<OfAddress>, [u8; 8])>,
}

impl Intake {
    /// Takes connections of this listener.
    pub(crate) fn new(listener: TcpListener, limits: &Limits, proxies: Proxies, stats: Arc<Stats>) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS))),
            of_address: Arc::default(),
            max_of_address: limits.max_connections_per_address,
            proxies,
            full: watch::Sender::new(None),
            stats,
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection, once there is a place for it. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&self) -> Arrived {
        let mut of_all = self.place().await;
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match self.seat(address.ip().to_canonical(), of_all) {
                    Ok((address, place)) => {
                        return Arrived { stream, address, full: self.full.subscribe(), _place: place };
                    }
                    Err(unused) => {
                        self.stats.turned_away();
                        of_all = unused;
                    }
                },
                Err(error) => {
                    // Out of descriptors, most likely. Waiting for a connection to end is all one can do.
                    tracing::warn!("cannot accept a connection: {error}");
                    self.full.send_replace(Some(Instant::now()));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return place;
        }
        let mut waited = tokio::time::interval(PRESSURE);
        let place = Arc::clone(&self.places).acquire_owned();
        tokio::pin!(place);
        loop {
            tokio::select! {
                place = &mut place => return place.expect("the semaphore is never closed"),
                now = waited.tick() => drop(self.full.send_replace(Some(now))),
            }
        }
    }

    /// A place of that address, or the place back.
    fn seat(&self, address: IpAddr, of_all: OwnedSemaphorePermit) -> Result<(IpAddr, Place), OwnedSemaphorePermit> {
        // A proxy brings the clients of many addresses.
        if self.proxies.trusts(address) {
            return Ok((address, Place { _of_all: of_all, of_address: None }));
        }
        let source = Origin::new(address, "").source();
        let mut taken = self.of_address.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(source).or_default();
        if *count >= self.max_of_address {
            return Err(of_all);
        }
        *count += 1;
        Ok((address, Place { _of_all: of_all, of_address: Some((Arc::clone(&self.of_address), source)) }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((of_address, source)) = &self.of_address else { return };
        let mut taken = of_address.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(source);
            }
        }
    }
}

/// How often those who could make room are told that it is needed.
const PRESSURE: Duration = Duration::from_secs(1);
