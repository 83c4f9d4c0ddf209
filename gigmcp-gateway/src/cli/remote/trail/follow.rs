//! `audit export --follow`: what was exported is asked for again, and what is new of it written.

use std::{io::Write, time::Duration};

use hyper::body::Incoming;
use serde::Deserialize;

use super::{
    super::{Path, Remote, RemoteError},
    all, audit, exported, next,
};
use crate::{
    output::{Failure, whole},
    trail::{Line, Place},
};

/// Goes on until it is ended, also when the gateway is away for a while.
pub(super) async fn export(
    remote: &Remote,
    asked: &audit::export::Export,
    into: &mut impl Write,
) -> Result<(), Failure> {
    follow(remote, asked, into, FOLLOW_EVERY).await
}

async fn follow(
    remote: &Remote,
    asked: &audit::export::Export,
    into: &mut impl Write,
    every: Duration,
) -> Result<(), Failure> {
    let mut written = Written { after: asked.after, ..Written::default() };
    written.go_on(remote, asked, into).await?;
    let mut is_away = false;
    loop {
        tokio::time::sleep(every).await;
        let error = match written.go_on(remote, asked, into).await {
            Ok(()) => {
                is_away = false;
                continue;
            }
            Err(error) => error,
        };
        if !error.downcast_ref().is_some_and(RemoteError::may_pass) {
            return Err(error);
        }
        if !std::mem::replace(&mut is_away, true) {
            eprintln!(
                "gigmcp: the gateway cannot be followed at the moment, and is asked again until it can: {}",
                whole(&*error)
            );
        }
    }
}

/// How far it was written.
#[derive(Default)]
struct Written {
    /// After which row is asked next.
    after: Option<Place>,
    has_head: bool,
    row: Option<Place>,
    statement: Option<Place>,
}

impl Written {
    /// Writes what is new by now.
    ///
    /// A head is signed after its row was written, so rows after the last head are asked for again, until there is one.
    async fn go_on(
        &mut self,
        remote: &Remote,
        asked: &audit::export::Export,
        into: &mut impl Write,
    ) -> Result<(), Failure> {
        // Through a filter heads are not seen, nor the rows that were looked through and do not fit.
        let looked_through = if asked.has_filter() { newest(remote).await? } else { None };
        let mut lines = Lines { body: exported(remote, &all(asked, self.after)).await?, rest: Vec::new() };
        while let Some(line) = lines.next().await? {
            let is_new = match Line::from_json(&line).ok_or_else(|| RemoteError::NotALine)? {
                Line::Head(_) => !std::mem::replace(&mut self.has_head, true),
                Line::Row(row) => newer(&mut self.row, row.id),
                Line::Statement(statement) => newer(&mut self.statement, statement.link.place),
            };
            if is_new {
                into.write_all(line.as_bytes())?;
                into.write_all(b"\n")?;
            }
        }
        into.flush()?;
        self.after = if asked.has_filter() { looked_through.max(self.row) } else { self.statement }.or(self.after);
        Ok(())
    }
}

/// The row that is the newest now.
async fn newest(remote: &Remote) -> Result<Option<Place>, RemoteError> {
    let rows: Vec<Numbered> = remote.some(&Path::of(&["audit"]), 1).await?;
    Ok(rows.first().map(|row| row.id))
}

#[derive(Deserialize)]
struct Numbered {
    id: Place,
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
    use std::{
        io::Read,
        net::TcpListener,
        thread::{self, JoinHandle},
    };

    use super::{super::super::Connection, *};
    use crate::trail::{ChainedRow, ExportHead, testing};

    /// What a gateway does when it is asked.
    enum Fate {
        Answers(u16, String),
        /// It says this, and more that does not come.
        BreaksOff(String),
    }

    /// A gateway that does these things, one after the other, and tells what it was asked.
    fn gateway(fates: Vec<Fate>) -> (Remote, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address")).parse().expect("a URL");
        let asked = thread::spawn(move || {
            let asked = fates.into_iter().map(|fate| {
                let (mut stream, _) = listener.accept().expect("somebody comes");
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("a request") == 1 {
                    head.push(byte[0]);
                }
                let (status, more, text) = match fate {
                    Fate::Answers(status, text) => (status, 0, text),
                    Fate::BreaksOff(text) => (200, 1, text),
                };
                let length = text.len() + more;
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
                stream.write_all(answer.as_bytes()).expect("it is read");
                let head = String::from_utf8(head).expect("text");
                head.split(' ').nth(1).expect("a path").trim_start_matches(crate::api::PREFIX).to_owned()
            });
            asked.collect()
        });
        let key = Some(http::HeaderValue::from_static("Bearer x"));
        (Remote { connection: Connection::new(&url, None).expect("it needs no file"), key }, asked)
    }

