//! What lies on this host: the data directory with the database, the key and the servers.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use gigmcp_registry::{Store as Images, StoreError as ImagesError};
use gigmcp_sandbox::PathRefusal;
use gigmcp_vault::{KeyFileError, KeyRing};
use sha2::{Digest, Sha256};

use crate::{
    exposures::Exposures,
    kept::{Kept, KeptError},
    keys::{Keys, MasterKey, MasterKeyError},
    secrets::Secrets,
    settings::{Settings, SettingsError},
    spec::ServerSpec,
    store::{Store, StoreError},
};

/// The opened data directory.
pub(crate) struct Host {
    pub(crate) store: Store,
    settings: Settings,
    images: OnceLock<Images>,
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HostError {
    #[error("cannot create the data directory {}; name another with --data-dir or GIG_DATA_DIR", .path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Key(#[from] MasterKeyError),
    #[error(
        "the master key file {} is missing, but the database holds secrets sealed with it; restore the file from your backup or its recovery form (`gigmcp-gateway key import-recovery`), or delete the secrets (`gigmcp-gateway secret list`, `secret delete --all`) and start again",
        .path.display()
    )]
    KeyLost { path: PathBuf },
    #[error(
        "there is no master key file {}, which the settings name; correct GIG_MASTER_KEY_FILE, or make a new key with `gigmcp-gateway key create`",
        .path.display()
    )]
    KeyMissing { path: PathBuf },
    #[error("the images in {} cannot be used", .path.display())]
    Images { path: PathBuf, source: ImagesError },
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("--read-only {} cannot be shown to a server", .path.display())]
    ReadOnly { path: PathBuf, source: PathRefusal },
    #[error("{} holds, or lies in, {}, which is the gateway's own and no server may see", .path.display(), .ours.display())]
    Own { path: PathBuf, ours: PathBuf },
    #[error("{}: cannot read the executable", .path.display())]
    Binary { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", .path.display())]
    NotStatic { path: PathBuf, reason: &'static str },
}

impl Host {
    /// Opens the data directory, creating what is missing with private modes.
    ///
    /// Once a process: SQLite deadlocks now and then when a database in WAL mode is opened in one thread while its last
    /// connection closes in another (seen in 3.51: `unixOpen` and `sqlite3WalClose` take two mutexes in opposite order).
    pub(crate) fn open(settings: &Settings) -> Result<Self, HostError> {
        create_private_dir(settings.data_dir())
            .map_err(|source| HostError::DataDir { path: settings.data_dir().to_owned(), source })?;
        Ok(Self { store: Store::open(&settings.database()?)?, settings: settings.clone(), images: OnceLock::new() })
    }

    /// The secrets, with the master key. Creates the key file of the data directory when there is none and nothing was sealed.
    pub(crate) async fn secrets(&self) -> Result<Secrets, HostError> {
        let key = MasterKey::of(&self.settings)?;
        let keys = Keys::open(key, async |key| self.key_ring(key).await).await?;
        let told = Arc::new(Exposures::new(self.store.clone()));
        Ok(Secrets::new(self.store.clone(), keys.audited(told)).with_kept(self.kept()))
    }

    /// The same for whoever can do without them: nothing is created.
    pub(crate) async fn existing_secrets(&self) -> Result<Secrets, HostError> {
        let key = MasterKey::of(&self.settings)?;
        let keys = Keys::open(key, async |key| Ok::<_, HostError>(key.load().await?)).await?;
        let told = Arc::new(Exposures::new(self.store.clone()));
        Ok(Secrets::new(self.store.clone(), keys.audited(told)).with_kept(self.kept()))
    }

    async fn key_ring(&self, key: &MasterKey) -> Result<KeyRing, HostError> {
        match key.load().await {
            Err(MasterKeyError::File(KeyFileError::Missing { path })) => match self.store.holds_secrets()? {
                true => Err(HostError::KeyLost { path }),
                // Another process may create it at the same time; then that one's key counts.
                false if key.is_ours() => Ok(key.load_or_create().await?),
                false => Err(HostError::KeyMissing { path }),
            },
            loaded => Ok(loaded?),
        }
    }

    /// Refuses paths that would show a server what is ours.
    pub(crate) fn check_paths(&self, spec: &ServerSpec) -> Result<(), HostError> {
        fs::canonicalize(self.settings.data_dir())
            .map_err(|source| HostError::DataDir { path: self.settings.data_dir().to_owned(), source })?;
        for path in &spec.read_only {
            gigmcp_sandbox::check_read_only(path)
                .map_err(|source| HostError::ReadOnly { path: path.clone(), source })?;
        }
        let ours: Vec<PathBuf> = self.settings.own_files().into_iter().map(real).collect();
        // What else is wrong with a state directory, the sandbox says when it takes it.
        for path in spec.read_only.iter().chain(&spec.state) {
            let shown = real(path.clone());
            if let Some(ours) = ours.iter().find(|ours| shown.starts_with(ours) || ours.starts_with(&shown)) {
                return Err(HostError::Own { path: path.clone(), ours: ours.clone() });
            }
        }
        Ok(())
    }

    /// The settings that it was opened with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The images that servers run from, shared by all processes with this data directory.
    pub(crate) fn images(&self) -> Result<Images, HostError> {
        if let Some(images) = self.images.get() {
            return Ok(images.clone());
        }
        let path = self.settings.data_dir().join("images");
        let images = Images::open(&path).map_err(|source| HostError::Images { path, source })?;
        Ok(self.images.get_or_init(|| images).clone())
    }

    /// What servers keep from one start to the next.
    pub(crate) fn kept(&self) -> Kept {
        Kept::of(self.settings.data_dir())
    }

    /// Where the executable of that digest lies.
    pub(crate) fn binary(&self, sha256: &str) -> PathBuf {
        self.binaries().join(sha256)
    }

    fn binaries(&self) -> PathBuf {
        executables(self.settings.data_dir())
    }

    /// Copies a static executable into the data directory and returns its SHA-256.
    pub(crate) fn keep_binary(&self, path: &Path) -> Result<String, HostError> {
        let failed = |source| HostError::Binary { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(failed)?;
        file.take(MAX_BINARY_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_BINARY_BYTES {
            return Err(HostError::NotStatic { path: path.to_owned(), reason: "larger than 512 MiB" });
        }
        is_static_elf(&bytes).map_err(|reason| HostError::NotStatic { path: path.to_owned(), reason })?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        create_private_dir(&self.binaries()).map_err(failed)?;
        let kept = self.binary(&sha256);
        let staged = kept.with_extension(format!("{}.new", std::process::id()));
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o500).open(&staged).map_err(failed)?;
        io::Write::write_all(&mut file, &bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        drop(file);
        fs::rename(&staged, &kept).map_err(failed)?;
        Ok(sha256)
    }

    /// Checks that a kept executable still is what its name says.
    pub(crate) fn verify_binary(&self, sha256: &str) -> io::Result<bool> {
        let mut digest = Sha256::new();
        io::copy(&mut fs::File::open(self.binary(sha256))?, &mut HashWriter(&mut digest))?;
        Ok(hex::encode(digest.finalize()) == sha256)
    }
}

/// Where the executables of servers lie in a data directory, each named by its SHA-256.
pub(crate) fn executables(data_dir: &Path) -> PathBuf {
    data_dir.join("servers").join("sha256")
}

/// Where a path leads in the end, or itself if it leads nowhere.
fn real(path: PathBuf) -> PathBuf {
    fs::canonicalize(&path).unwrap_or(path)
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Creates a directory of mode 0700; one that is there keeps its mode unless others may write to it.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode();
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(io::Error::other(format!(
            "others may write to it (mode {:o}); run: chmod go-w {}",
            mode & 0o777,
            path.display()
        ))),
    }
}

/// An executable without an interpreter segment needs no loader and no libraries.
fn is_static_elf(bytes: &[u8]) -> Result<(), &'static str> {
    const PT_INTERP: u32 = 3;
    let word = |at: usize, length: usize| -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let short = "not a complete ELF executable";
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("not a 64-bit little-endian ELF executable; for scripts and interpreters use --command");
    }
    let machine = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    if word(18, 2) != Some(machine) {
        return Err("built for another processor architecture");
    }
    let table = word(32, 8).ok_or(short)?;
    let size = word(54, 2).ok_or(short)?;
    let count = word(56, 2).ok_or(short)?;
    for index in 0..count {
        let at = table.checked_add(index * size).and_then(|at| usize::try_from(at).ok()).ok_or(short)?;
        if word(at, 4).ok_or(short)? == u64::from(PT_INTERP) {
            return Err(
                "dynamically linked: it needs a loader and libraries that are not in the sandbox; link it statically, or use --command",
            );
        }
    }
    Ok(())
}

const MAX_BINARY_BYTES: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_executables_are_kept() {
        let mut elf = vec![0_u8; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
        elf[32] = 64; // program headers follow the file header
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 1; // PT_LOAD
        assert_eq!(is_static_elf(&elf), Ok(())); // twin of the refusals
        let dynamic = {
            let mut elf = elf.clone();
            elf[64] = 3;
            elf
        };
        let foreign = {
            let mut elf = elf.clone();
            elf[18] = 40;
            elf
        };
        for (case, bytes) in
            [("dynamic", &dynamic[..]), ("foreign", &foreign), ("script", b"#!/bin/sh\n"), ("cut", &elf[..60])]
        {
            assert!(is_static_elf(bytes).is_err(), "{case}");
        }
    }
}
