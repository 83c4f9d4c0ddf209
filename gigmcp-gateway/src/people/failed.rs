//! Proofs that were none: tokens, keys, sessions and codes that let nobody in leave a trace, and a flood of them does not fill the
//! trail.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Origin,
    record::{self, Kind},
};
use crate::store::Store;

/// What somebody came with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Shown {
    Session,
    ApiKey,
    ProfileToken,
    /// Of an invitation, or for another password.
    Code,
    /// The password or the code once more, in a session.
    Confirmation,
    /// What a browser brought back from the provider, begun in no browser or in another.
    Flow,
}

impl Shown {
    const ALL: [Self; 6] =
        [Self::Session, Self::ApiKey, Self::ProfileToken, Self::Code, Self::Confirmation, Self::Flow];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::ApiKey => "api-key",
            Self::ProfileToken => "profile-token",
            Self::Code => "code",
            Self::Confirmation => "confirmation",
            Self::Flow => "provider-flow",
        }
    }
}

/// Those that were refused: each is counted, and the first of a kind and a source in a minute has a row.
///
/// A slot is found by a keyed hash; who shares one by chance shares its row.
pub(crate) struct Failed {
    store: Store,
    hasher: RandomState,
    slots: Mutex<Box<[Option<Slot>]>>,
    counts: [AtomicU64; Shown::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    told: Instant,
    /// Since then, without a row.
    more: u64,
}

impl Failed {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            hasher: RandomState::new(),
            slots: Mutex::new(vec![None; SLOTS].into()),
            counts: Default::default(),
        }
    }

    /// Notes one. Nobody waits for it.
    pub(crate) fn note(&self, proof: Shown, about: &str, origin: &Origin) {
        self.counts[proof as usize].fetch_add(1, Ordering::Relaxed);
        let Some(more) = self.is_to_be_told(proof, origin) else { return };
        let more = if more > 0 { format!(", after {more} more") } else { String::new() };
        let subject = format!("{} from {}{more}", proof.as_str(), origin.address);
        self.store.add_audit_later(record::of(Kind::Proof, about, subject, "refused"));
    }

    /// How many of each there were since the program began.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Shown::ALL.into_iter().map(|proof| (proof.as_str(), self.counts[proof as usize].load(Ordering::Relaxed)))
    }

    /// If it is: how many were not, since the last that was.
    fn is_to_be_told(&self, proof: Shown, origin: &Origin) -> Option<u64> {
        let now = Instant::now();
        let place = self.hasher.hash_one((proof, origin.source())) % SLOTS as u64;
        let place = usize::try_from(place).expect("it is less than a usize");
        let slot = &mut self.slots.lock().unwrap_or_else(PoisonError::into_inner)[place];
        match slot {
            Some(slot) if now < slot.told + EVERY => {
                slot.more += 1;
                None
            }
            slot => slot.replace(Slot { told: now, more: 0 }).map_or(Some(0), |before| Some(before.more)),
        }
    }
}

/// 4,096 of 24 bytes.
const SLOTS: usize = 1 << 12;
const EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_source_has_a_row_a_minute_and_all_are_counted() {
        let (store, _directory) = Store::open_for_test();
        let failed = Failed::new(store);
        let from = |last: u8| Origin::new(std::net::IpAddr::from([192, 0, 2, last]), "");
        let note = |proof, last| failed.is_to_be_told(proof, &from(last));
        assert_eq!(note(Shown::ApiKey, 1), Some(0));
        for _ in 0..1000 {
            assert_eq!(note(Shown::ApiKey, 1), None, "a flood");
        }
        tokio::time::advance(EVERY).await;
        assert_eq!(note(Shown::ApiKey, 1), Some(1000), "what the flood was");
        failed.note(Shown::Code, "", &from(9));
        assert_eq!(failed.counted().find(|(_, count)| *count > 0), Some(("code", 1)));
    }
}
