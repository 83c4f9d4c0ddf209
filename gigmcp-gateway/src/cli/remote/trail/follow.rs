//! `audit export --follow`: what was exported is asked for again, and what is new of it written.

use std::{io::Write, time::Duration};

use hyper::body::Incoming;

use super::{
    super::{Remote, RemoteError},
    all, audit, exported, next,
};
use crate::{
    output::Failure,
    trail::{Line, Place},
};

/// Goes on until it is ended.
///
/// A head is signed after its row was written, so rows after the last head are asked for again, until there is one.
pub(super) async fn export(
    remote: &Remote,
    asked: &audit::export::Export,
    into: &mut impl Write,
) -> Result<(), Failure> {
    let mut seen = Seen { row: None, statement: None };
    let mut after = asked.after;
    let mut is_first = true;
    loop {
        let mut lines = Lines { body: exported(remote, &all(asked, after)).await?, rest: Vec::new() };
        while let Some(line) = lines.next().await? {
            let is_new = match Line::from_json(&line).ok_or_else(|| RemoteError::NotALine)? {
                Line::Head(_) => is_first,
                Line::Row(row) => newer(&mut seen.row, row.id),
                Line::Statement(statement) => newer(&mut seen.statement, statement.link.place),
            };
            if is_new {
                into.write_all(line.as_bytes())?;
                into.write_all(b"\n")?;
            }
        }
        into.flush()?;
        is_first = false;
        // Without a filter, what a new head is about is among what is asked for.
        after = if asked.has_filter() { seen.row } else { seen.statement }.or(after);
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// How far it was written.
struct Seen {
    row: Option<Place>,
    statement: Option<Place>,
}

/// Whether this place is beyond those that were seen, of which it is one from now on.
fn newer(seen: &mut Option<Place>, place: Place) -> bool {
    let is_newer = seen.is_none_or(|seen| place > seen);
    if is_newer {
        *seen = Some(place);
    }
    is_newer
}

/// An answer, line by line.
struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<String>, RemoteError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.drain(..=end).take(end).collect();
                return String::from_utf8(line).map(Some).map_err(|_| RemoteError::NotALine);
            }
            if self.rest.len() > MAX_LINE_BYTES {
                return Err(RemoteError::TooLarge { bytes: MAX_LINE_BYTES });
            }
            match next(&mut self.body).await? {
                Some(bytes) => self.rest.extend_from_slice(&bytes),
                None if self.rest.is_empty() => return Ok(None),
                None => return Err(RemoteError::NotALine),
            }
        }
    }
}

/// As on the machine of the gateway, where asking costs less.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// A page of rows is sent at once.
const MAX_LINE_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_not_written_again() {
        let mut seen = None;
        for (place, expected) in [(-1, true), (0, true), (0, false), (5, true), (3, false), (6, true)] {
            assert_eq!(newer(&mut seen, place), expected, "{place}");
        }
    }
}
