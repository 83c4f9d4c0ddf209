use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
    SanType, SerialNumber,
};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use time::OffsetDateTime;

use crate::name::HostName;
use crate::pattern::HostPattern;

/// The authority that one sandbox trusts. Its key is ECDSA P-256 and in memory only, so nothing outside this process can
/// use it and nothing of it survives.
///
/// Its certificate says for which names it may sign (RFC 5280, section 4.2.1.10): those of the hosts it was made for, and
/// no addresses. So whoever got at the key, or made us sign something else, could not stand for any other host.
pub(crate) struct CertificateAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// One key for all leaves: minting is one signature.
    leaf_key: KeyPair,
    signing_key: Arc<dyn SigningKey>,
    hosts: Vec<HostPattern>,
    not_after: OffsetDateTime,
}

/// A leaf was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MintError {
    /// The authority was made for other hosts.
    #[error("the authority of this sandbox was not made for {host}")]
    Scope { host: HostName },
    /// The random source or the signer failed.
    #[error("signing the leaf")]
    Sign(#[from] rcgen::Error),
    #[error("configuring TLS")]
    Configure(#[from] rustls::Error),
}

impl CertificateAuthority {
    pub(crate) fn generate(hosts: Vec<HostPattern>) -> Result<Self, MintError> {
        let now = OffsetDateTime::now_utc();
        let not_after = now + CA_LIFETIME;
        let mut params = CertificateParams::default();
        params.not_before = now - CLOCK_SKEW;
        params.not_after = not_after;
        params.serial_number = Some(random_serial());
        // A name of its own, so that stores which look authorities up by name do not mix up two of them.
        params.distinguished_name = common_name(&format!("gigmcp egress {}", hex_text(&random_bytes::<8>())));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        params.name_constraints = Some(constraints(&hosts));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let signing_key = any_ecdsa_type(&PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())))?;
        Ok(Self { issuer, leaf_key, signing_key, hosts, not_after })
    }

    /// Signs a certificate for exactly this name: the leaf and its chain, with the key.
    ///
    /// # Errors
    /// [`MintError::Scope`] for a host the authority was not made for. Clients would refuse most such leaves; none is made.
    pub(crate) fn mint(&self, host: &HostName) -> Result<CertifiedKey, MintError> {
        if !self.hosts.iter().any(|pattern| pattern.matches(host)) {
            return Err(MintError::Scope { host: host.clone() });
        }
        let chain = vec![self.sign(host.as_str())?, self.issuer.der().clone()];
        Ok(CertifiedKey::new(chain, Arc::clone(&self.signing_key)))
    }

    /// The authority's certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    fn sign(&self, name: &str) -> Result<CertificateDer<'static>, rcgen::Error> {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        // A sandbox's clock may be slow.
        params.not_before = now - CLOCK_SKEW;
        params.not_after = (now + LEAF_LIFETIME).min(self.not_after);
        params.serial_number = Some(random_serial());
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa; // also writes the subject key identifier, which strict verifiers want
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&self.leaf_key, &self.issuer)?.der().clone())
    }
}

