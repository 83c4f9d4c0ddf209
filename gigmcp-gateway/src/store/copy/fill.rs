//! Puts records into a database, as a part of the transaction under way.

use super::{
    super::{
        StoreError,
        catalog::{Table, quoted},
        cell::Cell,
        connection::{Connection, SqlError},
    },
    Record,
};

/// Rows that wait until there are enough of them for one query.
#[derive(Default)]
pub(super) struct Filler {
    table: Option<Table>,
    rows: Vec<Vec<Cell>>,
}

impl Filler {
    pub(super) fn take(&mut self, connection: &Connection, record: Record) -> Result<(), StoreError> {
        match record {
            Record::Row(row) => {
                self.rows.push(row);
                match self.rows.len() < ROWS_AT_ONCE {
                    true => Ok(()),
                    false => self.flush(connection),
                }
            }
            Record::Table { name, columns } => {
                self.flush(connection)?;
                self.table = Some(Table { name, columns });
                Ok(())
            }
            Record::Sequence { table, last } => {
                self.flush(connection)?;
                advance(connection, &table, last)
            }
        }
    }

    pub(super) fn finish(mut self, connection: &Connection) -> Result<(), StoreError> {
        self.flush(connection)
    }

    fn flush(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if let (Some(table), false) = (&self.table, self.rows.is_empty()) {
            insert(connection, table, &self.rows)?;
        }
        self.rows.clear();
        Ok(())
    }
}

/// Deletes every row of these tables, of which none refers to a later one. Ids go on where they were.
pub(super) fn clear(connection: &Connection, tables: &[Table]) -> Result<(), StoreError> {
    for table in tables.iter().rev() {
        connection.batch(&format!("DELETE FROM {}", quoted(&table.name)))?;
    }
    Ok(())
}

fn insert(connection: &Connection, table: &Table, rows: &[Vec<Cell>]) -> Result<(), StoreError> {
    let (columns, name) = (table.columns.len(), quoted(&table.name));
    let named: Vec<_> = table.columns.iter().map(|column| quoted(column)).collect();
    let place = |place: usize| format!("${}", place + 1);
    let row = |row: usize| {
        let places: Vec<_> = (row * columns..(row + 1) * columns).map(place).collect();
        format!("({})", places.join(", "))
    };
    let places: Vec<_> = (0..rows.len()).map(row).collect();
    let (named, places) = (named.join(", "), places.join(", "));
    let values = rows.iter().flatten();
    match connection {
        Connection::Sqlite(connection) => {
            let sql = format!("INSERT INTO {name} ({named}) VALUES {places}");
            let mut prepared = connection.prepare_cached(&sql).map_err(SqlError::from)?;
            prepared.execute(rusqlite::params_from_iter(values)).map_err(SqlError::from)?;
        }
        Connection::Postgres(session) => {
            // Ids too, which otherwise only the database may give.
            let sql = format!("INSERT INTO {name} ({named}) OVERRIDING SYSTEM VALUE VALUES {places}");
            let values: Vec<_> = values.map(|cell| cell as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
            session.execute(&sql, &values)?;
        }
    }
    Ok(())
}

/// The next id of that table is a later one than this, and than any it has given.
fn advance(connection: &Connection, table: &str, last: i64) -> Result<(), StoreError> {
    let sequences = connection.sequences()?;
    let known = sequences.into_iter().find(|sequence| sequence.table == table);
    if known.as_ref().is_some_and(|known| known.last >= last) || last < 1 {
        return Ok(());
    }
    match connection {
        Connection::Sqlite(connection) => {
            let values = rusqlite::params![table, last];
            let changed = connection.execute("UPDATE sqlite_sequence SET seq = ?2 WHERE name = ?1", values);
            if changed.map_err(SqlError::from)? == 0 {
                let insert = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
                connection.execute(insert, values).map_err(SqlError::from)?;
            }
        }
        Connection::Postgres(session) => {
            // Where the program gives the ids there is none.
            if let Some(name) = known.and_then(|known| known.name) {
                session.query("SELECT setval(CAST($1::text AS regclass), $2)", &[&name, &last])?;
            }
        }
    }
    Ok(())
}

/// As many as have no more values together than SQLite and PostgreSQL take.
const ROWS_AT_ONCE: usize = 100;
