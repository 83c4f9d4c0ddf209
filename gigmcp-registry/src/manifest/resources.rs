//! How a server is started, how much it needs, where it writes.

use std::fmt::Display;

use super::document::{DirectoryDocument, LimitsDocument, RuntimeDocument, VariableDocument};
use super::faults::Faults;
use super::problem::Problem;
use super::{RuntimeProfile, Variable, VariableKind, rules};
use crate::strict_json::Object;
use crate::template::Template;

/// How the program is started.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Runtime {
    /// What it is written in; any if absent.
    pub profile: Option<RuntimeProfile>,
    /// Its arguments behind the entrypoint; never read by a shell.
    pub args: Vec<Template>,
    /// Variables of its environment that are no secrets, by name.
    pub env: Vec<(String, Template)>,
}

/// How much a server needs. An operator may give less.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ResourceLimits {
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Processor time in hundredths of a core.
    pub cpu_percent: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// Seconds until it has to have answered `initialize`.
    pub start_seconds: Option<u64>,
    /// Seconds a call may take.
    pub call_seconds: Option<u64>,
}

/// A directory that a server may write to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Directory {
    /// Where it is in the sandbox, an absolute path without `.` and `..`.
    pub path: String,
    /// How much it holds, in MiB.
    pub max_mib: u64,
}

pub(super) fn variable(faults: &mut Faults, path: impl Display + Copy, document: VariableDocument) -> Option<Variable> {
    let name = faults.parsed(format_args!("{path}.name"), &document.name);
    let kind = faults.word(format_args!("{path}.type"), &document.kind, VariableKind::from_word, VariableKind::WORDS);
    if document.description.is_empty() {
        faults.add(format_args!("{path}.description"), Problem::Missing);
    }
    faults.check(format_args!("{path}.description"), rules::line(&document.description, 256));
    faults.unique(format_args!("{path}.choices"), "", document.choices.iter().map(String::as_str));
    let variable = Variable { name: name?, kind: kind?, description: document.description, choices: document.choices };
    for (index, choice) in variable.choices.iter().enumerate() {
        if let Err(invalid) = variable.check(choice) {
            faults.add(format_args!("{path}.choices[{index}]"), Problem::Choice(invalid.reason));
        }
    }
    Some(variable)
}

pub(super) fn runtime(faults: &mut Faults, document: RuntimeDocument, variables: &[Variable]) -> Runtime {
    let profile = faults.optional(&document.profile, |faults, text| {
        faults.word("runtime.profile", text, RuntimeProfile::from_word, RuntimeProfile::WORDS)
    });
    let args =
        faults.each("runtime.args", document.args, |faults, path, text| template(faults, path, &text, variables));
    faults.unique("runtime.env", "name", document.env.iter().map(|Object(env)| env.name.as_str()));
    let env = faults.each("runtime.env", document.env, |faults, path, Object(document)| {
        faults.check(format_args!("{path}.name"), rules::env_name(&document.name));
        template(faults, format_args!("{path}.value"), &document.value, variables).map(|value| (document.name, value))
    });
    Runtime { profile, args, env }
}

/// One line of text with variables of the manifest in its holes.
fn template(faults: &mut Faults, path: impl Display + Copy, text: &str, variables: &[Variable]) -> Option<Template> {
    faults.check(path, rules::line(text, 1024));
    let template = Template::parse(text).map_err(|problem| faults.add(path, problem.into())).ok()?;
    for hole in template.holes() {
        if !variables.iter().any(|variable| variable.name.as_str() == hole) {
            faults.add(path, Problem::UnknownVariable { variable: hole.into() });
        }
    }
    Some(template)
}

pub(super) fn limits(faults: &mut Faults, document: &LimitsDocument) -> ResourceLimits {
    let mut number = |field: &str, value, min, max| faults.number(format_args!("limits.{field}"), value, min, max);
    ResourceLimits {
        memory_mib: number("memoryMib", document.memory_mib, 16, 65_536),
        processes: number("processes", document.processes, 1, 4096),
        cpu_percent: number("cpuPercent", document.cpu_percent, 1, 6400),
        open_files: number("openFiles", document.open_files, 32, 65_536),
        start_seconds: number("startSeconds", document.start_seconds, 1, 600),
        call_seconds: number("callSeconds", document.call_seconds, 1, 3600),
    }
}

pub(super) fn directory(faults: &mut Faults, path: impl Display + Copy, document: DirectoryDocument) -> Directory {
    faults.check(format_args!("{path}.path"), rules::writable_path(&document.path));
    faults.number(format_args!("{path}.maxMib"), Some(document.max_mib), 1, 1 << 20);
    Directory { path: document.path, max_mib: document.max_mib }
}

/// Directories must not hide each other.
pub(super) fn disjoint<'a>(faults: &mut Faults, directories: impl Iterator<Item = (String, &'a Directory)>) {
    let mut seen: Vec<&str> = Vec::new();
    for (path, directory) in directories {
        let inside =
            |one: &str, two: &str| one == two || one.strip_prefix(two).is_some_and(|rest| rest.starts_with('/'));
        let new = directory.path.as_str();
        if !new.is_empty() && seen.iter().any(|old| inside(old, new) || inside(new, old)) {
            faults.add(format_args!("{path}.path"), Problem::OverlappingDirectory);
        }
        seen.push(new);
    }
}
