//! A state in a file, which a crash at any moment leaves as it was or as it should be.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::state::{InvalidState, State};

/// A file that keeps the state of one registry. Several processes may share it.
#[derive(Clone, Debug)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// The file at this path; beside it, `PATH.lock` stays empty and `PATH.new` is being written.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// What was saved last, or the state in which nothing has been seen if there is no such file.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the file is something else: that is not the same as having seen nothing.
    pub fn load(&self) -> Result<State, StateError> {
        let path = &self.0;
        let file = match File::open(path) {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(source) => return Err(failed("opening", path)(source)),
        };
        let mut content = Vec::new();
        file.take(MAX_STATE_BYTES + 1).read_to_end(&mut content).map_err(failed("reading", path))?;
        State::from_bytes(&content).map_err(|source| StateError::Invalid { path: path.clone(), source })
    }

    /// Puts a state in the place of the one before. When this returns, a loss of power does not bring the old one back.
    ///
    /// # Errors
    /// [`StateError::Older`] if another process has saved a newer one meanwhile; load that. [`StateError::Forked`] if it has
    /// saved another one of the same age. With any error, the file is as it was.
    pub fn save(&self, state: &State) -> Result<(), StateError> {
        let _lock = self.lock()?;
        let saved = self.load()?;
        if state.is_older_than(&saved) {
            return Err(StateError::Older { path: self.0.clone() });
        }
        if state.is_fork_of(&saved) {
            return Err(StateError::Forked { path: self.0.clone() });
        }
        let bytes = state.with_images_of(&saved).to_bytes();
        if bytes.len() as u64 > MAX_STATE_BYTES {
            return Err(StateError::TooLong { path: self.0.clone() });
        }
        let new = self.beside(".new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.map_err(failed("writing", &new))?;
        fs::rename(&new, &self.0).map_err(failed("replacing", &self.0))?;
        let directory = self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("syncing", directory))
    }

    /// Held as long as the file is open; the system lets go of it when the process ends, however it does.
    fn lock(&self) -> Result<File, StateError> {
        let path = self.beside(".lock");
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(failed("opening", &path))?;
        file.lock().map_err(failed("locking", &path))?;
        Ok(file)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.0.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Io { doing, path: path.into(), source }
}

/// Why a state could not be loaded or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The system refused something.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a state. Removing it forgets what was seen.
    #[error("{} cannot be used; restore it, or remove it to forget what was seen", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidState,
    },
    /// A newer state was saved meanwhile.
    #[error("{} holds a newer state", .path.display())]
    Older {
        /// The file.
        path: PathBuf,
    },
    /// Another process has saved a root or an index of the same number and other content: the registry shows different ones to
    /// different readers, or the two processes follow different registries.
    #[error("{} holds another index, or root, of the same number", .path.display())]
    Forked {
        /// The file.
        path: PathBuf,
    },
    /// More than could be loaded again.
    #[error("the state for {} is longer than {MAX_STATE_BYTES} bytes", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}

/// An index, what was seen before it, and some hundred roots.
const MAX_STATE_BYTES: u64 = 64 << 20;
