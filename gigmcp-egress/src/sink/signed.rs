use crate::placeholder::Placeholder;
use crate::refusal::Refusal;
use crate::request::ValidRequest;
use crate::signer::{Signer, Unsigned};
use crate::sink::Place;

/// Asks a signer whether the sandbox signed with this placeholder.
pub(crate) fn find(
    signer: &dyn Signer,
    request: &ValidRequest,
    placeholder: &Placeholder,
) -> Result<Vec<Place>, Refusal> {
    let headers = signer.claim(&unsigned(request, None), placeholder);
    Ok(if headers.is_empty() { Vec::new() } else { vec![Place::Signature { headers }] })
}

/// A request as a signer sees it.
pub(crate) fn unsigned<'a>(request: &'a ValidRequest, body: Option<&'a [u8]>) -> Unsigned<'a> {
    let destination = &request.downstream.destination;
    Unsigned {
        method: &request.method,
        host: &destination.host,
        port: destination.port,
        target: &request.target,
        headers: &request.headers,
        body,
    }
}
