//! From a directory of manifests to an index.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use gigmcp_registry::{Digest, Index, IndexBuilder, Manifest};
use serde_json::json;

use crate::arguments::{moment, moment_text, now, span};
use crate::failure::Failure;
use crate::files::{self, Document};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct BuildIndex {
    /// The directory with NAME/VERSION.yaml or .json
    directory: PathBuf,
    /// Where to put the index, not signed yet
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The index published last: the sequence number goes on from it, and its versions keep their images
    #[arg(long, value_name = "FILE", required_unless_present = "sequence")]
    previous: Option<PathBuf>,
    /// The sequence number, 1 for the first index of a registry
    #[arg(long, value_name = "NUMBER")]
    sequence: Option<u64>,
    /// How long the index may be used; publish the next one well before
    #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = span)]
    lifetime: Duration,
    /// When the index was made; now, unless given
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    generated: Option<SystemTime>,
}

impl BuildIndex {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let previous = self.previous.as_deref().map(unverified_index).transpose()?;
        let index = self.build(self.sequence(previous.as_ref())?)?;
        if let Some(previous) = &previous {
            check_images(previous, &index)?;
        }
        let text = index.to_json();
        if text.len() > gigmcp_registry::MAX_INDEX_BYTES {
            let limit = gigmcp_registry::MAX_INDEX_BYTES;
            return Err(Failure::file(format!("the index would have {} bytes, readers take {limit}", text.len()))
                .advice("remove old versions"));
        }
        files::write(&self.output, text.as_bytes())?;
        let digest = Digest::of(text.as_bytes()).to_string();
        let (servers, versions) = (index.servers.len(), index.manifests().count());
        let (file, expires) = (self.output.display().to_string(), moment_text(index.expires));
        output.print(
            &json!({
                "file": file, "sequence": index.sequence, "digest": digest, "expires": expires,
                "servers": servers, "versions": versions,
            }),
            &[
                format!("index with sequence {}, {digest}", index.sequence),
                format!("{servers} servers in {versions} versions, until {expires}"),
                format!("{file} is to be signed"),
            ],
        )
    }

    fn sequence(&self, previous: Option<&Index>) -> Result<u64, Failure> {
        let last = previous.map_or(0, |previous| previous.sequence);
        let next = last.checked_add(1).ok_or_else(|| {
            Failure::file("the sequence has no next number")
                .advice("replace all index keys by a new root, and begin at 1")
        })?;
        match self.sequence {
            Some(given) if given < next => {
                Err(Failure::file(format!("sequence {given} does not follow {last}, readers would refuse the index")))
            }
            given => Ok(given.unwrap_or(next)),
        }
    }

    fn build(&self, sequence: u64) -> Result<Index, Failure> {
        let failed = |source| Failure::file("the index cannot be made").because(source);
        let mut builder =
            IndexBuilder::new(sequence, self.generated.unwrap_or_else(now), self.lifetime).map_err(failed)?;
        let mut broken = Vec::new();
        for path in manifests(&self.directory)? {
            let manifest = files::manifest(&path).and_then(|manifest| in_its_place(&path, manifest));
            match manifest.and_then(|manifest| built(&path, manifest)) {
                Ok(manifest) => drop(builder.add(manifest).map_err(failed)?),
                Err(failure) => broken.push(failure),
            }
        }
        match broken.pop() {
            None => Ok(builder.build()),
            Some(last) => Err(last.besides(broken)),
        }
    }
}

/// An index that is compared with, not trusted.
pub(crate) fn unverified_index(path: &Path) -> Result<Index, Failure> {
    let Document { bytes, .. } = Document::read(path)?;
    Index::danger_from_unverified_json(&bytes)
        .map_err(|source| Failure::file(format!("{} is no index", path.display())).because(source))
}

fn check_images(previous: &Index, index: &Index) -> Result<(), Failure> {
    let diff = previous.changes_to(index);
    let names: Vec<String> = diff.repinned().map(|diff| format!("{} {}", diff.name, diff.version)).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!("another image under the same version: {}", names.join(", ")))
        .advice("give what changed a new version; readers refuse the index otherwise"))
}

fn in_its_place(path: &Path, manifest: Manifest) -> Result<Manifest, Failure> {
    let place = format!("{}/{}", manifest.name, manifest.version);
    if path.with_extension("").ends_with(&place) {
        return Ok(manifest);
    }
    Err(Failure::file(format!("{} holds the manifest of {} {}", path.display(), manifest.name, manifest.version))
        .advice(format!("move it to {place}.yaml, or correct its name and version")))
}

/// A manifest whose image is not built yet has the digest of zeros, which no image can have.
fn built(path: &Path, manifest: Manifest) -> Result<Manifest, Failure> {
    if manifest.image.digest.as_bytes() != &[0; 32] {
        return Ok(manifest);
    }
    Err(Failure::refused(format!("the image of {} {} is not built yet", manifest.name, manifest.version))
        .because(format!("the digest in {} is all zeros", path.display()))
        .advice("build it with `registryctl build --pin`, push it, and publish the pinned manifest"))
}

fn manifests(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = Vec::new();
    for entry in entries(directory)? {
        if entry.is_dir() {
            paths.extend(server(&entry)?);
        }
    }
    if paths.is_empty() {
        return Err(Failure::file(format!("there is no manifest in {}", directory.display()))
            .advice("manifests are in NAME/VERSION.yaml or NAME/VERSION.json below it"));
    }
    Ok(paths)
}

/// The manifests of one server, beside which its toolspecs lie.
pub(crate) fn server(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_manifest = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let data = [".yaml", ".yml", ".json"].iter().any(|extension| name.ends_with(extension));
        data && !name.contains(".toolspec.")
    };
    Ok(entries(directory)?.into_iter().filter(is_manifest).collect())
}

/// Sorted, so that errors come in the same order everywhere. A link is an error: what it leads to may change unseen.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |source| Failure::file(format!("{} cannot be read", directory.display())).because(source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_symlink() {
            return Err(Failure::file(format!("{} is a symbolic link", entry.path().display()))
                .advice("put the file itself there"));
        }
        paths.push(entry.path());
    }
    paths.sort();
    Ok(paths)
}
