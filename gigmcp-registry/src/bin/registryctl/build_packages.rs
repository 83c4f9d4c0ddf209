//! Images of npm and PyPI packages.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use gigmcp_registry::build::{
    Base, BaseReference, BaseRuntime, FetchError, Fetcher, Layout, NpmLock, OwnFiles, PackageRegistry, Plan,
    Requirements, RuntimeInfo, Tree,
};
use gigmcp_registry::{Builder, Manifest, Platform};

use crate::build::{Into, Machine, Notes, must_be, platform, this_machine};
use crate::build_base::{Mirror, from_debian};
use crate::failure::Failure;
use crate::{files, runtime};

#[derive(Args)]
pub(crate) struct Packages {
    /// A directory with package.json, package-lock.json and perhaps files of one's own, for `builder: node`
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) npm: Option<PathBuf>,
    /// A directory with requirements.txt, with hashes, and perhaps files of one's own, for `builder: python`
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) python: Option<PathBuf>,
    /// What the image stands on: LAYOUT@sha256:DIGITS of `registryctl build-base`
    #[arg(long, value_name = "IMAGE", conflicts_with = "base_debian")]
    base: Option<BaseReference>,
    /// Or a suite of Debian, of which a base is made now
    #[arg(long, value_name = "SUITE")]
    base_debian: Option<String>,
    #[command(flatten)]
    mirror: Mirror,
    /// The machine: amd64 or arm64; this one, unless given
    #[arg(long, value_name = "MACHINE", value_parser = platform)]
    platform: Option<Platform>,
    #[command(flatten)]
    registry: Registries,
}

/// Where packages come from: nothing else can be reached.
#[derive(Args)]
struct Registries {
    /// The npm registry or a mirror of it, over HTTPS
    #[arg(long, value_name = "URL", default_value = "https://registry.npmjs.org")]
    npm_registry: String,
    /// The index of Python packages or a mirror of it, over HTTPS
    #[arg(long, value_name = "URL", default_value = "https://pypi.org/simple")]
    pypi_index: String,
    /// Another host that the index has its files at; PyPI's own is known
    #[arg(long, value_name = "HOST")]
    pypi_files: Vec<String>,
    /// Trust these certificate authorities too, in PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Connect to this address, whatever network it is in, and not to what the hosts' names resolve to; certificates are
    /// verified all the same. Without it, only public addresses are dialled
    #[arg(long, value_name = "ADDRESS:PORT")]
    danger_dial: Option<SocketAddr>,
}

impl Packages {
    /// The layer's files, on what is below them.
    pub(crate) fn machine(
        &self,
        manifest: &Manifest,
        into: &Into,
        layout: &Layout,
    ) -> Result<(Machine, Notes), Failure> {
        match (&self.npm, &self.python) {
            (Some(directory), _) => {
                must_be(manifest, Builder::Node, "--npm")?;
                // What is wrong with the lock file is told before anything is fetched.
                let lock = self.lock(directory)?;
                self.has_one_program(&lock, manifest)?;
                let (platform, below, info) = self.below(BaseRuntime::Node, into, layout)?;
                let plan = Plan::npm(&lock, &self.npm_registry()?, platform, "app")
                    .map_err(|error| Failure::refused("the lock file is refused").because(error))?;
                let mut tree = self.registry.fetch(&plan)?;
                let mut notes = Notes { info: Some(info), ..Notes::default() };
                notes.not_run.extend(lock.install_scripts().map(str::to_owned));
                add_own(&mut tree, directory, &mut notes)?;
                has_program(&mut tree, manifest, "/usr/bin/node")?;
                Ok((Machine { platform, below, tree }, notes))
            }
            (None, Some(directory)) => {
                must_be(manifest, Builder::Python, "--python")?;
                let requirements = requirements(directory)?;
                let (platform, below, info) = self.below(BaseRuntime::Python, into, layout)?;
                let interpreter = info
                    .interpreter(platform)
                    .map_err(|error| Failure::refused("the base is refused").because(error))?;
                let index =
                    PackageRegistry::python(&self.registry.pypi_index, self.registry.pypi_files.iter().cloned())
                        .map_err(|error| Failure::refused("the index is refused").because(error))?;
                let mut tree = self.registry.fetch(&Plan::python(&requirements, &index, &interpreter))?;
                let mut notes = Notes { info: Some(info), ..Notes::default() };
                add_own(&mut tree, directory, &mut notes)?;
                has_program(&mut tree, manifest, "/usr/bin/python3")?;
                Ok((Machine { platform, below, tree }, notes))
            }
            (None, None) => Err(Failure::refused("there is nothing to build an image of")),
        }
    }

    /// A dependency of a dependency must not become the server by a program of the same name.
    fn has_one_program(&self, lock: &NpmLock, manifest: &Manifest) -> Result<(), Failure> {
        let machine = self.platform.map_or_else(this_machine, Ok)?;
        let entrypoint = &manifest.image.entrypoint;
        match &*lock.rivals(machine, entrypoint).collect::<Vec<_>>() {
            [] | [_] => Ok(()),
            rivals => Err(Failure::refused(format!("{entrypoint} is a program of {}", rivals.join(" and of ")))
                .advice("name the file of the one that is meant in `image.entrypoint`, below /app/node_modules")),
        }
    }

