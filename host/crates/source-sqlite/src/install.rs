//! Putting capture into a database and taking it out again; also what `deltaforge source install` does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use deltaforge_model::pattern::Patterns;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::catalog::{self, Known, Reason};
use crate::config::SqliteConfig;
use crate::error::{Doing, SqliteError};
use crate::log;
use crate::sql::name;
use crate::table;

/// How long to wait for another connection's write lock before giving up for now.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Opens a database that exists, to read and write it.
pub(crate) fn open(path: &Path) -> Result<Connection, SqliteError> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.busy_timeout(LOCK_WAIT).doing(|| "set the lock time-out".into())?;
    db.set_prepared_statement_cache_capacity(64);
    // A checkpoint of the WAL is the application's business: it would make our short writes long.
    db.pragma_update(None, "wal_autocheckpoint", 0).doing(|| "configure the connection".into())?;
    if journal_mode(&db)? == "wal" {
        // What a power cut may undo here is done again at the next start; other journals need the full sync.
        db.pragma_update(None, "synchronous", "NORMAL").doing(|| "configure the connection".into())?;
    }
    Ok(db)
}

/// Connects to a file that exists and is a database.
pub(crate) fn connect(path: &Path, access: OpenFlags) -> Result<Connection, SqliteError> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).and_then(|db| {
        // What is no database shows at the first read only.
        db.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
        Ok(db)
    });
    db.map_err(|cause| SqliteError::cannot_open(path, cause))
}

fn journal_mode(db: &Connection) -> Result<String, SqliteError> {
    db.pragma_query_value(None, "journal_mode", |row| row.get(0)).doing(|| "read the journal mode".into())
}

/// Warns where readers and writers of the database get into each other's way.
pub(crate) fn warn_of_journal(db: &Connection, path: &Path) -> Result<(), SqliteError> {
    let journal_mode = journal_mode(db)?;
    if journal_mode != "wal" {
        tracing::warn!(
            path = %path.display(),
            journal_mode,
            "the database is not in WAL mode: while it is read, writes of the application wait for moments, and fail \
             with \"database is locked\" where they have no busy time-out; run PRAGMA journal_mode = WAL on it once"
        );
    }
    Ok(())
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
) -> Result<Vec<(String, Reason)>, SqliteError> {
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .doing(|| "begin installing capture".into())?;
    log::create(&tx, 0)?;
    // Who stands still now reads the markers later: a table that is new to the log is new to that reader too.
    let known = Known { reading: known.reading || has_readers(&tx)?, ..known };
    let versions = catalog::load(&tx)?;
    let steps = catalog::plan(&tx, database, patterns, &versions, known)?;
    catalog::apply(&tx, &steps, known)?;
    tx.commit().doing(|| "commit the installation of capture".into())?;
    Ok(steps.into_iter().map(|step| (step.table, step.reason)).collect())
}

/// What [`install`] did about a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// It is captured from here on.
    Now,
    /// It was captured before, and nothing had to be done.
    Already,
    /// Its triggers were made anew, for this reason.
    Again(&'static str),
    /// It does not exist any more, and its capture ended.
    Ended,
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("installed"),
            Self::Already => f.write_str("already installed, unchanged"),
            Self::Again(why) => write!(f, "re-installed, because {why}"),
            Self::Ended => f.write_str("ended, because the table is gone"),
        }
    }
}

impl From<Reason> for Installed {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Installed | Reason::Created => Self::Now,
            Reason::Altered => Self::Again("the table's definition changed"),
            Reason::Upgraded => Self::Again("another release made its triggers"),
            Reason::Gone => Self::Again(
                "its triggers were missing or changed; what was written meanwhile is read anew with the whole table",
            ),
            Reason::Dropped => Self::Ended,
        }
    }
}

/// Installs capture for the configured tables, without starting a pipeline. Changes are logged from here on and
/// wait for the first reader. Answers what was done about each table.
///
/// # Errors
///
/// When the file cannot be opened or written.
pub fn install(config: &SqliteConfig) -> Result<Vec<(String, Installed)>, SqliteError> {
    let path = file(config)?;
    let mut db = open(&path)?;
    log::incarnation(&db)?; // another format is refused
    let known = Known { reading: false, consistent_through: 0 };
    let (database, patterns) = (database_name(&path), config.patterns());
    let steps = reconcile(&mut db, &database, &patterns, known)?;
    let mut done: BTreeMap<String, Installed> = table::matching(&db, &database, &patterns)?
        .into_iter()
        .map(|name| (name, Installed::Already))
        .collect();
    done.extend(steps.into_iter().map(|(table, reason)| (table, reason.into())));
    Ok(done.into_iter().collect())
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

/// What [`uninstall`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uninstalled {
    /// Triggers that were removed.
    pub triggers: usize,
    /// What became of the log; `None`: there was none.
    pub log: Option<Keep>,
}

impl fmt::Display for Uninstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let triggers = self.triggers;
        match self.log {
            None if triggers == 0 => f.write_str("nothing was installed"),
            None => write!(f, "{triggers} triggers removed; there was no log"),
            Some(Keep::Nothing) => write!(f, "{triggers} triggers and the log removed"),
            Some(Keep::Log) => write!(f, "{triggers} triggers removed; the log is kept"),
        }
    }
}

/// Removes the triggers, and the log with what was not yet read unless it is to be kept.
///
/// # Errors
///
/// When the file cannot be opened or written.
pub fn uninstall(config: &SqliteConfig, keep: Keep) -> Result<Uninstalled, SqliteError> {
    let mut db = open(&file(config)?)?;
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .doing(|| "begin removing capture".into())?;
    let triggers = made(&tx, "trigger")?;
    for trigger in &triggers {
        tx.execute_batch(&format!("DROP TRIGGER {}", name(trigger))).doing(|| format!("drop {trigger}"))?;
    }
    let tables = made(&tx, "table")?;
    if keep == Keep::Nothing {
        for table in &tables {
            tx.execute_batch(&format!("DROP TABLE {}", name(table))).doing(|| format!("drop {table}"))?;
        }
    }
    tx.commit().doing(|| "commit the removal of capture".into())?;
    Ok(Uninstalled { triggers: triggers.len(), log: (!tables.is_empty()).then_some(keep) })
}

/// The names of what capture made, of one kind.
fn made(db: &Connection, kind: &str) -> Result<Vec<String>, SqliteError> {
    db.prepare("SELECT name FROM sqlite_schema WHERE type = ?1 AND name GLOB '_df_cdc_*'")
        .and_then(|mut statement| statement.query_map([kind], |row| row.get(0))?.collect())
        .doing(|| "list what capture made".into())
}

pub(crate) fn file(config: &SqliteConfig) -> Result<std::path::PathBuf, SqliteError> {
    config.file().ok_or_else(|| SqliteError::Unsupported("the configuration names no database file".into()))
}

fn has_readers(db: &Connection) -> Result<bool, SqliteError> {
    db.query_row("SELECT EXISTS (SELECT 1 FROM _df_cdc_readers)", [], |row| row.get(0))
        .doing(|| "look for readers".into())
}

#[cfg(test)]
mod tests;
