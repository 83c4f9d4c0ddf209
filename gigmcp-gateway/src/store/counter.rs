//! How many changes there have been of what tokens open, told without asking the thread that writes, if that is certain.
//!
//! SQLite counts what is committed, by whichever program, in the memory that all of them share beside the file (`iChange`;
//! <https://www.sqlite.org/walformat.html>, section 2). What stands there after a commit of ours is kept in mind together with
//! our own count, and as long as nothing else stands there nobody has committed anything.

use std::{
    fs::File,
    io,
    mem::ManuallyDrop,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How many changes there have been, by this program and by others on the same file of SQLite.
pub(super) struct Counter {
    generation: AtomicU64,
    /// Not of PostgreSQL.
    index: Option<Index>,
    last: Mutex<Option<Last>>,
    /// For how long a database that took a transaction is expected to take the next.
    recent: Duration,
}

/// What was found when a transaction of the thread that writes had gone well.
struct Last {
    generation: u64,
    header: Header,
    began: Instant,
}

/// What a transaction of the thread that writes has done to the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wrote {
    Nothing,
    /// At least one new row.
    Rows,
    /// Something, or maybe nothing: to set what is set already is no change for SQLite.
    Unknown,
}

/// What a connection has written, since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// The newest row of its latest insertion.
    pub(super) newest: i64,
    pub(super) rows: u64,
}

impl Written {
    pub(super) fn since(self, before: Self) -> Wrote {
        match (self.newest == before.newest, self.rows == before.rows) {
            (false, _) => Wrote::Rows,
            (true, true) => Wrote::Nothing,
            (true, false) => Wrote::Unknown,
        }
    }
}

/// The thread that writes is in a transaction: nobody else can commit.
pub(super) struct Begun {
    changes: Option<u32>,
    at: Instant,
}

impl Counter {
    /// Of a database that is open already.
    pub(super) fn of(log: Option<&Path>) -> Self {
        let index = log.and_then(|log| Index::open(log).ok());
        Self { generation: AtomicU64::new(0), index, last: Mutex::new(None), recent: RECENT }
    }

