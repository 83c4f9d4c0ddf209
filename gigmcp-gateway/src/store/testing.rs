//! Databases for tests, of both kinds.

use std::sync::Mutex;

use super::*;
use crate::spec::{InvalidProfileSetting, Owner, ProfileSettings, ProfileSlug, ServerName, ServerSpec};

#[path = "../../tests/support/postgres.rs"]
mod postgres_server;

pub(crate) use postgres_server::{Postgres, Stop, name};

/// A database of its own, and where it lies.
pub(crate) struct TestDatabase {
    pub(crate) database: Database,
    pub(crate) directory: tempfile::TempDir,
    /// What PostgreSQL calls it.
    name: String,
}

impl TestDatabase {
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { database: Database::Sqlite(directory.path().join("gigmcp.db")), directory, name: String::new() }
    }

    pub(crate) fn postgres() -> Self {
        let url = Postgres::shared().database();
        let database = Database::Postgres(url.parse().expect("a URL"));
        let name = name(&url).to_owned();
        Self { database, directory: tempfile::tempdir().expect("a directory"), name }
    }

    /// What another program is to be told.
    pub(crate) fn name_for_programs(&self) -> String {
        match &self.database {
            Database::Sqlite(path) => path.display().to_string(),
            Database::Postgres(_) => Postgres::shared().url(&self.name),
        }
    }

    /// Runs SQL beside the program.
    pub(crate) fn sql(&self, sql: &str) {
        match (&self.database, &self.name) {
            (Database::Sqlite(path), _) => {
                let connection = rusqlite::Connection::open(path).expect("it is there");
                connection.execute_batch(sql).expect(sql);
                std::mem::forget(connection); // as `stays_open`
            }
            (Database::Postgres(_), name) => drop(Postgres::shared().sql(name, sql)),
        }
    }

    /// What `psql` says.
    pub(crate) fn ask(&self, sql: &str) -> String {
        Postgres::shared().sql(&self.name, sql)
    }

    /// Opens it, as one of several gateways if it is done again.
    pub(crate) fn open(&self) -> Store {
        let store = Store::open(&self.database).expect("it opens");
        if matches!(self.database, Database::Sqlite(_)) {
            store.stays_open();
        }
        store
    }
}

/// Runs a test on both kinds of database.
pub(crate) async fn on_both(test: impl AsyncFn(TestDatabase)) {
    test(TestDatabase::sqlite()).await;
    test(TestDatabase::postgres()).await;
}

impl Store {
    /// A new database.
    pub(crate) fn open_for_test() -> (Self, tempfile::TempDir) {
        let test = TestDatabase::sqlite();
        (test.open(), test.directory)
    }

