//! What is stored of a snapshot.

use serde::{Deserialize, Serialize};

use super::{Progress, Snapshot, Wanted};

/// A table whose rows are to be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its full name, as events have it.
    pub name: String,
    /// Which rows; `None`: all. In words that the source understands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// What a snapshot is doing, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotState {
    /// Its turn is yet to come, or the pipeline does not run.
    Waiting,
    /// Rows are copied.
    Running,
    /// An operator wants it to wait.
    Paused,
    /// Everything was copied, and is durable.
    Done,
    /// An operator ended it.
    Stopped,
    /// Something of it could not be copied.
    Failed,
}

impl SnapshotState {
    /// As the API says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ending {
    pub state: SnapshotState,
    pub at_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    v: u32,
    pub id: u64,
    pub tables: Vec<Table>,
    by: String,
    asked_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    #[serde(default)]
    pub paused: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ending>,
    /// The source began anew after it had ended: no position tells of it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settled: bool,
    /// Rows handed out, as far as that is known without the source.
    #[serde(default)]
    pub rows: u64,
    /// Tables that were not copied, or not to their end, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Record {
    pub fn new(id: u64, tables: Vec<Table>, by: &str, asked_ms: u64) -> Self {
        Self {
            v: 1,
            id,
            tables,
            by: by.to_owned(),
            asked_ms,
            started_ms: None,
            paused: false,
            ended: None,
            settled: false,
            rows: 0,
            problems: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub fn wanted(&self) -> Wanted {
        Wanted { id: self.id, tables: self.tables.clone(), paused: self.paused }
    }

    /// With what the source says of it.
    pub fn shown(&self, live: Option<&Progress>) -> Snapshot {
        let live = live.filter(|_| self.ended.is_none()).cloned().unwrap_or_default();
        let state = match &self.ended {
            Some(ending) => ending.state,
            None if self.paused => SnapshotState::Paused,
            None if live.is_at_work => SnapshotState::Running,
            None => SnapshotState::Waiting,
        };
        Snapshot {
            id: self.id,
            tables: self.tables.clone(),
            state,
            by: self.by.clone(),
            asked_ms: self.asked_ms,
            started_ms: self.started_ms,
            ended_ms: self.ended.as_ref().map(|ending| ending.at_ms),
            rows: live.rows.max(self.rows),
            table: live.table,
            key: live.key,
            why: self.problems.iter().chain(&self.notes).cloned().collect(),
        }
    }
}
