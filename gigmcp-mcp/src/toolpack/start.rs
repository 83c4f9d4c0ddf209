//! From sidecars and an environment to a [`Toolpack`]: everything that can be wrong is found before the first call.

use std::{collections::HashSet, fmt, io, path::Path, path::PathBuf, sync::Arc};

use gigmcp_registry::{Credential, Fault, Inject, InvalidManifest, InvalidValue, Manifest, Tier, Toolspec, Values};

use super::{
    credential::{Held, Secret},
    plan::{ToolPlan, Toolpack},
};

/// A manifest and the toolspec that belongs to it.
#[derive(Clone, Debug)]
pub struct Sidecars {
    manifest: Manifest,
    toolspec: Toolspec,
}

impl Sidecars {
    /// Pairs the two.
    ///
    /// # Errors
    /// [`StartError::Pair`] if the toolspec differs from the manifest, or goes beyond it.
    pub fn new(manifest: Manifest, toolspec: Toolspec) -> Result<Self, StartError> {
        let faults = toolspec.check_against(&manifest);
        if faults.is_empty() {
            Ok(Self { manifest, toolspec })
        } else {
            Err(StartError::Pair { faults: Faults(faults) })
        }
    }

    /// Reads `manifest.yaml` and `toolspec.yaml` of a directory.
    ///
    /// # Errors
    /// Which file is missing or wrong, and everything that is wrong with it.
    pub fn read(directory: &Path) -> Result<Self, StartError> {
        let manifest = sidecar(directory, "manifest.yaml", Manifest::from_yaml)?;
        let toolspec = sidecar(directory, "toolspec.yaml", Toolspec::from_yaml)?;
        Self::new(manifest, toolspec)
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The toolspec.
    #[must_use]
    pub fn toolspec(&self) -> &Toolspec {
        &self.toolspec
    }

    /// Fills in what only the environment knows:
    ///
    /// - `GIG_VAR_<NAME>`, the name in upper case, for each variable of the manifest;
    /// - for each credential of a sealed server its placeholder, in the variable that the manifest names
    ///   (`placeholder.env`), or else in `GIG_PLACEHOLDER`;
    /// - for each credential of an entrusted server the key itself, in the variable that the manifest names (`inject.env`).
    ///
    /// A credential that is not there is no error yet: the tools can be listed, and a call that needs it says what is missing.
    ///
    /// # Errors
    /// A variable without a valid value, a credential that is not visible ASCII, two things in the same place of a request.
    pub fn bind(&self, environment: impl Fn(&str) -> Option<String>) -> Result<Toolpack, StartError> {
        let Self { manifest, toolspec } = self;
        let values = values(manifest, &environment)?;
        let credentials = held(manifest, toolspec, &environment)?.into_iter().map(Arc::new).collect();
        let tools = toolspec.tools.iter().map(|tool| ToolPlan::new(toolspec, tool, &values, &credentials));
        Ok(Toolpack {
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            title: manifest.display_name.clone(),
            call_seconds: manifest.limits.and_then(|limits| limits.call_seconds),
            tools: tools.collect::<Result<_, _>>()?,
        })
    }
}

fn sidecar<T>(
    directory: &Path,
    name: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, InvalidManifest>,
) -> Result<T, StartError> {
    let path = directory.join(name);
    let text = std::fs::read(&path).map_err(|source| StartError::Read { path: path.clone(), source })?;
    parse(&text).map_err(|source| StartError::Sidecar { path, source })
}

fn values(manifest: &Manifest, environment: impl Fn(&str) -> Option<String>) -> Result<Values, StartError> {
    let names = manifest.variables.iter().map(|variable| variable.name.as_str());
    let said: Vec<_> = names.filter_map(|name| Some((name, environment(&variable(name))?))).collect();
    let said = said.iter().map(|(name, value)| (*name, value.as_str()));
    Values::new(&manifest.variables, said).map_err(|faults| StartError::Variables { faults: Unset(faults) })
}

/// Where a variable of a manifest is found.
fn variable(name: &str) -> String {
    format!("GIG_VAR_{}", name.to_ascii_uppercase())
}

fn held(
    manifest: &Manifest,
    toolspec: &Toolspec,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Held>, StartError> {
    let mut seen = HashSet::new();
    let mut held = Vec::new();
    for credential in &manifest.credentials {
        let variable = environment_of(credential);
        let id = credential.id.to_string();
        if !seen.insert(variable.to_owned()) {
            return Err(StartError::SharedVariable { credential: id, variable: variable.into() });
        }
        let Some(place) = place(manifest, toolspec, credential)? else { continue };
        let secret = environment(variable).filter(|text| !text.is_empty()).map(Secret::new).transpose();
        let secret =
            secret.map_err(|()| StartError::Credential { credential: id.clone(), variable: variable.into() })?;
        held.push(Held { id, variable: variable.into(), secret, place, bindings: credential.bind.clone() });
    }
    Ok(held)
}

fn environment_of(credential: &Credential) -> &str {
    match &credential.inject {
        Inject::Env { name } => name,
        _ => credential.placeholder.as_ref().and_then(|shape| shape.env.as_deref()).unwrap_or(DEFAULT_PLACEHOLDER),
    }
}

/// Where a credential goes in a request: what the proxy looks for in a sealed server, what the toolspec says in an entrusted one.
/// An entrusted server may hold a key that no request of it carries.
fn place(manifest: &Manifest, toolspec: &Toolspec, credential: &Credential) -> Result<Option<Inject>, StartError> {
    if manifest.tier == Tier::Sealed {
        return Ok(Some(credential.inject.clone()));
    }
    let auth = toolspec.auths.iter().find(|auth| match &auth.credential {
        Some(id) => *id == credential.id,
        None => true,
    });
    match auth {
        Some(auth) if auth.credential.is_none() && manifest.credentials.len() > 1 => Err(StartError::WhoseAuth),
        auth => Ok(auth.map(|auth| auth.place.clone())),
    }
}

/// Why a toolpack cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A sidecar is missing or cannot be read.
    #[error("{} has to be beside the engine and cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A sidecar is not what it should be.
    #[error("{} is refused", path.display())]
    Sidecar {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it.
        source: InvalidManifest,
    },
    /// The two sidecars are no pair.
    #[error("the toolspec does not fit its manifest: {faults}")]
    Pair {
        /// Everything in which they differ.
        faults: Faults,
    },
    /// The environment does not say what the manifest leaves to the user.
    #[error("the environment does not say what the user has to: {faults}")]
    Variables {
        /// All that is missing or wrong.
        faults: Unset,
    },
    /// The credential in the environment cannot stand in a request.
    #[error("{variable}, which holds the credential `{credential}`, is not 1 to 16384 visible ASCII characters")]
    Credential {
        /// The credential.
        credential: String,
        /// The variable it was read from.
        variable: String,
    },
    /// Two credentials would be read from one variable.
    #[error(
        "the credential `{credential}` would be read from {variable} like another one; give it a `placeholder: {{env: ...}}` of its own"
    )]
    SharedVariable {
        /// The second of them.
        credential: String,
        /// The variable.
        variable: String,
    },
    /// A toolspec of version 1 has one `auth`, and the manifest several credentials.
    #[error(
        "the toolspec has one `auth` and the manifest several credentials; say which goes where in `auths` (schemaVersion: 2)"
    )]
    WhoseAuth,
    /// Two things would be written in one place.
    #[error("the tool `{tool}` would have two values in {place} `{name}`; remove one of them from the toolspec")]
    Place {
        /// The tool.
        tool: String,
        /// The kind of place.
        place: &'static str,
        /// Its name.
        name: String,
    },
    /// A constant cannot stand where it is put.
    #[error("the constant `{name}` of the tool `{tool}` cannot stand in {place}")]
    Constant {
        /// The tool.
        tool: String,
        /// The kind of place.
        place: &'static str,
        /// Its name.
        name: String,
    },
    /// The host of a tool is no host name with the user's variables.
    #[error("the tool `{tool}` would send to `{host}`, which is no host name")]
    Host {
        /// The tool.
        tool: String,
        /// The host.
        host: String,
    },
}

/// Faults as one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Faults(pub Vec<Fault>);

/// Variables without a valid value, as one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unset(pub Vec<InvalidValue>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("; "))
    }
}

impl fmt::Display for Unset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |fault: &InvalidValue| format!("{} {}", variable(fault.variable.as_str()), fault.reason);
        let texts: Vec<_> = self.0.iter().map(text).collect();
        f.write_str(&texts.join("; "))
    }
}

/// What the original calls the placeholder, for servers with one credential.
const DEFAULT_PLACEHOLDER: &str = "GIG_PLACEHOLDER";
