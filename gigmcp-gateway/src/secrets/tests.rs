use std::sync::Arc;

use clap::{Args, FromArgMatches};

use super::*;
use crate::{
    host::Host,
    keys::MasterKey,
    settings::Settings,
    spec::{Owner, SealedFor},
    store::{AuditRow, LedgerChange, SecretKey, Told},
};

/// A data directory with one server, and what one process knows of its secrets.
struct World {
    settings: Settings,
    host: Host,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let command = Settings::augment_args(clap::Command::new("gigmcp-gateway"));
        let given = command.get_matches_from(["gigmcp-gateway", "--data-dir", data.to_str().expect("text")]);
        let settings = Settings::from_arg_matches(&given).expect("settings");
        let host = Host::open(&settings).expect("a new data directory");
        host.store.stays_open();
        Self { settings, host, _directory: directory }
    }

    /// As another process has it.
    async fn secrets(&self) -> Secrets {
        self.host.secrets().await.expect("a key")
    }

    async fn rotate(&self) -> Rotation {
        let file = MasterKey::of(&self.settings).expect("settings").lock().expect("nobody else");
        Rotation::look(self.host.store.clone(), file).await.expect("sound")
    }

    async fn drop_old(&self) {
        self.rotate().await.drop_old().await.expect("nothing needs it");
    }
}

/// The secret of `exec` of that name: it needs no server.
fn key(name: &str) -> SecretKey {
    SecretKey {
        owner: Owner::local(),
        server: crate::spec::EXEC.parse().expect("a name"),
        name: name.parse().expect("a name"),
    }
}

fn told() -> Told {
    AuditRow::default().into()
}

fn sealed_for() -> SealedFor {
    SealedFor::from_row("api.example.com")
}

async fn put(secrets: &Secrets, name: &str, value: &str) -> Result<i64, SecretError> {
    secrets.put(key(name), &sealed_for(), SecretBytes::new(value.into()), told()).await
}

async fn open(secrets: &Secrets, name: &str) -> Result<Option<SecretBytes>, SecretError> {
    secrets.open(Asker::Gateway, key(name), &sealed_for()).await
}

async fn holds(secrets: &Secrets, name: &str, value: &str) -> bool {
    open(secrets, name).await.expect("it opens") == Some(SecretBytes::new(value.into()))
}

#[tokio::test]
async fn whoever_started_before_a_rotation_seals_with_the_new_key() {
    let world = World::new().await;
    let running = world.secrets().await;
    assert!(open(&running, "A").await.expect("nothing is set").is_none());
    // Before there is any secret, so that only the ledger can tell.
    world.rotate().await.run(|_, _| {}).await.expect("a rotation");
    world.drop_old().await;
    assert_eq!(put(&running, "A", "the first").await.expect("it is stored"), 1);
    assert!(holds(&running, "A", "the first").await);
    assert!(holds(&world.secrets().await, "A", "the first").await, "the old key is in no file any more");
    for round in 0..3 {
        let other = world.secrets().await;
        world.rotate().await.run(|_, _| {}).await.expect("a rotation");
        world.drop_old().await;
        let value = format!("round {round}");
        put(&running, "A", &value).await.expect("it is stored");
        assert!(holds(&running, "A", &value).await && holds(&other, "A", &value).await);
        other.delete(key("A"), told()).await.expect("it is there");
        assert!(open(&running, "A").await.expect("none").is_none());
        put(&other, "A", &value).await.expect("it is stored");
        assert!(holds(&running, "A", &value).await);
    }
}

#[tokio::test]
async fn many_who_set_secrets_at_a_time_lose_none() {
    let world = Arc::new(World::new().await);
    let mut setting = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let world = Arc::clone(&world);
        setting.spawn(async move {
            let secrets = world.secrets().await;
            for at in 0..8 {
                put(&secrets, &format!("W{writer}_{at}"), "a value").await.expect("it is stored");
                put(&secrets, "SHARED", &format!("{writer} {at}")).await.expect("it is stored");
            }
        });
    }
    while let Some(done) = setting.join_next().await {
        done.expect("no task fails");
    }
    let secrets = world.secrets().await;
    secrets.check_key().await.expect("all is well");
    let rows = world.host.store.secrets().await.expect("rows");
    assert_eq!(rows.len(), 33);
    let shared = rows.iter().find(|row| row.key == key("SHARED")).expect("it was set");
    assert_eq!(shared.version, 32, "each one came after another");
}

#[tokio::test]
async fn a_change_that_knew_an_older_ledger_is_not_made() {
    let world = World::new().await;
    let secrets = world.secrets().await;
    put(&secrets, "A", "the first").await.expect("it is stored");
    let store = &world.host.store;
    let (row, ledger) = store.secret_and_ledger(key("A")).await.expect("rows");
    put(&secrets, "B", "the second").await.expect("it is stored");
    let (row, ledger) = (row.expect("it was set"), ledger.expect("there is one"));
    let stale = LedgerChange { from: Some(ledger.clone()), to: ledger.clone() };
    let newer = SecretRow { version: 2, ..row };
    assert!(matches!(store.put_secret(newer, stale.clone(), told()).await, Err(StoreError::Changed)));
    assert!(matches!(store.delete_secret(key("A"), stale.clone(), told()).await, Err(StoreError::Changed)));
    assert!(matches!(store.exchange_ledger(stale).await, Err(StoreError::Changed)));
    let first = LedgerChange { from: None, to: ledger };
    assert!(matches!(store.exchange_ledger(first).await, Err(StoreError::Changed)));
    assert!(holds(&secrets, "A", "the first").await && holds(&secrets, "B", "the second").await);
    // The twin: nothing of that is wrong with one that knows the newest.
    put(&secrets, "A", "the third").await.expect("it is stored");
    secrets.delete(key("B"), told()).await.expect("it is there");
    assert!(holds(&secrets, "A", "the third").await);
}

#[tokio::test]
async fn an_older_ledger_is_refused_by_who_knows_a_newer_one() {
    let world = World::new().await;
    let secrets = world.secrets().await;
    put(&secrets, "A", "the first").await.expect("it is stored");
    let store = &world.host.store;
    let (old_row, old) = store.secret_and_ledger(key("A")).await.expect("rows");
    put(&secrets, "A", "the second").await.expect("it is stored");
    assert!(holds(&secrets, "A", "the second").await);
    let (row, new) = store.secret_and_ledger(key("A")).await.expect("rows");
    let (old, new) = (old.expect("there is one"), new.expect("there is one"));
    // Somebody who can write to the database puts both back.
    let back = |from: &crate::store::LedgerRow, to: &crate::store::LedgerRow, row: Option<SecretRow>| {
        let (change, row) = (LedgerChange { from: Some(from.clone()), to: to.clone() }, row.expect("it was set"));
        let (sealed, version, created_at) = (row.sealed, row.version, row.created_at);
        store.overwrite_for_test(row.key, version, created_at, sealed, change)
    };
    back(&new, &old, old_row).await.expect("it is written");
    assert!(matches!(open(&secrets, "A").await, Err(SecretError::LedgerOlder)));
    assert!(matches!(put(&secrets, "A", "the third").await, Err(SecretError::LedgerOlder)));
    let restarted = world.secrets().await;
    assert!(holds(&restarted, "A", "the first").await, "a backup that was restored");
    back(&old, &new, row).await.expect("it is written");
    assert!(holds(&secrets, "A", "the second").await, "twin: the newest again");
    assert!(holds(&restarted, "A", "the second").await);
}
