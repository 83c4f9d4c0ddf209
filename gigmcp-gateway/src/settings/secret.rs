//! Secrets among the settings: each is in a variable, in a file, or a credential of systemd.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    ops::Deref,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::SettingsError;

/// The file of a secret. An argument of this type whose variable is `GIG_NAME_FILE` says that there is a secret `GIG_NAME`:
/// it can also be in that variable, or the credential `name` of systemd, is hidden wherever settings are shown, and no server
/// sees the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SecretFile(PathBuf);

/// A file that no server may see, and whose content has no variable of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PrivateFile(PathBuf);

macro_rules! file {
    ($($name:ident)*) => {$(
        impl From<OsString> for $name {
            fn from(path: OsString) -> Self {
                Self(path.into())
            }
        }

        impl Deref for $name {
            type Target = Path;

            fn deref(&self) -> &Path {
                &self.0
            }
        }
    )*};
}

file!(SecretFile PrivateFile);

/// Where a secret is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kept {
    /// In the variable of its name.
    Variable,
    /// In the file that its flag, or its variable with `_FILE`, names.
    File(PathBuf),
    /// In a file that systemd put there.
    Credential(PathBuf),
}

/// Where the secret `name` is; two places are an error.
pub(crate) fn kept(name: &str, file: Option<&Path>) -> Result<Option<Kept>, SettingsError> {
    let given = variable(name)?.is_some();
    match (given, file, credential(&credential_name(name))) {
        (true, Some(_), _) => Err(SettingsError::Twice { name: name.to_owned() }),
        (true, None, Some(_)) => {
            Err(SettingsError::CredentialToo { name: name.to_owned(), credential: credential_name(name) })
        }
        (false, Some(file), Some(credential)) if credential != file => {
            Err(SettingsError::CredentialToo { name: format!("{name}_FILE"), credential: credential_name(name) })
        }
        (false, _, Some(credential)) => Ok(Some(Kept::Credential(credential))),
        (true, None, None) => Ok(Some(Kept::Variable)),
        (false, Some(file), None) => Ok(Some(Kept::File(file.to_owned()))),
        (false, None, None) => Ok(None),
    }
}

/// The secret `name`, without the line break at its end.
pub(crate) fn secret(name: &'static str, file: Option<&Path>) -> Result<Option<Zeroizing<String>>, SettingsError> {
    let path = match kept(name, file)? {
        None => return Ok(None),
        Some(Kept::Variable) => return variable(name),
        Some(Kept::File(path) | Kept::Credential(path)) => path,
    };
    let unreadable = |source| SettingsError::Unreadable { name: name.to_owned(), path: path.clone(), source };
    // Room for all of it: what grows leaves what it held before.
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES as usize + 1));
    let opened = File::open(&path).map_err(unreadable)?;
    opened.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(SettingsError::TooLong { name: name.to_owned(), path });
    }
    let length = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(length);
    // As with a variable: an empty one is none, and none at all is not what a file was named for.
    if text.is_empty() {
        return Err(SettingsError::Empty { name: name.to_owned(), path });
    }
    Ok(Some(text))
}

/// The variable `name`; an empty one counts as unset.
pub(crate) fn variable(name: &str) -> Result<Option<Zeroizing<String>>, SettingsError> {
    match std::env::var_os(name) {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => match value.into_string() {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(value) => {
                drop(Zeroizing::new(value.into_encoded_bytes()));
                Err(SettingsError::NotText { name: name.to_owned() })
            }
        },
    }
}

/// `transit-token` for `GIG_TRANSIT_TOKEN`.
pub(crate) fn credential_name(name: &str) -> String {
    name.trim_start_matches("GIG_").to_ascii_lowercase().replace('_', "-")
}

/// Whether that is a file of systemd's under a name of somebody's choice.
pub(super) fn is_credential(path: &Path) -> bool {
    credentials().is_some_and(|directory| path.parent() == Some(&directory))
}

/// Where systemd puts credentials, if it gave us some.
pub(super) fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty()).map(PathBuf::from)
}

fn credential(name: &str) -> Option<PathBuf> {
    let path = credentials()?.join(name);
    path.symlink_metadata().is_ok().then_some(path)
}

/// No secret is longer, and a file that is was named by mistake.
const MAX_BYTES: u64 = 64 << 10;
