//! From text to types, noting every fault on the way.

mod param;

use std::collections::HashSet;

use gigmcp_egress::{HostName, PathPattern};

use super::document::{ConstantDocument, PaginationDocument, ResponseDocument, ToolRequestDocument, ToolspecDocument};
use super::{
    Auth, BaseUrl, Constant, Encoding, Pagination, PaginationKind, Param, ParamPlace, ResponseSelection, ToolRequest,
    Toolspec,
};
use crate::manifest::{Fault, Faults, Inject, Method, Problem, header_name, line, paragraph, place};
use crate::strict_json::Object;
use crate::template::Template;

/// The checked toolspec, or everything that is wrong with it.
pub(crate) fn validate(document: ToolspecDocument) -> Result<Toolspec, Vec<Fault>> {
    let mut faults = Faults::default();
    let schema_version = document.schema_version;
    match schema_version {
        1 => later_fields(&mut faults, &document),
        2 if document.auth.is_some() => faults.add("auth", Problem::AuthOfVersion1),
        2 => {}
        found => faults.add("schemaVersion", Problem::SchemaVersion { found }),
    }
    let name = faults.parsed("name", &document.name);
    let version = faults.parsed("version", &document.version);
    let base_url = base_url(&mut faults, "baseUrl", &document.base_url, schema_version);
    let auths = auths(&mut faults, &document);
    let constants = constants(&mut faults, "constants", document.constants, &auths);
    if document.tools.is_empty() {
        faults.add("tools", Problem::Missing);
    }
    faults.unique("tools", "name", document.tools.iter().map(|Object(tool)| tool.name.as_str()));
    let common = Common { schema_version, auths: &auths, constants: &constants };
    let tools = faults.each("tools", document.tools, |faults, path, Object(document)| {
        tool(faults, &path.to_string(), document, &common)
    });
    let (Some(name), Some(version), Some(base_url), true) = (name, version, base_url, faults.0.is_empty()) else {
        return Err(faults.0);
    };
    Ok(Toolspec { schema_version, name, version, base_url, auths, constants, tools })
}

/// What all tools of a toolspec share.
pub(super) struct Common<'a> {
    schema_version: u64,
    auths: &'a [Auth],
    constants: &'a [Constant],
}

/// What version 1 does not have.
fn later_fields(faults: &mut Faults, document: &ToolspecDocument) {
    let mut later = |path: String, given: bool| {
        if given {
            faults.add(&path, Problem::NeedsVersion2);
        }
    };
    later("auths".into(), !document.auths.is_empty());
    later("constants".into(), !document.constants.is_empty());
    for (index, Object(tool)) in document.tools.iter().enumerate() {
        let path = format!("tools[{index}]");
        later(format!("{path}.constants"), !tool.constants.is_empty());
        later(format!("{path}.encoding"), tool.encoding == Encoding::Multipart.as_str());
        later(format!("{path}.response"), tool.response.is_some());
        later(format!("{path}.pagination"), tool.pagination.is_some());
        for (index, Object(param)) in tool.params.iter().enumerate() {
            for field in param::later_fields(param) {
                later(format!("{path}.params[{index}].{field}"), true);
            }
        }
    }
}

/// `https://` and a host. Whether its variables are the manifest's is told when the two are compared.
fn base_url(faults: &mut Faults, path: &str, text: &str, schema_version: u64) -> Option<BaseUrl> {
    if text.is_empty() {
        faults.add(path, Problem::Missing);
        return None;
    }
    let Some(host) = text.strip_prefix("https://") else {
        faults.add(path, Problem::BaseUrl);
        return None;
    };
    let template = Template::parse(host).map_err(|problem| faults.add(path, problem.into())).ok()?;
    if template.holes().next().is_some() && schema_version == 1 {
        faults.add(path, Problem::NeedsVersion2);
        return None;
    }
    let filled = if template.is_hole() { "example.org".into() } else { template.fill(|_| Some("x")).expect("filled") };
    if !filled.parse::<HostName>().is_ok_and(|name| name.as_str() == filled) {
        faults.add(path, Problem::BaseUrl);
        return None;
    }
    Some(BaseUrl(template))
}

fn auths(faults: &mut Faults, document: &ToolspecDocument) -> Vec<Auth> {
    let of_version_1 = document.auth.clone().and_then(|Object(inject)| {
        if !inject.env.is_empty() {
            faults.add("auth.env", Problem::EnvInRequest);
        }
        place(faults, "auth", inject, document.schema_version)
    });
    let mut auths: Vec<_> = of_version_1.into_iter().map(|place| Auth { credential: None, place }).collect();
    faults.unique("auths", "credential", document.auths.iter().map(|Object(auth)| auth.credential.as_str()));
    auths.extend(faults.each("auths", document.auths.clone(), |faults, path, Object(auth)| {
        let credential = faults.parsed(&format!("{path}.credential"), &auth.credential);
        if !auth.inject.0.env.is_empty() {
            faults.add(&format!("{path}.inject.env"), Problem::EnvInRequest);
        }
        let place = place(faults, &format!("{path}.inject"), auth.inject.0, document.schema_version);
        Some(Auth { credential: Some(credential?), place: place? })
    }));
    auths
}