    /// Replaces a server's specification, if it differs, with the consent of `owner`. Profiles of others do without the
    /// server until they have agreed to it.
    pub(crate) async fn replace_server(
        &self,
        name: ServerName,
        spec: ServerSpec,
        owner: Owner,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            if servers::require(connection, &name)?.spec == spec {
                return Ok(());
            }
            let revision = policies::declare(connection, &name, &spec)?;
            servers::update(connection, &name, &spec.to_json(), revision)?;
            policies::consent(connection, &owner, &name, revision)
        })
        .await
    }

    /// Creates a profile with its first token, of which only the hash is given.
    pub(crate) async fn create_profile(
        &self,
        slug: ProfileSlug,
        owner: Owner,
        members: Vec<ServerName>,
        token_hash: String,
    ) -> Result<(), StoreError> {
        self.change(move |connection| profiles::create(connection, &slug, &owner, &members, token_hash)).await
    }

    /// Adds a server and puts it into these profiles, or does neither.
    pub(crate) async fn add_server(
        &self,
        name: ServerName,
        spec: ServerSpec,
        profiles: Vec<ProfileSlug>,
    ) -> Result<(), StoreError> {
        let row = AuditRow::default;
        let joins = profiles.into_iter().map(|profile| Joins { profile, row: row() }).collect();
        self.add_server_told(name, spec, joins, row()).await.map(drop)
    }

    /// Puts one more server into a profile; one that is there already stays.
    pub(crate) async fn add_to_profile(&self, slug: ProfileSlug, server: ServerName) -> Result<(), StoreError> {
        self.change(move |connection| profiles::add_member(connection, &slug, &server)).await
    }

    /// Takes a server out of a profile.
    pub(crate) async fn remove_from_profile(&self, slug: ProfileSlug, server: ServerName) -> Result<(), StoreError> {
        let profile = self.profile(slug).await?;
        self.drop_member(&profile, server, AuditRow::default()).await
    }

    /// Says something of a profile, or of one server in it; without a value, the default holds again.
    pub(crate) async fn set_of_profile(
        &self,
        slug: ProfileSlug,
        server: Option<ServerName>,
        name: String,
        value: Option<String>,
    ) -> Result<Result<ProfileSettings, InvalidProfileSetting>, StoreError> {
        let profile = self.profile(slug).await?;
        let of = server.iter().cloned().collect();
        let edit = move |settings: &mut ProfileSettings| settings.set(server.as_ref(), &name, value.as_deref());
        self.edit_settings(&profile, of, edit, AuditRow::default()).await
    }

    /// Deletes a profile and its tokens.
    pub(crate) async fn delete_profile(&self, slug: ProfileSlug) -> Result<(), StoreError> {
        let profile = self.profile(slug).await?;
        self.drop_profile(&profile, AuditRow::default()).await
    }

    /// Tests open databases side by side, which SQLite cannot stand while another one is closed: see `Host::open`.
    pub(crate) fn stays_open(&self) {
        std::mem::forget(self.clone());
    }

    /// Makes the threads wait until the answer is dropped.
    pub(crate) async fn hold(&self) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel();
        let held = Arc::new(Mutex::new(held));
        let wait = || {
            let held = Arc::clone(&held);
            let (begun, begins) = oneshot::channel();
            let wait: Job = Box::new(move |_| {
                begun.send(()).expect("it is waited for");
                // Nothing is sent; the end of the sender is waited for.
                let _ = held.lock().expect("not poisoned").recv();
                Box::new(|_| {})
            });
            (wait, begins)
        };
        let (job, begins) = wait();
        self.threads
            .writer
            .push(Asker::Gateway, Write { job, followed: false, flush: Flush::WithCommit })
            .expect("the thread runs");
        begins.await.expect("the thread runs");
        let (job, begins) = wait();
        self.threads.reader.push(Asker::Gateway, job).expect("the thread runs");
        begins.await.expect("the thread runs");
        release
    }

    /// What somebody does who can write to the database by other means.
    pub(crate) async fn meddle(&self, sql: &str) {
        let sql = sql.to_owned();
        self.write(move |connection| Ok(connection.batch(&sql)?)).await.expect("it is SQL");
    }

    /// Puts changes into a line until it is full.
    pub(crate) fn fill_line(&self, asker: Asker) {
        loop {
            let (job, _) = job(|_| Ok(()));
            match self.threads.writer.push(asker.clone(), Write { job, followed: false, flush: Flush::WithCommit }) {
                Ok(()) => {}
                Err(StoreError::Busy) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Stores what is said to be sealed, with a ledger that counts how often that was done.
    pub(crate) async fn put_for_test(&self, row: SecretRow) -> Result<(), StoreError> {
        loop {
            let from = self.read(ledger::find).await?;
            let counter = from.as_ref().map_or(1, |from| from.counter + 1);
            let change = LedgerChange { from, to: LedgerRow { counter, sealed: vec![0, 255] } };
            match self.put_secret(row.clone(), change, AuditRow::default()).await {
                // Another one was faster.
                Err(StoreError::Changed) => {}
                put => return put,
            }
        }
    }

    /// How much waits for either thread.
    pub(crate) fn waiting(&self) -> usize {
        self.threads.reader.waiting() + self.threads.writer.waiting()
    }
}
