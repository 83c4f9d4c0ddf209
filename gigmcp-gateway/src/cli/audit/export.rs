//! `audit export`.

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use clap::Args;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    host::Host,
    output::Failure,
    store::Store,
    trail::{ExportHead, Filter, Line, Link, PAGE_ROWS, Place, Statement},
};

#[derive(Args, Default)]
pub(super) struct Export {
    /// Only rows after the one with this id, for example the last that was exported before
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(0..))]
    pub(super) after: Option<Place>,

    /// Go on with rows that are yet to come, until ended
    #[arg(long)]
    pub(super) follow: bool,

    /// Only what began at this time or later, as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = millis)]
    pub(super) since: Option<i64>,

    /// Only what began before this time
    #[arg(long, value_name = "TIME", value_parser = millis)]
    pub(super) until: Option<i64>,

    /// Only rows of this kind: request, connect, dns, tcp, tool, credential, tripwire, audit, or of people: login,
    /// logout, account, invitation, session, token, api-key or view
    #[arg(long)]
    pub(super) kind: Option<String>,

    /// Only rows of this profile
    #[arg(long)]
    pub(super) profile: Option<String>,

    /// Only rows of this server
    #[arg(long)]
    pub(super) server: Option<String>,

    /// Only rows of this instance
    #[arg(long)]
    pub(super) instance: Option<String>,

    /// Only this tool call, and what its server did while it was under way
    #[arg(long, value_name = "ID")]
    pub(super) call: Option<String>,

    /// Only this request, and the credentials that were read for it
    #[arg(long, value_name = "ID")]
    pub(super) request: Option<String>,

    /// Only alarms
    #[arg(long)]
    pub(super) alarms: bool,
}

/// Writes line after line, with few of them in memory.
pub(super) async fn run(host: Host, asked: &Export) -> Result<(), Failure> {
    match write(&host.store, asked, BufWriter::new(io::stdout().lock())).await {
        // Whoever read it has enough.
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => Ok(()),
        written => written,
    }
}

impl Export {
    fn filter(&self) -> Filter {
        Filter {
            since_ms: self.since,
            until_ms: self.until,
            kind: self.kind.clone(),
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
    let filter = Some(asked.filter()).filter(|filter| *filter != Filter::default());
    let after = match asked.after {
        Some(place) => Some(link(store, place).await?),
        None => None,
    };
    let keys = store.audit_keys().await?.iter().map(|row| hex::encode(&row.public_key)).collect();
    let head = ExportHead { version: 1, keys, after: after.map(|after| after.to_string()), filter: filter.clone() };
    line(&mut out, &Line::Head(head))?;
    let mut end = after.map_or(Place::MIN, |after| after.place);
    let mut base: Option<Statement> = None;
    let mut head = end;
    loop {
        let page = store.audit_page(end, PAGE_ROWS).await?;
        // A head may be signed after its row was exported.
        let late = match page.last && head < end && filter.is_none() {
            true => store.audit_heads(head, end).await?,
            false => Vec::new(),
        };
        for statement in late {
            head = statement.link.place;
            line(&mut out, &Line::Statement(statement))?;
        }
        let mut statements = page.heads.into_iter().filter(|_| filter.is_none()).peekable();
        // The first time, or when rows were deleted that were not exported yet.
        let moved = page.base.filter(|moved| moved.link.place > end && base.as_ref() != Some(moved));
        if let Some(moved) = moved.filter(|_| filter.is_none()) {
            line(&mut out, &Line::Statement(moved.clone()))?;
            base = Some(moved);
        }
        for row in page.rows {
            end = row.id;
            if filter.as_ref().is_none_or(|filter| filter.takes(&row.row)) {
                line(&mut out, &Line::Row(row))?;
            }
            while let Some(statement) = statements.next_if(|statement| statement.link.place <= end) {
                head = statement.link.place;
                line(&mut out, &Line::Statement(statement))?;
            }
        }
        if !page.last {
            continue;
        }
        if !asked.follow {
            // Heads of rows that are not there: whoever verifies the export is to see it.
            statements.try_for_each(|statement| line(&mut out, &Line::Statement(statement)))?;
            return Ok(out.flush()?);
        }
        out.flush()?;
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// What a row that was exported before has to be followed by.
async fn link(store: &Store, place: Place) -> Result<Link, Failure> {
    let page = store.audit_page(place - 1, 1).await?;
    let row = page.rows.first().filter(|row| row.id == place).and_then(|row| row.link());
    let base = page.base.map(|base| base.link).filter(|link| link.place == place);
    row.or(base)
        .ok_or_else(|| format!("there is no row {place} in the chain; see `gigmcp-gateway audit verify`").into())
}

fn line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    out.write_all(line.to_json().as_bytes())?;
    out.write_all(b"\n")
}

fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn millis(text: &str) -> Result<i64, String> {
    let time =
        OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "give a time such as 2026-01-31T00:00:00Z".to_owned())?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| "that is too far away".to_owned())
}

/// How long rows that are yet to come are waited for at once.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
