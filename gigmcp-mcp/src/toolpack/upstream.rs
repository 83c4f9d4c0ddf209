//! The engine behind the crate's one seam.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Map, Value, json, value::RawValue};
use tokio::sync::Semaphore;

use super::{
    client::HttpClient,
    engine::Engine,
    plan::{ToolPlan, Toolpack},
    shown::Shown,
};
use crate::{
    message::RpcError,
    object::{Members, string},
    upstream::{BoxFuture, Call, Outcome, Upstream},
};

/// Bounds on what services can make us read, keep and wait for.
#[derive(Clone, Copy, Debug)]
pub struct ToolpackLimits {
    /// How long a call may take with all its pages. Default 60 s, or what the manifest says.
    pub call_timeout: Duration,
    /// Bytes of one answer that are read, unless the toolspec allows more. Default 2 MiB.
    pub max_read_bytes: usize,
    /// Bytes of an answer that are shown, unless the toolspec says how many. Default 100,000.
    pub max_shown_bytes: usize,
    /// Calls that speak with a service at the same time; further ones wait. Default 16.
    pub max_concurrent: usize,
}

impl Default for ToolpackLimits {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(60),
            max_read_bytes: 2 << 20,
            max_shown_bytes: 100_000,
            max_concurrent: 16,
        }
    }
}

/// A toolpack that answers `tools/list`, `tools/call` and `ping` in this process.
pub struct ToolpackUpstream {
    pub(super) toolpack: Toolpack,
    client: Arc<dyn HttpClient>,
    limits: ToolpackLimits,
    turns: Semaphore,
    listing: Box<RawValue>,
}

impl ToolpackUpstream {
    /// With the default limits.
    #[must_use]
    pub fn new(toolpack: Toolpack, client: Arc<dyn HttpClient>) -> Self {
        let mut limits = ToolpackLimits::default();
        if let Some(seconds) = toolpack.call_seconds {
            limits.call_timeout = Duration::from_secs(seconds);
        }
        Self::with_limits(toolpack, client, limits)
    }

    /// With limits of one's own.
    #[must_use]
    pub fn with_limits(toolpack: Toolpack, client: Arc<dyn HttpClient>, limits: ToolpackLimits) -> Self {
        let tools: Vec<_> = toolpack.tools.iter().map(ToolPlan::definition).collect();
        let listing = serde_json::value::to_raw_value(&json!({ "tools": tools })).expect("a value is always JSON");
        Self { toolpack, client, limits, turns: Semaphore::new(limits.max_concurrent), listing }
    }

    async fn call_tool(&self, params: Option<&RawValue>, timeout: Option<Duration>) -> Outcome {
        let invalid = |text: &str| Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, text));
        let Some(Ok(members)) = params.map(Members::of) else {
            return invalid("tools/call wants an object with name and arguments");
        };
        let plan = members
            .string("name")
            .and_then(|name| self.toolpack.tools.iter().find(|plan| plan.tool.name.as_str() == name));
        let Some(plan) = plan else { return invalid("there is no tool of this name") };
        let within = timeout.map_or(self.limits.call_timeout, |timeout| timeout.min(self.limits.call_timeout));
        // Arguments that wait are text: read, they can be many times as large.
        let _turn = self.turns.acquire().await; // never closed
        let shown = match said(members.value("arguments")) {
            Ok(said) => Engine { plan, client: &*self.client, limits: &self.limits }.call(said, within).await,
            Err(why) => Shown::error(format!("The arguments were refused and nothing was sent: {why}.")),
        };
        Outcome::Complete(shown.into_result(plan))
    }
}

/// The arguments as a map. One that is named twice is refused, because a client may have checked the other one.
fn said(arguments: Option<&RawValue>) -> Result<Map<String, Value>, &'static str> {
    let Some(arguments) = arguments else { return Ok(Map::new()) };
    if !arguments.get().starts_with('{') {
        return Err("they have to be an object");
    }
    Members::of(arguments).map_err(|_| "one is named twice")?;
    serde_json::from_str(arguments.get()).map_err(|_| "a number is too large, or they are nested too deeply")
}

impl Upstream for ToolpackUpstream {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match &*call.method {
                "ping" => Outcome::Complete(RawValue::from_string("{}".into()).expect("it is JSON")),
                "tools/list" if has_cursor(call.params.as_deref()) => {
                    Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, "there is one page and no cursor"))
                }
                "tools/list" => Outcome::Complete(self.listing.clone()),
                "tools/call" => self.call_tool(call.params.as_deref(), call.timeout).await,
                _ => Outcome::refused(&RpcError::new(RpcError::METHOD_NOT_FOUND, "this server has tools only")),
            }
        })
    }
}

fn has_cursor(params: Option<&RawValue>) -> bool {
    let members = params.and_then(|params| Members::of(params).ok());
    members.and_then(|members| members.value("cursor").and_then(string)).is_some()
}

impl fmt::Debug for ToolpackUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolpackUpstream({} {})", self.toolpack.name, self.toolpack.version)
    }
}
