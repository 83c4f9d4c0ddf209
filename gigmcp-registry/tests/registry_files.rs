//! What a registry's repository takes from `deploy/registry/`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/registry")
}

/// The workflows by name, as text and as what they say.
fn workflows() -> Vec<(String, String, Map<String, Value>)> {
    let listed = std::fs::read_dir(directory().join("workflows")).expect("a directory");
    let workflows = listed.map(|entry| {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let value: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let Value::Object(workflow) = value else { panic!("{name} is no mapping") };
        (name, text, workflow)
    });
    workflows.collect()
}

fn jobs(workflow: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    workflow["jobs"].as_object().into_iter().flatten()
}

fn steps(job: &Value) -> impl Iterator<Item = &Value> {
    job["steps"].as_array().into_iter().flatten()
}

#[test]
fn actions_are_pinned_by_commit() {
    let mut seen = 0;
    for (name, _, workflow) in workflows() {
        for uses in jobs(&workflow).flat_map(|(_, job)| steps(job)).filter_map(|step| step["uses"].as_str()) {
            assert!(is_pinned(uses), "{name}: {uses}");
            seen += 1;
        }
    }
    assert!(seen >= 10);
    assert!(!is_pinned("actions/checkout@v5") && !is_pinned("actions/checkout"));
}

fn is_pinned(uses: &str) -> bool {
    let commit = uses.split_once('@').map(|(_, commit)| commit).unwrap_or_default();
    commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn nothing_is_permitted_that_a_job_does_not_name() {
    for (name, _, workflow) in workflows() {
        assert_eq!(workflow["permissions"], serde_json::json!({}), "{name}");
        for (job, value) in jobs(&workflow) {
            let permissions = value["permissions"].as_object().unwrap_or_else(|| panic!("{name}/{job}"));
            let writes: Vec<_> = permissions.iter().filter(|(_, may)| *may == "write").map(|(what, _)| what).collect();
            let allowed: &[&str] = match (name.as_str(), job.as_str()) {
                ("lint.yml", "lint") => &["security-events"],
                ("images.yml", "image") => &["packages"],
                ("publish.yml", "release") => &["contents"],
                ("publish.yml", "site") => &["pages", "id-token"],
                _ => &[],
            };
            assert_eq!(writes, allowed, "{name}/{job}");
        }
    }
}

/// What others write, such as the title of a pull request, is never a part of a command; nor is a secret.
#[test]
fn no_expression_is_in_a_command() {
    for (name, _, workflow) in workflows() {
        for run in jobs(&workflow).flat_map(|(_, job)| steps(job)).filter_map(|step| step["run"].as_str()) {
            assert!(!run.contains("${{"), "{name}: {run}");
        }
    }
}

#[test]
fn a_key_is_a_secret_of_one_job_and_comes_on_standard_input() {
    let (_, text, publish) = workflows().into_iter().find(|(name, ..)| name == "publish.yml").expect("publish.yml");
    let holders: Vec<_> = jobs(&publish).filter(|(_, job)| job.to_string().contains("secrets.INDEX_KEY")).collect();
    assert_eq!(holders.len(), text.matches("secrets.INDEX_KEY").count());
    let environments: Vec<_> = holders.iter().filter_map(|(_, job)| job["environment"].as_str()).collect();
    assert_eq!(environments, ["index-key-1", "index-key-2"]);
    for (_, job) in holders {
        let run = steps(job).find(|step| step["env"]["KEY"].is_string()).and_then(|step| step["run"].as_str());
        assert!(run.is_some_and(|run| run.contains("printf '%s\\n' \"$KEY\" | ")), "{run:?}");
    }
}
