//! The signed index that the operator chose, followed with the last good one kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use gigmcp_registry::{
    Download, Envelope, Fetched, Files, FilesError, Https, HttpsError, Index, IndexClient, InvalidHttps, Manifest,
    OpenError, RefreshError, RegistryFile, Root, RootError, SignedRoot, StateError, StateFile, Transport, Verified,
};

use super::{ServerReference, reach::Reach};
use crate::{host::create_private_dir, settings::Settings, spec::ServerName};

/// A registry's index, and what was learnt of it.
pub(crate) struct Catalog {
    client: IndexClient,
    file: StateFile,
    place: Place,
}

/// How an index was had.
#[derive(Debug)]
pub(crate) enum Freshness {
    /// From the registry, now.
    Fresh,
    /// It is the one from before; why there is no newer one.
    LastGood(RefreshError),
}

/// Why the catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CatalogError {
    #[error("no registry is set; set GIG_REGISTRY_URL (an https address, or a directory) and GIG_REGISTRY_ROOT")]
    NotSet,
    #[error(
        "GIG_REGISTRY_ROOT is not set: it names the file with the registry's root, `root/1.jsonl`, without which nothing of the registry is believed"
    )]
    NoRoot,
    #[error("the root {}, which GIG_REGISTRY_ROOT names, cannot be read", .path.display())]
    ReadRoot { path: PathBuf, source: io::Error },
    #[error("{}, which GIG_REGISTRY_ROOT names, is not a signed root", .path.display())]
    InvalidRoot { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("GIG_REGISTRY_URL cannot be used")]
    Address(#[from] InvalidHttps),
    #[error("what was learnt of the registry cannot be kept in {}", .path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("what was learnt of the registry cannot be kept")]
    State(#[from] StateError),
    #[error(
        "what was learnt of the registry before does not go on from GIG_REGISTRY_ROOT: if it is another registry now, remove {}",
        .path.display()
    )]
    Open { path: PathBuf, source: OpenError },
    #[error("there is no index that may be used")]
    NoIndex { source: RefreshError },
    #[error("the registry has no server `{name}`; `gigmcp-gateway catalog list` shows what it has")]
    NoServer { name: ServerName },
    #[error("the registry has no `{reference}`; it has: {}", known.join(", "))]
    NoVersion { reference: ServerReference, known: Vec<String> },
    #[error("`{reference}` is the image of several versions; name one of {}", known.join(", "))]
    Several { reference: ServerReference, known: Vec<String> },
}

impl Catalog {
    /// Opens what the settings name. Asks for nothing yet.
    pub(crate) fn open(settings: &Settings) -> Result<Self, CatalogError> {
        let registry = &settings.registry;
        let address = registry.url.as_deref().ok_or(CatalogError::NotSet)?;
        let root = pinned(registry.root.as_deref().ok_or(CatalogError::NoRoot)?)?;
        let place = Place::new(address, settings)?;
        let directory = settings.data_dir().join("registry");
        create_private_dir(&directory).map_err(|source| CatalogError::Directory { path: directory.clone(), source })?;
        let path = directory.join("state");
        let file = StateFile::new(&path);
        let client = IndexClient::new(root, file.load()?, SystemTime::now())
            .map_err(|source| CatalogError::Open { path, source })?;
        Ok(Self { client, file, place })
    }

    /// Asks the registry for a newer index. If it has none that can be believed, the last good one is gone on with.
    pub(crate) async fn refresh(&mut self) -> Result<Freshness, CatalogError> {
        let refreshed = self.client.refresh(&self.place, SystemTime::now()).await;
        // New roots count even if the index was refused.
        match self.file.save(self.client.state()) {
            Err(StateError::Older { .. }) => {
                tracing::debug!("another process has learnt more of the registry meanwhile");
            }
            saved => saved?,
        }
        match refreshed {
            Ok(_) => Ok(Freshness::Fresh),
            Err(source) if self.client.index(SystemTime::now()).is_none() => Err(CatalogError::NoIndex { source }),
            Err(why) => Ok(Freshness::LastGood(why)),
        }
    }

    /// The index, if there is one that may be used.
    pub(crate) fn index(&self) -> Option<&Verified<Index>> {
        self.client.index(SystemTime::now())
    }
}

/// What somebody may look for it by.
pub(crate) fn words(manifest: &Manifest) -> impl Iterator<Item = &str> {
    let texts = [manifest.display_name.as_deref(), manifest.description.as_deref()].into_iter().flatten();
    let category = manifest.category.iter().map(|category| category.as_str());
    let tools = manifest.tools.iter().map(|tool| tool.name.as_str());
    [manifest.name.as_str()].into_iter().chain(texts).chain(category).chain(tools)
}

fn pinned(path: &Path) -> Result<Verified<Root>, CatalogError> {
    let file = fs::read(path).map_err(|source| CatalogError::ReadRoot { path: path.to_owned(), source })?;
    let root = || {
        let envelope = Envelope::split(&file)?;
        Ok::<_, RootFault>(SignedRoot::pinned(envelope.document(), &envelope.signatures()?)?)
    };
    root().map_err(|source| CatalogError::InvalidRoot { path: path.to_owned(), source: Box::new(source) })
}

#[derive(Debug, thiserror::Error)]
enum RootFault {
    #[error(transparent)]
    Signatures(#[from] gigmcp_registry::InvalidSignatures),
    #[error(transparent)]
    Root(#[from] RootError),
}

/// Where the registry's files are.
enum Place {
    Directory(Files),
    Https(Box<Https>),
}

/// Why a file of the registry could not be had.
#[derive(Debug, thiserror::Error)]
enum PlaceError {
    #[error(transparent)]
    Directory(#[from] FilesError),
    #[error(transparent)]
    Https(#[from] HttpsError),
}

impl Place {
    /// Whatever is not an address is a directory.
    fn new(address: &str, settings: &Settings) -> Result<Self, CatalogError> {
        if !address.contains("://") {
            return Ok(Self::Directory(Files::new(address)));
        }
        let mut https = Https::new(address)?;
        if let Ok(pem) = settings.extra_roots()
            && !pem.is_empty()
        {
            https = https.extra_roots(&pem)?;
        }
        let reach = Reach::new(&settings.registry.reach).and(https.host());
        Ok(Self::Https(Box::new(https.addresses(move |host, address| reach.allows(host, address)))))
    }
}

impl Transport for Place {
    type Error = PlaceError;

    async fn fetch(&self, file: RegistryFile, download: &mut Download) -> Result<Fetched, PlaceError> {
        match self {
            Self::Directory(files) => Ok(files.fetch(file, download).await?),
            Self::Https(https) => Ok(https.fetch(file, download).await?),
        }
    }
}
