use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, IF_RANGE, RANGE};
use http::{HeaderValue, Request, Uri};

use crate::authorize::{AuthorizedRequest, Injection, Reading};
use crate::body::Body;
use crate::refusal::Refusal;
use crate::request::{BodyLength, Destination};
use crate::secret::SecretString;

/// A request ready to be sent: written from checked parts, credentials in place. Only [`RenderedRequest::write`] makes one.
pub(crate) struct RenderedRequest(Request<Body>);

impl RenderedRequest {
    /// Writes the request. `secrets` are those of the injections, in their order.
    pub(crate) fn write(authorized: AuthorizedRequest, secrets: &[SecretString], body: Body) -> Result<Self, Refusal> {
        let AuthorizedRequest { request, injections, others: _, reading } = authorized;
        let destination = request.downstream.destination.clone();
        let host = host_value(&destination);
        let uri = format!("{}://{host}{}", destination.scheme, request.target);
        let mut headers = request.headers;
        headers.insert(HOST, HeaderValue::try_from(host).expect("a host name is a header value"));
        if let BodyLength::Known(length @ 1..) = request.length {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        for (Injection { header, slot, credential }, secret) in injections.iter().zip(secrets) {
            let value = slot.render(secret).map_err(|error| {
                tracing::warn!(credential = %credential.id, error = &error as &dyn std::error::Error, "the credential cannot be injected");
                Refusal::CredentialUnusable
            })?;
            headers.insert(header.clone(), value);
        }
        if reading != Reading::Needless {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if reading == Reading::Required {
            // Slices of an answer could be put together beyond us.
            headers.remove(RANGE);
            headers.remove(IF_RANGE);
        }
        let mut rendered = Request::new(body);
        *rendered.method_mut() = request.method;
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

/// `host`, or `host:port` where the port is not the scheme's own.
fn host_value(destination: &Destination) -> String {
    let Destination { scheme, host, port } = destination;
    if *port == scheme.default_port() { host.to_string() } else { format!("{host}:{port}") }
}
