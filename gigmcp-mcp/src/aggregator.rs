//! Many servers as one.

mod again;
mod backend;
mod builder;
mod checked;
mod extended;
mod fault;
mod findings;
mod flight;
mod flow;
mod follow;
mod health;
mod hub;
mod identity;
mod known;
mod links;
mod lists;
mod meta;
mod named;
mod naming;
mod notices;
mod observer;
mod odd;
mod offer;
mod pace;
mod passing;
mod pins;
mod pointing;
mod policy;
mod rate;
mod report;
mod resources;
mod restarts;
mod skill_files;
mod skill_uris;
mod skills;
mod spares;
mod start;
mod states;
mod tasks;
mod waited;
mod working;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::{sync::broadcast, task::JoinSet};

pub(crate) use self::pace::Talk;
pub(crate) use self::passing::{MAX_ADDRESSES, host_of};
pub(crate) use self::tasks::{SUBSCRIBE, UNSUBSCRIBE};
use self::{
    backend::Entry,
    flow::Admitted,
    hub::{Hub, set_level},
    meta::{Asked, Presentation},
    named::{Kind, Refusal},
    naming::Names,
    observer::Observation,
    passing::labelled_outcome,
    resources::nothing,
    spares::Wanted,
};
pub use self::{
    builder::AggregatorBuilder,
    fault::{Fault, FaultKind},
    findings::Shadowing,
    flow::FlowPolicy,
    known::{CatalogueStore, InvalidKnown, Known},
    naming::Prefixes,
    observer::{CallBegun, CallObserver, CallRecord, CallVerdict, NotObserved},
    pins::{Pins, PinsUnknown, Process, Standing},
    policy::{FlowLabels, Misfit, OutputText, RateLimits, ServerLimits, ServerPolicy},
    report::{ServerTokens, TokenReport},
};
use crate::{
    catalogue::{CatalogueLimits, Named},
    describe::Description,
    level::LogLevel,
    mend::mended,
    message::RpcError,
    mirror::Mirrored,
    name::ServerId,
    object::Members,
    seal::Sealer,
    sink::ClientId,
    upstream::{BoxFuture, Call, Event, Launch, Outcome, Upstream},
};

/// One server of an aggregator.
#[non_exhaustive]
pub struct Backend {
    /// The prefix of its tools.
    pub name: ServerId,
    /// How it is started.
    pub launch: Arc<dyn Launch>,
    /// What is demanded of it.
    pub policy: ServerPolicy,
    /// Where what it lists is kept while it does not run; for as long as the aggregator lives, it is kept anyway.
    pub store: Option<Arc<dyn CatalogueStore>>,
}

impl Backend {
    /// A server of which the default is demanded.
    pub fn new(name: ServerId, launch: Arc<dyn Launch>) -> Self {
        Self { name, launch, policy: ServerPolicy::default(), store: None }
    }

    /// The same, with what it lists kept there.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn CatalogueStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// The same, with another policy.
    #[must_use]
    pub fn with_policy(mut self, policy: ServerPolicy) -> Self {
        self.policy = policy;
        self
    }
}

