//! Images without Docker: files become a layer, layers an image, and an image a layout directory, the same bytes every time.
//!
//! Nothing of a package is run. A binary or toolspec is copied as it is; packages of npm and PyPI are fetched by digest and
//! unpacked by code of ours, in a sandbox that reaches the package registry and nothing else ([`Fetcher`]); what their authors
//! would run at installation is left alone.

mod archive;
mod base;
mod binary;
mod debian;
mod fetch;
mod image;
mod layer;
mod layout;
mod npm;
mod own_files;
mod plan;
mod python;
mod step;
mod tar_writer;
mod tree;
mod web;
mod wheel;

pub use base::{Base, BaseError, BaseReference, InvalidBaseReference, Runtime as BaseRuntime, RuntimeInfo};
pub use binary::{BinaryFault, static_binary};
pub use debian::{Debian, DebianError, DebianPackage};
pub use fetch::{FetchError, Fetcher};
pub use image::{ImageBuilder, ImageParts};
pub use layer::{LayerBlob, LayerContent};
pub use layout::{Layout, LayoutError};
pub use npm::{InvalidLock, LockFault, NpmLock};
pub use own_files::{OwnFiles, OwnFilesError};
pub use plan::Plan;
pub use python::{Interpreter, InvalidRequirements, RequirementFault, Requirements};
pub use step::run_step;
pub use tree::{FileMode, Tree, TreeError};
pub use web::{InvalidPackageRegistry, PackageRegistry};
