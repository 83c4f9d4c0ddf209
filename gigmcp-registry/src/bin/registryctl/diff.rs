//! What changed between two indexes, or two manifests.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use gigmcp_registry::{Change, IndexDiff, Manifest, ManifestDiff, VersionChange};
use serde_json::{Value, json};

use crate::build_index::unverified_index;
use crate::failure::{Exit, Failure};
use crate::files;
use crate::output::Output;

/// Neither of the two needs to be signed, and no signature is looked at.
#[derive(Args)]
pub(crate) struct Diff {
    /// The index or manifest before
    before: PathBuf,
    /// The one after
    after: PathBuf,
}

impl Diff {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let (value, lines) = match (is_index(&self.before)?, is_index(&self.after)?) {
            (true, true) => indexes(&unverified_index(&self.before)?.changes_to(&unverified_index(&self.after)?)),
            (false, false) => manifests(&files::manifest(&self.before)?, &files::manifest(&self.after)?),
            _ => return Err(Failure::file("an index and a manifest cannot be compared")),
        };
        let same = lines.is_empty();
        output.print(&value, &lines)?;
        Ok(if same { ExitCode::SUCCESS } else { Exit::Refused.into() })
    }
}

fn is_index(path: &Path) -> Result<bool, Failure> {
    let text = files::read(path)?;
    // A manifest has no such field, and is YAML or an object that begins with another one.
    let start = text[..text.len().min(64 << 10)].trim_ascii_start();
    Ok(start.starts_with(b"{\"signatures\":") || start.windows(11).any(|part| part == b"\"servers\":{"))
}

fn manifests(before: &Manifest, after: &Manifest) -> (Value, Vec<String>) {
    let changes = before.changes_to(after);
    let hashes = |manifest: &Manifest| json!({ "hash": manifest.hash().to_string(), "runtimeHash": manifest.runtime_hash().to_string() });
    let value = json!({ "before": hashes(before), "after": hashes(after), "changes": values(&changes) });
    (value, lines(&changes))
}

fn indexes(diff: &IndexDiff) -> (Value, Vec<String>) {
    let mut text = lines(&diff.head);
    for manifest in &diff.manifests {
        text.push(title(manifest));
        text.extend(lines(&manifest.changes).into_iter().map(|line| format!("  {line}")));
    }
    let manifest = |manifest: &ManifestDiff| {
        let (what, since) = match manifest.what {
            VersionChange::Added { since } => ("added", since.map(|version| version.to_string())),
            VersionChange::Removed => ("removed", None),
            VersionChange::Changed => ("changed", None),
        };
        json!({
            "name": manifest.name.as_str(), "version": manifest.version.to_string(), "what": what, "since": since,
            "changes": values(&manifest.changes),
        })
    };
    let manifests: Vec<Value> = diff.manifests.iter().map(manifest).collect();
    (json!({ "changes": values(&diff.head), "manifests": manifests }), text)
}

fn title(manifest: &ManifestDiff) -> String {
    let (name, version) = (&manifest.name, manifest.version);
    match manifest.what {
        VersionChange::Added { since: Some(since) } => format!("+ {name} {version}, compared with {since}"),
        VersionChange::Added { since: None } => format!("+ {name} {version}, new"),
        VersionChange::Removed => format!("- {name} {version}"),
        VersionChange::Changed => format!("~ {name} {version}, under the same version"),
    }
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

fn values(changes: &[Change]) -> Vec<Value> {
    let value = |change: &Change| {
        json!({
            "path": change.path, "before": change.before, "after": change.after, "bearing": change.bearing.as_str(),
        })
    };
    changes.iter().map(value).collect()
}
