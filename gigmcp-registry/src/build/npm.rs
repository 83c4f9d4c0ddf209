//! What an npm lock file says is to be fetched.
//!
//! Source: npm documentation, package-lock.json (lockfileVersion 2 and 3), package.json; Subresource Integrity.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::plan::{Download, Integrity, Unpack};
use super::web::PackageRegistry;
use crate::oci::Platform;

/// A lock file of which every package is known by its digest and comes from the one registry.
#[derive(Clone, Debug)]
pub struct NpmLock {
    packages: Vec<Package>,
}

/// A package in its place.
#[derive(Clone, Debug)]
struct Package {
    /// `node_modules/a/node_modules/b`.
    place: String,
    /// Below the registry's address.
    path: String,
    integrity: Integrity,
    bin: BTreeMap<String, String>,
    has_install_script: bool,
    conditions: Conditions,
}

/// Where a package is for; empty lists are for everywhere.
#[derive(Clone, Debug, Default)]
struct Conditions {
    optional: bool,
    os: Vec<String>,
    cpu: Vec<String>,
    libc: Vec<String>,
}

impl NpmLock {
    /// Reads `package.json` and its `package-lock.json`. What is for development only is left out.
    ///
    /// # Errors
    /// [`InvalidLock`] with everything that is wrong: a package without integrity or only SHA-1, from another host, from git or
    /// a file, a link, a strange path, or a lock file that is not of this `package.json`.
    pub fn parse(package: &[u8], lock: &[u8], registry: &PackageRegistry) -> Result<Self, InvalidLock> {
        let package: Wanted = serde_json::from_slice(package).map_err(InvalidLock::Package)?;
        let lock: Lock = serde_json::from_slice(lock).map_err(InvalidLock::Lock)?;
        if !matches!(lock.lockfile_version, 2 | 3) {
            return Err(InvalidLock::Version(lock.lockfile_version));
        }
        let mut faults = Vec::new();
        faults.extend(package.unlocked(&lock));
        let mut packages = Vec::new();
        for (place, entry) in &lock.packages {
            if place.is_empty() || is_true(&entry.dev) || is_true(&entry.dev_optional) {
                continue;
            }
            match entry.package(place, &lock, registry) {
                Ok(package) => packages.extend(package),
                Err(fault) => faults.push((place.clone(), fault)),
            }
        }
        if faults.is_empty() { Ok(Self { packages }) } else { Err(InvalidLock::Faults(faults)) }
    }

    /// What is downloaded for this machine, and where it goes below `into`.
    ///
    /// # Errors
    /// [`InvalidLock`] names what is for other machines and not optional.
    pub(super) fn downloads(
        &self,
        platform: Platform,
        registry: &PackageRegistry,
        into: &str,
    ) -> Result<Vec<Download>, InvalidLock> {
        let mut downloads = Vec::new();
        let mut faults = Vec::new();
        for package in &self.packages {
            if package.conditions.hold(platform) {
                let unpack = Unpack::Npm { into: format!("{into}/{}", package.place), bin: package.bin.clone() };
                downloads.push(Download {
                    url: registry.url(&package.path),
                    integrity: package.integrity.clone(),
                    unpack,
                });
            } else if !package.conditions.optional {
                faults.push((package.place.clone(), LockFault::Platform { platform }));
            }
        }
        if faults.is_empty() { Ok(downloads) } else { Err(InvalidLock::Faults(faults)) }
    }

    /// Packages that each have a program at this path of the image, `/app/node_modules/.bin/...`: which of them it is, nobody
    /// decided who wrote the lock file.
    pub fn rivals<'a>(&'a self, platform: Platform, path: &'a str) -> impl Iterator<Item = &'a str> {
        let name = path.strip_prefix("/app/node_modules/.bin/");
        let has = move |package: &&Package| {
            let is_named = |program: &String| Some(program.rsplit('/').next().unwrap_or(program)) == name;
            let is_here = !package.place.contains("/node_modules/") && package.conditions.hold(platform);
            is_here && package.bin.keys().any(is_named)
        };
        self.packages.iter().filter(has).map(|package| package.place.as_str())
    }

    /// Packages that would run something at installation, which is not done.
    pub fn install_scripts(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().filter(|package| package.has_install_script).map(|package| package.place.as_str())
    }
}

