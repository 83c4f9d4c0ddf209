//! What a client of the newer era says that wants no answer.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};

use super::{
    CLIENT_CAPABILITIES,
    check::{Refused, check},
    meta,
};
use crate::{
    extension::Extensions,
    http::{
        Principal, StreamableHttp,
        body::ResponseBody,
        reply::{empty, rpc_error},
    },
    message::{Notification, Request},
    upstream::{Call, Upstream},
};

impl StreamableHttp {
    /// A notification of an extension that the client has declared is passed on; any other says nothing to anybody.
    pub(super) async fn modern_notice<U: Upstream + ?Sized>(
        &self,
        principal: &Principal,
        upstream: &Arc<U>,
        headers: &HeaderMap,
        Notification { method, params }: Notification,
    ) -> Response<ResponseBody> {
        let declared = meta(params.as_deref()).and_then(|meta| meta.value(CLIENT_CAPABILITIES).map(Extensions::read));
        if declared.is_none_or(|declared| declared.owner_of_notice(&method).is_none()) {
            return empty(StatusCode::ACCEPTED);
        }
        // It says of itself what a request does.
        let said = Request { id: 0.into(), method, params };
        let mut checked = match check(headers, &said) {
            Ok(checked) => checked,
            Err(Refused { status, error }) => return rpc_error(status, None, &error),
        };
        checked.context.owner = Some(principal.owner());
        let mut told = Call::new(said.method, Some(checked.params));
        told.context = Some(Arc::new(checked.context));
        self.pass_notice(principal, upstream, told).await
    }
}
