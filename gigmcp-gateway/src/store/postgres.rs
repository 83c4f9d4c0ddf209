//! PostgreSQL: a pool of connections, used from the threads of the store.

use std::{cell::RefCell, convert::Infallible, future::poll_fn, io, sync::Arc, thread, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio::{runtime, sync::watch};
use tokio_postgres::{AsyncMessage, Config, Row, SimpleQueryMessage, error::SqlState, types::ToSql};

use super::{
    StoreError,
    address::{Address, CONNECT_TIMEOUT},
    connection::{Access, SqlError},
};
use crate::output::whole;

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// Brings the database to this version's schema and gives as many sessions as are asked for. From then on, `changes` is
/// told of what other gateways change. Blocks.
pub(super) fn open(
    address: &Address,
    sessions: usize,
    changes: &Arc<watch::Sender<()>>,
) -> Result<Vec<Session>, StoreError> {
    // The caller may be in a runtime, where nothing may block on another one.
    thread::scope(|scope| scope.spawn(|| open_here(address, sessions, changes)).join()).expect("it does not panic")
}

fn open_here(address: &Address, sessions: usize, changes: &Arc<watch::Sender<()>>) -> Result<Vec<Session>, StoreError> {
    let runtime = runtime()?;
    runtime.block_on(migrate(address, &migrations()))?;
    runtime.spawn(follow_changes(address.clone(), Arc::clone(changes)));
    let pool = pool(address, sessions)?;
    let session = || Session { runtime: Arc::clone(&runtime), pool: pool.clone(), current: RefCell::default() };
    Ok((0..sessions).map(|_| session()).collect())
}

/// A session with a database that others may go on using. Nothing is migrated.
pub(super) fn open_to_read(address: &Address) -> Result<Session, StoreError> {
    let runtime = runtime()?;
    Ok(Session { runtime, pool: pool(address, 1)?, current: RefCell::default() })
}

fn runtime() -> Result<Arc<runtime::Runtime>, StoreError> {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).thread_name("gig-db-net").enable_all().build();
    Ok(Arc::new(runtime.map_err(|source| StoreError::Runtime { source })?))
}

/// Everything that has led to this version's schema; the numbers mean the same as with SQLite.
pub(super) fn migrations() -> refinery::Runner {
    embedded::migrations::runner()
}

/// Gateways that start together do this one after the other.
pub(super) async fn migrate(address: &Address, migrations: &refinery::Runner) -> Result<(), StoreError> {
    let failed = |source| StoreError::Connect { database: address.to_string(), source };
    let (mut client, connection) =
        address.config.connect(address.tls()).await.map_err(|error| failed(SqlError::Unreachable(Arc::new(error))))?;
    // It ends with the client.
    tokio::spawn(connection);
    client.batch_execute(LOCK_MIGRATION).await.map_err(|error| failed(error.into()))?;
    let migrated = migrations.run_async(&mut client).await;
    let unlocked = client.batch_execute(UNLOCK_MIGRATION).await;
    migrated.map_err(|source| super::not_migrated(address, source))?;
    unlocked.map_err(|error| failed(error.into()))
}

/// Says in `changes` whenever a gateway on this database has changed something, and whenever that may have been missed.
pub(super) async fn follow_changes(address: Address, changes: Arc<watch::Sender<()>>) {
    let mut told = false;
    loop {
        let mut listening = false;
        let Err(error) = listen(&address, &changes, &mut listening).await;
        if listening || !told {
            tracing::warn!("changes by other gateways are noticed late: {}", whole(&error));
            told = true;
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn listen(address: &Address, changes: &watch::Sender<()>, listening: &mut bool) -> Result<Infallible, SqlError> {
    let (client, mut connection) =
        address.config.connect(address.tls()).await.map_err(|error| SqlError::Unreachable(Arc::new(error)))?;
    let hear = async {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(_))) => changes.send_replace(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(SqlError::from(error)),
                None => return Err(SqlError::Lost),
            }
        }
    };
    let ask = async {
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        *listening = true;
        // What was changed before was not told.
        changes.send_replace(());
        loop {
            // A connection that something in between has forgotten tells nothing.
            tokio::time::sleep(LISTEN_ALIVE).await;
            client.simple_query("").await?;
        }
    };
    tokio::select! {
        heard = hear => heard,
        asked = ask => asked,
    }
}

fn pool(address: &Address, connections: usize) -> Result<Pool, StoreError> {
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let timeouts = Timeouts { wait: Some(WAIT), create: Some(CONNECT_TIMEOUT), recycle: Some(WAIT) };
    Pool::builder(Manager::from_config(Config::clone(&address.config), address.tls(), manager))
        .max_size(connections)
        .timeouts(timeouts)
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| StoreError::Runtime { source: io::Error::other(error) })
}

