//! What the pipelines of these tests have in common.

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::Pipeline;
use deltaforge_engine::dlq::{DlqLimits, Overflow};
use deltaforge_engine::plan::{PipelinePlan, Services, StagePlan};
use deltaforge_engine::stage::StageCode;
use deltaforge_store::MemoryStore;
use deltaforge_testkit::pipelines;
pub use deltaforge_testkit::pipelines::{sink, spec, within};
use parking_lot::Mutex;
use serde_json::json;
use tempfile::TempDir;

use crate::parts::{Markers, Numbers, NumbersFactory, Rows};

/// What a host lends its pipelines, and the folder of their spills.
pub fn services(shutdown_timeout: Duration) -> (Services, TempDir) {
    let (services, spill) = pipelines::services(Arc::new(MemoryStore::new()), shutdown_timeout);
    (Services { stages: vec![Arc::new(Markers)], formatters: vec![Arc::new(Rows)], ..services }, spill)
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

/// A stage `mark` of a pipeline `p`: the marker of this version.
pub fn marker(version: &str) -> StagePlan {
    let reference = format!("marker@{version}");
    StagePlan {
        spec: spec("p", "mark", StageCode::Plugin(reference.clone()), json!({})),
        block: json!({ "plugin": reference }),
        ..stage("mark")
    }
}

/// A dead-letter queue that waits when it is full.
pub fn dlq(max_entries: u64) -> DlqLimits {
    DlqLimits {
        max_entries,
        max_age: Duration::from_secs(3_600),
        overflow: Overflow::Block,
        max_event_bytes: 1 << 16,
    }
}

/// Numbers in batches of ten; without stages, sinks and a dead-letter queue.
pub fn plan(name: &str, numbers: &Arc<Numbers>) -> PipelinePlan {
    let source = Arc::new(NumbersFactory(numbers.clone()));
    pipelines::plan(name, source, json!({ "dsn": "db://me:pa55word@host/x" }))
}

/// Whether the checkpoint of a sink is right before a number.
pub async fn is_at(pipeline: &Pipeline, sink: &str, n: u64) -> bool {
    let stored = pipeline.checkpoints().await.unwrap();
    stored.iter().any(|one| one.sink_id == sink && one.position == json!({ "n": n }))
}

/// Waits until it is.
pub async fn checkpointed(pipeline: &Pipeline, sink: &str, n: u64) {
    within("the checkpoint is stored", async || is_at(pipeline, sink, n).await).await;
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
