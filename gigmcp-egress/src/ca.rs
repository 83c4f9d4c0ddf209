use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::name::HostName;

/// The authority that the sandboxes of this process trust. Its key is ECDSA P-256, made at start, and in memory only, so
/// nothing outside this process can use it and nothing of it survives.
pub(crate) struct CertificateAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// One key for all leaves: minting is one signature.
    leaf_key: KeyPair,
    not_after: OffsetDateTime,
}

/// A leaf and its chain, with the key.
pub(crate) struct Leaf {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl CertificateAuthority {
    pub(crate) fn generate() -> Result<Self, rcgen::Error> {
        let now = OffsetDateTime::now_utc();
        let not_after = now + CA_LIFETIME;
        let mut params = CertificateParams::default();
        params.not_before = now - CLOCK_SKEW;
        params.not_after = not_after;
        params.serial_number = Some(random_serial());
        // A name of its own, so that stores which look authorities up by name do not mix up two processes.
        params.distinguished_name = common_name(&format!("gigmcp egress {}", hex_text(&random_bytes::<8>())));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;
        Ok(Self { issuer, leaf_key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?, not_after })
    }

    /// Signs a certificate for exactly this name.
    pub(crate) fn mint(&self, host: &HostName) -> Result<Leaf, rcgen::Error> {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        // A sandbox's clock may be slow.
        params.not_before = now - CLOCK_SKEW;
        params.not_after = (now + LEAF_LIFETIME).min(self.not_after);
        params.serial_number = Some(random_serial());
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::DnsName(host.as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa; // also writes the subject key identifier, which strict verifiers want
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?;
        let key = PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der());
        Ok(Leaf { chain: vec![leaf.der().clone(), self.issuer.der().clone()], key: key.into() })
    }

    /// The authority's certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }
}

/// Writes certificates as PEM, each once.
pub(crate) fn pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> Vec<u8> {
    let mut seen = std::collections::HashSet::new();
    let mut pem = String::new();
    for certificate in certificates {
        if !seen.insert(certificate) {
            continue;
        }
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem.into_bytes()
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// 128 random bits, written as a positive number.
fn random_serial() -> SerialNumber {
    SerialNumber::from_slice(&random_bytes::<16>())
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel's random source answers after boot");
    bytes
}

fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const CLOCK_SKEW: Duration = Duration::from_secs(600);
const CA_LIFETIME: Duration = Duration::from_secs(5 * 365 * 86_400);
pub(crate) const LEAF_LIFETIME: Duration = Duration::from_secs(90 * 86_400);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn a_leaf_is_valid_for_its_name_only() {
        let ca = CertificateAuthority::generate().unwrap();
        let leaf = ca.mint(&"api.example.com".parse().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let now = UnixTime::now();
        let verify = |name: &str, at: UnixTime| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(&leaf.chain[0], &leaf.chain[1..], &name, &[], at).is_ok()
        };
        assert!(verify("api.example.com", now));
        assert!(!verify("www.example.com", now));
        let at =
            |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().strict_add_signed(seconds)));
        assert!(verify("api.example.com", at(-240)), "G18: a clock four minutes slow");
        assert!(!verify("api.example.com", at(-3600)));
        assert!(!verify("api.example.com", at(100 * 86_400)));
    }

    #[test]
    fn a_leaf_carries_what_strict_verifiers_demand() {
        let ca = CertificateAuthority::generate().unwrap();
        let [one, two] = ["a.example.com", "a.example.com"].map(|name| ca.mint(&name.parse().unwrap()).unwrap());
        let has = |der: &CertificateDer<'_>, oid: &[u8]| der.windows(oid.len()).any(|window| window == oid);
        for (name, oid) in [
            ("subject key identifier", [0x55, 0x1d, 0x0e]),
            ("authority key identifier", [0x55, 0x1d, 0x23]),
            ("extended key usage", [0x55, 0x1d, 0x25]),
        ] {
            assert!(has(&one.chain[0], &oid), "{name}");
        }
        assert_ne!(one.chain[0], two.chain[0], "serial numbers are never reused");
    }

    #[test]
    fn a_bundle_holds_each_certificate_once() {
        let ca = CertificateAuthority::generate().unwrap();
        let text = String::from_utf8(pem([ca.certificate(), ca.certificate()])).unwrap();
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 1);
        use rustls::pki_types::pem::PemObject as _;
        assert_eq!(&CertificateDer::from_pem_slice(text.as_bytes()).unwrap(), ca.certificate());
    }
}
