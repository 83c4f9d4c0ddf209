//! One authority for the origin and the peers, in files, because other programs read them too.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::world::{HOST, MINT_WILDCARD};
use crate::Failure;

pub(crate) const CA: &str = "ca.pem";
pub(crate) const CA_WITH_KEY: &str = "ca-with-key.pem";
pub(crate) const LEAF: &str = "leaf.pem";
pub(crate) const LEAF_KEY: &str = "leaf-key.pem";

/// Writes an authority and a leaf of it.
pub(crate) fn write(directory: &Path) -> Result<(), Failure> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "bench authority");
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?.pem();
    fs::write(directory.join(CA), &authority)?;
    fs::write(directory.join(CA_WITH_KEY), key.serialize_pem() + &authority)?;
    let leaf_key = KeyPair::generate()?;
    let names = vec![HOST.to_owned(), MINT_WILDCARD.to_owned()];
    let leaf = CertificateParams::new(names)?.signed_by(&leaf_key, &Issuer::new(params, key))?;
    fs::write(directory.join(LEAF), leaf.pem())?;
    fs::write(directory.join(LEAF_KEY), leaf_key.serialize_pem())?;
    Ok(())
}

/// Serves the leaf.
pub(crate) fn acceptor(directory: &Path) -> Result<TlsAcceptor, Failure> {
    let leaf = CertificateDer::from_pem_file(directory.join(LEAF))?;
    let key = PrivateKeyDer::from_pem_file(directory.join(LEAF_KEY))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Trusts these authorities, offers these protocols, and never resumes: a new connection is a new one.
pub(crate) fn connector(authorities: &[&Path], protocols: &[&[u8]]) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    for path in authorities {
        for certificate in CertificateDer::pem_file_iter(path)? {
            roots.add(certificate?)?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}
