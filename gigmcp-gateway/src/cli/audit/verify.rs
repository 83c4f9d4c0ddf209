//! `audit verify`.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde::Serialize;

use crate::{
    cli::progress::Count,
    host::{Host, HostError},
    output::{Failure, Output},
    store::now_millis,
    trail::{InvalidExport, Line, Link, PublicKey, Report, Verifier, VerifyError, verify_while},
};

#[derive(Args)]
pub(crate) struct Verify {
    /// An export to check instead of the database; it must have been written without filters
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// A head that an earlier `audit verify` printed and that was kept elsewhere: the trail must still hold it
    #[arg(long, value_name = "PLACE:HASH")]
    pub(crate) head: Option<Link>,

    /// The key that signs the trail, as an earlier `audit verify` printed it; may be given several times. Without it, the
    /// master key is asked for which keys in the database are ours
    #[arg(long, value_name = "HEX")]
    pub(crate) key: Vec<PublicKey>,

    /// Fail also if more than 2,000 of the newest rows are signed by nobody, or one that is older than a minute
    #[arg(long)]
    pub(crate) strict: bool,
}

/// What was found, and who vouches for it.
#[derive(Serialize)]
pub(crate) struct Found {
    #[serde(flatten)]
    pub(crate) report: Report,
    /// The keys that sign.
    pub(crate) keys: Vec<String>,
    /// Whether the operator or the master key vouches for the keys; if not, only the export does.
    pub(crate) trusted_keys: bool,
}

/// Checks the whole trail, and fails at the first row that is wrong.
pub(super) async fn run(
    open: impl FnOnce() -> Result<Host, HostError>,
    asked: Verify,
    out: &Output,
) -> Result<ExitCode, Failure> {
    if asked.file.is_some() {
        return of_file(asked, out);
    }
    let host = open()?;
    let keys = match asked.key.is_empty() {
        false => asked.key,
        // Nothing is made for whoever only looks, not even a key.
        true if host.store.audit_keys().await?.is_empty() => Vec::new(),
        true => host.existing_secrets().await?.audit_keys().await?,
    };
    let mut count = Count::of_rows();
    let report = verify_while(&host.store, &keys, asked.head, |rows| count.add(rows)).await?;
    drop(count);
    print_found(&Found::new(report, &keys, Trust::Kept), asked.strict, out)
}

/// Checks an export in a file.
pub(crate) fn of_file(asked: Verify, out: &Output) -> Result<ExitCode, Failure> {
    let path = asked.file.as_deref().unwrap_or(Path::new(""));
    let opened = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    print_found(&of_lines(BufReader::new(opened), asked.key, asked.head)?, asked.strict, out)
}

/// Checks an export, with these keys or with those that it names itself.
pub(crate) fn of_lines(lines: impl BufRead, keys: Vec<PublicKey>, kept: Option<Link>) -> Result<Found, Failure> {
    let trust = if keys.is_empty() { Trust::Named } else { Trust::Kept };
    let (report, keys) = check(lines, keys, kept)?;
    Ok(Found::new(report, &keys, trust))
}

/// Who vouches for the keys.
#[derive(Clone, Copy, Debug)]
enum Trust {
    /// The operator, or the master key.
    Kept,
    /// Only what is checked.
    Named,
}

impl Found {
    fn new(report: Report, keys: &[PublicKey], trust: Trust) -> Self {
        let keys = keys.iter().map(ToString::to_string).collect();
        Self { report, keys, trusted_keys: matches!(trust, Trust::Kept) }
    }
}

/// Prints what was found here.
pub(crate) fn print_found(found: &Found, strict: bool, out: &Output) -> Result<ExitCode, Failure> {
    print(found, found.report.is_left_unsigned(now_millis()), strict, out)
}

/// Prints what was found; `left` says whether more rows are signed by nobody than a gateway leaves unsigned.
pub(crate) fn print(found: &Found, left: bool, strict: bool, out: &Output) -> Result<ExitCode, Failure> {
    out.print(found, text)?;
    if left {
        eprintln!(
            "warning: a gateway that runs signs within 10 seconds, and one that stops signs all: who can write to the database may have put in these rows, or taken their heads"
        );
    }
    Ok(if left && strict { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Checks an export, and gives the keys that it was checked with.
pub(super) fn check(
    mut lines: impl BufRead,
    keys: Vec<PublicKey>,
    kept: Option<Link>,
) -> Result<(Report, Vec<PublicKey>), Failure> {
    let mut number = 0;
    let mut next = || -> Result<Option<Line>, Failure> {
        let mut line = String::new();
        number += 1;
        let read = lines.read_line(&mut line);
        match read? {
            0 => Ok(None),
            _ => {
                let line = line.strip_suffix('\n').and_then(Line::from_json);
                line.map(Some).ok_or_else(|| InvalidExport::Line { line: number }.into())
            }
        }
    };
    let Some(Line::Head(head)) = next()? else { return Err(InvalidExport::Head.into()) };
    if let Some(filter) = &head.filter {
        return Err(InvalidExport::Filtered { filter: serde_json::to_string(filter)? }.into());
    }
    let keys = match keys.is_empty() {
        true => head.public_keys().ok_or(InvalidExport::Head)?,
        false => keys,
    };
    let mut verifier = Verifier::new(&keys, kept);
    head.after()?.into_iter().for_each(|after| verifier.assume(after));
    let mut count = Count::of_rows();
    let mut before = next()?;
    if keys.is_empty() && kept.is_none() && matches!(before, Some(Line::Row(_))) {
        return Err(VerifyError::NeverSigned.into());
    }
    while let Some(line) = before {
        count.add(1);
        before = next()?;
        let broken = match &line {
            Line::Head(_) => return Err(InvalidExport::Head.into()),
            Line::Statement(statement) => verifier.statement(statement),
            Line::Row(row) => match &before {
                Some(Line::Row(following)) => verifier.row(row, std::slice::from_ref(following)),
                _ => verifier.row(row, &[]),
            },
        };
        broken.map_err(VerifyError::from)?;
    }
    let report = verifier.finish().map_err(VerifyError::from)?;
    Ok((report, keys))
}

fn text(found: &Found) -> Vec<String> {
    let Found { report, keys, trusted_keys } = found;
    let mut lines = vec![report.to_string()];
    if report.pruned {
        lines.push(format!(
            "rows up to {} are not here: they were deleted as too old or too many, or not exported",
            report.after
        ));
    }
    if report.before_the_chain > 0 {
        lines.push(format!("{} rows are from before the chain, and nothing protects them", report.before_the_chain));
    }
    if report.unsigned > 0 {
        let (first, last) = (report.signed_to.saturating_add(1), report.head.split(':').next().unwrap_or_default());
        lines.push(format!("rows {first} to {last} are signed by nobody"));
    }
    lines.push(format!("head {}", report.head));
    lines.extend(keys.iter().map(|key| format!("key {key}")));
    lines.push(match trusted_keys {
        true => "keep these lines elsewhere: with --head and --key, `audit verify` also sees that the newest rows are gone".to_owned(),
        false => "these keys are vouched for by the export alone: compare them with what `audit verify` prints at the gateway, or give --key".to_owned(),
    });
    lines
}
