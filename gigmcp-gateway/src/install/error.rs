//! Why a server was not installed.

use std::{io, path::PathBuf};

use gigmcp_registry::{
    Digest, ImageReference, InvalidReference, InvalidValue, InvalidValueReason, PullError, RemoteBuildError,
    StoreError as ImagesError,
};

use super::{CatalogError, lower::LowerError};
use crate::{
    host::HostError,
    secrets::SecretError,
    spec::{InvalidSpec, ServerName},
    store::StoreError,
    trail::SignerError,
};

/// Why a server was not installed. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InstallError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Host(#[from] Box<HostError>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secret(SecretError),
    #[error(transparent)]
    Name(#[from] InvalidSpec),
    #[error("there are no images for this machine's processor")]
    Platform,
    #[error("images cannot be asked for")]
    Remote(#[source] RemoteBuildError),
    #[error("the manifest names the image `{reference}`")]
    Reference { reference: String, source: InvalidReference },
    #[error("the image {image} cannot be had")]
    Pull { image: Box<ImageReference>, source: PullError },
    #[error("the directory {}, which GIG_IMAGE_LAYOUTS names, cannot be read", .path.display())]
    Layouts { path: PathBuf, source: io::Error },
    #[error("{}, which lies where GIG_IMAGE_LAYOUTS names, cannot be used", .path.display())]
    Layout { path: PathBuf, source: PullError },
    #[error("{} in the image is not the manifest that was signed: {reason}", .path.display())]
    Bundle { path: PathBuf, reason: String },
    #[error("the images cannot be cleaned up")]
    Collect(#[source] ImagesError),
    #[error("what you said of the server's variables cannot be used: {}", list(faults))]
    Variables { faults: Vec<InvalidValue> },
    #[error("this manifest cannot be run here")]
    Lower(#[from] LowerError),
    #[error("what you agreed to is {agreed}, and the manifest is {manifest}: look at it again")]
    OtherManifest { agreed: Digest, manifest: Digest },
    #[error(
        "the server {server} is entrusted: it gets the real credentials and can send them wherever it may reach; agree to that by --entrust, or choose another server"
    )]
    Entrusted { server: ServerName },
    #[error(
        "there is a server `{server}` that did not come from an index; remove it first (`gigmcp-gateway server remove {server}`)"
    )]
    ByHand { server: ServerName },
    #[error("there is no server `{server}` from an index; install it (`gigmcp-gateway server install {server}`)")]
    NotInstalled { server: ServerName },
    #[error("there is nothing that {server} could go back to")]
    NothingBefore { server: ServerName },
    #[error(
        "what the database says of the version of {server} before is not what was agreed to, or that was signed with another master key; install a version by name instead"
    )]
    NotConsented { server: ServerName },
    #[error("the image of {server} is not the one that was agreed to: its files measure otherwise")]
    OtherTree { server: ServerName },
    #[error("what was agreed to cannot be signed")]
    Signer(#[from] SignerError),
}

fn list(faults: &[InvalidValue]) -> String {
    let how = |fault: &InvalidValue| match fault.reason {
        InvalidValueReason::Unknown => fault.to_string(),
        _ => format!("{fault}, so say it: --variable {}=VALUE", fault.variable),
    };
    faults.iter().map(how).collect::<Vec<_>>().join("; ")
}
