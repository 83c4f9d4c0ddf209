//! Layers that are unpacked, and those that are not.

mod attacks;
mod layers;
mod like_gnu_tar;
mod limits;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gigmcp_registry::{Compression, Digest, ExtractError, Extracted, ImageLimits, Layer, extract};
use tempfile::TempDir;

/// A directory with a tree in it, and beside that a file that nobody may touch.
pub(crate) struct Place {
    outside: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("tree")).unwrap();
        fs::write(outside.path().join("canary"), "alive").unwrap();
        Self { outside }
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.outside.path().join("tree")
    }

    pub(crate) fn extract(&self, layers: &[Vec<u8>], limits: &ImageLimits) -> Result<Extracted, ExtractError> {
        let plain = |content: &Vec<u8>| Layer {
            content: std::io::Cursor::new(content.clone()),
            compression: Compression::None,
            diff_id: Digest::of(content),
        };
        let extracted = extract(&self.tree(), layers.iter().map(plain), limits);
        self.nothing_outside_changed();
        extracted
    }

    fn nothing_outside_changed(&self) {
        let mut names: Vec<_> =
            fs::read_dir(self.outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["canary", "tree"]);
        assert_eq!(fs::read_to_string(self.outside.path().join("canary")).unwrap(), "alive");
    }

    pub(crate) fn listing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        list(&self.tree(), "", &mut lines);
        lines
    }
}

impl Drop for Place {
    /// Read-only directories cannot be emptied by everybody.
    fn drop(&mut self) {
        make_writable(&self.tree());
    }
}

pub(crate) fn make_writable(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            make_writable(&entry.path());
        }
    }
}

/// `d NAME`, `f NAME CONTENT`, `x NAME CONTENT`, `l NAME TARGET`, in the order of names; anything else panics.
fn list(dir: &Path, prefix: &str, lines: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let found = entry.metadata().unwrap();
        let content = || String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
        match (found.file_type(), found.mode() & 0o7777) {
            (kind, 0o555) if kind.is_dir() => {
                lines.push(format!("d {name}"));
                list(&entry.path(), &format!("{name}/"), lines);
            }
            (kind, 0o444) if kind.is_file() => lines.push(format!("f {name} {}", content())),
            (kind, 0o555) if kind.is_file() => lines.push(format!("x {name} {}", content())),
            (kind, _) if kind.is_symlink() => {
                lines.push(format!("l {name} {}", fs::read_link(entry.path()).unwrap().display()));
            }
            (kind, mode) => panic!("{name} is {kind:?} with mode {mode:o}"),
        }
    }
}
