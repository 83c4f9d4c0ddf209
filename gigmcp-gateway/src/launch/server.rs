//! One process of a server.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gigmcp_egress::Identity;
use gigmcp_mcp::{
    BoxFuture, Call, CallError, ClientId, Description, Hold, List, Mirrored, Outcome, StdioUpstream, Upstream,
};
use gigmcp_sandbox::{Event, Events};
use serde_json::value::RawValue;
use tokio::{
    sync::broadcast,
    time::{self, Instant},
};

use super::{
    END, Terms,
    places::{Occupant, Place},
    told::Unused,
    uses::{Subscription, Uses},
};
use crate::{calls::Calls, events, output::whole, spec::ProgramDigest, store::Store, supervisor::Running};

/// A running server: its messages, and its life.
pub(super) struct Server {
    pub(super) name: crate::spec::ServerName,
    pub(super) upstream: StdioUpstream,
    pub(super) instance: Identity,
    pub(super) calls: Arc<Calls>,
    pub(super) events: Events,
    pub(super) uses: Arc<Uses>,
    pub(super) terms: Arc<Terms>,
    /// Where it is kept that it asks its clients something, until it is.
    pub(super) found: Found,
    pub(super) unused: Unused,
    /// Dropping it ends the processes and their connections, and then gives up its place.
    pub(super) running: Mutex<Option<(Running, Place)>>,
}

/// What is found out of a program while it runs.
pub(super) struct Found {
    pub(super) store: Store,
    pub(super) program: ProgramDigest,
    pub(super) interactive: AtomicBool,
}

impl Server {
    /// In its place.
    pub(super) fn settle(self) -> Arc<Self> {
        let server = Arc::new(self);
        let weak: std::sync::Weak<Self> = Arc::downgrade(&server);
        if let Some((_, place)) = &*server.running() {
            place.occupy(weak);
        }
        server
    }

    /// Ends the server although calls may be under way; they fail as they do when a server dies.
    pub(super) fn end(&self) {
        drop(self.take());
    }

    /// The same because somebody said so: it did not crash.
    pub(super) fn end_by_order(&self) {
        self.uses.retire_now();
        self.end();
    }

    /// Asks the server to end, and makes it after a while.
    pub(super) async fn shut_down(&self) {
        let running = self.take();
        if let Some((mut running, _place)) = running {
            running.sandbox.shutdown(GRACE).await;
            running.close().await;
        }
    }

    fn take(&self) -> Option<(Running, Place)> {
        self.running().take()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<(Running, Place)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why its output has ended, where that was the sandbox's doing.
    async fn why(&self) -> CallError {
        let mut happening = self.events.clone();
        let exit = async {
            loop {
                match happening.next().await {
                    Some(Event::Ended(exit)) => return Some(exit),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        // Its output ends a moment before its sandbox does, which knows why.
        let exit = time::timeout(END, exit).await.ok().flatten();
        let reason = exit.and_then(events::to_client);
        reason.map_or(CallError::Exited, |(code, detail)| CallError::Ended { code, detail })
    }

    /// Keeps, once, that it asks its clients something: its next process works on one call at a time from the beginning.
    fn note_whether_it_asks(&self) {
        let found = &self.found;
        if !self.upstream.is_interactive() || found.interactive.swap(true, Ordering::AcqRel) {
            return;
        }
        let (store, server, program) = (found.store.clone(), self.name.clone(), found.program.clone());
        tokio::spawn(async move {
            let kept = store.found_of_program(server.clone(), program, |program| program.interactive = true).await;
            match kept {
                Ok(()) => tracing::info!(%server, "it asks its clients something, so its calls go one at a time"),
                Err(error) => {
                    tracing::warn!(%server, "that it asks its clients something is not kept: {}", whole(&error));
                }
            }
        });
    }
}

impl Upstream for Server {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let _under_way = call.id.map(|id| self.calls.begin(id));
            let subscribing = match Subscription::of(&call) {
                Some(Subscription::Begins(uri)) => Some(self.uses.subscribes(uri)),
                Some(Subscription::Ends(uri)) if !self.uses.unsubscribes(&uri) => return nothing(),
                Some(Subscription::Ends(_)) | None => None,
            };
            let outcome = self.upstream.call(call).await;
            self.note_whether_it_asks();
            if let (Some(subscribing), Outcome::Complete(_)) = (subscribing, &outcome) {
                subscribing.holds();
            }
            match outcome {
                Outcome::Failed(CallError::Exited) => Outcome::Failed(self.why().await),
                outcome => outcome,
            }
        })
    }

    fn is_open(&self) -> bool {
        !self.is_retired() && self.upstream.is_open()
    }

    fn is_retired(&self) -> bool {
        self.uses.is_retired()
    }

    fn hold(&self) -> Option<Hold> {
        self.uses.begin().map(Hold::new)
    }

    fn end(&self) {
        Self::end(self);
        self.upstream.end();
    }

    fn instance(&self) -> Option<&str> {
        Some(self.instance.as_str())
    }

    fn is_occupied(&self) -> bool {
        self.upstream.is_occupied()
    }

    fn works_for(&self, client: ClientId) -> Hold {
        self.upstream.works_for(client)
    }

    fn given_up_for(&self) -> Duration {
        self.upstream.given_up_for()
    }

    fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
        self.upstream.describe()
    }

    fn revision(&self, list: List) -> u64 {
        self.upstream.revision(list)
    }

    fn mirrored<'a>(&'a self, tool: &'a str) -> BoxFuture<'a, Arc<[Mirrored]>> {
        self.upstream.mirrored(tool)
    }

    fn tell(&self, told: Call) {
        self.upstream.tell(told);
    }

    fn events(&self) -> Option<broadcast::Receiver<gigmcp_mcp::Event>> {
        self.upstream.events()
    }
}

impl Occupant for Server {
    fn idle_since(&self) -> Option<Instant> {
        self.uses.idle_since()
    }

    fn idle_limit(&self) -> Option<Duration> {
        // Of one that has ended by itself, only what is left of its sandbox is still there.
        if self.upstream.is_open() { self.terms.idle() } else { Some(Duration::ZERO) }
    }

    fn is_listened_to(&self) -> bool {
        self.upstream.is_open() && self.uses.is_listened_to()
    }

    fn retire(&self, idle_since: Instant) -> bool {
        if !self.upstream.is_open() {
            self.end(); // and it counts as what it was
            return true;
        }
        let retired = self.uses.retire(idle_since);
        if retired {
            self.unused.ends();
            Self::end(self);
        }
        retired
    }
}

fn nothing() -> Outcome {
    Outcome::Complete(RawValue::from_string("{}".to_owned()).expect("it is JSON"))
}

/// How long a server may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(2);
