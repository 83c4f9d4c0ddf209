//! What is done inside of the sandbox, told to it as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::npm::{InvalidLock, NpmLock};
use super::python::{Interpreter, Requirement, Requirements};
use super::web::PackageRegistry;
use crate::oci::Platform;

/// What is fetched, verified and unpacked.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Plan {
    /// The hosts that may be reached, which whoever makes the sandbox sees to.
    pub(super) hosts: Vec<String>,
    pub(super) downloads: Vec<Download>,
    pub(super) wheels: Option<Wheels>,
}

/// Something known by its digest.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Download {
    pub(super) url: String,
    pub(super) integrity: Integrity,
    pub(super) unpack: Unpack,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Integrity {
    Sha256(String),
    Sha512(String),
}

impl Integrity {
    pub(super) fn holds(&self, content: &[u8]) -> bool {
        match self {
            Self::Sha256(digits) => hex::encode(sha2::Sha256::digest(content)) == *digits,
            Self::Sha512(digits) => hex::encode(sha2::Sha512::digest(content)) == *digits,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Unpack {
    /// An npm package, and its programs by their names.
    Npm { into: String, bin: BTreeMap<String, String> },
}

/// Wheels, of which the index says where they are.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Wheels {
    /// Ends with `/`.
    pub(super) index: String,
    pub(super) requirements: Vec<Requirement>,
    pub(super) interpreter: Interpreter,
}

impl Plan {
    /// What an npm lock file names, for this machine, below the directory `into`.
    ///
    /// # Errors
    /// [`InvalidLock`] names packages that are needed and not for this machine.
    pub fn npm(
        lock: &NpmLock,
        registry: &PackageRegistry,
        platform: Platform,
        into: &str,
    ) -> Result<Self, InvalidLock> {
        let downloads = lock.downloads(platform, registry, into)?;
        Ok(Self { hosts: registry.hosts().map(str::to_owned).collect(), downloads, wheels: None })
    }

    /// The wheels that these requirements name, for this interpreter.
    #[must_use]
    pub fn python(requirements: &Requirements, index: &PackageRegistry, interpreter: &Interpreter) -> Self {
        let wheels =
            Wheels { index: index.url(""), requirements: requirements.0.clone(), interpreter: interpreter.clone() };
        Self { hosts: index.hosts().map(str::to_owned).collect(), downloads: Vec::new(), wheels: Some(wheels) }
    }
}
