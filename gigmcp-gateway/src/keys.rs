//! The master key: where it is, how it is read, and how a running gateway gets the keys of a rotation.

mod file;

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use gigmcp_vault::{
    AuditSink, InvalidKey, InvalidTransit, KeyFileError, KeyId, KeyRing, KeyWrap, LocalKey, Passphrase,
    PassphraseTooShort, Readers, Sealed, SecretBytes, SourceError, Transit, Vault,
};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

pub(crate) use file::KeyFile;

use crate::settings::{
    Settings, SettingsError,
    keys::{Place, TransitSettings, WrapSettings, environment_key},
};

/// Where the master key is, and what wraps it.
#[derive(Clone, Debug)]
pub(crate) struct MasterKey {
    place: Place,
    wrap: WrapSettings,
}

/// Why the master key cannot be had or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MasterKeyError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the master key cannot be used")]
    File(#[from] KeyFileError),
    #[error(
        "the master key file {} is not wrapped, but {name} is to wrap it; wrap it with `gigmcp-gateway key wrap`, or unset {name}",
        .path.display()
    )]
    NotWrapped { path: PathBuf, name: &'static str },
    #[error(
        "the master key file {} is wrapped; say what wrapped it: GIG_MASTER_KEY_PASSPHRASE_FILE, GIG_MASTER_KEY_WRAP_FILE or GIG_TRANSIT_URL",
        .path.display()
    )]
    Wrapped { path: PathBuf },
    #[error("what wraps the master key file cannot be read")]
    Source(#[from] SourceError),
    #[error("{name} cannot wrap the master key file")]
    LocalKey { name: &'static str, source: InvalidKey },
    #[error("{name} cannot wrap the master key file; take a longer one")]
    Passphrase { name: &'static str, source: PassphraseTooShort },
    #[error(
        "the transit engine that wraps the master key file cannot be asked; see GIG_TRANSIT_URL and what belongs to it"
    )]
    Transit(#[from] InvalidTransit),
    #[error("{}, which GIG_TRANSIT_CA_FILE names, cannot be read", .path.display())]
    TransitRoots { path: PathBuf, source: io::Error },
    #[error(
        "the master key is in GIG_MASTER_KEY, which cannot be written to; put it into a file with `gigmcp-gateway key create --from-environment`, unset GIG_MASTER_KEY and set GIG_MASTER_KEY_FILE to that file"
    )]
    InEnvironment,
    #[error(
        "the master key file {} was put there by systemd, which does not take changes; do this to a copy of it that GIG_MASTER_KEY_FILE names, outside of the service, then replace what LoadCredential= names and start the service again",
        .path.display()
    )]
    InCredential { path: PathBuf },
    #[error(
        "the master key file {} is a symbolic link, as orchestrators mount secrets; do this to a copy of it that GIG_MASTER_KEY_FILE names, then replace the secret by the copy",
        .path.display()
    )]
    Link { path: PathBuf },
    #[error("the directory of the master key file {} cannot be locked", .path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("another command changes the master key file {} just now; wait for its end", .path.display())]
    Locked { path: PathBuf },
    #[error("what an interrupted change of the master key left behind, {}, cannot be removed", .path.display())]
    LeftOver { path: PathBuf, source: io::Error },
}

