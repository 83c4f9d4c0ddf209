//! `catalog list|search|show`.

use clap::Subcommand;
use gigmcp_registry::{Index, Manifest, Values};
use serde_json::json;

use crate::{
    host::Host,
    install::{Catalog, CatalogError, Entitlements, Freshness, ServerReference, words},
    output::{Failure, Output, columns, whole},
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
            let versions: Vec<_> = index.servers[name].versions.keys().rev().map(ToString::to_string).collect();
            let document = json!({
                "entitlements": entitlements, "versions": versions,
                "manifest": serde_json::from_str::<serde_json::Value>(&manifest.to_json())?,
            });
            out.print(&document, |_| {
                let mut lines = entitlements.lines();
                lines.push(format!("  {:<12} {}", "versions", versions.join(", ")));
                lines
            })
        }
    }
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
    let wanted: Vec<_> = latest.filter(|manifest| is_wanted(manifest)).collect();
    let listed = wanted.iter().map(|manifest| {
        json!({
            "name": manifest.name.as_str(), "version": manifest.version.to_string(), "tier": manifest.tier.as_str(),
            "display_name": manifest.display_name, "description": manifest.description,
            "category": manifest.category.map(|category| category.as_str()),
        })
    });
    out.print(&listed.collect::<Vec<_>>(), |_| {
        let rows = wanted.iter().map(|manifest| {
            let title = manifest.display_name.as_ref().or(manifest.description.as_ref());
            let category = manifest.category.map_or("", |category| category.as_str());
            vec![
                manifest.name.to_string(),
                manifest.version.to_string(),
                manifest.tier.as_str().to_owned(),
                category.to_owned(),
                title.cloned().unwrap_or_default(),
            ]
        });
        columns(&["NAME", "VERSION", "TIER", "CATEGORY", "TITLE"], &rows.collect::<Vec<_>>())
    })
}
