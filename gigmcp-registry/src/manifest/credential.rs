//! The credentials a server asks for: where each is put, with which requests it goes out, what stands for it.

use std::fmt::Display;

use gigmcp_egress::{FieldName, JsonPointer, PathPattern};

use super::document::{BindDocument, CredentialDocument, InjectDocument, PlaceholderDocument};
use super::entitlement::{hosts, methods, paths};
use super::faults::{Faults, non_empty};
use super::problem::Problem;
use super::{Alphabet, BasicPart, CredentialKind, Method, Tier, Variable, rules};
use crate::egress_host::EgressHost;
use crate::name::CredentialId;
use crate::strict_json::Object;

/// A credential that a server asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Credential {
    /// Names it within the manifest.
    pub id: CredentialId,
    /// How it is obtained.
    pub kind: CredentialKind,
    /// The connector that obtains it; may be empty.
    pub provider: String,
    /// The OAuth scopes to ask for.
    pub scopes: Vec<String>,
    /// Where it is put.
    pub inject: Inject,
    /// Groups servers under one OAuth application.
    pub vendor: Option<String>,
    /// The requests it goes out with, each within the entitlements. Empty: with all that the entitlements allow, which from
    /// schema version 2 is one entry only.
    pub bind: Vec<Binding>,
    /// What stands for it in the sandbox, where the manifest says more than the credential itself.
    pub placeholder: Option<PlaceholderShape>,
}

/// Where a credential is put.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Inject {
    /// Into a request header on the way out; the server never holds it.
    Header {
        /// The header's name, as written in the manifest.
        name: String,
        /// The header's value with `{token}`, exactly once, in place of the credential.
        format: String,
    },
    /// Into the server's environment: the server holds it. Only for [`Tier::Entrusted`].
    Env {
        /// The variable's name.
        name: String,
    },
    /// Into `Authorization: Basic` on the way out; the server writes the other part.
    Basic(BasicPart),
    /// Into a query parameter on the way out.
    Query(FieldName),
    /// Into a segment of the path on the way out.
    Path {
        /// What stands before it in its segment; may be empty.
        prefix: String,
    },
    /// Into a field of a form in the body, on the way out.
    Form(FieldName),
    /// Into a string of a JSON body, on the way out.
    Json(JsonPointer),
}

/// Requests that a credential goes out with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// To these hosts.
    pub hosts: Vec<EgressHost>,
    /// With these methods; all if empty.
    pub methods: Vec<Method>,
    /// To these paths; all if empty.
    pub paths: Vec<PathPattern>,
}

/// What stands for a credential in the sandbox: libraries check keys before they send them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PlaceholderShape {
    /// The variable the server looks for its key in.
    pub env: Option<String>,
    /// What it begins with.
    pub prefix: String,
    /// How many characters it has, its prefix included.
    pub length: Option<u64>,
    /// What it consists of behind the prefix.
    pub alphabet: Option<Alphabet>,
}

/// What of a manifest decides how its credentials are read.
pub(super) struct Context<'a> {
    pub(super) tier: Option<Tier>,
    pub(super) schema_version: u64,
    pub(super) variables: &'a [Variable],
    /// All hosts of the entitlements; none if some could not be read, about which nothing more is said then.
    pub(super) allowed: Option<Vec<EgressHost>>,
}

pub(super) fn credential(
    faults: &mut Faults,
    path: impl Display + Copy,
    document: CredentialDocument,
    context: &Context<'_>,
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
    let inject = inject(faults, format_args!("{path}.inject"), document.inject.0, context);
    let bind = bindings(faults, format_args!("{path}.bind"), document.bind, context);
    let placeholder =
        document.placeholder.map(|Object(document)| placeholder(faults, format_args!("{path}.placeholder"), document));
    let (provider, scopes, vendor) = (document.provider, document.scopes, non_empty(document.vendor));
    Some(Credential { id: id?, kind: kind?, provider, scopes, inject: inject?, vendor, bind, placeholder })
}

fn inject(
    faults: &mut Faults,
    path: impl Display + Copy,
    document: InjectDocument,
    context: &Context<'_>,
) -> Option<Inject> {
    let tier = context.tier?;
    if tier == Tier::Entrusted {
        let InjectDocument { env, .. } = &document;
        for (field, given) in outside_of(&document) {
            if given {
                faults.add(format_args!("{path}.{field}"), Problem::NotInTier { tier: tier.as_str() });
            }
        }
        faults.check(format_args!("{path}.env"), rules::env_name(env));
        return Some(Inject::Env { name: document.env });
    }
    if !document.env.is_empty() {
        faults.add(format_args!("{path}.env"), Problem::NotInTier { tier: tier.as_str() });
    }
    place(faults, path, document, context.schema_version)
}

