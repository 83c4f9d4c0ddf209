//! As JSON of our own.

use serde_json::{Value, json};

use super::Report;
use crate::diagnostic::{Diagnostic, Place, Severity};

pub(super) fn json(report: &Report) -> String {
    let files = report.files().iter().map(|file| {
        let diagnostics: Vec<_> = file.diagnostics.iter().map(diagnostic).collect();
        json!({ "path": file.path, "diagnostics": diagnostics })
    });
    let json = json!({
        "files": files.collect::<Vec<_>>(),
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "notes": report.count(Severity::Note),
    });
    format!("{json}\n")
}

fn diagnostic(diagnostic: &Diagnostic) -> Value {
    let mut json = json!({
        "code": diagnostic.rule.code(),
        "name": diagnostic.rule.name(),
        "severity": diagnostic.severity.as_str(),
        "field": diagnostic.field,
        "place": place(&diagnostic.place),
        "message": diagnostic.message,
    });
    if let Some(help) = &diagnostic.help {
        json["help"] = help.as_str().into();
    }
    if let Some((at, message)) = &diagnostic.related {
        json["related"] = json!({ "place": place(at), "message": message });
    }
    json
}

fn place(place: &Place) -> Value {
    json!({ "line": place.line, "column": place.column, "start": place.span.start, "end": place.span.end })
}
