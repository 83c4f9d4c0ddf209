//! What an image of a server in JavaScript or Python stands on: the runtime, as layers of another image.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::Value;

use super::debian::DebianPackage;
use super::layer::LayerBlob;
use super::layout::{Layout, LayoutError};
use super::python::Interpreter;
use crate::digest::Digest;
use crate::oci::{ConfigDocument, Document, DocumentFault, Platform, PullError, layout_blob};

/// What runs a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Runtime {
    /// Node.js, at `/usr/bin/node`.
    Node,
    /// Python 3, at `/usr/bin/python3`.
    Python,
}

impl Runtime {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a base says of itself: annotations that [`RuntimeInfo::annotations`] makes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RuntimeInfo {
    /// What it runs.
    pub runtime: Runtime,
    /// The version of Node or Python, as `18.20.4`.
    pub version: String,
    /// The version of the C library, as `2.36`.
    pub glibc: String,
    /// The suite of Debian it is of.
    pub suite: String,
    /// Each package and its version.
    pub packages: Vec<DebianPackage>,
}

impl RuntimeInfo {
    /// Of the packages that make it.
    ///
    /// # Errors
    /// [`BaseError::Says`] if the runtime or the C library is not among them.
    pub fn new(runtime: Runtime, suite: &str, packages: Vec<DebianPackage>) -> Result<Self, BaseError> {
        let version = |name: &'static str| {
            let package = packages.iter().find(|package| package.name == name);
            package.map(|package| upstream(&package.version).to_owned()).ok_or(BaseError::Says { what: name })
        };
        let name = if runtime == Runtime::Node { "nodejs" } else { "python3" };
        Ok(Self { runtime, version: version(name)?, glibc: version("libc6")?, suite: suite.to_owned(), packages })
    }

    /// What an image says, so that it can be used as a base.
    #[must_use]
    pub fn annotations(&self) -> [(&'static str, String); 5] {
        let package = |package: &DebianPackage| format!("{}={}", package.name, package.version);
        let packages: Vec<_> = self.packages.iter().map(package).collect();
        [
            ("io.gigmcp.base.runtime", self.runtime.to_string()),
            ("io.gigmcp.base.version", self.version.clone()),
            ("io.gigmcp.base.glibc", self.glibc.clone()),
            ("io.gigmcp.base.suite", self.suite.clone()),
            ("io.gigmcp.base.packages", packages.join(" ")),
        ]
    }

    /// What chooses wheels.
    ///
    /// # Errors
    /// [`BaseError::Says`] if a version is not 3.x, or the C library's not 2.x.
    pub fn interpreter(&self, platform: Platform) -> Result<Interpreter, BaseError> {
        let minor = |version: &str, major: &str| version.strip_prefix(major)?.split('.').next()?.parse().ok();
        let python = minor(&self.version, "3.").ok_or(BaseError::Says { what: "its version of Python" })?;
        let glibc = minor(&self.glibc, "2.").ok_or(BaseError::Says { what: "its version of glibc" })?;
        Ok(Interpreter::new(python, glibc, platform))
    }

    fn read(annotations: &Value) -> Result<Self, BaseError> {
        let said = |what: &'static str| annotations[what].as_str().map(str::to_owned).ok_or(BaseError::Says { what });
        let runtime = match &*said("io.gigmcp.base.runtime")? {
            "node" => Runtime::Node,
            "python" => Runtime::Python,
            _ => return Err(BaseError::Says { what: "io.gigmcp.base.runtime" }),
        };
        let package = |text: &str| {
            let (name, version) = text.split_once('=')?;
            Some(DebianPackage { name: name.to_owned(), version: version.to_owned() })
        };
        let packages = said("io.gigmcp.base.packages")?.split(' ').filter_map(package).collect();
        let (version, glibc) = (said("io.gigmcp.base.version")?, said("io.gigmcp.base.glibc")?);
        Ok(Self { runtime, version, glibc, suite: said("io.gigmcp.base.suite")?, packages })
    }
}

/// Debian's `1:18.20.4+dfsg-1~deb12u2` is `18.20.4` upstream.
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let end =
        version.find(|character: char| !(character.is_ascii_digit() || character == '.')).unwrap_or(version.len());
    &version[..end]
}

/// `LAYOUT@sha256:…`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BaseReference {
    layout: PathBuf,
    digest: Digest,
}

impl FromStr for BaseReference {
    type Err = InvalidBaseReference;

