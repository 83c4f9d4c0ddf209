use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::OnceCell;

use crate::authority::SandboxAuthority;
use crate::ca::{LEAF_LIFETIME, MintError};
use crate::limits::Limits;
use crate::name::HostName;
use crate::rates::Bucket;

/// The TLS configurations of one sandbox, one per name.
///
/// Each has its own ticket keys and session cache, so a session of one name or sandbox cannot be resumed as another.
/// A name is minted once, however many handshakes wait for it, and no lock is held while it is.
pub(crate) struct ServerConfigs {
    authority: SandboxAuthority,
    by_name: Mutex<HashMap<HostName, Slot>>,
    capacity: usize,
    mints: Mutex<Bucket>,
}

struct Slot {
    config: Arc<OnceCell<Arc<ServerConfig>>>,
    used: Instant,
    made: Instant,
}

/// Why there is no configuration for a name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoConfig {
    #[error("more certificates than the limit")]
    Rate,
    #[error(transparent)]
    Mint(#[from] MintError),
}

impl ServerConfigs {
    pub(crate) fn new(authority: SandboxAuthority, limits: &Limits) -> Self {
        let mints = Mutex::new(Bucket::full(limits.mints));
        Self { authority, by_name: Mutex::default(), capacity: limits.tls_names.max(1), mints }
    }

    /// The configuration for a name that the grant allows.
    pub(crate) async fn of(&self, host: &HostName) -> Result<Arc<ServerConfig>, NoConfig> {
        let cell = self.slot(host);
        let mint = || async {
            if self.may_mint() { Ok(Arc::new(server_config(host, &self.authority)?)) } else { Err(NoConfig::Rate) }
        };
        cell.get_or_try_init(mint).await.cloned()
    }

    fn may_mint(&self) -> bool {
        self.mints.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
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

fn server_config(host: &HostName, authority: &SandboxAuthority) -> Result<ServerConfig, MintError> {
    let leaf = authority.mint(host)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(leaf)));
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_11.to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_PER_NAME);
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

/// How upstreams are spoken to, with this judge of their certificates.
pub(crate) fn client_config(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .dangerous() // the name of the door; every verifier of ours is the library's with more demands
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // The library keeps sessions by name alone, for whichever identity and port. Warm connections are in our pool.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
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
    use crate::rule::Rate;

    fn configs(edit: impl FnOnce(&mut Limits)) -> ServerConfigs {
        let mut limits = Limits::default();
        edit(&mut limits);
        ServerConfigs::new(
            SandboxAuthority::generate(["*.example.com".parse().unwrap()], Arc::default()).unwrap(),
            &limits,
        )
    }

    fn names<const N: usize>(names: [&str; N]) -> [HostName; N] {
        names.map(|name| format!("{name}.example.com").parse().unwrap())
    }

    #[tokio::test]
    async fn a_name_is_minted_once_and_the_least_used_makes_room() {
        let configs = configs(|limits| limits.tls_names = 2);
        let [a, b, c] = names(["a", "b", "c"]);
        let (first, again) = tokio::join!(configs.of(&a), configs.of(&a));
        let first = first.unwrap();
        assert!(Arc::ptr_eq(&first, &again.unwrap()), "single-flight");
        configs.of(&b).await.unwrap();
        configs.of(&a).await.unwrap();
        configs.of(&c).await.unwrap();
        assert!(Arc::ptr_eq(&first, &configs.of(&a).await.unwrap()), "still there");
        assert_eq!(configs.by_name.lock().unwrap().len(), 2, "bounded");
    }

    #[tokio::test]
    async fn minting_has_a_rate_and_names_that_were_minted_do_not_count() {
        let configs = configs(|limits| limits.mints = Rate { count: 2, per: Duration::from_secs(3600) });
        let [a, b, c] = names(["a", "b", "c"]);
        for name in [&a, &a, &b, &b] {
            configs.of(name).await.unwrap();
        }
        assert!(matches!(configs.of(&c).await, Err(NoConfig::Rate)));
        configs.of(&a).await.unwrap();
    }

    #[tokio::test]
    async fn a_host_outside_of_the_authority_has_no_configuration() {
        let configs = configs(|_| ());
        let outside = "evil.test".parse().unwrap();
        assert!(matches!(configs.of(&outside).await, Err(NoConfig::Mint(MintError::Scope { .. }))));
        configs.of(&names(["a"])[0]).await.unwrap(); // the twin
    }
}
