//! Where servers come from.

use std::path::PathBuf;

use clap::Args;
use gigmcp_registry::Registry;

use crate::install::Named;

/// Where servers come from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RegistrySettings {
    /// The registry of servers: an https address, or a directory with `index.jsonl` in it
    #[arg(long = "registry", env = "GIG_REGISTRY_URL", value_name = "URL", global = true)]
    pub(crate) url: Option<String>,

    /// File with the root of the registry, `root/1.jsonl`: whom its index is believed from. Get it from somewhere else than the
    /// registry itself
    #[arg(long = "registry-root", env = "GIG_REGISTRY_ROOT", value_name = "FILE", global = true)]
    pub(crate) root: Option<PathBuf>,

    /// Hosts, and private networks such as 10.0.0.0/8, that may be asked for indexes and images beside the public internet (comma
    /// separated)
    #[arg(
        long = "registry-allow",
        env = "GIG_REGISTRY_ALLOW",
        value_name = "NAME",
        value_delimiter = ',',
        global = true
    )]
    pub(crate) reach: Vec<Named>,

    /// Directory with images, as OCI layouts or tar archives of them, that is looked into before any registry is asked
    #[arg(long = "image-layouts", env = "GIG_IMAGE_LAYOUTS", value_name = "DIRECTORY", global = true)]
    pub(crate) layouts: Option<PathBuf>,

    /// A registry that has the images of another, as REGISTRY=MIRROR (comma separated)
    #[arg(
        long = "image-mirror", env = "GIG_IMAGE_MIRROR", value_name = "REGISTRY=MIRROR", value_delimiter = ',',
        value_parser = mirror, global = true
    )]
    pub(crate) mirrors: Vec<(Registry, Registry)>,
}

fn mirror(text: &str) -> Result<(Registry, Registry), String> {
    let (of, mirror) = text.split_once('=').ok_or("give REGISTRY=MIRROR, such as ghcr.io=mirror.example:5000")?;
    let registry = |text: &str| text.parse().map_err(|error| format!("`{text}`: {error}"));
    Ok((registry(of)?, registry(mirror)?))
}