fn constants(
    faults: &mut Faults,
    path: &str,
    documents: Vec<Object<ConstantDocument>>,
    auths: &[Auth],
) -> Vec<Constant> {
    let keys: Vec<_> = documents.iter().map(|Object(constant)| spelled(&constant.place, &constant.name)).collect();
    faults.unique(path, "name", keys.iter().map(String::as_str));
    faults.each(path, documents, |faults, path, Object(document)| {
        let place = faults.word(&format!("{path}.in"), &document.place, ParamPlace::from_word, ParamPlace::WORDS)?;
        param::wire_name(faults, &format!("{path}.name"), &document.name, place);
        if auths.iter().any(|auth| is_taken_by(&auth.place, place, &document.name)) {
            faults.add(&format!("{path}.name"), Problem::PlaceOfAuth);
        }
        let value = format!("{path}.value");
        match &document.value {
            serde_json::Value::String(text) => {
                faults.check(&value, line(text, 1024));
                if let Err(problem) = Template::parse(text) {
                    faults.add(&value, problem.into());
                }
            }
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
            _ => faults.add(&value, Problem::NotScalar),
        }
        Some(Constant { name: document.name, place, value: document.value })
    })
}

fn tool(faults: &mut Faults, path: &str, document: ToolRequestDocument, common: &Common<'_>) -> Option<ToolRequest> {
    let name = faults.parsed(&format!("{path}.name"), &document.name);
    if document.description.is_empty() {
        faults.add(&format!("{path}.description"), Problem::Missing);
    }
    faults.check(&format!("{path}.description"), paragraph(&document.description, 4096));
    let method = faults.word(&format!("{path}.method"), &document.method, Method::of_tool, Method::OF_TOOLS);
    let encoding = faults.optional(&document.encoding, |faults, text| {
        faults.word(&format!("{path}.encoding"), text, Encoding::from_word, Encoding::WORDS)
    });
    let encoding = encoding.unwrap_or(Encoding::Json);
    let base_url = faults.optional(&document.base_url, |faults, text| {
        base_url(faults, &format!("{path}.baseUrl"), text, common.schema_version)
    });
    let constants = constants(faults, &format!("{path}.constants"), document.constants, common.auths);
    faults.unique(&format!("{path}.params"), "name", document.params.iter().map(|Object(param)| param.name.as_str()));
    let context = param::Context { schema_version: common.schema_version, method, encoding, auths: common.auths };
    let params = faults.each(&format!("{path}.params"), document.params, |faults, path, Object(document)| {
        param::param(faults, &path.to_string(), document, &context)
    });
    let all_constants = || common.constants.iter().chain(&constants);
    once(faults, path, common.constants, &constants, &params);
    let template = tool_path(faults, &format!("{path}.path"), &document.path);
    if let Some(template) = &template {
        holes(faults, path, template, &params, all_constants());
    }
    if method.is_some_and(|method| !method.has_body())
        && all_constants().any(|constant| constant.place == ParamPlace::Body)
    {
        faults.add(&format!("{path}.constants"), Problem::BodyWithoutBody);
    }
    let response = document.response.map(|Object(document)| response(faults, &format!("{path}.response"), document));
    let pagination = document
        .pagination
        .and_then(|Object(document)| pagination(faults, &format!("{path}.pagination"), document, &params));
    let page = pagination.as_ref().and_then(|pagination| pagination.param.as_deref());
    let is_page = |constant: &Constant| constant.place == ParamPlace::Query && page == Some(&constant.name);
    if all_constants().any(is_page) {
        faults.add(&format!("{path}.pagination.param"), Problem::Repeated);
    }
    let (description, path) = (document.description, template?);
    let (name, method) = (name?, method?);
    Some(ToolRequest { name, description, method, path, base_url, encoding, params, constants, response, pagination })
}

/// Of two things in one place, services read one or the other, and which one a reviewer cannot see.
fn once(faults: &mut Faults, path: &str, common: &[Constant], constants: &[Constant], params: &[Param]) {
    let constant = |constant: &Constant| spelled(constant.place.as_str(), &constant.name);
    let mut taken: HashSet<_> = common.iter().map(constant).collect();
    for (index, key) in constants.iter().map(constant).enumerate() {
        if !taken.insert(key) {
            faults.add(&format!("{path}.constants[{index}].name"), Problem::Repeated);
        }
    }
    for (index, param) in params.iter().enumerate() {
        if !taken.insert(spelled(param.place.as_str(), param.spelled())) {
            let field = if param.wire_name.is_some() { "as" } else { "name" };
            faults.add(&format!("{path}.params[{index}].{field}"), Problem::Repeated);
        }
    }
}

/// A place and a name in it, the same for all spellings of a header.
fn spelled(place: &str, name: &str) -> String {
    let header = (place == ParamPlace::Header.as_str()).then(|| name.to_ascii_lowercase());
    format!("{place} {}", header.as_deref().unwrap_or(name))
}

