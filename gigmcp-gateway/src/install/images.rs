//! Images: from the directories that the operator named, or from their registry.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use gigmcp_registry::{
    Builder, Collected, Digest, ImageReference, Installed, Installer, Keep, Manifest, Platform, Progress, PullError,
    Remote, Store,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::{InstallError, credentials::FromVault, reach::Reach};
use crate::{host::Host, settings::Settings};

/// Brings images into the data directory.
pub(crate) struct Images {
    store: Store,
    layouts: Option<PathBuf>,
    remote: Remote,
    platform: Platform,
}

impl Images {
    /// As the settings say.
    pub(crate) async fn open(host: &Host) -> Result<Self, InstallError> {
        let settings = host.settings();
        Ok(Self {
            store: host.images().map_err(Box::new)?,
            layouts: settings.registry.layouts.clone(),
            remote: remote(settings, FromVault::open(host).await.map_err(Box::new)?)?,
            platform: Platform::of_this_machine().ok_or(InstallError::Platform)?,
        })
    }

    /// The image of a manifest, unpacked, and kept from being collected while the answer lives.
    pub(super) async fn fetch(
        &self,
        manifest: &Manifest,
        progress: Arc<dyn Progress>,
    ) -> Result<Installed, InstallError> {
        let digest = manifest.image.digest;
        let installer = Installer::new(self.store.clone(), self.platform).progress(move |event| progress.event(event));
        if let Some(layouts) = &self.layouts
            && let Some(installed) = from_layouts(&installer, layouts, digest).await?
        {
            return Ok(installed);
        }
        let reference = &manifest.image.reference;
        let image = ImageReference::new(reference, digest)
            .map_err(|source| InstallError::Reference { reference: reference.clone(), source })?;
        let pulled = installer.pull(&self.remote, &image).await;
        pulled.map_err(|source| InstallError::Pull { image: Box::new(image), source })
    }

    /// Removes every image that no server has or can go back to, and nothing that runs.
    pub(crate) async fn collect(&self, host: &Host) -> Result<Collected, InstallError> {
        collect(host).await
    }
}

/// The same without a registry.
pub(crate) async fn collect(host: &Host) -> Result<Collected, InstallError> {
    let keep = Keep::trees(host.store.trees().await?);
    let store = host.images().map_err(Box::new)?;
    let collected = tokio::task::spawn_blocking(move || store.collect_garbage(&keep)).await;
    collected.expect("removing files does not panic").map_err(InstallError::Collect)
}

fn remote(settings: &Settings, credentials: FromVault) -> Result<Remote, InstallError> {
    let registry = &settings.registry;
    let reach =
        registry.mirrors.iter().fold(Reach::new(&registry.reach), |reach, (_, mirror)| reach.and(mirror.host()));
    let mut remote = Remote::builder(move |host: &str, address| reach.allows(host, address), credentials);
    if let Ok(pem) = settings.extra_roots() {
        remote = remote.roots_pem(&pem);
    }
    for (of, mirror) in &registry.mirrors {
        remote = remote.mirror(of.clone(), mirror.clone());
    }
    remote.build().map_err(InstallError::Remote)
}

/// Looks in a directory that is a layout, or holds layouts and archives of them. None if no place has the image.
async fn from_layouts(
    installer: &Installer,
    directory: &Path,
    digest: Digest,
) -> Result<Option<Installed>, InstallError> {
    let mut fault = None;
    for path in layouts(directory).map_err(|source| InstallError::Layouts { path: directory.to_owned(), source })? {
        let found = match path.is_dir() {
            true => installer.from_layout(&path, digest).await,
            false => match File::open(&path) {
                Ok(file) => installer.from_archive(file, digest).await,
                Err(error) => Err(PullError::Layout(error)),
            },
        };
        match found {
            Ok(installed) => return Ok(Some(installed)),
            // The image is elsewhere, also if the store has a part of it that somebody else brings now, or began to bring.
            Err(PullError::Missing { digest: missing }) if missing == digest || !holds(&path, digest) => {}
            // Another place may have it whole.
            Err(source) => fault = fault.or(Some(InstallError::Layout { path, source })),
        }
    }
    fault.map_or(Ok(None), Err)
}

/// Whether a layout says that it has an image. Of an archive it is not known.
fn holds(layout: &Path, digest: Digest) -> bool {
    let hex = digest.to_string();
    layout.join("blobs/sha256").join(hex.trim_start_matches("sha256:")).exists()
}

/// The directory itself, or what lies in it and is a layout or an archive, by name.
fn layouts(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    if directory.join(MARKER).is_file() {
        return Ok(vec![directory.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.join(MARKER).is_file() || path.extension().is_some_and(|end| end == "tar") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether an image that the engine runs holds the manifest that was reviewed: the engine reads the copy in the image.
pub(super) fn check_bundle(manifest: &Manifest, rootfs: &Path) -> Result<(), InstallError> {
    if manifest.image.builder != Some(Builder::Toolpack) {
        return Ok(());
    }
    let inside = Path::new(&manifest.image.entrypoint).with_file_name("manifest.yaml");
    let fault = |reason: String| InstallError::Bundle { path: inside.clone(), reason };
    let text = read_inside(rootfs, &inside).map_err(|error| fault(error.to_string()))?;
    let bundled = Manifest::from_yaml(&text).map_err(|error| fault(error.to_string()))?;
    let (said, found) = (manifest.runtime_hash(), bundled.runtime_hash());
    match said == found {
        true => Ok(()),
        false => Err(fault(format!("its runtime hash is {found}, and that of the signed manifest is {said}"))),
    }
}

/// A small file of a tree, in which no symlink is followed.
fn read_inside(rootfs: &Path, inside: &Path) -> std::io::Result<Vec<u8>> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat2(CWD, rootfs, directory, Mode::empty(), ResolveFlags::empty())?;
    let below = inside.strip_prefix("/").unwrap_or(inside);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2(root, below, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?;
    let mut text = Vec::new();
    File::from(file).take(MAX_BUNDLED_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

const MARKER: &str = "oci-layout";
const MAX_BUNDLED_BYTES: u64 = 1 << 20;
