//! OCI images: by digest, from a registry, a layout directory or an archive, into the store.

mod archive;
mod config;
mod document;
mod error;
mod install;
mod layout;
mod parts;
mod platform;
mod progress;
mod reference;
mod source;
mod spelling;

pub use config::ImageConfig;
#[cfg(feature = "build")]
pub(crate) use document::Config as ConfigDocument;
pub(crate) use document::{ACCEPTED, Descriptor, Document, Manifest as ManifestDocument};
pub use error::{DocumentFault, PullError};
pub use install::{Installed, Installer};
pub use layout::{LayoutImage, layout_images};
pub(crate) use layout::{explain, open_blob as layout_blob};
pub use platform::Platform;
pub use progress::{Progress, PullEvent};
pub use reference::{ImageReference, InvalidReference, Registry, Repository};
pub(crate) use source::Kind;
