//! Package registries: one host each, and what of it is asked for.

use std::fmt;

/// A package registry, reached over HTTPS at port 443, and the hosts that it may be: all that a build can reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PackageRegistry {
    host: String,
    /// With a `/` at both ends.
    base: String,
    /// Hosts whose packages this one has too.
    stands_for: &'static [&'static str],
    /// Where files are, if not at the host.
    files: Vec<String>,
}

impl PackageRegistry {
    /// A registry of npm packages, such as `https://registry.npmjs.org` or a mirror. What a lock file has from npm's own
    /// registry is asked of this one, as `npm` does.
    ///
    /// # Errors
    /// [`InvalidPackageRegistry`] if it is no `https://` address.
    pub fn npm(address: &str) -> Result<Self, InvalidPackageRegistry> {
        Self::parse(address, &["registry.npmjs.org", "registry.yarnpkg.com"])
    }

    /// An index of Python packages, such as `https://pypi.org/simple` or a mirror. Its files may be at `files` as well.
    ///
    /// # Errors
    /// As [`npm`](Self::npm).
    pub fn python(address: &str, files: impl IntoIterator<Item = String>) -> Result<Self, InvalidPackageRegistry> {
        let mut index = Self::parse(address, &[])?;
        index.files = files.into_iter().collect();
        if index.host == "pypi.org" {
            index.files.push("files.pythonhosted.org".to_owned());
        }
        if let Some(other) = index.files.iter().find(|host| !is_host(host)) {
            return Err(InvalidPackageRegistry { address: other.clone() });
        }
        Ok(index)
    }

    fn parse(address: &str, stands_for: &'static [&'static str]) -> Result<Self, InvalidPackageRegistry> {
        let invalid = || InvalidPackageRegistry { address: address.to_owned() };
        let rest = address.strip_prefix("https://").ok_or_else(invalid)?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_end_matches('/');
        if !is_host(host) || !path.split('/').all(is_path_part) && !path.is_empty() {
            return Err(invalid());
        }
        let base = if path.is_empty() { "/".to_owned() } else { format!("/{path}/") };
        Ok(Self { host: host.to_owned(), base, stands_for, files: Vec::new() })
    }

    /// The hosts that a build reaches.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        [self.host.as_str()].into_iter().chain(self.files.iter().map(String::as_str))
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{}{}{path}", self.host, self.base)
    }

    /// What of this registry an address names, below its own; nothing if it is another host's.
    pub(super) fn path_of(&self, address: &str) -> Option<String> {
        let (host, path) = address.strip_prefix("https://")?.split_once('/')?;
        let is_ours = host == self.host;
        let path = match is_ours {
            true => format!("/{path}").strip_prefix(&self.base)?.to_owned(),
            false if self.stands_for.contains(&host) => path.to_owned(),
            false => return None,
        };
        let is_plain = path.split('/').all(is_path_part);
        is_plain.then_some(path)
    }
}

impl fmt::Display for PackageRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url(""))
    }
}

fn is_host(host: &str) -> bool {
    let is_lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
    is_lower && host.parse::<gigmcp_egress::HostName>().is_ok()
}

/// Nothing that two programs read in two ways.
fn is_path_part(part: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'@' | b'+' | b'!');
    !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain)
}

/// The address of a package registry is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{address:?} is no package registry; write https:// and a host name, at port 443, with a path or without")]
pub struct InvalidPackageRegistry {
    /// What was given.
    pub address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_one_host() {
        let own = PackageRegistry::npm("https://npm.corp.example/mirror/").expect("an address");
        for (address, expected) in [
            ("https://npm.corp.example/mirror/a/-/a-1.tgz", Some("a/-/a-1.tgz")),
            ("https://registry.npmjs.org/@b/a/-/a-1.tgz", Some("@b/a/-/a-1.tgz")),
            ("https://npm.corp.example/other/a", None),
            ("https://npm.corp.example:8443/mirror/a", None),
            ("https://evil.example/a", None),
            ("https://registry.npmjs.org/../a", None),
            ("https://registry.npmjs.org/a?b", None),
            ("https://registry.npmjs.org/a%2fb", None),
        ] {
            assert_eq!(own.path_of(address).as_deref(), expected, "{address}");
        }
        assert_eq!(own.url("a"), "https://npm.corp.example/mirror/a");
        for address in [
            "http://a.example",
            "https://",
            "https://a.example:80",
            "https://A.example",
            "https://u@a.example",
            "https://10.0.0.1",
            "https://a.example/?x",
        ] {
            assert!(PackageRegistry::npm(address).is_err(), "{address}");
        }
        let pypi = PackageRegistry::python("https://pypi.org/simple/", []).expect("an address");
        assert_eq!(pypi.hosts().collect::<Vec<_>>(), ["pypi.org", "files.pythonhosted.org"]);
        let mirror = PackageRegistry::python("https://pypi.corp.example/simple", []).expect("an address");
        assert_eq!(mirror.hosts().collect::<Vec<_>>(), ["pypi.corp.example"]);
    }
}
