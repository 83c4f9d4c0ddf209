//! What can be listed, as JSON that is sent as it is written here.

use serde_json::{Value, value::RawValue};

use crate::{outcome::Stop, wire::on_one_line};

/// The lists of one server.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) tools: Vec<String>,
    pub(crate) prompts: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) templates: Vec<String>,
}

impl Catalogue {
    pub(crate) fn of_the_suite() -> Self {
        Self {
            tools: items(include_str!("catalogue/tools.json")),
            prompts: items(include_str!("catalogue/prompts.json")),
            resources: items(include_str!("catalogue/resources.json")),
            templates: items(include_str!("catalogue/templates.json")),
        }
    }

    pub(crate) fn of_the_noisy() -> Self {
        Self {
            tools: items(include_str!("catalogue/noisy_tools.json")),
            prompts: items(include_str!("catalogue/noisy_prompts.json")),
            resources: items(include_str!("catalogue/noisy_resources.json")),
            templates: Vec::new(),
        }
    }
}

/// One page of a list, as the members of a result.
pub(crate) fn page(list: &str, items: &[String], cursor: Option<&Value>) -> Result<String, Stop> {
    let start = match cursor {
        None => 0,
        Some(cursor) => {
            let start = cursor.as_str().and_then(|cursor| cursor.strip_prefix("after-")?.parse().ok());
            start.filter(|start| *start < items.len()).ok_or_else(|| Stop::invalid("unknown cursor"))?
        }
    };
    let end = items.len().min(start + PAGE);
    let next = if end < items.len() { format!(r#","nextCursor":"after-{end}""#) } else { String::new() };
    Ok(format!(r#"{{"{list}":[{}]{next}}}"#, items[start..end].join(",")))
}

/// The items of a JSON array, each as it was written.
fn items(array: &str) -> Vec<String> {
    let items: Vec<&RawValue> = serde_json::from_str(array).expect("the file beside this one is a JSON array");
    items.into_iter().map(|item| on_one_line(item.get())).collect()
}

/// Small, so that every list of tools has more than one page.
const PAGE: usize = 10;
