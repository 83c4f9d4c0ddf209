//! The tasks that are not over: whose each is, and what it has asked for.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{
    Task,
    shares::{Owner, Shares},
};
use crate::{aggregator::identity::ProcessId, message::RpcError, name::ServerId, object::Members, upstream::CallId};

/// The tasks that are not over, of all aggregators over the same servers: a process does not know which of them it works for.
#[derive(Debug)]
pub(in crate::aggregator) struct Ledger(Mutex<Known>);

#[derive(Debug)]
struct Known {
    tasks: HashMap<ServerId, HashMap<Own, Entry>>,
    shares: Shares<ServerId>,
}

/// A process of a server, and the server's own id: servers have other places in other aggregators.
type Own = (ProcessId, Box<str>);

#[derive(Debug)]
struct Entry {
    owner: Owner,
    call: CallId,
    until: Instant,
    /// How many samplings its call has asked for before it was a task.
    before: usize,
    /// And those that it has asked for itself, by digest.
    samplings: HashSet<[u8; 32]>,
}

/// A task as it begins.
pub(in crate::aggregator) struct Begun {
    pub(in crate::aggregator) owner: Owner,
    /// The call that it was.
    pub(in crate::aggregator) call: CallId,
    /// How long it is kept account of, at most.
    pub(in crate::aggregator) longest: Duration,
    /// How many samplings the call has asked for.
    pub(in crate::aggregator) samplings: usize,
}

impl Default for Ledger {
    fn default() -> Self {
        Self(Mutex::new(Known { tasks: HashMap::new(), shares: Shares::new(MAX_TASKS) }))
    }
}

impl Ledger {
    /// A task begins. Of more than there is room for no account is kept, and they ask for no sampling.
    ///
    /// # Errors
    /// If there is one of this id that is not over: whoever has that one would be shown what is told of this one.
    pub(in crate::aggregator) fn begins(&self, server: &ServerId, task: &Task, begun: Begun) -> Result<(), RpcError> {
        let mut known = self.lock();
        known.forget_late(server);
        let Known { tasks, shares } = &mut *known;
        let tasks = tasks.entry(server.clone()).or_default();
        if tasks.contains_key(&task.own()) {
            return Err(RpcError::new(RpcError::INTERNAL_ERROR, "the server made a task under the id of another"));
        }
        if shares.take(server, &begun.owner) {
            let Begun { owner, call, longest, samplings: before } = begun;
            let entry = Entry { owner, call, until: Instant::now() + longest, before, samplings: HashSet::new() };
            tasks.insert(task.own(), entry);
        }
        Ok(())
    }

    /// Whether this is the task that this call was, as far as is known: a server may give an id to another once the first is over.
    pub(in crate::aggregator) fn is_of(&self, server: &ServerId, task: &Task, call: CallId) -> bool {
        let known = self.lock();
        known.tasks.get(server).and_then(|tasks| tasks.get(&task.own())).is_none_or(|entry| entry.call == call)
    }

    /// It is over.
    pub(in crate::aggregator) fn ends(&self, server: &ServerId, task: &Task) {
        self.lock().remove(server, &task.own());
    }

    /// A task asks for no more samplings in all its life than a call may, those of its call included; once it is over, for
    /// none.
    pub(in crate::aggregator) fn asks(
        &self,
        server: &ServerId,
        task: &Task,
        told: &RawValue,
        most: usize,
    ) -> Result<(), RpcError> {
        let samplings = samplings(told);
        if samplings.is_empty() {
            return Ok(());
        }
        let refused = |text| Err(RpcError::new(RpcError::INVALID_PARAMS, text));
        let mut known = self.lock();
        let entry = known.tasks.get_mut(server).and_then(|tasks| tasks.get_mut(&task.own()));
        let Some(entry) = entry.filter(|entry| entry.until > Instant::now()) else {
            return refused("the task is over, or one of too many, and asks for samplings");
        };
        let new = samplings.iter().filter(|sampling| !entry.samplings.contains(*sampling)).count();
        if entry.before + entry.samplings.len() + new > most {
            return refused("the task has asked for too many samplings");
        }
        entry.samplings.extend(samplings);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remove(&mut self, server: &ServerId, task: &Own) {
        let Some(tasks) = self.tasks.get_mut(server) else { return };
        if let Some(entry) = tasks.remove(task) {
            self.shares.give_back(server, &entry.owner);
        }
        if tasks.is_empty() {
            self.tasks.remove(server);
        }
    }

    /// Those whose end was never told.
    fn forget_late(&mut self, server: &ServerId) {
        let now = Instant::now();
        let Some(tasks) = self.tasks.get(server) else { return };
        let late: Vec<Own> =
            tasks.iter().filter(|(_, entry)| entry.until <= now).map(|(task, _)| task.clone()).collect();
        late.iter().for_each(|task| self.remove(server, task));
    }
}

/// The samplings that are asked for, each once: the same question may be told again.
fn samplings(told: &RawValue) -> HashSet<[u8; 32]> {
    let members = Members::of(told).ok();
    let Some(requests) = members.and_then(|members| Members::of(members.value("inputRequests")?).ok()) else {
        return HashSet::new();
    };
    let samplings = requests.iter().filter(|(_, request)| {
        let method = Members::of(request).ok().and_then(|request| request.string("method").map(String::from));
        method.as_deref() == Some("sampling/createMessage")
    });
    samplings.map(|(key, request)| Sha256::digest(format!("{key}\0{request}")).into()).collect()
}

/// Of one server.
const MAX_TASKS: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use std::sync::Arc;

