//! Databases that fail: what is said, what is still true, and that nobody has to start again once the fault is gone.

use std::{path::Path, process::Command, sync::atomic::Ordering};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::{testing::TestDatabase, *};

/// A file system of this many KiB, which is full soon.
pub(super) struct Small(tempfile::TempDir);

impl Small {
    pub(super) fn new(kib: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let size = format!("size={kib}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).status();
        assert!(mounted.expect("mount is installed").success(), "this test needs root");
        Self(directory)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.0.path()).status());
    }
}

/// The whole text, as an operator reads it.
pub(super) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    crate::output::whole(error)
}

pub(super) async fn add(store: &Store) -> Result<(), StoreError> {
    store
        .add_audit(AuditRow { subject: "x".repeat(2000), ..crate::trail::testing::row("GET api.example.com:443/") })
        .await
}

/// Adds rows until one is refused, and tells how it was.
pub(super) async fn until_refused(store: &Store) -> String {
    loop {
        if let Err(error) = add(store).await {
            return told(&error);
        }
    }
}

pub(super) async fn rows(store: &Store) -> i64 {
    let count =
        store.read(|connection| connection.ask("SELECT count(*) FROM audit", |row| Ok(row.get::<i64>(0)?))).await;
    count.expect("it can be read")[0]
}

#[tokio::test]
async fn a_full_disk_is_said_before_anything_leaves_and_room_is_enough_to_go_on() {
    let small = Small::new(6 << 10);
    let ballast = small.path().join("ballast");
    let store = Store::open(&Database::Sqlite(small.path().join("gigmcp.db"))).expect("there is room");
    store.stays_open();
    add(&store).await.expect("twin: there is room");
    store.takes_audit().await.expect("twin: there is room");
    // Another program fills it.
    drop(std::fs::write(&ballast, vec![0; 6 << 20]));
    let refused = told(&store.takes_audit().await.expect_err("no request leaves"));
    assert!(refused.contains("is full; make room"), "{refused}");
    // All but room for a little.
    let file = std::fs::OpenOptions::new().write(true).open(&ballast).expect("it is there");
    file.set_len(2 << 20).expect("it can be cut");
    drop(file);
    store.takes_audit().await.expect("twin: there is room again");

    let kept = rows(&store).await;
    let huge = AuditRow { subject: "x".repeat(6 << 20), ..crate::trail::testing::row("GET api.example.com:443/") };
    let refused = told(&store.add_audit(huge).await.expect_err("it is more than there is room for"));
    assert!(refused.contains("is full; make room"), "{refused}");
    let lost = store.takes_audit().await;
    assert!(matches!(lost, Err(StoreError::AuditLost)), "a row was lost: {lost:?}");
    // What was undone was written to the log beside the database, which keeps its size.
    std::fs::remove_file(&ballast).expect("it is there");
    add(&store).await.expect("twin: there is room");
    store.takes_audit().await.expect("twin: requests leave again");

    let refused = until_refused(&store).await;
    assert!(refused.contains("is full; make room"), "{refused}");
    assert!(rows(&store).await > kept + 1, "what was acknowledged is there");
    store.profiles().await.expect("it can still be read");
}

/// SQLite undoes the whole transaction then, and what comes after it is not part of any.
#[tokio::test]
async fn what_is_written_together_with_what_fills_the_disk_is_refused_and_not_made() {
    let small = Small::new(6 << 10);
    let store = Store::open(&Database::Sqlite(small.path().join("gigmcp.db"))).expect("there is room");
    store.stays_open();
    let mark = |subject: &str| AuditRow {
        subject: subject.to_owned(),
        ..crate::trail::testing::row("GET api.example.com:443/")
    };
    let huge = mark(&"x".repeat(12 << 20));
    let held = store.hold().await;
    // They wait together, and so they share a transaction.
    let together =
        async { tokio::join!(store.add_audit(mark("before")), store.add_audit(huge), store.add_audit(mark("after"))) };
    let release = async {
        while store.waiting() < 3 {
            tokio::task::yield_now().await;
        }
        drop(held);
    };
    let ((before, huge, after), ()) = tokio::join!(together, release);
    assert!(told(&huge.expect_err("there is no room")).contains("is full; make room"));
    for refused in [before, after] {
        let refused = refused.expect_err("it was undone");
        assert!(matches!(refused, StoreError::Query(SqlError::Undone)), "{refused:?}");
    }
    assert_eq!(rows(&store).await, 0, "what was refused is not there");
}

