//! Where a key, a passphrase or a token comes from.

use std::env::{self, VarError};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::key_file::private;
use crate::key_file::{KeyFileError, Readers};
use crate::secret::SecretString;

/// A place to read a secret text from. One line feed at the end of a file is not part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SecretSource {
    /// This file. Regular, not a symbolic link, owned by the effective user or root, without permissions for others.
    File(PathBuf),
    /// This file, which an orchestrator may have mounted: see [`Readers::Group`].
    MountedFile(PathBuf),
    /// The environment variable of this name, or the file that the variable `NAME_FILE` names, as orchestrators give secrets;
    /// both at once are an error. For the file, see [`Readers::Group`].
    ///
    /// A variable stays in the environment of the process, where `/proc/PID/environ` and every child shows it: a file is
    /// better.
    Environment(String),
    /// The credential of this name that systemd gave to the service (`LoadCredential=`, `LoadCredentialEncrypted=`).
    SystemdCredential(String),
}

impl SecretSource {
    /// Reads it.
    ///
    /// # Errors
    /// [`SourceError`] says what is wrong with which variable or file.
    pub fn read(&self) -> Result<SecretString, SourceError> {
        match self {
            Self::File(path) => read_file(path, Readers::Owner),
            Self::MountedFile(path) => read_file(path, Readers::Group),
            Self::Environment(name) => read_environment(name),
            Self::SystemdCredential(name) => read_file(&credential(name)?, Readers::Credential),
        }
    }
}

fn read_environment(name: &str) -> Result<SecretString, SourceError> {
    let file = format!("{name}_FILE");
    match (variable(name)?, path(&file)) {
        (Some(text), None) => Ok(SecretString::new(text)),
        (None, Some(path)) => read_file(Path::new(&path), Readers::Group),
        (None, None) => Err(SourceError::NotSet { name: name.into() }),
        (Some(text), Some(_)) => {
            drop(Zeroizing::new(text));
            Err(SourceError::Twice { name: name.into() })
        }
    }
}

/// Empty is as good as not set: compose files and units leave variables so.
fn variable(name: &str) -> Result<Option<String>, SourceError> {
    match env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(text)) => {
            drop(Zeroizing::new(text.into_encoded_bytes()));
            Err(SourceError::NotText { name: name.into() })
        }
    }
}

fn path(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|path| !path.is_empty())
}

fn credential(name: &str) -> Result<PathBuf, SourceError> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(SourceError::CredentialName { name: name.into() });
    }
    let directory = path("CREDENTIALS_DIRECTORY").ok_or(SourceError::NoCredentials)?;
    Ok(Path::new(&directory).join(name))
}

fn read_file(path: &Path, readers: Readers) -> Result<SecretString, SourceError> {
    let mut content = private::read(path, readers, MAX_FILE_BYTES)?;
    if content.len() > MAX_FILE_BYTES {
        return Err(SourceError::TooLong { path: path.into() });
    }
    if content.last() == Some(&b'\n') {
        content.pop();
    }
    match String::from_utf8(std::mem::take(&mut *content)) {
        Ok(text) if !text.is_empty() => Ok(SecretString::new(text)),
        Ok(_) => Err(SourceError::Empty { path: path.into() }),
        Err(refused) => {
            drop(Zeroizing::new(refused.into_bytes()));
            Err(SourceError::NotText { name: path.display().to_string() })
        }
    }
}

/// Why a secret text could not be read. Quotes nothing of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Neither the variable nor the one with `_FILE` is set.
    #[error("neither {name} nor {name}_FILE is set; set one of them")]
    NotSet {
        /// The variable.
        name: String,
    },
    /// Both are set.
    #[error("{name} and {name}_FILE are both set; unset one of them")]
    Twice {
        /// The variable.
        name: String,
    },
    /// Not UTF-8.
    #[error("{name} is not text")]
    NotText {
        /// The variable or file.
        name: String,
    },
    /// The file has no content.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file has more than 64 KiB.
    #[error("{} is too long for a key, a passphrase or a token", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The service was started without credentials, or not by systemd.
    #[error("CREDENTIALS_DIRECTORY is not set; give the unit LoadCredential=")]
    NoCredentials,
    /// A credential's name has no `/` in it.
    #[error("{name:?} cannot be the name of a credential")]
    CredentialName {
        /// The name.
        name: String,
    },
    /// The file cannot be read or is open to others.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

const MAX_FILE_BYTES: usize = 64 << 10;