/// A path whose every filling is one path: no query, nothing that wanders, and no hole that is a whole segment and empty.
fn tool_path(faults: &mut Faults, path: &str, text: &str) -> Option<Template> {
    if text.is_empty() {
        faults.add(path, Problem::Missing);
        return None;
    }
    let template = Template::parse(text).map_err(|problem| faults.add(path, problem.into())).ok()?;
    let filled = template.fill(|_| Some("x")).expect("filled");
    if filled.contains('*') || filled.parse::<PathPattern>().is_err() {
        faults.add(path, Problem::ToolPath);
        return None;
    }
    Some(template)
}

/// Holes and what fills them belong together one to one.
fn holes<'a>(
    faults: &mut Faults,
    path: &str,
    template: &Template,
    params: &[Param],
    constants: impl Iterator<Item = &'a Constant>,
) {
    let mut names: Vec<_> = constants
        .filter(|constant| constant.place == ParamPlace::Path)
        .map(|constant| constant.name.as_str())
        .collect();
    for (index, param) in params.iter().enumerate().filter(|(_, param)| param.place == ParamPlace::Path) {
        let name = param.spelled();
        if !template.holes().any(|hole| hole == name) {
            faults.add(&format!("{path}.params[{index}].name"), Problem::ParamWithoutHole);
        }
        names.push(name);
    }
    for hole in template.holes() {
        if !names.contains(&hole) {
            faults.add(&format!("{path}.path"), Problem::HoleWithoutParam { hole: hole.into() });
        }
    }
}

fn response(faults: &mut Faults, path: &str, document: ResponseDocument) -> ResponseSelection {
    let select = faults.optional(&document.select, |faults, text| faults.parsed(&format!("{path}.select"), text));
    faults.unique(&format!("{path}.fields"), "", document.fields.iter().map(String::as_str));
    for (index, field) in document.fields.iter().enumerate() {
        faults.check(&format!("{path}.fields[{index}]"), param::any_name(field));
    }
    let max_bytes = faults.number(&format!("{path}.maxBytes"), document.max_bytes, 1, 16 << 20);
    ResponseSelection { select, fields: document.fields, max_bytes }
}

fn pagination(faults: &mut Faults, path: &str, document: PaginationDocument, params: &[Param]) -> Option<Pagination> {
    let kind =
        faults.word(&format!("{path}.type"), &document.kind, PaginationKind::from_word, PaginationKind::WORDS)?;
    let next = faults.optional(&document.next, |faults, text| faults.parsed(&format!("{path}.next"), text));
    if kind == PaginationKind::Cursor && document.next.is_empty() {
        faults.add(&format!("{path}.next"), Problem::Missing);
    }
    faults.number(&format!("{path}.maxPages"), Some(document.max_pages), 1, 100);
    let at = format!("{path}.param");
    let said = |param: &Param| param.spelled() == document.param;
    match (kind, document.param.as_str()) {
        (PaginationKind::Link, "") => {}
        (PaginationKind::Link, _) => faults.add(&at, Problem::NotForType { kind: kind.as_str() }),
        (_, "") => faults.add(&at, Problem::Missing),
        (_, _) if params.iter().any(said) => faults.add(&at, Problem::PageIsParam),
        (_, name) => param::wire_name(faults, &at, name, ParamPlace::Query),
    }
    let param = (!document.param.is_empty()).then_some(document.param);
    Some(Pagination { kind, param, next, max_pages: document.max_pages })
}

/// Whether a credential is put where this parameter is.
pub(super) fn is_place_of(credential: &Inject, place: ParamPlace, name: &str) -> bool {
    match credential {
        Inject::Header { name: header, .. } => place == ParamPlace::Header && header.eq_ignore_ascii_case(name),
        Inject::Basic(_) => place == ParamPlace::Header && name.eq_ignore_ascii_case("authorization"),
        Inject::Query(field) => place == ParamPlace::Query && field.as_str().eq_ignore_ascii_case(name),
        Inject::Form(field) => place == ParamPlace::Body && field.as_str().eq_ignore_ascii_case(name),
        Inject::Json(pointer) => {
            let (ours, theirs) = (steps(&pointer.to_string()), steps(name));
            // On the way to it, at it, or inside of it.
            place == ParamPlace::Body && ours.iter().zip(&theirs).all(|(ours, theirs)| ours == theirs)
        }
        Inject::Path { .. } | Inject::Env { .. } => false,
    }
}

/// A name in a JSON body is a member, or a pointer (RFC 6901) if it begins with a slash.
fn steps(name: &str) -> Vec<String> {
    match name.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect(),
        None => vec![name.to_owned()],
    }
}

/// The same for a constant. What stands beside the credential in `Authorization: Basic` is one.
pub(super) fn is_taken_by(credential: &Inject, place: ParamPlace, name: &str) -> bool {
    !matches!(credential, Inject::Basic(_)) && is_place_of(credential, place, name)
}

/// A header that a parameter may set.
pub(super) fn header(text: &str) -> Result<(), Problem> {
    header_name(text)
}
