use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::limits::Limits;
use crate::rates::{Bucket, PAUSE};
use crate::rule::Rate;

/// The connections of a port that have not said whose they are. All that is known of them is the address they come from, so that
/// is what shares are counted by: whoever floods the port pushes out its own connections, and waits for its own refusals.
pub(crate) struct Strangers {
    most: usize,
    waiting: Mutex<Waiting>,
    refusals: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// In the order they came.
    all: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// The place of one of them, given back when it is dropped.
pub(crate) struct Place {
    strangers: Arc<Strangers>,
    number: u64,
    /// Another needs the place.
    pub(crate) lost: CancellationToken,
}

impl Strangers {
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), waiting: Mutex::default(), refusals: Mutex::default() }
    }

    /// A place for one more. If there is none left, the oldest of the address that has the most loses its own.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Place {
        let mut waiting = self.waiting();
        if waiting.all.len() >= self.most {
            waiting.turn_away();
        }
        let (number, lost) = (waiting.next, CancellationToken::new());
        waiting.next += 1;
        waiting.all.insert(number, (peer, lost.clone()));
        Place { strangers: Arc::clone(self), number, lost }
    }

    /// Waits until somebody who comes from there may be refused once more.
    pub(crate) async fn slow_down(&self, peer: IpAddr, limits: &Limits) {
        let rate = Rate { count: limits.refusals_per_second, per: Duration::from_secs(1) };
        while !self.may_be_refused(peer, rate) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn may_be_refused(&self, peer: IpAddr, rate: Rate) -> bool {
        let mut refusals = self.refusals.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if refusals.len() >= MANY_ADDRESSES && !refusals.contains_key(&peer) {
            // One that is full again says no more than none.
            refusals.retain(|_, bucket| !bucket.is_full());
        }
        refusals.entry(peer).or_insert_with(|| Bucket::full(rate)).take()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Waiting {
    fn turn_away(&mut self) {
        let mut by_peer = HashMap::<IpAddr, usize>::new();
        for (peer, _) in self.all.values() {
            *by_peer.entry(*peer).or_default() += 1;
        }
        // Of those who have as many, the one that came first.
        let first = self.all.iter().min_by_key(|(number, (peer, _))| (std::cmp::Reverse(by_peer[peer]), **number));
        if let Some((_, lost)) = first.map(|(number, _)| *number).and_then(|number| self.all.remove(&number)) {
            lost.cancel();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.waiting().all.remove(&self.number);
    }
}

const MANY_ADDRESSES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_most_loses_the_oldest() {
        let strangers = Arc::new(Strangers::new(4));
        let [few, many] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let first = strangers.enter(few);
        let flood: Vec<_> = (0..10).map(|_| strangers.enter(many)).collect();
        let lost = |places: &[Place]| places.iter().map(|place| place.lost.is_cancelled()).collect::<Vec<_>>();
        assert!(!first.lost.is_cancelled());
        assert_eq!(lost(&flood), [[true; 7].as_slice(), &[false; 3]].concat());
        let second = strangers.enter(few);
        assert_eq!(lost(&flood[7..]), [true, false, false]);
        // As many from each: the one that came first.
        let third = strangers.enter(few);
        assert_eq!(([&first, &second, &third].map(|place| place.lost.is_cancelled())), [true, false, false]);
        drop((first, second, flood));
        let back: Vec<_> = (0..3).map(|_| strangers.enter(many)).collect();
        assert_eq!((lost(&back), third.lost.is_cancelled()), (vec![false; 3], false), "places are given back");
    }

    #[test]
    fn refusals_are_counted_by_address_and_forgotten() {
        let strangers = Strangers::new(1);
        let rate = Rate { count: 1, per: Duration::from_secs(3600) };
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        assert!(strangers.may_be_refused(address(1), rate) && !strangers.may_be_refused(address(1), rate));
        assert!(strangers.may_be_refused(address(2), rate), "another's");
        let soon = Rate { count: 1, per: Duration::from_nanos(1) };
        for number in 3..5000 {
            assert!(strangers.may_be_refused(address(number), soon));
        }
        assert!(strangers.refusals.lock().expect("nobody panicked").len() <= MANY_ADDRESSES);
        assert!(!strangers.may_be_refused(address(1), rate), "what is not full is kept");
    }
}
