//! Every way this source can fail, and what helps.

use std::path::{Path, PathBuf};

use deltaforge_engine::source::SourceError;
use rusqlite::ErrorCode;

/// A failure inside this crate, before the engine sees it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// SQLite refused.
    #[error("{action}: {cause}")]
    Database {
        /// What was being done.
        action: String,
        /// SQLite's own words. Not a source: the code beneath them would say the same once more.
        cause: rusqlite::Error,
    },
    /// The file is not there, or not for us.
    #[error("open the database {}: {why}", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The database went back behind the checkpoint.
    #[error("{0}")]
    Rewound(String),
    /// The log no longer reaches back to the checkpoint.
    #[error("{0}")]
    PositionLost(String),
    /// The checkpoint belongs to another database.
    #[error("{0}")]
    Unrelated(String),
    /// The checkpoint cannot be read.
    #[error("read the checkpoint {0}: it is no position of a SQLite source")]
    BadPosition(String),
    /// A row does not fit its share of the budget.
    #[error("{0}")]
    RowTooLarge(String),
    /// A table cannot be captured.
    #[error("{0}")]
    Unsupported(String),
    /// A definition changed and the configuration asks to stop then.
    #[error("{0}")]
    Drift(String),
    /// The database file was replaced while it was read.
    #[error("{0}")]
    Replaced(String),
}

impl SqliteError {
    /// A database that SQLite did not open. It says little more than that, so the file is looked at.
    pub(crate) fn cannot_open(path: &Path, cause: rusqlite::Error) -> Self {
        if !matches!(cause.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied)) {
            return Self::Database { action: format!("open the database {}", path.display()), cause };
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let why = match std::fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                "there is no such file; create it with the application first, or correct the source's `path`, which is \
                 relative to where this process was started"
                    .to_owned()
            }
            Err(error) => format!("{error}; give this process the right to read and write it, and its folder"),
            Ok(_) if path.is_dir() => "it is a folder; name the database file in the source's `path`".to_owned(),
            Ok(_) => format!("{cause}; this process must be able to read and write the file, and its folder"),
        };
        Self::CannotOpen { path, why }
    }

    /// A row that takes more than its share of the budget.
    pub(crate) fn row_too_large(what: &str, size: usize, hard_bytes: usize) -> Self {
        Self::RowTooLarge(format!(
            "{what} takes {size} bytes; a row may take {hard_bytes}, a quarter of spec.max_memory_bytes: raise it, or \
             leave the table out"
        ))
    }

    /// Whether another connection holds a lock that we need; trying again shortly helps.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Database { cause, .. } if is_busy(cause))
    }
}

/// Whether another connection holds the lock.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Says what was being done when SQLite refused.
pub(crate) trait Doing<T> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, SqliteError>;
}

impl<T> Doing<T> for Result<T, rusqlite::Error> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, SqliteError> {
        self.map_err(|cause| SqliteError::Database { action: action(), cause })
    }
}

impl From<SqliteError> for SourceError {
    fn from(error: SqliteError) -> Self {
        let message = error.to_string();
        match error {
            SqliteError::Database { cause, .. } => match cause.sqlite_error_code() {
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::ReadOnly) => {
                    Self::operator("sqlite_refused", message)
                }
                _ => Self::retry("sqlite_failed", message, cause.to_string()),
            },
            SqliteError::CannotOpen { why, .. } => Self::retry("sqlite_cannot_open", message, why),
            SqliteError::Replaced(_) => {
                Self::retry("source_replaced", message, "the file changed its identity")
            }
            SqliteError::Rewound(_) => Self::operator("source_rewound", message),
            SqliteError::PositionLost(_) => Self::operator("position_lost", message),
            SqliteError::Unrelated(_) => Self::operator("source_changed", message),
            SqliteError::BadPosition(_) => Self::operator("bad_checkpoint", message),
            SqliteError::RowTooLarge(_) => Self::operator("row_too_large", message),
            SqliteError::Unsupported(_) => Self::operator("table_unsupported", message),
            SqliteError::Drift(_) => Self::operator("schema_drift", message),
        }
    }
}
