//! From a manifest and what it names to an image.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, ValueEnum};
use gigmcp_registry::build::{
    FileMode, ImageBuilder, ImageParts, LayerBlob, Layout, LayoutError, RuntimeInfo, Tree, TreeError, static_binary,
};
use gigmcp_registry::{Builder, Compression, Digest, Manifest, Platform, Severity, Toolspec};
use serde_json::json;

use crate::build_base::packages;
use crate::build_packages::Packages;
use crate::failure::Failure;
use crate::files;
use crate::output::Output;

#[derive(Args)]
#[command(group(ArgGroup::new("made").required(true).args(["binary", "engine", "npm", "python"])))]
pub(crate) struct Build {
    /// The manifest of the server
    manifest: PathBuf,
    #[command(flatten)]
    made_of: MadeOf,
    #[command(flatten)]
    packages: Packages,
    #[command(flatten)]
    into: Into,
    /// Write the manifest there with the image's digest in it
    #[arg(long, value_name = "FILE")]
    pin: Option<PathBuf>,
}

#[derive(Args)]
struct MadeOf {
    /// The static program that is the server; once for each machine it is for
    #[arg(long, value_name = "FILE")]
    binary: Vec<PathBuf>,
    /// The toolpack engine, a static program, which gets manifest and toolspec beside it; once for each machine
    #[arg(long, value_name = "FILE")]
    engine: Vec<PathBuf>,
    /// The toolspec; VERSION.toolspec.yaml beside the manifest, unless given
    #[arg(long, value_name = "FILE", requires = "engine")]
    toolspec: Option<PathBuf>,
}

/// Where an image goes, and in what form.
#[derive(Args)]
pub(crate) struct Into {
    /// The OCI layout directory to write to, which is made if it is not there
    #[arg(long, short, value_name = "DIRECTORY")]
    pub(crate) output: PathBuf,
    /// The name that the layout lists the image by; the version, unless given
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub(crate) tag: Option<String>,
    /// How layers are compressed
    #[arg(long, value_enum, default_value_t = Compress::Zstd)]
    compression: Compress,
    /// The time of everything in the image, in seconds since 1970
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", default_value_t = 0)]
    pub(crate) source_date_epoch: u32,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Compress {
    /// Smaller and faster; read by every container runtime since 2020
    Zstd,
    /// Read by all
    Gzip,
}

/// What an image is for one machine, before it is written.
pub(crate) struct Machine {
    pub(crate) platform: Platform,
    /// Layers below, whose content is in the layout.
    pub(crate) below: Vec<LayerBlob>,
    pub(crate) tree: Tree,
}

/// What whoever builds should know.
#[derive(Default)]
pub(crate) struct Notes {
    /// The base that the image stands on.
    pub(crate) info: Option<RuntimeInfo>,
    /// Files that were not copied.
    pub(crate) left_out: Vec<String>,
    /// Packages that would have run something at installation.
    pub(crate) not_run: Vec<String>,
}

impl Build {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let text = files::read(&self.manifest)?;
        let manifest = files::manifest(&self.manifest)?;
        let layout = self.into.layout()?;
        let (machines, notes) = self.machines(&manifest, &layout)?;
        let mut parts = Vec::new();
        for Machine { platform, mut below, tree } in machines {
            below.push(self.into.layer(&layout, &tree)?);
            parts.push(ImageParts { platform, layers: below });
        }
        let tag = self.into.tag.clone().unwrap_or_else(|| manifest.version.to_string());
        let mut image = ImageBuilder::new(&manifest, self.into.source_date_epoch);
        for (name, value) in notes.info.iter().flat_map(RuntimeInfo::annotations) {
            image = image.annotation(name, &value);
        }
        let digest = image.write(&layout, &parts, Some(&tag)).map_err(|error| unwritable(&layout, error))?;
        if let Some(path) = &self.pin {
            files::write(path, pinned(&text, &manifest, digest)?.as_bytes())?;
        }
        self.print(output, &manifest, &tag, (digest, &parts), &notes)
    }

    fn machines(&self, manifest: &Manifest, layout: &Layout) -> Result<(Vec<Machine>, Notes), Failure> {
        if self.packages.npm.is_some() || self.packages.python.is_some() {
            let (machine, notes) = self.packages.machine(manifest, &self.into, layout)?;
            return Ok((vec![machine], notes));
        }
        Ok((self.programs(manifest, layout)?, Notes::default()))
    }

