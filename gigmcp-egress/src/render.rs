use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, IF_RANGE, RANGE};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body::Frame;
use http_body_util::BodyExt as _;

use crate::authorize::{AuthorizedRequest, Injection, Reading};
use crate::body::{Body, full};
use crate::inspect::InspectedBody;
use crate::refusal::Refusal;
use crate::request::BodyLength;
use crate::rule::Allowance;
use crate::secret::{SecretString, UnusableSecret};
use crate::sink::signed::unsigned;
use crate::sink::{self, Place, Sink};

/// A request ready to be sent: written from checked parts, credentials in place. Only [`RenderedRequest::write`] makes one.
pub(crate) struct RenderedRequest(Request<Body>);

impl RenderedRequest {
    /// Writes the request. `secrets` are those of the injections, in their order.
    pub(crate) fn write(
        mut authorized: AuthorizedRequest,
        secrets: &[SecretString],
        body: InspectedBody,
    ) -> Result<Self, Refusal> {
        let body = match body {
            InspectedBody::Whole(bytes) => InspectedBody::Whole(fill_body(&authorized, secrets, bytes)?),
            InspectedBody::Stream(body) => InspectedBody::Stream(without_our_trailers(&authorized, body)),
        };
        fill_head(&mut authorized, secrets)?;
        let (reading, range) = (authorized.reading, authorized.rule.allows(Allowance::Range));
        let headers = &mut authorized.request.headers;
        if reading != Reading::Needless {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            for name in ASKS_FOR_OTHER_BYTES {
                headers.remove(*name);
            }
        }
        if reading == Reading::Required && !range {
            // Slices of an answer could be put together beyond us.
            headers.remove(RANGE);
            headers.remove(IF_RANGE);
        }
        // Last, so that it signs what is sent.
        sign(
            &mut authorized,
            secrets,
            match &body {
                InspectedBody::Whole(bytes) => Some(bytes),
                InspectedBody::Stream(_) => None,
            },
        )?;
        let AuthorizedRequest { request, .. } = authorized;
        let destination = request.downstream.destination.clone();
        let host = destination.authority();
        let uri = format!("{}://{host}{}", destination.scheme, request.target);
        let mut headers = request.headers;
        headers.insert(HOST, HeaderValue::try_from(host).expect("a host name is a header value"));
        let (length, body) = match body {
            InspectedBody::Whole(bytes) => (BodyLength::Known(bytes.len() as u64), full(bytes)),
            InspectedBody::Stream(body) => (request.length, body),
        };
        if let BodyLength::Known(length @ 1..) = length {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        let mut rendered = Request::new(body);
        *rendered.method_mut() = request.method;
        *rendered.version_mut() = request.version;
        *rendered.uri_mut() = Uri::try_from(uri).map_err(|_| Refusal::TargetNotCanonical)?;
        *rendered.headers_mut() = headers;
        rendered.extensions_mut().insert(request.downstream);
        Ok(Self(rendered))
    }

    /// The request for the upstream service: absolute target, `Host`, and [`Downstream`](crate::Downstream) in the extensions.
    pub(crate) fn into_http(self) -> Request<Body> {
        self.0
    }
}

/// What has an upstream write its answer so that a secret in it is not found: in other characters (`utf-16`), as a difference from
/// another answer (RFC 3229), or compressed as gRPC and Connect agree on beside HTTP. Without these it writes it as it is.
const ASKS_FOR_OTHER_BYTES: &[&str] = &["accept-charset", "a-im", "connect-accept-encoding", "grpc-accept-encoding"];

/// The body without trailers that some program may take for a header which is the place of a credential. Those that carry
/// credentials for everybody are gone already.
fn without_our_trailers(authorized: &AuthorizedRequest, body: Body) -> Body {
    // A body of known length has none.
    if !authorized.rule.allows(Allowance::Trailers) || authorized.request.length != BodyLength::Chunked {
        return body;
    }
    let host = &authorized.request.downstream.destination.host;
    let all = authorized.injections.iter().map(|injection| &injection.credential).chain(&authorized.others);
    let sinks: Vec<_> = all.filter(|one| one.is_bound_to(host)).map(|one| one.sink.clone()).collect();
    let strip = move |frame: Frame<Bytes>| {
        frame.into_trailers().map_or_else(
            |frame| frame,
            |mut trailers| {
                let is_ours = |name: &&HeaderName| sinks.iter().any(|sink| sink.owns_header(name));
                let ours: Vec<_> = trailers.keys().filter(is_ours).cloned().collect();
                for name in ours {
                    trailers.remove(name);
                }
                Frame::trailers(trailers)
            },
        )
    };
    body.map_frame(strip).boxed_unsync()
}

/// Writes the secrets that stand in headers and in the target.
fn fill_head(authorized: &mut AuthorizedRequest, secrets: &[SecretString]) -> Result<(), Refusal> {
    let AuthorizedRequest { request, injections, .. } = authorized;
    let mut pieces = Vec::new();
    for (Injection { credential, place }, secret) in injections.iter().zip(secrets) {
        match place {
            Place::Header { name, slot } => {
                let value = slot.render(secret).map_err(|error| unusable(credential.id.as_str(), error))?;
                request.headers.insert(name.clone(), value);
            }
            Place::Target { range, spelling } => pieces.push((range, *spelling, secret)),
            Place::Body { .. } | Place::Signature { .. } => {}
        }
    }
    if !pieces.is_empty() {
        let filled = sink::fill(request.target.as_bytes(), pieces).map_err(|error| unusable("in the target", error))?;
        request.target = String::from_utf8(filled).map_err(|_| Refusal::CredentialUnusable)?;
    }
    Ok(())
}

/// Writes the secrets that stand in the body.
fn fill_body(authorized: &AuthorizedRequest, secrets: &[SecretString], bytes: Bytes) -> Result<Bytes, Refusal> {
    let pieces: Vec<_> = authorized.injections.iter().zip(secrets).filter_map(piece_of_body).collect();
    if pieces.is_empty() {
        return Ok(bytes);
    }
    sink::fill(&bytes, pieces).map(Bytes::from).map_err(|error| unusable("in the body", error))
}

fn piece_of_body<'a>(
    (injection, secret): (&'a Injection, &'a SecretString),
) -> Option<(&'a std::ops::Range<usize>, sink::Spelling, &'a SecretString)> {
    match &injection.place {
        Place::Body { range, spelling } => Some((range, *spelling, secret)),
        Place::Header { .. } | Place::Target { .. } | Place::Signature { .. } => None,
    }
}

/// Has the signers sign what all else has made of the request.
fn sign(authorized: &mut AuthorizedRequest, secrets: &[SecretString], body: Option<&Bytes>) -> Result<(), Refusal> {
    let AuthorizedRequest { request, injections, .. } = authorized;
    for (Injection { credential, place }, secret) in injections.iter().zip(secrets) {
        let (Place::Signature { headers }, Sink::Signed(signer)) = (place, &credential.sink) else { continue };
        for name in headers {
            request.headers.remove(name);
        }
        let signed = signer.sign(&unsigned(request, body.map(|body| &**body)), secret).map_err(|error| {
            tracing::warn!(credential = %credential.id, error = &error as &dyn std::error::Error, "request not signed");
            Refusal::Signature
        })?;
        for (name, mut value) in signed {
            let Some(name) = name else { continue };
            value.set_sensitive(true);
            request.headers.insert(name, value);
        }
    }
    Ok(())
}

fn unusable(which: &str, error: UnusableSecret) -> Refusal {
    tracing::warn!(credential = which, error = &error as &dyn std::error::Error, "the credential cannot be injected");
    Refusal::CredentialUnusable
}
