//! `completion/complete`.

use serde_json::{Value, json};

use crate::outcome::{Outcome, Stop};

pub(crate) fn complete(params: &Value) -> Outcome {
    let reference = &params["ref"];
    let argument = params["argument"]["name"].as_str();
    let candidates: &[&str] = match (reference["type"].as_str(), argument) {
        (Some("ref/prompt"), Some("arg1")) if reference["name"] == "prompt_with_arguments" => {
            &["paris", "park", "party"]
        }
        (Some("ref/prompt"), Some(_)) => &[],
        (Some("ref/resource"), Some("id")) if reference["uri"] == "test://template/{id}/data" => &["1", "12", "123"],
        (Some("ref/resource"), Some(_)) => &[],
        _ => return Err(Stop::invalid("`ref` or `argument` is missing or unknown")),
    };
    let typed = params["argument"]["value"].as_str().unwrap_or_default();
    let values: Vec<_> = candidates.iter().filter(|candidate| candidate.starts_with(typed)).collect();
    Ok(json!({ "completion": { "values": values, "total": values.len(), "hasMore": false } }).to_string())
}
