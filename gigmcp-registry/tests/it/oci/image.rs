//! Images as they are written by those who make them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use gigmcp_registry::Digest;
use serde_json::{Value, json};

use crate::tar_bytes::Tar;

/// All content of an image, and its digest.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) digest: Digest,
    pub(crate) content: BTreeMap<String, Vec<u8>>,
    /// The manifests among it.
    pub(crate) manifests: Vec<String>,
    pub(crate) layers: Vec<String>,
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

impl Image {
    /// For one machine, of layers that are compressed with gzip.
    pub(crate) fn single(layers: &[Tar]) -> Self {
        let plain: Vec<_> = layers.iter().cloned().map(Tar::end).collect();
        let stored = plain.iter().map(|layer| (GZIP, gzip(layer))).collect();
        Self::made(&plain, stored, "amd64", |_| {}, |_| {})
    }

    /// Two of them: the one for this machine is made of these layers.
    pub(crate) fn index(layers: &[Tar]) -> Self {
        let ours = Self::single(layers);
        let plain = vec![Tar::new().file("other", "").end()];
        let stored = vec![(ZSTD, zstd::encode_all(&plain[0][..], 3).unwrap())];
        let other = Self::made(&plain, stored, "riscv64", |_| {}, |_| {});
        let entry = |image: &Self, architecture: &str| {
            let size = image.content[&image.digest.to_string()].len();
            json!({"mediaType": MANIFEST, "digest": image.digest.to_string(), "size": size,
                "platform": {"os": "linux", "architecture": architecture}})
        };
        // As what says how an image was built.
        let mut unknown = entry(&other, "unknown");
        unknown["platform"]["os"] = json!("unknown");
        let manifests = [unknown, entry(&other, "riscv64"), entry(&ours, "amd64")];
        let mut image = ours.clone();
        image.content.extend(other.content);
        image.manifests.extend(other.manifests);
        image.digest = image.add(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}));
        image.manifests.push(image.digest.to_string());
        image
    }

    /// With changes to the configuration and the manifest before they are written.
    pub(crate) fn made(
        plain: &[Vec<u8>],
        stored: Vec<(&str, Vec<u8>)>,
        architecture: &str,
        change_config: impl FnOnce(&mut Value),
        change_manifest: impl FnOnce(&mut Value),
    ) -> Self {
        let mut image = Self {
            digest: Digest::of(b""),
            content: BTreeMap::new(),
            manifests: Vec::new(),
            layers: stored.iter().map(|(_, layer)| Digest::of(layer).to_string()).collect(),
        };
        let diff_ids: Vec<_> = plain.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let mut config = json!({"os": "linux", "architecture": architecture,
            "config": {"Env": ["PATH=/bin"], "Entrypoint": ["/server"], "Cmd": null, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        change_config(&mut config);
        let config_digest = image.add(&config).to_string();
        let config_size = image.content[&config_digest].len();
        let layers: Vec<_> = stored
            .into_iter()
            .map(|(media_type, layer)| {
                let digest = Digest::of(&layer).to_string();
                let described = json!({"mediaType": media_type, "digest": digest, "size": layer.len()});
                image.content.insert(digest, layer);
                described
            })
            .collect();
        let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_digest, "size": config_size}, "layers": layers});
        change_manifest(&mut manifest);
        image.digest = image.add(&manifest);
        image.manifests.push(image.digest.to_string());
        image
    }

    fn add(&mut self, document: &Value) -> Digest {
        let content = serde_json::to_vec(document).unwrap();
        let digest = Digest::of(&content);
        self.content.insert(digest.to_string(), content);
        digest
    }

    pub(crate) fn write_layout(&self, directory: &Path) {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(directory.join("oci-layout"), MARKER).unwrap();
        for (digest, content) in &self.content {
            fs::write(blobs.join(&digest["sha256:".len()..]), content).unwrap();
        }
    }

    pub(crate) fn archive(&self) -> Vec<u8> {
        let mut tar = Tar::new().file("oci-layout", MARKER).file("index.json", "{}").dir("blobs").dir("blobs/sha256");
        for (digest, content) in &self.content {
            let name = digest.replace(':', "/");
            tar = tar.entry(crate::tar_bytes::Header::new(b'0', &format!("blobs/{name}")), content);
        }
        tar.end()
    }
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