impl MasterKey {
    /// What the settings say of it.
    pub(crate) fn of(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Self { place: settings.key.place(settings.data_dir())?, wrap: settings.key.wrap()? })
    }

    /// Reads the key ring.
    pub(crate) async fn load(&self) -> Result<KeyRing, MasterKeyError> {
        let (path, readers) = match &self.place {
            Place::Environment => return Ok(environment_ring()?.expect("it is set")),
            Place::DataDirectory(path) => (path, Readers::Owner),
            Place::Named(path) => (path, Readers::Group),
            Place::Credential(path) => (path, Readers::Credential),
        };
        let loaded = match self.wrap.open()? {
            None => KeyRing::load_shared(path, readers),
            Some(wrap) => KeyRing::load_wrapped_shared(path, &*wrap, readers).await,
        };
        loaded.map_err(|error| self.explained(error))
    }

    /// Makes a new key file, unless there is one.
    pub(crate) async fn load_or_create(&self) -> Result<KeyRing, MasterKeyError> {
        let created = match (&self.place, self.wrap.open()?) {
            (Place::Environment, _) => return self.load().await,
            (Place::DataDirectory(path) | Place::Named(path) | Place::Credential(path), wrap) => match wrap {
                None => KeyRing::load_or_create(path),
                Some(wrap) => KeyRing::load_or_create_wrapped(path, &*wrap).await,
            },
        };
        created.map_err(|error| self.explained(error))
    }

    /// The key file, if the key is in one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Environment => None,
            Place::DataDirectory(path) | Place::Named(path) | Place::Credential(path) => Some(path),
        }
    }

    /// Whether the file is ours to make at the first start.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.place, Place::DataDirectory(_))
    }

    /// The file of the master key, for whoever is going to change it.
    pub(crate) fn lock(&self) -> Result<KeyFile, MasterKeyError> {
        match &self.place {
            Place::Environment => Err(MasterKeyError::InEnvironment),
            Place::Credential(path) => Err(MasterKeyError::InCredential { path: path.clone() }),
            Place::DataDirectory(path) | Place::Named(path) => KeyFile::lock(self.clone(), path.clone()),
        }
    }

    /// A text of the vault does not know which settings there are.
    fn explained(&self, error: KeyFileError) -> MasterKeyError {
        use gigmcp_vault::MalformedKeyFile::{NotWrapped, Wrapped};
        match error {
            KeyFileError::Malformed { path, problem: NotWrapped, .. } => {
                MasterKeyError::NotWrapped { path, name: self.wrap.setting() }
            }
            KeyFileError::Malformed { path, problem: Wrapped, .. } => MasterKeyError::Wrapped { path },
            error => MasterKeyError::File(error),
        }
    }

    /// What tells one state of the file from the next; `None` for what does not change.
    fn stamp(&self) -> Option<Stamp> {
        let found = fs::metadata(self.path()?).ok()?;
        Some(Stamp { device: found.dev(), inode: found.ino(), changed: (found.ctime(), found.ctime_nsec()) })
    }
}

impl WrapSettings {
    /// What wraps the file; reads passphrases and keys, and asks nobody yet.
    fn open(&self) -> Result<Option<Box<dyn KeyWrap>>, MasterKeyError> {
        let name = self.setting();
        Ok(Some(match self {
            Self::Nothing => return Ok(None),
            Self::Passphrase(source) => {
                let passphrase = Passphrase::new(source.read()?);
                Box::new(passphrase.map_err(|source| MasterKeyError::Passphrase { name, source })?)
            }
            Self::Local(source) => {
                let key = LocalKey::from_hex(&source.read()?);
                Box::new(key.map_err(|source| MasterKeyError::LocalKey { name, source })?)
            }
            Self::Transit(settings) => Box::new(transit(settings)?),
        }))
    }

    fn setting(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Passphrase(_) => "GIG_MASTER_KEY_PASSPHRASE",
            Self::Local(_) => "GIG_MASTER_KEY_WRAP",
            Self::Transit(_) => "GIG_TRANSIT_URL",
        }
    }
}

fn transit(settings: &TransitSettings) -> Result<Transit, MasterKeyError> {
    let mut transit = Transit::new(&settings.url, &settings.key, settings.token.read()?)?
        .mount(&settings.mount)?
        .minimum_version(settings.min_version);
    if let Some(namespace) = &settings.namespace {
        transit = transit.namespace(namespace)?;
    }
    if let Some(path) = &settings.ca {
        let pem = fs::read(path).map_err(|source| MasterKeyError::TransitRoots { path: path.clone(), source })?;
        transit = transit.roots(&pem)?;
    }
    Ok(transit)
}

