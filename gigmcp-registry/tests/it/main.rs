//! The registry crate through its public API: whole documents, as they would come over the network.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod client;
mod diff;
mod https;
mod index;
mod keys;
mod laws;
mod manifest;
mod manifest_v2;
mod original;
mod registryctl;
mod registryctl_lint;
#[cfg(feature = "build")]
mod registryctl_openapi;
mod root;
mod state;
mod toolspec;
mod vectors;
mod verify;

#[cfg(feature = "build")]
mod build;
#[cfg(feature = "oci")]
mod extract;
#[cfg(feature = "oci")]
mod oci;
#[cfg(feature = "oci")]
mod tar_bytes;

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use gigmcp_registry::{Freshness, Signatures, SigningKey, TrustRoot};

/// A complete manifest of `acme-notes` 1.2.0.
const MANIFEST: &str = concat!(
    r#"{"schemaVersion":1,"name":"acme-notes","version":"1.2.0","#,
    r#""source":{"repo":"github.com/example/acme-notes-mcp","tag":"v1.2.0","package":"cmd/server"},"#,
    r#""image":{"ref":"ghcr.io/example/acme-notes-mcp","#,
    r#""digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","#,
    r#""entrypoint":"/app/server","builder":"toolpack"},"tier":"sealed","#,
    r#""entitlements":{"egress":["api.acme-notes.example","*.cdn.acme-notes.example"]},"#,
    r#""credentials":[{"id":"acme_token","type":"api_key","provider":"acme-notes","#,
    r#""inject":{"header":"Authorization","format":"Bearer {token}"}}],"#,
    r#""tools":[{"name":"get_note","default":true},{"name":"drop_note","default":false}],"#,
    r#""displayName":"Acme Notes","category":"productivity"}"#,
);

/// An index with that manifest, made at the beginning of 2029 and expiring at its end.
fn index(sequence: u64) -> String {
    format!(
        r#"{{"schemaVersion":2,"sequence":{sequence},"generated":"2029-01-01T00:00:00Z","expires":"2030-01-01T00:00:00Z","servers":{{"acme-notes":{{"latest":"1.2.0","versions":{{"1.2.0":{MANIFEST}}}}}}}}}"#
    )
}

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn signed_by(seeds: &[u8], index: &str) -> Signatures {
    Signatures::new(seeds.iter().map(|seed| signer(*seed).sign_index(index.as_bytes())).collect())
}

fn root(seeds: &[u8], threshold: usize) -> TrustRoot {
    let keys = seeds.iter().map(|seed| signer(*seed).public_key());
    TrustRoot::new(keys, NonZeroUsize::new(threshold).unwrap()).unwrap()
}

/// The middle of 2029, nothing seen before.
fn fresh() -> Freshness<'static> {
    Freshness { now: expiry() - Duration::from_secs(180 * 24 * 3600), last_seen: None }
}

/// When the index expires: 2030-01-01T00:00:00Z.
fn expiry() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}
