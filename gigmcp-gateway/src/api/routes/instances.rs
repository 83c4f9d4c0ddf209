//! Sandboxes that were started, and what a monitor asks for.

use gigmcp_egress::Identity;
use http::{HeaderValue, Method, Response, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{
    ApiError, Body, Call, Page, Reply, Route, State, Text,
    page::{Limit, by_time, cursor, read_cursor},
    reply::whole,
    route,
};
use crate::{
    metrics,
    people::{Access, ApiScope, Area, Deed, Role, Rule},
    spec::ServerName,
    store::{InstanceRow, InstancesOf},
};

const READ: Rule = Rule::new(Access::OwnOr(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::System));
const METRICS: Rule = Rule::new(Access::AtLeast(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::System));

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/instances", "instances", READ)
            .summary("The sandboxes that were started for oneself, newest first; for auditors, those of everybody")
            .query::<Asked>()
            .answers(StatusCode::OK, list),
        route(Method::GET, "/metrics", "metrics", METRICS)
            .summary("Counters in the text format of Prometheus")
            .responds(StatusCode::OK, "text/plain", measure),
    ]
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
    let invalid = || ApiError::invalid("the cursor is none that a page gave");
    let after = match call.query.cursor.as_deref().map(read_cursor).transpose()? {
        Some(text) => {
            let (began, id) = text.split_once('/').ok_or_else(invalid)?;
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