/// The ring of the key in `GIG_MASTER_KEY`.
pub(crate) fn environment_ring() -> Result<Option<KeyRing>, SettingsError> {
    let Some(key) = environment_key()? else { return Ok(None) };
    // The id says which key sealed a secret; a hash of 256 random bits tells nothing about them.
    let digest = Sha256::new().chain_update("gigmcp key id v1").chain_update(*key).finalize();
    let id = KeyId::from_bytes(digest[..16].try_into().expect("a SHA-256 has 32 bytes"));
    Ok(Some(KeyRing::from_key(id, 1, &SecretBytes::new(key.to_vec())).expect("the key has 32 bytes")))
}

/// The keys in use. They follow the key file: when a secret was sealed with a key that is not among them, because another
/// process rotated them, the file is read again.
pub(crate) struct Keys {
    source: Option<MasterKey>,
    vault: RwLock<Arc<Vault>>,
    /// Who is told of what is read, if anybody.
    audit: Option<Arc<dyn AuditSink>>,
    /// For whoever reads the file; one at a time.
    read: tokio::sync::Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    stamp: Option<Stamp>,
    failed: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Keys {
    /// What `load` gives, and where it came from.
    pub(crate) async fn open<E>(
        source: MasterKey,
        load: impl AsyncFnOnce(&MasterKey) -> Result<KeyRing, E>,
    ) -> Result<Self, E> {
        // Before the file is read: if it changes in between, it is read once more.
        let stamp = source.stamp();
        let vault = Vault::new(load(&source).await?);
        let read = tokio::sync::Mutex::new(Read { stamp, failed: None });
        Ok(Self { source: Some(source), vault: RwLock::new(Arc::new(vault)), audit: None, read })
    }

    /// Keys that came from nowhere and never change.
    pub(crate) fn fixed(ring: KeyRing) -> Self {
        let read = tokio::sync::Mutex::new(Read { stamp: None, failed: None });
        Self { source: None, vault: RwLock::new(Arc::new(Vault::new(ring))), audit: None, read }
    }

    /// Tells `audit` each time a secret is exposed, with these keys and those that are read later.
    pub(crate) fn audited(self, audit: Arc<dyn AuditSink>) -> Self {
        let vault = self.vault.into_inner().unwrap_or_else(PoisonError::into_inner);
        let vault = Arc::into_inner(vault).expect("nobody was given it yet").audited(Arc::clone(&audit));
        Self { vault: RwLock::new(Arc::new(vault)), audit: Some(audit), ..self }
    }

    /// The vault with the newest keys that are known here.
    pub(crate) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The vault that has the key that `sealed` names, as far as there is one.
    ///
    /// Whoever can write to the database can name any key, so the file is read only if it was changed since.
    pub(crate) async fn vault_for(&self, sealed: &Sealed) -> Arc<Vault> {
        let holds = |vault: &Vault| vault.key_ring().holds(sealed.key_id(), sealed.key_version());
        let vault = self.vault();
        let Some(source) = self.source.as_ref().filter(|_| !holds(&vault)) else { return vault };
        let mut read = self.read.lock().await;
        let vault = self.vault();
        let stamp = source.stamp();
        let failed = read.failed.is_some_and(|failed| failed.elapsed() < RETRY);
        if holds(&vault) || stamp == read.stamp || failed {
            return vault;
        }
        match source.load().await {
            Ok(ring) => {
                tracing::info!("read the master key file again: another process changed the keys");
                let vault = Vault::new(ring);
                let vault = Arc::new(match &self.audit {
                    Some(audit) => vault.audited(Arc::clone(audit)),
                    None => vault,
                });
                *read = Read { stamp, failed: None };
                *self.vault.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&vault);
                vault
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                tracing::warn!("the master key file was changed, and cannot be read: {error}{cause}");
                read.failed = Some(Instant::now());
                vault
            }
        }
    }
}

/// How long a changed key file that cannot be read is left alone.
const RETRY: Duration = Duration::from_secs(2);
