//! What is told of a task, whichever way: the answer that made it, answers, and notifications.

use serde_json::value::RawValue;

use super::{Task, listeners::Listener};
use crate::{
    aggregator::{
        backend::Entry,
        checked::fitting,
        identity::ProcessId,
        offer::Offer,
        passing::{labelled_error, labelled_requests},
    },
    mend::{mended_error, mended_result},
    message::{Notification, RpcError},
    object::{Members, quoted, string},
    upstream::Event,
};

/// What is told of a task, under the id that its client knows, with the server's name on what it asks, and with a result and an
/// error like those of any call. All that a server tells of a task comes through here.
pub(super) async fn told(
    entry: &Entry,
    task: &Task,
    tool: &str,
    exposed: &str,
    result: &RawValue,
) -> Result<Box<RawValue>, RpcError> {
    let malformed = |_| RpcError::new(RpcError::INTERNAL_ERROR, "the server tells of a task in a malformed way");
    entry.hub.ledger.asks(&entry.name, task, result, entry.policy().samplings_per_call)?;
    let mut told = labelled_requests(&entry.name, result)?.unwrap_or_else(|| result.to_owned());
    for name in ["taskId", "ttlMs", "pollIntervalMs", "result", "error"] {
        let members = Members::of(&told).map_err(malformed)?;
        let Some(value) = members.value(name) else { continue };
        let json = match name {
            "taskId" => Some(quoted(exposed)),
            "result" => result_of(entry, tool, value).await.map(|result| result.get().to_owned()),
            "error" => {
                let error = mended_error(value).unwrap_or_else(|| value.to_owned());
                Some(labelled_error(&entry.name, error).get().to_owned())
            }
            _ => whole(value),
        };
        if let Some(json) = json {
            told = Members::of(&told).map_err(malformed)?.with_raw(name, &json).expect("it is there");
        }
    }
    Ok(told)
}

/// The result of a tool, if it is not as it came.
async fn result_of(entry: &Entry, tool: &str, result: &RawValue) -> Option<Box<RawValue>> {
    let mended = mended_result("tools/call", None, result);
    let offer = entry.offer_now();
    let pointing = match &offer {
        Some(offer) => entry.hub.pointing_result(entry.index, offer, mended.as_deref().unwrap_or(result)).await,
        None => None,
    };
    let pointing = pointing.or(mended);
    let tools = offer.as_deref().map(|offer: &Offer| &*offer.catalogue.tools);
    let fitted = fitting(&entry.guard, tools, tool, pointing.as_deref().unwrap_or(result)).await;
    fitted.or(pointing)
}

/// A number of milliseconds that is not a whole one, made one.
fn whole(value: &RawValue) -> Option<String> {
    let text = value.get();
    if text == "null" || text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: f64 = string(value).as_deref().unwrap_or(text).parse().ok()?;
    // Beyond that, a float is no whole number of milliseconds any more.
    (0.0..9.0e15).contains(&number).then(|| format!("{:.0}", number.ceil().max(1.0)))
}

/// Notifications of a task of this process, one for each id under which it is listened to. Who may not use the tool any more, or
/// holds the id of another task, is told nothing.
pub(in crate::aggregator) async fn notices(entry: &Entry, process: &ProcessId, event: &Notification) -> Vec<Event> {
    let Some(params) = event.params.as_deref() else { return Vec::new() };
    let id = Members::of(params).ok().and_then(|members| members.string("taskId").map(|id| id.into_owned()));
    let Some(id) = id else { return Vec::new() };
    let task = Task { server: entry.index, process: process.clone(), id: id.into() };
    let mut notices = Vec::new();
    for Listener { exposed, tool, call, .. } in entry.hub.tasks.of(&task) {
        if entry.hub.ledger.is_of(&entry.name, &task, call)
            && entry.allows_now(&tool)
            && let Ok(params) = told(entry, &task, &tool, &exposed, params).await
        {
            notices.push(Notification { method: event.method.clone(), params: Some(params) }.into());
        }
    }
    entry.hub.task_is_told(&entry.name, &task, params).await;
    notices
}
