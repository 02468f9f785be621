//! Putting capture into a database and taking it out again; also what `deltaforge source install` does.

use std::path::Path;
use std::time::Duration;

use deltaforge_model::pattern::Patterns;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::catalog::{self, Known};
use crate::config::SqliteConfig;
use crate::error::{Doing, SqliteError};
use crate::log;
use crate::sql::name;

/// How long to wait for another connection's write lock before giving up for now.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Opens a database that exists.
pub(crate) fn open(path: &Path) -> Result<Connection, SqliteError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).doing(|| format!("open {}", path.display()))?;
    db.busy_timeout(LOCK_WAIT).doing(|| "set the lock time-out".into())?;
    db.set_prepared_statement_cache_capacity(64);
    // A checkpoint of the WAL is the application's business: it would make our short writes long.
    db.pragma_update(None, "wal_autocheckpoint", 0).doing(|| "configure the connection".into())?;
    let journal: String = db
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .doing(|| "read the journal mode".into())?;
    if journal == "wal" {
        // What a power cut may undo here is done again at the next start; other journals need the full sync.
        db.pragma_update(None, "synchronous", "NORMAL").doing(|| "configure the connection".into())?;
    }
    Ok(db)
}

/// What patterns call the database: its file name without extension.
pub(crate) fn database_name(path: &Path) -> String {
    path.file_stem().map_or_else(|| "main".into(), |stem| stem.to_string_lossy().into_owned())
}

/// Brings capture up to date in one short write transaction; answers what was done, by table.
pub(crate) fn reconcile(
    db: &mut Connection,
    database: &str,
    patterns: &Patterns,
    known: Known,
) -> Result<Vec<(String, &'static str)>, SqliteError> {
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .doing(|| "begin installing capture".into())?;
    log::create(&tx, 0)?;
    let versions = catalog::load(&tx)?;
    let steps = catalog::plan(&tx, database, patterns, &versions, known)?;
    catalog::apply(&tx, &steps, known)?;
    tx.commit().doing(|| "commit the installation of capture".into())?;
    Ok(steps.into_iter().map(|step| (step.table, step.reason.word())).collect())
}

/// Installs capture for the configured tables, without starting a pipeline. Changes are logged from here on and
/// wait for the first reader. Answers what was done: table and reason.
///
/// # Errors
///
/// When the file cannot be opened or written.
pub fn install(config: &SqliteConfig) -> Result<Vec<(String, &'static str)>, SqliteError> {
    let path = file(config)?;
    let mut db = open(&path)?;
    let known = match log::incarnation(&db)? {
        Some(_) => Known { reading: has_readers(&db)?, consistent_through: 0 },
        None => Known { reading: false, consistent_through: 0 },
    };
    reconcile(&mut db, &database_name(&path), &config.patterns(), known)
}

/// What [`uninstall`] leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing. Checkpoints of this database are worth nothing afterwards.
    Nothing,
    /// The log. For a change of the schema that triggers stand in the way of, such as `DROP COLUMN`: the next start
    /// installs them again, tells the gap and reads the tables anew.
    Log,
}

/// Removes the triggers, and the log with what was not yet read unless it is to be kept. Answers how many triggers
/// there were.
///
/// # Errors
///
/// When the file cannot be opened or written.
pub fn uninstall(config: &SqliteConfig, keep: Keep) -> Result<usize, SqliteError> {
    let mut db = open(&file(config)?)?;
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .doing(|| "begin removing capture".into())?;
    let triggers = made(&tx, "trigger")?;
    for trigger in &triggers {
        tx.execute_batch(&format!("DROP TRIGGER {}", name(trigger))).doing(|| format!("drop {trigger}"))?;
    }
    if keep == Keep::Nothing {
        for table in made(&tx, "table")? {
            tx.execute_batch(&format!("DROP TABLE {}", name(&table))).doing(|| format!("drop {table}"))?;
        }
    }
    tx.commit().doing(|| "commit the removal of capture".into())?;
    Ok(triggers.len())
}

/// The names of what capture made, of one kind.
fn made(db: &Connection, kind: &str) -> Result<Vec<String>, SqliteError> {
    db.prepare("SELECT name FROM sqlite_schema WHERE type = ?1 AND name GLOB '_df_cdc_*'")
        .and_then(|mut statement| statement.query_map([kind], |row| row.get(0))?.collect())
        .doing(|| "list what capture made".into())
}

fn file(config: &SqliteConfig) -> Result<std::path::PathBuf, SqliteError> {
    config.file().ok_or_else(|| SqliteError::Unsupported("the configuration names no database file".into()))
}

pub(crate) fn has_readers(db: &Connection) -> Result<bool, SqliteError> {
    db.query_row("SELECT EXISTS (SELECT 1 FROM _df_cdc_readers)", [], |row| row.get(0))
        .doing(|| "look for readers".into())
}
