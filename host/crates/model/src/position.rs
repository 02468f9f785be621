//! Progress: where a source is in its log, and which stretch of it a batch covers.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

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

    /// For people, as in log lines and errors: `kind: sqlite, sequence: 120`. Lists and what is nested are left out: there copies
    /// say which keys of rows they have got to, which not everybody may see. Not to be read back.
    pub fn readable(&self) -> String {
        let members: Map<String, Value> = serde_json::from_str(&self.0).unwrap_or_default();
        let told = members.iter().filter_map(|(name, value)| match value {
            Value::Object(_) | Value::Array(_) => None,
            Value::String(text) => Some(format!("{name}: {text}")),
            value => Some(format!("{name}: {value}")),
        });
        let told = told.collect::<Vec<_>>().join(", ");
        if told.is_empty() { format!("{} bytes", self.0.len()) } else { told }
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
        /// The transaction's id. Where another one may come to have it, behind a space when it was committed, µs, as its events
        /// say; where that may change, behind a space by what its rows are counted.
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
    fn a_position_reads_well_and_tells_no_keys_of_rows() {
        let copies = r#""jobs":[{"after":[{"text":"me"}]}],"fork":{"jobs":[{"until":["me"]}]}"#;
        let position = Position::new(format!(r#"{{"v":1,"kind":"sqlite",{copies},"sequence":120}}"#));
        assert_eq!(position.readable(), "v: 1, kind: sqlite, sequence: 120");
        for (unknown, told) in
            [("7", "1 bytes"), ("[\"me\"]", "6 bytes"), ("{}", "2 bytes"), ("{\"me", "4 bytes")]
        {
            assert_eq!(Position::new(unknown).readable(), told);
        }
    }
}
