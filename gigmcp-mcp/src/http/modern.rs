//! Clients of revision 2026-07-28: every request stands alone.

mod call;
mod check;
mod extensions;
mod listen;
mod notices;
mod parked;
mod result;

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use serde_json::{json, value::RawValue};

#[cfg(any(fuzzing, test))]
pub use self::check::laws::mcp_headers;
pub(super) use self::{call::Begun, parked::Parking};
use self::{
    check::{Checked, Refused, check},
    extensions::check_mirrored,
    result::{Cached, complete, error},
};
use super::{
    Principal, StreamableHttp, VERSION_HEADER,
    body::{Answer, Part, Received, ResponseBody, stream_of_call},
    reply::{answer as answer_reply, plain, rpc_error},
    shares::{Taken, Unread},
};
use crate::{
    message::{Message, Request, RpcError, Verdict, write_response},
    object::{Members, is_object},
    upstream::{Call, Outcome, Upstream},
    version::{Era, MODERN, ProtocolVersion},
};

/// Whether a message is of the newer era.
pub(super) fn is_modern(version: Option<&str>, message: &Message) -> bool {
    let (method, params) = match message {
        Message::Request(request) => (&*request.method, request.params.as_deref()),
        Message::Notification(notification) => (&*notification.method, notification.params.as_deref()),
        Message::Response(_) => ("", None),
    };
    let says_so = meta(params).is_some_and(|meta| meta.value(PROTOCOL_VERSION).is_some());
    let older = || version.is_none_or(|version| version.parse::<ProtocolVersion>().is_ok());
    says_so || method != "initialize" && (!older() || matches!(method, "server/discover" | "subscriptions/listen"))
}

/// Whether a header names the newer era.
pub(super) fn names_modern(headers: &HeaderMap) -> bool {
    headers.get(VERSION_HEADER).is_some_and(|version| version == MODERN)
}

/// The `_meta` of parameters.
fn meta(params: Option<&RawValue>) -> Option<Members<'_>> {
    let meta = Members::of(params?).ok()?.value("_meta").filter(|meta| is_object(meta))?;
    Members::of(meta).ok()
}

impl StreamableHttp {
    /// Answers one message of the newer era.
    pub(super) async fn modern<U: Upstream + ?Sized + 'static>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        headers: &HeaderMap,
        message: Message,
        events: bool,
        share: Option<Taken>,
    ) -> Response<ResponseBody> {
        let request = match message {
            Message::Request(request) => request,
            // Closing the stream is how a request is cancelled; what else there is to tell is of extensions.
            Message::Notification(notification) => {
                return self.modern_notice(principal, upstream, headers, notification).await;
            }
            Message::Response(_) => {
                let error = RpcError::new(RpcError::INVALID_REQUEST, "nothing was asked");
                return rpc_error(StatusCode::BAD_REQUEST, None, &error);
            }
        };
        let checked = match check(headers, &request) {
            Ok(mut checked) => {
                checked.context.owner = Some(principal.owner());
                checked
            }
            Err(Refused { status, error }) => return rpc_error(status, Some(&request.id), &error),
        };
        if &*request.method == "tools/call"
            && let Err(Refused { status, error }) = check_mirrored(upstream, headers, &checked.params).await
        {
            return rpc_error(status, Some(&request.id), &error);
        }
        match &*request.method {
            "server/discover" => self.discover(upstream, &request).await,
            "subscriptions/listen" if events => self.subscribe(principal, upstream, &request, checked.context).await,
            "subscriptions/listen" => plain(StatusCode::NOT_ACCEPTABLE, "the client does not accept text/event-stream"),
            "tools/call" | "prompts/get" | "resources/read" => {
                let (parts, received) = stream_of_call(Unread::new(&self.shares, principal));
                let begun = Begun { principal: principal.clone(), request, checked, parts, events, share };
                self.modern_call(upstream, begun, received).await
            }
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
                self.plain_call(upstream, &request, checked, Cached::List).await
            }
            "completion/complete" => self.plain_call(upstream, &request, checked, Cached::Never).await,
            _ => self.extension(principal, upstream, (request, checked), (events, share)).await,
        }
    }

    async fn discover<U: Upstream + ?Sized + 'static>(
        &self,
        upstream: &Arc<U>,
        request: &Request,
    ) -> Response<ResponseBody> {
        let description = upstream.describe().await;
        let mut result = json!({
            "supportedVersions": [MODERN],
            "capabilities": description.declared(Era::Modern),
            "_meta": { SERVER_INFO: { "name": self.identity.name, "version": self.identity.version } },
        });
        if let Some(instructions) = description.instructions {
            result["instructions"] = instructions.into();
        }
        let result = serde_json::value::to_raw_value(&result).expect("strings are JSON");
        let verdict = complete(&result, Cached::List);
        answer_reply(Answer { status: StatusCode::OK, text: write_response(Some(&request.id), &verdict) })
    }

    /// A request that asks the client nothing.
    async fn plain_call<U: Upstream + ?Sized + 'static>(
        &self,
        upstream: &Arc<U>,
        request: &Request,
        checked: Checked,
        cached: Cached,
    ) -> Response<ResponseBody> {
        let mut call = Call::new(request.method.clone(), Some(checked.params));
        call.context = Some(Arc::new(checked.context));
        let (status, verdict) = finished(upstream.call(call).await, cached);
        answer_reply(Answer { status, text: write_response(Some(&request.id), &verdict) })
    }

    async fn modern_call<U: Upstream + ?Sized + 'static>(
        &self,
        upstream: &Arc<U>,
        begun: Begun,
        mut received: Received,
    ) -> Response<ResponseBody> {
        let id = begun.request.id.clone();
        let first = match self.parking.begin(upstream, begun) {
            Ok(Some(call)) => call.until(received.next()).await,
            Ok(None) => received.next().await,
            Err(error) => return rpc_error(StatusCode::OK, Some(&id), &error),
        };
        self.whole_or_stream(first, received)
    }

    /// What begins with its answer is nothing else; before anything else, a stream is opened.
    fn whole_or_stream(&self, first: Option<Part>, received: Received) -> Response<ResponseBody> {
        match first {
            Some(Part::Last(answer)) => answer_reply(answer),
            Some(Part::Event(first)) => received.into_response(first, self.limits.keep_alive),
            None => plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        }
    }
}

/// What a client gets for an outcome that is final.
fn finished(outcome: Outcome, cached: Cached) -> (StatusCode, Verdict) {
    match outcome {
        Outcome::Complete(result) => (StatusCode::OK, complete(&result, cached)),
        Outcome::Task(result) => (StatusCode::OK, Verdict::Result(result)),
        Outcome::Error(raw) => error(&raw),
        Outcome::InputRequired(_) => {
            let text = "the server asks for input where it must not";
            (StatusCode::OK, Verdict::refused(&RpcError::new(RpcError::INTERNAL_ERROR, text)))
        }
        Outcome::Failed(failure) => {
            let data = json!({ "code": failure.code() });
            let error = RpcError::new(RpcError::INTERNAL_ERROR, failure.to_string()).with_data(&data);
            (StatusCode::OK, Verdict::refused(&error))
        }
    }
}

const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
