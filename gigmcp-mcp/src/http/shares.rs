//! How much of the endpoint each principal takes up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Principal, StreamableHttpLimits};

/// What principals have under way. One that takes all it can get leaves the others theirs.
#[derive(Debug)]
pub(super) struct Shares {
    table: Mutex<HashMap<Principal, Share>>,
    limits: StreamableHttpLimits,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Share {
    requests: usize,
    bytes: usize,
    listeners: usize,
    /// Bytes of what it is subscribed to.
    subscribed: usize,
    /// Bytes of answers that wait for something else than the connection.
    answers: usize,
    /// Bytes of answers that were given and not read yet.
    unread: usize,
}

impl Shares {
    pub(super) fn new(limits: StreamableHttpLimits) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), limits })
    }

    /// A place for a request of this length, given back when dropped; none if this principal has too much under way. A request
    /// alone may be longer than all together.
    pub(super) fn request(self: &Arc<Self>, principal: &Principal, bytes: usize) -> Option<Taken> {
        let limits = &self.limits;
        self.take(principal, Share { requests: 1, bytes, ..Share::default() }, |taken| {
            taken.requests < limits.max_in_flight_per_principal
                && (taken.bytes == 0 || taken.bytes.saturating_add(bytes) <= limits.max_bytes_per_principal)
        })
    }

    /// A place for a stream that goes on.
    pub(super) fn listener(self: &Arc<Self>, principal: &Principal) -> Option<Taken> {
        let max = self.limits.max_listeners_per_principal;
        self.take(principal, Share { listeners: 1, ..Share::default() }, |taken| taken.listeners < max)
    }

    /// Room for the texts that say what a client is subscribed to, in one of its sessions or without one.
    pub(super) fn subscribed<'a>(
        self: &Arc<Self>,
        principal: &Principal,
        texts: impl IntoIterator<Item = &'a String>,
    ) -> Option<Taken> {
        let subscribed = texts.into_iter().map(|text| text.len() + BESIDE_A_TEXT).sum();
        let max = self.limits.max_subscribed_bytes_per_principal;
        self.take(principal, Share { subscribed, ..Share::default() }, |taken| taken.subscribed + subscribed <= max)
    }

    /// Room for an answer that waits, in a batch for the others or for a client that has to come back, and for what is told before
    /// one and was not read.
    pub(super) fn answer(self: &Arc<Self>, principal: &Principal, answers: usize) -> Option<Taken> {
        let max = self.limits.max_waiting_answer_bytes_per_principal;
        self.take(principal, Share { answers, ..Share::default() }, |taken| {
            taken.answers.saturating_add(answers) <= max
        })
    }

    /// Room for an answer until it was read. One alone may be longer than all together.
    pub(super) fn unread(self: &Arc<Self>, principal: &Principal, unread: usize) -> Option<Taken> {
        let max = self.limits.max_unread_answer_bytes_per_principal;
        self.take(principal, Share { unread, ..Share::default() }, |taken| {
            taken.unread == 0 || taken.unread.saturating_add(unread) <= max
        })
    }

    fn take(
        self: &Arc<Self>,
        principal: &Principal,
        part: Share,
        has_room: impl FnOnce(&Share) -> bool,
    ) -> Option<Taken> {
        let mut table = self.lock();
        let taken = table.get(principal).copied().unwrap_or_default();
        if !has_room(&taken) {
            return None;
        }
        let more = Share {
            requests: taken.requests + part.requests,
            bytes: taken.bytes + part.bytes,
            listeners: taken.listeners + part.listeners,
            subscribed: taken.subscribed + part.subscribed,
            answers: taken.answers + part.answers,
            unread: taken.unread + part.unread,
        };
        match table.get_mut(principal) {
            Some(share) => *share = more,
            None => drop(table.insert(principal.clone(), more)),
        }
        drop(table);
        Some(Taken { shares: Arc::clone(self), principal: principal.clone(), part })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Principal, Share>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one principal has not read yet of what its calls tell it.
#[derive(Clone, Debug)]
pub(super) struct Unread {
    shares: Arc<Shares>,
    principal: Principal,
}

impl Unread {
    pub(super) fn new(shares: &Arc<Shares>, principal: &Principal) -> Self {
        Self { shares: Arc::clone(shares), principal: principal.clone() }
    }

    /// Room for what is told before an answer.
    pub(super) fn told(&self, bytes: usize) -> Option<Taken> {
        self.shares.answer(&self.principal, bytes)
    }

    /// Room for an answer.
    pub(super) fn answer(&self, bytes: usize) -> Option<Taken> {
        self.shares.unread(&self.principal, bytes)
    }
}

/// Part of a principal's share.
#[derive(Debug)]
pub(super) struct Taken {
    shares: Arc<Shares>,
    principal: Principal,
    part: Share,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut table = self.shares.lock();
        let Some(share) = table.get_mut(&self.principal) else { return };
        share.requests -= self.part.requests;
        share.bytes -= self.part.bytes;
        share.listeners -= self.part.listeners;
        share.subscribed -= self.part.subscribed;
        share.answers -= self.part.answers;
        share.unread -= self.part.unread;
        if *share == Share::default() {
            table.remove(&self.principal);
        }
    }
}

/// What is kept with each text, here and of each profile, where there is room for so many subscriptions of all together: nobody
/// has the bytes to take them all.
const BESIDE_A_TEXT: usize = 2 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again_and_leaves_nothing() {
        let limits = StreamableHttpLimits {
            max_in_flight_per_principal: 2,
            max_bytes_per_principal: 10,
            max_listeners_per_principal: 1,
            max_subscribed_bytes_per_principal: 2 * BESIDE_A_TEXT + 10,
            max_waiting_answer_bytes_per_principal: 10,
            ..StreamableHttpLimits::default()
        };
        let (shares, one, two) = (Shares::new(limits), Principal::new("one"), Principal::new("two"));
        let first = shares.request(&one, 6).unwrap();
        assert!(shares.request(&one, 5).is_none(), "too many bytes");
        let second = shares.request(&one, 4).unwrap();
        assert!(shares.request(&one, 0).is_none(), "too many");
        let listener = shares.listener(&one).unwrap();
        assert!(shares.listener(&one).is_none());
        let texts = |text: &str| [text.to_owned(), text.to_owned()];
        let subscribed = shares.subscribed(&one, &texts("12345")).unwrap();
        assert!(shares.subscribed(&one, [&String::new()]).is_none());
        assert!(shares.subscribed(&two, &texts("123456")).is_none());
        let others = (shares.request(&two, 9).unwrap(), shares.listener(&two).unwrap());
        let answers = (shares.answer(&one, 10).unwrap(), shares.answer(&two, 10).unwrap());
        assert!(shares.answer(&one, 1).is_none());
        drop(first);
        let alone = shares.request(&one, 6).unwrap();
        drop((second, alone, listener, others, subscribed, answers));
        assert!(shares.lock().is_empty());
        assert!(shares.request(&one, 1000).is_some(), "alone it may be longer");
    }

    #[test]
    fn one_principal_leaves_most_subscriptions_of_a_profile_to_others() {
        let shares = Shares::new(StreamableHttpLimits::default());
        let (one, text) = (Principal::new("one"), "a:1".to_owned());
        let taken: Vec<_> = std::iter::from_fn(|| shares.subscribed(&one, [&text])).collect();
        assert!((1000..2500).contains(&taken.len()), "{} of 10,000", taken.len());
        assert!(shares.subscribed(&Principal::new("two"), [&text]).is_some(), "twin: another's are not used up");
    }
}