impl Conditions {
    fn hold(&self, platform: Platform) -> bool {
        let cpu = match platform {
            Platform::Amd64 => "x64",
            Platform::Arm64 => "arm64",
        };
        [(&self.os, "linux"), (&self.cpu, cpu), (&self.libc, "glibc")]
            .into_iter()
            .all(|(list, ours)| allows(list, ours))
    }
}

/// Names, or names with `!` that are not meant.
fn allows(list: &[String], ours: &str) -> bool {
    let (denied, allowed): (Vec<_>, Vec<_>) = list.iter().partition(|name| name.starts_with('!'));
    !denied.iter().any(|name| name[1..] == *ours) && (allowed.is_empty() || allowed.iter().any(|name| *name == ours))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    lockfile_version: u64,
    #[serde(default)]
    packages: BTreeMap<String, Entry>,
}

/// What `package.json` asks for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(default)]
    dependencies: Map<String, Value>,
    #[serde(default)]
    optional_dependencies: Map<String, Value>,
    workspaces: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: Option<String>,
    version: Option<String>,
    resolved: Option<String>,
    integrity: Option<String>,
    #[serde(default)]
    link: Option<bool>,
    in_bundle: Option<bool>,
    optional: Option<bool>,
    dev: Option<bool>,
    dev_optional: Option<bool>,
    has_install_script: Option<bool>,
    #[serde(default)]
    bin: Option<Value>,
    os: Option<Value>,
    cpu: Option<Value>,
    libc: Option<Value>,
    #[serde(default)]
    dependencies: Map<String, Value>,
    #[serde(default)]
    optional_dependencies: Map<String, Value>,
}

impl Wanted {
    /// Dependencies that are not of a registry, and those that the lock file knows otherwise.
    fn unlocked(&self, lock: &Lock) -> Vec<(String, LockFault)> {
        let mut faults = Vec::new();
        if self.workspaces.is_some() {
            faults.push(("workspaces".to_owned(), LockFault::Link));
        }
        let root = lock.packages.get("");
        for (section, wanted, locked) in [
            ("dependencies", &self.dependencies, root.map(|root| &root.dependencies)),
            ("optionalDependencies", &self.optional_dependencies, root.map(|root| &root.optional_dependencies)),
        ] {
            for (name, version) in wanted {
                let text = version.as_str().unwrap_or_default();
                if !is_of_registry(text) {
                    faults.push((name.clone(), LockFault::Source { resolved: text.to_owned() }));
                }
            }
            if locked != Some(wanted) && !(wanted.is_empty() && locked.is_none()) {
                faults.push((section.to_owned(), LockFault::OutOfDate));
            }
        }
        faults
    }
}

/// A version, a range, a tag or an alias of one; not an address, a path, or a repository.
fn is_of_registry(version: &str) -> bool {
    let version = version.strip_prefix("npm:").unwrap_or(version);
    let plain = version.rsplit_once('@').map_or(version, |(_, version)| version);
    !plain.contains([':', '/', '#'])
}

impl Entry {
    /// What is to be fetched; nothing if it comes inside of another package.
    fn package(&self, place: &str, lock: &Lock, registry: &PackageRegistry) -> Result<Option<Package>, LockFault> {
        if is_true(&self.link) {
            return Err(LockFault::Link);
        }
        let located = located(place).ok_or(LockFault::Place)?;
        if is_true(&self.in_bundle) {
            // What it is inside of is verified as a whole.
            let outer = place.rfind("/node_modules/").and_then(|at| lock.packages.get(&place[..at]));
            return outer.map(|_| None).ok_or(LockFault::Place);
        }
        let name = self.name.as_deref().unwrap_or(located);
        if !is_name(name) {
            return Err(LockFault::Place);
        }
        let path = match &self.resolved {
            Some(resolved) => registry.path_of(resolved).ok_or_else(|| fault_of(resolved))?,
            None => {
                let version = self.version.as_deref().filter(|version| is_version(version)).ok_or(LockFault::Place)?;
                let base = name.rsplit('/').next().unwrap_or(name);
                format!("{name}/-/{base}-{version}.tgz")
            }
        };
        let integrity = integrity(self.integrity.as_deref())?;
        let (bin, conditions) = (self.bin(name), self.conditions());
        let has_install_script = is_true(&self.has_install_script);
        Ok(Some(Package { place: place.to_owned(), path, integrity, bin, has_install_script, conditions }))
    }

