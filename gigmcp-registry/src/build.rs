//! Images without Docker: files become a layer, layers an image, and an image a layout directory, the same bytes every time.
//!
//! Nothing of a package is run. A binary or toolspec is copied as it is; packages of npm and PyPI are fetched by digest and
//! unpacked by code of ours, in a sandbox that reaches the package registry and nothing else ([`Fetcher`]); what their authors
//! would run at installation is left alone.

mod binary;
mod image;
mod layer;
mod layout;
mod own_files;
mod tar_writer;
mod tree;

pub use binary::{BinaryFault, static_binary};
pub use image::{ImageBuilder, ImageParts};
pub use layer::{LayerBlob, LayerContent};
pub use layout::{Layout, LayoutError};
pub use own_files::{OwnFiles, OwnFilesError};
pub use tree::{FileMode, Tree, TreeError};
