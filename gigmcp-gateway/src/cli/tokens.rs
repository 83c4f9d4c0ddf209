//! `profile tokens`: what lists of tools cost.

use std::{collections::HashMap, sync::Arc};

use gigmcp_mcp::TokenReport;
use serde::{Deserialize, Serialize};

use crate::{
    host::Host,
    output::{Failure, Output, columns},
    profiles::Profiles,
    serve,
    settings::Settings,
    spec::ProfileSlug,
};

/// Starts the profile's servers, counts, and ends them.
pub(super) async fn run(settings: &Settings, host: Host, name: ProfileSlug, out: &Output) -> Result<(), Failure> {
    let profile = host.store.profile(name).await?;
    serve::check_host().await?;
    let (supervisor, custody) = serve::supervisor(settings, host, HashMap::new()).await?;
    let profiles = Profiles::new(Arc::new(supervisor), settings);
    let report = match profiles.aggregator(&profile).await {
        Ok(aggregator) => Ok(aggregator.token_report().await),
        Err(error) => Err(error),
    };
    profiles.stop().await;
    custody.close().await;
    print(&Costs::of(&profile.slug, &report?), out)
}

/// What lists cost.
#[derive(Serialize)]
pub(super) struct Costs {
    pub(super) profile: String,
    pub(super) servers: Vec<Cost>,
    pub(super) direct: usize,
    pub(super) meta: usize,
    /// `direct` or `meta`.
    pub(super) listed: &'static str,
    pub(super) missing: Vec<Missing>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Cost {
    server: String,
    tools: usize,
    tokens: usize,
}

/// A server that could not be counted.
#[derive(Serialize)]
pub(super) struct Missing {
    pub(super) server: String,
    pub(super) why: Option<String>,
}

impl Costs {
    fn of(profile: &ProfileSlug, report: &TokenReport) -> Self {
        let cost =
            |of: &gigmcp_mcp::ServerTokens| Cost { server: of.server.to_string(), tools: of.tools, tokens: of.tokens };
        let missing = report
            .faults
            .iter()
            .map(|fault| Missing { server: fault.server.to_string(), why: Some(fault.kind.to_string()) });
        Self {
            profile: profile.to_string(),
            servers: report.servers.iter().map(cost).collect(),
            direct: report.direct,
            meta: report.meta,
            listed: if report.is_meta { "meta" } else { "direct" },
            missing: missing.collect(),
        }
    }
}

pub(super) fn print(costs: &Costs, out: &Output) -> Result<(), Failure> {
    out.print(costs, |costs| {
        let rows = costs.servers.iter().map(|of| vec![of.server.clone(), of.tools.to_string(), of.tokens.to_string()]);
        let mut lines = columns(&["SERVER", "TOOLS", "TOKENS"], &rows.collect::<Vec<_>>());
        lines.push(format!("listed one by one (direct): {} tokens", costs.direct));
        lines.push(format!("behind the meta-tools (meta): {} tokens", costs.meta));
        lines.push(format!("clients of {} see: {}", costs.profile, costs.listed));
        lines.extend(costs.missing.iter().map(|missing| match &missing.why {
            Some(why) => format!("not complete: {}: {why}", missing.server),
            None => format!("not complete: {}", missing.server),
        }));
        lines.push("estimated; each model counts in its own way".to_owned());
        lines
    })
}
