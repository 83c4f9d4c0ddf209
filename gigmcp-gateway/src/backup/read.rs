//! From a backup to what can be put into a database.

use std::{
    io::{self, BufRead, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    BackupError, Staged,
    format::{END, FORMAT, Header, Line, MAX_LINE, end},
};
use crate::store::{Complete, Record, Scratch, StoreError, newest_version};

/// All that was in a backup, and nothing of it in use yet.
pub(crate) struct Restored {
    pub(crate) database: Complete,
    pub(crate) executables: Staged,
    /// When it was made, in seconds since 1970.
    pub(crate) made_at: i64,
}

/// Reads a backup to its end. `path` is what it is called in errors; executables are staged in the directory.
pub(crate) fn read(from: impl BufRead, path: &Path, executables: &Path) -> Result<Restored, BackupError> {
    let mut lines = Lines { from, digest: Sha256::new(), path: path.to_owned(), line: Vec::new() };
    let header = lines.header()?;
    let mut scratch = Scratch::new(header.schema)?;
    let mut staged = Staged::new(executables);
    let unlike = |source: StoreError| BackupError::Unlike { path: path.to_owned(), source };
    let different = || BackupError::Damaged { path: path.to_owned(), what: "an executable is another one" };
    while let Some(line) = lines.next()? {
        let record = match line {
            Line::Table { name, columns } => Record::Table { name, columns },
            Line::Row(row) => Record::Row(row),
            Line::Sequence { table, last } => Record::Sequence { table, last },
            Line::Executable { sha256, part } => {
                staged.take(&sha256, &part.0)?.map_err(|_| different())?;
                continue;
            }
            Line::Backup(_) => return Err(lines.damaged("it begins twice")),
        };
        scratch.take(record).map_err(unlike)?;
    }
    staged.finish()?.map_err(|_| different())?;
    let database = scratch.finish().map_err(unlike)?;
    Ok(Restored { database, executables: staged, made_at: header.made_at })
}

struct Lines<R> {
    from: R,
    digest: Sha256,
    path: PathBuf,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn header(&mut self) -> Result<Header, BackupError> {
        self.fill()?;
        let Ok(Line::Backup(header)) = serde_json::from_slice(&self.line) else {
            return Err(BackupError::NotOne { path: self.path.clone() });
        };
        self.digest.update(&self.line);
        match header.format == FORMAT && header.schema <= newest_version() {
            true if header.schema > 0 => Ok(header),
            true => Err(BackupError::NotOne { path: self.path.clone() }),
            false => {
                Err(BackupError::Newer { path: self.path.clone(), by: header.gigmcp.escape_default().to_string() })
            }
        }
    }

    /// The next line; none after the last, if that is the right one and nothing follows it.
    fn next(&mut self) -> Result<Option<Line>, BackupError> {
        self.fill()?;
        if self.line.is_empty() {
            return Err(self.damaged("its end is missing"));
        }
        if self.line.starts_with(END.as_bytes()) {
            let right = end(&self.digest.clone().finalize());
            if self.line != right.as_bytes() {
                return Err(self.damaged("its content is not what was written"));
            }
            self.fill()?;
            return match self.line.is_empty() {
                true => Ok(None),
                false => Err(self.damaged("something follows its end")),
            };
        }
        self.digest.update(&self.line);
        match serde_json::from_slice(&self.line) {
            Ok(line) => Ok(Some(line)),
            Err(_) => Err(self.damaged("a line cannot be read")),
        }
    }

    fn fill(&mut self) -> Result<(), BackupError> {
        self.line.clear();
        let read = (&mut self.from).take(MAX_LINE).read_until(b'\n', &mut self.line);
        read.map(drop).map_err(|source: io::Error| BackupError::Read { path: self.path.clone(), source })
    }

    fn damaged(&self, what: &'static str) -> BackupError {
        BackupError::Damaged { path: self.path.clone(), what }
    }
}
