//! Calls that wait for their client to come back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::{sync::oneshot, time::Instant};

use super::call::{Begun, Resumed};
use crate::{
    attended::Attended,
    http::{
        Principal, StreamableHttpLimits,
        dispatch::too_many_wait,
        shares::{Shares, Taken},
    },
    message::{Request, RpcError},
    object::Members,
    seal::{MAX_TOKEN_BYTES, STATE, Sealer},
    upstream::{Outcome, Upstream},
};

/// The calls that are parked: each is taken at most once, by who made it, for the same request.
#[derive(Debug)]
pub(in crate::http) struct Parking {
    sealer: Sealer,
    table: Mutex<Table>,
    shares: Arc<Shares>,
    pub(super) limits: StreamableHttpLimits,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    parked: HashMap<u64, Parked>,
}

#[derive(Debug)]
struct Parked {
    principal: Principal,
    resume: oneshot::Sender<Resumed>,
}

/// What a state stands for.
enum State {
    /// A call that is parked here.
    Parked(u64),
    /// The state of a server that keeps none of ours, if it has any, and what the call has asked for until then.
    Server(Option<Box<RawValue>>, SoFar),
}

/// What a call has asked its client for at all its attempts: each is a request of its own, and only the client goes from one to
/// the next.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct SoFar {
    /// Samplings.
    pub(super) samplings: usize,
    /// How often its client had to come back, whatever for.
    pub(super) rounds: usize,
}

/// What a token says.
#[derive(Deserialize, Serialize)]
struct Said {
    until: u64,
    parked: Option<u64>,
    /// As written.
    server: Option<String>,
    so_far: SoFar,
}

impl Parking {
    pub(in crate::http) fn new(limits: StreamableHttpLimits, shares: &Arc<Shares>) -> Arc<Self> {
        Arc::new(Self { sealer: Sealer::new(), table: Mutex::default(), shares: Arc::clone(shares), limits })
    }

    /// Room for what waits until its client comes back; none if it has too much that waits.
    pub(super) fn room(&self, principal: &Principal, bytes: usize) -> Option<Taken> {
        self.shares.answer(principal, bytes)
    }

    /// An outcome that waits until its client comes back, with the room that it takes; an error, if there is none.
    pub(super) fn keep(&self, principal: &Principal, outcome: Outcome) -> (Outcome, Option<Taken>) {
        let bytes = match &outcome {
            Outcome::Complete(json) | Outcome::InputRequired(json) | Outcome::Task(json) | Outcome::Error(json) => {
                json.get().len()
            }
            Outcome::Failed(_) => 0,
        };
        let room = self.room(principal, bytes);
        (if room.is_some() { outcome } else { Outcome::refused(&too_many_wait()) }, room)
    }

