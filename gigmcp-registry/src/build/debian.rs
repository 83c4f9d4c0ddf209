//! A runtime out of Debian's packages: what `apt` says it needs, unpacked, and nothing run.

mod apt;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::base::Runtime;
use super::tree::{FileMode, Tree, TreeError};
use crate::extract::ImageLimits;
use crate::oci::Platform;
use crate::tar::{Archive, Kind, TarError};
use apt::{Apt, finished};

/// A suite of Debian, whose index `apt` verifies by the keys of this machine's `debian-archive-keyring`.
#[derive(Clone, Debug)]
pub struct Debian {
    suite: String,
    mirror: String,
}

/// A package that was taken.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct DebianPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Debian {
    /// This suite, such as `trixie`, of this mirror, such as `http://deb.debian.org/debian`.
    ///
    /// # Errors
    /// [`DebianError::Suite`] if either is no such word or address.
    pub fn new(suite: &str, mirror: &str) -> Result<Self, DebianError> {
        let is_plain = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let address = mirror.strip_prefix("https://").or_else(|| mirror.strip_prefix("http://"));
        if !is_plain(suite, b"-") || !address.is_some_and(|address| is_plain(address, b"-._~:/+")) {
            return Err(DebianError::Suite { suite: suite.to_owned(), mirror: mirror.to_owned() });
        }
        Ok(Self { suite: suite.to_owned(), mirror: mirror.to_owned() })
    }

    /// The suite.
    #[must_use]
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The files of a runtime with all libraries it needs, and the packages they are from. `scratch` is an empty directory.
    ///
    /// Scripts of the packages are not run. Manuals, translations and what only `dpkg` needs are left out; licences stay.
    ///
    /// # Errors
    /// [`DebianError`]: `apt` or `dpkg-deb` is not there or fails, or a package holds what has no place.
    pub fn runtime(
        &self,
        runtime: Runtime,
        platform: Platform,
        scratch: &Path,
    ) -> Result<(Tree, Vec<DebianPackage>), DebianError> {
        let apt = Apt::new(self, platform, scratch)?;
        apt.run(&["update"])?;
        apt.run(&["install", "--download-only", "--no-install-recommends", "--yes", package(runtime)])?;
        let mut tree = Tree::new();
        let mut packages = Vec::new();
        for path in apt.archives()? {
            let package = named(&path).ok_or_else(|| DebianError::Package { path: path.clone() })?;
            if LEFT_OUT.contains(&package.name.as_str()) {
                continue;
            }
            unpack(&mut tree, &path)?;
            packages.push(package);
        }
        tree.remove_unless(is_kept);
        for name in ["bin", "lib", "lib64", "sbin"] {
            if tree.paths().any(|path| path == format!("usr/{name}")) {
                tree.symlink(name, &format!("usr/{name}"))?;
            }
        }
        packages.sort();
        Ok((tree, packages))
    }
}

fn package(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Node => "nodejs",
        Runtime::Python => "python3",
    }
}

/// `name_1%3a2.0-1_amd64.deb`.
fn named(path: &Path) -> Option<DebianPackage> {
    let file = path.file_stem()?.to_str()?;
    let [name, version, _] = *file.split('_').collect::<Vec<_>>() else { return None };
    Some(DebianPackage { name: name.to_owned(), version: version.replace("%3a", ":") })
}

fn unpack(tree: &mut Tree, path: &Path) -> Result<(), DebianError> {
    let output = finished(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(path), "dpkg-deb")?;
    let limits = ImageLimits::default();
    let mut archive = Archive::new(&*output.stdout, &limits);
    let unreadable = |_: TarError| DebianError::Package { path: path.to_owned() };
    let text =
        |bytes: &[u8]| str::from_utf8(bytes).map(merged).map_err(|_| DebianError::Package { path: path.to_owned() });
    while let Some(entry) = archive.entry().map_err(unreadable)? {
        let place = text(entry.path.as_bytes())?;
        match entry.kind {
            Kind::Directory => {}
            Kind::Symlink(target) => {
                let target = String::from_utf8(target).map_err(|_| DebianError::Package { path: path.to_owned() })?;
                tree.symlink(&place, &target)?;
            }
            Kind::HardLink(target) => {
                let target = text(target.as_bytes())?;
                let content =
                    tree.content(&target).ok_or_else(|| DebianError::Package { path: path.to_owned() })?.to_vec();
                let mode = if tree.has_program(&target) { FileMode::Executable } else { FileMode::Data };
                tree.file(&place, content, mode)?;
            }
            Kind::File { bytes, segments: None } => {
                let mut content = vec![0; usize::try_from(bytes).unwrap_or_default()];
                let mut read = 0;
                while read < content.len() {
                    read += archive.content(&mut content[read..]).map_err(unreadable)?;
                }
                let mode = if entry.mode & 0o111 == 0 { FileMode::Data } else { FileMode::Executable };
                tree.file(&place, content, mode)?;
            }
            _ => return Err(DebianError::Package { path: path.to_owned() }),
        }
    }
    Ok(())
}

