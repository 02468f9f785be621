//! The log inside the database: its tables, its operations and where a cell lies in it.
//!
//! One row of `_df_cdc_log` is one change. Its cells keep the exact SQLite value (no affinity, no JSON). Both
//! images of an update lie in one row, the old one first. Images wider than [`PART`] cells go on in
//! `_df_cdc_log_wide`, [`PART`] cells a row.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{Doing, SqliteError};

/// Most cells in a row of the log, and cells in a row of `_df_cdc_log_wide`.
pub(crate) const PART: usize = 256;
/// Cells the log has from the start; markers need a few.
const FIRST_CELLS: usize = 16;
/// Version of the tables below; a database with another one is refused.
const FORMAT: i64 = 1;

/// Codes in the log's column `op`. Negative: reserved by a BEFORE trigger, not (yet) a change.
pub(crate) mod op {
    /// A row was inserted; the image is the new row.
    pub const CREATE: i64 = 0;
    /// A row was changed; both images.
    pub const UPDATE: i64 = 1;
    /// A row was deleted; the image is the old row.
    pub const DELETE: i64 = 2;
    /// Not a row: a table's capture began, changed or ended here.
    pub const MARKER: i64 = 16;
    /// An insert is under way.
    pub const INSERTING: i64 = -1;
    /// An update is under way.
    pub const UPDATING: i64 = -2;
    /// A delete is under way.
    pub const DELETING: i64 = -3;
    /// This row may be about to be replaced.
    pub const REPLACING: i64 = -4;
}

/// Where the cells of one image lie: the number of its first cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Cells of one image.
    pub columns: usize,
}

impl Layout {
    /// The first cell of an update's new image. Wide images start in a row of their own.
    pub fn after(self) -> usize {
        if self.columns * 2 <= PART { self.columns } else { self.columns.div_ceil(PART) * PART }
    }

    /// Cells that an update takes in the log itself.
    pub fn log_cells(self) -> usize {
        (self.columns * 2).min(PART)
    }

    /// The parts that the image starting at cell `first` lies in: number and cells of each, as columns.
    pub fn parts(self, first: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        let end = first + self.columns;
        (first / PART..end.div_ceil(PART)).map(move |part| {
            let from = first.max(part * PART);
            (part, from - first..end.min((part + 1) * PART) - first)
        })
    }
}

/// The column of the log (or of its wide part) that holds cell `cell`.
pub(crate) fn cell_name(cell: usize) -> String {
    format!("c{}", cell % PART)
}

fn cells(range: std::ops::Range<usize>) -> String {
    range.map(|cell| format!(", c{cell}")).collect()
}

/// Creates what is missing of the log and widens it to `width` cells. Inside the caller's transaction.
pub(crate) fn create(db: &Connection, width: usize) -> Result<(), SqliteError> {
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS _df_cdc_meta (key TEXT PRIMARY KEY, value);
         CREATE TABLE IF NOT EXISTS _df_cdc_readers (reader TEXT PRIMARY KEY, confirmed INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS _df_cdc_tables (
             id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, definition TEXT NOT NULL,
             triggers TEXT NOT NULL, stale_after INTEGER, successor INTEGER);
         CREATE TABLE IF NOT EXISTS _df_cdc_log (
             sequence INTEGER PRIMARY KEY AUTOINCREMENT, tab, op, ts, nonce, rid{});
         CREATE TABLE IF NOT EXISTS _df_cdc_log_wide (sequence, part{}, PRIMARY KEY (sequence, part)) WITHOUT ROWID;
         INSERT OR IGNORE INTO _df_cdc_meta VALUES ('format', {FORMAT}), ('incarnation', lower(hex(randomblob(16))));",
        cells(0..FIRST_CELLS),
        cells(0..PART),
    );
    db.execute_batch(&sql).doing(|| "create the change log".into())?;
    let has = width_of(db)?;
    for cell in has..width.min(PART) {
        db.execute_batch(&format!("ALTER TABLE _df_cdc_log ADD COLUMN c{cell}"))
            .doing(|| format!("widen the change log to {width} cells"))?;
    }
    Ok(())
}

/// How many cells a row of the log has.
pub(crate) fn width_of(db: &Connection) -> Result<usize, SqliteError> {
    db.query_row(
        "SELECT count(*) FROM pragma_table_info('_df_cdc_log') WHERE name GLOB 'c[0-9]*'",
        [],
        |row| row.get::<_, i64>(0),
    )
    .map(|count| count as usize)
    .doing(|| "look at the change log's columns".into())
}