    /// How many there were at the latest look.
    pub(super) fn seen(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn add(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// How many there are now, if that is certain and the database took writes a moment ago.
    pub(super) fn now(&self) -> Option<u64> {
        let index = self.index.as_ref()?;
        // Between a commit of ours and what is noted of it.
        (0..TRIES).find_map(|_| {
            let header = index.header()?;
            let last = self.lock();
            let last = last.as_ref().filter(|last| last.header == header && last.began.elapsed() < self.recent)?;
            Some(last.generation)
        })
    }

    /// Notes that a transaction has begun.
    pub(super) fn begun(&self) -> Begun {
        let header = self.index.as_ref().and_then(Index::header);
        Begun { changes: header.map(|header| header.changes()), at: Instant::now() }
    }

    /// Notes that it was committed.
    pub(super) fn committed(&self, begun: &Begun, wrote: Wrote) {
        let ours = begun.changes.and_then(|before| match wrote {
            Wrote::Nothing => Some(before),
            Wrote::Rows => Some(before.wrapping_add(1)),
            Wrote::Unknown => None,
        });
        let header = self.index.as_ref().and_then(Index::header);
        // Others may have committed since.
        let header = header.filter(|header| Some(header.changes()) == ours);
        *self.lock() = header.map(|header| Last { generation: self.seen(), header, began: begun.at });
    }

    /// Notes that the database took no write.
    pub(super) fn failed(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What SQLite's programs share. It is never closed: that would give up the locks that SQLite has on it for this process.
struct Index(ManuallyDrop<File>);

/// What stands at its beginning, without the second copy.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Header([u8; Self::BYTES]);

impl Index {
    fn open(log: &Path) -> io::Result<Self> {
        // `-wal`, `-shm`
        let mut path = log.as_os_str().to_string_lossy().into_owned();
        path.truncate(path.len().saturating_sub("wal".len()));
        path.push_str("shm");
        File::open(path).map(ManuallyDrop::new).map(Self)
    }

    /// None while it is written.
    fn header(&self) -> Option<Header> {
        let mut both = [0; 2 * Header::BYTES];
        self.0.read_exact_at(&mut both, 0).ok()?;
        let (first, second) = both.split_at(Header::BYTES);
        let header = Header(first.try_into().ok().filter(|_| first == second)?);
        (header.word(0) == Header::VERSION).then_some(header)
    }
}

impl Header {
    const BYTES: usize = 48;
    /// The only one that there is.
    const VERSION: u32 = 3_007_000;

    /// How many transactions have changed something.
    fn changes(&self) -> u32 {
        self.word(2)
    }

    fn word(&self, place: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.0[4 * place..4 * place + 4]);
        u32::from_ne_bytes(word)
    }
}

/// How often it is looked whether a commit of ours has been noted.
const TRIES: usize = 3;
/// Many calls' time, and less than anybody notices.
pub(super) const RECENT: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A database, its log, and two programs that use it.
    struct Shared {
        _directory: tempfile::TempDir,
        counter: Counter,
        ours: Connection,
        others: Connection,
    }

    fn shared() -> Shared {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("gigmcp.db");
        let open = || {
            let connection = Connection::open(&path).expect("a database");
            connection.pragma_update(None, "journal_mode", "wal").expect("it has a log");
            connection
        };
        let (ours, others) = (open(), open());
        ours.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 1)").expect("a table");
        let mut counter = Counter::of(Some(&directory.path().join("gigmcp.db-wal")));
        counter.recent = Duration::from_secs(3600);
        Shared { _directory: directory, counter, ours, others }
    }

    impl Shared {
        /// What the thread that writes does, and what others do as soon as they can.
        fn transaction(&self, sql: &str, meanwhile: impl FnOnce(&Self)) {
            self.ours.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");
            let (begun, before) = (self.counter.begun(), self.written());
            self.ours.execute_batch(sql).expect("it can be done");
            let wrote = self.written().since(before);
            self.ours.execute_batch("COMMIT").expect("it can be kept");
            meanwhile(self);
            self.counter.committed(&begun, wrote);
        }

        fn written(&self) -> Written {
            Written { newest: self.ours.last_insert_rowid(), rows: self.ours.total_changes() }
        }

        fn other(&self) {
            self.others.execute_batch("UPDATE t SET b = b + 1").expect("nobody writes");
        }
    }

    #[test]
    fn it_is_certain_after_what_we_wrote_and_until_somebody_else_writes() {
        let shared = shared();
        assert_eq!(shared.counter.now(), None, "nothing is known");
        for (sql, certain) in [
            ("", true),
            ("INSERT INTO t (b) VALUES (1)", true),
            ("INSERT INTO t (b) VALUES (1); UPDATE t SET b = 5", true),
            ("SAVEPOINT a; INSERT INTO t (b) VALUES (7); ROLLBACK TO a; RELEASE a", true),
            ("UPDATE t SET b = b", false),
            ("UPDATE t SET b = 5 WHERE a = 1000", true),
        ] {
            shared.transaction(sql, |_| {});
            assert_eq!(shared.counter.now(), certain.then_some(0), "{sql}");
            shared.other();
            assert_eq!(shared.counter.now(), None, "{sql}");
        }
    }

    #[test]
    fn what_others_do_before_it_is_noted_is_not_taken_for_ours() {
        for sql in ["", "INSERT INTO t (b) VALUES (1)", "UPDATE t SET b = b", "UPDATE t SET b = b + 1"] {
            let shared = shared();
            shared.transaction(sql, Shared::other);
            assert_eq!(shared.counter.now(), None, "{sql}");
        }
    }

    #[test]
    fn what_was_certain_is_not_for_long_nor_after_a_failure() {
        let mut shared = shared();
        shared.transaction("", |_| {});
        shared.counter.add();
        assert_eq!(shared.counter.now(), Some(0), "what was found when it was noted");
        shared.counter.failed();
        assert_eq!(shared.counter.now(), None);
        shared.transaction("", |_| {});
        assert_eq!(shared.counter.now(), Some(1), "twin");
        shared.counter.recent = Duration::ZERO;
        assert_eq!(shared.counter.now(), None);
    }

    #[test]
    fn the_locks_of_sqlite_are_kept_when_it_is_gone() {
        let shared = shared();
        shared.ours.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");
        let log = shared.ours.path().map(|path| format!("{path}-wal")).expect("it is a file");
        let _ = Counter::of(Some(Path::new(&log)));
        let shm = log.replace("-wal", "-shm");
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&shm).expect("it is there"));
        let held = || {
            let locks = std::fs::read_to_string("/proc/locks").expect("it is Linux");
            locks.lines().filter(|line| line.contains(&format!(":{inode} "))).count()
        };
        assert!(held() > 0);
        drop(File::open(&shm));
        assert_eq!(held(), 0, "twin: a file that is closed takes them along");
    }
}
