//! What a sink gets that is fed from disk: over edits of its configuration, failures, full disks and damaged ones.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::checkpoint::Checkpoints;
use deltaforge_engine::dlq::DlqLimits;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::{PipelinePlan, Services, SinkPlan};
use deltaforge_engine::sink::{Addressing, Sink, SinkContext, SinkError, SinkFactory};
use deltaforge_engine::status::{Gap, State};
use deltaforge_store::MemoryStore;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::parts::{Numbers, Paced, Shelf, onto};
use crate::setup::{self, checkpointed, is_at, within};

/// Makes sinks onto a shelf that says by `url` where each message goes.
struct Addressed(Arc<dyn SinkFactory>);

#[async_trait]
impl SinkFactory for Addressed {
    fn kind(&self) -> &'static str {
        "addressed"
    }

    fn schema(&self) -> schemars::Schema {
        self.0.schema()
    }

    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        self.0.validate(config)
    }

    fn addressing(&self, config: &Value) -> Addressing {
        Addressing { destination: config["url"].as_str().map(str::to_owned), ..Addressing::default() }
    }

    async fn open(&self, config: &Value, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        self.0.open(config, context).await
    }
}

/// Two sinks, what outlives their pipeline, and what it is started with.
struct Pair {
    numbers: Arc<Numbers>,
    services: Services,
    spills: TempDir,
    /// `s0`.
    good: Arc<Shelf>,
    /// `s1`, which is down at first.
    slow: Arc<Shelf>,
    /// Where the messages for `s1` go.
    url: Value,
    dlq: Option<DlqLimits>,
    policy: CommitPolicy,
    spill_max_bytes: u64,
}

impl Pair {
    /// `s1` is optional.
    fn new() -> Self {
        let (services, spills) = setup::services(Duration::from_secs(2));
        let slow = Arc::new(Shelf::default());
        slow.broken.store(true, Ordering::SeqCst);
        Self {
            numbers: Arc::default(),
            services,
            spills,
            good: Arc::default(),
            slow,
            url: Value::Null,
            dlq: None,
            policy: CommitPolicy::Required,
            spill_max_bytes: 1 << 20,
        }
    }

    fn start(&self) -> Pipeline {
        let by_quorum = matches!(self.policy, CommitPolicy::Quorum(_));
        let sink = |id: &str, factory: Arc<dyn SinkFactory>, required| SinkPlan {
            spill_max_bytes: self.spill_max_bytes,
            ..setup::sink("p", id, factory, required)
        };
        let slow = Arc::new(Addressed(onto(&self.slow)));
        let plan = PipelinePlan {
            sinks: vec![
                sink("s0", onto(&self.good), true),
                SinkPlan { config: json!({ "url": self.url }), ..sink("s1", slow, by_quorum) },
            ],
            max_inflight: 2,
            policy: self.policy,
            dlq: self.dlq,
            ..setup::plan("p", &self.numbers)
        };
        Pipeline::start(plan, self.services.clone())
    }

    /// Runs until `s0` has the first 200 numbers and `s1` has them on disk only.
    async fn spill(&self) {
        let pipeline = self.start();
        self.numbers.bound.send_replace(200);
        checkpointed(&pipeline, "s0", 200).await;
        pipeline.shutdown().await;
        self.slow.broken.store(false, Ordering::SeqCst);
    }
}

/// The one file of the spill.
fn spill_file(pair: &Pair) -> PathBuf {
    let dir = pair.spills.path().join("spill/acme/p/s1");
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    file.clone()
}

/// Where each record in there begins.
fn records(file: &Path) -> Vec<usize> {
    let bytes = std::fs::read(file).unwrap();
    let word = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
    let mut starts = vec![16];
    while starts[starts.len() - 1] < bytes.len() {
        let at = starts[starts.len() - 1];
        starts.push(at + 32 + word(at) + word(at + 8));
    }
    starts.pop();
    starts
}

