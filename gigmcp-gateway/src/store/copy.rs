//! Everything that is in a database, as records that a database of either kind can take.

mod fill;
mod scratch;

use fill::Filler;
pub(crate) use scratch::{Complete, Scratch};

use super::{
    Database, Store, StoreError, Told, audit,
    catalog::{Table, quoted},
    cell::Cell,
    connection::{Access, Connection, Row, SqlError},
    postgres, provider_sessions, sqlite,
};

/// A piece of a database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Record {
    /// The rows that follow are of this table.
    Table {
        name: String,
        columns: Vec<String>,
    },
    Row(Vec<Cell>),
    /// The last id that was given to a row of this table, which may be gone.
    Sequence {
        table: String,
        last: i64,
    },
}

/// What becomes of what is there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Before {
    /// There must be nothing.
    Nothing,
    Replaced,
}

/// One moment of a database that others go on using. Nothing is migrated. Blocks, and so is for a thread of its own.
pub(crate) struct Moment {
    connection: Connection,
    /// Of the schema.
    pub(crate) version: i64,
}

impl Moment {
    pub(crate) fn of(database: &Database) -> Result<Self, StoreError> {
        let connection = match database {
            Database::Sqlite(path) => Connection::Sqlite(sqlite::open_to_read(path)?),
            Database::Postgres(address) => Connection::Postgres(postgres::open_to_read(address)?),
        };
        let failed = |source| StoreError::Connect { database: database.to_string(), source };
        connection.begin(Access::Read).map_err(failed)?;
        connection.takes_its_time().map_err(failed)?;
        let name = || database.to_string();
        let version = connection.schema_version()?.ok_or_else(|| StoreError::Absent { database: name() })?;
        match version <= newest_version() {
            true => Ok(Self { connection, version }),
            false => Err(StoreError::Newer { database: name() }),
        }
    }

    /// Gives all of it that is ours, or refuses what could not be put back.
    pub(crate) fn records<E: From<StoreError>>(&self, take: impl FnMut(Record) -> Result<(), E>) -> Result<(), E> {
        let known = Connection::Sqlite(sqlite::scratch(self.version)?).tables()?;
        let (ours, foreign): (Vec<_>, Vec<_>) =
            self.connection.tables()?.into_iter().partition(|table| known.iter().any(|known| known.name == table.name));
        for table in foreign {
            tracing::warn!("the table {} is not of gigmcp and is left out of the backup", table.name);
        }
        if let Some(changed) = ours.iter().find(|table| !known.iter().any(|known| scratch::is_like(known, table))) {
            return Err(StoreError::Unlike { table: changed.name.clone() }.into());
        }
        if let Some(table) = self.connection.refers_to_nothing()? {
            return Err(StoreError::Dangling { table }.into());
        }
        records(&self.connection, &ours, take)
    }
}

impl Store {
    /// Makes the database hold what that one holds and the row that tells of it, and nothing else; or leaves it as it is. No id
    /// that was ever given in either of them is given again. `seen` hears of every row.
    pub(crate) async fn restore(
        &self,
        from: Complete,
        before: Before,
        told: impl Into<Told>,
        mut seen: impl FnMut() + Send + 'static,
    ) -> Result<(), StoreError> {
        let mut told = told.into();
        self.change(move |connection| {
            connection.takes_its_time()?;
            let tables = from.0.tables()?;
            match before {
                Before::Nothing => nothing_in(connection, &tables)?,
                // Whoever kept a head of it finds that it ended here.
                Before::Replaced => told.row.subject.push_str(&format!("; it replaces {}", audit::tip(connection)?)),
            }
            fill::clear(connection, &tables)?;
            let mut filler = Filler::default();
            records(&from.0, &tables, |record| {
                if matches!(record, Record::Row(_)) {
                    seen();
                }
                filler.take(connection, record)
            })?;
            filler.finish(connection)?;
            // Providers have given other refresh tokens since, and take these for stolen.
            provider_sessions::end_each(connection)?;
            told.append(connection)
        })
        .await
    }
}

/// The version of the schema that this program makes.
pub(crate) fn newest_version() -> i64 {
    sqlite::migrations().get_migrations().iter().map(|one| i64::from(one.version())).max().unwrap_or(0)
}

fn records<E: From<StoreError>>(
    connection: &Connection,
    tables: &[Table],
    mut take: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E> {
    for table in tables {
        take(Record::Table { name: table.name.clone(), columns: table.columns.clone() })?;
        rows(connection, table, &mut take)?;
    }
    let ours = |name: &str| tables.iter().any(|table| table.name == name);
    for sequence in connection.sequences()?.into_iter().filter(|sequence| ours(&sequence.table)) {
        take(Record::Sequence { table: sequence.table, last: sequence.last })?;
    }
    Ok(())
}

fn rows<E: From<StoreError>>(
    connection: &Connection,
    table: &Table,
    take: &mut impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E> {
    let columns: Vec<_> = table.columns.iter().map(|column| quoted(column)).collect();
    let select = format!("SELECT {} FROM {}", columns.join(", "), quoted(&table.name));
    let parse = |row: &Row<'_>| {
        let cells = (0..columns.len()).map(|column| row.get(column));
        Ok::<_, StoreError>(Record::Row(cells.collect::<Result<_, _>>()?))
    };
    match connection {
        Connection::Sqlite(connection) => {
            let sql = |error| E::from(StoreError::Query(SqlError::from(error)));
            let mut prepared = connection.prepare(&select).map_err(sql)?;
            let mut rows = prepared.query([]).map_err(sql)?;
            while let Some(row) = rows.next().map_err(sql)? {
                take(parse(&Row::Sqlite(row))?)?;
            }
        }
        Connection::Postgres(session) => {
            // Of that table's name, as the answers of a prepared query must stay what they are.
            let cursor = quoted(&format!("all of {}", table.name));
            session.batch(&format!("DECLARE {cursor} NO SCROLL CURSOR FOR {select}")).map_err(StoreError::Query)?;
            loop {
                let some = session.query(&format!("FETCH {FETCHED_AT_ONCE} FROM {cursor}"), &[]);
                let some = some.map_err(StoreError::Query)?;
                if some.is_empty() {
                    break;
                }
                for row in &some {
                    take(parse(&Row::Postgres(row))?)?;
                }
            }
        }
    }
    Ok(())
}

/// Refuses a database in which there is more than in a new one.
fn nothing_in(connection: &Connection, tables: &[Table]) -> Result<(), StoreError> {
    let new = Connection::Sqlite(sqlite::scratch(newest_version())?);
    let count = |connection: &Connection, table: &Table| {
        let count = format!("SELECT count(*) FROM {}", quoted(&table.name));
        let count = connection.ask(&count, |row| Ok(row.get::<i64>(0)?))?;
        count.into_iter().next().ok_or(StoreError::NoAnswer)
    };
    let mut found = Vec::new();
    for table in tables {
        let rows = count(connection, table)?;
        if rows > count(&new, table)? {
            found.push(format!("{} {rows}", table.name));
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(StoreError::NotEmpty { found: found.join(", ") }),
    }
}

const FETCHED_AT_ONCE: usize = 500;
