//! Holding manifests and toolspecs to the rules.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use gigmcp_registry::{Builder, Colour, Denylist, Linter, Manifest, Report, Severity};

use crate::build_index::{entries, server};
use crate::failure::{Exit, Failure};
use crate::files;
use crate::output::{self, Output};

#[derive(Args)]
pub(crate) struct Lint {
    /// Manifests, directories of servers (NAME), or directories with NAME/VERSION.yaml
    #[arg(required = true)]
    path: Vec<PathBuf>,
    #[command(flatten)]
    rules: Rules,
}

#[derive(Args)]
pub(crate) struct LintToolspecs {
    /// A manifest or a toolspec, whose other half lies beside it, or a directory with NAME/VERSION.yaml and
    /// NAME/VERSION.toolspec.yaml: each manifest built as a toolpack must have one
    path: PathBuf,
    #[command(flatten)]
    rules: Rules,
}

/// What is compared with, and how it is told.
#[derive(Args)]
struct Rules {
    /// Hosts that nobody may reach, one a line, instead of the list that comes with the program
    #[arg(long, value_name = "FILE")]
    denylist: Option<PathBuf>,
    /// How findings are printed; `--json` is the same as `--format json`
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Format {
    /// As a compiler would say it
    Text,
    /// One JSON document
    Json,
    /// SARIF 2.1.0, which code hosts show beside the lines in question
    Sarif,
}

impl Lint {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let linter = self.rules.linter()?;
        let mut report = Report::default();
        for path in &self.path {
            for manifest in manifests(path)? {
                report.extend(linter.manifest(&shown(&manifest), &files::read(&manifest)?).0);
            }
        }
        self.rules.print(&report, output)
    }
}

impl LintToolspecs {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let linter = self.rules.linter()?;
        let pairs = if self.path.is_dir() { pairs(&self.path)? } else { vec![Pair::of(&self.path)] };
        let mut report = Report::default();
        let mut missing = Vec::new();
        for pair in pairs {
            match pair.check(&linter)? {
                Ok(found) => report.extend(found),
                Err(failure) => missing.push(failure),
            }
        }
        match missing.pop() {
            None => self.rules.print(&report, output),
            Some(last) => Err(last.besides(missing)),
        }
    }
}

impl Rules {
    fn linter(&self) -> Result<Linter, Failure> {
        let Some(path) = &self.denylist else { return Ok(Linter::default()) };
        let text = files::read(path)?;
        let failed = || Failure::file(format!("{} is no denylist", path.display()));
        let text = str::from_utf8(&text).map_err(|source| failed().because(source))?;
        Denylist::parse(text).map(Linter::new).map_err(|source| failed().because(source))
    }

    /// The report goes to standard output whatever it says; the exit code says whether there are errors in it.
    fn print(&self, report: &Report, output: &Output) -> Result<ExitCode, Failure> {
        let text = match self.format {
            Format::Sarif => report.to_sarif(),
            Format::Text if !output.json => report.render(Colour::Never),
            Format::Json | Format::Text => report.to_json(),
        };
        output::write(&text)?;
        let has_errors = report.count(Severity::Error) > 0;
        Ok(if has_errors { Exit::Refused.into() } else { ExitCode::SUCCESS })
    }
}

/// A manifest and its toolspec, wherever they should be.
struct Pair {
    manifest: PathBuf,
    toolspec: PathBuf,
}

impl Pair {
    /// Either half names the other one.
    fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match name.strip_suffix(TOOLSPEC) {
            Some(version) => {
                Self { manifest: path.with_file_name(format!("{version}.yaml")), toolspec: path.to_owned() }
            }
            None => Self { manifest: path.to_owned(), toolspec: path.with_extension(&TOOLSPEC[1..]) },
        }
    }

    fn check(&self, linter: &Linter) -> Result<Result<Report, Failure>, Failure> {
        let (manifest, spec) = (self.manifest.is_file(), self.toolspec.is_file());
        let (path, other) = match (manifest, spec) {
            (true, true) => return self.both(linter).map(Ok),
            (true, false) => (&self.manifest, &self.toolspec),
            (false, true) => (&self.toolspec, &self.manifest),
            (false, false) => {
                return Err(Failure::file(format!(
                    "there is neither {} nor {}",
                    shown(&self.manifest),
                    shown(&self.toolspec)
                )));
            }
        };
        Ok(Err(Failure::refused(format!("{} has no {}", shown(path), shown(other)))
            .advice("a toolspec and its manifest lie side by side: VERSION.toolspec.yaml and VERSION.yaml")))
    }

    fn both(&self, linter: &Linter) -> Result<Report, Failure> {
        let (mut report, manifest) = linter.manifest(&shown(&self.manifest), &files::read(&self.manifest)?);
        let text = files::read(&self.toolspec)?;
        report.extend(linter.toolspec(&shown(&self.toolspec), &text, manifest.as_ref()).0);
        Ok(report)
    }
}

/// The pairs of a directory: of each toolspec, and of each manifest that says it needs one.
fn pairs(directory: &Path) -> Result<Vec<Pair>, Failure> {
    let mut pairs = Vec::new();
    for manifest in manifests(directory)? {
        let pair = Pair::of(&manifest);
        // A manifest that cannot be read is reported with its pair.
        let text = files::read(&manifest)?;
        let is_toolpack = |manifest: &Manifest| manifest.image.builder == Some(Builder::Toolpack);
        if pair.toolspec.is_file() || Manifest::from_yaml(&text).as_ref().is_ok_and(is_toolpack) {
            pairs.push(pair);
        }
    }
    for spec in toolspecs(directory)? {
        let pair = Pair::of(&spec);
        if !pair.manifest.is_file() {
            pairs.push(pair);
        }
    }
    match pairs.is_empty() {
        true => Err(Failure::file(format!("there is no toolspec in {}", directory.display()))
            .advice("toolspecs are in NAME/VERSION.toolspec.yaml below it")),
        false => Ok(pairs),
    }
}

fn toolspecs(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in entries(directory)? {
        let inside = if entry.is_dir() { entries(&entry)? } else { vec![entry] };
        found.extend(inside.into_iter().filter(|path| path.to_string_lossy().ends_with(TOOLSPEC)));
    }
    Ok(found)
}

/// A file, or the manifests of a server or of all servers.
fn manifests(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut paths = server(path)?;
    for entry in entries(path)?.iter().filter(|entry| entry.is_dir()) {
        paths.extend(server(entry)?);
    }
    match paths.is_empty() {
        true => Err(Failure::file(format!("there is no manifest in {}", path.display()))
            .advice("manifests are in VERSION.yaml, or in NAME/VERSION.yaml below it")),
        false => Ok(paths),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

const TOOLSPEC: &str = ".toolspec.yaml";
