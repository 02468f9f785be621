//! The typed pipeline: what a validated document means.
//!
//! A [`PipelineSpec`] comes only from a [`Catalog`](crate::Catalog), so every value in it is within
//! its bounds and every default is filled in. The settings of connectors, processors and envelopes
//! stay JSON here: the crate that runs one deserialises it into its own type.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod batch;
mod stage;

pub use batch::{Batch, CommitPolicy, Dlq, Journal, OverflowPolicy};
pub(crate) use stage::WrittenLimits;
pub use stage::{EnvelopeSpec, Grant, Implementation, Limits, OnError, ProcessorSpec, TableFilter};

/// The `apiVersion` this build reads.
pub const API_VERSION: &str = "deltaforge/v1";
/// The `kind` this build reads.
pub const KIND: &str = "Pipeline";
/// Longest name of a pipeline, tenant, source, sink or processor, in characters.
pub const MAX_NAME_LEN: usize = 128;
/// Smallest `max_memory_bytes`: four batches of 4 MiB.
pub const MIN_MEMORY_BYTES: u64 = 16 << 20;
/// `max_memory_bytes` when the document is silent.
pub const DEFAULT_MEMORY_BYTES: u64 = 128 << 20;

/// One pipeline, as its document describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineSpec {
    /// Version of the document's form; [`API_VERSION`] when left out.
    pub api_version: String,
    /// Kind of the document; [`KIND`] when left out.
    pub kind: String,
    /// Who the pipeline is.
    pub metadata: Metadata,
    /// What the pipeline does.
    pub spec: Spec,
}

/// Name, owner and free marks of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Unique name of the pipeline in its host. Letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Who the pipeline belongs to. Letters, digits, `.`, `_` and `-`.
    pub tenant: String,
    /// Marks to select pipelines by, as in `GET /pipelines?label=env:prod`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Notes for people and tools; the host does not read them.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What a pipeline reads, does and writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Where changes come from.
    pub source: SourceSpec,
    /// What happens to them, in order.
    pub processors: Vec<ProcessorSpec>,
    /// Where they go; at least one.
    pub sinks: Vec<SinkSpec>,
    /// When a batch is closed.
    pub batch: Batch,
    /// Whose durability moves the source on.
    pub commit_policy: CommitPolicy,
    /// What happens to events that cannot be delivered.
    pub journal: Journal,
    /// Most bytes that all batches, messages and queues of the pipeline may hold.
    pub max_memory_bytes: u64,
}

/// The source of a pipeline.
#[derive(Clone, PartialEq)]
pub struct SourceSpec {
    /// Which connector; an alias is already resolved to the connector's own name.
    pub kind: String,
    /// Name of the source in checkpoints and metrics.
    pub id: String,
    /// The connector's own settings, without the keys that are typed here.
    pub config: Value,
}

/// A sink of a pipeline: the keys that every sink has, and the connector's own.
#[derive(Clone, PartialEq)]
pub struct SinkSpec {
    /// Which connector.
    pub kind: String,
    /// Name of the sink in checkpoints, metrics and the dead letter queue.
    pub id: String,
    /// The shape of its messages.
    pub envelope: EnvelopeSpec,
    /// The bytes of that shape.
    pub encoding: Encoding,
    /// Whether the commit policies `required` and `quorum` count this sink; `all` counts every one.
    pub required: bool,
    /// Which events it gets, by where they came from.
    pub filter: SinkFilter,
    /// Disk room while it falls behind; of use only to a sink that the policy does not wait for.
    pub spill: Spill,
    /// Where a sink without a checkpoint begins.
    pub start: Start,
    /// The connector's own settings, without the keys that are typed here.
    pub config: Value,
}

// Settings may hold secrets, so none of them is ever printed.
impl fmt::Debug for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceSpec").field("kind", &self.kind).field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for SinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkSpec")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("envelope", &self.envelope)
            .field("encoding", &self.encoding)
            .field("required", &self.required)
            .field("filter", &self.filter)
            .field("spill", &self.spill)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// The bytes of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Encoding {
    /// JSON text in UTF-8.
    #[default]
    Json,
}

/// Selects events by whether a processor made them and which one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkFilter {
    /// Leave out events that a processor made.
    pub exclude_synthetic: bool,
    /// Take only events that a processor made.
    pub synthetic_only: bool,
    /// Take made events only from these processors; empty takes them from all.
    pub producers: Vec<String>,
}

/// Disk room for a sink outside the commit policy, used while it falls behind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spill {
    /// Most bytes on disk; beyond it the sink's gap is recorded. 0 keeps nothing on disk.
    pub max_bytes: u64,
}

impl Default for Spill {
    fn default() -> Self {
        Self { max_bytes: 1 << 30 }
    }
}

/// Where a sink without a checkpoint begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the oldest position that the pipeline still keeps.
    #[default]
    Oldest,
    /// At the pipeline's present position.
    Now,
}