/// What one thread has to do with the pool. Blocks, and so is for threads that run no tasks.
pub(super) struct Session {
    /// It ends with the last session.
    runtime: Arc<runtime::Runtime>,
    pool: Pool,
    /// The connection of the transaction under way.
    current: RefCell<Option<Object>>,
}

impl Session {
    /// Begins a transaction on a connection that works. One that has died since it was used is replaced.
    pub(super) fn begin(&self, access: Access) -> Result<(), SqlError> {
        self.runtime.block_on(async {
            loop {
                let connection = self.pool.get().await.map_err(|error| SqlError::Connect(Arc::new(error)))?;
                let begun = match access {
                    Access::Read => connection.simple_query(BEGIN_READ).await,
                    Access::Write => connection.simple_query(BEGIN_WRITE).await,
                };
                match begun {
                    // Also what began with nothing to write must not, so that nobody relies on it.
                    Ok(answers) if takes_no_writes(&answers) => {
                        let new = Object::metrics(&connection).recycle_count == 0;
                        drop(Object::take(connection));
                        // What an older session was told at its start may be over by now.
                        if new {
                            return Err(SqlError::ReadOnly);
                        }
                    }
                    Ok(_) => {
                        *self.current.borrow_mut() = Some(connection);
                        return Ok(());
                    }
                    // The pool is small, and each of these leaves it. That it was ended is heard before it is closed.
                    Err(error) if connection.is_closed() || is_ended(&error) => drop(Object::take(connection)),
                    Err(error) => {
                        drop(Object::take(connection));
                        return Err(error.into());
                    }
                }
            }
        })
    }

    /// Ends the transaction; all gateways are told that there is something new, if there is.
    pub(super) fn commit(&self, changed: bool) -> Result<(), SqlError> {
        let connection = self.current.take().ok_or(SqlError::NoTransaction)?;
        // A transaction in which something failed is undone by `COMMIT` without a word, but refuses a query before it.
        let ended = self.runtime.block_on(connection.batch_execute(if changed { COMMIT_CHANGED } else { COMMIT }));
        if ended.is_err() {
            // Whatever state it is in, nobody gets this connection again.
            drop(Object::take(connection));
        }
        Ok(ended?)
    }

    pub(super) fn batch(&self, sql: &str) -> Result<(), SqlError> {
        self.with(async |connection| connection.batch_execute(sql).await)
    }

    pub(super) fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, SqlError> {
        self.with(async |connection| {
            let statement = connection.prepare_cached(sql).await?;
            connection.execute(&statement, values).await
        })
    }

    pub(super) fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, SqlError> {
        self.with(async |connection| {
            let statement = connection.prepare_cached(sql).await?;
            connection.query(&statement, values).await
        })
    }

    fn with<T>(&self, ask: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>) -> Result<T, SqlError> {
        let current = self.current.borrow();
        let connection = current.as_ref().ok_or(SqlError::NoTransaction)?;
        Ok(self.runtime.block_on(ask(connection))?)
    }
}

/// Whether a transaction that is to write may not.
fn takes_no_writes(answers: &[SimpleQueryMessage]) -> bool {
    answers.iter().any(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.try_get("transaction_read_only").is_ok_and(|value| value == Some("on")),
        _ => false,
    })
}

/// Whether PostgreSQL has ended the session, and nothing was done in it.
fn is_ended(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&(SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN)))
}

const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// One writer at a time in all gateways, as with SQLite: what was read is still so when something is written. The number
/// is "gigwrite" in ASCII.
const BEGIN_WRITE: &str = "BEGIN; SELECT pg_advisory_xact_lock(7451600821179479141); SHOW transaction_read_only";
const COMMIT: &str = "SELECT 1; COMMIT";
const COMMIT_CHANGED: &str = "SELECT pg_notify('gigmcp', ''); COMMIT";
const CHANNEL: &str = "gigmcp";
/// Another gateway may migrate much for long. The number is "gigmigra" in ASCII.
const LOCK_MIGRATION: &str =
    "SET lock_timeout = 0; SET statement_timeout = 0; SELECT pg_advisory_lock(7451600778078679649)";
const UNLOCK_MIGRATION: &str = "SELECT pg_advisory_unlock(7451600778078679649)";
/// How long a thread waits for a connection from the pool, and for one to show that it still works.
const WAIT: Duration = Duration::from_secs(5);
const LISTEN_AGAIN: Duration = Duration::from_millis(500);
const LISTEN_ALIVE: Duration = Duration::from_secs(15);
