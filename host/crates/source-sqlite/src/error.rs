//! Every way this source can fail, and what helps.

use deltaforge_engine::source::SourceError;
use rusqlite::ErrorCode;

/// A failure inside this crate, before the engine sees it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// SQLite refused.
    #[error("{action}")]
    Database {
        /// What was being done.
        action: String,
        /// SQLite's own words.
        #[source]
        cause: rusqlite::Error,
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
                    let mut refused = Self::operator("sqlite_refused", message);
                    refused.cause = Some(Box::new(cause));
                    refused
                }
                _ => Self::retry("sqlite_failed", message, cause),
            },
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