    fn bin(&self, name: &str) -> BTreeMap<String, String> {
        let base = name.rsplit('/').next().unwrap_or(name);
        match &self.bin {
            Some(Value::String(path)) => BTreeMap::from([(base.to_owned(), path.clone())]),
            Some(Value::Object(programs)) => {
                let text = |(name, path): (&String, &Value)| Some((name.clone(), path.as_str()?.to_owned()));
                programs.iter().filter_map(text).collect()
            }
            _ => BTreeMap::new(),
        }
    }

    fn conditions(&self) -> Conditions {
        let optional = is_true(&self.optional);
        Conditions { optional, os: list(&self.os), cpu: list(&self.cpu), libc: list(&self.libc) }
    }
}

fn is_true(flag: &Option<bool>) -> bool {
    *flag == Some(true)
}

/// One name, or several.
fn list(value: &Option<Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => all.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// Why an address is not the registry's.
fn fault_of(resolved: &str) -> LockFault {
    match resolved.strip_prefix("https://").and_then(|rest| rest.split('/').next()) {
        Some(host) => LockFault::OtherHost { host: host.to_owned() },
        None => LockFault::Source { resolved: resolved.to_owned() },
    }
}

fn integrity(text: Option<&str>) -> Result<Integrity, LockFault> {
    let text = text.filter(|text| !text.trim().is_empty()).ok_or(LockFault::NoIntegrity)?;
    let of = |algorithm: &str| {
        let encoded = text.split_whitespace().find_map(|one| one.strip_prefix(algorithm))?;
        STANDARD.decode(encoded.split('?').next()?).ok().map(hex::encode)
    };
    if let Some(digits) = of("sha512-").filter(|digits| digits.len() == 128) {
        return Ok(Integrity::Sha512(digits));
    }
    of("sha256-").filter(|digits| digits.len() == 64).map(Integrity::Sha256).ok_or(LockFault::WeakIntegrity)
}

/// The name in the last part of `node_modules/a/node_modules/@b/c`, if it is such a path.
fn located(place: &str) -> Option<&str> {
    let mut rest = place.strip_prefix("node_modules/")?;
    while let Some((name, more)) = rest.split_once("/node_modules/") {
        is_name(name).then_some(())?;
        rest = more;
    }
    is_name(rest).then_some(rest)
}

fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        !word.is_empty() && !word.starts_with('.') && word != "node_modules" && word.bytes().all(allowed)
    };
    match name.strip_prefix('@').map(|scoped| scoped.split_once('/')) {
        Some(Some((scope, name))) => is_word(scope) && is_word(name),
        Some(None) => false,
        None => is_word(name),
    }
}

fn is_version(version: &str) -> bool {
    !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'))
}

/// Why nothing is fetched by a lock file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLock {
    /// `package.json` is none.
    #[error("reading package.json")]
    Package(#[source] serde_json::Error),
    /// `package-lock.json` is none.
    #[error("reading package-lock.json")]
    Lock(#[source] serde_json::Error),
    /// A version of the format that does not say enough.
    #[error("package-lock.json has lockfileVersion {0}; 2 or 3 is written by `npm install --package-lock-only`")]
    Version(u64),
    /// Packages, or places in `package.json`, and what is wrong with them.
    #[error("{}", .0.iter().map(|(place, fault)| format!("{place}: {fault}")).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<(String, LockFault)>),
}

/// What is wrong with a package of a lock file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LockFault {
    /// Anything could come.
    #[error("it has no integrity, so anything could come in its place")]
    NoIntegrity,
    /// SHA-1 or something unknown.
    #[error("its integrity is neither SHA-512 nor SHA-256")]
    WeakIntegrity,
    /// It comes from another host.
    #[error("it comes from {host}, which is not the registry")]
    OtherHost {
        /// Which host.
        host: String,
    },
    /// It comes from git, a file, plain HTTP, or something else that is no registry.
    #[error("it comes from {resolved:?}, which is no package of a registry")]
    Source {
        /// What is written.
        resolved: String,
    },
    /// It is a link to a directory.
    #[error("it is a link to a directory, or a workspace")]
    Link,
    /// It has no name, version or place that a package can have.
    #[error("it has no name, version or place that a package of a registry has")]
    Place,
    /// It is needed, and not for this machine.
    #[error("it is not for {platform}")]
    Platform {
        /// The machine.
        platform: Platform,
    },
    /// `package.json` was changed after the lock file was made.
    #[error("package-lock.json does not have what package.json asks for; run `npm install --package-lock-only`")]
    OutOfDate,
}

#[cfg(test)]
mod tests;
