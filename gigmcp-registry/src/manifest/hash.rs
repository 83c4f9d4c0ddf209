//! The two hashes of a manifest: of all of it, and of what it means at run time.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Manifest;
use super::document::Document;
use crate::canonical;

/// SHA-256 over a manifest's canonical JSON, written as 64 lower-case hex digits.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct ManifestHash([u8; 32]);

impl ManifestHash {
    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ManifestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ManifestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManifestHash({self})")
    }
}

impl Manifest {
    /// The canonical JSON, which [`Manifest::hash`] is taken of.
    #[must_use]
    pub fn to_json(&self) -> String {
        canonical::json(&Document::from(self))
    }

    /// The hash of all fields.
    #[must_use]
    pub fn hash(&self) -> ManifestHash {
        hash(&self.into())
    }

    /// The hash of what the server may do: without the image's digest, vendors and presentation.
    ///
    /// Two images can have one runtime hash. Whoever decides whether to fetch or start one compares the digest too.
    #[must_use]
    pub fn runtime_hash(&self) -> ManifestHash {
        let mut document = Document::from(self);
        document.image.0.digest.clear();
        for credential in &mut document.credentials {
            credential.0.vendor.clear();
        }
        document.display_name.clear();
        document.description.clear();
        document.category.clear();
        document.icon.clear();
        hash(&document)
    }
}

fn hash(document: &Document) -> ManifestHash {
    ManifestHash(Sha256::digest(canonical::json(document)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"schemaVersion":1,"name":"acme-notes","version":"1.2.0",
        "source":{"repo":"github.com/example/acme-notes-mcp","tag":"v1.2.0"},
        "image":{"ref":"ghcr.io/example/acme-notes-mcp","builder":"toolpack","entrypoint":"/app/server",
            "digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
        "tier":"sealed","displayName":"Acme <Notes> & \"more\"\u2028","category":"productivity",
        "entitlements":{"egress":["api.acme-notes.example"]},
        "credentials":[{"id":"acme_token","type":"oauth2","provider":"acme","vendor":"acme","scopes":["read"],
            "inject":{"header":"Authorization","format":"Bearer {token}"}}],
        "tools":[{"name":"get_note","default":true},{"name":"drop_note"}]}"#;

    fn manifest(text: &str) -> Manifest {
        Manifest::from_json(text.as_bytes()).expect("valid")
    }

    #[test]
    fn canonical_json_has_the_format_s_order_and_gos_escapes() {
        let expected = concat!(
            r#"{"schemaVersion":1,"name":"acme-notes","version":"1.2.0","#,
            r#""source":{"repo":"github.com/example/acme-notes-mcp","tag":"v1.2.0"},"#,
            r#""image":{"ref":"ghcr.io/example/acme-notes-mcp","#,
            r#""digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","#,
            r#""entrypoint":"/app/server","builder":"toolpack"},"tier":"sealed","#,
            r#""entitlements":{"egress":["api.acme-notes.example"]},"#,
            r#""credentials":[{"id":"acme_token","type":"oauth2","provider":"acme","scopes":["read"],"#,
            r#""inject":{"header":"Authorization","format":"Bearer {token}"},"vendor":"acme"}],"#,
            r#""tools":[{"name":"get_note","default":true},{"name":"drop_note","default":false}],"#,
            r#""displayName":"Acme \u003cNotes\u003e \u0026 \"more\"\u2028","category":"productivity"}"#,
        );
        let manifest = manifest(MANIFEST);
        assert_eq!(manifest.to_json(), expected);
        assert_eq!(manifest.hash().to_string(), hex::encode(Sha256::digest(expected)));
    }

    #[test]
    fn runtime_hash_leaves_out_digest_vendor_and_presentation_only() {
        let original = manifest(MANIFEST);
        for (case, from, to, same) in [
            ("digest", "sha256:01", "sha256:02", true),
            ("vendor", r#""vendor":"acme""#, r#""vendor":"other""#, true),
            ("display name", "Acme", "Other", true),
            ("category", "productivity", "storage", true),
            ("version", "\"1.2.0\"", "\"1.2.1\"", false),
            ("egress", "api.acme-notes", "api.evil", false),
            ("header", "Authorization", "X-Key", false),
            ("scope", "read", "write", false),
            ("tool switched on", "drop_note\"", "drop_note\",\"default\":true", false),
            ("entrypoint", "/app/server", "/app/other", false),
            ("tag", "\"v1.2.0\"", "\"v1.2.1\"", false),
        ] {
            let changed = manifest(&MANIFEST.replace(from, to));
            assert_ne!(changed.hash(), original.hash(), "{case}");
            assert_eq!(changed.runtime_hash() == original.runtime_hash(), same, "{case}");
        }
    }

    #[test]
    fn order_and_spacing_of_the_input_do_not_count() {
        let (head, tail) = MANIFEST.split_once(r#""tier":"sealed","#).expect("there");
        let reordered = format!(r#"{{"tier":"sealed",{}{tail}"#, &head[1..]);
        assert_eq!(manifest(&reordered).hash(), manifest(MANIFEST).hash());
    }
}
