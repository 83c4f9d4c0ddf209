//! Sandboxes that were started, and what a monitor asks for.

use std::sync::Arc;

use gigmcp_egress::Identity;
use gigmcp_mcp::Launch;
use http::{HeaderValue, Method, Response, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{
    ApiError, Body, Call, Code, Page, Reply, Route, State, Text,
    page::{Limit, by_time, cursor, read_cursor},
    reply::whole,
    route,
};
use crate::{
    launch::ServerLaunch,
    metrics,
    output::whole as whole_text,
    people::{Access, ApiScope, Area, Deed, Kind, Role, Rule, done},
    spec::ServerName,
    store::{AuditRow, InstanceRow, InstancesOf},
};

const READ: Rule = Rule::new(Access::OwnOr(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::System));
const METRICS: Rule = Rule::new(Access::AtLeast(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::System));

/// Whoever may only take away what others have.
const STOP: Rule = Rule::new(Access::OwnOr(Role::Admin), Deed::Change).with_scope(ApiScope::write(Area::System));
/// Starts a server with what is the owner's.
const RESTART: Rule = Rule::new(Access::Own, Deed::Use);

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/instances", "instances", READ)
            .summary("The sandboxes that were started for oneself, newest first; for auditors, those of everybody")
            .query::<Asked>()
            .answers(StatusCode::OK, list),
        route(Method::GET, "/instances/{id}", "instance", READ)
            .summary("One sandbox that was started")
            .path::<InstancePath>()
            .answers(StatusCode::OK, async |call: Call<State, InstancePath>| {
                Ok(Reply::of(item(&call.state, found(&call, &READ).await?)))
            }),
        route(Method::POST, "/instances/{id}/stop", "stop_instance", STOP)
            .summary("Ends a sandbox that runs in this gateway, calls under way included; the next call starts another")
            .path::<InstancePath>()
            .does(stop),
        route(Method::POST, "/instances/{id}/restart", "restart_instance", RESTART)
            .summary("Ends a sandbox of one's own that runs in this gateway, and starts its server again at once")
            .path::<InstancePath>()
            .does(restart),
        route(Method::GET, "/metrics", "metrics", METRICS)
            .summary("Counters in the text format of Prometheus")
            .responds(StatusCode::OK, "text/plain", measure),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InstancePath {
    id: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// At most so many.
    limit: Option<Limit>,
    /// What the page before gave as `next_cursor`.
    cursor: Option<String>,
    /// Only of this server.
    server: Option<Text<ServerName>>,
    /// Only those that have not ended.
    #[serde(default)]
    unended: bool,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Instance")]
struct Item {
    id: String,
    owner: String,
    /// Empty for `exec`.
    profile: String,
    server: String,
    revision: i64,
    started_at: i64,
    ended_at: Option<i64>,
    state: Life,
}

#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "InstanceState")]
enum Life {
    /// In this gateway.
    Running,
    Ended,
    /// It runs in another gateway or program on this database, or that was killed.
    Unknown,
}

async fn list(call: Call<State, (), Asked>) -> Result<Reply<Page<Item>>, ApiError> {
    let actor = call.actor()?;
    let owner = actor.may(&METRICS, None).is_err().then(|| actor.shown().clone());
    let invalid = || ApiError::unacceptable("the cursor is none that a page gave");
    let after = match call.query.cursor.as_deref().map(read_cursor).transpose()? {
        Some(text) => {
            let (began, id) =
                text.split_once('/').filter(|(_, id)| !id.contains(char::is_control)).ok_or_else(invalid)?;
            Some((began.parse().map_err(|_| invalid())?, id.to_owned()))
        }
        None => None,
    };
    let of = InstancesOf {
        owner,
        server: call.query.server.as_ref().map(|of| of.0.clone()),
        unended: call.query.unended,
        after,
    };
    let limit = call.query.limit.unwrap_or_default().get();
    let mut rows = call.state.store().instances_of(of, limit as u64 + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| cursor(&by_time(row.started_at, row.id.as_str())));
    let items = rows.into_iter().map(|row| item(&call.state, row)).collect();
    Ok(Reply::of(Page { items, next_cursor }))
}

async fn stop(call: Call<State, InstancePath>) -> Result<Reply<()>, ApiError> {
    end(&call, &STOP, "ends").await?;
    Ok(Reply::of(()))
}

async fn restart(call: Call<State, InstancePath>) -> Result<Reply<()>, ApiError> {
    let launch = end(&call, &RESTART, "restarts").await?;
    match launch.launch().await {
        Ok(_) => Ok(Reply::of(())),
        Err(error) => {
            tracing::warn!("an instance that was to be restarted did not start: {}", whole_text(&error));
            Err(ApiError::new(Code::Upstream, "it was ended, and did not start again; the next call tries again"))
        }
    }
}

/// Ends one that runs here, and gives what starts the next.
async fn end(call: &Call<State, InstancePath>, rule: &Rule, what: &str) -> Result<Arc<ServerLaunch>, ApiError> {
    let row = found(call, rule).await?;
    let elsewhere = || ApiError::new(Code::Conflict, "it does not run in this gateway");
    if row.ended_at.is_some() || !call.state.supervisor().instances.runs(&row.id) {
        return Err(elsewhere());
    }
    let what = format!("{what} {} of {}", row.id.as_str(), row.server);
    let audit = AuditRow {
        profile: row.profile.clone(),
        server: row.server.to_string(),
        instance: row.id.as_str().to_owned(),
        ..done(Kind::Instance, &row.owner, what, call.actor()?)
    };
    call.state.store().add_audit(audit).await?;
    // What is found out of a program, or declared for `exec`, belongs to no profile.
    call.state.profiles.end_instance(&row.id).ok_or_else(elsewhere)
}

/// The instance, if this may be done to it by whoever asks.
async fn found(call: &Call<State, InstancePath>, rule: &Rule) -> Result<InstanceRow, ApiError> {
    let row = call.state.store().instance(Identity::new(call.path.id.clone())).await?;
    let row = row.ok_or_else(|| ApiError::not_found("thing"))?;
    call.actor()?.may(rule, Some(&row.owner))?;
    Ok(row)
}

fn item(state: &State, row: InstanceRow) -> Item {
    let runs = |id: &Identity| state.supervisor().instances.runs(id);
    Item {
        state: match row.ended_at {
            Some(_) => Life::Ended,
            None if runs(&row.id) => Life::Running,
            None => Life::Unknown,
        },
        id: row.id.as_str().to_owned(),
        owner: row.owner.to_string(),
        profile: row.profile,
        server: row.server.to_string(),
        revision: row.revision,
        started_at: row.started_at,
        ended_at: row.ended_at,
    }
}

async fn measure(call: Call<State>) -> Result<Response<Body>, ApiError> {
    let mut response =
        whole(StatusCode::OK, metrics::text(call.state.store(), &call.state.supervisor().instances, &call.state.http));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::MEDIA_TYPE));
    Ok(response)
}
