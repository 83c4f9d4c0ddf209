//! A file that is there whole or not at all.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use super::BackupError;

/// What becomes of a file that is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Older {
    Kept,
    Overwritten,
}

/// A file of another name, of mode 0600, until it is kept. Gone if it never is.
pub(crate) struct NewFile {
    path: PathBuf,
    staged: PathBuf,
    older: Older,
    writer: BufWriter<File>,
}

impl NewFile {
    pub(crate) fn create(path: &Path, older: Older) -> Result<Self, BackupError> {
        if older == Older::Kept && path.symlink_metadata().is_ok() {
            return Err(BackupError::Exists { path: path.to_owned() });
        }
        let failed = |source| BackupError::Write { path: path.to_owned(), source };
        let name = path.file_name().ok_or_else(|| failed(io::Error::other("it names no file")))?;
        let mut staged = name.to_owned();
        // Not of the process's id, which in a container is the same every time.
        staged.push(format!(".{:016x}.new", getrandom::u64().map_err(|error| failed(io::Error::other(error)))?));
        let staged = path.with_file_name(staged);
        let opened = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&staged).map_err(failed)?;
        Ok(Self { path: path.to_owned(), staged, older, writer: BufWriter::with_capacity(1 << 16, opened) })
    }

    /// Gives it its name, once it is on disk.
    pub(crate) fn keep(mut self) -> Result<(), BackupError> {
        let kept = self.writer.flush().and_then(|()| self.writer.get_ref().sync_all()).and_then(|()| self.rename());
        kept.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists { path: self.path.clone() },
            _ => BackupError::Write { path: self.path.clone(), source },
        })
    }

    fn rename(&self) -> io::Result<()> {
        let flags = match self.older {
            Older::Kept => RenameFlags::NOREPLACE,
            Older::Overwritten => RenameFlags::empty(),
        };
        match renameat_with(CWD, &self.staged, CWD, &self.path, flags) {
            // Some file systems cannot say so; it was not there when this began.
            Err(Errno::INVAL | Errno::NOSYS) => fs::rename(&self.staged, &self.path)?,
            renamed => renamed?,
        }
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Once it has its name there is nothing of that one.
        drop(fs::remove_file(&self.staged));
    }
}
