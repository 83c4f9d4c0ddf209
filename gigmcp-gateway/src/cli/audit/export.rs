//! `audit export`.

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use clap::Args;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    cli::progress::Counted,
    host::Host,
    output::Failure,
    store::Store,
    trail::{Exporter, Filter, Line, Place},
};

#[derive(Args, Default)]
pub(crate) struct Export {
    /// Only rows after the one with this id, for example the last that was exported before
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) after: Option<Place>,

    /// Go on with rows that are yet to come, until ended
    #[arg(long)]
    pub(crate) follow: bool,

    /// Only what began at this time or later, as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = millis)]
    pub(crate) since: Option<i64>,

    /// Only what began before this time
    #[arg(long, value_name = "TIME", value_parser = millis)]
    pub(crate) until: Option<i64>,

    /// Only rows of this kind: request, connect, dns, tcp, tool, credential, tripwire, consent, rollback, removal, pin, audit,
    /// master-key, backup, or of people: login, logout, account, invitation, session, token, api-key, view, proof, profile, server,
    /// secret or instance
    #[arg(long)]
    pub(crate) kind: Option<String>,

    /// Only rows of this person
    #[arg(long)]
    pub(crate) owner: Option<String>,

    /// Only rows of this profile
    #[arg(long)]
    pub(crate) profile: Option<String>,

    /// Only rows of this server
    #[arg(long)]
    pub(crate) server: Option<String>,

    /// Only rows of this instance
    #[arg(long)]
    pub(crate) instance: Option<String>,

    /// Only this tool call, and what its server did while it was under way
    #[arg(long, value_name = "ID")]
    pub(crate) call: Option<String>,

    /// Only this request, and the credentials that were read for it
    #[arg(long, value_name = "ID")]
    pub(crate) request: Option<String>,

    /// Only alarms
    #[arg(long)]
    pub(crate) alarms: bool,
}

/// Writes line after line, with few of them in memory.
pub(super) async fn run(host: Host, asked: &Export) -> Result<(), Failure> {
    match write(&host.store, asked, Counted::new(BufWriter::new(io::stdout().lock()))).await {
        // Whoever read it has enough.
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => Ok(()),
        written => written,
    }
}

impl Export {
    /// Whether rows are left out.
    pub(crate) fn has_filter(&self) -> bool {
        self.filter() != Filter::default()
    }

    fn filter(&self) -> Filter {
        Filter {
            since_ms: self.since,
            until_ms: self.until,
            kind: self.kind.clone(),
            owner: self.owner.clone(),
            profile: self.profile.clone(),
            server: self.server.clone(),
            instance: self.instance.clone(),
            call: self.call.clone(),
            request: self.request.clone(),
            alarms: self.alarms,
        }
    }
}

pub(super) async fn write(store: &Store, asked: &Export, mut out: impl Write) -> Result<(), Failure> {
    let (mut exporter, head) = Exporter::begin(store, asked.filter(), asked.after).await?;
    line(&mut out, &head)?;
    loop {
        let next = exporter.next().await?;
        next.lines.iter().try_for_each(|next| line(&mut out, next))?;
        if !next.last {
            continue;
        }
        if !asked.follow {
            next.rest.iter().try_for_each(|rest| line(&mut out, rest))?;
            return Ok(out.flush()?);
        }
        out.flush()?;
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

fn line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    out.write_all(line.to_json().as_bytes())?;
    out.write_all(b"\n")
}

pub(crate) fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn millis(text: &str) -> Result<i64, String> {
    let time =
        OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "give a time such as 2026-01-31T00:00:00Z".to_owned())?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| "that is too far away".to_owned())
}

/// How long rows that are yet to come are waited for at once.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