/// The places on the way out, and which of them are given.
fn outside_of(document: &InjectDocument) -> [(&'static str, bool); 7] {
    [
        ("header", !document.header.is_empty()),
        ("format", !document.format.is_empty()),
        ("basic", document.basic.is_some()),
        ("query", document.query.is_some()),
        ("path", document.path.is_some()),
        ("form", document.form.is_some()),
        ("json", document.json.is_some()),
    ]
}

/// The one place on the way out.
pub(crate) fn place(
    faults: &mut Faults,
    path: impl Display + Copy,
    document: InjectDocument,
    schema_version: u64,
) -> Option<Inject> {
    let later = outside_of(&document).into_iter().skip(2).filter(|(_, given)| *given).map(|(field, _)| field);
    let later: Vec<_> = later.collect();
    let has_header = !document.header.is_empty() || !document.format.is_empty();
    if schema_version == 1 {
        for field in &later {
            faults.add(format_args!("{path}.{field}"), Problem::NeedsVersion2);
        }
    }
    if let Some(second) = later.get(usize::from(!has_header)) {
        faults.add(format_args!("{path}.{second}"), Problem::SecondPlace);
        return None;
    }
    match later.first() {
        None => {
            faults.check(format_args!("{path}.header"), rules::header_name(&document.header));
            faults.check(format_args!("{path}.format"), rules::format(&document.format));
            Some(Inject::Header { name: document.header, format: document.format })
        }
        Some(field) => later_place(faults, format_args!("{path}.{field}"), document),
    }
}

fn later_place(faults: &mut Faults, path: impl Display + Copy, document: InjectDocument) -> Option<Inject> {
    let InjectDocument { basic, query, path: prefix, form, json, .. } = document;
    if let Some(part) = basic {
        return faults.word(path, &part, BasicPart::from_word, BasicPart::WORDS).map(Inject::Basic);
    }
    if let Some(prefix) = prefix {
        faults.check(path, rules::path_prefix(&prefix));
        return Some(Inject::Path { prefix });
    }
    if let Some(pointer) = json {
        return faults.parsed(path, &pointer).map(Inject::Json);
    }
    match (query, form) {
        (Some(name), _) => faults.parsed(path, &name).map(Inject::Query),
        (None, Some(name)) => faults.parsed(path, &name).map(Inject::Form),
        (None, None) => None,
    }
}

fn bindings(
    faults: &mut Faults,
    path: impl Display + Copy,
    documents: Vec<Object<BindDocument>>,
    context: &Context<'_>,
) -> Vec<Binding> {
    let several = context.allowed.as_ref().is_some_and(|allowed| allowed.len() > 1);
    let is_missing = documents.is_empty() && context.schema_version == 2 && several;
    if is_missing && context.tier == Some(Tier::Sealed) {
        faults.add(path, Problem::UnboundCredential);
    }
    faults.each(path, documents, |faults, path, Object(document)| {
        let hosts = hosts(faults, format_args!("{path}.hosts"), &document.hosts, context.variables);
        for (index, text) in document.hosts.iter().enumerate() {
            let (Some(host), Some(allowed)) = (hosts.iter().find(|host| host.as_str() == text), &context.allowed)
            else {
                continue;
            };
            if !allowed.iter().any(|allowed| allowed.covers(host)) {
                faults.add(format_args!("{path}.hosts[{index}]"), Problem::OutsideOfEntitlements);
            }
        }
        let methods = methods(faults, format_args!("{path}.methods"), &document.methods);
        let paths = paths(faults, format_args!("{path}.paths"), &document.paths);
        Some(Binding { hosts, methods, paths })
    })
}

fn placeholder(faults: &mut Faults, path: impl Display + Copy, document: PlaceholderDocument) -> PlaceholderShape {
    if !document.env.is_empty() {
        faults.check(format_args!("{path}.env"), rules::env_name(&document.env));
    }
    faults.check(format_args!("{path}.prefix"), rules::key_prefix(&document.prefix));
    let alphabet = faults.optional(&document.alphabet, |faults, text| {
        faults.word(format_args!("{path}.alphabet"), text, Alphabet::from_word, Alphabet::WORDS)
    });
    let length = faults.number(format_args!("{path}.length"), document.length, 16, 4096);
    PlaceholderShape { env: non_empty(document.env), prefix: document.prefix, length, alphabet }
}
