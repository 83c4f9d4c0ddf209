//! Executables on their way from a backup into the data directory.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::BackupError;
use crate::host::create_private_dir;

/// Executables under other names until they are kept; gone if they never are.
pub(crate) struct Staged {
    directory: PathBuf,
    whole: Vec<String>,
    current: Option<Current>,
}

struct Current {
    sha256: String,
    digest: Sha256,
    file: File,
}

/// The parts are not those of the executable they are said to be.
#[derive(Debug)]
pub(super) struct Different;

impl Staged {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), whole: Vec::new(), current: None }
    }

    /// One more part of that executable.
    pub(super) fn take(&mut self, sha256: &str, part: &[u8]) -> Result<Result<(), Different>, BackupError> {
        let named = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !named || self.whole.iter().any(|whole| whole == sha256) {
            return Ok(Err(Different));
        }
        if self.current.as_ref().is_some_and(|current| current.sha256 != sha256)
            && let Err(different) = self.finish()?
        {
            return Ok(Err(different));
        }
        let (path, directory) = (self.staged(sha256), self.directory.clone());
        let failed = |source| BackupError::Executable { path: directory.clone(), source };
        if self.current.is_none() {
            create_private_dir(&self.directory).map_err(failed)?;
            let mut options = fs::OpenOptions::new();
            let file = options.create(true).truncate(true).write(true).mode(0o500).open(path).map_err(failed)?;
            self.current = Some(Current { sha256: sha256.to_owned(), digest: Sha256::new(), file });
        }
        let current = self.current.as_mut().expect("it was made if it was not there");
        current.digest.update(part);
        current.file.write_all(part).map_err(failed)?;
        Ok(Ok(()))
    }

    /// All parts of the last one have come.
    pub(super) fn finish(&mut self) -> Result<Result<(), Different>, BackupError> {
        let Some(current) = self.current.take() else { return Ok(Ok(())) };
        self.whole.push(current.sha256.clone());
        let synced = current.file.sync_all();
        synced.map_err(|source| BackupError::Executable { path: self.directory.clone(), source })?;
        match hex::encode(current.digest.finalize()) == current.sha256 {
            true => Ok(Ok(())),
            false => Ok(Err(Different)),
        }
    }

    /// Gives them their names, and tells how many there are.
    pub(crate) fn keep(mut self) -> Result<usize, BackupError> {
        let whole = std::mem::take(&mut self.whole);
        let renamed = whole.iter().try_for_each(|sha256| fs::rename(self.staged(sha256), self.directory.join(sha256)));
        let synced = renamed.and_then(|()| match whole.is_empty() {
            true => Ok(()),
            false => File::open(&self.directory)?.sync_all(),
        });
        synced.map_err(|source| BackupError::Executable { path: self.directory.clone(), source })?;
        Ok(whole.len())
    }

    fn staged(&self, sha256: &str) -> PathBuf {
        self.directory.join(format!("{sha256}.{}.new", std::process::id()))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let current = self.current.take().map(|current| current.sha256);
        for sha256 in self.whole.iter().chain(&current) {
            drop::<io::Result<()>>(fs::remove_file(self.staged(sha256)));
        }
    }
}
