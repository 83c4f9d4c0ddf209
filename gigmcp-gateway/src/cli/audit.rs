//! `audit`.

use clap::Args;

use crate::{
    host::Host,
    output::{Failure, Output, columns},
    store::AuditRow,
};

#[derive(Args)]
pub(crate) struct Audit {
    /// How many rows
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
}

/// Does what was asked.
pub(crate) async fn run(host: Host, audit: &Audit, out: &Output) -> Result<(), Failure> {
    let rows = host.store.audit_tail(audit.limit).await?;
    out.print(&rows, |rows| {
        let head = [
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

fn cells(row: &AuditRow) -> Vec<String> {
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(row.at_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_default();
    let alarm = if row.alarm { " ALARM" } else { "" };
    vec![
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