    fn npm_registry(&self) -> Result<PackageRegistry, Failure> {
        PackageRegistry::npm(&self.registry.npm_registry)
            .map_err(|error| Failure::refused("the npm registry is refused").because(error))
    }

    fn lock(&self, directory: &Path) -> Result<NpmLock, Failure> {
        let read = |name: &str| files::read(&directory.join(name));
        let lock = NpmLock::parse(&read("package.json")?, &read("package-lock.json")?, &self.npm_registry()?);
        lock.map_err(|error| {
            Failure::refused(format!("the lock file of {} is refused", directory.display()))
                .because(error)
                .advice("every package must come from the registry, with its integrity")
        })
    }

    /// The base's layers, in the layout already.
    fn below(
        &self,
        runtime: BaseRuntime,
        into: &Into,
        layout: &Layout,
    ) -> Result<(Platform, Vec<gigmcp_registry::build::LayerBlob>, RuntimeInfo), Failure> {
        let machine = self.platform.map_or_else(this_machine, Ok)?;
        if let Some(suite) = &self.base_debian {
            let (layer, info) = from_debian(runtime, suite, &self.mirror, machine, into, layout)?;
            return Ok((machine, vec![layer], info));
        }
        let Some(reference) = &self.base else {
            return Err(Failure::refused(format!("an image of packages stands on a base with {runtime}"))
                .advice(format!("make one with `registryctl build-base {runtime}` and name it with --base, or say --base-debian trixie")));
        };
        let refused = || Failure::refused("the base is refused");
        let base = Base::copy(reference, machine, layout).map_err(|error| refused().because(error))?;
        if base.info.runtime != runtime {
            return Err(refused().because(format!("it has {}, and not {runtime}", base.info.runtime)));
        }
        Ok((machine, base.layers, base.info))
    }
}

impl Registries {
    /// In a sandbox, in which this program is started once more.
    fn fetch(&self, plan: &Plan) -> Result<Tree, Failure> {
        let program =
            std::env::current_exe().map_err(|source| Failure::file("this program is not found").because(source))?;
        let mut fetcher = Fetcher::new(program, [crate::STEP.to_owned()]);
        if let Some(path) = &self.ca {
            fetcher = fetcher.roots_pem(&files::read(path)?);
        }
        if let Some(address) = self.danger_dial {
            fetcher = fetcher.danger_dial(address);
        }
        let runtime = runtime()?;
        let fetched = runtime.block_on(fetcher.fetch(plan));
        // A thread may still wait for a name.
        runtime.shutdown_background();
        fetched.map_err(|error| {
            let failure = match &error {
                FetchError::Packages { .. } => Failure::refused("the packages are refused, or could not be fetched"),
                _ => Failure::file("the packages could not be fetched"),
            };
            // Of the proxy's answers, the one that the operator can do something about.
            let is_private = matches!(&error, FetchError::Packages { refused, .. } if refused.iter().any(|one| one.ends_with("address-class")));
            match is_private {
                true => failure.because(error).advice("a registry on a network of your own is named with --danger-dial ADDRESS:PORT"),
                false => failure.because(error),
            }
        })
    }
}

fn requirements(directory: &Path) -> Result<Requirements, Failure> {
    let path = directory.join("requirements.txt");
    let refused = || Failure::refused(format!("{} is refused", path.display()));
    let text = String::from_utf8(files::read(&path)?).map_err(|error| refused().because(error))?;
    Requirements::parse(&text).map_err(|error| {
        refused()
            .because(error)
            .advice("`uv pip compile --generate-hashes` and `pip-compile --generate-hashes` write such files")
    })
}

/// One's own files, beside the packages.
fn add_own(tree: &mut Tree, directory: &Path, notes: &mut Notes) -> Result<(), Failure> {
    let refused = || Failure::refused(format!("{} is not put into the image", directory.display()));
    let own = OwnFiles::read(directory, "app").map_err(|error| refused().because(error))?;
    notes.left_out.extend(own.left_out);
    tree.merge(own.tree).map_err(|error| refused().because(error))
}

/// What the manifest starts must be there.
fn has_program(tree: &mut Tree, manifest: &Manifest, runtime: &str) -> Result<(), Failure> {
    let entrypoint = &manifest.image.entrypoint;
    tree.use_runtime_of_image(entrypoint);
    if entrypoint == runtime || tree.has_program(entrypoint) {
        return Ok(());
    }
    let is_offered = |path: &&str| path.starts_with("app/node_modules/.bin/") || path.starts_with("usr/local/bin/");
    let offered: Vec<_> = tree.paths().filter(is_offered).map(|path| format!("/{path}")).collect();
    Err(Failure::refused(format!("the image has no program at {entrypoint}")).advice(format!(
        "`image.entrypoint` is a file of one's own that can be executed, {runtime}, or one of: {}",
        offered.join(", ")
    )))
}
