//! From text to types, noting every fault on the way.

use std::collections::BTreeSet;
use std::fmt::{Arguments, Display};
use std::str::FromStr;

use super::document::{CredentialDocument, Document, ImageDocument, InjectDocument, SourceDocument, ToolDocument};
use super::problem::{Fault, Problem};
use super::{Builder, Category, Credential, CredentialKind, Image, Inject, Manifest, Source, Tier, Tool, rules};
use crate::strict_json::Object;

/// The checked manifest, or everything that is wrong with it.
pub(crate) fn validate(document: Document) -> Result<Manifest, Vec<Fault>> {
    let mut faults = Faults::default();
    if document.schema_version != 1 {
        faults.add("schemaVersion", Problem::SchemaVersion { found: document.schema_version });
    }
    let name = faults.parsed("name", &document.name);
    let version = faults.parsed("version", &document.version);
    let source = source(&mut faults, document.source.0);
    let image = image(&mut faults, document.image.0);
    let tier = faults.word("tier", &document.tier, Tier::from_word, Tier::WORDS);
    let egress = faults
        .each("entitlements.egress", document.entitlements.0.egress, |faults, path, host| faults.parsed(path, &host));
    faults.unique("credentials", "id", document.credentials.iter().map(|Object(credential)| credential.id.as_str()));
    let credentials = faults.each("credentials", document.credentials, |faults, path, Object(document)| {
        credential(faults, path, document, tier)
    });
    faults.unique("tools", "name", document.tools.iter().map(|Object(tool)| tool.name.as_str()));
    let tools = faults.each("tools", document.tools, |faults, path, Object(document)| tool(faults, path, &document));
    faults.check("displayName", rules::line(&document.display_name, 128));
    faults.check("description", rules::paragraph(&document.description, 4096));
    faults.check("icon", rules::line(&document.icon, 64 << 10));
    let category = faults.optional(&document.category, |faults, text| {
        faults.word("category", text, Category::from_word, Category::WORDS)
    });

    let (Some(name), Some(version), Some(source), Some(image), Some(tier), true) =
        (name, version, source, image, tier, faults.0.is_empty())
    else {
        return Err(faults.0);
    };
    Ok(Manifest {
        name,
        version,
        source,
        image,
        tier,
        egress,
        credentials,
        tools,
        display_name: non_empty(document.display_name),
        description: non_empty(document.description),
        category,
        icon: non_empty(document.icon),
    })
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

fn credential(
    faults: &mut Faults,
    path: Arguments<'_>,
    document: CredentialDocument,
    tier: Option<Tier>,
) -> Option<Credential> {
    let id = faults.parsed(format_args!("{path}.id"), &document.id);
    let kind =
        faults.word(format_args!("{path}.type"), &document.kind, CredentialKind::from_word, CredentialKind::WORDS);
    faults.check(format_args!("{path}.provider"), rules::line(&document.provider, 64));
    for (index, scope) in document.scopes.iter().enumerate() {
        faults.check(format_args!("{path}.scopes[{index}]"), rules::scope(scope));
    }
    if !document.vendor.is_empty() {
        faults.check(format_args!("{path}.vendor"), rules::slug(&document.vendor));
    } else if kind == Some(CredentialKind::Oauth2) {
        faults.add(format_args!("{path}.vendor"), Problem::VendorMissing);
    }
    let inject = tier.map(|tier| inject(faults, format_args!("{path}.inject"), document.inject.0, tier));
    Some(Credential {
        id: id?,
        kind: kind?,
        provider: document.provider,
        scopes: document.scopes,
        inject: inject?,
        vendor: non_empty(document.vendor),
    })
}

fn inject(faults: &mut Faults, path: Arguments<'_>, document: InjectDocument, tier: Tier) -> Inject {
    let mut foreign = |field: &str, text: &str| {
        if !text.is_empty() {
            faults.add(format_args!("{path}.{field}"), Problem::NotInTier { tier: tier.as_str() });
        }
    };
    match tier {
        Tier::Sealed => {
            foreign("env", &document.env);
            faults.check(format_args!("{path}.header"), rules::header_name(&document.header));
            faults.check(format_args!("{path}.format"), rules::format(&document.format));
            Inject::Header { name: document.header, format: document.format }
        }
        Tier::Entrusted => {
            foreign("header", &document.header);
            foreign("format", &document.format);
            faults.check(format_args!("{path}.env"), rules::env_name(&document.env));
            Inject::Env { name: document.env }
        }
    }
}

fn tool(faults: &mut Faults, path: Arguments<'_>, document: &ToolDocument) -> Option<Tool> {
    let name = faults.parsed(format_args!("{path}.name"), &document.name)?;
    Some(Tool { name, default: document.default })
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    // Paths become text where there is a fault only: an index has thousands of manifests, nearly all of them right.
    fn add(&mut self, path: impl Display, problem: Problem) {
        self.0.push(Fault { path: path.to_string(), problem });
    }

    fn check(&mut self, path: impl Display, outcome: Result<(), Problem>) {
        if let Err(problem) = outcome {
            self.add(path, problem);
        }
    }

    fn parsed<T: FromStr<Err: Into<Problem>>>(&mut self, path: impl Display, text: &str) -> Option<T> {
        if text.is_empty() {
            self.add(path, Problem::Missing);
            return None;
        }
        text.parse().map_err(|problem: T::Err| self.add(path, problem.into())).ok()
    }

    fn word<T>(
        &mut self,
        path: impl Display,
        text: &str,
        from_word: fn(&str) -> Option<T>,
        allowed: &'static [&'static str],
    ) -> Option<T> {
        let value = from_word(text);
        if value.is_none() {
            self.add(path, Problem::Word { allowed });
        }
        value
    }

    fn optional<T>(&mut self, text: &str, read: impl FnOnce(&mut Self, &str) -> Option<T>) -> Option<T> {
        if text.is_empty() { None } else { read(self, text) }
    }

    fn each<D, T>(
        &mut self,
        path: &str,
        documents: Vec<D>,
        read: impl Fn(&mut Self, Arguments<'_>, D) -> Option<T>,
    ) -> Vec<T> {
        let numbered = documents.into_iter().enumerate();
        numbered.filter_map(|(index, document)| read(self, format_args!("{path}[{index}]"), document)).collect()
    }

    fn unique<'a>(&mut self, path: &str, field: &str, values: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for (index, value) in values.enumerate() {
            if !value.is_empty() && !seen.insert(value) {
                self.add(format_args!("{path}[{index}].{field}"), Problem::Repeated);
            }
        }
    }
}
