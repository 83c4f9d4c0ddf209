//! What is checked before a tool is called, and after it.

use std::fmt::Write as _;

use serde_json::{json, value::RawValue};

use super::{Aggregator, Misfit, backend::Ready, flow::Admitted, identity::Caller, named::Route};
use crate::{
    catalogue::NamedList,
    check::{Checked, Misfitting, Schema},
    guard::{Finding, Guard},
    message::RpcError,
    object::{Members, is_object, quoted},
    upstream::{Call, Outcome},
};

/// A call that the server does not hear of: the stable code, and what the client gets.
pub(super) type Unasked = (&'static str, Outcome);

impl Aggregator {
    /// Whether a call may be made: not too often, with arguments that fit, and not to carry out what was read elsewhere.
    pub(super) async fn before_call(
        &self,
        route: &Route<'_>,
        params: &RawValue,
        call: &Call,
    ) -> Result<Admitted, Unasked> {
        let guard = &route.entry.guard;
        self.hub.rates.admit(&route.entry.name, guard, &Caller::counted(call)).map_err(|wait| {
            guard.tally.add(Finding::RateLimited, 1);
            let data = json!({ "code": RATE_LIMITED, "server": route.entry.name.as_str(), "retryAfterMs": wait.as_millis() as u64 });
            let text = format!("server {} is called too often; try again in {} s", route.entry.name, wait.as_secs() + 1);
            (RATE_LIMITED, Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, text).with_data(&data)))
        })?;
        arguments(guard, &route.ready, &route.said.name, params).await?;
        let labels = guard.policy().labels_of(route.ready.catalogue.tools.find_own(&route.said.name));
        self.hub.flow.admit(&route.entry.name, (guard, labels), &Caller::of(call), call.sink.as_deref()).await
    }

    /// What a call came to, checked against the schema of what the tool gives.
    pub(super) async fn after_call(&self, route: &Route<'_>, outcome: Outcome) -> (Option<&'static str>, Outcome) {
        let Outcome::Complete(result) = &outcome else { return (None, outcome) };
        let guard = &route.entry.guard;
        let Some(fitting) = fitting(guard, Some(&route.ready.catalogue.tools), &route.said.name, result).await else {
            return (None, outcome);
        };
        let code = (guard.policy().structured_content == Misfit::Refused).then_some(RESULT_MISMATCH);
        (code, Outcome::Complete(fitting))
    }
}

/// What a client gets instead of a result that does not fit the schema of what the tool gives; nothing, if it fits.
/// A tool that is not there any more, while a task of it has gone on, gives nothing that could be checked.
pub(super) async fn fitting(
    guard: &Guard,
    tools: Option<&NamedList>,
    tool: &str,
    result: &RawValue,
) -> Option<Box<RawValue>> {
    let members = Members::of(result).ok()?;
    if members.value("isError").is_some_and(|flag| flag.get() == "true") {
        return None;
    }
    let misfit = |reason: &str| vec![Misfitting { path: String::new(), reason: reason.to_owned() }];
    let content = members.value("structuredContent");
    let misfits = match tools.and_then(|tools| tools.schemas(tool)) {
        None => misfit(content.map(|_| "the tool is not there any more")?),
        Some(schemas) => match (&schemas.output, content) {
            (None, _) => return None,
            (Some(_), None) => misfit("structuredContent is missing"),
            (Some(schema), Some(content)) => match schema.check(Some(content)).await {
                Checked::Fits => return None,
                Checked::Unknown(reason) => {
                    guard.unchecked(tool, reason);
                    return None;
                }
                Checked::Misfits(misfits) => misfits,
            },
        },
    };
    guard.tally.add(Finding::ResultMismatch, 1);
    match guard.policy().structured_content {
        Misfit::Passed => marked(&members, &misfits),
        Misfit::Refused => {
            let text = format!("the result of {tool} does not fit the tool's outputSchema: {}", said(&misfits));
            Some(failure(&text, RESULT_MISMATCH, &misfits))
        }
    }
}

/// A tool without arguments in a call has none; `null` is another way to say so. Both reach the server as written.
async fn arguments(guard: &Guard, ready: &Ready, tool: &str, params: &RawValue) -> Result<(), Unasked> {
    let Some(schemas) = ready.catalogue.tools.schemas(tool) else { return Ok(()) };
    if matches!(schemas.input, Schema::Anything) {
        return Ok(());
    }
    let members = Members::of(params).ok();
    let arguments = members.as_ref().and_then(|members| members.value("arguments")).filter(|raw| raw.get() != "null");
    match schemas.input.check(arguments).await {
        Checked::Fits => Ok(()),
        Checked::Unknown(reason) => {
            guard.unchecked(tool, reason);
            Ok(())
        }
        Checked::Misfits(misfits) => {
            guard.tally.add(Finding::ArgumentsRefused, 1);
            match guard.policy().arguments {
                Misfit::Passed => Ok(()),
                Misfit::Refused => {
                    // As its client calls it.
                    let named = ready.catalogue.tools.find_own(tool).map_or(tool, |named| &*named.exposed);
                    let text = format!("Invalid arguments for tool {named}: {}", said(&misfits));
                    Err((ARGUMENTS_INVALID, tool_error(&text, ARGUMENTS_INVALID, &misfits)))
                }
            }
        }
    }
}

fn said(misfits: &[Misfitting]) -> String {
    let mut said = String::new();
    for (index, Misfitting { path, reason }) in misfits.iter().enumerate() {
        let between = if index > 0 { "; " } else { "" };
        let _ = match path.is_empty() {
            true => write!(said, "{between}{reason}"),
            false => write!(said, "{between}at {path}: {reason}"),
        };
    }
    said
}

/// A model can do better next time, so it is told as the tool's failure and not as one of the protocol.
fn tool_error(text: &str, code: &str, misfits: &[Misfitting]) -> Outcome {
    Outcome::Complete(failure(text, code, misfits))
}

fn failure(text: &str, code: &str, misfits: &[Misfitting]) -> Box<RawValue> {
    let result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { (REFUSED): { "code": code, "errors": errors(misfits) } },
    });
    RawValue::from_string(result.to_string()).expect("it is JSON")
}

/// The result as it came, with a mark on it.
fn marked(result: &Members<'_>, misfits: &[Misfitting]) -> Option<Box<RawValue>> {
    let mark = errors(misfits).to_string();
    let meta = match result.value("_meta").filter(|meta| is_object(meta)) {
        Some(meta) => Members::of(meta).ok()?.set(MISMATCH, &mark),
        None => RawValue::from_string(format!("{{{}:{mark}}}", quoted(MISMATCH))).expect("it is JSON"),
    };
    Some(result.set("_meta", meta.get()))
}

fn errors(misfits: &[Misfitting]) -> serde_json::Value {
    misfits.iter().map(|Misfitting { path, reason }| json!({ "path": path, "reason": reason })).collect()
}

/// The stable codes of what is refused here.
const RATE_LIMITED: &str = "rate-limited";
const ARGUMENTS_INVALID: &str = "arguments-invalid";
const RESULT_MISMATCH: &str = "result-mismatch";
/// Members of `_meta` that are ours.
const REFUSED: &str = "gigmcp/refused";
const MISMATCH: &str = "gigmcp/outputSchemaMismatch";