    fn programs(&self, manifest: &Manifest, layout: &Layout) -> Result<Vec<Machine>, Failure> {
        let MadeOf { binary, engine, .. } = &self.made_of;
        if !binary.is_empty() {
            must_be(manifest, Builder::GoStatic, "--binary")?;
            return each(binary, |content| program(manifest, content));
        }
        must_be(manifest, Builder::Toolpack, "--engine")?;
        let sidecars = self.sidecars(manifest)?;
        let mut machines = each(engine, |content| program(manifest, content))?;
        for machine in &mut machines {
            let mut whole = machine.tree.clone();
            let engine = std::mem::take(&mut machine.tree);
            for (path, text) in &sidecars {
                let added = whole.file(path, text.as_bytes(), FileMode::Data);
                added.and_then(|()| machine.tree.file(path, text.as_bytes(), FileMode::Data)).map_err(impossible)?;
            }
            // A layer of its own: it is the same in all toolpacks, and kept once.
            machine.below.push(self.into.layer(layout, &engine)?);
        }
        Ok(machines)
    }

    /// The manifest as its runtime hash sees it, without a digest, so that pinning the image does not change the image; and the
    /// toolspec as it was reviewed.
    fn sidecars(&self, manifest: &Manifest) -> Result<[(String, String); 2], Failure> {
        let path = self.made_of.toolspec.clone().unwrap_or_else(|| self.manifest.with_extension("toolspec.yaml"));
        let text = files::read(&path)?;
        let (report, spec): (_, Option<Toolspec>) =
            gigmcp_registry::Linter::default().toolspec(&beside(manifest), &text, Some(manifest));
        if spec.is_none() || report.count(Severity::Error) > 0 {
            return Err(Failure::refused(format!("the toolspec {} is refused", path.display()))
                .because(report.to_string())
                .advice("`registryctl lint-toolspecs` shows this too"));
        }
        let text = String::from_utf8(text).map_err(|error| Failure::file("the toolspec is no text").because(error))?;
        let entrypoint = &manifest.image.entrypoint;
        let directory = entrypoint.rfind('/').map_or("", |slash| &entrypoint[..slash]);
        let zero = pin_to(manifest, unbuilt());
        Ok([(format!("{directory}/manifest.yaml"), zero.to_yaml()), (format!("{directory}/toolspec.yaml"), text)])
    }

    fn print(
        &self,
        output: &Output,
        manifest: &Manifest,
        tag: &str,
        (digest, parts): (Digest, &[ImageParts]),
        notes: &Notes,
    ) -> Result<ExitCode, Failure> {
        let layout = self.into.output.display().to_string();
        let platforms: Vec<_> = parts.iter().map(|parts| parts.platform.to_string()).collect();
        let bytes: u64 = parts.iter().flat_map(|parts| &parts.layers).map(|layer| layer.bytes).sum();
        let pinned = self.pin.as_ref().map(|path| path.display().to_string());
        let mut lines = vec![
            format!("{digest}"),
            format!("{} {} for {}, {bytes} bytes of layers", manifest.name, manifest.version, platforms.join(", ")),
            format!("{layout} has it as {tag}"),
        ];
        lines.extend(
            notes
                .info
                .iter()
                .map(|info| format!("stands on {} {} of Debian {}", info.runtime, info.version, info.suite)),
        );
        lines.extend(notes.left_out.iter().map(|path| format!("left out: {path}")));
        lines.extend(notes.not_run.iter().map(|package| format!("install script not run: {package}")));
        lines.extend(pinned.iter().map(|path| format!("{path} has its digest")));
        output.print(
            &json!({
                "digest": digest.to_string(), "layout": layout, "tag": tag, "platforms": platforms,
                "layerBytes": bytes, "pinned": pinned,
                "base": notes.info.as_ref().map(packages), "leftOut": notes.left_out, "notRun": notes.not_run,
            }),
            &lines,
        )
    }
}

impl Into {
    pub(crate) fn layout(&self) -> Result<Layout, Failure> {
        Layout::open(&self.output).map_err(|error| {
            Failure::file(format!("{} cannot be used as a layout", self.output.display()))
                .because(error)
                .advice("name a directory that is not there, is empty, or is an OCI layout")
        })
    }

    pub(crate) fn layer(&self, layout: &Layout, tree: &Tree) -> Result<LayerBlob, Failure> {
        let compression = match self.compression {
            Compress::Zstd => Compression::Zstd,
            Compress::Gzip => Compression::Gzip,
        };
        let made = tree.layer(compression, self.source_date_epoch);
        let made = made.map_err(|error| Failure::refused("the layer cannot be made").because(error))?;
        let layer = made.layer.clone();
        layout.add(made);
        Ok(layer)
    }
}

