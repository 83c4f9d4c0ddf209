//! What tables there are, asked of the database itself, so that no copy of it forgets one.

use super::{
    StoreError,
    connection::{Connection, Row, SqlError},
};

/// A table of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
}

/// What gives the ids of a table; none is given twice.
pub(super) struct Sequence {
    pub(super) table: String,
    /// The last that was given; 0 before the first.
    pub(super) last: i64,
    /// What PostgreSQL calls it.
    pub(super) name: Option<String>,
}

impl Connection {
    /// Which migration was the last one. None if there was none.
    pub(super) fn schema_version(&self) -> Result<Option<i64>, StoreError> {
        let exists = match self {
            Self::Sqlite(_) => "SELECT count(*) FROM sqlite_schema WHERE name = 'refinery_schema_history'",
            Self::Postgres(_) => {
                "SELECT count(*) FROM pg_class WHERE oid = to_regclass(current_schema() || '.refinery_schema_history')"
            }
        };
        match self.ask(exists, |row| Ok(row.get::<i64>(0)?))?[..] {
            [1] => {
                let last = "SELECT CAST(max(version) AS BIGINT) FROM refinery_schema_history";
                Ok(self.ask(last, |row| Ok(row.get::<Option<i64>>(0)?))?.into_iter().flatten().next())
            }
            _ => Ok(None),
        }
    }

    /// All tables but the record of migrations. In SQLite none refers to a later one.
    pub(super) fn tables(&self) -> Result<Vec<Table>, StoreError> {
        let (tables, columns) = match self {
            Self::Sqlite(_) => (SQLITE_TABLES, SQLITE_COLUMNS),
            Self::Postgres(_) => (POSTGRES_TABLES, POSTGRES_COLUMNS),
        };
        let names = self.ask(tables, |row| Ok(row.get::<String>(0)?))?;
        let columns = self.ask(columns, |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?)))?;
        let table = |name: String| {
            let columns = columns.iter().filter(|(table, _)| *table == name).map(|(_, column)| column.clone());
            Table { columns: columns.collect(), name }
        };
        let tables = names.into_iter().map(table).collect();
        match self {
            Self::Sqlite(_) => {
                let references = self.ask(SQLITE_REFERENCES, |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(in_order(tables, &references))
            }
            Self::Postgres(_) => Ok(tables),
        }
    }

    /// A table with a row that refers to one that is not there, which somebody has made with the checks off.
    pub(super) fn refers_to_nothing(&self) -> Result<Option<String>, StoreError> {
        match self {
            Self::Sqlite(_) => {
                let tables =
                    self.ask("SELECT DISTINCT \"table\" FROM pragma_foreign_key_check", |row| Ok(row.get(0)?))?;
                Ok(tables.into_iter().next())
            }
            // Nobody can turn its checks off without being its superuser.
            Self::Postgres(_) => Ok(None),
        }
    }

    /// Everything that gives ids.
    pub(super) fn sequences(&self) -> Result<Vec<Sequence>, StoreError> {
        match self {
            Self::Sqlite(_) => self.ask("SELECT name, seq FROM sqlite_sequence ORDER BY name", |row| {
                Ok(Sequence { table: row.get(0)?, last: row.get(1)?, name: None })
            }),
            Self::Postgres(_) => {
                let named = self.ask(POSTGRES_SEQUENCES, |row| Ok((row.get(0)?, row.get(1)?)))?;
                let sequence = |(table, name): (String, String)| {
                    let last = format!("SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM {name}");
                    let last = self.ask(&last, |row| Ok(row.get::<i64>(0)?))?;
                    let last = last.into_iter().next().ok_or(StoreError::NoAnswer)?;
                    Ok(Sequence { table, last, name: Some(name) })
                };
                named.into_iter().map(sequence).collect()
            }
        }
    }

    /// Runs a query that has no values and gives what `parse` makes of each row.
    pub(super) fn ask<T>(
        &self,
        sql: &str,
        mut parse: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let mut prepared = connection.prepare(sql).map_err(SqlError::from)?;
                let mut rows = prepared.query([]).map_err(SqlError::from)?;
                let mut parsed = Vec::new();
                while let Some(row) = rows.next().map_err(SqlError::from)? {
                    parsed.push(parse(&Row::Sqlite(row))?);
                }
                Ok(parsed)
            }
            Self::Postgres(session) => session.query(sql, &[])?.iter().map(|row| parse(&Row::Postgres(row))).collect(),
        }
    }
}

/// A name as SQL writes it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Puts each table after those it refers to.
fn in_order(mut tables: Vec<Table>, references: &[(String, String)]) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let ready = |table: &Table| {
            let mut needed = references.iter().filter(|(from, to)| *from == table.name && from != to);
            needed.all(|(_, to)| ordered.iter().any(|before| before.name == *to))
        };
        // In a circle there is no order; the first will do, and the database says what it thinks of it.
        let next = tables.iter().position(ready).unwrap_or(0);
        ordered.push(tables.remove(next));
    }
    ordered
}

const SQLITE_TABLES: &str = "SELECT name FROM sqlite_schema
    WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'refinery_schema_history' ORDER BY name";
const SQLITE_COLUMNS: &str = "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c
    WHERE m.type = 'table' ORDER BY m.name, c.cid";
const SQLITE_REFERENCES: &str = "SELECT m.name, f.\"table\" FROM sqlite_schema m
    JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'";
const POSTGRES_TABLES: &str = "SELECT relname::text FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname <> 'refinery_schema_history'
    ORDER BY relname";
const POSTGRES_COLUMNS: &str = "SELECT c.relname::text, a.attname::text FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, a.attnum";
const POSTGRES_SEQUENCES: &str = "SELECT c.relname::text, pg_get_serial_sequence(quote_ident(c.relname), a.attname)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attidentity <> ''
    ORDER BY c.relname";
