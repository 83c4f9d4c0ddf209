//! A registry behind an https address.

mod exchange;
mod url;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::{Download, Fetched, RegistryFile, Transport};
use crate::tls;
pub use exchange::HttpError;

use exchange::Answer;
use url::Url;

/// Fetches the files of a registry by https, with TLS roots of this machine.
///
/// Redirects to other https addresses are followed, five at most. A file that breaks off is gone on with where it stopped.
#[derive(Clone)]
pub struct Https {
    base: Url,
    tls: TlsConnector,
    timeout: Duration,
    stall: Duration,
    may_dial: Option<Arc<MayDial>>,
}

/// Whether this address, which that host resolved to, may be dialled.
type MayDial = dyn Fn(&str, IpAddr) -> bool + Send + Sync;

impl Https {
    /// The registry at `https://HOST[:PORT][/PATH]`, whose index is at `index.jsonl` below that.
    ///
    /// # Errors
    /// [`InvalidHttps::Address`] if it is anything else, plain http included.
    pub fn new(address: &str) -> Result<Self, InvalidHttps> {
        let base = Url::parse(address).ok_or_else(|| InvalidHttps::Address { address: address.into() })?;
        Ok(Self {
            base: base.as_directory(),
            tls: TlsConnector::from(tls::trusting(tls::machine_roots())),
            timeout: Duration::from_secs(300),
            stall: Duration::from_secs(20),
            may_dial: None,
        })
    }

    /// Trusts these TLS roots, in PEM, and no others.
    ///
    /// # Errors
    /// [`InvalidHttps::Roots`] if there is none in it.
    pub fn roots(self, pem: &[u8]) -> Result<Self, InvalidHttps> {
        self.trusting(RootCertStore::empty(), pem)
    }

    /// Trusts these TLS roots, in PEM, beside those of this machine.
    ///
    /// # Errors
    /// [`InvalidHttps::Roots`] if one of them cannot be read, or there is none at all to trust.
    pub fn extra_roots(self, pem: &[u8]) -> Result<Self, InvalidHttps> {
        self.trusting(tls::machine_roots(), pem)
    }

    /// Dials only what this allows; any address unless set. One that is not allowed spoils all of its host's. An address may
    /// redirect to others: without a check, it could have this machine ask its neighbours.
    #[must_use]
    pub fn addresses(self, may_dial: impl Fn(&str, IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { may_dial: Some(Arc::new(may_dial)), ..self }
    }

    /// The host of the address that it was made with.
    #[must_use]
    pub fn host(&self) -> &str {
        self.base.host()
    }

    fn trusting(self, mut roots: RootCertStore, pem: &[u8]) -> Result<Self, InvalidHttps> {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| InvalidHttps::Roots)?;
            roots.add(certificate).map_err(|_| InvalidHttps::Roots)?;
        }
        if roots.is_empty() {
            return Err(InvalidHttps::Roots);
        }
        Ok(Self { tls: TlsConnector::from(tls::trusting(roots)), ..self })
    }

    /// How long a file may take in all, 5 minutes unless set: a server that sends a byte now and then ends here.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How long nothing may arrive, 20 seconds unless set.
    #[must_use]
    pub fn stall(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// Goes on after a connection broke, as long as each attempt brings something.
    async fn attempts(&self, file: RegistryFile, download: &mut Download) -> Result<Fetched, HttpsError> {
        loop {
            let before = download.bytes().len();
            match self.redirected(file, download).await {
                Err(HttpsError::Http(error)) if error.is_break() && download.bytes().len() > before => {}
                ended => return ended,
            }
        }
    }

    async fn redirected(&self, file: RegistryFile, download: &mut Download) -> Result<Fetched, HttpsError> {
        let mut url = self.base.join(&file.to_string()).expect("the path of a file is one of an address");
        for _ in 0..=MAX_REDIRECTS {
            match exchange::get(&url, &self.tls, self.may_dial.as_deref(), self.stall, download).await? {
                Answer::Ended(fetched) => return Ok(fetched),
                Answer::Redirect(location) => {
                    url = url.join(&location).ok_or(HttpsError::Redirect { location })?;
                }
            }
        }
        Err(HttpsError::Redirects)
    }
}

impl Transport for Https {
    type Error = HttpsError;

    async fn fetch(&self, file: RegistryFile, download: &mut Download) -> Result<Fetched, HttpsError> {
        let ended = timeout_at(Instant::now() + self.timeout, self.attempts(file, download)).await;
        ended.unwrap_or(Err(HttpsError::TimedOut { after: self.timeout }))
    }
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Https({})", self.base)
    }
}

/// Why an address or its TLS roots cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHttps {
    /// Not an https address, or one with a user, a query or a fragment.
    #[error("{address:?} is not an address like https://registry.example/path")]
    Address {
        /// The address.
        address: String,
    },
    /// No certificate, or one that cannot be read.
    #[error("the TLS roots are not certificates in PEM")]
    Roots,
}

/// Why a file could not be fetched by https.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// Speaking with the server failed, or it gave an answer that is none to the request.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It took too long in all.
    #[error("the file did not arrive within {after:?}")]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// To plain http, or to what is no address.
    #[error("the server redirects to {location:?}, which is no https address")]
    Redirect {
        /// Where to.
        location: String,
    },
    /// Round and round.
    #[error("the server redirects more than {MAX_REDIRECTS} times")]
    Redirects,
}

const MAX_REDIRECTS: usize = 5;
