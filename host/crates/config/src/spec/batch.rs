//! Batching, the commit policy and the journal.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

/// When a batch is closed. The first bound reached closes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Most events in one batch.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_events: u32,
    /// Most bytes in one batch; at most a quarter of `max_memory_bytes`.
    #[schemars(range(min = 1024))]
    pub max_bytes: u64,
    /// Longest time the first event may wait for others, in milliseconds. An event that finds the
    /// pipeline idle does not wait.
    #[schemars(range(min = 1, max = 60_000))]
    pub max_ms: u64,
    /// Most batches given to one sink and not yet durable there.
    #[schemars(range(min = 1, max = 1024))]
    pub max_inflight: u32,
    /// Whether a batch ends only where a source transaction ends.
    pub respect_source_tx: bool,
}

impl Default for Batch {
    fn default() -> Self {
        Self { max_events: 2_000, max_bytes: 3 << 20, max_ms: 50, max_inflight: 4, respect_source_tx: true }
    }
}

/// Which sinks must have an event durable before the source may forget it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum CommitPolicy {
    /// Every sink, whatever its `required` says.
    All,
    /// Every sink with `required: true`.
    #[default]
    Required,
    /// This many of the sinks with `required: true`.
    Quorum {
        /// How many; at most the number of sinks with `required: true`.
        quorum: NonZeroU32,
    },
}

/// What happens to events that cannot be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// Whether events that cannot be delivered go to the dead letter queue; otherwise they stop
    /// the pipeline.
    pub enabled: bool,
    /// Most bytes of one stored event; a larger one is stored without its row images, with its key.
    #[schemars(range(min = 1024, max = 67_108_864))]
    pub max_event_bytes: u64,
    /// Bounds of the dead letter queue.
    pub dlq: Dlq,
}

impl Default for Journal {
    fn default() -> Self {
        Self { enabled: false, max_event_bytes: 256 << 10, dlq: Dlq::default() }
    }
}

/// Bounds of the dead letter queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dlq {
    /// Most entries kept.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_entries: u64,
    /// Longest time an entry is kept, in seconds.
    #[schemars(range(min = 1))]
    pub max_age_secs: u64,
    /// What a full queue does.
    pub overflow_policy: OverflowPolicy,
}

impl Default for Dlq {
    fn default() -> Self {
        Self { max_entries: 10_000, max_age_secs: 604_800, overflow_policy: OverflowPolicy::Block }
    }
}

/// What a full dead letter queue does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverflowPolicy {
    /// The pipeline waits until entries are acknowledged; nothing is lost.
    #[default]
    Block,
    /// The oldest entry is dropped, counted and logged.
    DropOldest,
    /// The new entry is dropped, counted and logged.
    Reject,
}
