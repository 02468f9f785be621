//! What a new version makes leaves once it is stored from where on it runs; whoever has something else to deliver goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::checkpoint::Checkpoints;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::{PipelinePlan, Services, StagePlan};
use deltaforge_engine::stage::{Stage, StageCode, StageError, StageFactory, StageSpec, StageVersion};
use deltaforge_engine::stages::OnError;
use deltaforge_engine::status::{Failure, State};
use deltaforge_engine::swap::{Note, Swappable};
use deltaforge_engine::{Pipeline, Swapped};
use deltaforge_model::{Overlay, View};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::full_store::FullStore;
use crate::parts::{Markers, Numbers, Paced, Shelf, onto};
use crate::setup::{self, is_at, within};

/// Waits until nothing moves any more: the clock of these tests goes on only then.
async fn stands_still() {
    tokio::time::sleep(STOOD).await;
}

/// How long everything has stood still then.
const STOOD: Duration = Duration::from_millis(100);

/// Counts what comes through it.
struct Turnstile(Arc<AtomicUsize>);

#[async_trait]
impl Stage for Turnstile {
    async fn process(&mut self, view: &View, _: &mut Overlay) -> Result<(), StageError> {
        self.0.fetch_add(view.len(), Ordering::SeqCst);
        Ok(())
    }
}

/// Makes turnstiles.
struct Turnstiles(Arc<AtomicUsize>);

#[async_trait]
impl StageFactory for Turnstiles {
    fn handles(&self, code: &StageCode) -> bool {
        *code == StageCode::Builtin("turnstile".into())
    }

    async fn validate(&self, _: &StageSpec) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    async fn build(
        &self,
        _: &StageSpec,
        _: Option<&StageVersion>,
    ) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        let version = StageVersion { plugin: "turnstile".into(), digest: "t".into() };
        Ok((Box::new(Turnstile(self.0.clone())), version))
    }
}

/// A pipeline of numbers that pass a marker and then a turnstile, over a store that can be slow and full.
struct Bench {
    pipeline: Arc<Pipeline>,
    numbers: Arc<Numbers>,
    store: Arc<FullStore>,
    full: Arc<AtomicBool>,
    passed: Arc<AtomicUsize>,
    _spill: TempDir,
}

impl Bench {
    fn new(plan: impl FnOnce(PipelinePlan) -> PipelinePlan) -> Self {
        let full: Arc<AtomicBool> = Arc::default();
        let (store, passed) = (Arc::new(FullStore::new(&full)), Arc::<AtomicUsize>::default());
        let (services, spill) = setup::services(Duration::from_millis(300));
        let services = Services {
            store: store.clone(),
            checkpoints: Arc::new(Checkpoints::start(store.clone(), Duration::from_millis(1))),
            stages: vec![Arc::new(Turnstiles(passed.clone())), Arc::new(Markers)],
            ..services
        };
        let numbers: Arc<Numbers> = Arc::default();
        let stages = vec![setup::marker("old"), setup::stage("turnstile")];
        let base = PipelinePlan { stages, policy: CommitPolicy::All, ..setup::plan("p", &numbers) };
        let pipeline = Arc::new(Pipeline::start(plan(base), services));
        Self { pipeline, numbers, store, full, passed, _spill: spill }
    }

    /// Lets these be read, and waits until they have passed the stages.
    async fn pass(&self, bound: u64) {
        self.numbers.bound.send_replace(bound);
        within("they have passed", async || self.passed.load(Ordering::SeqCst) as u64 >= bound).await;
    }

    /// Over one sink, and what that has: ten numbers, which are stored.
    async fn over_a_shelf() -> (Self, Arc<Shelf>) {
        let shelf: Arc<Shelf> = Arc::default();
        let sinks = vec![setup::sink("p", "s0", onto(&shelf), true)];
        let bench = Self::new(|plan| PipelinePlan { sinks, ..plan });
        bench.pass(10).await;
        bench.stores(10).await;
        (bench, shelf)
    }

    /// Waits until the sink's checkpoint is there.
    async fn stores(&self, n: u64) {
        within("it is stored", async || is_at(&self.pipeline, "s0", n).await).await;
    }