    fn newest_is(id: Place) -> Fate {
        Fate::Answers(200, format!(r#"{{"items":[{{"id":{id}}}],"next_cursor":null}}"#))
    }

    fn lines(ids: &[Place]) -> String {
        let head = Line::Head(ExportHead { version: 1, keys: Vec::new(), after: None, filter: None });
        let rows = ids.iter().map(|id| Line::Row(ChainedRow { id: *id, row: testing::row("x"), hash: None }));
        std::iter::once(head).chain(rows).map(|line| line.to_json() + "\n").collect()
    }

    /// What was written, how it ended, and what was asked for.
    async fn followed(kind: Option<&str>, fates: Vec<Fate>) -> (String, String, Vec<String>) {
        let (remote, gateway) = gateway(fates);
        let asked = audit::export::Export { kind: kind.map(Into::into), ..Default::default() };
        let mut written = Vec::new();
        let ended = follow(&remote, &asked, &mut written, Duration::ZERO).await.expect_err("it goes on until then");
        (String::from_utf8(written).expect("text"), ended.to_string(), gateway.join().expect("no panic"))
    }

    fn no_more() -> Fate {
        Fate::Answers(403, r#"{"error":{"code":"forbidden","message":"the key may not"}}"#.to_owned())
    }

    #[tokio::test]
    async fn what_was_looked_through_is_not_asked_for_again() {
        let fates = vec![
            newest_is(7),
            Fate::Answers(200, lines(&[3])),
            newest_is(9),
            Fate::Answers(200, lines(&[])),
            newest_is(9),
            // It came after the newest was asked for.
            Fate::Answers(200, lines(&[12])),
            newest_is(12),
            no_more(),
        ];
        let (written, ended, asked) = followed(Some("tool"), fates).await;
        assert_eq!(written, lines(&[3, 12]));
        assert!(ended.contains("forbidden"), "{ended}");
        let exports: Vec<_> = asked.iter().filter(|path| path.starts_with("/audit/export")).collect();
        let after = |place| format!("/audit/export?after={place}&kind=tool");
        assert_eq!(exports, ["/audit/export?kind=tool", &after(7), &after(9), &after(12)]);
        // Twin: where nothing is left out, a head is yet to come.
        let fates = vec![Fate::Answers(200, lines(&[3])), Fate::Answers(200, lines(&[3, 4])), no_more()];
        let (written, _, asked) = followed(None, fates).await;
        assert_eq!((written, asked), (lines(&[3, 4]), vec!["/audit/export".to_owned(); 3]));
    }

    #[tokio::test]
    async fn a_gateway_that_is_away_is_asked_again_and_nothing_is_written_twice() {
        let unavailable = r#"{"error":{"code":"unavailable","message":"later"}}"#;
        let fates = vec![
            Fate::Answers(200, lines(&[1, 2])),
            Fate::BreaksOff(lines(&[1, 2, 3])),
            Fate::Answers(503, unavailable.to_owned()),
            Fate::Answers(502, "<html>".to_owned()),
            Fate::Answers(200, lines(&[1, 2, 3, 4])),
            no_more(),
        ];
        let (written, ended, asked) = followed(None, fates).await;
        assert_eq!((written, asked.len()), (lines(&[1, 2, 3, 4]), 6));
        assert!(ended.contains("forbidden"), "{ended}");
        // Twin: whoever never answered may be somebody else.
        let (written, ended, _) = followed(None, vec![Fate::BreaksOff(lines(&[1]))]).await;
        assert!(ended.contains("broke off"), "{ended}");
        assert_eq!(written, lines(&[1]));
    }

    #[test]
    fn what_was_written_is_not_written_again() {
        let mut seen = None;
        for (place, expected) in [(-1, true), (0, true), (0, false), (5, true), (3, false), (6, true)] {
            assert_eq!(newer(&mut seen, place), expected, "{place}");
        }
    }
}
