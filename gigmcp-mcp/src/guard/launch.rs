//! A server as it is started, with a guard before it.

use std::{sync::Arc, time::Duration};

use tokio::sync::broadcast;

use super::{Guard, sink::Guarding};
use crate::{
    describe::Description,
    mirror::Mirrored,
    sink::ClientId,
    upstream::{BoxFuture, Call, Event, Hold, Launch, LaunchError, List, Outcome, Upstream},
};

pub(super) struct Guarded {
    guard: Arc<Guard>,
    launch: Arc<dyn Launch>,
}

impl Guarded {
    pub(super) fn new(guard: Arc<Guard>, launch: Arc<dyn Launch>) -> Self {
        Self { guard, launch }
    }

    fn around(&self, upstream: Arc<dyn Upstream>) -> Arc<dyn Upstream> {
        Arc::new(Server { guard: Arc::clone(&self.guard), upstream })
    }

    /// Its last words may be in it.
    fn told(&self, error: LaunchError) -> LaunchError {
        LaunchError { detail: self.guard.text(&error.detail), ..error }
    }
}

impl Launch for Guarded {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            let launched = self.launch.launch().await;
            launched.map(|upstream| self.around(upstream)).map_err(|error| self.told(error))
        })
    }

    fn launch_beside<'a>(&'a self) -> BoxFuture<'a, Result<Option<Arc<dyn Upstream>>, LaunchError>> {
        Box::pin(async {
            let launched = self.launch.launch_beside().await;
            launched.map(|spare| spare.map(|upstream| self.around(upstream))).map_err(|error| self.told(error))
        })
    }
}

struct Server {
    guard: Arc<Guard>,
    upstream: Arc<dyn Upstream>,
}

impl Upstream for Server {
    fn call<'a>(&'a self, mut call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            if let Err(error) = self.guard.takes(&call) {
                return Outcome::refused(&error);
            }
            let (method, samplings) = (call.method.clone(), Arc::clone(&call.samplings));
            call.sink = call.sink.take().map(|sink| Guarding::new(&self.guard, &call, sink) as _);
            self.guard.outcome(&method, self.upstream.call(call).await, &samplings)
        })
    }

    fn is_open(&self) -> bool {
        self.upstream.is_open()
    }

    fn is_occupied(&self) -> bool {
        self.upstream.is_occupied()
    }

    fn hold(&self) -> Option<Hold> {
        self.upstream.hold()
    }

    fn works_for(&self, client: ClientId) -> Hold {
        self.upstream.works_for(client)
    }

    fn given_up_for(&self) -> Duration {
        self.upstream.given_up_for()
    }

    fn is_retired(&self) -> bool {
        self.upstream.is_retired()
    }

    fn end(&self) {
        self.upstream.end();
    }

    fn instance(&self) -> Option<&str> {
        self.upstream.instance()
    }

    fn revision(&self, list: List) -> u64 {
        self.upstream.revision(list)
    }

    fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
        Box::pin(async {
            let mut description = self.upstream.describe().await;
            description.instructions = description.instructions.map(|text| self.guard.text(&text));
            description.extensions = description.extensions.shown(|id, settings| self.guard.declared(id, settings));
            description
        })
    }

    fn mirrored<'a>(&'a self, tool: &'a str) -> BoxFuture<'a, Arc<[Mirrored]>> {
        self.upstream.mirrored(tool)
    }

    fn tell(&self, mut told: Call) {
        told.sink = told.sink.take().map(|sink| Guarding::new(&self.guard, &told, sink) as _);
        self.upstream.tell(told);
    }

    fn forget(&self, client: ClientId) {
        self.upstream.forget(client);
    }

    /// They are cleaned where they are passed on: see [`Guard::notification`].
    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        self.upstream.events()
    }
}