/// Packages from before `/bin`, `/lib` and `/sbin` were links still name them.
fn merged(path: &str) -> String {
    let moved = ["bin/", "lib/", "lib64/", "sbin/"].iter().any(|directory| path.starts_with(directory));
    if moved { format!("usr/{path}") } else { path.to_owned() }
}

fn is_kept(path: &str) -> bool {
    let under = |directory: &&str| {
        path == *directory || path.strip_prefix(*directory).is_some_and(|rest| rest.starts_with('/'))
    };
    if path == "usr/share/doc" || path.ends_with("/copyright") {
        return true;
    }
    let is_documentation = path.strip_prefix("usr/share/doc/").is_some_and(|rest| rest.contains('/'));
    let is_conversion = path.contains("/gconv/") || path.ends_with("/gconv");
    let is_compiled = path.ends_with(".pyc") || path.contains("/__pycache__");
    !is_documentation && !is_conversion && !is_compiled && !UNUSED.iter().any(under)
}

/// What only the scripts of packages need.
const LEFT_OUT: &[&str] = &[
    "ca-certificates",
    "debconf",
    "dpkg",
    "install-info",
    "libacl1",
    "libattr1",
    "libmd0",
    "libpcre2-8-0",
    "libselinux1",
    "openssl",
    "perl-base",
    "readline-common",
    "tar",
];
const UNUSED: &[&str] = &[
    "usr/include",
    "usr/share/applications",
    "usr/share/bash-completion",
    "usr/share/binfmts",
    "usr/share/bug",
    "usr/share/doc-base",
    "usr/share/gdb",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/pixmaps",
    "var",
];

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebianError {
    /// The suite or mirror is none.
    #[error("{suite:?} of {mirror:?} is no suite of a mirror, such as trixie of http://deb.debian.org/debian")]
    Suite {
        /// What was said to be the suite.
        suite: String,
        /// What was said to be the mirror.
        mirror: String,
    },
    /// A program of Debian is not there.
    #[error("{program} cannot be started; bases are made on Debian and its relatives")]
    Missing {
        /// Which one.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A program of Debian failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// Which one.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// The scratch directory cannot be used.
    #[error("using {}", path.display())]
    Scratch {
        /// What in it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A package holds something that is no file, directory or link.
    #[error("{} holds what has no place in an image", path.display())]
    Package {
        /// Which one.
        path: PathBuf,
    },
    /// Two packages have something at one place.
    #[error("placing the files")]
    Place(#[from] TreeError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_left_out() {
        for (path, expected) in [
            ("usr/bin/node", true),
            ("usr/share/doc/nodejs/copyright", true),
            ("usr/share/doc/nodejs", true),
            ("usr/share/doc/nodejs/changelog.gz", false),
            ("usr/share/man/man1/node.1.gz", false),
            ("usr/share/manual", true),
            ("usr/lib/x86_64-linux-gnu/gconv/UTF-7.so", false),
            ("usr/lib/python3.11/__pycache__/os.pyc", false),
            ("usr/share/nodejs/acorn/package.json", true),
        ] {
            assert_eq!(is_kept(path), expected, "{path}");
        }
        assert_eq!(merged("lib/x86_64-linux-gnu/libc.so.6"), "usr/lib/x86_64-linux-gnu/libc.so.6");
        assert_eq!(merged("library/a"), "library/a");
        let named = named(Path::new("/a/zlib1g_1%3a1.2.13.dfsg-1_amd64.deb"));
        assert_eq!(named, Some(DebianPackage { name: "zlib1g".to_owned(), version: "1:1.2.13.dfsg-1".to_owned() }));
        assert!(Debian::new("trixie", "http://deb.debian.org/debian").is_ok());
        for (suite, mirror) in
            [("trixie main\ndeb x", "http://a"), ("trixie", "file:///a"), ("trixie", "http://a b"), ("", "http://a")]
        {
            assert!(Debian::new(suite, mirror).is_err(), "{suite} {mirror}");
        }
    }
}