    /// Begins a call, or goes on with one that was parked, which is attended to already.
    pub(in crate::http) fn begin<U: Upstream + ?Sized + 'static>(
        self: &Arc<Self>,
        upstream: &Arc<U>,
        mut begun: Begun,
    ) -> Result<Option<Attended>, RpcError> {
        let unknown = || RpcError::new(RpcError::INVALID_PARAMS, STATE);
        let Some(token) = begun.checked.state.take() else {
            return Ok(Some(begun.start(upstream, self, SoFar::default())));
        };
        match self.open(&begun.principal, &begun.request.method, &begun.checked.params, &token).ok_or_else(unknown)? {
            State::Server(state, so_far) => {
                begun.checked.context.state = state;
                Ok(Some(begun.start(upstream, self, so_far)))
            }
            State::Parked(id) => {
                let parked = self.lock().parked.remove(&id).ok_or_else(unknown)?;
                parked.resume.send(begun.into_resumed()).map_err(|_| unknown())?;
                Ok(None)
            }
        }
    }

    /// Parks a call: a token for the client, and where it comes back. Nothing if too many are.
    pub(super) fn park(
        &self,
        principal: &Principal,
        request: &Request,
        params: &RawValue,
    ) -> Option<(Ticket<'_>, String, oneshot::Receiver<Resumed>)> {
        let (resume, resumed) = oneshot::channel();
        let mut table = self.lock();
        let of_principal = table.parked.values().filter(|parked| parked.principal == *principal).count();
        if of_principal >= self.limits.max_parked_per_principal {
            return None;
        }
        if table.parked.len() >= self.limits.max_parked {
            table.take_of_more_than(of_principal + 1)?;
        }
        table.last += 1;
        let id = table.last;
        table.parked.insert(id, Parked { principal: principal.clone(), resume });
        drop(table);
        let token = self.seal(principal, &request.method, params, (Some(id), None, SoFar::default()));
        Some((Ticket { parking: self, id }, token, resumed))
    }

    /// A token for the state of a server, and for what its call has asked for; none if it would be longer than what is taken
    /// back.
    pub(super) fn server_state(
        &self,
        principal: &Principal,
        request: &Request,
        params: &RawValue,
        (state, so_far): (Option<&RawValue>, SoFar),
    ) -> Option<String> {
        let token =
            self.seal(principal, &request.method, params, (None, state.map(|state| state.get().to_owned()), so_far));
        (token.len() <= MAX_TOKEN_BYTES).then_some(token)
    }

    fn seal(
        &self,
        principal: &Principal,
        method: &str,
        params: &RawValue,
        (parked, server, so_far): (Option<u64>, Option<String>, SoFar),
    ) -> String {
        let expires = (started().elapsed() + self.limits.parked_for).as_millis();
        let said = Said { until: u64::try_from(expires).unwrap_or(u64::MAX), parked, server, so_far };
        let plain = serde_json::to_vec(&said).expect("numbers and what was read are JSON");
        let digest = digest(params);
        self.sealer.seal(&["state", principal.as_str(), method, &digest], &plain)
    }

    /// What a token stands for, if it is this principal's, for this request, and not too old.
    fn open(&self, principal: &Principal, method: &str, params: &RawValue, token: &str) -> Option<State> {
        let digest = digest(params);
        let plain = self.sealer.open(&["state", principal.as_str(), method, &digest], token)?;
        let Said { until, parked, server, so_far } = serde_json::from_slice(&plain).ok()?;
        if started().elapsed() > Duration::from_millis(until) {
            return None;
        }
        let server = server.map(RawValue::from_string).transpose().ok()?;
        Some(parked.map_or(State::Server(server, so_far), State::Parked))
    }

    pub(in crate::http) fn len(&self) -> usize {
        self.lock().parked.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Gives up the oldest call of whoever has most, if that is more than this: who has few leaves none of theirs to who has many.
    fn take_of_more_than(&mut self, count: usize) -> Option<Parked> {
        let mut counts: HashMap<&Principal, usize> = HashMap::new();
        self.parked.values().for_each(|parked| *counts.entry(&parked.principal).or_default() += 1);
        let most = counts.values().copied().max().filter(|most| *most > count)?;
        let of_most = self.parked.iter().filter(|(_, parked)| counts[&parked.principal] == most);
        let oldest = of_most.map(|(id, _)| *id).min()?;
        self.parked.remove(&oldest)
    }
}

/// A call's place among the parked, given up when dropped.
pub(super) struct Ticket<'a> {
    parking: &'a Parking,
    id: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.parking.lock().parked.remove(&self.id);
    }
}

/// What of the parameters makes a request the same: all but what may change from one attempt to the next.
fn digest(params: &RawValue) -> String {
    let mut digest = Sha256::new();
    if let Ok(members) = Members::of(params) {
        for name in ["name", "uri", "arguments"] {
            let text = members.value(name).map_or("", RawValue::get);
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
    }
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A clock that nobody sets.
fn started() -> Instant {
    static STARTED: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *STARTED.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[tokio::test]
    async fn who_has_parked_few_calls_finds_room_beside_who_has_parked_many() {
        let limits =
            StreamableHttpLimits { max_parked: 3, max_parked_per_principal: 3, ..StreamableHttpLimits::default() };
        let parking = Parking::new(limits, &Shares::new(limits));
        let request = Request { id: 1.into(), method: "tools/call".into(), params: None };
        let park = |name: &str| parking.park(&Principal::new(name), &request, RawValue::NULL);
        let mut many: Vec<_> = (0..3).map(|_| park("many").unwrap()).collect();
        assert!(park("many").is_none(), "they are all its own");
        let few = park("few").unwrap();
        assert!(many[0].2.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(many[1].2.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty), "twin");
        let other = park("few");
        assert!(other.is_none(), "twin: the other has no more than that then");
        drop((few, many));
        assert_eq!(parking.len(), 0);
    }
}
