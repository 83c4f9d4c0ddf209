//! From a database to a backup.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use sha2::{Digest, Sha256};

use super::{
    BackupError,
    format::{FORMAT, Header, Line, PART, end},
};
use crate::{
    spec::{ServerSpec, Source},
    store::{Base64, Cell, Moment, Record, now_seconds},
};

/// What is in a backup.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// How many rows of each table.
    pub(crate) rows: BTreeMap<String, u64>,
    pub(crate) executables: BTreeSet<String>,
    /// Executables that servers have, but that are not there, or are others by now.
    pub(crate) missing: BTreeSet<String>,
    pub(crate) sha256: String,
}

/// Writes everything at that moment. `failed` tells where it could not be written.
pub(crate) fn write(
    moment: &Moment,
    executables: &Path,
    into: &mut impl Write,
    failed: impl Fn(io::Error) -> BackupError + Copy,
) -> Result<Written, BackupError> {
    let mut lines = Lines { into, digest: Sha256::new() };
    let header = Header {
        format: FORMAT,
        schema: moment.version,
        gigmcp: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: now_seconds(),
    };
    lines.write(&Line::Backup(header)).map_err(failed)?;
    let (mut written, mut wanted) = (Written::default(), BTreeSet::new());
    let mut table = (String::new(), None);
    moment.records(|record| {
        match &record {
            Record::Table { name, columns } => {
                written.rows.insert(name.clone(), 0);
                let spec = columns.iter().position(|column| column == "spec");
                table = (name.clone(), spec.filter(|_| name == "servers"));
            }
            Record::Row(row) => {
                *written.rows.entry(table.0.clone()).or_default() += 1;
                wanted.extend(table.1.and_then(|spec| executable(&row[spec])));
            }
            Record::Sequence { .. } => {}
        }
        lines.write(&record.into()).map_err(failed)
    })?;
    for sha256 in wanted {
        match lines.executable(&executables.join(&sha256), &sha256).map_err(failed)? {
            Found::Same => written.executables.insert(sha256),
            Found::Other => written.missing.insert(sha256),
        };
    }
    let Lines { into, digest } = lines;
    let digest = digest.finalize();
    into.write_all(end(&digest).as_bytes()).and_then(|()| into.flush()).map_err(failed)?;
    written.sha256 = hex::encode(digest);
    Ok(written)
}

/// The executable of a server, by its specification.
fn executable(spec: &Cell) -> Option<String> {
    let Cell::Text(spec) = spec else { return None };
    match ServerSpec::from_json(spec).ok()?.source {
        Source::Binary { sha256 } => Some(sha256),
        Source::HostTools | Source::Image(_) => None,
    }
}

enum Found {
    Same,
    Other,
}

struct Lines<'a, W> {
    into: &'a mut W,
    digest: Sha256,
}

impl<W: Write> Lines<'_, W> {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.digest.update(&text);
        self.into.write_all(&text)
    }

    fn executable(&mut self, path: &Path, sha256: &str) -> io::Result<Found> {
        // Read twice, so that what is not the same is not in the backup.
        let same = |file: &mut File| -> io::Result<bool> {
            let mut digest = Sha256::new();
            parts(file, |part| {
                digest.update(part);
                Ok(())
            })?;
            Ok(hex::encode(digest.finalize()) == sha256)
        };
        let Ok(mut file) = File::open(path) else { return Ok(Found::Other) };
        if !same(&mut file).unwrap_or(false) {
            return Ok(Found::Other);
        }
        io::Seek::rewind(&mut file)?;
        parts(&mut file, |part| {
            self.write(&Line::Executable { sha256: sha256.to_owned(), part: Base64(part.to_vec()) })
        })?;
        Ok(Found::Same)
    }
}

fn parts(file: &mut File, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    loop {
        let mut part = Vec::with_capacity(PART);
        file.take(PART as u64).read_to_end(&mut part)?;
        match part.is_empty() {
            true => return Ok(()),
            false => take(&part)?,
        }
    }
}
