//! What is allowed and unwise, told before anything is signed.

mod denylist;
mod hosts;
mod keys;
mod manifest;
mod toolspec;

use std::path::Path;

pub use denylist::{Denylist, InvalidDenylist};

use crate::diagnostic::{Diagnostic, Diagnostics, Parsed, Place, Rule, Severity, of_fault, parse_placed};
use crate::manifest::{Document, Manifest, validate};
use crate::report::{Checked, Report};
use crate::toolspec::{Toolspec, ToolspecDocument};
use crate::yaml::Node;

/// Holds manifests and toolspecs to the rules, those of their formats and those of good sense.
///
/// ```
/// use gigmcp_registry::{Linter, Rule};
///
/// let (report, manifest) = Linter::default().manifest("manifests/shop/1.0.0.yaml", b"schemaVersion: 1\nname: shop\ntier: on\n");
/// assert!(manifest.is_none());
/// assert!(report.diagnostics().any(|(_, diagnostic)| diagnostic.rule == Rule::AmbiguousValue));
/// println!("{report}");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Linter {
    denylist: Denylist,
}

impl Linter {
    /// With a denylist of one's own instead of ours.
    #[must_use]
    pub fn new(denylist: Denylist) -> Self {
        Self { denylist }
    }

    /// Checks a manifest. `path` is where it stands, in a registry `.../<name>/<version>.yaml`. The manifest comes with the report
    /// if it is one, whatever else there is to say about it.
    #[must_use]
    pub fn manifest(&self, path: &str, text: &[u8]) -> (Report, Option<Manifest>) {
        let (diagnostics, manifest) = match parse_placed::<Document, _>(text, validate) {
            Ok(Parsed { value, root }) => {
                let mut found = Findings { text, root: &root, found: Vec::new() };
                check_path(&mut found, path, &format!("{}.yaml", value.version), value.name.as_str());
                manifest::check(&mut found, &value, &self.denylist);
                (found.sorted(), Some(value))
            }
            Err(diagnostics) => (diagnostics, None),
        };
        (Report::of(Checked::new(path, text, diagnostics)), manifest)
    }

    /// Checks a toolspec, and whether it belongs to `manifest` and asks for nothing beyond it.
    #[must_use]
    pub fn toolspec(&self, path: &str, text: &[u8], manifest: Option<&Manifest>) -> (Report, Option<Toolspec>) {
        let (diagnostics, spec) = match parse_placed::<ToolspecDocument, _>(text, crate::toolspec::validate) {
            Ok(Parsed { value, root }) => {
                let mut found = Findings { text, root: &root, found: Vec::new() };
                check_path(&mut found, path, &format!("{}.toolspec.yaml", value.version), value.name.as_str());
                if let Some(manifest) = manifest {
                    let faults = value.check_against(manifest);
                    found.found.extend(faults.iter().map(|fault| of_fault(text, &root, fault)));
                }
                toolspec::check(&mut found, &value, manifest, &self.denylist);
                (found.sorted(), Some(value))
            }
            Err(diagnostics) => (diagnostics, None),
        };
        (Report::of(Checked::new(path, text, diagnostics)), spec)
    }
}

/// Where findings are collected, with what tells their places.
struct Findings<'a> {
    text: &'a [u8],
    root: &'a Node,
    found: Vec<Diagnostic>,
}

impl Findings<'_> {
    fn add(&mut self, rule: Rule, field: &str, message: impl Into<String>, help: impl Into<String>) {
        self.add_as(rule, rule.severity(), field, message, help);
    }

    fn add_as(
        &mut self,
        rule: Rule,
        severity: Severity,
        field: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = Place::of(self.text, self.root.locate(field));
        self.found.push(Diagnostic::new(rule, severity, field, place, message.into(), Some(help.into())));
    }

    fn sorted(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|diagnostic| (diagnostic.place.span.start, diagnostic.rule));
        self.found
    }
}

/// The file's place says the same as the file.
fn check_path(found: &mut Findings<'_>, path: &str, file: &str, directory: &str) {
    let path = Path::new(path);
    let name = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    // An index is made of JSON as well.
    let json = file.replace(".yaml", ".json");
    if name(path.file_name()).is_some_and(|actual| actual != file && actual != json) {
        found.add(Rule::FilePath, "version", "the file's name is another one", format!("name it {file}"));
    }
    let parent = name(path.parent().and_then(Path::file_name));
    if parent.is_some_and(|actual| actual != directory) {
        found.add(Rule::FilePath, "name", "the file's directory is another one", format!("move it to {directory}/"));
    }
}

impl Diagnostics {
    /// As a report that can be printed, for a text that was read from `path`.
    #[must_use]
    pub fn report(&self, path: &str, text: &[u8]) -> Report {
        Report::of(Checked::new(path, text, self.to_vec()))
    }
}

#[cfg(test)]
mod tests;
