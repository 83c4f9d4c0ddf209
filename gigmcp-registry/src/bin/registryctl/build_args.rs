//! What the build of an image is given.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use gigmcp_registry::{Builder, Manifest};
use serde_json::{Map, Value};

use crate::build_index;
use crate::failure::Failure;
use crate::files;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct BuildArgs {
    /// A manifest, or the directory of a server, whose highest version is taken
    path: PathBuf,
}

impl BuildArgs {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let manifest = if self.path.is_dir() { latest(&self.path)? } else { files::manifest(&self.path)? };
        let builder = manifest.image.builder.unwrap_or(Builder::GoStatic);
        let pairs = [
            ("SOURCE_REPO", manifest.source.repo),
            ("SOURCE_TAG", manifest.source.tag),
            ("PACKAGE", manifest.source.package.unwrap_or_else(|| ".".into())),
            ("BUILDER", builder.as_str().into()),
            ("NAME", manifest.name.to_string()),
            ("VERSION", manifest.version.to_string()),
        ];
        // A manifest's values have no line breaks, so none of them can become a line of its own.
        let lines: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let value: Map<String, Value> = pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        output.print(&value.into(), &lines)
    }
}

fn latest(directory: &Path) -> Result<Manifest, Failure> {
    let manifests = build_index::server(directory)?.into_iter().map(|path| files::manifest(&path));
    let manifests = manifests.collect::<Result<Vec<_>, _>>()?;
    manifests
        .into_iter()
        .max_by_key(|manifest| manifest.version)
        .ok_or_else(|| Failure::file(format!("there is no manifest in {}", directory.display())))
}
