//! All settings there are, read off the command line's own arguments, so that none can be forgotten.

use std::{any::TypeId, ffi::OsString, path::PathBuf};

use clap::{Arg, ArgMatches, Command, builder::Resettable, error::ContextKind};

use super::{
    SettingsError,
    secret::{PrivateFile, SecretFile},
};

/// One setting.
#[derive(Clone)]
pub(crate) struct Setting {
    /// Its variable. Of a secret that without `_FILE`.
    pub(crate) variable: String,
    /// The variable that its argument is read from.
    source: String,
    arg: Arg,
}

impl Setting {
    fn of(arg: &Arg) -> Option<Self> {
        let source = arg.get_env()?.to_str()?.to_owned();
        let secret = is::<SecretFile>(arg);
        let variable = source.strip_suffix("_FILE").filter(|_| secret).unwrap_or(&source).to_owned();
        Some(Self { variable, source, arg: arg.clone() })
    }

    pub(crate) fn id(&self) -> &str {
        self.arg.get_id().as_str()
    }

    /// The variable that names the file of a secret.
    pub(crate) fn file_variable(&self) -> Option<&str> {
        (self.source != self.variable).then_some(&self.source)
    }

    pub(crate) fn flag(&self) -> Option<String> {
        self.arg.get_long().map(|long| format!("--{long}"))
    }

    /// What is wrong with the value of its variable, whatever the others are.
    fn fault(&self, all: &[Self]) -> Option<SettingsError> {
        if std::env::var_os(&self.source).is_none_or(|value| value.is_empty()) {
            return None;
        }
        let args = all.iter().map(|setting| match setting.id() == self.id() {
            true => setting.arg.clone(),
            false => setting.arg.clone().env(Resettable::Reset),
        });
        let only = Command::new("gigmcp-gateway").no_binary_name(true).args(args);
        let error = only.try_get_matches_from(std::iter::empty::<OsString>()).err()?;
        use clap::error::ErrorKind::{InvalidUtf8, InvalidValue, ValueValidation};
        // That it needs another, or does not go with another, is told of by the parse of all.
        if !matches!(error.kind(), InvalidUtf8 | InvalidValue | ValueValidation) {
            return None;
        }
        let name = self.source.clone();
        if error.kind() == InvalidUtf8 {
            return Some(SettingsError::NotText { name });
        }
        let value = error.get(ContextKind::InvalidValue).map(ToString::to_string);
        let value = value.or_else(|| std::env::var(&name).ok()).unwrap_or_default();
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        let allowed = || error.get(ContextKind::ValidValue).map(|values| format!("write one of {values}"));
        let reason = reason.or_else(allowed).unwrap_or_else(|| error.to_string());
        Some(SettingsError::Malformed { name, value: without_password(&value), reason })
    }
}

/// For the page of all settings.
#[cfg(test)]
impl Setting {
    pub(crate) fn is_global(&self) -> bool {
        self.arg.is_global_set()
    }

    /// What stands between `<` and `>` in the help.
    pub(crate) fn value_name(&self) -> String {
        let names = self.arg.get_value_names().unwrap_or_default();
        names.first().map_or_else(|| self.id().to_ascii_uppercase(), ToString::to_string)
    }

    pub(crate) fn heading(&self) -> &str {
        self.arg.get_help_heading().unwrap_or("Settings")
    }

    pub(crate) fn help(&self) -> String {
        let help = self.arg.get_long_help().or(self.arg.get_help());
        help.map(ToString::to_string).unwrap_or_default()
    }

    pub(crate) fn default(&self) -> Option<String> {
        let values: Vec<_> = self.arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        (!values.is_empty()).then(|| values.join(","))
    }
}

/// Every setting, sorted by its variable.
pub(crate) fn all(command: &Command) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(command, &mut found);
    found.sort_by(|left, right| left.variable.cmp(&right.variable));
    found.dedup_by(|left, right| left.variable == right.variable);
    found
}

fn collect(command: &Command, found: &mut Vec<Setting>) {
    found.extend(command.get_arguments().filter_map(Setting::of));
    for command in command.get_subcommands() {
        collect(command, found);
    }
}

/// What is wrong with variables: names that nobody reads, and values that are not understood.
pub(crate) fn faults(
    settings: &[Setting],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<SettingsError> {
    let mut found = super::names::faults(settings, environment);
    found.extend(settings.iter().filter_map(|setting| setting.fault(settings)));
    found
}

/// Files that no server may see, wherever they were named.
pub(crate) fn private_files(settings: &[Setting], matches: &ArgMatches) -> Vec<PathBuf> {
    let private = settings.iter().filter(|setting| is::<SecretFile>(&setting.arg) || is::<PrivateFile>(&setting.arg));
    private.filter_map(|setting| matches.get_raw(setting.id())).flatten().map(PathBuf::from).collect()
}

/// The command without its variables, for what is said by flags.
pub(crate) fn without_variables(command: Command) -> Command {
    command.mut_args(|arg| arg.env(Resettable::Reset)).mut_subcommands(without_variables)
}

/// An empty variable counts as unset, which `clap` does not know.
pub(crate) fn without_empty_variables(command: Command) -> Command {
    let empty = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|arg| if empty(&arg) { arg.env(Resettable::Reset) } else { arg });
    command.mut_subcommands(without_empty_variables)
}

/// A URL without who asks, and what lets them in.
pub(crate) fn without_password(text: &str) -> String {
    let parts = text.split(',').map(|part| {
        let Some((scheme, rest)) = part.split_once("://") else { return part.to_owned() };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        match rest[..end].rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://...@{host}{}", &rest[end..]),
            None => part.to_owned(),
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

fn is<T: 'static>(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<T>()
}
