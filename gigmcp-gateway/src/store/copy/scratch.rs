//! A database of no name, in which a backup of any version becomes one of this version before anything is changed elsewhere.

use super::{
    super::{
        StoreError,
        catalog::Table,
        connection::{Access, Connection},
        sqlite,
    },
    Record,
    fill::{self, Filler},
};

/// It is being filled.
pub(crate) struct Scratch {
    connection: Connection,
    filler: Filler,
    /// The tables of its version, and how many columns the one has that is being filled.
    tables: Vec<Table>,
    columns: usize,
    filled: Vec<String>,
}

/// It holds everything, and is of this version.
pub(crate) struct Complete(pub(super) Connection);

impl Scratch {
    /// An empty one of that version, which this program must know.
    pub(crate) fn new(version: i64) -> Result<Self, StoreError> {
        let connection = Connection::Sqlite(sqlite::scratch(version)?);
        let tables = connection.tables()?;
        connection.begin(Access::Write)?;
        fill::clear(&connection, &tables)?;
        Ok(Self { connection, filler: Filler::default(), tables, columns: 0, filled: Vec::new() })
    }

    /// Takes tables in any order, but each once and as it is in that version.
    pub(crate) fn take(&mut self, record: Record) -> Result<(), StoreError> {
        let unlike = |table: &str| Err(StoreError::Unlike { table: table.to_owned() });
        match &record {
            Record::Table { name, columns } => {
                let known = self.tables.iter().find(|table| table.name == *name);
                if !known.is_some_and(|table| same(&table.columns, columns)) || self.filled.contains(name) {
                    return unlike(name);
                }
                self.filled.push(name.clone());
                self.columns = columns.len();
            }
            Record::Row(row) => {
                if row.len() != self.columns || row.is_empty() {
                    return unlike(self.filled.last().map_or("", String::as_str));
                }
            }
            Record::Sequence { table, .. } => {
                if !self.tables.iter().any(|known| known.name == *table) {
                    return unlike(table);
                }
            }
        }
        self.filler.take(&self.connection, record)
    }

    /// Brings it to this version, when everything has come.
    pub(crate) fn finish(self) -> Result<Complete, StoreError> {
        self.filler.finish(&self.connection)?;
        if let Some(missing) = self.tables.iter().find(|table| !self.filled.contains(&table.name)) {
            return Err(StoreError::Unlike { table: missing.name.clone() });
        }
        self.connection.commit(false)?;
        let dangling = "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1";
        if let [table] = &self.connection.ask(dangling, |row| Ok(row.get::<String>(0)?))?[..] {
            return Err(StoreError::Unlike { table: table.clone() });
        }
        match self.connection {
            Connection::Sqlite(connection) => Ok(Complete(Connection::Sqlite(sqlite::migrate_scratch(connection)?))),
            Connection::Postgres(_) => unreachable!("it was made so"),
        }
    }
}

/// Whether it is that table with those columns, in whatever order.
pub(super) fn is_like(one: &Table, other: &Table) -> bool {
    one.name == other.name && same(&one.columns, &other.columns)
}

fn same(one: &[String], other: &[String]) -> bool {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    sorted(one) == sorted(other)
}

impl Complete {
    /// How many servers, profiles, secrets and audit rows there are in it.
    pub(crate) fn count(&self, table: &str) -> Result<i64, StoreError> {
        let count = format!("SELECT count(*) FROM {}", super::quoted(table));
        let count = self.0.ask(&count, |row| Ok(row.get::<i64>(0)?))?;
        count.into_iter().next().ok_or(StoreError::NoAnswer)
    }
}