    fn from_str(text: &str) -> Result<Self, InvalidBaseReference> {
        let (layout, digest) =
            text.rsplit_once('@').filter(|(layout, _)| !layout.is_empty()).ok_or(InvalidBaseReference)?;
        Ok(Self { layout: layout.into(), digest: digest.parse().map_err(|_| InvalidBaseReference)? })
    }
}

/// The text names no image of a layout.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a base is DIRECTORY@sha256:DIGITS")]
pub struct InvalidBaseReference;

/// A base for one machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Base {
    /// Its layers.
    pub layers: Vec<LayerBlob>,
    /// What it says of itself.
    pub info: RuntimeInfo,
}

impl Base {
    /// Copies the base for this machine into a layout, every blob verified.
    ///
    /// # Errors
    /// [`BaseError`]: it is not there, damaged, not for this machine, or says not what it is.
    pub fn copy(from: &BaseReference, platform: Platform, into: &Layout) -> Result<Self, BaseError> {
        let (mut digest, mut content) = (from.digest, from.document(from.digest)?);
        if let Document::Index(entries) = parse(digest, &content)? {
            let chosen = entries.iter().find(|entry| entry.is_for(platform)).ok_or(BaseError::Platform { platform })?;
            digest = chosen.digest;
            content = from.document(digest)?;
        }
        let Document::Manifest(manifest) = parse(digest, &content)? else {
            return Err(BaseError::Image(PullError::Document { digest, source: DocumentFault::Nested }));
        };
        let said: Value = serde_json::from_slice(&content).unwrap_or_default();
        let info = RuntimeInfo::read(&said["annotations"])?;
        let config = from.document(manifest.config.digest)?;
        let fault = |source| BaseError::Image(PullError::Document { digest: manifest.config.digest, source });
        let diff_ids = ConfigDocument::parse(&config).map_err(fault)?.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(fault(DocumentFault::Layers { layers: manifest.layers.len(), diff_ids: diff_ids.len() }));
        }
        let mut layers = Vec::new();
        for ((layer, compression), diff_id) in manifest.layers.into_iter().zip(diff_ids) {
            into.copy(&from.layout, layer.digest)?;
            layers.push(LayerBlob { digest: layer.digest, diff_id, bytes: layer.size, compression });
        }
        Ok(Self { layers, info })
    }
}

impl BaseReference {
    fn document(&self, digest: Digest) -> Result<Vec<u8>, BaseError> {
        let mut content = Vec::new();
        let file: File = layout_blob(&self.layout, digest).map_err(BaseError::Image)?;
        file.take(DOCUMENT_BYTES)
            .read_to_end(&mut content)
            .map_err(|error| BaseError::Image(PullError::Layout(error)))?;
        match Digest::of(&content) {
            found if found == digest => Ok(content),
            found => Err(BaseError::Image(PullError::WrongDigest { expected: digest, found })),
        }
    }
}

fn parse(digest: Digest, content: &[u8]) -> Result<Document, BaseError> {
    Document::parse(content).map_err(|source| BaseError::Image(PullError::Document { digest, source }))
}

const DOCUMENT_BYTES: u64 = 4 << 20;

/// Why a base cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseError {
    /// It is no image, or damaged.
    #[error("reading the base")]
    Image(#[source] PullError),
    /// It is for other machines.
    #[error("the base is not for {platform}")]
    Platform {
        /// What was asked for.
        platform: Platform,
    },
    /// It does not say what it is.
    #[error("the base does not say {what}; `registryctl build-base` makes those that do")]
    Says {
        /// What is missing.
        what: &'static str,
    },
    /// It cannot be copied.
    #[error("copying the base")]
    Copy(#[from] LayoutError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_upstream() {
        for (version, expected) in [
            ("18.20.4+dfsg-1~deb12u2", "18.20.4"),
            ("3.11.2-1+b1", "3.11.2"),
            ("2.36-9+deb12u14", "2.36"),
            ("1:1.2.13.dfsg-1", "1.2.13."),
        ] {
            assert_eq!(upstream(version), expected, "{version}");
        }
        let digest = Digest::of(b"");
        let reference = format!("a@b/base@{digest}").parse::<BaseReference>();
        assert_eq!(reference, Ok(BaseReference { layout: "a@b/base".into(), digest }));
        for text in ["base", "base@latest", "@sha256:00", &format!("@{digest}")] {
            assert_eq!(text.parse::<BaseReference>(), Err(InvalidBaseReference), "{text}");
        }
    }
}