/// The database's incarnation: random, made with the log. `None`: there is no log.
pub(crate) fn incarnation(db: &Connection) -> Result<Option<String>, SqliteError> {
    let there: bool = db
        .query_row(
            "SELECT count(*) = 2 FROM sqlite_schema WHERE name IN ('_df_cdc_meta', '_df_cdc_log')",
            [],
            |r| r.get(0),
        )
        .doing(|| "look for the change log".into())?;
    if !there {
        return Ok(None);
    }
    let meta = |key: &str| {
        db.query_row("SELECT value FROM _df_cdc_meta WHERE key = ?1", [key], |row| {
            row.get::<_, rusqlite::types::Value>(0)
        })
        .optional()
        .doing(|| format!("read {key} of the change log"))
    };
    match meta("format")? {
        Some(rusqlite::types::Value::Integer(FORMAT)) => {}
        other => {
            return Err(SqliteError::Unsupported(format!(
                "the change log in this database has format {other:?}; this build reads format {FORMAT}"
            )));
        }
    }
    Ok(match meta("incarnation")? {
        Some(rusqlite::types::Value::Text(text)) => Some(text),
        _ => None,
    })
}

/// The highest sequence number ever committed; 0: none.
pub(crate) fn highest(db: &Connection) -> Result<i64, SqliteError> {
    db.prepare_cached("SELECT coalesce(max(sequence), 0) FROM _df_cdc_log")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing(|| "find the end of the change log".into())
}

/// The lowest sequence number that is kept; `None`: the log is empty.
pub(crate) fn lowest(db: &Connection) -> Result<Option<i64>, SqliteError> {
    db.query_row("SELECT min(sequence) FROM _df_cdc_log", [], |row| row.get(0))
        .doing(|| "find the start of the change log".into())
}

/// The nonce of one row of the log.
pub(crate) fn nonce(db: &Connection, sequence: i64) -> Result<Option<i64>, SqliteError> {
    db.prepare_cached("SELECT nonce FROM _df_cdc_log WHERE sequence = ?1")
        .and_then(|mut statement| statement.query_row([sequence], |row| row.get(0)).optional())
        .doing(|| format!("look up change {sequence}"))
}

/// Registers a reader at the position it starts from, so that cleanup keeps what it has not read.
pub(crate) fn register(db: &Connection, reader: &str, confirmed: i64) -> Result<(), SqliteError> {
    db.execute("INSERT OR REPLACE INTO _df_cdc_readers VALUES (?1, ?2)", params![reader, confirmed])
        .doing(|| format!("register the reader {reader}"))
        .map(drop)
}

/// What one slice of cleanup did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cleaned {
    /// Whether more can be removed at once.
    pub more: bool,
}

/// Writes down what a reader has confirmed and removes at most `slice` rows that no reader needs: only below the
/// lowest confirmed one, which stays, so that its nonce can be compared; and never the highest, since an emptied
/// log may use sequence numbers again.
///
/// Gives way at once when another connection holds the write lock.
pub(crate) fn confirm(
    db: &mut Connection,
    reader: &str,
    confirmed: i64,
    slice: i64,
) -> rusqlite::Result<Cleaned> {
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    tx.prepare_cached(
        "INSERT INTO _df_cdc_readers VALUES (?1, ?2)
         ON CONFLICT (reader) DO UPDATE SET confirmed = excluded.confirmed WHERE excluded.confirmed > confirmed",
    )?
    .execute(params![reader, confirmed])?;
    let (low, high, floor): (Option<i64>, Option<i64>, Option<i64>) = tx
        .prepare_cached(
            "SELECT (SELECT min(sequence) FROM _df_cdc_log), (SELECT max(sequence) FROM _df_cdc_log),
                    (SELECT min(confirmed) FROM _df_cdc_readers)",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut more = false;
    if let (Some(low), Some(high), Some(floor)) = (low, high, floor) {
        let below = floor.min(high);
        if low < below {
            let until = below.min(low.saturating_add(slice));
            tx.prepare_cached("DELETE FROM _df_cdc_log WHERE sequence < ?1")?.execute([until])?;
            tx.prepare_cached("DELETE FROM _df_cdc_log_wide WHERE sequence < ?1")?.execute([until])?;
            more = until < below;
        }
    }
    tx.commit()?;
    Ok(Cleaned { more })
}