/// Bounds on what one server can cost its neighbours and clients.
#[derive(Clone, Copy, Debug)]
pub struct AggregatorLimits {
    /// Time for a start, handshake included; against a start that hangs. Default 90 s.
    pub launch_timeout: Duration,
    /// How long a list waits for servers that are still starting; against one slow server that hides
    /// all others. Default 20 s, because clients give up after 30.
    pub list_wait: Duration,
    /// How long a description waits for them; clients wait for it before they do anything else. Default 5 s.
    pub describe_wait: Duration,
    /// Items on one page of a list. Default 1,000.
    pub page_items: usize,
    /// Bytes of one page of a list. Default 4 MiB.
    pub page_bytes: usize,
    /// How often a server that has to work on one call at a time is started beside itself; the processes have no memory in
    /// common. Default 8: calls that were left waiting for their client occupy one each.
    pub max_spares: usize,
    /// How long a failed start is remembered before it is tried again; doubles with each failure in
    /// a row; against a broken server that is started for every request. Default 1 s.
    pub relaunch_backoff: Duration,
    /// What that grows to at most. Default 60 s.
    pub max_relaunch_backoff: Duration,
    /// How often a server may end by itself within the window before it is left alone until that is over; against one that
    /// works and crashes, again and again. Default 5.
    pub max_restarts: usize,
    /// That window. Default 60 s.
    pub restart_window: Duration,
    /// After how many calls in a row that were not answered in time a server that does not answer `ping` either is ended.
    /// Default 3.
    pub max_timeouts: u32,
    /// How long a task of the older era is waited for inside the call that made it; against one that never ends. Default 1 h.
    pub max_task_time: Duration,
    /// Bounds on each server's lists.
    pub catalogue: CatalogueLimits,
}

impl Default for AggregatorLimits {
    fn default() -> Self {
        Self {
            launch_timeout: Duration::from_secs(90),
            list_wait: Duration::from_secs(20),
            describe_wait: Duration::from_secs(5),
            page_items: 1_000,
            page_bytes: 4 << 20,
            max_spares: 8,
            relaunch_backoff: Duration::from_secs(1),
            max_relaunch_backoff: Duration::from_secs(60),
            max_restarts: 5,
            restart_window: Duration::from_secs(60),
            max_timeouts: 3,
            max_task_time: Duration::from_secs(3600),
            catalogue: CatalogueLimits::default(),
        }
    }
}

/// Many servers as one [`Upstream`]. A server is started when it is first needed, on its own and
/// only once, and one that is slow, broken or hostile costs its neighbours nothing. What a server listed when it ran last is
/// listed on when it does not run any more; a call starts it.
///
/// It needs a tokio runtime. Dropping it gives up starts under way and drops every upstream.
pub struct Aggregator {
    entries: Vec<Arc<Entry>>,
    by_name: HashMap<Box<str>, usize>,
    observer: Option<Arc<dyn CallObserver>>,
    limits: AggregatorLimits,
    hub: Arc<Hub>,
    sealer: Sealer,
    names: Names,
    presentation: Presentation,
}

/// The tools that can be offered now, and what could not.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listing {
    /// Tools in the order of the servers, then in each server's own.
    pub tools: Vec<Named>,
    /// For the operator: servers and tools that are missing from the list.
    pub faults: Vec<Fault>,
}

impl Aggregator {
    /// An aggregator of these servers with the default limits: short for its [`builder`](Self::builder).
    ///
    /// # Errors
    /// If two servers have the same name.
    pub fn new(backends: Vec<Backend>) -> Result<Self, DuplicateServer> {
        Self::builder().backends(backends).build()
    }

    /// Begins one.
    pub fn builder() -> AggregatorBuilder {
        AggregatorBuilder::default()
    }

