//! PostgreSQL: a pool of connections, used from the threads of the store.

use std::{
    cell::RefCell, convert::Infallible, fmt, future::poll_fn, io, str::FromStr, sync::Arc, thread, time::Duration,
};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use rustls::{ClientConfig, RootCertStore};
use tokio::{runtime, sync::watch};
use tokio_postgres::{
    AsyncMessage, Config, Row,
    config::{Host, SslMode},
    types::ToSql,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    StoreError,
    connection::{Access, SqlError},
};

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// Where a PostgreSQL database is, and how to get in. Shows no password.
#[derive(Clone)]
pub(crate) struct Address(Box<Config>);

/// What is wrong with `GIG_DATABASE_URL`; the text is never shown, as it may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InvalidAddress {
    #[error("it does not begin with postgres:// or postgresql://; for SQLite use GIG_DB_PATH")]
    Scheme,
    #[error("it is not a PostgreSQL URL such as postgres://user:password@db.example.com/gigmcp?sslmode=require")]
    Syntax(#[source] tokio_postgres::Error),
    #[error("it names no host")]
    NoHost,
    #[error("it names no database; put /NAME after the host")]
    NoDatabase,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(InvalidAddress::Scheme);
        }
        let mut config: Config = text.parse().map_err(InvalidAddress::Syntax)?;
        if config.get_hosts().is_empty() {
            return Err(InvalidAddress::NoHost);
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(InvalidAddress::NoDatabase);
        }
        // What can be talked out of TLS is no protection, so only what is said counts: `disable`, or a place on this machine.
        if config.get_ssl_mode() == SslMode::Prefer {
            let local = config.get_hosts().iter().all(is_here);
            config.ssl_mode(if local { SslMode::Disable } else { SslMode::Require });
        }
        config.application_name("gigmcp");
        config.connect_timeout(CONNECT_TIMEOUT);
        config.options(SESSION);
        Ok(Self(Box::new(config)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.0.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        write!(formatter, "PostgreSQL {} at {host}", self.0.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
    }
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
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).thread_name("gig-db-net").enable_all().build();
    let runtime = Arc::new(runtime.map_err(|source| StoreError::Runtime { source })?);
    runtime.block_on(migrate(address, &migrations()))?;
    runtime.spawn(follow_changes(address.clone(), Arc::clone(changes)));
    let pool = pool(address, sessions)?;
    let session = || Session { runtime: Arc::clone(&runtime), pool: pool.clone(), current: RefCell::default() };
    Ok((0..sessions).map(|_| session()).collect())
}

/// Everything that has led to this version's schema; the numbers mean the same as with SQLite.
pub(super) fn migrations() -> refinery::Runner {
    embedded::migrations::runner()
}

/// Gateways that start together do this one after the other.
pub(super) async fn migrate(address: &Address, migrations: &refinery::Runner) -> Result<(), StoreError> {
    let failed = |source| StoreError::Connect { database: address.to_string(), source };
    let (mut client, connection) = address.0.connect(tls()).await.map_err(|error| failed(error.into()))?;
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
            tracing::warn!("changes by other gateways are noticed late: {error}");
            told = true;
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn listen(address: &Address, changes: &watch::Sender<()>, listening: &mut bool) -> Result<Infallible, SqlError> {
    let (client, mut connection) = address.0.connect(tls()).await?;
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
    Pool::builder(Manager::from_config(Config::clone(&address.0), tls(), manager))
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
                    Access::Read => connection.batch_execute(BEGIN_READ).await,
                    Access::Write => connection.batch_execute(BEGIN_WRITE).await,
                };
                match begun {
                    Ok(()) => {
                        *self.current.borrow_mut() = Some(connection);
                        return Ok(());
                    }
                    // The pool is small, and each of these leaves it.
                    Err(_) if connection.is_closed() => {}
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

/// TLS to those roots that this machine trusts, and the name of the server is checked.
fn tls() -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

/// What every connection is set to. A gateway that stands still in the middle of a change must not hold up the others.
const SESSION: &str = "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=10s \
                       -c default_transaction_isolation=read\\ committed -c synchronous_commit=on";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// One writer at a time in all gateways, as with SQLite: what was read is still so when something is written. The number
/// is "gigwrite" in ASCII.
const BEGIN_WRITE: &str = "BEGIN; SELECT pg_advisory_xact_lock(7451600821179479141)";
const COMMIT: &str = "SELECT 1; COMMIT";
const COMMIT_CHANGED: &str = "SELECT pg_notify('gigmcp', ''); COMMIT";
const CHANNEL: &str = "gigmcp";
/// Another gateway may migrate much for long. The number is "gigmigra" in ASCII.
const LOCK_MIGRATION: &str =
    "SET lock_timeout = 0; SET statement_timeout = 0; SELECT pg_advisory_lock(7451600778078679649)";
const UNLOCK_MIGRATION: &str = "SELECT pg_advisory_unlock(7451600778078679649)";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a thread waits for a connection from the pool, and for one to show that it still works.
const WAIT: Duration = Duration::from_secs(5);
const LISTEN_AGAIN: Duration = Duration::from_millis(500);
const LISTEN_ALIVE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_addresses_are_taken_and_passwords_are_not_shown() {
        for text in [
            "postgres://me:hunter2@db.example.com/gigmcp",
            "postgresql://me@localhost:5433/gigmcp?sslmode=disable",
            "postgres://me@%2Frun%2Fpostgresql/gigmcp",
        ] {
            let address: Address = text.parse().expect(text); // twin of the refusals
            assert!(!format!("{address} {address:?}").contains("hunter2"));
        }
        for text in [
            "mysql://db.example.com/gigmcp",
            "gigmcp.db",
            "postgres:///gigmcp",
            "postgres://db.example.com",
            "postgres://db.example.com/gigmcp?sslmode=sometimes",
            "postgres://db.example.com/gigmcp?sslrootcert=/ca.pem",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn tls_is_left_out_only_on_this_machine_or_when_said() {
        for (text, expected) in [
            ("postgres://me@db.example.com/gigmcp", SslMode::Require),
            ("postgres://me@db.example.com/gigmcp?sslmode=prefer", SslMode::Require),
            ("postgres://me@db.example.com,localhost/gigmcp", SslMode::Require),
            ("postgres://me@db.example.com/gigmcp?sslmode=disable", SslMode::Disable),
            ("postgres://me@127.0.0.1/gigmcp", SslMode::Disable),
            ("postgres://me@localhost/gigmcp?sslmode=require", SslMode::Require),
            ("postgres://me@%2Frun%2Fpostgresql/gigmcp", SslMode::Disable),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.0.get_ssl_mode(), expected, "{text}");
        }
    }
}
