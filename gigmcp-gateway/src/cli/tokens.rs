//! `profile tokens`: what lists of tools cost.

use std::{collections::HashMap, sync::Arc};

use gigmcp_mcp::TokenReport;
use serde_json::json;

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
    print(&profile.slug, &report?, out)
}

fn print(profile: &ProfileSlug, report: &TokenReport, out: &Output) -> Result<(), Failure> {
    let missing: Vec<_> =
        report.faults.iter().map(|fault| (fault.server.to_string(), fault.kind.to_string())).collect();
    let listed = if report.is_meta { "meta" } else { "direct" };
    let servers = report.servers.iter();
    let document = json!({
        "profile": profile.as_str(),
        "servers": servers.map(|of| json!({ "server": of.server.as_str(), "tools": of.tools, "tokens": of.tokens })).collect::<Vec<_>>(),
        "direct": report.direct,
        "meta": report.meta,
        "listed": listed,
        "missing": missing.iter().map(|(server, why)| json!({ "server": server, "why": why })).collect::<Vec<_>>(),
    });
    out.print(&document, |_| {
        let rows =
            report.servers.iter().map(|of| vec![of.server.to_string(), of.tools.to_string(), of.tokens.to_string()]);
        let mut lines = columns(&["SERVER", "TOOLS", "TOKENS"], &rows.collect::<Vec<_>>());
        lines.push(format!("listed one by one (direct): {} tokens", report.direct));
        lines.push(format!("behind the meta-tools (meta): {} tokens", report.meta));
        lines.push(format!("clients of {profile} see: {listed}"));
        lines.extend(missing.iter().map(|(server, why)| format!("not complete: {server}: {why}")));
        lines.push("estimated; each model counts in its own way".to_owned());
        lines
    })
}
