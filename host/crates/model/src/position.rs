//! Progress: where a source is in its log, and which stretch of it a batch covers.

use std::fmt;
use std::sync::Arc;

use crate::Batch;

/// Where a source is in its log. Opaque to all but that source.
///
/// The bytes are a versioned JSON text, so that an operator can read a checkpoint; only the source that wrote
/// it knows how to compare two.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Position(Arc<str>);

impl Position {
    /// Wraps a source's own position text (JSON).
    pub fn new(json: impl Into<Arc<str>>) -> Self {
        Self(json.into())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For people, as in log lines, where JSON's quotes would be escaped: `kind: sqlite, sequence: 120`. Not to be
    /// read back.
    pub fn readable(&self) -> String {
        let inner = self.0.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(&self.0);
        let unquoted = inner.chars().filter(|c| *c != '"');
        unquoted.fold(String::with_capacity(inner.len()), |mut text, c| {
            text.push(c);
            if matches!(c, ',' | ':') {
                text.push(' ');
            }
            text
        })
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How two positions of one source relate. A partial order: two histories may have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first is behind.
    Before,
    /// They are the same.
    Same,
    /// The first is ahead.
    After,
    /// They do not belong to one history.
    Unrelated,
}

/// The stretch `(from, through]` of the log that a batch covers; both are positions a source can resume at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpan {
    /// Everything up to here came earlier.
    pub from: Position,
    /// Everything up to here is in this batch or earlier ones, or was left out on purpose.
    pub through: Position,
}

/// Where in the source's transactions a batch ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boundary {
    /// Between transactions: `through` is a place to resume at.
    Transaction,
    /// Inside one too large for its share of the budget. `through` stays at the transaction's start and
    /// `rows_done` of its rows, counted before any filter, have been handed out.
    Inside {
        /// The transaction's id; behind a space, where that may change, by what its rows are counted.
        transaction: String,
        /// Rows of it handed out so far.
        rows_done: u64,
    },
}

/// What a source hands to the engine: events, and beside them the progress no plugin can touch.
#[derive(Debug)]
pub struct SourceBatch {
    /// The events; what stages see, borrow and edit.
    pub batch: Batch,
    /// The stretch of the log.
    pub covers: LogSpan,
    /// Where it ends.
    pub boundary: Boundary,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_well_in_a_log_line() {
        let position = Position::new(r#"{"v":1,"kind":"sqlite","jobs":[{"tables":["t"]}]}"#);
        assert_eq!(position.readable(), "v: 1, kind: sqlite, jobs: [{tables: [t]}]");
        assert_eq!(Position::new("7").readable(), "7");
    }
}
