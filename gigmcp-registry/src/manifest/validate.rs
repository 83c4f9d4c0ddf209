//! From text to types, noting every fault on the way.

use std::fmt::{Arguments, Display};

use super::credential::{Context, credential};
use super::document::{Document, EntitlementsDocument, ImageDocument, SourceDocument, ToolDocument};
use super::entitlement::{RequestRule, TcpRule, host, request_rule, tcp_rule};
use super::faults::{Faults, non_empty};
use super::problem::{Fault, Problem};
use super::resources::{directory, disjoint, limits, runtime, variable};
use super::{Builder, Category, Image, Manifest, Source, Tier, Tool, Variable, rules};
use crate::egress_host::EgressHost;
use crate::strict_json::Object;

/// The checked manifest, or everything that is wrong with it.
pub(crate) fn validate(document: Document) -> Result<Manifest, Vec<Fault>> {
    let mut faults = Faults::default();
    let schema_version = document.schema_version;
    match schema_version {
        1 => later_fields(&mut faults, &document),
        2 => {}
        found => faults.add("schemaVersion", Problem::SchemaVersion { found }),
    }
    let name = faults.parsed("name", &document.name);
    let version = faults.parsed("version", &document.version);
    let source = source(&mut faults, document.source.0);
    let image = image(&mut faults, document.image.0);
    let tier = faults.word("tier", &document.tier, Tier::from_word, Tier::WORDS);
    let variables = document.variables;
    faults.unique("variables", "name", variables.iter().map(|Object(variable)| variable.name.as_str()));
    let variables =
        faults.each("variables", variables, |faults, path, Object(document)| variable(faults, path, document));

    let entitlements = entitlements(&mut faults, document.entitlements.0, schema_version, tier, &variables);
    let (egress, rules, tcp) = (entitlements.egress, entitlements.rules, entitlements.tcp);

    faults.unique("credentials", "id", document.credentials.iter().map(|Object(credential)| credential.id.as_str()));
    let context = Context { tier, schema_version, variables: &variables, allowed: entitlements.http };
    let credentials = faults.each("credentials", document.credentials, |faults, path, Object(document)| {
        credential(faults, path, document, &context)
    });
    faults.unique("tools", "name", document.tools.iter().map(|Object(tool)| tool.name.as_str()));
    let tools = faults.each("tools", document.tools, |faults, path, Object(document)| tool(faults, path, &document));
    faults.check("displayName", rules::line(&document.display_name, 128));
    faults.check("description", rules::paragraph(&document.description, 4096));
    faults.check("icon", rules::line(&document.icon, 64 << 10));
    let category = faults.optional(&document.category, |faults, text| {
        faults.word("category", text, Category::from_word, Category::WORDS)
    });

    let runtime = document.runtime.map(|Object(document)| runtime(&mut faults, document, &variables));
    let limits = document.limits.map(|Object(document)| limits(&mut faults, &document));
    let writable = faults
        .each("writable", document.writable, |faults, path, Object(document)| Some(directory(faults, path, document)));
    let state = document.state.map(|Object(document)| directory(&mut faults, "state", document));
    let numbered = writable.iter().enumerate().map(|(index, directory)| (format!("writable[{index}]"), directory));
    disjoint(&mut faults, numbered.chain(state.iter().map(|state| ("state".into(), state))));

    let (Some(name), Some(version), Some(source), Some(image), Some(tier), true) =
        (name, version, source, image, tier, faults.0.is_empty())
    else {
        return Err(faults.0);
    };
    Ok(Manifest {
        schema_version,
        name,
        version,
        source,
        image,
        tier,
        egress,
        rules,
        tcp,
        credentials,
        tools,
        display_name: non_empty(document.display_name),
        description: non_empty(document.description),
        category,
        icon: non_empty(document.icon),
        variables,
        runtime,
        limits,
        writable,
        state,
    })
}

