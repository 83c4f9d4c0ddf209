//! `search_tools`: which tools there are for something.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    MetaTool, arguments, failed, first_sentence,
    index::{Found, Index},
    shown,
};
use crate::{name::ServerId, object::Members, upstream::Outcome};

/// What is looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    query: String,
    server: Option<String>,
    #[serde(default = "ten")]
    limit: usize,
    #[serde(default)]
    detail: Detail,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Detail {
    Name,
    #[default]
    Summary,
    Schema,
}

fn ten() -> usize {
    10
}

impl Query {
    pub(crate) fn of(params: Option<&RawValue>) -> Result<Self, String> {
        let query: Self = arguments(MetaTool::Search, params)?;
        match query.limit {
            1..=MAX_LIMIT => Ok(query),
            _ => Err(format!("limit is 1 to {MAX_LIMIT}.")),
        }
    }

    /// What was found. `is_read_only` says which tools are known to change nothing, `missing` why servers could not be searched.
    pub(crate) fn answer(
        &self,
        index: &Index,
        is_read_only: impl Fn(Found<'_>) -> bool,
        missing: &[(ServerId, String)],
    ) -> Outcome {
        let server = match self.server.as_deref().map(|name| known(index, missing, name)).transpose() {
            Ok(server) => server,
            Err(text) => return failed(&text),
        };
        let (found, all) = index.search(&self.query, server.as_ref(), self.limit);
        let mut lines = vec![match (found.len(), all) {
            (0, _) => nothing(index),
            (shown, all) if shown < all => format!("{shown} of {all} tools that fit, the best first:"),
            (1, _) => "1 tool fits:".to_owned(),
            (shown, _) => format!("{shown} tools fit, the best first:"),
        }];
        lines.extend(found.into_iter().map(|found| self.line(found, is_read_only(found))));
        for (name, why) in missing.iter().filter(|(name, _)| server.as_ref().is_none_or(|server| server == name)) {
            lines.push(format!("Tools of {name} could not be searched: {why}."));
        }
        shown([&*lines.join("\n")])
    }

    fn line(&self, Found { tool, .. }: Found<'_>, is_read_only: bool) -> String {
        let mark = if is_read_only { " [read-only]" } else { "" };
        match self.detail {
            Detail::Schema => tool.definition.get().to_owned(),
            Detail::Name => format!("{}{mark}", tool.exposed),
            Detail::Summary => match summary(&tool.definition) {
                text if text.is_empty() => format!("{}{mark}", tool.exposed),
                text => format!("{}{mark}: {text}", tool.exposed),
            },
        }
    }
}

/// A tool's description, or else its title, in one sentence.
fn summary(definition: &RawValue) -> String {
    let Ok(members) = Members::of(definition) else { return String::new() };
    let text = members.string("description").filter(|text| !text.trim().is_empty());
    first_sentence(&text.or_else(|| members.string("title")).unwrap_or_default(), MAX_SUMMARY)
}

fn known(index: &Index, missing: &[(ServerId, String)], name: &str) -> Result<ServerId, String> {
    let servers = || index.servers().map(|(server, _)| server).chain(missing.iter().map(|(server, _)| server));
    servers().find(|server| server.as_str() == name).cloned().ok_or_else(|| {
        let names: Vec<&str> = servers().map(ServerId::as_str).collect();
        format!("There is no server of that name. Servers: {}.", names.join(", "))
    })
}

fn nothing(index: &Index) -> String {
    let servers: Vec<String> = index.servers().map(|(server, tools)| format!("{server} ({tools})")).collect();
    format!(
        "No tool fits; try other words. An empty query lists tools by name. Servers and their tools: {}.",
        servers.join(", ")
    )
}

const MAX_LIMIT: usize = 50;
const MAX_SUMMARY: usize = 160;