pub(crate) fn unwritable(layout: &Layout, error: LayoutError) -> Failure {
    Failure::file(format!("the layout {} cannot be written", layout.path().display())).because(error)
}

pub(crate) fn must_be(manifest: &Manifest, builder: Builder, option: &str) -> Result<(), Failure> {
    let said = manifest.image.builder.unwrap_or(Builder::GoStatic);
    if said == builder {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{option} is for manifests with `builder: {}`, this one has {}",
        builder.as_str(),
        said.as_str()
    ))
    .advice("correct `image.builder`, or build it from what it says"))
}

fn each(files: &[PathBuf], tree: impl Fn(Vec<u8>) -> Result<Tree, TreeError>) -> Result<Vec<Machine>, Failure> {
    let mut machines: Vec<Machine> = Vec::new();
    for path in files {
        let content = files::read_program(path)?;
        let platform = static_binary(&content).map_err(|fault| {
            Failure::refused(format!("{} cannot be the program of an image", path.display()))
                .because(fault)
                .advice("link it statically: `-C target-feature=+crt-static` for Rust, `CGO_ENABLED=0` for Go")
        })?;
        if machines.iter().any(|machine| machine.platform == platform) {
            return Err(Failure::refused(format!("{} is a second program for {platform}", path.display())));
        }
        let tree = tree(content).map_err(impossible)?;
        machines.push(Machine { platform, below: Vec::new(), tree });
    }
    Ok(machines)
}

fn impossible(error: TreeError) -> Failure {
    Failure::refused("the image cannot be made").because(error)
}

fn program(manifest: &Manifest, content: Vec<u8>) -> Result<Tree, TreeError> {
    let mut tree = Tree::new();
    tree.file(&manifest.image.entrypoint, content, FileMode::Executable)?;
    Ok(tree)
}

/// Where a toolspec would lie in a registry, whatever it is called here.
fn beside(manifest: &Manifest) -> String {
    format!("{}/{}.toolspec.yaml", manifest.name, manifest.version)
}

/// The digest of what is not built yet.
fn unbuilt() -> Digest {
    format!("sha256:{}", "0".repeat(64)).parse().expect("64 digits")
}

fn pin_to(manifest: &Manifest, digest: Digest) -> Manifest {
    let mut manifest = manifest.clone();
    manifest.image.digest = digest;
    manifest
}

/// The same text with another digest, comments and all, where that can be done; otherwise the manifest written anew.
fn pinned(text: &[u8], manifest: &Manifest, digest: Digest) -> Result<String, Failure> {
    let expected = pin_to(manifest, digest);
    let old = manifest.image.digest.to_string();
    let replaced = str::from_utf8(text).ok().filter(|text| text.matches(&old).count() == 1);
    let replaced = replaced.map(|text| text.replace(&old, &digest.to_string()));
    let is_it = |text: &String| Manifest::from_yaml(text.as_bytes()).is_ok_and(|read| read == expected);
    Ok(replaced.filter(is_it).unwrap_or_else(|| expected.to_yaml()))
}

/// A name as layouts have it: words with `-._:@+` between them, and slashes between those.
///
/// Source: OCI image specification 1.1, annotations.md.
fn tag(text: &str) -> Result<String, String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric();
    let is_part = |part: &str| {
        let ends = [part.bytes().next(), part.bytes().next_back()];
        ends.iter().all(|end| end.is_some_and(is_word))
            && part.bytes().all(|byte| is_word(byte) || b"-._:@+".contains(&byte))
    };
    let is_tag = text.len() <= 128 && text.split('/').all(is_part);
    is_tag.then(|| text.to_owned()).ok_or_else(|| "write words with -._:@+ or / between them".to_owned())
}

/// `amd64`, `arm64`, or with `linux/` before.
pub(crate) fn platform(text: &str) -> Result<Platform, String> {
    let all = [Platform::Amd64, Platform::Arm64].into_iter();
    let name = text.strip_prefix("linux/").unwrap_or(text);
    all.into_iter().find(|platform| platform.architecture() == name).ok_or_else(|| "write amd64 or arm64".to_owned())
}

pub(crate) fn this_machine() -> Result<Platform, Failure> {
    Platform::of_this_machine()
        .ok_or_else(|| Failure::refused("no images are made for this machine").advice("say --platform"))
}
