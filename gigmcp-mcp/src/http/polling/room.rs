//! How much all sessions together keep for clients that lose a connection.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::time::{Duration, Instant};

use super::{Lines, Principal};

/// Bounds what is kept of streams: in bytes of all, in bytes of each principal, and in time from the end of a stream on.
#[derive(Debug)]
pub(in crate::http) struct Room {
    max_bytes: usize,
    stay: Duration,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    bytes: usize,
    principals: HashMap<Principal, Share>,
    /// Streams that have ended, the oldest first.
    over: BTreeMap<u64, Over>,
    last: u64,
}

#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    over: BTreeSet<u64>,
}

/// Where a stream that has ended is kept, and until when.
#[derive(Debug)]
struct Over {
    principal: Principal,
    until: Instant,
    lines: Weak<Lines>,
    id: u64,
}

/// What one stream takes up; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    principal: Principal,
    bytes: usize,
    over: Option<u64>,
}

impl Room {
    pub(in crate::http) fn new(max_bytes: usize, stay: Duration) -> Arc<Self> {
        Arc::new(Self { max_bytes, stay, table: Mutex::default() })
    }

    pub(super) fn enter(self: &Arc<Self>, principal: &Principal) -> Place {
        let mut place = Place { room: Arc::clone(self), principal: principal.clone(), bytes: 0, over: None };
        place.grow(STREAM_BYTES);
        place
    }

    /// Bytes that are kept now.
    pub(in crate::http) fn bytes(&self) -> usize {
        self.sweep();
        self.lock().bytes
    }

    /// Forgets what was kept long enough.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.forget_while(|table| {
            table.over.first_key_value().filter(|(_, over)| over.until <= now).map(|(at, _)| *at)
        });
    }

    /// Forgets streams that have ended until there is room for a principal's: its own, if it has more than its part; then
    /// anybody's. Whether there is.
    pub(super) fn make_room(&self, principal: &Principal) -> bool {
        self.sweep();
        self.forget_while(|table| match table.principals.get(principal) {
            Some(share) if share.bytes > self.max_bytes / PART => share.over.first().copied(),
            _ if table.bytes > self.max_bytes => table.over.first_key_value().map(|(at, _)| *at),
            _ => None,
        });
        let table = self.lock();
        let own = table.principals.get(principal).map_or(0, |share| share.bytes);
        own <= self.max_bytes / PART && table.bytes <= self.max_bytes
    }

    /// A stream is forgotten without the table's lock, because it gives its place back itself.
    fn forget_while(&self, next: impl Fn(&Table) -> Option<u64>) {
        loop {
            let mut table = self.lock();
            let Some(over) = next(&table).and_then(|at| table.remove(at)) else { return };
            drop(table);
            if let Some(lines) = over.lines.upgrade() {
                lines.forget(over.id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, at: u64) -> Option<Over> {
        let over = self.over.remove(&at)?;
        if let Some(share) = self.principals.get_mut(&over.principal) {
            share.over.remove(&at);
        }
        Some(over)
    }

    fn give_back(&mut self, principal: &Principal, bytes: usize) {
        self.bytes -= bytes;
        if let Some(share) = self.principals.get_mut(principal) {
            share.bytes -= bytes;
            if share.bytes == 0 && share.over.is_empty() {
                self.principals.remove(principal);
            }
        }
    }
}

impl Place {
    pub(super) fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        let mut table = self.room.lock();
        table.bytes += bytes;
        match table.principals.get_mut(&self.principal) {
            Some(share) => share.bytes += bytes,
            None => drop(table.principals.insert(self.principal.clone(), Share { bytes, over: BTreeSet::new() })),
        }
    }

    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.room.lock().give_back(&self.principal, bytes);
    }

    /// The stream has ended: from now on its time runs, and it makes room for others.
    pub(super) fn is_over(&mut self, lines: Weak<Lines>, id: u64) {
        let until = Instant::now() + self.room.stay;
        let mut table = self.room.lock();
        table.last += 1;
        let at = table.last;
        table.over.insert(at, Over { principal: self.principal.clone(), until, lines, id });
        if let Some(share) = table.principals.get_mut(&self.principal) {
            share.over.insert(at);
        }
        self.over = Some(at);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.room.lock();
        if let Some(at) = self.over {
            table.remove(at);
        }
        table.give_back(&self.principal, self.bytes);
    }
}

/// What a stream takes up beside what was told on it.
const STREAM_BYTES: usize = 1 << 10;
/// A principal may have this part of the room to itself.
const PART: usize = 4;
