use std::fmt;

use http::{HeaderMap, HeaderName, Method};

use crate::name::HostName;
use crate::placeholder::Placeholder;
use crate::secret::SecretString;

/// Signs requests with a secret that does not travel itself, for schemes such as AWS Signature Version 4.
///
/// The sandbox signs with its placeholder, as its library does anyway. The signer tells whether it did, and signs anew.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The headers in which the sandbox signed in the name of this placeholder; none if it did not. They are taken off the
    /// request, and only in them may the placeholder stand.
    fn claim(&self, unsigned: &Unsigned<'_>, placeholder: &Placeholder) -> Vec<HeaderName>;

    /// Whether the signature covers the body, which is read whole then.
    fn reads_body(&self) -> bool;

    /// The headers that sign this request. They may hold nothing of the secret that can be read back.
    ///
    /// # Errors
    /// If the request cannot be signed; it is refused as `signature`.
    fn sign(&self, unsigned: &Unsigned<'_>, secret: &SecretString) -> Result<HeaderMap, SignError>;
}

/// A request as it will be sent, but for the signature.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Unsigned<'a> {
    /// The method.
    pub method: &'a Method,
    /// The host.
    pub host: &'a HostName,
    /// The port.
    pub port: u16,
    /// Path and query, byte for byte.
    pub target: &'a str,
    /// The headers, without `Host`.
    pub headers: &'a HeaderMap,
    /// The body, if [`Signer::reads_body`] asks for it and it is there by now.
    pub body: Option<&'a [u8]>,
}

/// A request could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("the request could not be signed")]
pub struct SignError {
    /// The cause, for the operator's log.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
