//! The directories of a store.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::StoreError;
use crate::digest::Digest;
use crate::extract::{names, open_directory};
use crate::lock::Locked;
use crate::remove::remove_all;

#[derive(Debug)]
pub(super) struct Places {
    root: PathBuf,
}

impl Places {
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let failed = || StoreError::io("making directories");
        let root = std::path::absolute(root).map_err(failed())?;
        make(&root, TRAVERSABLE).map_err(failed())?;
        must_be_ours(&root)?;
        for (name, mode) in DIRECTORIES {
            make(&root.join(name), *mode).map_err(failed())?;
            must_be_ours(&root.join(name))?;
        }
        Ok(Self { root })
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.to_hex())
    }

    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.root.join("partial").join(digest.to_hex())
    }

    pub(super) fn tree(&self, digest: &Digest) -> PathBuf {
        self.root.join("trees").join(digest.to_hex())
    }

    pub(super) fn image(&self, name: &str) -> PathBuf {
        self.root.join("images").join(name)
    }

    pub(super) fn directory(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A name in `staging` that nobody has.
    pub(super) fn fresh(&self) -> Result<PathBuf, StoreError> {
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(StoreError::errno("choosing a name"))?;
        Ok(self.root.join("staging").join(hex::encode(random)))
    }

    pub(super) fn lock_shared(&self) -> Result<Locked, StoreError> {
        self.lock_file().and_then(Locked::shared).map_err(StoreError::io("locking"))
    }

    pub(super) fn lock_alone(&self) -> Result<Option<Locked>, StoreError> {
        self.lock_file().and_then(Locked::try_alone).map_err(StoreError::io("locking"))
    }

    /// With the store locked alone: what is in `staging` belongs to nobody, unless it is leased still.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        let failed = || StoreError::errno("removing what was left half done");
        let staging = open_directory(&self.directory("staging")).map_err(failed())?;
        for name in names(&staging).map_err(failed())? {
            let path = self.directory("staging").join(hex_name(&name));
            if File::open(path).is_ok_and(|tree| !is_free(tree)) {
                continue;
            }
            remove_all(&staging, &name).map_err(failed())?;
        }
        Ok(())
    }

    /// Makes a file whole or not at all, in place of what has that name.
    pub(super) fn write(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let staged = self.fresh()?;
        let mut file = File::create_new(&staged).map_err(StoreError::io("writing"))?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(StoreError::io("writing"))?;
        fs::rename(&staged, path).map_err(StoreError::io("writing"))?;
        sync_parent(path).map_err(StoreError::io("writing"))
    }

    fn lock_file(&self) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true).create(true).mode(0o600);
        options.open(self.root.join("lock"))
    }
}

/// Whether nobody holds a lease of a tree, or can get one as long as it has no name.
pub(super) fn is_free(tree: File) -> bool {
    Locked::try_alone(tree).is_ok_and(|lock| lock.is_some())
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // The file creation mask may have taken what others need.
        made => made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode))),
    }
}

/// Whoever else can write there can change a tree between its measuring and its running.
fn must_be_ours(path: &Path) -> Result<(), StoreError> {
    let found = fs::metadata(path).map_err(StoreError::io("looking at directories"))?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw() || found.uid() == 0;
    if !is_ours || found.mode() & 0o022 != 0 {
        return Err(StoreError::OthersCanWrite { path: path.to_owned() });
    }
    Ok(())
}

fn hex_name(name: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(name))
}

const TRAVERSABLE: u32 = 0o711;
const DIRECTORIES: &[(&str, u32)] =
    &[("blobs", 0o700), ("partial", 0o700), ("trees", TRAVERSABLE), ("images", 0o700), ("staging", 0o700)];
