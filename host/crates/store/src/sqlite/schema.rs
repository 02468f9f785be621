//! Opening the file: whose it is, which version, and how SQLite shall treat it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::private;

/// "DfSt" in the file's header says that it is ours.
const APPLICATION_ID: i64 = 0x4466_5374;

/// The schema that this build reads and writes.
const VERSION: i64 = 1;

/// How long to wait for another process (a backup, a person with a shell) to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Past a burst the WAL shrinks back to this size.
const WAL_KEEP_BYTES: i64 = 16 << 20;

const SCHEMA: &str = "
create table kv (
    key text primary key, value blob not null, expires_ms integer
) strict, without rowid;
create index kv_expiry on kv (expires_ms) where expires_ms is not null;

-- `last` is the highest number ever given out; it outlives the records.
create table log (id integer primary key, name text not null unique, last integer not null) strict;
create table log_record (
    log integer not null, seq integer not null, record blob not null, primary key (log, seq)
) strict;

create table slot (
    name text primary key, version integer not null, value blob not null
) strict, without rowid;
-- A row stays when its lease ends, so that the epoch is remembered.
create table lease (
    name text primary key, owner text not null, epoch integer not null, expires_ms integer not null
) strict, without rowid;

-- `last` as in log; `entries` counts the queue's rows.
create table queue (
    id integer primary key, name text not null unique, last integer not null, entries integer not null
) strict;
-- Labels stand before the payload: filtering does not read what it skips.
create table queue_entry (
    queue integer not null, seq integer not null, pushed_ms integer not null,
    unique_key text not null, labels text not null, payload blob not null,
    primary key (queue, seq), unique (queue, unique_key)
) strict;
create index queue_entry_age on queue_entry (queue, pushed_ms);
";

/// The state store's file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is there but is no state store. Name another path; this file was not changed.
    #[error("{} is not a DeltaForge state store", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer build. Run that build, or restore a backup; it was not changed.
    #[error(
        "{} has state schema {found}, which is newer than the {VERSION} this build knows: run a newer DeltaForge",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema's version.
        found: i64,
    },
    /// The file system does not support SQLite's write-ahead log (some network mounts do not).
    #[error("{} is on a file system without write-ahead logging (journal mode is {mode})", path.display())]
    NoWal {
        /// The file.
        path: PathBuf,
        /// What SQLite uses instead.
        mode: String,
    },
    /// The file system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// SQLite refused.
    #[error("open state store {}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: rusqlite::Error,
    },
}

/// Opens or creates the file; answers the connection that writes.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    create_file(path)?;
    let refused = |cause| OpenError::Sqlite { path: path.to_path_buf(), cause };
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(refused)?;
    // Before anything that would change a file that is not ours.
    let new = match read_identity(&db) {
        Ok(identity) => identity.check(path)?,
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            return Err(OpenError::Foreign { path: path.to_path_buf() });
        }
        Err(error) => return Err(refused(error)),
    };
    let mode: String =
        db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(refused)?;
    if mode != "wal" {
        return Err(OpenError::NoWal { path: path.to_path_buf(), mode });
    }
    db.pragma_update(None, "synchronous", "full").map_err(refused)?;
    db.pragma_update_and_check(None, "journal_size_limit", WAL_KEEP_BYTES, |_| Ok(())).map_err(refused)?;
    if new {
        let tx = Transaction::new_unchecked(&db, TransactionBehavior::Immediate).map_err(refused)?;
        // Someone else may have been faster.
        if read_identity(&tx).map_err(refused)?.check(path)? {
            create_schema(&tx).map_err(refused)?;
        }
        tx.commit().map_err(refused)?;
    }
    Ok(db)
}

/// Opens the file, which [`open`] has prepared, for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    // Not SQLITE_OPEN_READ_ONLY: reading a WAL needs its shared memory, which this connection may write.
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .and_then(|db| db.pragma_update(None, "query_only", true).map(|()| db))
        .map_err(|cause| OpenError::Sqlite { path: path.to_path_buf(), cause })
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// Makes an empty, private file if there is none. SQLite gives its side files the same mode.
fn create_file(path: &Path) -> Result<(), OpenError> {
    let parent = path.parent().unwrap_or(Path::new(""));
    private::create_dir_all(parent).map_err(failed("create directory", parent))?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => private::sync_dir(parent).map_err(failed("sync directory", parent)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(failed("create", path)(cause)),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |cause| OpenError::Io { action, path, cause }
}

/// What the file says of itself.
struct Identity {
    application_id: i64,
    version: i64,
    is_empty: bool,
}

fn read_identity(db: &Connection) -> rusqlite::Result<Identity> {
    Ok(Identity {
        application_id: db.pragma_query_value(None, "application_id", |row| row.get(0))?,
        version: db.pragma_query_value(None, "user_version", |row| row.get(0))?,
        is_empty: db.query_row("select not exists (select 1 from sqlite_schema)", [], |row| row.get(0))?,
    })
}

impl Identity {
    /// Whether the file is new; an error if it is not for us.
    fn check(&self, path: &Path) -> Result<bool, OpenError> {
        match (self.application_id, self.version) {
            (0, 0) if self.is_empty => Ok(true),
            (APPLICATION_ID, VERSION) => Ok(false),
            (APPLICATION_ID, found) if found > VERSION => {
                Err(OpenError::Newer { path: path.to_path_buf(), found })
            }
            _ => Err(OpenError::Foreign { path: path.to_path_buf() }),
        }
    }
}

fn create_schema(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(SCHEMA)?;
    db.pragma_update(None, "application_id", APPLICATION_ID)?;
    db.pragma_update(None, "user_version", VERSION)
}
