//! What a pipeline is made of, ready to be built: the host makes it from a validated specification.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;

use crate::batcher::BatchLimits;
use crate::budget::Budget;
use crate::checkpoint::Checkpoints;
use crate::compose::SinkFilter;
use crate::disk::Disk;
use crate::dlq::DlqLimits;
use crate::ledger::CommitPolicy;
use crate::message::FormatterFactory;
use crate::secrets::Secrets;
use crate::sink::SinkFactory;
use crate::source::SourceFactory;
use crate::stage::{StageFactory, StageSpec};
use crate::stages::{OnError, TableFilter};
use crate::state::StateStore;
use crate::tenants::Tenants;

/// One pipeline.
#[derive(Clone)]
pub struct PipelinePlan {
    /// Its name, unique in the host.
    pub name: String,
    /// The tenant it belongs to.
    pub tenant: String,
    /// The source.
    pub source: SourcePlan,
    /// The stages in order.
    pub stages: Vec<StagePlan>,
    /// The sinks; never empty.
    pub sinks: Vec<SinkPlan>,
    /// When the source closes a batch.
    pub limits: BatchLimits,
    /// Deliveries given to one sink and not yet durable.
    pub max_inflight: usize,
    /// When a batch counts as delivered.
    pub policy: CommitPolicy,
    /// Bytes it may hold.
    pub max_memory_bytes: usize,
    /// The dead-letter queue; `None`: an event that cannot be delivered stops the pipeline.
    pub dlq: Option<DlqLimits>,
    /// What its configuration holds that nobody may read.
    pub secrets: Secrets,
}

/// A source to connect.
#[derive(Clone)]
pub struct SourcePlan {
    /// Its id, for checkpoints and metrics.
    pub id: String,
    /// The connector.
    pub factory: Arc<dyn SourceFactory>,
    /// Its `config:` block.
    pub config: Value,
}

/// A stage to build.
#[derive(Clone)]
pub struct StagePlan {
    /// What to build.
    pub spec: StageSpec,
    /// Its whole block in the YAML, to tell whether an operator edited it.
    pub block: Value,
    /// What becomes of failing rows.
    pub on_error: OnError,
    /// Which rows it sees.
    pub tables: TableFilter,
    /// Whether versions of its plugin that are published later are swapped in by the host itself.
    pub follows: bool,
}

/// A sink to open.
#[derive(Clone)]
pub struct SinkPlan {
    /// Its id in the pipeline.
    pub id: String,
    /// The connector.
    pub factory: Arc<dyn SinkFactory>,
    /// Its `config:` block without the keys all sinks share.
    pub config: Value,
    /// The envelope.
    pub envelope: StageSpec,
    /// Whether versions of the envelope's plugin that are published later are swapped in by the host itself.
    pub follows: bool,
    /// What becomes of events that the envelope fails on or rejects. [`OnError::Dlq`] stops the pipeline where there is
    /// no queue.
    pub on_error: OnError,
    /// Whether it counts for the commit policy.
    pub required: bool,
    /// Which events it wants.
    pub filter: SinkFilter,
    /// Most bytes its spill may take on disk.
    pub spill_max_bytes: u64,
    /// Whether, without a checkpoint, it begins at the newest kept position instead of the oldest.
    pub start_now: bool,
}

/// What the host gives every pipeline.
#[derive(Clone)]
pub struct Services {
    /// Durable state.
    pub store: Arc<dyn StateStore>,
    /// The group-committing checkpoint writer.
    pub checkpoints: Arc<Checkpoints>,
    /// Whoever builds stages; the first that handles the code does.
    pub stages: Vec<Arc<dyn StageFactory>>,
    /// Whoever builds envelopes.
    pub formatters: Vec<Arc<dyn FormatterFactory>>,
    /// The host's byte budget.
    pub budget: Budget,
    /// Where stages and encoding run, away from the I/O threads.
    pub compute: tokio::runtime::Handle,
    /// What tenants may use.
    pub tenants: Arc<Tenants>,
    /// Where spill files go.
    pub spill_dir: PathBuf,
    /// The disk that it is on.
    pub spill_disk: Arc<dyn Disk>,
    /// The folder that sinks' relative paths are relative to.
    pub base_dir: PathBuf,
    /// The host's version, as events state it.
    pub version: String,
    /// How long a graceful stop may take.
    pub shutdown_timeout: Duration,
    /// Told when the host has swapped something by itself; see [`crate::swap::OwnSwap`].
    pub own_swaps: Arc<Notify>,
}

impl Services {
    /// The factory for a stage's code.
    pub fn stage_factory(&self, spec: &StageSpec) -> Option<&Arc<dyn StageFactory>> {
        self.stages.iter().find(|factory| factory.handles(&spec.code))
    }

    /// Whether a stage's code hides values.
    pub(crate) fn hides(&self, spec: &StageSpec) -> bool {
        self.stage_factory(spec).is_some_and(|factory| factory.hides(&spec.code))
    }

    /// The factory for an envelope.
    pub fn formatter_factory(&self, spec: &StageSpec) -> Option<&Arc<dyn FormatterFactory>> {
        self.formatters.iter().find(|factory| factory.handles(&spec.code))
    }
}
