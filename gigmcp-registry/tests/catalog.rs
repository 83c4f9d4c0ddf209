//! Every file of `catalog/` is held to the rules of a registry, and to each other.

#[path = "catalog/exchange.rs"]
mod exchange;
#[path = "catalog/files.rs"]
mod files;

use std::collections::{BTreeMap, BTreeSet};

use exchange::{Credential, Exchange, Recording};
use files::{Entry, catalog, entries, text};
use gigmcp_registry::{BasicPart, Builder, Denylist, Inject, Linter, Manifest, Rule, Severity, Tier, Toolspec, Values};

#[test]
fn nothing_is_to_be_said_of_any_entry() {
    let linter = Linter::new(denylist());
    let mut said = String::new();
    for entry in entries() {
        let (report, manifest) = linter.manifest(&entry.manifest_path(), text(&entry.manifest_path()).as_bytes());
        let built = manifest.as_ref().is_some_and(|manifest| manifest.image.digest.as_bytes() != &[0; 32]);
        // An image is built from an entry that is reviewed, and its digest comes with the next review.
        said.extend(worse_than_notes(&report, if built { None } else { Some(Rule::NoImage) }));
        if entry.has_toolspec {
            let (report, _) =
                linter.toolspec(&entry.toolspec_path(), text(&entry.toolspec_path()).as_bytes(), manifest.as_ref());
            said.extend(worse_than_notes(&report, None));
        }
    }
    assert!(said.is_empty(), "{said}");
}

/// The twin of the test above: what it looks for is found.
#[test]
fn something_is_said_of_an_entry_that_breaks_a_rule() {
    let entry = &entries()[0];
    let bad = text(&entry.manifest_path()).replace("tier: sealed", "tier: sealed\ndisplayname: Wrong");
    let (report, _) = Linter::new(denylist()).manifest(&entry.manifest_path(), bad.as_bytes());
    assert_eq!(worse_than_notes(&report, Some(Rule::NoImage)).len(), 1, "{report}");
}

fn worse_than_notes(report: &gigmcp_registry::Report, except: Option<Rule>) -> Vec<String> {
    let found = report.diagnostics().filter(|(_, found)| found.severity > Severity::Note && Some(found.rule) != except);
    found.map(|(path, found)| format!("{path}: {} {}: {}\n", found.rule.code(), found.field, found.message)).collect()
}

fn denylist() -> Denylist {
    Denylist::parse(&text("denylist.txt")).expect("a denylist")
}

#[test]
fn the_denylist_is_the_linters_own() {
    assert_eq!(denylist(), Denylist::default());
}

#[test]
fn a_toolspec_belongs_to_its_manifest() {
    for (entry, manifest, spec) in pairs() {
        assert_eq!(spec.check_against(&manifest), [], "{}", entry.name);
        assert_eq!((spec.schema_version, manifest.schema_version), (2, 2), "{}", entry.name);
        let listed: Vec<_> = manifest.tools.iter().map(|tool| tool.name.as_str()).collect();
        let described: Vec<_> = spec.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(described, listed, "{}: one order in both files", entry.name);
    }
}

#[test]
fn exactly_the_toolpacks_have_a_toolspec_and_exchanges() {
    let recorded: BTreeSet<_> = recordings().into_keys().collect();
    for entry in entries() {
        let is_toolpack = manifest(&entry).image.builder == Some(Builder::Toolpack);
        assert_eq!(entry.has_toolspec, is_toolpack, "{}", entry.name);
        assert_eq!(recorded.contains(&entry.name), is_toolpack, "{}", entry.name);
    }
    let names: BTreeSet<_> = entries().into_iter().map(|entry| entry.name).collect();
    assert!(recorded.is_subset(&names), "exchanges of no server: {:?}", recorded.difference(&names));
}

#[test]
fn printed_again_an_entry_is_the_same() {
    for entry in entries() {
        let manifest = manifest(&entry);
        assert_eq!(Manifest::from_yaml(manifest.to_yaml().as_bytes()).expect("valid"), manifest, "{}", entry.name);
    }
    for (entry, _, spec) in pairs() {
        assert_eq!(Toolspec::from_yaml(spec.to_yaml().as_bytes()).expect("valid"), spec, "{}", entry.name);
    }
}

/// What a server may do is what its tools do, and what changes something is off until a user switches it on.
#[test]
fn privileges_are_the_least() {
    for (entry, manifest, spec) in pairs() {
        let name = &entry.name;
        assert_eq!(manifest.tier, Tier::Sealed, "{name}");
        assert_eq!(manifest.image.entrypoint, "/app/server", "{name}");
        assert_eq!(manifest.image.reference, format!("ghcr.io/gigmcp/{name}-mcp"));
        assert!(manifest.display_name.is_some() && manifest.description.is_some() && manifest.category.is_some());
        assert!((3..=12).contains(&spec.tools.len()), "{name} has {} tools", spec.tools.len());
        for (listed, tool) in manifest.tools.iter().zip(&spec.tools) {
            assert!(tool.description.len() >= 20, "{name}/{}: models need to know when to use it", tool.name);
            let undone = ["DELETE", "PUT", "PATCH"].contains(&tool.method.as_str());
            assert!(!(listed.default && undone), "{name}/{} changes something", tool.name);
            for param in &tool.params {
                assert!(param.schema.description.is_some(), "{name}/{}: say what {} is", tool.name, param.name);
            }
        }
    }
}

