use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use webpki::{CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList, VerifiedPath};

use crate::tls;

/// The SHA-256 of a public key as certificates hold it (SubjectPublicKeyInfo, as in RFC 7469), written `sha256/` and base64.
///
/// ```
/// use gigmcp_egress::SpkiSha256;
///
/// let pin: SpkiSha256 = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=".parse()?;
/// assert_eq!(pin.to_string(), "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=");
/// assert!("C5+lpZ7t".parse::<SpkiSha256>().is_err());
/// # Ok::<(), gigmcp_egress::InvalidPin>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SpkiSha256([u8; 32]);

impl SpkiSha256 {
    /// The pin of a public key, the DER of its SubjectPublicKeyInfo.
    pub fn of(public_key: &[u8]) -> Self {
        Self(digest(&SHA256, public_key).as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }
}

impl FromStr for SpkiSha256 {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok()).ok_or(InvalidPin)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPin)
    }
}

impl fmt::Display for SpkiSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

/// The text is not a pin.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a pin; write sha256/ and the base64 of the SHA-256 of a public key")]
pub struct InvalidPin;

/// No certificate on the way from the upstream to a root has a key that its pins name.
#[derive(Debug, thiserror::Error)]
#[error("the upstream's keys are not the pinned ones")]
struct PinMismatch;

/// Whether a connection failed for its pins.
pub(crate) fn is_mismatch(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other)))) if other.is::<PinMismatch>())
}

/// The library's verification, and after it the demand that the verified way holds a pinned key.
///
/// What counts is a way from the leaf to a root, not what the upstream sent beside it: anybody can append a public certificate.
#[derive(Debug)]
pub(crate) struct PinnedVerifier {
    library: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    revoked: Vec<CertRevocationList<'static>>,
    /// Of each set one pin must be there.
    pins: Vec<Vec<SpkiSha256>>,
}

impl PinnedVerifier {
    pub(crate) fn new(
        library: Arc<WebPkiServerVerifier>,
        roots: Arc<RootCertStore>,
        revoked: &[CertificateRevocationListDer<'static>],
        pins: Vec<Vec<SpkiSha256>>,
    ) -> Result<Self, rustls::Error> {
        let parse = |list: &CertificateRevocationListDer<'static>| {
            let parsed =
                OwnedCertRevocationList::from_der(list).map_err(|error| rustls::Error::General(error.to_string()));
            parsed.map(CertRevocationList::from)
        };
        let revoked = revoked.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { library, roots, revoked, pins })
    }

    fn find_pinned(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let leaf = EndEntityCert::try_from(leaf)?;
        let revoked: Vec<_> = self.revoked.iter().collect();
        let revocation = webpki::RevocationOptionsBuilder::new(&revoked)
            .map(|builder| builder.with_status_policy(webpki::UnknownStatusPolicy::Allow).build())
            .ok();
        let algorithms = tls::provider().signature_verification_algorithms.all;
        let usage = KeyUsage::server_auth();
        let is_pinned = |path: &VerifiedPath<'_>| match self.holds(path) {
            true => Ok(()),
            false => Err(webpki::Error::UnknownIssuer),
        };
        leaf.verify_for_usage(algorithms, &self.roots.roots, intermediates, now, usage, revocation, Some(&is_pinned))
            .map(|_| ())
    }

    fn holds(&self, path: &VerifiedPath<'_>) -> bool {
        let mut keys = vec![SpkiSha256::of(&path.end_entity().subject_public_key_info())];
        keys.extend(path.intermediate_certificates().map(|one| SpkiSha256::of(&one.subject_public_key_info())));
        keys.push(SpkiSha256::of(&anchor_key(path.anchor())));
        self.pins.iter().all(|pins| pins.iter().any(|pin| keys.contains(pin)))
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.library.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        match self.find_pinned(leaf, intermediates, now) {
            Ok(()) => Ok(verified),
            Err(_) => Err(CertificateError::Other(OtherError(Arc::new(PinMismatch))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.library.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.library.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.library.supported_verify_schemes()
    }
}

/// A root's key as certificates hold it: the library keeps what is inside the outer SEQUENCE.
fn anchor_key(anchor: &TrustAnchor<'_>) -> Vec<u8> {
    let inside = anchor.subject_public_key_info.as_ref();
    let length = u32::try_from(inside.len()).expect("no key has gigabytes").to_be_bytes();
    let mut key = vec![0x30];
    match length {
        [0, 0, 0, short @ ..=0x7f] => key.push(short),
        [0, 0, 0, long] => key.extend([0x81, long]),
        [0, 0, high, low] => key.extend([0x82, high, low]),
        [top, high, middle, low] => key.extend([0x84, top, high, middle, low]),
    }
    key.extend_from_slice(inside);
    key
}

const PREFIX: &str = "sha256/";