struct Entitlements {
    egress: Vec<EgressHost>,
    rules: Vec<RequestRule>,
    tcp: Vec<TcpRule>,
    /// The hosts of the first two, if all could be read.
    http: Option<Vec<EgressHost>>,
}

fn entitlements(
    faults: &mut Faults,
    document: EntitlementsDocument,
    schema_version: u64,
    tier: Option<Tier>,
    variables: &[Variable],
) -> Entitlements {
    let found = faults.0.len();
    let egress = faults.each("entitlements.egress", document.egress, |faults, path, text| match schema_version {
        1 => faults.parsed(path, &text),
        _ => host(faults, path, &text, variables),
    });
    let rules = faults.each("entitlements.rules", document.rules, |faults, path, Object(document)| {
        Some(request_rule(faults, path, &document, variables))
    });
    let complete = faults.0.len() == found;
    if tier == Some(Tier::Sealed) && !document.tcp.is_empty() {
        faults.add("entitlements.tcp", Problem::NotInTier { tier: Tier::Sealed.as_str() });
    }
    let tcp = faults.each("entitlements.tcp", document.tcp, |faults, path, Object(document)| {
        tcp_rule(faults, path, &document, variables)
    });
    let http = || egress.iter().chain(rules.iter().flat_map(|rule| &rule.hosts)).cloned().collect();
    Entitlements { http: complete.then(http), egress, rules, tcp }
}

/// What version 1 does not have. Places of credentials are checked where they are read.
fn later_fields(faults: &mut Faults, document: &Document) {
    let mut later = |path: Arguments<'_>, given: bool| {
        if given {
            faults.add(path, Problem::NeedsVersion2);
        }
    };
    later(format_args!("entitlements.rules"), !document.entitlements.0.rules.is_empty());
    later(format_args!("entitlements.tcp"), !document.entitlements.0.tcp.is_empty());
    for (index, Object(credential)) in document.credentials.iter().enumerate() {
        later(format_args!("credentials[{index}].bind"), !credential.bind.is_empty());
        later(format_args!("credentials[{index}].placeholder"), credential.placeholder.is_some());
    }
    for (index, Object(tool)) in document.tools.iter().enumerate() {
        later(format_args!("tools[{index}].definition"), !tool.definition.is_empty());
        later(format_args!("tools[{index}].readOnly"), tool.read_only);
    }
    later(format_args!("variables"), !document.variables.is_empty());
    later(format_args!("runtime"), document.runtime.is_some());
    later(format_args!("limits"), document.limits.is_some());
    later(format_args!("writable"), !document.writable.is_empty());
    later(format_args!("state"), document.state.is_some());
}

fn source(faults: &mut Faults, document: SourceDocument) -> Option<Source> {
    faults.check("source.repo", rules::plain_word(&document.repo));
    faults.check("source.tag", rules::plain_word(&document.tag));
    faults.check("source.package", rules::package(&document.package));
    Some(Source { repo: document.repo, tag: document.tag, package: non_empty(document.package) })
}

fn image(faults: &mut Faults, document: ImageDocument) -> Option<Image> {
    faults.check("image.ref", rules::plain_word(&document.reference));
    let builder = faults.optional(&document.builder, |faults, text| {
        faults.word("image.builder", text, Builder::from_word, Builder::WORDS)
    });
    let bundle = builder == Some(Builder::Toolpack);
    faults.check("image.entrypoint", rules::entrypoint(&document.entrypoint, bundle));
    let digest = faults.parsed("image.digest", &document.digest)?;
    Some(Image { reference: document.reference, digest, entrypoint: document.entrypoint, builder })
}

fn tool(faults: &mut Faults, path: impl Display + Copy, document: &ToolDocument) -> Option<Tool> {
    let name = faults.parsed(format_args!("{path}.name"), &document.name);
    let definition =
        faults.optional(&document.definition, |faults, text| faults.parsed(format_args!("{path}.definition"), text));
    Some(Tool { name: name?, default: document.default, definition, read_only: document.read_only })
}
