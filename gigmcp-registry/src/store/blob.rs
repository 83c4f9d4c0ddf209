//! Blobs, whole ones and beginnings.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::places::sync_parent;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::lock::Locked;

/// What is wrong with a blob that was given.
#[derive(Debug)]
pub(crate) enum BlobFault {
    /// It is another one.
    Digest(Digest),
    /// It is longer than was said.
    Long,
    /// It ends before.
    Short(u64),
    Store(StoreError),
}

impl From<StoreError> for BlobFault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Store {
    /// A blob that was verified when it was put here.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        match File::open(self.0.places.blob(digest)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("opening a blob")(error)),
        }
    }

    /// The content of a small blob, verified once more.
    pub(crate) fn small_blob(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.blob(digest)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(limit + 1).read_to_end(&mut content).map_err(StoreError::io("reading a blob"))?;
        if Digest::of(&content) == *digest { Ok(Some(content)) } else { Ok(None) }
    }

    /// Puts a small blob here.
    pub(crate) fn put_small(&self, content: &[u8]) -> Result<(), StoreError> {
        self.0.places.write(&self.0.places.blob(&Digest::of(content)), content)
    }

    /// What is there of a blob, to be gone on with; nothing while somebody else goes on with it.
    pub(crate) fn partial(&self, digest: &Digest, bytes: u64) -> Result<Option<Partial>, StoreError> {
        Partial::open(self, *digest, bytes)
    }
}

/// A blob that is being written. What was written stays for the next time, unless it is discarded.
#[derive(Debug)]
pub(crate) struct Partial {
    store: Store,
    path: PathBuf,
    file: Locked,
    digest: Digest,
    bytes: u64,
    have: u64,
    hasher: Sha256,
}

impl Partial {
    fn open(store: &Store, digest: Digest, bytes: u64) -> Result<Option<Self>, StoreError> {
        let failed = || StoreError::io("opening a partial blob");
        let path = store.0.places.partial(&digest);
        let mut options = File::options();
        options.read(true).write(true).create(true).mode(0o600);
        let file = options.open(&path).map_err(failed())?;
        let locked = Locked::try_alone(file).map_err(StoreError::io("locking a partial blob"))?;
        let Some(file) = locked else { return Ok(None) };
        // Whoever had it before has finished or discarded it.
        match fs::metadata(&path) {
            Ok(found) if found.ino() == file.metadata().map_err(failed())?.ino() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed()(error)),
        }
        let mut partial = Self { store: store.clone(), path, file, digest, bytes, have: 0, hasher: Sha256::new() };
        partial.take_up().map_err(failed())?;
        Ok(Some(partial))
    }

    fn take_up(&mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match self.file.read(&mut piece)? {
                0 => break,
                read => {
                    self.hasher.update(&piece[..read]);
                    self.have += read as u64;
                }
            }
        }
        if self.have > self.bytes { self.restart() } else { Ok(()) }
    }

    /// How much is there.
    pub(crate) fn have(&self) -> u64 {
        self.have
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        (self.have, self.hasher) = (0, Sha256::new());
        Ok(())
    }

    /// Goes on with these bytes.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), BlobFault> {
        if piece.len() as u64 > self.bytes - self.have {
            return Err(BlobFault::Long);
        }
        self.file.write_all(piece).map_err(StoreError::io("writing a blob"))?;
        self.hasher.update(piece);
        self.have += piece.len() as u64;
        Ok(())
    }

    /// Whether it is whole, and the right one.
    pub(crate) fn verify(&self) -> Result<(), BlobFault> {
        if self.have < self.bytes {
            return Err(BlobFault::Short(self.have));
        }
        let found = Digest::from_sha256(self.hasher.clone());
        if found == self.digest { Ok(()) } else { Err(BlobFault::Digest(found)) }
    }

    /// Gives it its name, if it is whole and the right one. Otherwise it is discarded.
    pub(crate) fn finish(self) -> Result<(), BlobFault> {
        if let Err(fault) = self.verify() {
            self.discard()?;
            return Err(fault);
        }
        let failed = || StoreError::io("finishing a blob");
        self.file.set_permissions(Permissions::from_mode(0o400)).map_err(failed())?;
        self.file.sync_all().map_err(failed())?;
        let to = self.store.0.places.blob(&self.digest);
        fs::rename(&self.path, &to).map_err(failed())?;
        sync_parent(&to).map_err(failed())?;
        Ok(())
    }

    /// Removes it.
    pub(crate) fn discard(self) -> Result<(), StoreError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("removing a blob")(error)),
            _ => Ok(()),
        }
    }
}

const PIECE_BYTES: usize = 128 << 10;
