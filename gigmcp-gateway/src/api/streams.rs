//! Who follows the audit trail or exports it now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::error::{ApiError, Code};
use crate::people::UserId;

/// How many streams each person has.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<HashMap<UserId, usize>>);

/// One of them; over when dropped.
#[derive(Debug)]
pub(crate) struct Streaming {
    all: Arc<Streams>,
    who: UserId,
}

impl Streams {
    pub(super) fn begin(self: &Arc<Self>, who: &UserId, audits: bool) -> Result<Streaming, ApiError> {
        let full = |text: &str| Err(ApiError::new(Code::Unavailable, text));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(who).is_some_and(|count| *count >= MAX_OF_ONE) {
            return full("you follow the audit trail too often already; end one of the streams");
        }
        let max = if audits { MAX } else { MAX - KEPT_FOR_AUDITORS };
        if all.values().sum::<usize>() >= max {
            return full("too many follow the audit trail; try again later");
        }
        *all.entry(who.clone()).or_default() += 1;
        Ok(Streaming { all: Arc::clone(self), who: who.clone() })
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.who);
            }
        }
    }
}

const MAX: usize = 32;
const MAX_OF_ONE: usize = 4;
const KEPT_FOR_AUDITORS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places_and_auditors_have_some() {
        let streams = Arc::new(Streams::default());
        let who = |number: usize| format!("user-{number}").parse::<UserId>().expect("an id");
        let mut held = Vec::new();
        for _ in 0..MAX_OF_ONE {
            held.push(streams.begin(&who(0), true).expect("there is room"));
        }
        assert!(streams.begin(&who(0), true).is_err(), "one person has so many");
        for number in MAX_OF_ONE..MAX - KEPT_FOR_AUDITORS {
            held.push(streams.begin(&who(number), false).expect("twin: others"));
        }
        assert!(streams.begin(&who(100), false).is_err(), "what is left is for auditors");
        held.push(streams.begin(&who(101), true).expect("twin: an auditor"));
        held.truncate(1);
        assert!(streams.begin(&who(100), false).is_ok(), "twin: a place that was given up");
        held.clear();
        assert!(streams.0.lock().expect("nobody panicked").is_empty(), "nobody is kept who has none");
    }
}