    /// What is wrong at this moment with servers and what they list, without starting anything.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.entries.iter().flat_map(|entry| entry.known_faults()).collect()
    }

    /// Looks again at what is held back, after the [`revision`](Pins::revision) of some pins has grown, also of servers that do
    /// not run. Clients are told which lists have changed.
    ///
    /// It waits for nothing, and needs a tokio runtime.
    pub fn recheck_pins(&self) {
        for entry in &self.entries {
            entry.judge_again();
        }
    }

    /// Whether sessions have read something that a later call has to be judged by ([`FlowPolicy::Ask`]). Whoever drops the aggregator
    /// without another that [counts with](AggregatorBuilder::counting_with) it forgets that.
    #[must_use]
    pub fn remembers_flow(&self) -> bool {
        self.hub.flow.remembers()
    }

    /// Another aggregator takes its place for new requests: streams of events end, so that clients listen to that one and list
    /// everything anew. Calls under way go on.
    pub fn is_replaced(&self) {
        self.hub.end_events();
    }

    /// Calls a tool with the parameters of a `tools/call`. Only `name` in them is rewritten.
    ///
    /// Dropping the future gives the call up, and the server is told so.
    pub async fn call_tool(&self, params: Option<&RawValue>) -> Outcome {
        self.tool(params, Call::new("tools/call", None)).await
    }

    /// Calls a tool with these parameters; `call` says for whom.
    async fn tool(&self, params: Option<&RawValue>, call: Call) -> Outcome {
        let asked = Asked::of(&self.presentation, params);
        // From here on, a call through a tool of ours is the call that is meant.
        let params = asked.meant().or(params);
        let mut observation = Observation::begin(self.observer.as_ref(), "tools/call", params);
        let (failure, outcome) = match observation.ready().await {
            Ok(()) => match self.answered_here(&asked, params).await {
                Some(answered) => answered,
                None => self.call_observed(&mut observation, &asked, params, call).await,
            },
            Err(error) => (Some(NOT_OBSERVED), not_observed(error)),
        };
        observation.end(failure, &outcome).await;
        outcome
    }

    async fn call_observed(
        &self,
        observation: &mut Observation,
        asked: &Asked,
        params: Option<&RawValue>,
        mut call: Call,
    ) -> (Option<&'static str>, Outcome) {
        match self.route(Kind::Tool, params).await {
            Ok((route, params)) => {
                let (entry, ready) = (route.entry, &route.ready);
                if let Some(refused) = Self::refused_through(asked, &route) {
                    observation.leads_to(&entry.name, None);
                    return refused;
                }
                if let Err(error) = entry.open_state(Wanted::Said(&route.said), &mut call) {
                    observation.leads_to(&entry.name, None);
                    return (None, Outcome::refused(&error));
                }
                let held = match entry.upstream_for(ready, &call, Wanted::Said(&route.said)).await {
                    Ok(held) => held,
                    Err(error) => {
                        observation.leads_to(&entry.name, None);
                        return (Some(error.code()), Outcome::refused(&entry.refusal(&error)));
                    }
                };
                observation.leads_to(&entry.name, Some((held.upstream.instance(), &route.said)));
                let held = match self.before_call(&route, &params, &call).await {
                    Ok(Admitted::AtOnce) => held,
                    Ok(Admitted::Asked) => {
                        let wanted = (&call, Wanted::Said(&route.said));
                        match self.borrowed_again(entry, ready, wanted).await {
                            Ok(held) => {
                                observation.leads_to(&entry.name, Some((held.upstream.instance(), &route.said)));
                                held
                            }
                            Err((code, error)) => return (code, Outcome::refused(&error)),
                        }
                    }
                    Err((code, refused)) => return (Some(code), refused),
                };
                call.params = Some(params);
                call.id = Some(observation.id());
                let labels = entry.policy().labels_of(ready.catalogue.tools.find_own(&route.said.name));
                self.names_server(&mut call, entry, labels);
                let (context, samplings) = (call.context.clone(), Arc::clone(&call.samplings));
                let as_task = ready.catalogue.tools.find_own(&route.said.name).is_some_and(|tool| tool.needs_task);
                let of = (entry, &*route.said.name);
                let outcome = waited::call(of, &held, call, (as_task, self.limits.max_task_time)).await;
                match mended("tools/call", None, outcome) {
                    Outcome::Failed(error) => (Some(error.code()), Outcome::refused(&error.to_rpc(&entry.name))),
                    Outcome::Task(result) => {
                        let call = (observation.id(), samplings.load(Ordering::Relaxed), context.as_deref());
                        (None, self.task_made(&route, &held, call, &result).await)
                    }
                    outcome => {
                        let outcome = self.hub.pointing(entry.index, ready, outcome).await;
                        let outcome = labelled_outcome(&entry.name, context.as_deref(), outcome);
                        let outcome = entry.sealing_state(Wanted::Said(&route.said), context.as_deref(), outcome);
                        self.after_call(&route, outcome).await
                    }
                }
            }
            Err(Refusal { entry, code, error }) => {
                if entry.is_none()
                    && let Some(told) = self.told_of_nothing(asked)
                {
                    return told;
                }
                entry.into_iter().for_each(|entry| observation.leads_to(&entry.name, None));
                (code, Outcome::refused(&error))
            }
        }
    }

    /// Sets the level of every server to the least important that any client wants.
    async fn set_level(&self, call: &Call) -> Outcome {
        let level = call.params.as_deref().and_then(|params| Members::of(params).ok()?.string("level")?.parse().ok());
        let Some(level): Option<LogLevel> = level else {
            return Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, "params.level is not a log level"));
        };
        let level = self.hub.set_level(call.client, level);
        let mut setting = JoinSet::new();
        for ready in self.entries.iter().filter_map(|entry| entry.running()) {
            if ready.description.capabilities.logging {
                setting.spawn(async move { ready.upstream.call(set_level(level).with_timeout(LEVEL_TIMEOUT)).await });
            }
        }
        // One that does not do it logs as it did; that is its own fault.
        while setting.join_next().await.is_some() {}
        nothing()
    }
}