/// A name covers all names below it here, so an exact host allows more than it says; [`CertificateAuthority::mint`] does not.
fn constraints(hosts: &[HostPattern]) -> NameConstraints {
    let mut permitted: Vec<_> = hosts.iter().map(|pattern| pattern.base().as_str().to_owned()).collect();
    permitted.sort();
    permitted.dedup();
    if permitted.is_empty() {
        // Without a subtree every name would be permitted.
        permitted.push(NO_HOST.to_owned());
    }
    NameConstraints {
        permitted_subtrees: permitted.into_iter().map(GeneralSubtree::DnsName).collect(),
        // What is permitted is permitted kind by kind, so names of other kinds are excluded one by one.
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    }
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

/// Under a domain that will never exist (RFC 6761, section 6.4).
const NO_HOST: &str = "no-host.invalid";
const CLOCK_SKEW: Duration = Duration::from_secs(600);
const CA_LIFETIME: Duration = Duration::from_secs(5 * 365 * 86_400);
pub(crate) const LEAF_LIFETIME: Duration = Duration::from_secs(90 * 86_400);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod clients;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    fn authority(hosts: &[&str]) -> CertificateAuthority {
        CertificateAuthority::generate(hosts.iter().map(|host| host.parse().unwrap()).collect()).unwrap()
    }

    /// What a client that trusts the authority says of a leaf, at a time.
    fn verify(ca: &CertificateAuthority, leaf: &CertificateDer<'static>, name: &str, at: UnixTime) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(leaf, std::slice::from_ref(ca.certificate()), &name, &[], at).is_ok()
    }

    #[test]
    fn a_leaf_is_valid_for_its_name_only() {
        let ca = authority(&["api.example.com", "www.example.com"]);
        let leaf = ca.mint(&"api.example.com".parse().unwrap()).unwrap().cert[0].clone();
        let now = UnixTime::now();
        assert!(verify(&ca, &leaf, "api.example.com", now));
        assert!(!verify(&ca, &leaf, "www.example.com", now));
        let at =
            |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().strict_add_signed(seconds)));
        assert!(verify(&ca, &leaf, "api.example.com", at(-240)), "G18: a clock four minutes slow");
        assert!(!verify(&ca, &leaf, "api.example.com", at(-3600)));
        assert!(!verify(&ca, &leaf, "api.example.com", at(100 * 86_400)));
    }

    #[test]
    fn a_leaf_is_minted_for_the_hosts_of_the_authority_only() {
        let ca = authority(&["api.example.com", "*.cdn.example.com"]);
        for (host, expected) in [
            ("api.example.com", true),
            ("img.cdn.example.com", true),
            ("below.api.example.com", false),
            ("cdn.example.com", false),
            ("a.b.cdn.example.com", false),
            ("evil.test", false),
        ] {
            let minted = ca.mint(&host.parse().unwrap());
            assert_eq!(minted.is_ok(), expected, "{host}");
            assert!(expected || matches!(minted, Err(MintError::Scope { .. })), "{host}");
        }
        let none = authority(&[]);
        assert!(matches!(none.mint(&"api.example.com".parse().unwrap()), Err(MintError::Scope { .. })));
    }

    #[test]
    fn a_leaf_outside_of_the_constraints_is_refused_even_when_signed() {
        let now = UnixTime::now();
        for (case, hosts, name, expected) in [
            ("twin", &["api.example.com"][..], "api.example.com", true),
            ("twin, under a wildcard", &["*.cdn.example.com"], "img.cdn.example.com", true),
            ("other host", &["api.example.com"], "evil.test", false),
            ("the domain above", &["api.example.com"], "example.com", false),
            ("longer label", &["api.example.com"], "evilapi.example.com", false),
            ("no hosts", &[], "api.example.com", false),
        ] {
            let ca = authority(hosts);
            assert_eq!(verify(&ca, &ca.sign(name).unwrap(), name, now), expected, "{case}");
        }
    }

    #[test]
    fn a_leaf_carries_what_strict_verifiers_demand() {
        let ca = authority(&["a.example.com"]);
        let [one, two] =
            ["a.example.com", "a.example.com"].map(|name| ca.mint(&name.parse().unwrap()).unwrap().cert[0].clone());
        let has = |der: &CertificateDer<'_>, oid: &[u8]| der.windows(oid.len()).any(|window| window == oid);
        for (name, oid) in [
            ("subject key identifier", [0x55, 0x1d, 0x0e]),
            ("authority key identifier", [0x55, 0x1d, 0x23]),
            ("extended key usage", [0x55, 0x1d, 0x25]),
        ] {
            assert!(has(&one, &oid), "{name}");
        }
        for (name, oid) in [("subject key identifier", [0x55, 0x1d, 0x0e]), ("constraints", [0x55, 0x1d, 0x1e])] {
            assert!(has(ca.certificate(), &oid), "{name} of the authority");
        }
        assert_ne!(one, two, "serial numbers are never reused");
    }
}
