//! `audit`: shows, verifies and exports the audit trail.

mod export;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::{
    host::Host,
    output::{Failure, Output, columns},
    trail::ChainedRow,
};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Audit {
    #[command(flatten)]
    list: List,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Show the newest rows, oldest of them first; what `audit` alone does
    List(List),
    /// Check that no row was changed, put in or taken out; name the first that was
    Verify(verify::Verify),
    /// Write the rows as JSON lines, which `audit verify --file` can check elsewhere
    Export(export::Export),
}

#[derive(Args)]
struct List {
    /// How many rows
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
}

/// Does what was asked.
pub(crate) async fn run(
    open: impl FnOnce() -> Result<Host, crate::host::HostError>,
    audit: Audit,
    out: &Output,
) -> Result<ExitCode, Failure> {
    match audit.command.unwrap_or(Command::List(audit.list)) {
        Command::List(asked) => list(open()?, &asked, out).await?,
        Command::Verify(asked) => return verify::run(open, asked, out).await,
        Command::Export(asked) => export::run(open()?, &asked).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(host: Host, asked: &List, out: &Output) -> Result<(), Failure> {
    let rows = host.store.audit_tail(asked.limit).await?;
    out.print(&rows, |rows| {
        let head = [
            "ID",
            "TIME (UTC)",
            "KIND",
            "PROFILE",
            "SERVER",
            "SUBJECT",
            "VERDICT",
            "POLICY",
            "STATUS",
            "CREDENTIALS",
            "BYTES",
            "MS",
        ];
        columns(&head, &rows.iter().map(cells).collect::<Vec<_>>())
    })
}

fn cells(ChainedRow { id, row, .. }: &ChainedRow) -> Vec<String> {
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(row.at_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_default();
    let alarm = if row.alarm { " ALARM" } else { "" };
    vec![
        id.to_string(),
        time,
        row.kind.clone(),
        row.profile.clone(),
        row.server.clone(),
        row.subject.clone(),
        format!("{}{alarm}", row.verdict),
        row.policy_version.map(|version| version.to_string()).unwrap_or_default(),
        row.status.map(|status| status.to_string()).unwrap_or_default(),
        row.credentials.clone(),
        format!("{}/{}", row.bytes_up, row.bytes_down),
        format!("{:.1}", row.duration_us as f64 / 1000.0),
    ]
}

#[cfg(test)]
mod tests;
