use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ServerSessionMemoryCache;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::OnceCell;

use crate::ca::{CertificateAuthority, LEAF_LIFETIME};
use crate::name::HostName;

/// The TLS configurations of one identity, one per name.
///
/// Each has its own ticket keys and session cache, so a session of one name or sandbox cannot be resumed as another.
/// A name is minted once, however many handshakes wait for it, and no lock is held while it is.
pub(crate) struct ServerConfigs {
    by_name: Mutex<HashMap<HostName, Slot>>,
    capacity: usize,
}

struct Slot {
    config: Arc<OnceCell<Arc<ServerConfig>>>,
    used: Instant,
    made: Instant,
}

impl ServerConfigs {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { by_name: Mutex::default(), capacity: capacity.max(1) }
    }

    /// The configuration for a name that the grant allows.
    pub(crate) async fn of(&self, host: &HostName, ca: &CertificateAuthority) -> Result<Arc<ServerConfig>, MintError> {
        let cell = self.slot(host);
        cell.get_or_try_init(|| async { server_config(host, ca).map(Arc::new) }).await.cloned()
    }

    fn slot(&self, host: &HostName) -> Arc<OnceCell<Arc<ServerConfig>>> {
        let now = Instant::now();
        let mut by_name = self.by_name.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        by_name.retain(|_, slot| now.duration_since(slot.made) < RENEW_AFTER);
        if by_name.len() >= self.capacity && !by_name.contains_key(host) {
            let oldest = by_name.iter().min_by_key(|(_, slot)| slot.used).map(|(name, _)| name.clone());
            oldest.and_then(|name| by_name.remove(&name));
        }
        let slot = by_name.entry(host.clone()).or_insert_with(|| Slot { config: Arc::default(), used: now, made: now });
        slot.used = now;
        Arc::clone(&slot.config)
    }
}

/// A leaf could not be made. Means that the random source or the signer failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MintError {
    #[error("signing the leaf")]
    Sign(#[from] rcgen::Error),
    #[error("configuring TLS")]
    Configure(#[from] rustls::Error),
}

fn server_config(host: &HostName, ca: &CertificateAuthority) -> Result<ServerConfig, MintError> {
    let leaf = ca.mint(host)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(leaf.chain, leaf.key)?;
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_11.to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_PER_NAME);
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

/// How upstreams are verified: always, against the roots of this machine and what the operator adds.
pub(crate) fn client_config(
    roots: &[CertificateDer<'static>],
    extra: &[CertificateDer<'static>],
) -> Result<ClientConfig, rustls::Error> {
    let mut store = RootCertStore::empty();
    // Machine stores hold a few certificates that rustls does not take; those are not trusted then.
    store.add_parsable_certificates(roots.iter().cloned());
    for root in extra {
        store.add(root.clone())?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The public roots of this machine; those of `SSL_CERT_FILE` and `SSL_CERT_DIR` if the operator set them.
pub(crate) fn machine_roots() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(error = error as &dyn std::error::Error, "a certificate of the machine's store was not read");
    }
    found.certs
}

/// Reads the certificates of a PEM file, all of them or an error.
pub(crate) fn read_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() { Err(rustls::pki_types::pem::Error::NoItemsFound) } else { Ok(certificates) }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Names of protocols in ALPN (RFC 7301, RFC 9113).
pub(crate) const HTTP_2: &[u8] = b"h2";
pub(crate) const HTTP_11: &[u8] = b"http/1.1";
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const SESSIONS_PER_NAME: usize = 32;
/// Well before a leaf expires.
const RENEW_AFTER: Duration = Duration::from_secs(LEAF_LIFETIME.as_secs() / 2);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_minted_once_and_the_least_used_makes_room() {
        let (ca, configs) = (CertificateAuthority::generate().unwrap(), ServerConfigs::new(2));
        let [a, b, c] =
            ["a.example.com", "b.example.com", "c.example.com"].map(|name| name.parse::<HostName>().unwrap());
        let (first, again) = tokio::join!(configs.of(&a, &ca), configs.of(&a, &ca));
        let first = first.unwrap();
        assert!(Arc::ptr_eq(&first, &again.unwrap()), "single-flight");
        configs.of(&b, &ca).await.unwrap();
        configs.of(&a, &ca).await.unwrap();
        configs.of(&c, &ca).await.unwrap();
        assert!(Arc::ptr_eq(&first, &configs.of(&a, &ca).await.unwrap()), "still there");
        assert_eq!(configs.by_name.lock().unwrap().len(), 2, "bounded");
    }

    #[test]
    fn extra_roots_are_read_whole_or_not_at_all() {
        let ca = CertificateAuthority::generate().unwrap();
        let pem = crate::ca::pem([ca.certificate()]);
        assert_eq!(read_pem(&pem).unwrap().len(), 1);
        assert!(read_pem(b"").is_err());
        assert!(read_pem(&pem[..pem.len() / 2]).is_err());
    }
}
