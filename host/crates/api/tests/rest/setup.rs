//! What the pipelines of these tests have in common.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::budget::Budget;
use deltaforge_engine::checkpoint::Checkpoints;
use deltaforge_engine::compose::SinkFilter;
use deltaforge_engine::disk::RealDisk;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::{PipelinePlan, Services, SinkPlan, SourcePlan, StagePlan};
use deltaforge_engine::sink::SinkFactory;
use deltaforge_engine::stage::{StageCode, StageSpec};
use deltaforge_engine::tenants::{TenantLimits, Tenants};
use deltaforge_store::MemoryStore;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::parts::{Markers, Numbers, NumbersFactory, Rows};

/// What a host lends its pipelines, and the folder of their spills.
pub fn services(shutdown_timeout: Duration) -> (Services, TempDir) {
    let spill = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    let services = Services {
        store: store.clone(),
        checkpoints: Arc::new(Checkpoints::start(store, Duration::from_millis(1))),
        stages: vec![Arc::new(Markers)],
        formatters: vec![Arc::new(Rows)],
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

/// A stage or an envelope of a pipeline.
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

/// A sink that gets every row.
pub fn sink(pipeline: &str, id: &str, factory: Arc<dyn SinkFactory>, required: bool) -> SinkPlan {
    SinkPlan {
        id: id.into(),
        factory,
        config: json!({}),
        envelope: spec(pipeline, &format!("{id}.envelope"), StageCode::Builtin("native".into()), json!({})),
        follows: false,
        on_error: deltaforge_engine::stages::OnError::Dlq,
        required,
        filter: SinkFilter::default(),
        spill_max_bytes: 1 << 20,
        start_now: false,
    }
}

/// A stage of a pipeline `p`, built in under this name, that stops on errors.
pub fn stage(name: &str) -> StagePlan {
    StagePlan {
        spec: spec("p", name, StageCode::Builtin(name.into()), json!({})),
        block: json!({ "type": name }),
        on_error: Default::default(),
        tables: Default::default(),
        follows: false,
    }
}

/// Numbers in batches of ten; without stages, sinks and a dead-letter queue.
pub fn plan(name: &str, numbers: &Arc<Numbers>) -> PipelinePlan {
    PipelinePlan {
        secrets: Default::default(),
        name: name.into(),
        tenant: "acme".into(),
        source: SourcePlan {
            id: "src".into(),
            factory: Arc::new(NumbersFactory(numbers.clone())),
            config: json!({ "dsn": "db://me:pa55word@host/x" }),
        },
        stages: Vec::new(),
        sinks: Vec::new(),
        limits: BatchLimits { max_events: 10, ..BatchLimits::default() },
        max_inflight: 4,
        policy: CommitPolicy::All,
        max_memory_bytes: 16 << 20,
        dlq: None,
    }
}

/// Waits for a condition, with a deadline.
pub async fn within(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

/// The log lines of this thread, from now on.
pub fn log() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
    let written = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || Lines(written.clone())).finish();
    (lines, tracing::subscriber::set_default(log))
}
