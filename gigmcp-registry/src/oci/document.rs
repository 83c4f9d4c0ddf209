//! Indexes, manifests and configurations.
//!
//! Source: OCI image specification 1.1; Docker's image manifest, version 2, schema 2, which differs in its media types.

use serde::Deserialize;

use super::DocumentFault;
use super::config::ImageConfig;
use super::platform::Said;
use super::spelling;
use crate::digest::Digest;
use crate::extract::Compression;

/// What is at a digest.
pub(crate) enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<(Descriptor, Compression)>,
}

/// What a document says of another one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    #[serde(deserialize_with = "digest")]
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(in crate::oci) platform: Option<Said>,
}

impl Descriptor {
    #[cfg(feature = "build")]
    pub(crate) fn is_for(&self, platform: super::Platform) -> bool {
        self.is_manifest() && self.platform.as_ref().is_some_and(|said| platform.runs(said))
    }

    pub(super) fn is_manifest(&self) -> bool {
        MANIFESTS.contains(&&*self.media_type)
    }
}

/// Both kinds at once, so that a document that is both is seen.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Either {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

impl Document {
    pub(crate) fn parse(content: &[u8]) -> Result<Self, DocumentFault> {
        let read: Either = serde_json::from_slice(content)?;
        spelling::check(content)?;
        if read.schema_version != 2 {
            return Err(DocumentFault::Version(read.schema_version));
        }
        let media_type = read.media_type.as_deref();
        match (read.manifests, read.config, read.layers) {
            (Some(manifests), None, None) if said(media_type, INDEXES)? => Ok(Self::Index(manifests)),
            (None, Some(config), Some(layers)) if said(media_type, MANIFESTS)? => {
                if !CONFIGS.contains(&&*config.media_type) {
                    return Err(DocumentFault::MediaType(config.media_type));
                }
                let layers = layers.into_iter().map(|layer| Ok((compression(&layer)?, layer)));
                let layers = layers.map(|layer| layer.map(|(compression, layer)| (layer, compression)));
                Ok(Self::Manifest(Manifest { config, layers: layers.collect::<Result<_, DocumentFault>>()? }))
            }
            _ => Err(DocumentFault::Kind),
        }
    }
}

/// Whether the media type is one of these, which it need not say.
fn said(media_type: Option<&str>, expected: &[&str]) -> Result<bool, DocumentFault> {
    match media_type {
        Some(other) if !expected.contains(&other) => Err(DocumentFault::MediaType(other.to_owned())),
        _ => Ok(true),
    }
}

fn compression(layer: &Descriptor) -> Result<Compression, DocumentFault> {
    match &*layer.media_type {
        "application/vnd.oci.image.layer.v1.tar" => Ok(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            Ok(Compression::Gzip)
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" => Ok(Compression::Zstd),
        // Layers that may not be distributed are fetched from addresses in the manifest; nobody makes them any more.
        other => Err(DocumentFault::MediaType(other.to_owned())),
    }
}

/// An image's configuration.
pub(crate) struct Config {
    pub(in crate::oci) platform: Said,
    pub(crate) diff_ids: Vec<Digest>,
    pub(in crate::oci) config: ImageConfig,
}

impl Config {
    pub(crate) fn parse(content: &[u8]) -> Result<Self, DocumentFault> {
        let read: RawConfig = serde_json::from_slice(content)?;
        spelling::check(content)?;
        let diff_ids = read.rootfs.diff_ids.iter().map(|text| text.parse().map_err(|_| DocumentFault::Digest));
        Ok(Self {
            platform: Said { architecture: read.architecture, os: read.os, variant: read.variant },
            diff_ids: diff_ids.collect::<Result<_, _>>()?,
            config: read.config.unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
struct RawConfig {
    architecture: String,
    os: String,
    variant: Option<String>,
    rootfs: RawRootfs,
    config: Option<ImageConfig>,
}

#[derive(Deserialize)]
struct RawRootfs {
    diff_ids: Vec<String>,
}

fn digest<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

const INDEXES: &[&str] =
    &["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: &[&str] =
    &["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIGS: &[&str] =
    &["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// What a registry is asked for: it may have the same image in other forms, which have other digests.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_one_thing() {
        let digest = Digest::of(b"");
        let descriptor = |media_type: &str| format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":0}}"#);
        let config = descriptor(CONFIGS[0]);
        let layer = descriptor("application/vnd.oci.image.layer.v1.tar+zstd");
        let fault = |text: String| match Document::parse(text.as_bytes()) {
            Ok(Document::Index(_)) => "index".to_owned(),
            Ok(Document::Manifest(_)) => "manifest".to_owned(),
            Err(error) => error.to_string(),
        };
        for (case, text, expected) in [
            ("an index", format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(MANIFESTS[0])), "index"),
            ("a manifest", format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#), "manifest"),
            (
                "both",
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
                "it is neither an index nor a manifest",
            ),
            (
                "a manifest that says it is an index",
                format!(r#"{{"schemaVersion":2,"mediaType":"{}","config":{config},"layers":[]}}"#, INDEXES[0]),
                "the media type application/vnd.oci.image.index.v1+json is not the one it should be",
            ),
            (
                "layers twice",
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"layers":[{layer}]}}"#),
                "it is no JSON of this kind",
            ),
            (
                "layers twice, for programs in Go",
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"Layers":[{layer}]}}"#),
                "the field \"Layers\" is spelled otherwise than it should be",
            ),
            ("the first version", r#"{"schemaVersion":1}"#.to_owned(), "version 1 of the format is not supported"),
            (
                "a layer from elsewhere",
                format!(
                    r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
                    descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar")
                ),
                "the media type application/vnd.oci.image.layer.nondistributable.v1.tar is not the one it should be",
            ),
            (
                "an artifact",
                format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, descriptor("application/vnd.example.x")),
                "the media type application/vnd.example.x is not the one it should be",
            ),
            ("no JSON", "<html>".to_owned(), "it is no JSON of this kind"),
            (
                "another algorithm",
                r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"md5:0","size":0}]}"#.to_owned(),
                "it is no JSON of this kind",
            ),
        ] {
            assert_eq!(fault(text), expected, "{case}");
        }
    }
}
