//! A toolspec beside the manifest of its server.

use super::validate::{is_place_of, is_taken_by};
use super::{BaseUrl, Constant, Toolspec};
use crate::egress_host::EgressHost;
use crate::manifest::{Faults, Manifest, Problem, Tier};
use crate::name::CredentialId;

pub(super) fn check(faults: &mut Faults, spec: &Toolspec, manifest: &Manifest) {
    if spec.name != manifest.name {
        faults.add("name", Problem::NotManifests);
    }
    if spec.version != manifest.version {
        faults.add("version", Problem::NotManifests);
    }
    tools(faults, spec, manifest);
    base_url(faults, "baseUrl", &spec.base_url, manifest);
    for (index, tool) in spec.tools.iter().enumerate() {
        if let Some(url) = &tool.base_url {
            base_url(faults, &format!("tools[{index}].baseUrl"), url, manifest);
        }
        constants(faults, &format!("tools[{index}].constants"), &tool.constants, manifest);
    }
    constants(faults, "constants", &spec.constants, manifest);
    auths(faults, spec, manifest);
    if manifest.tier == Tier::Sealed {
        places(faults, spec, manifest);
    }
}

/// Where a credential goes on the way out, nobody else says anything: not a model, and not the toolspec.
fn places(faults: &mut Faults, spec: &Toolspec, manifest: &Manifest) {
    let injects = || manifest.credentials.iter().map(|credential| &credential.inject);
    let mut constants = |path: &str, constants: &[Constant]| {
        for (index, constant) in constants.iter().enumerate() {
            if injects().any(|inject| is_taken_by(inject, constant.place, &constant.name)) {
                faults.add(&format!("{path}[{index}].name"), Problem::PlaceOfAuth);
            }
        }
    };
    constants("constants", &spec.constants);
    for (index, tool) in spec.tools.iter().enumerate() {
        constants(&format!("tools[{index}].constants"), &tool.constants);
    }
    for (tool, index, param) in
        spec.tools.iter().enumerate().flat_map(|(tool, request)| {
            request.params.iter().enumerate().map(move |(index, param)| (tool, index, param))
        })
    {
        if injects().any(|inject| is_place_of(inject, param.place, param.spelled())) {
            let field = if param.wire_name.is_some() { "as" } else { "name" };
            faults.add(&format!("tools[{tool}].params[{index}].{field}"), Problem::PlaceOfAuth);
        }
    }
}

fn tools(faults: &mut Faults, spec: &Toolspec, manifest: &Manifest) {
    for (index, tool) in spec.tools.iter().enumerate() {
        if !manifest.tools.iter().any(|listed| listed.name == tool.name) {
            faults.add(&format!("tools[{index}].name"), Problem::UnknownTool);
        }
    }
    for listed in &manifest.tools {
        if !spec.tools.iter().any(|tool| tool.name == listed.name) {
            faults.add("tools", Problem::ToolMissing { name: listed.name.to_string() });
        }
    }
}

/// The host must be allowed whatever the user says for its variables.
fn base_url(faults: &mut Faults, path: &str, url: &BaseUrl, manifest: &Manifest) {
    let text = url.host().to_string();
    let host = match EgressHost::with_variables(&text, &manifest.variables) {
        Ok(host) => host,
        Err(problem) => return faults.add(path, problem.into()),
    };
    let allowed = manifest.egress.iter().chain(manifest.rules.iter().flat_map(|rule| &rule.hosts));
    if !allowed.into_iter().any(|allowed| allowed.covers(&host)) {
        faults.add(path, Problem::HostNotAllowed { host: text });
    }
}

fn constants(faults: &mut Faults, path: &str, constants: &[Constant], manifest: &Manifest) {
    for (index, constant) in constants.iter().enumerate() {
        for variable in constant.variables() {
            if !manifest.variables.iter().any(|declared| declared.name.as_str() == variable) {
                faults.add(&format!("{path}[{index}].value"), Problem::UnknownVariable { variable });
            }
        }
    }
}

fn auths(faults: &mut Faults, spec: &Toolspec, manifest: &Manifest) {
    let field = if spec.schema_version == 1 { "auth" } else { "auths" };
    match manifest.tier {
        Tier::Sealed if !spec.auths.is_empty() => faults.add(field, Problem::AuthInSealed),
        Tier::Entrusted if spec.auths.is_empty() && !manifest.credentials.is_empty() => {
            faults.add(field, Problem::AuthMissing);
        }
        Tier::Sealed | Tier::Entrusted => {}
    }
    for (index, auth) in spec.auths.iter().enumerate() {
        let known = |id: &CredentialId| manifest.credentials.iter().any(|credential| credential.id == *id);
        if auth.credential.as_ref().is_some_and(|id| !known(id)) {
            faults.add(&format!("auths[{index}].credential"), Problem::UnknownCredential);
        }
    }
}
