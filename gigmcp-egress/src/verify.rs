use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::{ClientConfig, RootCertStore};

use crate::name::HostName;
use crate::pattern::HostPattern;
use crate::pin::{PinnedVerifier, SpkiSha256};
use crate::proxy::BuildError;
use crate::{roots, tls};

/// What an operator demands of upstreams beside the public roots, as it was given.
#[derive(Default)]
pub(crate) struct Demands {
    pub(crate) roots_pem: Vec<u8>,
    pub(crate) roots_pem_for: Vec<(HostPattern, Vec<u8>)>,
    pub(crate) pins: Vec<(HostPattern, Vec<SpkiSha256>)>,
    pub(crate) crls_pem: Vec<u8>,
}

/// How upstreams prove who they are: always, by the library's rules, against the roots of this machine and what the operator
/// adds. What is added narrows or widens whom a host is believed; nothing turns the proof off.
pub(crate) struct UpstreamTls {
    roots: RootCertStore,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    roots_for: Vec<(HostPattern, Vec<CertificateDer<'static>>)>,
    pins: Vec<(HostPattern, Vec<SpkiSha256>)>,
    usual: Arc<ClientConfig>,
    /// The configurations of hosts that something is said about, by what is said: as many as the operator wrote.
    special: Mutex<HashMap<Said, Arc<ClientConfig>>>,
}

/// Which entries speak of a host: of the roots, and of the pins.
type Said = (Vec<usize>, Vec<usize>);

impl UpstreamTls {
    pub(crate) fn new(demands: Demands, machine_roots: &[CertificateDer<'static>]) -> Result<Self, BuildError> {
        let mut roots = RootCertStore::empty();
        // Machine stores hold a few certificates that rustls does not take; those are not trusted then.
        roots.add_parsable_certificates(machine_roots.iter().cloned());
        if !demands.roots_pem.is_empty() {
            add(&mut roots, &read_roots(&demands.roots_pem)?).map_err(BuildError::Tls)?;
        }
        let read_for = |(host, pem): (HostPattern, Vec<u8>)| Ok((host, read_roots(&pem)?));
        let roots_for = demands.roots_pem_for.into_iter().map(read_for).collect::<Result<Vec<_>, BuildError>>()?;
        if demands.pins.iter().any(|(_, pins)| pins.is_empty()) {
            return Err(BuildError::NoPin);
        }
        let revoked = if demands.crls_pem.is_empty() { Vec::new() } else { read_crls(&demands.crls_pem)? };
        let usual = config(&roots, &revoked, Vec::new()).map_err(BuildError::Tls)?;
        let tls = Self { roots, revoked, roots_for, pins: demands.pins, usual, special: Mutex::default() };
        // A root that is not one is told now, and not when a host is asked for.
        let all = ((0..tls.roots_for.len()).collect(), (0..tls.pins.len()).collect());
        tls.build(&all).map_err(BuildError::Tls)?;
        Ok(tls)
    }

    /// How to speak to this host. The same for all connections to it, so what one proved holds when it is resumed.
    pub(crate) fn of(&self, host: &HostName) -> Result<Arc<ClientConfig>, rustls::Error> {
        let said = (speaking_of(host, &self.roots_for), speaking_of(host, &self.pins));
        if said.0.is_empty() && said.1.is_empty() {
            return Ok(Arc::clone(&self.usual));
        }
        let mut special = self.special.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(config) = special.get(&said) {
            return Ok(Arc::clone(config));
        }
        let config = self.build(&said)?;
        special.insert(said, Arc::clone(&config));
        Ok(config)
    }

    fn build(&self, (roots_for, pins): &Said) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut roots = self.roots.clone();
        for index in roots_for {
            add(&mut roots, &self.roots_for[*index].1)?;
        }
        config(&roots, &self.revoked, pins.iter().map(|index| self.pins[*index].1.clone()).collect())
    }
}

fn config(
    roots: &RootCertStore,
    revoked: &[CertificateRevocationListDer<'static>],
    pins: Vec<Vec<SpkiSha256>>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let roots = Arc::new(roots.clone());
    // A list speaks of its own authority's certificates; those of others are not refused for it.
    let library = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), tls::provider())
        .with_crls(revoked.iter().cloned())
        .allow_unknown_revocation_status()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let verifier: Arc<dyn ServerCertVerifier> = match pins.is_empty() {
        true => library,
        false => Arc::new(PinnedVerifier::new(library, roots, revoked, pins)?),
    };
    tls::client_config(verifier).map(Arc::new)
}

fn speaking_of<T>(host: &HostName, entries: &[(HostPattern, T)]) -> Vec<usize> {
    let matching = entries.iter().enumerate().filter(|(_, (pattern, _))| pattern.matches(host));
    matching.map(|(index, _)| index).collect()
}

fn add(store: &mut RootCertStore, certificates: &[CertificateDer<'static>]) -> Result<(), rustls::Error> {
    certificates.iter().try_for_each(|root| store.add(root.clone()))
}

fn read_roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    roots::read_pem(pem).map_err(BuildError::ExtraRoots)
}

fn read_crls(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, BuildError> {
    let read = CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match read.map_err(BuildError::RevocationLists)? {
        lists if lists.is_empty() => Err(BuildError::RevocationLists(rustls::pki_types::pem::Error::NoItemsFound)),
        lists => Ok(lists),
    }
}
