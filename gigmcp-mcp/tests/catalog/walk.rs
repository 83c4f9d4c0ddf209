//! Through the directories of a catalogue.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use gigmcp_mcp::toolpack::Sidecars;
use gigmcp_registry::{Builder, Manifest, Toolspec, Version};

use crate::{check::Server, recorded::Recorded};

/// What was checked, and what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) servers: usize,
    pub(crate) exchanges: usize,
    pub(crate) faults: Vec<String>,
}

/// Checks the latest version of every server that has a toolspec.
pub(crate) async fn check(catalog: &Path) -> Checked {
    let mut checked = Checked::default();
    let mut names = BTreeSet::new();
    for (name, versions) in versions(&catalog.join("manifests"), &mut checked.faults) {
        let Some((version, manifest)) = versions.into_iter().next_back() else { continue };
        names.insert(name.clone());
        let told = format!("{name} {version}");
        let beside = catalog.join(format!("manifests/{name}/{version}.toolspec.yaml"));
        if !beside.is_file() {
            if manifest.image.builder == Some(Builder::Toolpack) {
                checked.faults.push(format!("{told}: there is no toolspec beside the manifest"));
            }
            continue;
        }
        checked.servers += 1;
        match server(catalog, &name, &version, manifest, &beside) {
            Ok((sidecars, recorded)) => {
                let server = Server { told, sidecars, recorded };
                checked.exchanges += server.recorded.exchanges.len();
                checked.faults.extend(server.faults().await);
            }
            Err(fault) => checked.faults.push(format!("{told}: {fault}")),
        }
    }
    for file in files(&catalog.join("exchanges")) {
        let name = file.strip_suffix(".yaml").unwrap_or(&file);
        if !names.contains(name) {
            checked.faults.push(format!("{name}: exchanges of a server that is not there"));
        }
    }
    checked
}

/// The manifests by name and version.
fn versions(directory: &Path, faults: &mut Vec<String>) -> BTreeMap<String, BTreeMap<Version, Manifest>> {
    let mut all = BTreeMap::new();
    for name in files(directory) {
        let mut versions = BTreeMap::new();
        for file in files(&directory.join(&name)) {
            let Some(version) = file.strip_suffix(".yaml").filter(|stem| !stem.ends_with(".toolspec")) else {
                continue;
            };
            let text = fs::read(directory.join(&name).join(&file)).unwrap();
            match (version.parse(), Manifest::from_yaml(&text)) {
                (Ok(version), Ok(manifest)) => drop(versions.insert(version, manifest)),
                (Err(error), _) => faults.push(format!("{name}/{file}: {error}")),
                (_, Err(error)) => faults.push(format!("{name}/{file}: {error}")),
            }
        }
        all.insert(name, versions);
    }
    all
}

fn server(
    catalog: &Path,
    name: &str,
    version: &Version,
    manifest: Manifest,
    toolspec: &Path,
) -> Result<(Sidecars, Recorded), String> {
    let toolspec = Toolspec::from_yaml(&fs::read(toolspec).unwrap()).map_err(|error| error.to_string())?;
    let sidecars = Sidecars::new(manifest, toolspec).map_err(|error| error.to_string())?;
    let file = format!("exchanges/{name}.yaml");
    let text = fs::read_to_string(catalog.join(&file)).map_err(|_| format!("there is no {file}"))?;
    // `y` and `on` are text here as in every other document of a catalogue.
    let options = serde_saphyr::options! { strict_booleans: true };
    let recorded: Recorded =
        serde_saphyr::from_str_with_options(&text, options).map_err(|error| format!("{file}: {error}"))?;
    if recorded.name != name {
        return Err(format!("{file} is of the server {}", recorded.name));
    }
    if recorded.version != version.to_string() {
        return Err(format!("its exchanges are of version {}, and the latest is {version}", recorded.version));
    }
    if !recorded.source.starts_with("https://") {
        return Err(format!("{file} does not say where its facts come from"));
    }
    Ok((sidecars, recorded))
}

fn files(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).map(|entries| entries.collect::<Result<Vec<_>, _>>().unwrap()).unwrap_or_default();
    let mut names: Vec<_> = entries.iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
