//! Requirements with hashes, and which wheel of several is for an interpreter.
//!
//! Source: pip documentation, Requirements File Format and Hash-checking Mode; PyPA specifications: name normalization, platform
//! compatibility tags, binary distribution format.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::oci::Platform;

/// A requirements file in which every package has one version and its hashes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Requirements(pub(super) Vec<Requirement>);

/// A package, a version, and the SHA-256 of files that may be it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Requirement {
    /// Normalized: lower case, words joined by `-`.
    pub(super) name: String,
    pub(super) version: String,
    pub(super) hashes: BTreeSet<String>,
}

impl Requirements {
    /// Reads a file as `pip` with `--require-hashes --only-binary :all:` would.
    ///
    /// # Errors
    /// [`InvalidRequirements`] with everything that is wrong: something without a hash or an exact version, from an address, a path or
    /// git, with a condition, and options that would lead elsewhere.
    pub fn parse(text: &str) -> Result<Self, InvalidRequirements> {
        let (mut requirements, mut faults): (Vec<Requirement>, Vec<_>) = (Vec::new(), Vec::new());
        for (line, text) in logical_lines(text) {
            match requirement(&text) {
                Ok(Some(one)) if requirements.iter().any(|other| other.name == one.name) => {
                    faults.push((line, RequirementFault::Twice { name: one.name }));
                }
                Ok(one) => requirements.extend(one),
                Err(fault) => faults.push((line, fault)),
            }
        }
        if faults.is_empty() { Ok(Self(requirements)) } else { Err(InvalidRequirements(faults)) }
    }
}

/// Lines with those that continue them, without comments, and the number of the first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in text.lines().enumerate() {
        let line = if line.trim_start().starts_with('#') { "" } else { line.split(" #").next().unwrap_or_default() };
        let (line, continues) = match line.trim_end().strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, last)) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            None => lines.push((index + 1, line.trim().to_owned())),
        }
        goes_on = continues;
    }
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

fn requirement(line: &str) -> Result<Option<Requirement>, RequirementFault> {
    if line.starts_with('-') {
        // What holds anyway.
        let is_harmless =
            matches!(line, "--require-hashes" | "--only-binary :all:" | "--only-binary=:all:" | "--no-deps");
        return if is_harmless { Ok(None) } else { Err(RequirementFault::Option { option: line.to_owned() }) };
    }
    let (what, hashes) = match line.split_once("--hash") {
        Some((what, _)) => (what.trim(), &line[what.len()..]),
        None => (line, ""),
    };
    if what.contains(';') {
        return Err(RequirementFault::Condition { text: what.to_owned() });
    }
    if what.contains(['@', '/', ':']) {
        return Err(RequirementFault::Source { text: what.to_owned() });
    }
    let inexact = || RequirementFault::Inexact { text: what.to_owned() };
    let (name, version) = what.split_once("==").ok_or_else(inexact)?;
    let name = name.split('[').next().unwrap_or_default().trim();
    let version = version.trim();
    let is_word = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+' | b'!');
        !text.is_empty() && text.bytes().all(allowed)
    };
    if !is_word(name) || !is_word(version) {
        return Err(inexact());
    }
    let mut all = BTreeSet::new();
    for hash in hashes.split_whitespace() {
        let digits = hash.strip_prefix("--hash=sha256:").filter(|digits| {
            digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        all.insert(digits.ok_or_else(|| RequirementFault::Hash { text: hash.to_owned() })?.to_owned());
    }
    if all.is_empty() {
        return Err(RequirementFault::NoHash { name: name.to_owned() });
    }
    Ok(Some(Requirement { name: normalized(name), version: version.to_owned(), hashes: all }))
}

/// `Foo.Bar_baz` and `foo-bar-baz` are one package.
pub(super) fn normalized(name: &str) -> String {
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

/// The Python that will run it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Interpreter {
    /// The 11 of 3.11.
    pub minor: u32,
    /// The 36 of glibc 2.36.
    pub glibc_minor: u32,
    /// `x86_64` or `aarch64`.
    machine: String,
}

impl Interpreter {
    /// CPython 3 with this minor version, on this machine, with glibc 2 of this minor version.
    #[must_use]
    pub fn new(minor: u32, glibc_minor: u32, platform: Platform) -> Self {
        let machine = match platform {
            Platform::Amd64 => "x86_64",
            Platform::Arm64 => "aarch64",
        };
        Self { minor, glibc_minor, machine: machine.to_owned() }
    }

    /// Where Debian's Python looks for packages that are not Debian's, without the leading `/`.
    pub(super) fn packages_directory(&self) -> String {
        format!("usr/local/lib/python3.{}/dist-packages", self.minor)
    }

    /// How well a wheel suits, 0 being best; nothing if it cannot be used.
    pub(super) fn rank(&self, tags: &WheelTags) -> Option<usize> {
        let all = tags.pythons.iter().flat_map(|python| {
            tags.abis.iter().flat_map(move |abi| tags.platforms.iter().map(move |platform| (python, abi, platform)))
        });
        all.filter_map(|(python, abi, platform)| {
            let python = self.python_rank(python, abi)?;
            Some(python * 1000 + self.platform_rank(platform)?)
        })
        .min()
    }

    /// This version's own wheels, then those for the stable interface of this version or an older one, then those in Python.
    fn python_rank(&self, python: &str, abi: &str) -> Option<usize> {
        let own = format!("cp3{}", self.minor);
        let minor = |prefix: &str| python.strip_prefix(prefix)?.parse().ok().filter(|minor: &u32| *minor <= self.minor);
        match abi {
            _ if abi == own && python == own => Some(0),
            "abi3" => minor("cp3").map(|minor| (self.minor - minor) as usize + 1),
            "none" if python == own => Some(100),
            "none" if python == "py3" => Some(300),
            "none" => minor("py3").map(|minor| (self.minor - minor) as usize + 101),
            _ => None,
        }
    }

    /// The newest C library that is old enough, then any machine.
    fn platform_rank(&self, platform: &str) -> Option<usize> {
        if platform == "any" {
            return Some(900);
        }
        let rest = platform.strip_suffix(&self.machine)?.strip_suffix('_')?;
        let minor = match rest {
            "linux" => return Some(800),
            "manylinux1" => 5,
            "manylinux2010" => 12,
            "manylinux2014" => 17,
            rest => rest.strip_prefix("manylinux_2_")?.parse().ok()?,
        };
        self.glibc_minor.checked_sub(minor).map(|older| older as usize)
    }
}

/// What a wheel's name says: `{name}-{version}(-{build})?-{pythons}-{abis}-{platforms}.whl`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct WheelTags {
    pub(super) name: String,
    pub(super) version: String,
    pythons: Vec<String>,
    abis: Vec<String>,
    platforms: Vec<String>,
}

