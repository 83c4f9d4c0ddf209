//! What settings are in force, and what is wrong with them.

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{ArgMatches, Args, Subcommand, parser::ValueSource};
use serde::Serialize;

use crate::{
    output::{Failure, Output, Told, columns},
    settings::{
        Kept, Settings, SettingsError, kept,
        listed::{Setting, without_password},
    },
};

#[derive(Args)]
pub(super) struct Config {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Say all that is wrong with the settings at once; nothing is opened but the files that they name
    Check,
}

/// One setting as it is.
#[derive(Serialize)]
struct InForce {
    setting: String,
    flag: Option<String>,
    /// Nothing for a secret.
    value: Option<String>,
    source: Source,
    /// Where a secret lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    secret: bool,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Default,
    Flag,
    Variable,
    File,
    Credential,
    Unset,
}

#[derive(Serialize)]
struct Checked {
    errors: Vec<Told>,
}

/// Prints what is in force and where it came from.
pub(super) fn show(
    listed: &[Setting],
    matches: &ArgMatches,
    settings: &Settings,
    out: &Output,
) -> Result<ExitCode, Failure> {
    let found: Result<Vec<InForce>, _> = listed.iter().map(|setting| in_force(setting, matches, settings)).collect();
    out.print(&found?, |found| columns(&["SETTING", "VALUE", "FROM"], &found.iter().map(row).collect::<Vec<_>>()))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints all that is wrong.
pub(super) fn check(faults: &[SettingsError], out: &Output) -> Result<ExitCode, Failure> {
    let errors = faults.iter().map(|fault| Told::of(fault as &(dyn Error + 'static))).collect();
    out.print(&Checked { errors }, |checked| match checked.errors.is_empty() {
        true => vec!["nothing is wrong with the settings".to_owned()],
        false => checked.errors.iter().flat_map(Told::lines).collect(),
    })?;
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_force(setting: &Setting, matches: &ArgMatches, settings: &Settings) -> Result<InForce, SettingsError> {
    let values: Vec<String> = matches
        .get_raw(setting.id())
        .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let entry = |value, source, file| InForce {
        setting: setting.variable.clone(),
        flag: setting.flag(),
        value,
        source,
        file,
        secret: setting.file_variable().is_some(),
    };
    let worked_out = settings.worked_out(&setting.variable);
    if setting.file_variable().is_some() {
        return Ok(match kept(&setting.variable, values.first().map(String::as_ref))? {
            Some(Kept::Variable) => entry(None, Source::Variable, None),
            Some(Kept::File(path)) => entry(None, Source::File, Some(path)),
            Some(Kept::Credential(path)) => entry(None, Source::Credential, Some(path)),
            None => match worked_out {
                Some(path) => entry(None, Source::Default, Some(path.into())),
                None => entry(None, Source::Unset, None),
            },
        });
    }
    let source = match matches.value_source(setting.id()) {
        Some(ValueSource::CommandLine) => Source::Flag,
        Some(ValueSource::EnvVariable) => Source::Variable,
        Some(_) => Source::Default,
        None if worked_out.is_some() => return Ok(entry(worked_out, Source::Default, None)),
        None => return Ok(entry(None, Source::Unset, None)),
    };
    Ok(entry(Some(without_password(&values.join(","))), source, None))
}

fn row(found: &InForce) -> Vec<String> {
    let source = match found.source {
        Source::Default => "default",
        Source::Flag => "flag",
        Source::Variable => "variable",
        Source::File => "file",
        Source::Credential => "credential",
        Source::Unset => "",
    };
    let value = match (&found.value, found.source) {
        (Some(value), _) => value.clone(),
        (None, Source::Unset) => "-".to_owned(),
        (None, _) => "(hidden)".to_owned(),
    };
    let from = match &found.file {
        Some(file) => format!("{source} {}", file.display()),
        None => source.to_owned(),
    };
    vec![found.setting.clone(), value, from]
}
