//! Verifying and reading an index, beside a bare Ed25519 verification and a bare reading of the same JSON.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use gigmcp_registry::{Freshness, IndexBuilder, Manifest, Signatures, SignedIndex, SigningKey, TrustRoot};

use crate::Failure;
use crate::figures::{Figures, compare};

pub(crate) fn run() -> Result<(), Failure> {
    // As many as the original catalogue has, the aim of 5 ms, and some years of growth.
    for servers in [221, 1000, 10_000] {
        beside_bare(servers)?;
    }
    Ok(())
}

fn beside_bare(servers: usize) -> Result<(), Failure> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    let index = index(servers, now)?;
    let key = SigningKey::from_seed(&[7; 32]);
    let signatures = Signatures::new(vec![key.sign_index(index.as_bytes())]);
    let root = TrustRoot::new([key.public_key()], NonZeroUsize::MIN)?;
    let verify = |last_seen| {
        SignedIndex::verify(index.as_bytes(), &signatures, &root, &Freshness { now, last_seen }).map(black_box)
    };
    let seen = verify(None)?.seen().clone();
    let other = Bare::new(index.as_bytes())?;
    let rounds = (100_000 / servers).clamp(20, 200);
    let (mut first, mut again, mut bare) = (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..rounds {
        let clock = Instant::now();
        let verified = verify(None)?;
        first.add(clock.elapsed());
        drop(verified);
        let clock = Instant::now();
        let verified = verify(Some(&seen))?;
        again.add(clock.elapsed());
        drop(verified);
        let clock = Instant::now();
        let parsed = other.read(index.as_bytes())?;
        bare.add(clock.elapsed());
        drop(parsed);
    }
    let size = index.len() >> 10;
    compare(&format!("verify and read {servers} servers, {size} KiB"), &first, "bare", &bare);
    compare(&format!("the same, with what was seen before of {servers}"), &again, "bare", &bare);
    Ok(())
}

/// What any program would have to do: hash the bytes, verify one signature, and read them as a tree.
struct Bare {
    key: UnparsedPublicKey<Vec<u8>>,
    signature: Vec<u8>,
}

impl Bare {
    fn new(index: &[u8]) -> Result<Self, Failure> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).map_err(|_| "a key of 32 bytes")?;
        let signature = pair.sign(digest::digest(&SHA256, index).as_ref()).as_ref().to_vec();
        Ok(Self { key: UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref().to_vec()), signature })
    }

    fn read(&self, index: &[u8]) -> Result<serde_json::Value, Failure> {
        let digest = digest::digest(&SHA256, index);
        self.key.verify(digest.as_ref(), &self.signature).map_err(|_| "the signature is right")?;
        Ok(black_box(serde_json::from_slice(index)?))
    }
}

/// Manifests as the original catalogue's are: one credential, nine tools, one or two hosts.
fn index(servers: usize, now: SystemTime) -> Result<String, Failure> {
    let mut builder = IndexBuilder::new(1, now, Duration::from_secs(30 * 24 * 3600))?;
    for number in 0..servers {
        let name = format!("acme-notes-{number}");
        let tools: Vec<_> = ["list_notes", "get_note", "create_note", "update_note", "delete_note", "search_notes"]
            .iter()
            .chain(&["list_folders", "share_note", "export_notes"])
            .map(|tool| serde_json::json!({ "name": tool, "default": tool.starts_with("list") }))
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 1, "name": name, "version": "1.2.0",
            "source": { "repo": format!("github.com/example/{name}-mcp"), "tag": "v1.2.0", "package": "cmd/server" },
            "image": {
                "ref": format!("ghcr.io/example/{name}-mcp"), "digest": format!("sha256:{number:064x}"),
                "entrypoint": "/app/server", "builder": "toolpack",
            },
            "tier": "sealed",
            "entitlements": { "egress": [format!("api.{name}.example"), format!("*.cdn.{name}.example")] },
            "credentials": [{
                "id": format!("acme_token_{number}"), "type": "oauth2", "provider": name,
                "scopes": ["notes.read", "notes.write"], "vendor": "acme",
                "inject": { "header": "Authorization", "format": "Bearer {token}" },
            }],
            "tools": tools, "displayName": format!("Acme Notes {number}"), "category": "productivity",
        });
        builder.add(Manifest::from_json(manifest.to_string().as_bytes())?)?;
    }
    Ok(builder.build().to_json())
}
