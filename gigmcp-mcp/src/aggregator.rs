//! Many servers as one.

mod backend;
mod flight;
mod observer;

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use self::{
    backend::{BackendError, Entry, Ready},
    observer::Observation,
};
pub use self::{
    backend::{Fault, FaultKind},
    observer::{CallObserver, CallRecord, CallVerdict, NotObserved},
};
use crate::{
    catalogue::{CatalogueLimits, Tool},
    message::RpcError,
    name::{ServerId, server_of},
    object::Members,
    upstream::{BoxFuture, Call, Launch, Outcome, Upstream},
};

/// One server of an aggregator.
pub struct Backend {
    /// The prefix of its tools.
    pub name: ServerId,
    /// How it is started.
    pub launch: Arc<dyn Launch>,
}

/// Bounds on what one server can cost its neighbours and clients.
#[derive(Clone, Copy, Debug)]
pub struct AggregatorLimits {
    /// Time for a start, handshake included; against a start that hangs. Default 90 s.
    pub launch_timeout: Duration,
    /// How long a list waits for servers that are still starting; against one slow server that hides
    /// all others. Default 20 s, because clients give up after 30.
    pub list_wait: Duration,
    /// How long a failed start is remembered before it is tried again; doubles with each failure in
    /// a row; against a broken server that is started for every request. Default 1 s.
    pub relaunch_backoff: Duration,
    /// What that grows to at most. Default 60 s.
    pub max_relaunch_backoff: Duration,
    /// Bounds on each server's list.
    pub catalogue: CatalogueLimits,
}

impl Default for AggregatorLimits {
    fn default() -> Self {
        Self {
            launch_timeout: Duration::from_secs(90),
            list_wait: Duration::from_secs(20),
            relaunch_backoff: Duration::from_secs(1),
            max_relaunch_backoff: Duration::from_secs(60),
            catalogue: CatalogueLimits::default(),
        }
    }
}

/// Many servers as one [`Upstream`]. A server is started when it is first needed, on its own and
/// only once, and one that is slow, broken or hostile costs its neighbours nothing.
///
/// It needs a tokio runtime. Dropping it gives up starts under way and drops every upstream.
pub struct Aggregator {
    entries: Vec<Arc<Entry>>,
    by_name: HashMap<Box<str>, usize>,
    observer: Option<Arc<dyn CallObserver>>,
    limits: AggregatorLimits,
}

/// The tools that can be offered now, and what could not.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listing {
    /// Tools in the order of the servers, then in each server's own.
    pub tools: Vec<Tool>,
    /// For the operator: servers and tools that are missing from the list.
    pub faults: Vec<Fault>,
}

impl Aggregator {
    /// An aggregator with the default limits.
    ///
    /// # Errors
    /// If two servers have the same name.
    pub fn new(backends: Vec<Backend>) -> Result<Self, DuplicateServer> {
        Self::with_limits(backends, AggregatorLimits::default())
    }

    /// An aggregator with these limits.
    ///
    /// # Errors
    /// If two servers have the same name.
    pub fn with_limits(backends: Vec<Backend>, limits: AggregatorLimits) -> Result<Self, DuplicateServer> {
        let mut by_name = HashMap::new();
        let mut entries = Vec::with_capacity(backends.len());
        for Backend { name, launch } in backends {
            if by_name.insert(name.as_str().into(), entries.len()).is_some() {
                return Err(DuplicateServer { name });
            }
            entries.push(Arc::new(Entry::new(name, launch, limits)));
        }
        Ok(Self { entries, by_name, observer: None, limits })
    }

    /// The same, telling `observer` of every `tools/call`.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn CallObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Lists the tools of every server that works, starting those that do not run.
    ///
    /// Cancel safe: starts under way go on for whoever asks next.
    pub async fn tools(&self) -> Listing {
        let deadline = Instant::now() + self.limits.list_wait;
        // All are set going before the first is waited for; each runs in a task of its own.
        let starting: Vec<_> = self.entries.iter().map(|entry| (entry, entry.ready())).collect();
        let mut tools = Vec::new();
        let mut faults = Vec::new();
        for (entry, ready) in starting {
            match timeout_at(deadline, ready).await {
                Ok(Ok(ready)) => {
                    tools.extend_from_slice(ready.catalogue.tools());
                    faults.extend(entry.odd_tools(&ready));
                }
                Ok(Err(error)) => faults.push(entry.fault(FaultKind::from(&error))),
                Err(_) => faults.push(entry.fault(FaultKind::StillStarting)),
            }
        }
        for fault in &faults {
            tracing::warn!(server = %fault.server, fault = %fault.kind, "not in the list of tools");
        }
        Listing { tools, faults }
    }

