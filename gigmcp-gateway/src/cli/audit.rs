//! `audit`: shows, verifies and exports the audit trail.

pub(super) mod export;
pub(super) mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::{
    host::Host,
    output::{Failure, Output, columns},
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
pub(super) enum Command {
    /// Show the newest rows, oldest of them first; what `audit` alone does
    List(List),
    /// Check that no row was changed, put in or taken out; name the first that was
    Verify(verify::Verify),
    /// Write the rows as JSON lines, which `audit verify --file` can check elsewhere
    Export(export::Export),
}

#[derive(Args)]
pub(super) struct List {
    /// How many rows
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) limit: u64,
}

impl Audit {
    /// What is asked; `audit` alone lists.
    pub(super) fn command(self) -> Command {
        self.command.unwrap_or(Command::List(self.list))
    }
}

/// Does what was asked.
pub(crate) async fn run(
    open: impl FnOnce() -> Result<Host, crate::host::HostError>,
    audit: Audit,
    out: &Output,
) -> Result<ExitCode, Failure> {
    match audit.command() {
        Command::List(asked) => list(open()?, &asked, out).await?,
        Command::Verify(asked) => return verify::run(open, asked, out).await,
        Command::Export(asked) => export::run(open()?, &asked).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(host: Host, asked: &List, out: &Output) -> Result<(), Failure> {
    let rows = host.store.audit_tail(asked.limit).await?;
    let rows: Result<Vec<Value>, _> = rows.iter().map(serde_json::to_value).collect();
    print_list(&rows?, out)
}

/// Rows as documents, the oldest first.
pub(super) fn print_list(rows: &[Value], out: &Output) -> Result<(), Failure> {
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

fn cells(row: &Value) -> Vec<String> {
    let text = |name: &str| match &row[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let number = |name: &str| row[name].as_i64().unwrap_or_default();
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(number("at_ms")) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_default();
    let alarm = if row["alarm"] == true { " ALARM" } else { "" };
    vec![
        text("id"),
        time,
        text("kind"),
        text("profile"),
        text("server"),
        text("subject"),
        format!("{}{alarm}", text("verdict")),
        text("policy_version"),
        text("status"),
        text("credentials"),
        format!("{}/{}", number("bytes_up"), number("bytes_down")),
        format!("{:.1}", number("duration_us") as f64 / 1000.0),
    ]
}

#[cfg(test)]
mod tests;
