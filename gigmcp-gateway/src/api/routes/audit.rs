//! The audit trail: searched, verified, exported, and followed live.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::super::{
    ApiError, Body, Call, Code, Page, Plain, Reply, Route, State,
    page::{Limit, cursor, read_cursor},
    route,
    stream::{self, Chunk},
};
use crate::{
    output::whole,
    people::{Access, Actor, ApiScope, Area, Deed, Role, Rule, UserId},
    store::{Ahead, Search, now_millis},
    trail::{ChainedRow, ExportError, Exporter, Filter, Line, PAGE_ROWS, Place, Report, VerifyError, verify},
};

/// Everybody sees what is about themselves.
const READ: Rule = Rule::new(Access::OwnOr(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::Audit));
const READ_ALL: Rule = Rule::new(Access::AtLeast(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::Audit));

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/audit", "audit", READ)
            .summary("Rows about oneself, newest first; for auditors, those about everybody. A page may be empty and not the last")
            .query::<Asked>()
            .answers(StatusCode::OK, list),
        route(Method::GET, "/audit/verify", "verify_audit", READ_ALL)
            .summary("Whether any row was changed, put in or taken out, and which is the first")
            .answers(StatusCode::OK, check),
        route(Method::GET, "/audit/export", "export_audit", READ_ALL)
            .summary("All rows as JSON lines, which `gigmcp-gateway audit verify --file` checks elsewhere if no filter was given")
            .query::<Exported>()
            .responds(StatusCode::OK, "application/jsonl", export),
        route(Method::GET, "/audit/tail", "tail_audit", READ)
            .summary("Rows as they are written, as server-sent events; the header Last-Event-ID names where to go on")
            .query::<Followed>()
            .responds(StatusCode::OK, "text/event-stream", tail),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// At most so many.
    limit: Option<Limit>,
    /// What the page before gave as `next_cursor`.
    cursor: Option<String>,
    /// Not before, in milliseconds since 1970.
    since_ms: Option<i64>,
    /// Before, in milliseconds since 1970.
    until_ms: Option<i64>,
    kind: Option<Plain>,
    owner: Option<Plain>,
    profile: Option<Plain>,
    server: Option<Plain>,
    instance: Option<Plain>,
    /// Of this tool call.
    call: Option<Plain>,
    /// Of this request of a server.
    request: Option<Plain>,
    /// Only alarms.
    #[serde(default)]
    alarms: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Exported {
    /// Only rows after the one with this id.
    after: Option<i64>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    kind: Option<Plain>,
    owner: Option<Plain>,
    profile: Option<Plain>,
    server: Option<Plain>,
    instance: Option<Plain>,
    /// Of this tool call.
    call: Option<Plain>,
    /// Of this request of a server.
    request: Option<Plain>,
    /// Only alarms.
    #[serde(default)]
    alarms: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Followed {
    kind: Option<Plain>,
    profile: Option<Plain>,
    server: Option<Plain>,
    /// Only alarms.
    #[serde(default)]
    alarms: bool,
}

/// What was found of the whole trail.
#[derive(JsonSchema, Serialize)]
struct AuditReport {
    /// Whether nothing is wrong.
    right: bool,
    /// The first row that is wrong, and what is wrong with it.
    broken: Option<BrokenRow>,
    /// Whether more rows are signed by nobody than a gateway leaves unsigned.
    left_unsigned: bool,
    /// What was counted, if nothing is wrong.
    report: Option<Value>,
    /// The keys that sign.
    keys: Vec<String>,
}

#[derive(JsonSchema, Serialize)]
struct BrokenRow {
    id: i64,
    flaw: String,
}

async fn list(call: Call<State, (), Asked>) -> Result<Reply<Page<Map<String, Value>>>, ApiError> {
    let asked = call.query;
    let plain = |asked: Option<Plain>| asked.map(|Plain(text)| text);
    let before = asked.cursor.as_deref().map(read_cursor).transpose()?.map(|text| text.parse());
    let before = before.transpose().map_err(|_| ApiError::unacceptable("the cursor is none that a page gave"))?;
    let filter = Filter {
        since_ms: asked.since_ms,
        until_ms: asked.until_ms,
        kind: plain(asked.kind),
        owner: plain(asked.owner),
        profile: plain(asked.profile),
        server: plain(asked.server),
        instance: plain(asked.instance),
        call: plain(asked.call),
        request: plain(asked.request),
        alarms: asked.alarms,
    };
    let actor = call.caller.as_ref().ok_or_else(ApiError::unauthenticated)?;
    let limit = asked.limit.unwrap_or_default().get() as u64;
    let found = match seen_by(actor, filter) {
        Some(filter) => call.state.store().search_audit(Search { filter, before, limit }).await?,
        None => Default::default(),
    };
    let next_cursor = found.before.map(|before: Place| cursor(&before.to_string()));
    Ok(Reply::of(Page { items: found.rows.iter().map(document).collect(), next_cursor }))
}

/// What of it somebody sees; nothing, if it is about somebody else.
fn seen_by(actor: &Actor, filter: Filter) -> Option<Filter> {
    if actor.may(&READ_ALL, None).is_ok() {
        return Some(filter);
    }
    let own = actor.shown().to_string();
    let about_other = filter.owner.as_ref().is_some_and(|owner| *owner != own);
    (!about_other).then_some(Filter { owner: Some(own), ..filter })
}

fn document(row: &ChainedRow) -> Map<String, Value> {
    match serde_json::to_value(row) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

async fn check(call: Call<State>) -> Result<Reply<AuditReport>, ApiError> {
    let _only = call.state.desk.verify()?;
    let keys = call.state.secrets().audit_keys().await?;
    let told = keys.iter().map(ToString::to_string).collect();
    let found = |report: Report| AuditReport {
        right: true,
        broken: None,
        left_unsigned: report.is_left_unsigned(now_millis()),
        report: serde_json::to_value(&report).ok(),
        keys: Vec::new(),
    };
    let verified = tokio::time::timeout(VERIFYING, verify(call.state.store(), &keys, None)).await;
    let late =
        |_| ApiError::new(Code::Unavailable, "the trail is too long for here; use `gigmcp-gateway audit verify`");
    let answer = match verified.map_err(late)? {
        Ok(report) => found(report),
        Err(VerifyError::Broken(broken)) => AuditReport {
            right: false,
            broken: Some(BrokenRow { id: broken.place, flaw: broken.flaw.to_string() }),
            left_unsigned: false,
            report: None,
            keys: Vec::new(),
        },
        Err(VerifyError::Store(error)) => return Err(error.into()),
        Err(error @ VerifyError::NeverSigned) => return Err(ApiError::new(Code::Unavailable, error.to_string())),
    };
    Ok(Reply::of(AuditReport { keys: told, ..answer }))
}

async fn export(call: Call<State, (), Exported>) -> Result<Response<Body>, ApiError> {
    let asked = call.query;
    let plain = |asked: Option<Plain>| asked.map(|Plain(text)| text);
    let filter = Filter {
        since_ms: asked.since_ms,
        until_ms: asked.until_ms,
        kind: plain(asked.kind),
        owner: plain(asked.owner),
        profile: plain(asked.profile),
        server: plain(asked.server),
        instance: plain(asked.instance),
        call: plain(asked.call),
        request: plain(asked.request),
        alarms: asked.alarms,
    };
    let actor = call.caller.as_ref().ok_or_else(ApiError::unauthenticated)?;
    let (place, _) = call.state.desk.tail(&actor.user, true)?;
    let begun = Exporter::begin(call.state.store(), filter, asked.after).await;
    let (exporter, head) = begun.map_err(|error| match error {
        ExportError::NoRow { place } => ApiError::unacceptable(format!("there is no row {place} in the chain")),
        ExportError::Store(error) => error.into(),
    })?;
    let (state, headers) = (Arc::clone(&call.state), call.raw.headers);
    Ok(stream::response("application/jsonl", async move |chunks| {
        let _place = place;
        if let Err(error) = write(&state, &headers, exporter, head, &chunks).await {
            // What came is cut off, so that nobody takes it for all.
            drop(chunks.send(Err(error)).await);
        }
    }))
}

async fn write(
    state: &State,
    headers: &HeaderMap,
    mut exporter: Exporter,
    head: Line,
    chunks: &mpsc::Sender<Chunk>,
) -> std::io::Result<()> {
    let mut lines = vec![head];
    let mut last = false;
    loop {
        let text: String = lines.iter().map(|line| line.to_json() + "\n").collect();
        if send(chunks, text).await.is_none() || last {
            return Ok(());
        }
        if allowed(state, headers, &READ_ALL).await.is_none() {
            return Err(std::io::Error::other("the caller may not read on"));
        }
        let next = exporter.next().await.map_err(|error| {
            tracing::error!("an export of the audit trail ended early: {}", whole(&error));
            std::io::Error::other("the database failed")
        })?;
        lines = next.lines;
        last = next.last;
        if last {
            lines.extend(next.rest);
        }
    }
}

async fn tail(call: Call<State, (), Followed>) -> Result<Response<Body>, ApiError> {
    let Followed { kind, profile, server, alarms } = call.query;
    let [kind, profile, server] = [kind, profile, server].map(|asked| asked.map(|Plain(text)| text));
    let filter = Filter { kind, profile, server, alarms, ..Filter::default() };
    let last = call.raw.headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| id.parse::<Place>().ok()));
    let after = match last {
        Some(last) => last.ok_or_else(|| ApiError::invalid("Last-Event-ID is not the id of a row"))?,
        None => call.state.store().audit_tail(1).await?.last().map_or(Place::MIN, |row| row.id),
    };
    let actor = call.caller.as_ref().ok_or_else(ApiError::unauthenticated)?;
    let (place, mut ending) = call.state.desk.tail(&actor.user, actor.may(&READ_ALL, None).is_ok())?;
    let shown = actor.shown().clone();
    let (state, headers) = (Arc::clone(&call.state), call.raw.headers);
    let mut response = stream::response("text/event-stream", async move |chunks| {
        let _place = place;
        tokio::select! {
            _ = ending.wait_for(|ending| *ending) => {}
            _ = follow(&state, &headers, &shown, filter, after, &chunks) => {}
        }
    });
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Goes on until the caller is gone, or may not read any more.
async fn follow(
    state: &State,
    headers: &HeaderMap,
    shown: &UserId,
    filter: Filter,
    mut after: Place,
    chunks: &mpsc::Sender<Chunk>,
) -> Option<Infallible> {
    let mut quiet = Duration::ZERO;
    chunks.send(Ok(Bytes::from_static(b": here\n\n"))).await.ok()?;
    loop {
        // Each time: a session or key may have been ended, and a role taken.
        let actor = allowed(state, headers, &READ).await?;
        // A view that has ended, or begun: whoever reads is told whose rows these are only at the beginning.
        if actor.shown() != shown || chunks.is_closed() {
            return None;
        }
        let filter = seen_by(&actor, filter.clone())?;
        let found = state.store().audit_ahead(Ahead { filter, after, limit: PAGE_ROWS }).await.ok()?;
        after = found.upto;
        let mut text = String::new();
        for row in &found.rows {
            let json = serde_json::to_string(row).ok()?;
            text.push_str(&format!("id: {}\nevent: row\ndata: {json}\n\n", row.id));
        }
        if text.is_empty() && quiet >= KEEP_ALIVE {
            text.push_str(": still here\n\n");
        }
        quiet = if text.is_empty() { quiet + POLL } else { Duration::ZERO };
        if !text.is_empty() {
            send(chunks, text).await?;
        }
        if found.last {
            tokio::select! {
                () = chunks.closed() => return None,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

/// Whoever does not read gives its place up.
async fn send(chunks: &mpsc::Sender<Chunk>, text: String) -> Option<()> {
    chunks.send_timeout(Ok(text.into()), UNREAD).await.ok()
}

/// Who is calling by now, if they still may.
async fn allowed(state: &State, headers: &HeaderMap, rule: &Rule) -> Option<Actor> {
    let actor = state.still(headers).await.ok().flatten()?;
    actor.may(rule, Some(actor.shown())).is_ok().then_some(actor)
}

/// The database does not tell of rows.
const POLL: Duration = Duration::from_secs(1);
/// Less than what proxies wait for.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long whoever follows may take to read a part.
const UNREAD: Duration = Duration::from_secs(60);
const VERIFYING: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;
