//! SQLite: a file of our own, with one connection that writes and one that reads.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{StoreError, connection::SqlError};

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// The two connections to a database that has this version's schema. A missing one is created with mode 0600.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) reader: Connection,
}

pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    create_private(path).map_err(|source| StoreError::Create { path: path.to_owned(), source })?;
    let open =
        |mode| connect(path, mode).map_err(|source| StoreError::Open { path: path.to_owned(), source: source.into() });
    let alone = lock(path);
    let mut writer = open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    migrations().run(&mut writer).map_err(|source| super::not_migrated(path.display(), source))?;
    drop(alone);
    Ok(Opened { writer, reader: open(OpenFlags::SQLITE_OPEN_READ_ONLY)? })
}

/// Which file was opened. Its name may come to lead to another one, such as a backup that was put there.
pub(super) struct Identity {
    path: PathBuf,
    file: (u64, u64),
}

impl Identity {
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let file = file(path).map_err(|source| StoreError::Create { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// What is done in a file without a name is done for nobody: other programs would not see it, nor we what they do.
    pub(super) fn check(&self) -> Result<(), SqlError> {
        match file(&self.path) {
            Ok(file) if file == self.file => Ok(()),
            _ => Err(SqlError::Replaced),
        }
    }
}

fn file(path: &Path) -> io::Result<(u64, u64)> {
    let found = path.metadata()?;
    Ok((found.dev(), found.ino()))
}

/// A connection to a database that is there, which others may go on using. Nothing is migrated.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Absent { database: path.display().to_string() });
    }
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|source| StoreError::Open { path: path.to_owned(), source: source.into() })
}

/// A new database of that version, which takes rows in any order. Its file has no name, and is gone with it.
pub(super) fn scratch(version: i64) -> Result<Connection, StoreError> {
    let target = refinery::Target::Version(i32::try_from(version).unwrap_or(i32::MAX));
    let mut connection = Connection::open("").map_err(SqlError::from)?;
    let migrated = migrations().set_target(target).run(&mut connection);
    migrated.map_err(|source| super::not_migrated("made to be filled", source))?;
    connection.pragma_update(None, "foreign_keys", false).map_err(SqlError::from)?;
    Ok(connection)
}

/// Brings it to this version's schema.
pub(super) fn migrate_scratch(mut connection: Connection) -> Result<Connection, StoreError> {
    connection.pragma_update(None, "foreign_keys", true).map_err(SqlError::from)?;
    migrations().run(&mut connection).map_err(|source| super::not_migrated("in the backup", source))?;
    Ok(connection)
}

/// Whether there is still room for what one transaction writes. Where that cannot be told, writing will tell.
pub(super) fn has_room(connection: &Connection) -> Result<(), SqlError> {
    let Some(path) = connection.path().filter(|path| !path.is_empty()) else { return Ok(()) };
    let full = rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_BYTES);
    if full { Err(SqlError::Full) } else { Ok(()) }
}

/// Everything that has led to this version's schema.
pub(super) fn migrations() -> refinery::Runner {
    // All or nothing, so that a process which ends meanwhile leaves no half behind.
    embedded::migrations::runner().set_grouped(true)
}

/// Processes that make or migrate it at once would be in one another's way. Not every file system has locks, so there may be
/// none. A file of its own, because closing the database's would give up SQLite's locks, and the directory is the key file's.
fn lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let file = private().create(true).truncate(false).write(true).open(name)?;
    file.lock()?;
    Ok(file)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn create_private(path: &Path) -> io::Result<()> {
    private().create(true).truncate(false).write(true).open(path).map(drop)
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    if mode.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        connection.pragma_update(None, "journal_mode", "wal")?;
        flush_with_commit(&connection, true)?;
    }
    Ok(connection)
}

/// Whether a commit waits for the disk: what was acknowledged then survives a loss of power too. Otherwise somebody else has to
/// flush the log; what comes after it does not come to the disk before it.
pub(super) fn flush_with_commit(connection: &Connection, with_commit: bool) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, "synchronous", if with_commit { "full" } else { "normal" })
}

/// More than the log beside the database grows by in a transaction of many rows.
const ROOM_BYTES: u64 = 512 * 1024;
/// More than the statements that are run again and again.
const PREPARED: usize = 64;
/// How long a change waits for another process, such as the command line, to finish its own.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
