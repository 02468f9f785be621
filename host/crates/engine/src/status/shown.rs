//! A pipeline, its sinks and its stages as the API shows them.

use deltaforge_model::Position;
use serde::Serialize;
use serde_json::Value;

use super::Failure;
use crate::anew::BegunAnew;
use crate::stage::{StageCode, StageVersion};
use crate::stages::RefusesAll;
use crate::swap::Part;
use crate::waits::Awaited;

/// What a pipeline is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Building, connecting.
    Starting,
    /// Delivering, or waiting for changes.
    Running,
    /// Nothing is read from the source.
    Paused,
    /// Ended by an operator.
    Stopped,
    /// Ended by an error; tried again after a pause.
    Failed,
}

impl State {
    /// As the API says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// One sink.
#[derive(Debug, Clone, Serialize)]
pub struct SinkStatus {
    /// Its id.
    pub id: String,
    /// Whether it counts for the commit policy.
    pub required: bool,
    /// Its last error, while it has not worked since.
    pub error: Option<Failure>,
    /// Errors since the host started.
    pub errors: u64,
    /// Where a restart resumes it.
    pub checkpoint: Option<Value>,
    /// When that was stored, milliseconds since the Unix epoch.
    pub checkpoint_ms: Option<u64>,
    /// Bytes waiting in its spill on disk.
    pub spill_bytes: u64,
    /// Stretches it was not given, because its spill was full or damaged.
    pub gaps: Vec<Gap>,
    /// What shapes its messages, once it has run.
    pub envelope: Option<StageStatus>,
    /// While it fails: when it is tried again, milliseconds from now.
    pub retry_in_ms: Option<u64>,
    #[serde(skip)]
    pub(super) failing_since: Option<tokio::time::Instant>,
    #[serde(skip)]
    pub(super) retry_at: Option<tokio::time::Instant>,
}

/// A stretch of the log that an optional sink did not get.
#[derive(Debug, Clone, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Gap {
    /// Events after this position are missing; null: unknown, as what waited on disk was damaged.
    pub from: Value,
    /// Up to and including this one; null: unknown.
    pub to: Value,
    /// How many; `None`: unknown.
    pub events: Option<u64>,
    /// Whether somebody has said that they know of it.
    #[serde(default)]
    pub acknowledged: bool,
}

impl Gap {
    /// From where to where it goes, where that is known.
    pub(crate) fn stretch(&self) -> Option<(Position, Position)> {
        let known = !self.from.is_null() && !self.to.is_null();
        known.then(|| (Position::new(self.from.to_string()), Position::new(self.to.to_string())))
    }
}

/// One stage, or the envelope of a sink.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageStatus {
    /// Its id; of an envelope `SINK.envelope`.
    pub id: String,
    /// Which of the two it is.
    #[serde(skip)]
    pub part: Part,
    /// What runs.
    pub plugin: String,
    /// SHA-256 of the code, hex.
    pub digest: String,
    /// Grows with every swap.
    pub generation: u64,
    /// Where this generation took over.
    pub position: Option<Value>,
    /// When, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// So many batches it is yet to be judged by.
    pub probation: u32,
    /// The version that this one was put back for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,
    /// That it lets nothing through, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuses_all: Option<RefusesAll>,
    /// What it was built from. Not shown as it is.
    #[serde(skip)]
    pub code: StageCode,
    /// Its configuration now, which may hold secrets. Not shown as it is.
    #[serde(skip)]
    pub config: Value,
}

impl StageStatus {
    /// Which code runs.
    pub fn version(&self) -> StageVersion {
        StageVersion { plugin: self.plugin.clone(), digest: self.digest.clone() }
    }
}

/// A version that was no good, so that the one before it was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RolledBack {
    /// Its generation.
    pub generation: u64,
    /// What was wrong with it.
    pub why: String,
}

/// A pipeline as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineStatus {
    /// Its name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// What it is doing.
    pub status: State,
    /// Whether a sink fails, spills or has gaps that nobody acknowledged, dead letters were lost, a stage lets nothing through, or
    /// something is waited for that needs somebody.
    pub degraded: bool,
    /// Why it failed; of a paused one, what keeps it from delivering what it has read.
    pub error: Option<Failure>,
    /// When that is tried again, milliseconds from now.
    pub retry_in_ms: Option<u64>,
    /// Seconds since this attempt began to run.
    pub uptime_seconds: f64,
    /// From the newest event's commit to now, while batches are on their way; 0 when all is delivered. At least the time since it reads
    /// nothing, or is held up: what it does not read may be so old.
    pub lag_seconds: Option<f64>,
    /// Events read since the host started.
    pub events: u64,
    /// What it waits for that somebody has to bring about.
    pub waits: Vec<Awaited>,
    /// Dead-letter entries lost since the host started: to the queue's bound, as `overflow_policy` asks, or by their age.
    pub dead_letters_lost: u64,
    /// When the stream began anew by itself, newest last.
    pub begun_anew: Vec<BegunAnew>,
    /// The sinks.
    pub sinks: Vec<SinkStatus>,
    /// The stages.
    pub stages: Vec<StageStatus>,
}

/// A position as the API shows it.
pub fn position_json(position: &Position) -> Value {
    serde_json::from_str(position.as_str()).unwrap_or_else(|_| Value::String(position.as_str().to_owned()))
}
