//! The names of images.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The host of a registry, and its port unless that is 443: `ghcr.io`, `registry.example:5000`, `[::1]:5000`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Registry {
    host: Box<str>,
    port: u16,
}

impl Registry {
    /// The host name or address, without brackets, lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn new(host: &str, port: u16) -> Result<Self, InvalidReference> {
        let host = host.to_ascii_lowercase();
        let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
        let is_label = |label: &str| {
            let inner = label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
            inner && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
        };
        let is_name = host.len() <= 253 && host.split('.').all(is_label);
        if !(is_address || is_name) || port == 0 {
            return Err(InvalidReference::Registry);
        }
        Ok(Self { host: host.into(), port })
    }
}

impl FromStr for Registry {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let after_host = text.rfind(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match text[after_host..].rfind(':') {
            Some(colon) => (&text[..after_host + colon], &text[after_host + colon + 1..]),
            None => (text, "443"),
        };
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number).ok_or(InvalidReference::Registry)?;
        match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) if address.contains(':') => Self::new(address, port),
            None if !host.contains(':') => Self::new(host, port),
            _ => Err(InvalidReference::Registry),
        }
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if self.port == 443 { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// The name of a repository in a registry: lower-case words joined by `.`, `_`, `-` and `/`.
///
/// Source: OCI distribution specification 1.1, Pulling manifests.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Repository(Box<str>);

impl Repository {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Repository {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let is_valid = text.len() <= 255 && text.split('/').all(is_path_component);
        is_valid.then(|| Self(text.into())).ok_or(InvalidReference::Repository)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| is_word(*byte));
    let bytes = component.as_bytes();
    let separators = bytes.split(|byte| is_word(*byte)).filter(|run| !run.is_empty());
    let are_valid = |run: &[u8]| matches!(run, b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-');
    ends(bytes.first()) && ends(bytes.last()) && separators.into_iter().all(are_valid)
}

/// An image that can only be one: where it is, and its digest. Written `REGISTRY/REPOSITORY@DIGEST`.
///
/// Names without a registry, and those of `docker.io`, are Docker Hub's.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ImageReference {
    /// Where to ask.
    pub registry: Registry,
    /// What for.
    pub repository: Repository,
    /// Of the manifest, or of the index of manifests.
    pub digest: Digest,
}

impl ImageReference {
    /// The image that a manifest's `ref` and `digest` name.
    ///
    /// # Errors
    /// [`InvalidReference`] says which part of `name` is none.
    pub fn new(name: &str, digest: Digest) -> Result<Self, InvalidReference> {
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            Some(_) | None => (DOCKER, name),
        };
        let (registry, repository) = match registry {
            DOCKER | "index.docker.io" if repository.contains('/') => (DOCKER_REGISTRY, repository.to_owned()),
            DOCKER | "index.docker.io" => (DOCKER_REGISTRY, format!("library/{repository}")),
            registry => (registry, repository.to_owned()),
        };
        Ok(Self { registry: registry.parse()?, repository: repository.parse()?, digest })
    }
}

impl FromStr for ImageReference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let (name, digest) = text.split_once('@').ok_or(InvalidReference::Digest)?;
        Self::new(name, digest.parse().map_err(|_| InvalidReference::Digest)?)
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.registry, self.repository, self.digest)
    }
}

/// Why a text does not name an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidReference {
    /// The registry is no host name or address, with a port or without.
    #[error("the registry is no host name")]
    Registry,
    /// The repository is no lower-case path, or has a tag.
    #[error("the repository is not lower-case words joined by `.`, `_`, `-` and `/`")]
    Repository,
    /// There is no digest: a tag could be another image tomorrow.
    #[error("there is no digest `@sha256:…`")]
    Digest,
}

const DOCKER: &str = "docker.io";
const DOCKER_REGISTRY: &str = "registry-1.docker.io";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_one_image() {
        let digest = format!("@{}", Digest::of(b""));
        for (case, name, expected) in [
            ("a registry", "ghcr.io/example/acme-notes", Ok("ghcr.io/example/acme-notes")),
            ("a port", "registry.example:5000/a", Ok("registry.example:5000/a")),
            ("localhost", "localhost:5000/a/b", Ok("localhost:5000/a/b")),
            ("an address", "[::1]:5000/a", Ok("[::1]:5000/a")),
            ("Docker Hub", "docker.io/example/a", Ok("registry-1.docker.io/example/a")),
            ("without a registry", "example/a", Ok("registry-1.docker.io/example/a")),
            ("one word", "redis", Ok("registry-1.docker.io/library/redis")),
            ("one word of Docker Hub", "docker.io/redis", Ok("registry-1.docker.io/library/redis")),
            ("separators", "ghcr.io/a.b/c__d/e---f", Ok("ghcr.io/a.b/c__d/e---f")),
            ("upper-case host", "GHCR.io/a", Ok("ghcr.io/a")),
            ("a tag", "ghcr.io/a:latest", Err(InvalidReference::Repository)),
            ("upper case", "ghcr.io/A", Err(InvalidReference::Repository)),
            ("two dots", "ghcr.io/a..b", Err(InvalidReference::Repository)),
            ("up", "ghcr.io/../a", Err(InvalidReference::Repository)),
            ("a query", "ghcr.io/a?b", Err(InvalidReference::Repository)),
            ("a line break", "ghcr.io/a\n", Err(InvalidReference::Repository)),
            ("nothing", "ghcr.io/", Err(InvalidReference::Repository)),
            ("a user", "user:x@ghcr.io/a", Err(InvalidReference::Digest)),
            ("no port", "ghcr.io:/a", Err(InvalidReference::Registry)),
            ("a large port", "ghcr.io:65536/a", Err(InvalidReference::Registry)),
            ("a scheme", "https://ghcr.io/a", Err(InvalidReference::Registry)),
            ("an address without brackets", "::1:5000/a", Err(InvalidReference::Registry)),
        ] {
            let parsed = format!("{name}{digest}").parse::<ImageReference>().map(|image| image.to_string());
            assert_eq!(parsed, expected.map(|name| format!("{name}{digest}")), "{case}");
        }
    }
}
