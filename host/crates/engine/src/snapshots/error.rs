//! Why a snapshot is not taken, or not commanded.

use super::{MOST_AT_ONCE, MOST_CONDITION, MOST_TABLES, Table};
use crate::control::listed;
use crate::error::ConfigError;
use crate::source::SourceError;
use crate::state::StateError;
use crate::status::Failure;

/// A snapshot is not taken, or not commanded. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The source has no way to do it.
    #[error(
        "a source of the type {0} copies no rows while its stream goes on; to have them again, stop the pipeline, delete its \
         checkpoints, and let it begin with `snapshot: {{mode: initial}}`"
    )]
    NotSupported(String),
    /// What is asked for is wrong.
    #[error("{}", listed(.0))]
    Invalid(Vec<ConfigError>),
    /// The server may throw its log away before the end of it.
    #[error("{0}")]
    OutlastsLog(String),
    /// Many have not ended.
    #[error("{MOST_AT_ONCE} snapshots of this pipeline have not ended; wait for one, or stop one")]
    TooMany,
    /// There is none of that number.
    #[error("the pipeline has no snapshot {0}")]
    NotFound(String),
    /// It has ended.
    #[error("snapshot {id} is {state}: it has ended, and another one is a new request")]
    Ended {
        /// Which one.
        id: u64,
        /// How.
        state: &'static str,
    },
    /// The database could not be asked.
    #[error(transparent)]
    Source(#[from] Failure),
    /// The state store failed.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<SourceError> for SnapshotError {
    fn from(error: SourceError) -> Self {
        Self::Source(error.into())
    }
}

/// What is wrong with tables that are asked for, whatever the source.
pub(crate) fn problems(tables: &[Table]) -> Vec<ConfigError> {
    let mut problems = Vec::new();
    if tables.is_empty() {
        problems.push(ConfigError::new("tables", "name at least one table, as database.table"));
    }
    if tables.len() > MOST_TABLES {
        let text =
            format!("{} tables are too many for one snapshot, which takes {MOST_TABLES}", tables.len());
        problems.push(ConfigError::new("tables", text));
    }
    for (at, table) in tables.iter().enumerate() {
        if tables[..at].iter().any(|before| before.name == table.name) {
            problems
                .push(ConfigError::new(format!("tables[{at}]"), format!("{} is named twice", table.name)));
        }
        match table.condition.as_ref().map(|text| (text.trim().len(), text.len())) {
            Some((0, _)) => {
                let text = "it is empty; leave it out for all rows";
                problems.push(ConfigError::new(format!("where.{}", table.name), text));
            }
            Some((_, bytes)) if bytes > MOST_CONDITION => {
                let text = format!("it has {bytes} bytes, and may have {MOST_CONDITION}");
                problems.push(ConfigError::new(format!("where.{}", table.name), text));
            }
            _ => {}
        }
    }
    problems
}
