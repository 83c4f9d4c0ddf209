//! What happens to a running sandbox, as its host learns of it.

use std::collections::VecDeque;

use tokio::sync::watch;

use crate::Exit;

/// Something that happened to a running sandbox.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The server made a call that no server makes, and was refused. See [`OnTripwire`](crate::OnTripwire).
    ///
    /// Told at once the first time, then at most ten times a second for each call.
    Tripwire {
        /// The name of the system call.
        call: &'static str,
        /// The thread that made it last, as it is numbered inside.
        pid: u32,
        /// How often it was made since it was told last.
        count: u64,
    },
    /// Processes inside were killed for want of memory; what is left of the sandbox is ended.
    OomKill {
        /// How many, since it was told last. A cgroup that is killed as a whole may count one twice.
        count: u64,
    },
    /// Processes or threads were refused because there were [as many as allowed](crate::Limits::processes).
    ///
    /// Told at most once a second; with cgroup v1 up to two seconds late.
    PidsExhausted {
        /// How many, since it was told last.
        count: u64,
    },
    /// Nothing of the sandbox is left. The last event.
    Ended(Exit),
    /// So many events came and went before they were asked for.
    Lost {
        /// How many.
        count: u64,
    },
}

/// The events of a sandbox, from its start on. Made by [`Sandbox::events`](crate::Sandbox::events).
#[derive(Clone, Debug)]
pub struct Events {
    log: watch::Receiver<Log>,
    /// The number of the event to be handed out next.
    next: u64,
}

impl Events {
    /// The next event; `None` when the sandbox has ended and all were handed out.
    ///
    /// The last 256 are kept, and what is older is told as [`Event::Lost`].
    ///
    /// Cancel safe: an event is not lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        let next = self.next;
        // An error says that nothing will come any more; what is kept is still there.
        let _ = self.log.wait_for(|log| log.first + log.kept.len() as u64 > next).await;
        let log = self.log.borrow();
        if log.first > next {
            self.next = log.first;
            return Some(Event::Lost { count: log.first - next });
        }
        let event = log.kept.get(usize::try_from(next - log.first).ok()?)?.clone();
        self.next += 1;
        Some(event)
    }
}

/// Where events are put; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct EventLog(watch::Sender<Log>);

#[derive(Debug, Default)]
struct Log {
    kept: VecDeque<Event>,
    /// The number of the first that is kept.
    first: u64,
}

impl EventLog {
    pub(crate) fn new() -> (Self, Events) {
        let (sender, log) = watch::channel(Log::default());
        (Self(sender), Events { log, next: 0 })
    }

    pub(crate) fn push(&self, event: Event) {
        self.0.send_modify(|log| {
            if log.kept.len() == EVENTS_KEPT {
                log.kept.pop_front();
                log.first += 1;
            }
            log.kept.push_back(event);
        });
    }
}

const EVENTS_KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(count: u64) -> Event {
        Event::Tripwire { call: "unshare", pid: 2, count }
    }

    #[tokio::test]
    async fn events_come_in_order_to_each_reader_and_then_end() {
        let (log, events) = EventLog::new();
        let (mut one, mut other) = (events.clone(), events);
        log.push(event(1));
        assert_eq!(one.next().await, Some(event(1)));
        let (waited, ()) = tokio::join!(one.next(), async { log.push(event(2)) });
        assert_eq!(waited, Some(event(2)));
        drop(log);
        assert_eq!(one.next().await, None);
        assert_eq!((other.next().await, other.next().await), (Some(event(1)), Some(event(2))));
        assert_eq!((other.next().await, other.next().await), (None, None));
    }

    #[tokio::test]
    async fn what_a_slow_reader_misses_is_counted() {
        let (log, mut events) = EventLog::new();
        let more = 10;
        for count in 0..EVENTS_KEPT as u64 + more {
            log.push(event(count));
        }
        assert_eq!(events.next().await, Some(Event::Lost { count: more }));
        assert_eq!(events.next().await, Some(event(more)));
    }
}
