//! What several sinks of one pipeline get when one of them fails, falls behind, or comes back after a restart.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::budget::Budget;
use deltaforge_engine::checkpoint::Checkpoints;
use deltaforge_engine::compose::SinkFilter;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::{PipelinePlan, Services, SinkPlan, SourcePlan};
use deltaforge_engine::sink::{Addressing, Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory};
use deltaforge_engine::stage::{StageCode, StageSpec};
use deltaforge_engine::status::State;
use deltaforge_store::MemoryStore;
use parking_lot::Mutex;
use parts::{Numbers, NumbersFactory, Rows, Shelf, ShelfFactory};
use serde_json::{Value, json};

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "rest/parts.rs"]
mod parts;

/// What outlives a pipeline.
struct Host {
    numbers: Arc<Numbers>,
    services: Services,
    max_memory_bytes: usize,
    max_inflight: usize,
    _spill: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let spill = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::new());
        let services = Services {
            store: store.clone(),
            checkpoints: Arc::new(Checkpoints::start(store, Duration::from_millis(1))),
            stages: Vec::new(),
            formatters: vec![Arc::new(Rows)],
            budget: Budget::new(64 << 20, None),
            compute: tokio::runtime::Handle::current(),
            spill_dir: spill.path().to_owned(),
            base_dir: PathBuf::from("."),
            version: "test".into(),
            shutdown_timeout: Duration::from_millis(300),
        };
        Self { numbers: Arc::default(), services, max_memory_bytes: 16 << 20, max_inflight: 2, _spill: spill }
    }

    /// Sinks `s0`, `s1`, …, each required or not.
    fn start(&self, policy: CommitPolicy, sinks: Vec<(Arc<dyn SinkFactory>, bool)>) -> Pipeline {
        let envelope = StageSpec {
            id: "envelope".into(),
            pipeline: "p".into(),
            tenant: "acme".into(),
            code: StageCode::Builtin("native".into()),
            config: json!({}),
            limits: None,
            grants: Vec::new(),
            base_dir: None,
        };
        let sinks = sinks.into_iter().enumerate().map(|(at, (factory, required))| SinkPlan {
            id: format!("s{at}"),
            factory,
            config: json!({}),
            envelope: envelope.clone(),
            required,
            filter: SinkFilter::default(),
            spill_max_bytes: 1 << 20,
            start_now: false,
        });
        let plan = PipelinePlan {
            secrets: Default::default(),
            name: "p".into(),
            tenant: "acme".into(),
            source: SourcePlan {
                id: "src".into(),
                factory: Arc::new(NumbersFactory(self.numbers.clone())),
                config: json!({}),
            },
            stages: Vec::new(),
            sinks: sinks.collect(),
            limits: BatchLimits { max_events: 10, ..BatchLimits::default() },
            max_inflight: self.max_inflight,
            policy,
            max_memory_bytes: self.max_memory_bytes,
            dlq: None,
        };
        Pipeline::start(plan, self.services.clone())
    }
}

fn onto(shelf: &Arc<Shelf>) -> Arc<dyn SinkFactory> {
    Arc::new(ShelfFactory(shelf.clone()))
}

fn numbers(shelf: &Shelf) -> Vec<u64> {
    shelf.rows.lock().iter().map(|(n, _)| *n).collect()
}

async fn within(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("in 10 seconds not: {what}");
}

/// Waits until a sink's stored checkpoint is at `n`.
async fn checkpointed(pipeline: &Pipeline, sink: &str, n: u64) {
    within("the checkpoint is stored", async || {
        let stored = pipeline.checkpoints().await.unwrap();
        stored.iter().any(|one| one.sink_id == sink && one.position == json!({ "n": n }))
    })
    .await;
}

#[tokio::test]
async fn a_sink_that_never_worked_is_not_new_after_a_restart() {
    let host = Host::new();
    let (good, bad) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    bad.broken.store(true, Ordering::SeqCst);
    let sinks = || vec![(onto(&good), true), (onto(&bad), true)];
    let pipeline = host.start(CommitPolicy::All, sinks());
    host.numbers.bound.send_replace(20);
    checkpointed(&pipeline, "s0", 20).await;
    pipeline.shutdown().await;

    bad.broken.store(false, Ordering::SeqCst);
    let pipeline = host.start(CommitPolicy::All, sinks());
    within("the rows arrive", async || numbers(&bad).len() >= 20).await;
    checkpointed(&pipeline, "s1", 20).await;
    assert_eq!(numbers(&bad), (0..20).collect::<Vec<_>>());
    assert_eq!(numbers(&good), (0..20).collect::<Vec<_>>(), "it had them");
    checkpointed(&pipeline, "s0", 20).await;
    pipeline.shutdown().await;
}

