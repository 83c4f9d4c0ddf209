//! What a program speaks, found out by processes that are thrown away.
//!
//! Some lock their pipe to the era of the first message they hear, some end at a message that they do not know, and some never
//! answer it. So a process that serves is told only what its program is known to speak.

use std::{sync::Arc, time::Duration};

use gigmcp_egress::Placeholder;
use gigmcp_egress::Shape;
use gigmcp_mcp::{ConnectError, Era, Features, StdioLimits, StdioUpstream};
use tokio::time::Instant;

use crate::{
    egress::Entitlement,
    output::whole,
    spec::{Directory, Owner, SecretSlot, ServerName, ServerSpec},
    store::{Program, Store},
    supervisor::{Plan, StartError, Supervisor},
};

/// Finds out what a server speaks and keeps it, unless that is known. What cannot be found out now will be when the server is
/// started for somebody.
///
/// A program that knows both eras is taken for one of the newer: there is less to get wrong. The older one is asked for first,
/// because nearly every program answers it, and how long that took tells how long to wait for the other answer: many programs
/// never give one.
///
/// # Errors
/// If no process of it could be started.
pub(crate) async fn find_out(
    supervisor: &Arc<Supervisor>,
    server: &ServerName,
    limit: Duration,
) -> Result<Option<Era>, StartError> {
    let store = &supervisor.host.store;
    let unknown = |source| StartError::Record { server: server.clone(), source };
    let spec = store.server(server.clone()).await.map_err(unknown)?.spec;
    let known = store.program(server.clone(), spec.program()).await.map_err(unknown)?;
    if let Program { era: Some(era), .. } = known {
        return Ok(Some(era));
    }
    let (owner, began) = (Owner::local(), Instant::now());
    let legacy = ask(supervisor, &owner, server, &spec, Era::Legacy, limit).await?;
    if matches!(legacy, Err(ConnectError::Timeout { .. })) {
        return Ok(None);
    }
    let limit = match legacy {
        Ok(()) => (OTHER_ERA + 3 * began.elapsed()).min(limit),
        Err(_) => limit,
    };
    let modern = ask(supervisor, &owner, server, &spec, Era::Modern, limit).await?;
    let era = match (modern, legacy) {
        (Ok(()), _) => Some(Era::Modern),
        (Err(_), Ok(())) => Some(Era::Legacy),
        (Err(_), Err(_)) => None,
    };
    if let Some(era) = era {
        keep(store, server, &spec, era).await;
    }
    Ok(era)
}

/// Whether a program answers the first message of this era.
///
/// # Errors
/// If no process of it could be started.
pub(super) async fn speaks(
    supervisor: &Supervisor,
    owner: &Owner,
    server: &ServerName,
    spec: &ServerSpec,
    era: Era,
    limit: Duration,
) -> Result<bool, StartError> {
    Ok(ask(supervisor, owner, server, spec, era, limit).await?.is_ok())
}

/// Keeps what a program speaks. Whoever cannot keep it finds it out again.
pub(super) async fn keep(store: &Store, server: &ServerName, spec: &ServerSpec, era: Era) {
    let kept = store.found_of_program(server.clone(), spec.program(), move |program| program.era = Some(era)).await;
    match kept {
        Ok(()) => tracing::info!(%server, "it speaks {}", name(era)),
        Err(error) => tracing::warn!(%server, "what it speaks is not kept: {}", whole(&error)),
    }
}

async fn ask(
    supervisor: &Supervisor,
    owner: &Owner,
    server: &ServerName,
    spec: &ServerSpec,
    era: Era,
    limit: Duration,
) -> Result<Result<(), ConnectError>, StartError> {
    let spec = thrown_away(spec);
    let entitlement = Entitlement::Declared(Box::new(spec.clone()));
    let (owner, server) = (owner.clone(), server.clone());
    let plan = Plan { owner, server, spec, entitlement, shapes: Vec::new(), epoch: 0 };
    let mut running = supervisor.start(plan).await?;
    let streams = running.sandbox.stdio();
    let (stdin, stdout) = streams.expect("nobody else has taken the pipes of a new sandbox");
    let limits = StdioLimits { initialize_timeout: limit, ..StdioLimits::default() };
    let connected = StdioUpstream::connect_as(stdin, stdout, limits, Features::default(), era).await;
    let answered = connected.map(drop);
    running.close().await;
    Ok(answered)
}

/// The same program with nothing to lose and nowhere to go: it reaches no host, holds no secret, and what it writes is gone
/// with it, so it may run beside one that serves.
fn thrown_away(spec: &ServerSpec) -> ServerSpec {
    let mut spec = spec.clone();
    for slot in std::mem::take(&mut spec.secrets) {
        if let Ok(variable) = slot.variable().parse() {
            spec.env.insert(variable, stand_in(&slot));
        }
    }
    (spec.allow, spec.allow_read, spec.rules, spec.tcp) = Default::default();
    let state = spec.state.take().map(|_| Directory { path: "/state".into(), max_bytes: STATE_BYTES });
    spec.writable.extend(state.into_iter().chain(spec.kept.take()));
    spec
}

/// Something of the same shape, because programs look at that.
fn stand_in(slot: &SecretSlot) -> String {
    let shape = slot.shape.as_ref().and_then(|said| said.shape().ok()).unwrap_or_else(Shape::opaque);
    Placeholder::mint(&shape).as_str().to_owned()
}

fn name(era: Era) -> &'static str {
    match era {
        Era::Legacy => "MCP with a handshake (until 2025-11-25)",
        Era::Modern => "MCP without a handshake (from 2026-07-28 on)",
    }
}

/// How long the other era's answer is waited for beyond the time that a start takes.
pub(super) const OTHER_ERA: Duration = Duration::from_secs(2);
/// What a program that is thrown away may write to what would be its state.
const STATE_BYTES: u64 = 64 << 20;
