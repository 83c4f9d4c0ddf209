//! Manifests that are allowed and unwise.

use super::{Denylist, Findings, hosts};
use crate::diagnostic::Rule;
use crate::egress_host::EgressHost;
use crate::manifest::{Builder, Credential, Inject, Manifest, Tier};
use crate::template::Template;

pub(super) fn check(found: &mut Findings<'_>, manifest: &Manifest, denylist: &Denylist) {
    check_hosts(found, manifest, denylist);
    source(found, manifest);
    credentials(found, manifest);
    tools(found, manifest);
    variables(found, manifest);
    for (field, text) in [("displayName", &manifest.display_name), ("description", &manifest.description)] {
        hidden(found, field, text.as_deref().unwrap_or_default());
    }
    for (index, variable) in manifest.variables.iter().enumerate() {
        hidden(found, &format!("variables[{index}].description"), &variable.description);
    }
}

fn check_hosts(found: &mut Findings<'_>, manifest: &Manifest, denylist: &Denylist) {
    let listed = manifest.egress.iter().enumerate();
    let listed = listed.map(|(index, host)| (format!("entitlements.egress[{index}]"), host));
    let ruled = manifest.rules.iter().enumerate().flat_map(|(rule, hosts)| {
        let numbered = hosts.hosts.iter().enumerate();
        numbered.map(move |(index, host)| (format!("entitlements.rules[{rule}].hosts[{index}]"), host))
    });
    let tcp = manifest.tcp.iter().enumerate();
    let tcp = tcp.map(|(index, rule)| (format!("entitlements.tcp[{index}].host"), &rule.host));
    for (field, host) in listed.chain(ruled).chain(tcp) {
        let credential = manifest.credentials.iter().any(|credential| may_go(credential, host));
        hosts::check(found, &field, host, credential, denylist);
    }
}

/// Whether a credential may go to hosts of this entry.
fn may_go(credential: &Credential, host: &EgressHost) -> bool {
    let bound = credential.bind.iter().flat_map(|binding| &binding.hosts);
    let meets = |bound: &EgressHost| bound.covers(host) || bound.is_wildcard() && host.covers(bound);
    credential.bind.is_empty() || bound.into_iter().any(meets)
}

fn source(found: &mut Findings<'_>, manifest: &Manifest) {
    let tag = manifest.source.tag.as_str();
    if MOVING_TAGS.contains(&tag.to_ascii_lowercase().as_str()) {
        found.add(Rule::MovingTag, "source.tag", format!("`{tag}` is another commit tomorrow"), "name a release");
    }
    if manifest.image.digest.as_bytes() == &[0; 32] {
        found.add(
            Rule::NoImage,
            "image.digest",
            "the image is not built yet",
            "build it with `registryctl build --pin`",
        );
    }
    let reference = manifest.image.reference.as_str();
    let last = reference.rsplit('/').next().unwrap_or_default();
    if reference.contains('@') || last.contains(':') {
        let help = "leave tag and digest out; `digest` says which image it is";
        found.add(Rule::ImageReference, "image.ref", "the reference names a version besides `digest`", help);
    }
}

fn credentials(found: &mut Findings<'_>, manifest: &Manifest) {
    let hosts = manifest.egress.len() + manifest.rules.iter().map(|rule| rule.hosts.len()).sum::<usize>();
    for (index, credential) in manifest.credentials.iter().enumerate() {
        let field = format!("credentials[{index}]");
        if hosts == 0 && manifest.tcp.is_empty() {
            let help = "list its hosts in `entitlements.egress`, or remove the credential";
            found.add(Rule::CredentialWithoutHost, &field, "there is no host that this credential could go to", help);
        }
        if credential.bind.is_empty() && hosts > 1 && manifest.tier == Tier::Sealed {
            let message = format!("the credential goes to all {hosts} hosts");
            found.add(Rule::UnboundCredential, &field, message, "say which it is for: `bind` (schemaVersion: 2)");
        }
        if is_undelivered(manifest, credential) {
            let message = "nothing tells the server the placeholder it has to send";
            let help = "name the variable it reads its key from: `placeholder: {env: ...}` (schemaVersion: 2)";
            found.add(Rule::PlaceholderUndelivered, &field, message, help);
        }
    }
}

/// Only the toolpack engine asks for its placeholder by our name for it, and for one only.
fn is_undelivered(manifest: &Manifest, credential: &Credential) -> bool {
    let named = credential.placeholder.as_ref().is_some_and(|placeholder| placeholder.env.is_some());
    let engine = manifest.image.builder == Some(Builder::Toolpack);
    !matches!(credential.inject, Inject::Env { .. }) && !named && !engine
}

fn tools(found: &mut Findings<'_>, manifest: &Manifest) {
    for (index, tool) in manifest.tools.iter().enumerate() {
        let length = manifest.name.as_str().len() + 1 + tool.name.as_str().len();
        if length > MAX_TOOL_NAME {
            let message =
                format!("`{}_{}` has {length} characters, and models take {MAX_TOOL_NAME}", manifest.name, tool.name);
            found.add(
                Rule::LongToolName,
                &format!("tools[{index}].name"),
                message,
                "shorten it; the gateway would cut it",
            );
        }
    }
}

fn variables(found: &mut Findings<'_>, manifest: &Manifest) {
    let hosts = manifest.egress.iter().chain(manifest.rules.iter().flat_map(|rule| &rule.hosts));
    let hosts = hosts.chain(manifest.tcp.iter().map(|rule| &rule.host)).flat_map(EgressHost::variables);
    let runtime = manifest.runtime.iter();
    let templates = runtime.flat_map(|runtime| runtime.args.iter().chain(runtime.env.iter().map(|(_, value)| value)));
    let used: Vec<&str> = hosts.chain(templates.flat_map(Template::holes)).collect();
    for (index, variable) in manifest.variables.iter().enumerate() {
        // The toolspec of a toolpack may use it as well.
        if !used.contains(&variable.name.as_str()) && manifest.image.builder != Some(Builder::Toolpack) {
            let message = format!("nothing uses `{{{}}}`", variable.name);
            found.add(Rule::UnusedVariable, &format!("variables[{index}].name"), message, "remove it");
        }
    }
}

/// Characters that a model reads and a reviewer does not see. They got here by an escape; the file itself has none.
pub(super) fn hidden(found: &mut Findings<'_>, field: &str, text: &str) {
    if let Some(char) = text.chars().find(|char| crate::yaml::is_hidden(*char)) {
        let message = format!("the text has the hidden character U+{:04X}", u32::from(char));
        found.add(Rule::HiddenText, field, message, "remove it: what a model reads, a reviewer has to see");
    }
}

const MAX_TOOL_NAME: usize = 64;

const MOVING_TAGS: [&str; 9] = ["dev", "develop", "edge", "head", "latest", "main", "master", "stable", "trunk"];