    use super::*;

    fn task(id: usize) -> Task {
        Task { server: 0, process: ProcessId::named("p"), id: id.to_string().into() }
    }

    fn begun(owner: &str, samplings: usize) -> Begun {
        let longest = Duration::from_secs(60);
        Begun { owner: Some(Arc::from(owner)), call: CallId::next(), longest, samplings }
    }

    fn asking(names: &[&str]) -> Box<RawValue> {
        let all = names.iter().map(|name| format!(r#""{name}":{{"method":"sampling/createMessage"}}"#));
        let all: Vec<_> = all.collect();
        RawValue::from_string(format!(r#"{{"inputRequests":{{{}}}}}"#, all.join(","))).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_asks_for_few_samplings_together_with_its_call_and_for_none_when_it_is_over() {
        let (ledger, s) = (Ledger::default(), "s".parse::<ServerId>().unwrap());
        let asks = |id: usize, names: &[&str]| ledger.asks(&s, &task(id), &asking(names), 2).is_ok();
        ledger.begins(&s, &task(1), begun("a", 0)).unwrap();
        assert_eq!(
            [&["a"][..], &["a", "b"], &["a"], &["b", "c"], &["b"]].map(|it| asks(1, it)),
            [true, true, true, false, true]
        );
        ledger.begins(&s, &task(2), begun("a", 1)).unwrap();
        assert_eq!([&["a"][..], &["b"]].map(|it| asks(2, it)), [true, false], "one was asked for by the call");
        ledger.ends(&s, &task(1));
        assert!(!asks(1, &["a"]), "it is over");
        assert!(asks(2, &["a"]), "twin: the other is not");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(!asks(2, &["a"]), "nor is one that has gone on for too long kept account of");
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_is_of_one_task_until_it_is_over_and_of_its_call_only() {
        let (ledger, s) = (Ledger::default(), "s".parse::<ServerId>().unwrap());
        let (first, second) = (begun("a", 0), begun("b", 0));
        let (one, two) = (first.call, second.call);
        ledger.begins(&s, &task(1), first).unwrap();
        assert!(ledger.begins(&s, &task(1), begun("b", 0)).is_err(), "it is another's");
        assert!(ledger.begins(&"t".parse().unwrap(), &task(1), begun("b", 0)).is_ok(), "twin: of another server");
        assert!(ledger.is_of(&s, &task(1), one) && !ledger.is_of(&s, &task(1), two));
        ledger.ends(&s, &task(1));
        ledger.begins(&s, &task(1), second).unwrap();
        assert!(ledger.is_of(&s, &task(1), two) && !ledger.is_of(&s, &task(1), one));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(ledger.begins(&s, &task(1), begun("b", 0)).is_ok(), "its end was never told");
    }

    #[tokio::test(start_paused = true)]
    async fn one_owner_leaves_room_for_others() {
        let (ledger, s) = (Ledger::default(), "s".parse::<ServerId>().unwrap());
        (0..2 * MAX_TASKS).for_each(|id| ledger.begins(&s, &task(id), begun("a", 0)).unwrap());
        let asks = |id: usize| ledger.asks(&s, &task(id), &asking(&["a"]), 1).is_ok();
        assert!(asks(0) && !asks(MAX_TASKS), "of its last ones no account is kept");
        ledger.begins(&s, &task(5 * MAX_TASKS), begun("b", 0)).unwrap();
        assert!(asks(5 * MAX_TASKS), "another's is");
        tokio::time::advance(Duration::from_secs(61)).await;
        ledger.begins(&s, &task(1), begun("a", 0)).unwrap();
        assert_eq!(ledger.lock().tasks[&s].len(), 1, "those are forgotten whose time is over");
    }
}