/// Flips a byte.
fn rot(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0xff;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn damage_in_a_spill_costs_one_batch_of_one_sink_and_is_told() {
    // In the header of a record, and in its payload.
    for offset in [3, 200] {
        let pair = Pair::new();
        pair.spill().await;
        let file = spill_file(&pair);
        let starts = records(&file);
        assert_eq!(starts.len(), 20, "a record for each batch of ten");
        rot(&file, starts[7] + offset);

        let (lines, _log) = setup::log();
        let pipeline = pair.start();
        checkpointed(&pipeline, "s1", 200).await;
        pair.numbers.bound.send_replace(300);
        checkpointed(&pipeline, "s0", 300).await;
        checkpointed(&pipeline, "s1", 300).await;
        let status = pipeline.status();
        assert_eq!(
            (status.events, status.status),
            (100, State::Running),
            "the source is asked for nothing old"
        );
        assert_eq!(pair.good.numbers(), (0..300).collect::<Vec<_>>());
        assert_eq!(pair.slow.numbers(), (0..70).chain(80..300).collect::<Vec<_>>());
        let gap = Gap { from: json!({ "n": 70 }), to: json!({ "n": 80 }), events: None, acknowledged: false };
        assert_eq!(status.sinks[1].gaps, std::slice::from_ref(&gap));
        let lines = String::from_utf8(lines.lock().clone()).unwrap();
        assert_eq!(lines.matches("spilled batches are damaged").count(), 1, "{lines}");
        pipeline.shutdown().await;

        let pipeline = pair.start();
        within("it runs", async || pipeline.status().status == State::Running).await;
        assert_eq!(pipeline.status().sinks[1].gaps, [gap], "it is recorded once");
        pipeline.shutdown().await;
    }
}

#[tokio::test]
async fn damage_at_the_end_of_a_spill_is_no_loss_while_the_source_has_it() {
    let pair = Pair::new();
    pair.spill().await;
    let file = spill_file(&pair);
    rot(&file, records(&file)[19] + 200);
    let (lines, _log) = setup::log();
    let pipeline = pair.start();
    checkpointed(&pipeline, "s1", 200).await;
    assert_eq!(pair.slow.numbers(), (0..200).collect::<Vec<_>>());
    assert_eq!(pipeline.status().sinks[1].gaps, []);
    let lines = String::from_utf8(lines.lock().clone()).unwrap();
    assert!(lines.contains("resume=\"n: 190\""), "{lines}");
    pipeline.shutdown().await;
}

#[tokio::test]
async fn damage_between_a_spill_and_a_gap_is_told() {
    let mut pair = Pair::new();
    pair.spill_max_bytes = 10_000;
    pair.spill().await;
    let file = spill_file(&pair);
    let starts = records(&file);
    let kept = starts.len() as u64 - 1;
    assert!(kept < 19, "the others are in a gap");
    rot(&file, starts[starts.len() - 1] + 200);
    // Room for what comes now.
    pair.spill_max_bytes = 1 << 20;

    let (lines, _log) = setup::log();
    let pipeline = pair.start();
    pair.numbers.bound.send_replace(300);
    checkpointed(&pipeline, "s1", 300).await;
    assert_eq!(pipeline.status().events, 100, "the source is asked for nothing old");
    assert_eq!(pair.slow.numbers(), (0..kept * 10).chain(200..300).collect::<Vec<_>>());
    let stretch = |from: u64, to: u64, events| Gap {
        from: json!({ "n": from }),
        to: json!({ "n": to }),
        events,
        acknowledged: false,
    };
    let begins = kept * 10 + 10;
    let gaps = [stretch(begins, 200, Some(200 - begins)), stretch(kept * 10, begins, None)];
    assert_eq!(pipeline.status().sinks[1].gaps, gaps);
    let lines = String::from_utf8(lines.lock().clone()).unwrap();
    assert_eq!(lines.matches("spilled batches are damaged").count(), 1, "{lines}");
    pipeline.shutdown().await;
}

#[tokio::test]
async fn what_waits_on_disk_and_can_be_sent_nowhere_stops_the_pipeline_until_somebody_helps() {
    let mut pair = Pair::new();
    pair.spill().await;

    pair.url = json!("http://x/${after.region}");
    let pipeline = pair.start();
    within("it fails", async || pipeline.status().status == State::Failed).await;
    assert_eq!(pipeline.status().error.unwrap().code, "routing_missing_value");
    assert!(!is_at(&pipeline, "s1", 200).await);
    pipeline.shutdown().await;

    pair.url = json!("http://x/${after.n}");
    let pipeline = pair.start();
    checkpointed(&pipeline, "s1", 200).await;
    assert_eq!(pair.slow.numbers(), (0..200).collect::<Vec<_>>());
    pipeline.shutdown().await;
}

#[tokio::test]
async fn what_waits_on_disk_and_can_be_sent_nowhere_goes_to_the_dead_letter_queue() {
    let mut pair = Pair::new();
    pair.dlq = Some(setup::dlq(1_000));
    pair.spill().await;

    pair.url = json!("http://x/${after.region}");
    let pipeline = pair.start();
    checkpointed(&pipeline, "s1", 200).await;
    assert!(pair.slow.numbers().is_empty());
    let letters = pipeline.dlq().unwrap().peek(Some("s1"), Some("routing"), 0, 1_000).await.unwrap();
    assert_eq!(letters.len(), 200);
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_sink_of_a_quorum_whose_spill_is_full_goes_on_once_it_works() {
    let mut pair = Pair::new();
    (pair.policy, pair.spill_max_bytes) = (CommitPolicy::Quorum(1), 40_000);
    let pipeline = pair.start();
    pair.numbers.bound.send_replace(2_000);
    within("the spill is full", async || pipeline.status().sinks[1].spill_bytes > 38_000).await;
    within("it is tried", async || pipeline.status().sinks[1].errors >= 4).await;
    let before = pair.good.numbers().len();
    assert!(before < 2_000, "it holds the stream back");
    pair.slow.broken.store(false, Ordering::SeqCst);
    checkpointed(&pipeline, "s1", 2_000).await;
    assert_eq!(pair.slow.numbers(), (0..2_000).collect::<Vec<_>>());
    assert_eq!(pair.good.numbers(), (0..2_000).collect::<Vec<_>>());
    assert_eq!(pipeline.status().sinks[1].gaps, []);
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_full_spill_of_a_quorum_does_not_hold_up_a_stop_and_misses_nothing() {
    let mut pair = Pair::new();
    (pair.policy, pair.spill_max_bytes) = (CommitPolicy::Quorum(1), 40_000);
    pair.services.shutdown_timeout = Duration::from_secs(60);
    let pipeline = pair.start();
    pair.numbers.bound.send_replace(2_000);
    within("the spill is full", async || pipeline.status().sinks[1].spill_bytes > 38_000).await;
    within("it is tried", async || pipeline.status().sinks[1].errors >= 4).await;
    tokio::time::timeout(Duration::from_secs(10), pipeline.shutdown()).await.unwrap();

    pair.slow.broken.store(false, Ordering::SeqCst);
    let pipeline = pair.start();
    checkpointed(&pipeline, "s1", 2_000).await;
    let got = pair.slow.numbers();
    let first_of = |n: &u64| got.iter().position(|one| one == n);
    assert!((0..2_000).map(|n| first_of(&n)).is_sorted() && got.contains(&1_999) && got.contains(&0));
    assert!((0..2_000).all(|n| got.contains(&n)), "nothing is missing");
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_sink_catches_up_from_disk_however_little_memory_is_left() {
    let pair = Pair::new();
    pair.spill().await;
    // Others hold it all.
    let budget = pair.services.budget.clone();
    let all = budget.take(budget.limit());
    let pipeline = pair.start();
    checkpointed(&pipeline, "s1", 200).await;
    assert_eq!(pair.slow.numbers(), (0..200).collect::<Vec<_>>());
    within("it gives back what it took", async || budget.held() == budget.limit()).await;
    drop(all);
    pair.numbers.bound.send_replace(300);
    checkpointed(&pipeline, "s1", 300).await;
    pipeline.shutdown().await;
}

#[tokio::test]
async fn what_waits_on_disk_when_every_sink_comes_to_count_makes_no_gap() {
    let mut pair = Pair::new();
    pair.spill().await;
    pair.slow.broken.store(true, Ordering::SeqCst);
    (pair.policy, pair.spill_max_bytes) = (CommitPolicy::All, 40_000);
    let pipeline = pair.start();
    pair.numbers.bound.send_replace(2_000);
    within("the spill is full", async || pipeline.status().sinks[1].spill_bytes > 38_000).await;
    within("it is tried", async || pipeline.status().sinks[1].errors >= 4).await;
    assert!(pair.good.numbers().len() < 2_000, "it holds the stream back");
    pair.slow.broken.store(false, Ordering::SeqCst);
    checkpointed(&pipeline, "s1", 2_000).await;
    assert_eq!(pair.slow.numbers(), (0..2_000).collect::<Vec<_>>());
    assert_eq!(pair.good.numbers(), (0..2_000).collect::<Vec<_>>());
    assert_eq!(pipeline.status().sinks[1].gaps, []);
    pipeline.shutdown().await;
}

/// What one sink of a quorum had on disk is read again for another one that was behind it, and is done with once both have
/// it: also when nothing more comes.
#[test]
fn a_quorum_that_has_it_all_says_so_although_one_had_it_on_disk_from_before() {
    let (store, numbers, good, slow) =
        (Arc::new(MemoryStore::new()), Arc::<Numbers>::default(), Arc::default(), Arc::<Shelf>::default());
    let (paced, spills) = (Paced::new(&good), tempfile::tempdir().unwrap());
    let start = || {
        let (services, _) = setup::services(Duration::from_secs(2));
        let services = Services {
            store: store.clone(),
            checkpoints: Arc::new(Checkpoints::start(store.clone(), Duration::from_millis(1))),
            spill_dir: spills.path().to_owned(),
            ..services
        };
        let plan = PipelinePlan {
            sinks: vec![
                setup::sink("p", "s0", paced.factory(), true),
                setup::sink("p", "s1", onto(&slow), true),
            ],
            max_inflight: 10,
            policy: CommitPolicy::Quorum(2),
            ..setup::plan("p", &numbers)
        };
        Pipeline::start(plan, services)
    };
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let killed = runtime();
    killed.block_on(async {
        slow.broken.store(true, Ordering::SeqCst);
        paced.permits.add_permits(5);
        let pipeline = start();
        numbers.bound.send_replace(50);
        checkpointed(&pipeline, "s0", 50).await;
        within("it is tried", async || pipeline.status().sinks[1].errors >= 4).await;
        let half = pipeline.status().sinks[1].spill_bytes;
        assert!(half > 0, "what the other one has not is on disk");
        numbers.bound.send_replace(100);
        within("the rest is too", async || pipeline.status().sinks[1].spill_bytes > half * 19 / 10).await;
        assert_eq!(pipeline.status().sinks[0].spill_bytes, 0);
    });
    killed.shutdown_background();

    runtime().block_on(async {
        slow.broken.store(false, Ordering::SeqCst);
        paced.permits.add_permits(1_000);
        let pipeline = start();
        checkpointed(&pipeline, "s0", 100).await;
        checkpointed(&pipeline, "s1", 100).await;
        assert_eq!(pipeline.status().events, 50, "the source is asked for what one of them lacks");
        within("it is confirmed", async || numbers.confirmed.load(Ordering::SeqCst) == 100).await;
        within("nothing is under way", async || pipeline.status().lag_seconds == Some(0.0)).await;
        assert_eq!(slow.numbers(), (0..100).collect::<Vec<_>>());
        pipeline.shutdown().await;
    });
}
