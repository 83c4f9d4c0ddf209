//! As SARIF 2.1.0, the OASIS standard for what analysers find.

use serde_json::{Value, json};

use super::{Checked, Report};
use crate::diagnostic::{Diagnostic, Place, Rule};

pub(super) fn sarif(report: &Report) -> String {
    let results: Vec<_> =
        report.files().iter().flat_map(|file| file.diagnostics.iter().map(|found| result(file, found))).collect();
    let json = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "registryctl",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": Rule::ALL.iter().map(|rule| descriptor(*rule)).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{json}\n")
}

fn descriptor(rule: Rule) -> Value {
    json!({
        "id": rule.code(),
        "name": rule.name(),
        "shortDescription": { "text": rule.summary() },
        "defaultConfiguration": { "level": rule.severity().as_str() },
    })
}

fn result(file: &Checked, found: &Diagnostic) -> Value {
    let index = Rule::ALL.iter().position(|rule| *rule == found.rule);
    let text = match &found.help {
        Some(help) => format!("{}\n{help}", found.message),
        None => found.message.clone(),
    };
    let mut result = json!({
        "ruleId": found.rule.code(),
        "ruleIndex": index,
        "level": found.severity.as_str(),
        "message": { "text": text },
        "locations": [location(file, &found.place, None)],
    });
    if let Some((place, message)) = &found.related {
        result["relatedLocations"] = json!([location(file, place, Some(message))]);
    }
    result
}

fn location(file: &Checked, place: &Place, message: Option<&str>) -> Value {
    let mut location = json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(&file.path) },
        "region": region(file, place),
    } });
    if let Some(message) = message {
        location["message"] = json!({ "text": message });
    }
    location
}

/// From its first to behind its last character, on one line or several.
fn region(file: &Checked, place: &Place) -> Value {
    let end = Place::of(file.text.as_bytes(), place.span.end.max(place.span.start)..place.span.end);
    let (end_line, end_column) = if file.text.is_empty() { (place.line, place.column) } else { (end.line, end.column) };
    json!({ "startLine": place.line, "startColumn": place.column, "endLine": end_line, "endColumn": end_column })
}

/// A relative reference: what is no path character is escaped, a colon too, which would make a scheme.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte);
    path.bytes().fold(String::new(), |mut uri, byte| {
        if plain(byte) {
            uri.push(byte.into())
        } else {
            uri.push_str(&format!("%{byte:02X}"))
        }
        uri
    })
}
