//! Pipelines inside a test's own process: what most of them have in common. A test says in what its own differ.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::budget::Budget;
use deltaforge_engine::checkpoint::Checkpoints;
use deltaforge_engine::compose::SinkFilter;
use deltaforge_engine::disk::RealDisk;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::message::{Formatter, FormatterFactory};
use deltaforge_engine::plan::{PipelinePlan, Services, SinkPlan, SourcePlan};
use deltaforge_engine::sink::{Addressing, Sink, SinkContext, SinkError, SinkFactory};
use deltaforge_engine::source::SourceFactory;
use deltaforge_engine::stage::{Stage, StageCode, StageError, StageFactory, StageSpec, StageVersion};
use deltaforge_engine::stages::OnError;
use deltaforge_engine::state::StateStore;
use deltaforge_engine::tenants::{TenantLimits, Tenants};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a host lends its pipelines, and the folder of their spills. Nobody builds stages and envelopes yet.
pub fn services(store: Arc<dyn StateStore>, shutdown_timeout: Duration) -> (Services, TempDir) {
    let spill = tempfile::tempdir().unwrap();
    let services = Services {
        store: store.clone(),
        checkpoints: Arc::new(Checkpoints::start(store, Duration::from_millis(1))),
        stages: Vec::new(),
        formatters: Vec::new(),
        budget: Budget::new(64 << 20, None),
        compute: tokio::runtime::Handle::current(),
        tenants: Tenants::new(TenantLimits::default(), 2),
        spill_dir: spill.path().to_owned(),
        spill_disk: Arc::new(RealDisk),
        base_dir: PathBuf::from("."),
        version: "test".into(),
        shutdown_timeout,
        own_swaps: Arc::default(),
    };
    (services, spill)
}

/// A stage or an envelope of a pipeline of the tenant `acme`.
pub fn spec(pipeline: &str, id: &str, code: StageCode, config: Value) -> StageSpec {
    StageSpec {
        id: id.into(),
        pipeline: pipeline.into(),
        tenant: "acme".into(),
        code,
        config,
        limits: None,
        grants: Vec::new(),
        base_dir: None,
    }
}

/// A sink that gets every row, in the envelope `native`.
pub fn sink(pipeline: &str, id: &str, factory: Arc<dyn SinkFactory>, required: bool) -> SinkPlan {
    SinkPlan {
        id: id.into(),
        factory,
        config: json!({}),
        envelope: spec(pipeline, &format!("{id}.envelope"), StageCode::Builtin("native".into()), json!({})),
        on_error: OnError::Dlq,
        required,
        filter: SinkFilter::default(),
        spill_max_bytes: 1 << 20,
        start_now: false,
        follows: false,
    }
}

/// A pipeline of the tenant `acme`, with batches of ten; without stages, sinks and a dead-letter queue.
pub fn plan(name: &str, source: Arc<dyn SourceFactory>, config: Value) -> PipelinePlan {
    PipelinePlan {
        secrets: Default::default(),
        name: name.into(),
        tenant: "acme".into(),
        source: SourcePlan { id: "src".into(), factory: source, config },
        stages: Vec::new(),
        sinks: Vec::new(),
        limits: BatchLimits { max_events: 10, ..BatchLimits::default() },
        max_inflight: 4,
        policy: CommitPolicy::All,
        max_memory_bytes: 16 << 20,
        dlq: None,
    }
}

/// Makes sinks as `open` says.
pub fn opens<F>(open: F) -> Arc<dyn SinkFactory>
where
    F: Fn(SinkContext) -> Result<Box<dyn Sink>, SinkError> + Send + Sync + 'static,
{
    Arc::new(Opens(open))
}

struct Opens<F>(F);

#[async_trait]
impl<F> SinkFactory for Opens<F>
where
    F: Fn(SinkContext) -> Result<Box<dyn Sink>, SinkError> + Send + Sync + 'static,
{
    fn kind(&self) -> &'static str {
        "opens"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::Schema::default()
    }

    fn validate(&self, _config: &Value) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    fn addressing(&self, _config: &Value) -> Addressing {
        Addressing::default()
    }

    async fn open(&self, _config: &Value, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        (self.0)(context)
    }
}

/// Makes stages as `build` says, whatever they are asked for.
pub fn builds<F>(build: F) -> Arc<dyn StageFactory>
where
    F: Fn() -> Box<dyn Stage> + Send + Sync + 'static,
{
    Arc::new(Builds(build))
}

/// Makes envelopes as `build` says, whatever they are asked for.
pub fn shapes<F>(build: F) -> Arc<dyn FormatterFactory>
where
    F: Fn() -> Box<dyn Formatter> + Send + Sync + 'static,
{
    Arc::new(Builds(build))
}

struct Builds<F>(F);

fn only_version() -> StageVersion {
    StageVersion { plugin: "builds".into(), digest: "b".into() }
}

#[async_trait]
impl<F> StageFactory for Builds<F>
where
    F: Fn() -> Box<dyn Stage> + Send + Sync + 'static,
{
    fn handles(&self, _: &StageCode) -> bool {
        true
    }

    async fn validate(&self, _: &StageSpec) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    async fn build(
        &self,
        _: &StageSpec,
        _: Option<&StageVersion>,
    ) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        Ok(((self.0)(), only_version()))
    }
}

#[async_trait]
impl<F> FormatterFactory for Builds<F>
where
    F: Fn() -> Box<dyn Formatter> + Send + Sync + 'static,
{
    fn handles(&self, _: &StageCode) -> bool {
        true
    }

    async fn validate(&self, _: &StageSpec) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    async fn build(
        &self,
        _: &StageSpec,
        _: Option<&StageVersion>,
    ) -> Result<(Box<dyn Formatter>, StageVersion), StageError> {
        Ok(((self.0)(), only_version()))
    }
}

/// Waits for a condition, with a deadline.
///
/// # Panics
///
/// When it does not come about.
pub async fn within(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}
