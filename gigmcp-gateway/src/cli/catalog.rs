//! `catalog list|search|show`.

use clap::Subcommand;
use gigmcp_registry::{Index, Manifest, Values};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    host::Host,
    install::{Catalog, CatalogError, Entitlements, Freshness, ServerReference, words},
    output::{Failure, Output, columns, harmless, whole},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the servers of the registry
    List,
    /// List those whose name, title, description, category or tools have this in them
    Search {
        /// What to look for; case does not count
        text: String,
    },
    /// Show what a server would be allowed, and what one agrees to by installing it
    Show {
        /// NAME, NAME@VERSION or NAME@sha256:HEX
        server: ServerReference,
    },
}

/// Does what was asked.
pub(crate) async fn run(host: Host, command: Command, out: &Output) -> Result<(), Failure> {
    let catalog = fresh(&host).await?;
    let index = catalog.index().ok_or(CatalogError::NotSet)?;
    match command {
        Command::List => list(index, |_| true, out),
        Command::Search { text } => {
            let text = text.to_lowercase();
            list(index, |manifest| words(manifest).any(|word| word.to_lowercase().contains(&text)), out)
        }
        Command::Show { server } => {
            let manifest = server.find(index)?;
            let entitlements = Entitlements::of(manifest, &Values::default());
            let name = &manifest.name;
            let versions = index.servers[name].versions.keys().rev().map(ToString::to_string).collect();
            let manifest = Some(serde_json::from_str(&manifest.to_json())?);
            print_shown(&Shown { entitlements, versions, manifest }, out)
        }
    }
}

/// A server of the registry.
#[derive(Deserialize, Serialize)]
pub(super) struct Shown {
    entitlements: Entitlements,
    /// Newest first.
    versions: Vec<String>,
    /// Not over the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<Value>,
}

pub(super) fn print_shown(shown: &Shown, out: &Output) -> Result<(), Failure> {
    out.print(shown, |Shown { entitlements, versions, .. }| {
        let mut lines = entitlements.lines();
        lines.push(harmless(&format!("  {:<12} {}", "versions", versions.join(", "))));
        lines
    })
}

/// A server of the registry, in a list.
#[derive(Deserialize, Serialize)]
pub(super) struct Listed {
    name: String,
    /// The latest.
    version: String,
    tier: String,
    display_name: Option<String>,
    description: Option<String>,
    category: Option<String>,
}

/// The catalogue, asked for now. If the registry gives nothing that can be believed, the last good one, with a warning.
pub(super) async fn fresh(host: &Host) -> Result<Catalog, Failure> {
    let mut catalog = Catalog::open(host.settings())?;
    if let Freshness::LastGood(why) = catalog.refresh().await? {
        tracing::warn!("the registry gives no index that can be used, so the last good one is: {}", whole(&why));
    }
    Ok(catalog)
}

fn list(index: &Index, is_wanted: impl Fn(&Manifest) -> bool, out: &Output) -> Result<(), Failure> {
    let latest = index.servers.keys().filter_map(|name| index.latest(name));
    let wanted = latest.filter(|manifest| is_wanted(manifest)).map(|manifest| Listed {
        name: manifest.name.to_string(),
        version: manifest.version.to_string(),
        tier: manifest.tier.as_str().to_owned(),
        display_name: manifest.display_name.clone(),
        description: manifest.description.clone(),
        category: manifest.category.map(|category| category.as_str().to_owned()),
    });
    print_list(&wanted.collect::<Vec<_>>(), out)
}

pub(super) fn print_list(servers: &[Listed], out: &Output) -> Result<(), Failure> {
    out.print(&servers, |servers| {
        let rows = servers.iter().map(|server| {
            let title = server.display_name.as_ref().or(server.description.as_ref());
            let category = server.category.clone().unwrap_or_default();
            let title = title.cloned().unwrap_or_default();
            vec![server.name.clone(), server.version.clone(), server.tier.clone(), category, title]
        });
        columns(&["NAME", "VERSION", "TIER", "CATEGORY", "TITLE"], &rows.collect::<Vec<_>>())
    })
}
