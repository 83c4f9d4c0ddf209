//! Methods of extensions, and arguments that headers repeat.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use serde_json::value::RawValue;

use super::{Cached, Checked, call::Questions, check::Refused, finished};
use crate::{
    attended::Attended,
    extension::{SKILLS, TASKS, required},
    http::{
        Principal, StreamableHttp,
        body::{ResponseBody, stream_of_call},
        guard::single_header,
        reply::rpc_error,
        shares::{Taken, Unread},
    },
    message::{Request, RpcError, beginning},
    mirror::Said,
    object::Members,
    upstream::{Call, Upstream},
};

impl StreamableHttp {
    /// A method that the protocol itself does not have: passed on if an extension owns it that both sides have declared.
    pub(super) async fn extension<U: Upstream + ?Sized + 'static>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        (request, checked): (Request, Checked),
        (events, share): (bool, Option<Taken>),
    ) -> Response<ResponseBody> {
        let method = &*request.method;
        let unknown = || {
            let error = RpcError::new(RpcError::METHOD_NOT_FOUND, format!("Method not found: {}", beginning(method)));
            rpc_error(StatusCode::NOT_FOUND, Some(&request.id), &error)
        };
        // What is no method of any extension that we know of costs no look at the servers.
        if !method.contains('/') || is_internal(method) {
            return unknown();
        }
        let description = upstream.describe().await;
        let Some(id) = description.extensions.owner_of(method) else { return unknown() };
        // Skills ask for nothing that a client would have to be able to do.
        if id != SKILLS && !checked.context.extensions().has(id) {
            let mut error = RpcError::new(RpcError::MISSING_CAPABILITY, "Missing required client capability");
            error.data = Some(required(id));
            return rpc_error(StatusCode::BAD_REQUEST, Some(&request.id), &error);
        }
        let cached = match method {
            "skills/list" | "skills/get" | "resources/directory/read" => Cached::List,
            _ => Cached::Never,
        };
        // What is told of tasks and skills has ways of its own.
        if !events || matches!(id, SKILLS | TASKS) {
            return self.plain_call(upstream, &request, checked, cached).await;
        }
        self.told_call(upstream, (request, checked), share, Unread::new(&self.shares, principal)).await
    }

    /// A request whose server may say something meanwhile. It can ask for nothing: only requests of the protocol can go on later.
    async fn told_call<U: Upstream + ?Sized + 'static>(
        &self,
        upstream: &Arc<U>,
        (request, checked): (Request, Checked),
        share: Option<Taken>,
        unread: Unread,
    ) -> Response<ResponseBody> {
        let (parts, mut received) = stream_of_call(unread);
        let sink = Questions::none(&parts, &checked.context);
        let mut call = Call::new(request.method, Some(checked.params)).with_sink(sink);
        call.context = Some(Arc::new(checked.context));
        let (upstream, id) = (Arc::clone(upstream), request.id);
        let call = Attended::new(async move {
            let outcome = tokio::select! {
                outcome = upstream.call(call) => outcome,
                // In this revision, a client that hangs up cancels.
                () = parts.closed() => return,
            };
            let (status, verdict) = finished(outcome, Cached::Never);
            drop(share);
            parts.answer(&id, status, &verdict).await;
        });
        let first = call.until(received.next()).await;
        self.whole_or_stream(first, received)
    }
}

/// Words of our own on the seam, which no client may say.
fn is_internal(method: &str) -> bool {
    matches!(method, crate::aggregator::SUBSCRIBE | crate::aggregator::UNSUBSCRIBE)
}

/// What headers repeat of a tool's arguments must be what the body says: whoever routed the request has read only those.
pub(super) async fn check_mirrored<U: Upstream + ?Sized>(
    upstream: &Arc<U>,
    headers: &HeaderMap,
    params: &RawValue,
) -> Result<(), Refused> {
    let Ok(members) = Members::of(params) else { return Ok(()) };
    let Some(tool) = members.string("name") else { return Ok(()) };
    for mirrored in upstream.mirrored(&tool).await.iter() {
        let name = mirrored.header();
        let said = match single_header(headers, &name) {
            Ok(header) => mirrored.compare(header, members.value("arguments")),
            Err(_) => Said::Other,
        };
        match said {
            Said::Same => {}
            Said::Other => return Err(Refused::mismatch(format!("{name} is not what the argument is"))),
            Said::Missing => return Err(Refused::mismatch(format!("{name} is missing"))),
        }
    }
    Ok(())
}
