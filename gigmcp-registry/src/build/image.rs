//! From layers to an image: configuration, manifest and index.
//!
//! Source: OCI image specification 1.1.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::layer::LayerBlob;
use super::layout::{Layout, LayoutError};
use crate::digest::Digest;
use crate::manifest::{Builder, Manifest};
use crate::oci::Platform;

/// Describes an image. Everything in it comes from what is said here, nothing from the time or place it is made.
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    created: u32,
    annotations: Map<String, Value>,
    entrypoint: Vec<String>,
}

/// What an image is on one machine: the layers, lowest first, whose content is in the layout already.
#[derive(Clone, Debug)]
pub struct ImageParts {
    /// The machine.
    pub platform: Platform,
    /// The layers.
    pub layers: Vec<LayerBlob>,
}

impl ImageBuilder {
    /// The image of a server. `created` is what it says of its time, in seconds since 1970.
    #[must_use]
    pub fn new(manifest: &Manifest, created: u32) -> Self {
        let builder = manifest.image.builder.unwrap_or(Builder::GoStatic);
        let entrypoint = vec![manifest.image.entrypoint.clone()];
        Self { created, annotations: Map::new(), entrypoint }
            .annotation("org.opencontainers.image.title", manifest.name.as_str())
            .annotation("org.opencontainers.image.version", &manifest.version.to_string())
            .annotation("org.opencontainers.image.source", &web_address(&manifest.source.repo))
            .annotation("org.opencontainers.image.revision", &manifest.source.tag)
            .annotation("io.gigmcp.builder", builder.as_str())
    }

    /// An image that starts nothing, for others to be made of.
    #[must_use]
    pub fn base(created: u32) -> Self {
        Self { created, annotations: Map::new(), entrypoint: Vec::new() }
    }

    /// Adds an annotation to the manifests and the index.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.into());
        self
    }

    /// Writes the image for these machines, and gives its digest, which is that of its index. With a tag, the layout says so,
    /// in place of what had the tag before.
    ///
    /// # Errors
    /// [`LayoutError`] if the layout cannot be written.
    pub fn write(&self, layout: &Layout, machines: &[ImageParts], tag: Option<&str>) -> Result<Digest, LayoutError> {
        let mut machines: Vec<_> = machines.iter().collect();
        machines.sort_by_key(|parts| parts.platform.architecture());
        let manifests = machines.into_iter().map(|parts| self.manifest(layout, parts));
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX,
            "manifests": manifests.collect::<Vec<_>>(),
            "annotations": self.annotations,
        });
        let (digest, bytes) = layout.json(&index);
        layout.list(digest, bytes, tag)?;
        Ok(digest)
    }

    fn manifest(&self, layout: &Layout, parts: &ImageParts) -> Value {
        let (config, config_bytes) = layout.json(&self.config(parts));
        let layers: Vec<_> =
            parts.layers.iter().map(|layer| described(layer.media_type(), layer.digest, layer.bytes)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": described(CONFIG, config, config_bytes), "layers": layers,
            "annotations": self.annotations,
        });
        let (digest, bytes) = layout.json(&manifest);
        let mut described = described(MANIFEST, digest, bytes);
        described["platform"] = json!({ "architecture": parts.platform.architecture(), "os": "linux" });
        described
    }

    fn config(&self, parts: &ImageParts) -> Value {
        let diff_ids: Vec<_> = parts.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        json!({
            "created": rfc3339(self.created), "architecture": parts.platform.architecture(), "os": "linux",
            "config": {
                "User": "65534:65534", "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
                "Entrypoint": self.entrypoint, "WorkingDir": "/",
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
    }
}

pub(super) fn described(media_type: &str, digest: Digest, bytes: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes })
}

fn rfc3339(seconds: u32) -> String {
    let moment = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(i64::from(seconds));
    moment.format(&Rfc3339).expect("a year of four digits")
}

/// Repositories are written without their scheme.
fn web_address(repository: &str) -> String {
    if repository.contains("://") { repository.to_owned() } else { format!("https://{repository}") }
}

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
