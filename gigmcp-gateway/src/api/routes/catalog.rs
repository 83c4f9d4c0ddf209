//! The registry's servers.

use gigmcp_registry::{Manifest, Values};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{ApiError, Call, Page, Paging, Reply, Route, State, Text, page::Limit, route};
use crate::{
    install::{Entitlements, ServerReference, Which, words},
    people::{Access, ApiScope, Area, Deed, Rule},
    spec::ServerName,
};

const READ: Rule = Rule::new(Access::SignedIn, Deed::Read).with_scope(ApiScope::read(Area::Servers));

pub(super) fn routes() -> Vec<Route<State>> {
    vec![
        route(Method::GET, "/catalog", "catalog", READ)
            .summary("The servers of the registry, or those in which a text is found")
            .query::<Asked>()
            .answers(StatusCode::OK, list),
        route(Method::GET, "/catalog/{name}", "catalog_server", READ)
            .summary("What a server of the registry would be allowed, in its latest version or another")
            .path::<ServerPath>()
            .query::<With>()
            .answers(StatusCode::OK, show),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServerPath {
    name: Text<ServerName>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct With {
    version: Option<Text<gigmcp_registry::Version>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// At most so many.
    limit: Option<Limit>,
    /// What the page before gave as `next_cursor`.
    cursor: Option<String>,
    /// In the name, title, description, category or tools; case does not count.
    search: Option<String>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "CatalogServer")]
struct Item {
    name: String,
    /// The latest.
    version: String,
    tier: &'static str,
    display_name: Option<String>,
    description: Option<String>,
    category: Option<&'static str>,
}

#[derive(JsonSchema, Serialize)]
#[schemars(rename = "CatalogDetail")]
struct Detail {
    entitlements: Entitlements,
    /// Newest first.
    versions: Vec<String>,
}

async fn list(call: Call<State, (), Asked>) -> Result<Reply<Page<Item>>, ApiError> {
    let Asked { limit, cursor, search } = call.query;
    let search = search.unwrap_or_default().to_lowercase();
    let read = |index: &gigmcp_registry::Index| {
        let latest = index.servers.keys().filter_map(|name| index.latest(name));
        let wanted = latest.filter(|manifest| words(manifest).any(|word| word.to_lowercase().contains(&search)));
        Page::of(wanted.collect(), &Paging { limit, cursor }, |manifest| manifest.name.to_string(), item)
    };
    Ok(Reply::of(call.state.desk.catalog(call.state.host().settings(), read).await?))
}

async fn show(call: Call<State, ServerPath, With>) -> Result<Reply<Detail>, ApiError> {
    let which = call.query.version.as_ref().map_or(Which::Latest, |version| Which::Version(version.0));
    let reference = ServerReference { name: call.path.name.0.clone(), which };
    let read = |index: &gigmcp_registry::Index| {
        let manifest = reference.find(index)?;
        let versions = index.servers.get(&manifest.name).into_iter().flat_map(|server| server.versions.keys().rev());
        Ok(Detail {
            entitlements: Entitlements::of(manifest, &Values::default()),
            versions: versions.map(ToString::to_string).collect(),
        })
    };
    Ok(Reply::of(call.state.desk.catalog(call.state.host().settings(), read).await?))
}

fn item(manifest: &Manifest) -> Item {
    Item {
        name: manifest.name.to_string(),
        version: manifest.version.to_string(),
        tier: manifest.tier.as_str(),
        display_name: manifest.display_name.clone(),
        description: manifest.description.clone(),
        category: manifest.category.map(|category| category.as_str()),
    }
}
