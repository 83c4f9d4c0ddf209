//! What the suite wrote into its output directory.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path, path::PathBuf};

use serde_json::Value;

use crate::suite::BY_NAME;

/// One run: a set of requirements on its wire, with the fixture in one mode.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) requirements: &'static str,
    pub(crate) mode: &'static str,
    /// Scenarios that count, in the order of the requirements.
    pub(crate) required: Vec<String>,
    /// What was run, by its name.
    pub(crate) scenarios: BTreeMap<String, Scenario>,
}

/// One scenario's checks.
#[derive(Debug, Default)]
pub(crate) struct Scenario {
    pub(crate) passed: usize,
    /// What failed and why. A warning counts as a failure, as it does for the suite's own lists.
    pub(crate) failed: Vec<String>,
    /// What the suite has skipped, or only told, and why.
    pub(crate) uncounted: Vec<String>,
}

impl Scenario {
    /// Whether it passes: something was checked, and nothing failed.
    pub(crate) fn passes(&self) -> bool {
        self.failed.is_empty() && self.passed > 0
    }
}

impl Results {
    pub(crate) fn read(output: &Path, suite: &Path, requirements: &'static str, mode: &'static str) -> Self {
        let mut scenarios = played(output);
        let file = suite.join("requirements").join(format!("{requirements}.yaml"));
        // Of older revisions there is no such file, and everything counts.
        let required = match fs::read_to_string(file) {
            Ok(file) => server_list(&file),
            Err(_) => scenarios.keys().cloned().collect(),
        };
        // What the suite could not even run has no directory.
        for name in &required {
            let not_run = Scenario { passed: 0, failed: vec!["not run".to_owned()], uncounted: Vec::new() };
            scenarios.entry(name.clone()).or_insert(not_run);
        }
        Self { requirements, mode, required, scenarios }
    }

    /// What was run once more counts instead of what was run before.
    pub(crate) fn again(&mut self, output: &Path) {
        self.scenarios.extend(played(output));
    }

    /// Required scenarios that pass.
    pub(crate) fn passing(&self) -> usize {
        self.required.iter().filter(|name| self.scenarios[*name].passes()).count()
    }

    /// Every check that passed in what the suite runs of itself, whether a scenario counts or not; and in what is run by name.
    pub(crate) fn checks(&self) -> [usize; 2] {
        [false, true].map(|by_name| {
            let counted = self.scenarios.iter().filter(|(name, _)| BY_NAME.contains(&name.as_str()) == by_name);
            counted.map(|(_, scenario)| scenario.passed).sum()
        })
    }

    /// The list of what fails, in the suite's format.
    pub(crate) fn expected_failures(&self) -> String {
        let failing: Vec<_> = self.required.iter().filter(|name| !self.scenarios[*name].passes()).collect();
        if failing.is_empty() {
            return "server: []\n".to_owned();
        }
        failing.iter().fold("server:\n".to_owned(), |mut list, name| {
            writeln!(list, "  - {name}").unwrap();
            list
        })
    }

    pub(crate) fn expected_file(&self) -> PathBuf {
        Self::expected_path(self.requirements, self.mode)
    }

    pub(crate) fn expected_path(requirements: &str, mode: &str) -> PathBuf {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
        directory.join(format!("expected-{requirements}-{mode}.yml"))
    }

    /// Everything that failed, for a person.
    pub(crate) fn failures(&self) -> String {
        let mut text = String::new();
        for (name, scenario) in &self.scenarios {
            for failure in &scenario.failed {
                let failure: String = failure.chars().take(600).collect();
                writeln!(text, "{name}: {failure}").unwrap();
            }
        }
        text
    }
}

/// The scenarios in an output directory, by name.
fn played(output: &Path) -> BTreeMap<String, Scenario> {
    let played = fs::read_dir(output).unwrap().map(|entry| {
        let directory = entry.unwrap();
        let name = directory.file_name().into_string().unwrap();
        let checks = fs::read_to_string(directory.path().join("checks.json")).unwrap_or_else(|_| "[]".to_owned());
        (scenario_of(&name).to_owned(), Scenario::of(&serde_json::from_str(&checks).unwrap()))
    });
    played.collect()
}

impl Scenario {
    fn of(checks: &Value) -> Self {
        let mut scenario = Self::default();
        for check in checks.as_array().unwrap() {
            match check["status"].as_str().unwrap() {
                "SUCCESS" => scenario.passed += 1,
                "FAILURE" | "WARNING" => {
                    scenario.failed.push(format!("{}: {}", check["id"], check["errorMessage"]));
                }
                // What it saw on the wire, which is not the same every time.
                _ if TRACES.iter().any(|trace| check["id"].as_str().unwrap().starts_with(trace)) => {}
                status => {
                    let why = check["errorMessage"].as_str().or(check["description"].as_str()).unwrap_or_default();
                    let (id, why) = (check["id"].as_str().unwrap(), why.replace(['\n', '|'], " "));
                    scenario.uncounted.push(format!("`{id}` ({}): {why}", status.to_lowercase()));
                }
            }
        }
        scenario
    }
}

/// What ids begin with that are no checks.
const TRACES: [&str; 3] = ["incoming-", "outgoing-", "stream-"];

/// A directory is named `server-SCENARIO-TIME`, and a time begins with its year.
fn scenario_of(directory: &str) -> &str {
    let name = directory.strip_prefix("server-").unwrap_or(directory);
    let time = name.rmatch_indices("-20").map(|(at, _)| at).find(|at| name[*at..].contains('T'));
    time.map_or(name, |at| &name[..at])
}

/// The entries of `server:` in a file of requirements.
fn server_list(yaml: &str) -> Vec<String> {
    let lines = yaml.lines().skip_while(|line| *line != "server:").skip(1);
    let entries = lines.map_while(|line| line.trim().strip_prefix("- ").or((line.trim().is_empty()).then_some("")));
    entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}