#[tokio::test]
async fn what_waits_in_memory_when_a_spill_begins_is_not_lost_by_a_restart() {
    let host = Host::new();
    let (good, slow) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    slow.broken.store(true, Ordering::SeqCst);
    let sinks = || vec![(onto(&good), true), (onto(&slow), false)];
    let pipeline = host.start(CommitPolicy::Required, sinks());
    host.numbers.bound.send_replace(200);
    checkpointed(&pipeline, "s0", 200).await;
    assert!(pipeline.status().sinks[1].spill_bytes > 0);
    pipeline.shutdown().await;

    slow.broken.store(false, Ordering::SeqCst);
    let pipeline = host.start(CommitPolicy::Required, sinks());
    within("the rows arrive", async || numbers(&slow).last() == Some(&199)).await;
    assert_eq!(numbers(&slow), (0..200).collect::<Vec<_>>());
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_sink_that_catches_up_from_its_spill_gets_every_row_once_and_in_order() {
    let host = Host::new();
    let (good, slow) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    slow.broken.store(true, Ordering::SeqCst);
    let pipeline = host.start(CommitPolicy::Required, vec![(onto(&good), true), (onto(&slow), false)]);
    host.numbers.bound.send_replace(200);
    checkpointed(&pipeline, "s0", 200).await;
    slow.broken.store(false, Ordering::SeqCst);
    checkpointed(&pipeline, "s1", 200).await;
    host.numbers.bound.send_replace(300);
    checkpointed(&pipeline, "s1", 300).await;
    assert_eq!(numbers(&slow), (0..300).collect::<Vec<_>>());
    within("the spill is empty", async || pipeline.status().sinks[1].spill_bytes == 0).await;
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_dead_optional_sink_does_not_hold_up_a_stop_and_misses_nothing() {
    let mut host = Host::new();
    host.services.shutdown_timeout = Duration::from_secs(60);
    let (good, dead) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    dead.broken.store(true, Ordering::SeqCst);
    let sinks = || vec![(onto(&good), true), (onto(&dead), false)];
    let pipeline = host.start(CommitPolicy::Required, sinks());
    // Little enough to fit into its queue: there is no spill yet.
    host.numbers.bound.send_replace(10);
    checkpointed(&pipeline, "s0", 10).await;
    within("the sink has failed", async || pipeline.status().sinks[1].errors > 0).await;
    tokio::time::timeout(Duration::from_secs(10), pipeline.shutdown()).await.unwrap();

    dead.broken.store(false, Ordering::SeqCst);
    host.numbers.bound.send_replace(30);
    let pipeline = host.start(CommitPolicy::Required, sinks());
    within("the rows arrive", async || numbers(&dead).last() == Some(&29)).await;
    assert_eq!(numbers(&dead), (0..30).collect::<Vec<_>>());
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_dead_optional_sink_does_not_hold_the_memory_that_others_need() {
    let mut host = Host::new();
    // Room for a few batches, and a queue that would take many more.
    (host.max_memory_bytes, host.max_inflight) = (20_000, 64);
    let (good, dead) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    dead.broken.store(true, Ordering::SeqCst);
    let pipeline = host.start(CommitPolicy::Required, vec![(onto(&good), true), (onto(&dead), false)]);
    host.numbers.bound.send_replace(2_000);
    checkpointed(&pipeline, "s0", 2_000).await;
    assert!(pipeline.status().sinks[1].spill_bytes > 0);
    assert!(pipeline.status().sinks[1].error.is_some(), "it does not work");
    dead.broken.store(false, Ordering::SeqCst);
    checkpointed(&pipeline, "s1", 2_000).await;
    assert_eq!(numbers(&dead), (0..2_000).collect::<Vec<_>>());
    assert_eq!(numbers(&good), (0..2_000).collect::<Vec<_>>());
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_failure_does_not_undo_the_deliveries_before_it() {
    let host = Host::new();
    let shaky = Arc::new(Shaky { fail_at: Some(15), ..Shaky::default() });
    host.numbers.bound.send_replace(40);
    let pipeline = host.start(CommitPolicy::All, vec![(Arc::new(ShakyFactory(shaky.clone())), true)]);
    checkpointed(&pipeline, "s0", 40).await;
    let again = shaky.got.lock().iter().filter(|n| **n < 10).count();
    assert_eq!(again, 10, "the first delivery was whole before the second one failed");
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_pipeline_resumed_while_it_stops_runs_again() {
    let host = Host::new();
    let (good, bad) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    bad.broken.store(true, Ordering::SeqCst);
    let pipeline = host.start(CommitPolicy::Required, vec![(onto(&good), true), (onto(&bad), true)]);
    host.numbers.bound.send_replace(10);
    checkpointed(&pipeline, "s0", 10).await;
    // The broken sink keeps it from an early end.
    assert!(tokio::time::timeout(Duration::from_millis(100), pipeline.stop()).await.is_err());
    pipeline.resume();
    tokio::time::sleep(Duration::from_millis(500)).await;
    host.numbers.bound.send_replace(20);
    checkpointed(&pipeline, "s0", 20).await;
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_failing_pipeline_that_was_paused_comes_back_paused() {
    let host = Host::new();
    let shelf = Arc::new(Shelf::default());
    host.numbers.broken.store(true, Ordering::SeqCst);
    let pipeline = host.start(CommitPolicy::All, vec![(onto(&shelf), true)]);
    within("it fails", async || pipeline.status().status == State::Failed).await;
    pipeline.pause();
    assert_ne!(pipeline.status().status, State::Running);
    host.numbers.broken.store(false, Ordering::SeqCst);
    within("it is paused", async || pipeline.status().status == State::Paused).await;
    pipeline.resume();
    assert_eq!(pipeline.status().status, State::Running);
    pipeline.shutdown().await;
}

/// Cannot be opened at first; fails once in the middle of the second delivery, whose first half got through.
#[derive(Default)]
struct Shaky {
    opens_to_fail: AtomicUsize,
    fail_at: Option<u64>,
    failed: AtomicUsize,
    got: Mutex<Vec<u64>>,
}

struct ShakyFactory(Arc<Shaky>);

struct ShakySink(Arc<Shaky>, u64);

#[async_trait]
impl Sink for ShakySink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        // The worker gets ahead.
        tokio::time::sleep(Duration::from_millis(100)).await;
        for (place, message) in delivery.messages() {
            let row: Value = serde_json::from_slice(message.body.unwrap()).unwrap();
            let n = row["n"].as_u64().unwrap();
            if self.0.fail_at == Some(n) && self.0.failed.fetch_add(1, Ordering::SeqCst) == 0 {
                return Err(SinkError::retry("shaky", "write", "once").after(place));
            }
            self.0.got.lock().push(n);
        }
        self.1 = delivery.seq;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.1, state: None })
    }
}

#[async_trait]
impl SinkFactory for ShakyFactory {
    fn kind(&self) -> &'static str {
        "shaky"
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

    async fn open(&self, _config: &Value, _context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        let left =
            self.0.opens_to_fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match left {
            Ok(_) => Err(SinkError::retry("shaky", "open", "not yet")),
            Err(_) => Ok(Box::new(ShakySink(self.0.clone(), 0))),
        }
    }
}

#[tokio::test]
async fn what_is_sent_again_is_followed_by_all_that_came_after_it() {
    let host = Host::new();
    let shaky = Arc::new(Shaky { fail_at: Some(15), ..Shaky::default() });
    host.numbers.bound.send_replace(40);
    let pipeline = host.start(CommitPolicy::All, vec![(Arc::new(ShakyFactory(shaky.clone())), true)]);
    checkpointed(&pipeline, "s0", 40).await;
    let got = shaky.got.lock().clone();
    let last = |n: u64| got.iter().rposition(|one| *one == n).unwrap();
    assert!((1..40).all(|n| last(n - 1) < last(n)), "the newest state came last: {got:?}");
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_sink_that_opens_late_has_no_error_while_idle() {
    let host = Host::new();
    let shaky = Arc::new(Shaky { opens_to_fail: AtomicUsize::new(2), ..Shaky::default() });
    let pipeline = host.start(CommitPolicy::All, vec![(Arc::new(ShakyFactory(shaky)), true)]);
    within("it fails", async || pipeline.status().sinks[0].errors == 2).await;
    within("it is well", async || pipeline.status().sinks[0].error.is_none()).await;
    pipeline.shutdown().await;
}