#[test]
fn what_is_no_database_is_told_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gigmcp.db");
    let opened = || Store::open(&Database::Sqlite(path.clone())).map(|store| store.stays_open());
    std::fs::create_dir(&path).expect("a new one");
    let refused = told(&opened().expect_err("it is a directory"));
    assert!(refused.contains("cannot be opened for writing") && refused.contains("Is a directory"), "{refused}");
    std::fs::remove_dir(&path).expect("it is empty");
    std::fs::write(&path, "This is a letter and not a database. ".repeat(200)).expect("it can be written");
    let refused = told(&opened().expect_err("it is text"));
    assert!(refused.contains("damaged") && refused.contains("restore"), "{refused}");
    std::fs::remove_file(&path).expect("it is there");
    opened().expect("twin: there is nothing");
}

#[tokio::test]
async fn a_damaged_file_is_said() {
    let test = TestDatabase::sqlite();
    let Database::Sqlite(path) = &test.database else { unreachable!("it is") };
    {
        let store = Store::open(&test.database).expect("a new one");
        for _ in 0..200 {
            add(&store).await.expect("it takes rows");
        }
        store.stays_open();
        test.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    }
    // Another file, so that nobody has it open.
    let copy = path.with_file_name("copy.db");
    let mut bytes = std::fs::read(path).expect("it is there");
    assert!(bytes.len() > 100 << 10, "the rows are in the file: {}", bytes.len());
    std::fs::write(&copy, &bytes).expect("there is room");
    let good = Store::open(&Database::Sqlite(copy.clone())).expect("twin: it is whole");
    good.stays_open();
    assert_eq!(rows(&good).await, 200);
    let page = bytes.len() / 2 / 4096 * 4096;
    for byte in &mut bytes[page..] {
        *byte = !*byte;
    }
    let damaged = path.with_file_name("damaged.db");
    std::fs::write(&damaged, &bytes).expect("there is room");
    let store = Store::open(&Database::Sqlite(damaged)).expect("its beginning is whole");
    store.stays_open();
    let refused = told(&store.audit_tail(1000).await.expect_err("it is damaged"));
    assert!(refused.contains("damaged") && refused.contains("restore"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; run it with --nocapture"]
async fn how_long_writes_take() {
    for kind in [TestDatabase::sqlite as fn() -> TestDatabase, TestDatabase::postgres] {
        for writers in [1, 16, 256] {
            let test = kind();
            let store = test.open();
            let began = std::time::Instant::now();
            let each = 2000 / writers;
            let tasks: Vec<_> = (0..writers)
                .map(|_| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        for _ in 0..each {
                            store
                                .add_audit(crate::trail::testing::row("GET api.example.com:443/"))
                                .await
                                .expect("it takes rows");
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("it does not panic");
            }
            let took = began.elapsed();
            let count = u32::try_from(writers * each).expect("few");
            eprintln!("{:?} with {writers} at once: {:?} a row, {took:?}", test.database, took / count);
        }
    }
}

#[tokio::test]
async fn a_file_that_was_replaced_is_not_used_any_more() {
    let test = TestDatabase::sqlite();
    let store = test.open();
    let Database::Sqlite(path) = &test.database else { unreachable!("it is") };
    let away = path.with_extension("away");
    for replaced in [false, true] {
        std::fs::rename(path, &away).expect("it is there");
        if replaced {
            std::fs::copy(&away, path).expect("there is room");
        }
        let read = store.servers().await.expect_err("nobody else sees that file");
        let written = store.takes_audit().await.expect_err("nobody else sees that file");
        for error in [read, written] {
            assert!(matches!(error, StoreError::Query(SqlError::Replaced)), "{error:?}");
        }
        std::fs::rename(&away, path).expect("it is there");
        store.servers().await.expect("twin: its own file");
        store.takes_audit().await.expect("twin: its own file");
    }
}

/// SQLite fails there only for want of memory, so it is told to refuse what is asked.
#[tokio::test]
async fn a_transaction_that_fails_before_its_first_change_keeps_nobody_from_writing() {
    let test = TestDatabase::sqlite();
    let store = test.open();
    add(&store).await.expect("twin: nothing is refused");
    let refuses = Arc::new(AtomicBool::new(true));
    let is_refused = Arc::clone(&refuses);
    let rule = move |asked: AuthContext<'_>| match asked.action {
        AuthAction::Pragma { pragma_name: "data_version", .. } if is_refused.load(Ordering::SeqCst) => {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    };
    let told = store.write(move |connection| match connection {
        Connection::Sqlite(sqlite) => Ok(sqlite.authorizer(Some(rule)).map_err(SqlError::from)?),
        Connection::Postgres(_) => unreachable!("it is a file"),
    });
    told.await.expect("it is told");
    for _ in 0..2 {
        assert!(add(&store).await.is_err(), "what others have changed cannot be told");
        test.sql("CREATE TABLE IF NOT EXISTS of_another (id INTEGER)");
    }
    refuses.store(false, Ordering::SeqCst);
    add(&store).await.expect("twin: nothing is refused any more");
    assert_eq!(rows(&store).await, 2);
}

/// Puts what the kernel cannot flush where the log was, until the answer is called.
fn unflushable(database: &Database) -> impl FnOnce() {
    let log = database.log().expect("it is SQLite's");
    let away = log.with_extension("away");
    std::fs::rename(&log, &away).expect("it is there");
    std::os::unix::fs::symlink("/proc/self/stat", &log).expect("a link");
    move || std::fs::rename(&away, &log).expect("it is there")
}

/// What is flushed after a hole in the log is not found again after a loss of power.
#[tokio::test]
async fn after_a_failed_flush_no_change_is_said_to_be_kept_and_each_is_made() {
    for who in ["whoever waits for the audit trail", "whoever changes the master key"] {
        let test = TestDatabase::sqlite();
        let store = test.open();
        let note = async |name: &'static str| {
            let made = format!("CREATE TABLE made_{name} (id INTEGER)");
            store.change(move |connection| Ok(connection.batch(&made)?)).await
        };
        note("before").await.expect("twin: the disk works");
        store.sync().expect("twin: the disk works");
        let mend = unflushable(&test.database);
        match who {
            "whoever waits for the audit trail" => drop(add(&store).await.expect_err("it is not flushed")),
            _ => drop(store.sync().expect_err("it is not flushed")),
        }
        mend();
        let refused = note("after").await.expect_err("what came before it may be missing");
        assert!(matches!(refused, StoreError::Query(SqlError::FlushFailed)), "{who}: {refused:?}");
        assert!(told(&refused).contains("a loss of power may undo"), "{who}");
        let made =
            store.read(|connection| connection.ask("SELECT count(*) FROM made_after", |row| Ok(row.get::<i64>(0)?)));
        assert_eq!(made.await.expect("it is there, so that what it ended is ended")[0], 0, "{who}");
        assert!(store.sync().is_err() && store.takes_audit().await.is_err(), "{who}: and nothing leaves");
        store.profiles().await.expect("twin: it can still be read");
        test.open().change(|_| Ok(())).await.expect("twin: after a start");
    }
}
