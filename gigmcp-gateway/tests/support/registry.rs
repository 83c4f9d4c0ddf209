//! A registry of servers in a directory, made with the crate's own API, and images of the demo servers as OCI layouts.

use std::{
    collections::BTreeMap,
    fs,
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use gigmcp_registry::{Digest, Envelope, IndexBuilder, Manifest, Root, Signatures, SigningKey, TrustRoot};
use serde_json::{Value, json};

/// An image of one layer.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) digest: Digest,
    /// All its content by digest.
    pub(crate) content: BTreeMap<String, Vec<u8>>,
    pub(crate) layer: String,
}

impl Image {
    /// With these files, which anybody may execute.
    pub(crate) fn of(files: &[(&str, &[u8])]) -> Self {
        let mut layer = Vec::new();
        for (path, content) in files {
            entry(&mut layer, path.trim_start_matches('/'), content);
        }
        layer.extend([0; 1024]);
        let mut image =
            Self { digest: Digest::of(b""), content: BTreeMap::new(), layer: Digest::of(&layer).to_string() };
        let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let config = image.add(&json!({
            "os": "linux", "architecture": architecture,
            "config": {"Env": ["PATH=/app", "IMAGE_MODE=image"], "Entrypoint": ["/app/server"]},
            "rootfs": {"type": "layers", "diff_ids": [image.layer]},
        }));
        let size = layer.len();
        let digest = image.layer.clone();
        image.content.insert(digest.clone(), layer);
        let config_size = image.content[&config.to_string()].len();
        image.digest = image.add(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.to_string(),
                "size": config_size},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size}],
        }));
        image
    }

    fn add(&mut self, document: &Value) -> Digest {
        let content = serde_json::to_vec(document).unwrap();
        let digest = Digest::of(&content);
        self.content.insert(digest.to_string(), content);
        digest
    }

    /// As a layout in its own directory.
    pub(crate) fn write(&self, directory: &Path) -> PathBuf {
        let layout = directory.join(&self.digest.to_string()["sha256:".len()..]);
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        for (digest, content) in &self.content {
            fs::write(blobs.join(&digest["sha256:".len()..]), content).unwrap();
        }
        layout
    }
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A regular file in a tar archive. Source: POSIX.1-1988, ustar.
fn entry(tar: &mut Vec<u8>, path: &str, content: &[u8]) {
    let mut header = [0_u8; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    let mut field = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(100, "0000755\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", content.len()));
    field(136, "00000000000\0");
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend(header);
    tar.extend(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// A registry in a directory, and beside it a directory of layouts.
pub(crate) struct Registry {
    directory: tempfile::TempDir,
    key: SigningKey,
    sequence: u64,
}

impl Registry {
    /// With no servers yet, and keys of this seed.
    pub(crate) fn new(seed: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::from_seed(&[seed; 32]);
        let trusted = || TrustRoot::new([key.public_key()], NonZeroUsize::MIN).unwrap();
        let expires = now() + Duration::from_secs(86_400);
        let root = Root::new(NonZeroU64::MIN, expires, trusted(), trusted()).unwrap().to_json();
        let signatures = Signatures::new(vec![key.sign_root(root.as_bytes())]);
        for below in ["registry/root", "layouts"] {
            fs::create_dir_all(directory.path().join(below)).unwrap();
        }
        fs::write(directory.path().join("registry/root/1.jsonl"), Envelope::join(&signatures, root.as_bytes()))
            .unwrap();
        let mut registry = Self { directory, key, sequence: 0 };
        registry.publish(&[]);
        registry
    }

    /// Where the index is.
    pub(crate) fn url(&self) -> PathBuf {
        self.directory.path().join("registry")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.url().join("root/1.jsonl")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.url().join("index.jsonl")
    }

    pub(crate) fn layouts(&self) -> PathBuf {
        self.directory.path().join("layouts")
    }

    /// What tells a gateway of it.
    pub(crate) fn settings(&self) -> [(&'static str, String); 3] {
        [
            ("GIG_REGISTRY_URL", self.url().display().to_string()),
            ("GIG_REGISTRY_ROOT", self.root().display().to_string()),
            ("GIG_IMAGE_LAYOUTS", self.layouts().display().to_string()),
        ]
    }

    /// A newer index with these manifests.
    pub(crate) fn publish(&mut self, manifests: &[&Manifest]) {
        self.sequence += 1;
        let index = index(self.sequence, manifests);
        self.write(&index, &self.key);
    }

    /// The index with another sequence number or signed by another key.
    pub(crate) fn forge(&self, sequence: u64, manifests: &[&Manifest], seed: Option<u8>) {
        let key = seed.map(|seed| SigningKey::from_seed(&[seed; 32]));
        self.write(&index(sequence, manifests), key.as_ref().unwrap_or(&self.key));
    }

    fn write(&self, index: &str, key: &SigningKey) {
        let signatures = Signatures::new(vec![key.sign_index(index.as_bytes())]);
        fs::write(self.index(), Envelope::join(&signatures, index.as_bytes())).unwrap();
    }
}

fn index(sequence: u64, manifests: &[&Manifest]) -> String {
    let mut builder = IndexBuilder::new(sequence, now(), Duration::from_secs(86_400)).unwrap();
    for manifest in manifests {
        builder.add((*manifest).clone()).unwrap();
    }
    builder.build().to_json()
}

/// In whole seconds, and a minute ago.
fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since - 60)
}

/// A manifest of version 2 for an image, with changes to it.
pub(crate) fn manifest(name: &str, version: &str, image: Digest, change: impl FnOnce(&mut Value)) -> Manifest {
    let mut document = json!({
        "schemaVersion": 2, "name": name, "version": version,
        "source": {"repo": format!("github.com/example/{name}"), "tag": format!("v{version}")},
        "image": {"ref": format!("registry.example/demo/{name}"), "digest": image.to_string(), "entrypoint": "/app/server"},
        "tier": "sealed", "entitlements": {},
    });
    change(&mut document);
    Manifest::from_json(document.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}: {document}"))
}
