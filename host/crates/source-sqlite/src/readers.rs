//! The readers that the log keeps changes for: who they are, and how to let one go.

use rusqlite::Connection;

use crate::config::SqliteConfig;
use crate::error::{Doing, SqliteError};
use crate::install::{file, open};
use crate::log;

/// A reader as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReader {
    /// Its name; see [`reader_name`].
    pub name: String,
    /// The last change that it needs no more.
    pub confirmed: i64,
    /// Rows of the log that are kept for it.
    pub behind: u64,
}

/// What the log calls a pipeline's reader.
pub fn reader_name(tenant: &str, pipeline: &str, source_id: &str) -> String {
    format!("{tenant}/{pipeline}/{source_id}")
}

/// The readers of the database's log, the one that is furthest behind first. `None`: nothing is installed.
///
/// # Errors
///
/// When the file cannot be opened or read.
pub fn readers(config: &SqliteConfig) -> Result<Option<Vec<LogReader>>, SqliteError> {
    let db = open(&file(config)?)?;
    if log::incarnation(&db)?.is_none() {
        return Ok(None);
    }
    list(&db).doing(|| "list the readers of the change log".into()).map(Some)
}

fn list(db: &Connection) -> rusqlite::Result<Vec<LogReader>> {
    db.prepare(
        "SELECT reader, confirmed, (SELECT count(*) FROM _df_cdc_log WHERE sequence > confirmed)
         FROM _df_cdc_readers ORDER BY confirmed, reader",
    )?
    .query_map([], |row| {
        let behind: i64 = row.get(2)?;
        Ok(LogReader { name: row.get(0)?, confirmed: row.get(1)?, behind: behind.unsigned_abs() })
    })?
    .collect()
}

/// Removes a reader that will not come back: the log keeps nothing for it any more. Answers whether there was one.
/// The log is shortened when one of the other readers confirms something.
///
/// # Errors
///
/// When the file cannot be opened or written.
pub fn forget_reader(config: &SqliteConfig, reader: &str) -> Result<bool, SqliteError> {
    let db = open(&file(config)?)?;
    if log::incarnation(&db)?.is_none() {
        return Ok(false);
    }
    db.execute("DELETE FROM _df_cdc_readers WHERE reader = ?1", [reader])
        .map(|removed| removed > 0)
        .doing(|| format!("remove the reader {reader}"))
}
