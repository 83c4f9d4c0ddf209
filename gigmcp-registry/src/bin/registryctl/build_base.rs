//! What images of servers in JavaScript and Python stand on.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use gigmcp_registry::Platform;
use gigmcp_registry::build::{
    BaseRuntime, Debian, DebianError, ImageBuilder, ImageParts, LayerBlob, Layout, RuntimeInfo,
};
use serde_json::{Map, Value, json};

use crate::build::{Into, platform, this_machine, unwritable};
use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct BuildBase {
    /// What it runs
    runtime: RuntimeName,
    #[command(flatten)]
    into: Into,
    /// The suite of Debian whose packages are taken
    #[arg(long, value_name = "SUITE", default_value = "trixie")]
    debian: String,
    #[command(flatten)]
    mirror: Mirror,
    /// The machine: amd64 or arm64; this one, unless given
    #[arg(long, value_name = "MACHINE", value_parser = platform)]
    platform: Option<Platform>,
}

#[derive(Clone, Copy, ValueEnum)]
enum RuntimeName {
    /// Node.js
    Node,
    /// Python 3
    Python,
}

#[derive(Args)]
pub(crate) struct Mirror {
    /// Where Debian's packages are; what they are is known by the signed index
    #[arg(long, value_name = "URL", default_value = "http://deb.debian.org/debian")]
    debian_mirror: String,
}

impl BuildBase {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let runtime = match self.runtime {
            RuntimeName::Node => BaseRuntime::Node,
            RuntimeName::Python => BaseRuntime::Python,
        };
        let machine = self.platform.map_or_else(this_machine, Ok)?;
        let layout = self.into.layout()?;
        let (layer, info) = from_debian(runtime, &self.debian, &self.mirror, machine, &self.into, &layout)?;
        let mut image = ImageBuilder::base(self.into.source_date_epoch)
            .annotation("org.opencontainers.image.title", &format!("{runtime} {}", info.version));
        for (name, value) in info.annotations() {
            image = image.annotation(name, &value);
        }
        let tag = self.into.tag.clone().unwrap_or_else(|| format!("{runtime}-{}", info.version));
        let bytes = layer.bytes;
        let parts = ImageParts { platform: machine, layers: vec![layer] };
        let digest = image.write(&layout, &[parts], Some(&tag)).map_err(|error| unwritable(&layout, error))?;
        let place = self.into.output.display();
        output.print(
            &json!({
                "digest": digest.to_string(), "layout": place.to_string(), "tag": tag, "runtime": runtime.as_str(),
                "version": info.version, "platforms": [machine.to_string()], "layerBytes": bytes, "packages": packages(&info),
            }),
            &[
                digest.to_string(),
                format!("{runtime} {} of Debian {} for {machine}, {bytes} bytes, {} packages", info.version, info.suite, info.packages.len()),
                format!("use it with --base {place}@{digest}"),
            ],
        )
    }
}

/// A layer with the runtime, in the layout already.
pub(crate) fn from_debian(
    runtime: BaseRuntime,
    suite: &str,
    mirror: &Mirror,
    machine: Platform,
    into: &Into,
    layout: &Layout,
) -> Result<(LayerBlob, RuntimeInfo), Failure> {
    let failed = |error: DebianError| {
        Failure::refused(format!("there is no {runtime} of Debian {suite}"))
            .because(error)
            .advice("take a base that was made elsewhere, with --base")
    };
    let scratch =
        tempfile::tempdir().map_err(|source| Failure::file("there is no temporary directory").because(source))?;
    let debian = Debian::new(suite, &mirror.debian_mirror).map_err(failed)?;
    let (tree, packages) = debian.runtime(runtime, machine, scratch.path()).map_err(failed)?;
    let info = RuntimeInfo::new(runtime, suite, packages);
    let info = info.map_err(|error| Failure::refused("the packages are not a runtime").because(error))?;
    Ok((into.layer(layout, &tree)?, info))
}

pub(crate) fn packages(info: &RuntimeInfo) -> Map<String, Value> {
    info.packages.iter().map(|package| (package.name.clone(), package.version.clone().into())).collect()
}
