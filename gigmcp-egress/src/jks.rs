use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::pki_types::CertificateDer;

/// Writes certificates as a Java trust store of the type JKS: older than the alternative, and the one that every JDK from 8
/// to the newest reads without an algorithm that some leave out.
///
/// Source: `sun.security.provider.JavaKeyStore` of OpenJDK. All numbers are big-endian; the digest at the end keys SHA-1
/// with the password, which protects nothing here: who reads the store may also write its password.
pub(crate) fn trust_store<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
    password: &str,
) -> Vec<u8> {
    let certificates: Vec<_> = certificates.into_iter().collect();
    let made = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let mut store = Vec::new();
    store.extend(MAGIC.to_be_bytes());
    store.extend(VERSION.to_be_bytes());
    store.extend(length(certificates.len()).to_be_bytes());
    for (index, certificate) in certificates.iter().enumerate() {
        store.extend(TRUSTED_CERTIFICATE.to_be_bytes());
        text(&mut store, &format!("gigmcp-{index}"));
        store.extend(u64::try_from(made).unwrap_or(0).to_be_bytes());
        text(&mut store, "X.509");
        store.extend(length(certificate.len()).to_be_bytes());
        store.extend_from_slice(certificate);
    }
    let mut keyed: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    keyed.extend_from_slice(SALT);
    keyed.extend_from_slice(&store);
    store.extend_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, &keyed).as_ref());
    store
}

/// A text of Java's `writeUTF`, which for ASCII is its length and its bytes.
fn text(store: &mut Vec<u8>, text: &str) {
    store.extend(u16::try_from(text.len()).expect("our texts are short").to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("no certificate store has gigabytes")
}

const MAGIC: u32 = 0xFEED_FEED;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
const SALT: &[u8] = b"Mighty Aphrodite";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::ca::CertificateAuthority;

    #[test]
    fn a_store_has_the_layout_that_java_reads() {
        let ca = CertificateAuthority::generate(Vec::new()).unwrap();
        let certificate = ca.certificate();
        let store = trust_store([certificate, certificate], "changeit");
        assert_eq!(store[..12], [0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 2]);
        assert_eq!(store[12..26], *b"\0\0\0\x02\0\x08gigmcp-0");
        assert_eq!(store[34..41], *b"\0\x05X.509");
        assert_eq!(store[45..][..certificate.len()], **certificate);
        let [entry, end] = [4 + 10 + 8 + 7 + 4 + certificate.len(), 20];
        assert_eq!(store.len(), 12 + 2 * entry + end);
    }
}
