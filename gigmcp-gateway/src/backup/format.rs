//! The lines of a backup.

use serde::{Deserialize, Serialize};

use crate::store::{Base64, Cell, Record};

/// One line but the last.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Backup(Header),
    Table {
        name: String,
        columns: Vec<String>,
    },
    Row(Vec<Cell>),
    Sequence {
        table: String,
        last: i64,
    },
    /// A part of an executable; the parts of one follow each other.
    Executable {
        sha256: String,
        part: Base64,
    },
}

/// The first line. Later versions may put more into it.
#[derive(Deserialize, Serialize)]
pub(super) struct Header {
    /// What this module writes is 1.
    pub(super) format: u32,
    /// The last migration of the database.
    pub(super) schema: i64,
    /// Which program wrote it.
    pub(super) gigmcp: String,
    /// Seconds since 1970.
    pub(super) made_at: i64,
}

impl From<Record> for Line {
    fn from(record: Record) -> Self {
        match record {
            Record::Table { name, columns } => Self::Table { name, columns },
            Record::Row(row) => Self::Row(row),
            Record::Sequence { table, last } => Self::Sequence { table, last },
        }
    }
}

/// The last line, of which not a byte may be another one.
pub(super) fn end(sha256: &[u8]) -> String {
    format!("{END}{}\"}}\n", hex::encode(sha256))
}

/// How the last line begins, and no other.
pub(super) const END: &str = "{\"sha256\":\"";
pub(super) const FORMAT: u32 = 1;
/// Bytes of an executable in one line.
pub(super) const PART: usize = 48 * 1024;
/// Longer than any line that is written: a row holds a few of what clients and servers may say at most.
pub(super) const MAX_LINE: u64 = 256 << 20;