impl Drop for Aggregator {
    /// Its servers may go on for another; what ends from now on is only this.
    fn drop(&mut self) {
        self.hub.end_events();
    }
}

impl Upstream for Aggregator {
    fn call<'a>(&'a self, mut call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            call.client.into_iter().for_each(|client| self.hub.flow.is_back(client));
            match &*call.method {
                "tools/call" => {
                    let params = call.params.take();
                    self.tool(params.as_deref(), call).await
                }
                "prompts/get" => self.prompt(call).await,
                "resources/read" => self.read_resource(call).await,
                "tools/list" => self.list("tools", call.params.as_deref()).await,
                "prompts/list" => self.list("prompts", call.params.as_deref()).await,
                "resources/list" => self.list("resources", call.params.as_deref()).await,
                "resources/templates/list" => self.list("resourceTemplates", call.params.as_deref()).await,
                "resources/subscribe" => self.subscribe(call).await,
                "resources/unsubscribe" => self.unsubscribe(call).await,
                "completion/complete" => self.complete(call).await,
                "logging/setLevel" => self.set_level(&call).await,
                "skills/list" | "skills/get" | "resources/directory/read" => self.skills(call).await,
                method if method.starts_with("tasks/") => self.task(call).await,
                _ => self.extended(call).await,
            }
        })
    }

    fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
        Box::pin(self.description())
    }

    fn mirrored<'a>(&'a self, tool: &'a str) -> BoxFuture<'a, Arc<[Mirrored]>> {
        Box::pin(self.mirrored_of(tool))
    }

    fn tell(&self, told: Call) {
        for (entry, ready) in self.entries.iter().filter_map(|entry| Some((entry, entry.running()?))) {
            let mut told = told.clone();
            self.names_server(&mut told, entry, entry.policy().labels);
            ready.upstream.tell(told);
        }
    }

    fn notify<'a>(&'a self, told: Call) -> BoxFuture<'a, ()> {
        Box::pin(self.notified(told))
    }

    fn forget(&self, client: ClientId) {
        Self::forget(self, client);
        self.entries.iter().for_each(|entry| entry.spares.forget(client));
        self.forget_tasks(client);
    }

    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        Some(self.hub.subscribe_to_events())
    }
}

/// How long a server may take to set its level.
const LEVEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Two servers of one aggregator have the same name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("two servers are called {name}")]
pub struct DuplicateServer {
    /// The name.
    pub name: ServerId,
}

fn not_observed(error: NotObserved) -> Outcome {
    let data = serde_json::json!({ "code": NOT_OBSERVED });
    Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, error.to_string()).with_data(&data))
}

/// The stable code of a call that nobody could have taken note of.
const NOT_OBSERVED: &str = "audit-unavailable";
