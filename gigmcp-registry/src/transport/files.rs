//! A registry in a directory: a mirror, a checkout, a medium that was carried here.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::{Download, Fetched, RegistryFile, TooLong, Transport};

/// Reads the files of a registry from a directory.
#[derive(Clone, Debug)]
pub struct Files(PathBuf);

impl Files {
    /// The directory that `index.jsonl` lies in.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn read(&self, file: RegistryFile, download: &mut Download) -> Result<Fetched, FilesError> {
        let path = self.0.join(file.to_string());
        let failed = |source| FilesError::Read { path: path.clone(), source };
        // Looked at before it is opened, which would wait at a FIFO for someone to write.
        match path.metadata() {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Fetched::NotFound),
            Err(source) => return Err(failed(source)),
            Ok(metadata) if !metadata.is_file() => return Err(FilesError::NotAFile { path }),
            Ok(_) => {}
        }
        download.begin(None);
        let mut content = Vec::new();
        let limit = download.limit() as u64;
        File::open(&path).and_then(|file| file.take(limit + 1).read_to_end(&mut content)).map_err(failed)?;
        download.push(&content)?;
        Ok(Fetched::Complete)
    }
}

impl Transport for Files {
    type Error = FilesError;

    /// Blocks while it reads.
    async fn fetch(&self, file: RegistryFile, download: &mut Download) -> Result<Fetched, FilesError> {
        self.read(file, download)
    }
}

/// Why a file of a directory could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// Reading failed.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{} is not a regular file", .path.display())]
    NotAFile {
        /// What lies there.
        path: PathBuf,
    },
    /// Longer than it may be.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}
