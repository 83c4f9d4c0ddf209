//! `doctor`: what this host can enforce, and which runtimes reach a host through the proxy, found by doing it.

mod internet;
mod probes;
mod runtimes;

use std::{borrow::Cow, process::ExitCode};

use clap::Args;
use gigmcp_sandbox::{Enforcement, Layer, Level, host_report};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    output::{Failure, Output, quiet},
    settings::Settings,
};

#[derive(Args)]
pub(crate) struct Doctor {
    /// Run every runtime that is installed inside a sandbox, and show which of them trust the proxy
    #[arg(long)]
    pub(crate) runtimes: bool,
}

/// Prints the report; the exit code is 1 when servers cannot be started safely here, or a runtime does not work.
pub(crate) async fn run(settings: &Settings, doctor: &Doctor, out: &Output) -> Result<ExitCode, Failure> {
    let report = host_report().await;
    if doctor.runtimes {
        return match missing(&report) {
            Some(why) => Err(why.into()),
            None => runtimes::run(settings, out).await,
        };
    }
    print(&HostReport::of(&report), out)
}

/// Prints a report of this host or another; the exit code is 1 when servers cannot be started safely there.
pub(crate) fn print(report: &HostReport, out: &Output) -> Result<ExitCode, Failure> {
    out.print(report, text)?;
    Ok(if report.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this host can enforce, as a document.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub(crate) struct HostReport {
    /// Whether servers can be started.
    ready: bool,
    layers: Vec<HostLayer>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
struct HostLayer {
    layer: Cow<'static, str>,
    /// `full`, `partial` or `none`.
    level: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl HostReport {
    /// Of this host, as it is now.
    pub(crate) async fn now() -> Self {
        Self::of(&host_report().await)
    }

    fn of(report: &Enforcement) -> Self {
        Self { ready: missing(report).is_none(), layers: layers(report) }
    }
}

fn layers(report: &Enforcement) -> Vec<HostLayer> {
    let layers = report.layers().map(|(layer, level)| {
        let (level, why, fix) = match level {
            Level::Full => ("full", None, None),
            Level::Partial(why) => ("partial", Some(why.clone()), None),
            Level::None { why, fix } => ("none", Some(why.clone()), Some(fix.clone())),
        };
        HostLayer { layer: layer.name().into(), level: level.into(), why, fix }
    });
    layers.collect()
}

fn text(report: &HostReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((why, fix)) = one_cause(&report.layers) {
        return vec![format!("no sandbox can start on this host: {why}"), format!("fix: {fix}")];
    }
    for HostLayer { layer, level, why, fix } in &report.layers {
        let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        lines.push(quiet(&format!("{level:<8} {layer}{why}")));
        lines.extend(fix.as_ref().map(|fix| quiet(&format!("         fix: {fix}"))));
    }
    lines.push(match report.ready {
        true => "this host is ready: servers run with every layer marked full or partial above".to_owned(),
        false => {
            "servers cannot be started on this host until the layers that are always demanded are there".to_owned()
        }
    });
    lines
}

/// What keeps every layer from being there, if it is one thing.
fn one_cause(layers: &[HostLayer]) -> Option<(&str, &str)> {
    let first = layers.first()?;
    let cause = (first.why.as_deref()?, first.fix.as_deref()?);
    let same = |other: &HostLayer| (&other.why, &other.fix) == (&first.why, &first.fix);
    layers.iter().all(same).then_some(cause)
}

/// What keeps this host from starting servers, if something does.
pub(crate) fn missing(report: &Enforcement) -> Option<String> {
    demanded_but_absent(report.layers()).map(|Absent { layer, why, fix }| {
        let what = match one_cause(&layers(report)) {
            Some(_) => "no sandbox can start on this host".to_owned(),
            None => format!("this host cannot enforce `{layer}`"),
        };
        format!("{what}: {why}\n  fix: {fix}")
    })
}

/// A layer that is not in force and without which no server is ever started.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{layer}` is not in force: {why}; {fix}")]
pub(crate) struct Absent {
    layer: Layer,
    why: String,
    fix: String,
}

/// The first such layer. The same rule for the report on a host and for each sandbox that was started.
pub(crate) fn demanded_but_absent<'a>(layers: impl IntoIterator<Item = (Layer, &'a Level)>) -> Option<Absent> {
    layers.into_iter().find_map(|(layer, level)| match level {
        Level::None { why, fix } if !OPTIONAL.contains(&layer) => {
            Some(Absent { layer, why: why.clone(), fix: fix.clone() })
        }
        Level::None { .. } | Level::Partial(_) | Level::Full => None,
    })
}

/// What some kernels and hosts lack, and the sandbox holds without; the report names it all the same.
const OPTIONAL: [Layer; 2] = [Layer::Landlock, Layer::CgroupLimits];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_layer_that_some_kernels_lack_may_be_absent() {
        let absent = Level::None { why: "why".to_owned(), fix: "fix".to_owned() };
        let gap = Level::Partial("gap".to_owned());
        for layer in Layer::ALL {
            let refused = demanded_but_absent([(Layer::User, &Level::Full), (layer, &absent)]);
            let optional = matches!(layer, Layer::Landlock | Layer::CgroupLimits);
            let expected = Absent { layer, why: "why".to_owned(), fix: "fix".to_owned() };
            assert_eq!(refused, (!optional).then_some(expected), "{layer}");
            assert_eq!(demanded_but_absent([(layer, &gap)]), None, "twin: {layer} with a gap");
        }
    }
}
