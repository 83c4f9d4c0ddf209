use std::sync::Arc;

use http::Response;

use crate::answer;
use crate::audit::Entry;
use crate::authorize::refused_placeholder;
use crate::body::{Body, full};
use crate::forward::Upgraded;
use crate::reader::Expected;
use crate::refusal::Refusal;
use crate::request::Downstream;
use crate::revocation::Ongoing;
use crate::scrub::Scrubber;
use crate::takeover::Takeover;
use crate::websocket::{self, Relay};

/// The answer to a request for WebSocket that the upstream agreed to: the frames that follow are relayed one by one.
pub(crate) async fn switch(
    ongoing: Ongoing,
    response: Response<Body>,
    expected: Expected,
    scrubber: Option<Scrubber>,
    mut entry: Entry,
) -> Response<Body> {
    let policy = Arc::clone(&ongoing.policy);
    let (parts, _) = response.into_parts();
    let upstream = parts.extensions.get::<Upgraded>().and_then(Upgraded::take);
    let accepted = expected.websocket.as_ref().map(|handshake| handshake.accepted(&parts.headers));
    let (Some(Ok(accepted)), Some(upstream)) = (accepted, upstream) else {
        return policy.refuse(entry, Refusal::UpstreamProtocol).await;
    };
    let mut headers = answer::for_sandbox(parts.headers, expected.cookies, scrubber.as_ref());
    websocket::forget_headers(&mut headers);
    headers.extend(accepted);
    entry.set_status(parts.status);
    let Downstream { identity, destination } = ongoing.downstream.clone();
    let relay = Relay {
        live: Arc::clone(&policy.live),
        judge: Box::new(move |owner| refused_placeholder(owner, &identity, destination.scheme)),
        scrubber,
        idle_deadline: policy.limits.idle_deadline,
        recheck: policy.limits.revocation_interval,
        still_allowed: Box::new(move || {
            let ongoing = ongoing.clone();
            Box::pin(async move { ongoing.goes_on().await })
        }),
        entry,
    };
    let mut answer = Response::new(full(""));
    (*answer.status_mut(), *answer.headers_mut()) = (parts.status, headers);
    answer.extensions_mut().insert(Takeover::new(move |sandbox| Box::pin(relay.run(sandbox, upstream))));
    answer
}