    /// Begins a swap that the store does not take yet, and waits until it is at work.
    async fn swap_untaken(&self, version: &str) -> JoinHandle<Result<Swapped, Failure>> {
        self.store.slow.send_replace(true);
        self.swap(version).await
    }

    /// Begins a swap to another marker, and waits until it is at work.
    async fn swap(&self, version: &str) -> JoinHandle<Result<Swapped, Failure>> {
        let pipeline = self.pipeline.clone();
        let code = StageCode::Plugin(format!("marker@{version}"));
        let spec = setup::spec("p", "mark", code, json!({}));
        let swap = tokio::spawn(async move {
            pipeline.swap(Swappable::Stage("mark"), spec, None, 0, Note::default()).await
        });
        within("it is at work", async || self.pipeline.status().stages[0].generation == 2).await;
        swap
    }
}

fn marks(shelf: &Shelf) -> Vec<String> {
    let mut marks: Vec<String> = shelf.rows.lock().iter().map(|(_, mark)| mark.clone()).collect();
    marks.dedup();
    marks
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_has_nothing_else_waits_until_the_swap_is_stored() {
    let (bench, shelf) = Bench::over_a_shelf().await;
    let swap = bench.swap_untaken("new").await;
    bench.pass(30).await;
    stands_still().await;
    assert_eq!((marks(&shelf), swap.is_finished()), (vec!["old".to_owned()], false), "it is not stored yet");
    bench.store.slow.send_replace(false);
    let swapped = swap.await.unwrap().unwrap();
    assert!(swapped.pause >= STOOD, "that is how long it stood still, not {:?}", swapped.pause);
    bench.stores(30).await;
    assert_eq!((marks(&shelf), shelf.numbers()), (vec!["old".into(), "new".into()], (0..30).collect()));
    bench.pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_busy_does_not_notice_that_a_swap_is_stored() {
    let shelf: Arc<Shelf> = Arc::default();
    let paced = Paced::new(&shelf);
    let bench = Bench::new(|plan| PipelinePlan {
        sinks: vec![setup::sink("p", "s0", paced.factory(), true)],
        ..plan
    });
    bench.pass(10).await;
    let swap = bench.swap_untaken("new").await;
    bench.pass(20).await;
    stands_still().await;
    bench.store.slow.send_replace(false);
    let swapped = swap.await.unwrap().unwrap();
    assert!(swapped.pause < STOOD, "it had something else to do for {:?}", swapped.pause);
    paced.permits.add_permits(2);
    bench.stores(20).await;
    assert_eq!((marks(&shelf), shelf.numbers()), (vec!["old".into(), "new".into()], (0..20).collect()));
    bench.pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_swap_that_cannot_be_stored_leaves() {
    let (bench, shelf) = Bench::over_a_shelf().await;
    let swap = bench.swap_untaken("new").await;
    bench.pass(20).await;
    bench.full.store(true, Ordering::SeqCst);
    bench.store.slow.send_replace(false);
    let refused = swap.await.unwrap().unwrap_err();
    assert_eq!(refused.code, "state_store", "{refused:?}");
    within("it fails", async || bench.pipeline.status().status == State::Failed).await;
    bench.full.store(false, Ordering::SeqCst);
    bench.stores(20).await;
    assert_eq!((marks(&shelf), shelf.numbers()), (vec!["old".to_owned()], (0..20).collect()));
    assert_eq!(bench.pipeline.status().stages[0].generation, 1);
    bench.pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn dead_letters_and_spills_wait_for_it_too() {
    let (shelf, other): (Arc<Shelf>, Arc<Shelf>) = Default::default();
    let paced = Paced::new(&other);
    let bench = Bench::new(|plan| {
        let marker = StagePlan { on_error: OnError::Dlq, ..setup::marker("old") };
        PipelinePlan {
            stages: vec![marker, setup::stage("turnstile")],
            sinks: vec![
                setup::sink("p", "s0", onto(&shelf), true),
                setup::sink("p", "s1", paced.factory(), false),
            ],
            policy: CommitPolicy::Required,
            dlq: Some(setup::dlq(100)),
            max_inflight: 1,
            ..plan
        }
    });
    // The optional sink has one at work, one in its queue, and the others on disk.
    bench.pass(50).await;
    bench.stores(50).await;
    let swap = bench.swap_untaken("picky").await;
    bench.numbers.bound.send_replace(70);
    within("some have passed", async || bench.passed.load(Ordering::SeqCst) > 50).await;
    stands_still().await;
    let letters = async || bench.pipeline.dlq().expect("it has one").count().await.unwrap();
    assert_eq!(letters().await, 0, "it is not stored yet");
    assert!(bench.passed.load(Ordering::SeqCst) <= 60, "the next batch waits for what would go to disk");
    bench.store.slow.send_replace(false);
    swap.await.unwrap().unwrap();
    bench.stores(70).await;
    assert_eq!(letters().await, 2, "56 and 63");
    paced.permits.add_permits(100);
    within("the other has it too", async || is_at(&bench.pipeline, "s1", 70).await).await;
    assert_eq!((marks(&other), other.numbers().len()), (vec!["old".into(), "picky".into()], 68));
    bench.pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_swap_that_is_said_to_be_given_up_changes_nothing() {
    let (bench, shelf) = Bench::over_a_shelf().await;
    let swap = bench.swap_untaken("new").await;
    // The store takes longer than anybody waits for a pipeline that counts as failed.
    let answer = tokio::time::timeout(Duration::from_secs(40), swap).await;
    bench.store.slow.send_replace(false);
    bench.pass(20).await;
    bench.stores(20).await;
    if let Ok(answer) = answer
        && let Err(refused) = answer.unwrap()
    {
        let generation = bench.pipeline.status().stages[0].generation;
        assert_eq!((marks(&shelf), generation), (vec!["old".to_owned()], 1), "answered: {refused:?}");
    }
    bench.pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_at_work_and_not_stored_yet_is_in_use_also_if_nobody_waits_for_the_answer() {
    let (bench, _) = Bench::over_a_shelf().await;
    let control = deltaforge_engine::Control::new();
    control.add((*bench.pipeline).clone(), json!({}), None).unwrap();
    bench.store.slow.send_replace(true);
    let asked = control.clone();
    let swap = tokio::spawn(async move {
        let change = deltaforge_engine::control::Change::Plugin {
            plugin: Some("marker@new".to_owned()),
            config: None,
        };
        asked.swap("p", Swappable::Stage("mark"), change, 0, Note::default()).await
    });
    within("it is at work", async || bench.pipeline.status().stages[0].generation == 2).await;
    // Whoever asked hangs up.
    swap.abort();
    assert!(swap.await.unwrap_err().is_cancelled());
    let at_work = bench.pipeline.status().stages[0].digest.clone();
    let is_used = control.running_plugins().await.unwrap().iter().any(|one| one.version.digest == at_work);
    let may_leave = control.leaving(|reference| reference == "marker@new").is_some();
    bench.store.slow.send_replace(false);
    bench.pipeline.shutdown().await;
    assert!(is_used || !may_leave, "it may be deleted while it runs");
}

#[tokio::test(start_paused = true)]
async fn a_swap_that_the_store_refuses_does_not_stop_the_stream() {
    let (bench, shelf) = Bench::over_a_shelf().await;
    bench.swap("mid").await.await.unwrap().unwrap();
    bench.pass(20).await;
    bench.stores(20).await;
    bench.full.store(true, Ordering::SeqCst);
    let code = StageCode::Plugin("marker@new".into());
    let spec = setup::spec("p", "mark", code, json!({}));
    let refused = bench.pipeline.swap(Swappable::Stage("mark"), spec, None, 0, Note::default()).await;
    assert_eq!(refused.unwrap_err().code, "state_store");
    // Checkpoints wait for the store, and what is read goes on to the sink meanwhile.
    bench.numbers.bound.send_replace(30);
    within("it is delivered", async || shelf.numbers().len() == 30).await;
    bench.full.store(false, Ordering::SeqCst);
    bench.pipeline.shutdown().await;
}
