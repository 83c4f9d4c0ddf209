use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The public roots of this machine; those of `SSL_CERT_FILE` and `SSL_CERT_DIR` if the operator set them. Each once.
pub(crate) fn machine_roots() -> Arc<[CertificateDer<'static>]> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(error = error as &dyn std::error::Error, "a certificate of the machine's store was not read");
    }
    usable(found.certs).into()
}

/// Machine stores hold a few certificates that cannot be read, and some twice: a sandbox's runtime might give up on the
/// whole file for one of them.
fn usable(certificates: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let mut seen = HashSet::new();
    let read = |certificate: &CertificateDer<'static>| webpki::anchor_from_trusted_cert(certificate).is_ok();
    certificates.into_iter().filter(|certificate| read(certificate) && seen.insert(certificate.clone())).collect()
}

/// Reads the certificates of a PEM file, all of them or an error.
pub(crate) fn read_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() { Err(rustls::pki_types::pem::Error::NoItemsFound) } else { Ok(certificates) }
}

/// Writes certificates as PEM, anew from what they say: nothing that stood around them in a file gets in.
pub(crate) fn pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> Vec<u8> {
    let mut pem = String::new();
    for certificate in certificates {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem.into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::ca::CertificateAuthority;

    #[test]
    fn a_root_is_kept_once_and_only_if_it_can_be_read() {
        let [one, two] = [(); 2].map(|()| CertificateAuthority::generate(Vec::new()).unwrap().certificate().clone());
        let cut = CertificateDer::from(one[..one.len() - 1].to_vec());
        let kept = usable(vec![one.clone(), two.clone(), one.clone(), cut, CertificateDer::from(Vec::new())]);
        assert_eq!(kept, [one, two]);
    }

    #[test]
    fn certificates_are_read_whole_or_not_at_all() {
        let ca = CertificateAuthority::generate(Vec::new()).unwrap();
        let text = pem([ca.certificate()]);
        assert_eq!(read_pem(&text).unwrap(), [ca.certificate().clone()]);
        assert!(read_pem(b"").is_err());
        assert!(read_pem(&text[..text.len() / 2]).is_err());
    }
}
