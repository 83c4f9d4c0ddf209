//! Where the files of the catalogue are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One version of one server.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) has_toolspec: bool,
}

impl Entry {
    pub(crate) fn manifest_path(&self) -> String {
        format!("manifests/{}/{}.yaml", self.name, self.version)
    }

    pub(crate) fn toolspec_path(&self) -> String {
        format!("manifests/{}/{}.toolspec.yaml", self.name, self.version)
    }
}

pub(crate) fn catalog() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../catalog")
}

pub(crate) fn text(path: &str) -> String {
    let path = catalog().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in a directory of the catalogue, sorted.
pub(crate) fn names(directory: &str) -> Vec<String> {
    let directory = catalog().join(directory);
    let listed = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let names = listed.map(|entry| entry.expect("an entry").file_name().into_string().expect("plain"));
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Every entry, by name. There is nothing else among them.
pub(crate) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for name in names("manifests") {
        let files = names(&format!("manifests/{name}"));
        for file in &files {
            let stem = file.strip_suffix(".yaml").unwrap_or_else(|| panic!("manifests/{name}/{file} is no YAML"));
            let version = stem.strip_suffix(".toolspec");
            if let Some(version) = version {
                assert!(files.contains(&format!("{version}.yaml")), "manifests/{name}/{file} has no manifest");
                continue;
            }
            let has_toolspec = files.contains(&format!("{stem}.toolspec.yaml"));
            entries.push(Entry { name: name.clone(), version: stem.into(), has_toolspec });
        }
    }
    entries
}
