//! `doctor`: what this host can enforce, found by doing it.

use std::process::ExitCode;

use gigmcp_sandbox::{Enforcement, Layer, Level, host_report};
use serde_json::json;

use crate::output::{Failure, Output};

/// Prints the report; the exit code is 1 when servers cannot be started safely here.
pub(crate) async fn run(out: &Output) -> Result<ExitCode, Failure> {
    let report = host_report().await;
    let layers = report.layers().map(|(layer, level)| match level {
        Level::Full => json!({ "layer": layer.name(), "level": "full" }),
        Level::Partial(why) => json!({ "layer": layer.name(), "level": "partial", "why": why }),
        Level::None { why, fix } => json!({ "layer": layer.name(), "level": "none", "why": why, "fix": fix }),
    });
    let ready = missing(&report).is_none();
    let document = json!({ "ready": ready, "layers": layers.collect::<Vec<_>>() });
    out.print(&document, |_| text(&report, ready))?;
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(report: &Enforcement, ready: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (layer, level) in report.layers() {
        let name = layer.name();
        match level {
            Level::Full => lines.push(format!("full     {name}")),
            Level::Partial(why) => lines.push(format!("partial  {name}: {why}")),
            Level::None { why, fix } => {
                lines.push(format!("none     {name}: {why}"));
                lines.push(format!("         fix: {fix}"));
            }
        }
    }
    lines.push(match ready {
        true => "this host is ready: servers run with every layer marked full or partial above".to_owned(),
        false => {
            "servers cannot be started on this host until the layers that are always demanded are there".to_owned()
        }
    });
    lines
}

/// The first layer without which no server is ever started, if this host lacks one.
pub(crate) fn missing(report: &Enforcement) -> Option<String> {
    report.layers().find_map(|(layer, level)| match level {
        Level::None { why, fix } if !OPTIONAL.contains(&layer) => {
            Some(format!("this host cannot enforce `{}`: {why}\n  fix: {fix}", layer.name()))
        }
        _ => None,
    })
}

/// What some kernels and hosts lack, and the sandbox holds without; the report names it all the same.
const OPTIONAL: [Layer; 2] = [Layer::Landlock, Layer::CgroupLimits];