impl WheelTags {
    pub(super) fn parse(file: &str) -> Option<Self> {
        let parts: Vec<_> = file.strip_suffix(".whl")?.split('-').collect();
        let [name, version, rest @ ..] = &*parts else { return None };
        let [pythons, abis, platforms] = rest.get(rest.len().checked_sub(3)?..)? else { return None };
        let all = |tags: &str| tags.split('.').map(str::to_owned).collect();
        Some(Self {
            name: normalized(name),
            version: (*version).to_owned(),
            pythons: all(pythons),
            abis: all(abis),
            platforms: all(platforms),
        })
    }
}

/// Everything that is wrong with a requirements file, with the lines.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0.iter().map(|(line, fault)| format!("line {line}: {fault}")).collect::<Vec<_>>().join("\n"))]
pub struct InvalidRequirements(pub Vec<(usize, RequirementFault)>);

/// What is wrong with a line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementFault {
    /// Anything could come.
    #[error("{name} has no --hash, so anything could come in its place")]
    NoHash {
        /// The package.
        name: String,
    },
    /// A hash that is no SHA-256.
    #[error("{text:?} is no --hash=sha256: with 64 lower-case hex digits")]
    Hash {
        /// What is written.
        text: String,
    },
    /// No exact version.
    #[error("{text:?} is no NAME==VERSION")]
    Inexact {
        /// What is written.
        text: String,
    },
    /// From an address, a path or git.
    #[error("{text:?} is no package of an index")]
    Source {
        /// What is written.
        text: String,
    },
    /// For some interpreters only.
    #[error("{text:?} has a condition, which is not judged here; export the requirements for the one interpreter")]
    Condition {
        /// What is written.
        text: String,
    },
    /// An option, which could lead to another index.
    #[error("the option {option:?} is not taken from a file")]
    Option {
        /// What is written.
        option: String,
    },
    /// Two lines about one package.
    #[error("{name} is there twice")]
    Twice {
        /// The package.
        name: String,
    },
}

#[cfg(test)]
mod tests;