#[test]
fn every_tool_is_recorded_and_so_is_an_error() {
    let recordings = recordings();
    for (entry, manifest, spec) in pairs() {
        let (name, recording) = (&entry.name, &recordings[&entry.name]);
        assert_eq!((recording.name.as_str(), recording.version.as_str()), (name.as_str(), entry.version.as_str()));
        assert!(recording.source.starts_with("https://"), "{name}");
        let tools: BTreeSet<_> = spec.tools.iter().map(|tool| tool.name.as_str()).collect();
        let recorded: BTreeSet<_> = recording.exchanges.iter().map(|exchange| exchange.tool.as_str()).collect();
        assert_eq!(recorded, tools, "{name}: tools and exchanges");
        assert!(recording.exchanges.iter().any(|exchange| exchange.result.is_error), "{name}: no error");
        for exchange in &recording.exchanges {
            fits(&format!("{name}/{}", exchange.tool), exchange, &manifest, &spec);
        }
    }
}

/// What an exchange says does not go beyond what its manifest and toolspec say.
fn fits(at: &str, exchange: &Exchange, manifest: &Manifest, spec: &Toolspec) {
    let said = exchange.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let values = Values::new(&manifest.variables, said).unwrap_or_else(|faults| panic!("{at}: {faults:?}"));
    let tool = spec.tools.iter().find(|tool| tool.name.as_str() == exchange.tool).expect("listed");
    for (name, value) in &exchange.arguments {
        let param = tool.params.iter().find(|param| param.name == *name);
        let param = param.unwrap_or_else(|| panic!("{at}: there is no parameter {name}"));
        assert!(param.schema.admits(value), "{at}: {name} cannot be {value}");
    }
    for param in tool.params.iter().filter(|param| param.required) {
        assert!(exchange.arguments.contains_key(&param.name), "{at}: {} is required", param.name);
    }
    let base = tool.base_url.as_ref().unwrap_or(&spec.base_url);
    let host = values.fill(base.host()).unwrap_or_else(|hole| panic!("{at}: {hole} has no value"));
    for (request, response) in exchange.steps().unwrap_or_else(|fault| panic!("{at}: {fault}")) {
        assert_eq!((request.method.as_str(), &request.host), (tool.method.as_str(), &host), "{at}");
        assert!(is_allowed(manifest, &values, &host, &request.method, &request.path), "{at}: beyond the entitlements");
        assert_eq!(request.credentials().len(), manifest.credentials.len(), "{at}: credentials");
        let places = request.credentials().iter().zip(&manifest.credentials);
        assert!(places.into_iter().all(|(shown, credential)| is_place(shown, &credential.inject)), "{at}: the place");
        assert!((200..600).contains(&response.status), "{at}");
        assert!(response.status < 400 || exchange.result.is_error, "{at}: {} is no success", response.status);
    }
    assert!(exchange.result.json.is_some() != exchange.result.contains.is_some(), "{at}: one of json and contains");
}

fn is_allowed(manifest: &Manifest, values: &Values, host: &str, method: &str, path: &str) -> bool {
    let host = host.parse().expect("a host");
    let meets = |listed: &gigmcp_registry::EgressHost| listed.pattern(values).expect("usable").matches(&host);
    manifest.egress.iter().any(meets)
        || manifest.rules.iter().any(|rule| {
            rule.hosts.iter().any(meets)
                && (rule.methods.is_empty() || rule.methods.iter().any(|allowed| allowed.as_str() == method))
                && (rule.paths.is_empty() || rule.paths.iter().any(|pattern| pattern.matches(path)))
        })
}

fn is_place(shown: &Credential, inject: &Inject) -> bool {
    match inject {
        Inject::Header { name, format } => {
            shown.header.as_deref().is_some_and(|header| header.eq_ignore_ascii_case(name))
                && shown.value.as_deref() == Some(&format.replace("{token}", "{placeholder}"))
        }
        Inject::Basic(part) => {
            shown.basic.as_deref() == Some(if *part == BasicPart::User { "username" } else { "password" })
        }
        Inject::Query(name) => shown.query.as_deref() == Some(name.as_str()),
        Inject::Path { prefix } => shown.path.as_deref() == Some(prefix),
        Inject::Form(name) => shown.form.as_deref() == Some(name.as_str()),
        Inject::Json(pointer) => shown.json.as_deref() == Some(&pointer.to_string()),
        _ => false,
    }
}

fn recordings() -> BTreeMap<String, Recording> {
    let mut recordings = BTreeMap::new();
    for file in files::names("exchanges") {
        let name = file.strip_suffix(".yaml").unwrap_or_else(|| panic!("exchanges/{file} is no YAML"));
        let recording = serde_saphyr::from_str(&text(&format!("exchanges/{file}")));
        recordings.insert(name.to_owned(), recording.unwrap_or_else(|error| panic!("exchanges/{file}: {error}")));
    }
    recordings
}

fn manifest(entry: &Entry) -> Manifest {
    let text = text(&entry.manifest_path());
    Manifest::from_yaml(text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", entry.manifest_path()))
}

fn pairs() -> Vec<(Entry, Manifest, Toolspec)> {
    let toolpacks = entries().into_iter().filter(|entry| entry.has_toolspec);
    let pairs = toolpacks.map(|entry| {
        let spec = Toolspec::from_yaml(text(&entry.toolspec_path()).as_bytes());
        let spec = spec.unwrap_or_else(|error| panic!("{}: {error}", entry.toolspec_path()));
        let manifest = manifest(&entry);
        (entry, manifest, spec)
    });
    pairs.collect()
}

#[test]
fn the_catalogue_is_where_its_readme_says() {
    let readme = text("README.md");
    for entry in entries() {
        assert!(readme.contains(&format!("`{}`", entry.name)), "the README does not list {}", entry.name);
    }
    assert!(catalog().join("exchanges").is_dir());
    assert!(entries().iter().filter(|entry| entry.has_toolspec).count() >= 17);
}
