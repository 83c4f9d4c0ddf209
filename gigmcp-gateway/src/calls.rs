//! Which tool calls were under way in an instance at a moment, so that what its server did then can be told with them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use gigmcp_mcp::CallId;
use opentelemetry::trace::SpanContext;

use crate::traces::{Traces, UpstreamSpan};

/// The calls of one instance. Which of those that are under way makes its server send a request, only the server knows; it
/// may also do so by itself.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    known: Mutex<Known>,
    traces: Traces,
}

#[derive(Debug, Default)]
struct Known {
    running: Vec<Running>,
    /// In the order in which they ended.
    ended: VecDeque<Ended>,
    /// Until then, calls were under way that are not known any more.
    forgotten: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    id: CallId,
    began: Instant,
    /// Its span, if somebody wants to know.
    span: Option<SpanContext>,
}

#[derive(Debug)]
struct Ended {
    call: Running,
    ended: Instant,
}

impl Calls {
    /// Calls that are traced.
    pub(crate) fn traced(traces: Traces) -> Self {
        Self { known: Mutex::default(), traces }
    }

    /// A call is under way as long as the answer lives.
    pub(crate) fn begin(self: &Arc<Self>, id: CallId) -> UnderWay {
        let span = self.traces.upstream(id);
        let context = span.as_ref().map(UpstreamSpan::context);
        self.lock().running.push(Running { id, began: Instant::now(), span: context });
        UnderWay { calls: Arc::clone(self), id, _span: span }
    }

    /// The calls that were under way, comma separated, with a `?` at the end if there may have been others: of very many only
    /// some are told, and a call that ended long ago is forgotten. None if there were none.
    pub(crate) fn at(&self, moment: Instant) -> Option<String> {
        let known = self.lock();
        let mut all = known.at(moment);
        let mut told: Vec<String> = all.by_ref().take(MAX_TOLD).map(|call| call.id.to_string()).collect();
        if all.next().is_some() || known.forgotten.is_some_and(|until| moment <= until) {
            told.push("?".to_owned());
        }
        (!told.is_empty()).then(|| told.join(","))
    }

    /// The spans of the same calls, as far as they are traced.
    pub(crate) fn spans_at(&self, moment: Instant) -> Vec<SpanContext> {
        self.lock().at(moment).filter_map(|call| call.span.clone()).take(MAX_TOLD).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn at(&self, moment: Instant) -> impl Iterator<Item = &Running> {
        let ended = self.ended.iter().filter(move |ended| ended.ended >= moment).map(|ended| &ended.call);
        ended.chain(&self.running).filter(move |call| call.began <= moment)
    }
}

/// Ends the call when dropped.
pub(crate) struct UnderWay {
    calls: Arc<Calls>,
    id: CallId,
    _span: Option<UpstreamSpan>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut known = self.calls.lock();
        let Some(place) = known.running.iter().position(|call| call.id == self.id) else { return };
        let call = known.running.swap_remove(place);
        known.ended.push_back(Ended { call, ended: Instant::now() });
        if known.ended.len() > MAX_ENDED {
            known.forgotten = known.ended.pop_front().map(|call| call.ended);
        }
    }
}

/// More calls at once are a flood, which must not make each row of the audit long.
const MAX_TOLD: usize = 8;
/// A request is told of when it has ended, and so may have begun many calls ago.
const MAX_ENDED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::testing::call_ids;

    #[tokio::test]
    async fn what_was_under_way_at_a_moment_is_told_also_later() {
        let calls = Arc::<Calls>::default();
        let ids = call_ids(3).await;
        let before = Instant::now();
        let one = calls.begin(ids[0]);
        let only_one = Instant::now();
        let two = calls.begin(ids[1]);
        let both = Instant::now();
        drop(one);
        drop(two);
        let after = Instant::now() + std::time::Duration::from_nanos(1);
        let told = |moment| calls.at(moment);
        assert_eq!(told(before), None);
        assert_eq!(told(only_one), Some(ids[0].to_string()));
        assert_eq!(told(both), Some(format!("{},{}", ids[0], ids[1])));
        assert_eq!(told(after), None);
        for _ in 0..MAX_ENDED {
            drop(calls.begin(ids[2]));
        }
        assert_eq!(told(only_one).as_deref(), Some("?"), "it is not known any more");
        assert_eq!(told(Instant::now() + std::time::Duration::from_nanos(1)), None, "twin: now it is");
    }

    #[tokio::test]
    async fn of_very_many_calls_only_some_are_told() {
        let calls = Arc::<Calls>::default();
        let ids = call_ids(MAX_TOLD + 1).await;
        let mut under_way: Vec<_> = ids[..MAX_TOLD].iter().map(|id| calls.begin(*id)).collect();
        let told = || calls.at(Instant::now()).expect("there are some");
        assert_eq!(told().split(',').count(), MAX_TOLD);
        assert!(!told().contains('?'), "twin");
        under_way.push(calls.begin(ids[MAX_TOLD]));
        assert!(told().ends_with(",?") && told().split(',').count() == MAX_TOLD + 1, "{}", told());
    }
}