    /// What keeps servers and tools out of the list at this moment, without starting anything.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.entries.iter().flat_map(|entry| entry.known_faults()).collect()
    }

    /// Calls a tool with the parameters of a `tools/call`. Only `name` in them is rewritten.
    ///
    /// Dropping the future gives the call up, and the server is told so.
    pub async fn call_tool(&self, params: Option<&RawValue>) -> Outcome {
        let mut observation = Observation::begin(self.observer.as_ref(), params);
        let (failure, outcome) = match observation.ready().await {
            Ok(()) => self.call_observed(&mut observation, params).await,
            Err(error) => (Some(NOT_OBSERVED), not_observed(error)),
        };
        observation.end(failure, &outcome).await;
        outcome
    }

    async fn call_observed(
        &self,
        observation: &mut Observation,
        params: Option<&RawValue>,
    ) -> (Option<&'static str>, Outcome) {
        match self.route(params).await {
            Ok(Route { entry, ready, tool, params }) => {
                observation.leads_to(&entry.name, Some((ready.upstream.instance(), &tool)));
                let mut call = Call::new("tools/call", Some(params));
                call.id = Some(observation.id());
                match ready.upstream.call(call).await {
                    Outcome::Failed(error) => (Some(error.code()), Outcome::refused(&error.to_rpc(&entry.name))),
                    outcome @ (Outcome::Complete(_) | Outcome::InputRequired(_) | Outcome::Error(_)) => (None, outcome),
                }
            }
            Err(Refusal { entry, code, error }) => {
                entry.into_iter().for_each(|entry| observation.leads_to(&entry.name, None));
                (code, Outcome::refused(&error))
            }
        }
    }

    async fn route<'a>(&'a self, params: Option<&RawValue>) -> Result<Route<'a>, Refusal<'a>> {
        let invalid =
            |reason: &str| Refusal { entry: None, code: None, error: RpcError::new(RpcError::INVALID_PARAMS, reason) };
        let params = params.ok_or_else(|| invalid("tools/call needs params"))?;
        let members = Members::of(params).map_err(|_| invalid("params is no object, or names a member twice"))?;
        let exposed = members.string("name").ok_or_else(|| invalid("params.name is not a string"))?;
        let unknown = || invalid(&format!("Unknown tool: {exposed}"));
        let entry = server_of(&exposed)
            .and_then(|server| self.by_name.get(server))
            .map(|&index| &self.entries[index])
            .ok_or_else(unknown)?;
        let failed = |error: BackendError| Refusal {
            entry: Some(&**entry),
            code: Some(error.code()),
            error: error.to_rpc(&entry.name),
        };
        // A tool that is known is called at once; only for an unknown one is a stale list read anew.
        let mut ready = match entry.running() {
            Some(ready) => ready,
            None => entry.ready().await.map_err(failed)?,
        };
        if ready.catalogue.tool(&exposed).is_none() && entry.is_stale(&ready) {
            ready = entry.ready().await.map_err(failed)?;
        }
        let tool = ready.catalogue.tool(&exposed).ok_or_else(unknown)?.name.clone();
        let params = members.with("name", &tool).expect("the name was just read");
        Ok(Route { entry, ready, tool, params })
    }

    async fn list(&self, params: Option<&RawValue>) -> Outcome {
        // The whole list is one page, so no cursor can be ours.
        let cursor = params
            .and_then(|params| Members::of(params).ok())
            .and_then(|members| members.value("cursor"))
            .is_some_and(|cursor| cursor.get() != "null");
        if cursor {
            return Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, "unknown cursor"));
        }
        let Listing { tools, .. } = self.tools().await;
        let definitions = tools.iter().map(|tool| tool.definition.get());
        let length: usize = tools.iter().map(|tool| tool.definition.get().len() + 1).sum();
        let mut text = String::with_capacity(length + 16);
        text.push_str(r#"{"tools":["#);
        for (index, definition) in definitions.enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(definition);
        }
        text.push_str("]}");
        Outcome::Complete(RawValue::from_string(text).expect("a list of JSON texts is JSON"))
    }
}

impl Upstream for Aggregator {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match &*call.method {
                "tools/call" => self.call_tool(call.params.as_deref()).await,
                "tools/list" => self.list(call.params.as_deref()).await,
                method => {
                    Outcome::refused(&RpcError::new(RpcError::METHOD_NOT_FOUND, format!("Method not found: {method}")))
                }
            }
        })
    }
}

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

struct Route<'a> {
    entry: &'a Entry,
    ready: Arc<Ready>,
    tool: Box<str>,
    params: Box<RawValue>,
}

struct Refusal<'a> {
    entry: Option<&'a Entry>,
    code: Option<&'static str>,
    error: RpcError,
}
