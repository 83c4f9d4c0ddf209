//! What a client says of an extension, on its way to whoever has it.

use std::sync::Arc;

use http::{Response, StatusCode};

use super::{
    Principal, StreamableHttp,
    body::ResponseBody,
    reply::{empty, rpc_error},
    session::{Session, lock},
};
use crate::{
    message::{Notification, RpcError},
    upstream::{Call, Upstream},
};

impl StreamableHttp {
    /// Passes a notification on; it takes part of what its principal may have under way, like a request.
    pub(super) async fn pass_notice<U: Upstream + ?Sized>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        told: Call,
    ) -> Response<ResponseBody> {
        // A server of the newer era is told with it what the client declares.
        let context = told.context.as_deref().map_or(0, |context| context.capabilities.get().len());
        let bytes = told.params.as_ref().map_or(0, |params| params.get().len());
        if bytes.max(context) > MAX_NOTICE_BYTES {
            let error = RpcError::new(RpcError::INVALID_REQUEST, "the notification is too long");
            return rpc_error(StatusCode::PAYLOAD_TOO_LARGE, None, &error);
        }
        let Some(_share) = self.shares.request(principal, bytes + context) else {
            let error = RpcError::new(RpcError::INTERNAL_ERROR, "too many requests are under way");
            return rpc_error(StatusCode::TOO_MANY_REQUESTS, None, &error);
        };
        upstream.notify(told).await;
        empty(StatusCode::ACCEPTED)
    }
}

impl Session {
    /// Notes what serves the session now, which learns what its client has asked for.
    pub(super) async fn speaks_to<U: Upstream + ?Sized + 'static>(self: &Arc<Self>, upstream: &Arc<U>) {
        if self.is_served_by(upstream) && self.has_asked_for_something() {
            self.moves_to(upstream).await;
        }
    }

    /// What a client says of an extension that it has declared.
    pub(super) fn notice(self: &Arc<Self>, notification: &Notification) -> Option<Call> {
        if !self.has_declared(&notification.method) {
            return None;
        }
        let mut told = Call::new(notification.method.clone(), notification.params.clone()).of_client(self.client);
        told.context = Some(Arc::clone(&lock(&self.context)));
        Some(told)
    }
}

/// As much as a server may say of one.
const MAX_NOTICE_BYTES: usize = 64 << 10;
