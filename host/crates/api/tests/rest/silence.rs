//! Sinks and stores that neither work nor fail: all of it shows, and holds nobody up who need not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::budget::Budget;
use deltaforge_engine::checkpoint::Checkpoints;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::PipelinePlan;
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory};
use deltaforge_engine::state::StateStore;
use deltaforge_engine::status::State;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::full_store::FullStore;
use crate::parts::{Numbers, Shelf, onto, opens};
use crate::setup::{self, is_at, within};

/// Takes a delivery and never answers.
struct Hung;

#[async_trait]
impl Sink for Hung {
    async fn write(&mut self, _: &Delivery) -> Result<(), SinkError> {
        std::future::pending().await
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        std::future::pending().await
    }
}

fn hung() -> Arc<dyn SinkFactory> {
    opens(|_| Ok(Box::new(Hung)))
}

fn plan(numbers: &Arc<Numbers>, sinks: Vec<(Arc<dyn SinkFactory>, bool)>) -> PipelinePlan {
    let sinks = sinks.into_iter().enumerate();
    PipelinePlan {
        sinks: sinks
            .map(|(at, (sink, required))| setup::sink("p", &format!("s{at}"), sink, required))
            .collect(),
        policy: CommitPolicy::Required,
        ..setup::plan("p", numbers)
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_never_answers_shows_that_as_its_failure() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let numbers: Arc<Numbers> = Arc::default();
    numbers.bound.send_replace(5_000);
    let began = tokio::time::Instant::now();
    let pipeline = Pipeline::start(plan(&numbers, vec![(hung(), true)]), services);
    while pipeline.status().sinks[0].error.is_none() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(began.elapsed() < Duration::from_secs(60), "it looks well: {:?}", pipeline.status());
    }
    let status = pipeline.status();
    assert_eq!(status.sinks[0].error.as_ref().unwrap().code, "sink_silent");
    assert!(status.degraded);
    pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_nothing_shows_before_the_first_delivery() {
    let (mut services, _spill) = setup::services(Duration::from_millis(300));
    let full = Arc::new(AtomicBool::new(true));
    let store: Arc<dyn StateStore> = Arc::new(FullStore::new(&full));
    services.store = store.clone();
    services.checkpoints = Arc::new(Checkpoints::start(store, Duration::from_millis(1)));
    let numbers: Arc<Numbers> = Arc::default();
    numbers.bound.send_replace(20);
    let shelf = Arc::new(Shelf::default());
    let sinks: Vec<(Arc<dyn SinkFactory>, bool)> = vec![(onto(&shelf), true)];
    let pipeline = Pipeline::start(plan(&numbers, sinks), services);
    within("it shows", async || pipeline.status().degraded).await;
    assert_eq!(pipeline.status().waits[0].code, "state_store");
    full.store(false, Ordering::SeqCst);
    within("it goes on", async || is_at(&pipeline, "s0", 20).await).await;
    assert!(!pipeline.status().degraded);
    pipeline.shutdown().await;
}

/// Says that it failed some time after its first delivery, when nobody asks; well after it is opened anew.
struct Idle {
    context: SinkContext,
    fails: bool,
    through: u64,
}

#[async_trait]
impl Sink for Idle {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        self.through = delivery.seq;
        let trouble = self.context.trouble.clone();
        if self.fails {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                trouble.tell(&SinkError::retry("idle", "rotate", "for a moment"));
            });
        }
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.through, state: None })
    }
}

#[tokio::test]
async fn a_failure_that_is_told_while_idle_is_got_over_without_another_event() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let numbers: Arc<Numbers> = Arc::default();
    let count = Arc::new(AtomicUsize::new(0));
    let opened = count.clone();
    let sink = opens(move |context| {
        let fails = opened.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(Box::new(Idle { context, fails, through: 0 }))
    });
    let pipeline = Pipeline::start(plan(&numbers, vec![(sink, true)]), services);
    numbers.bound.send_replace(10);
    within("it is opened anew", async || count.load(Ordering::SeqCst) == 2).await;
    within("all is well", async || pipeline.status().sinks[0].error.is_none()).await;
    assert_eq!((pipeline.status().status, pipeline.status().sinks[0].errors), (State::Running, 1));
    pipeline.shutdown().await;
}

/// Room for a few batches only, all of which the optional sink's queue could hold.
fn tight(numbers: &Arc<Numbers>, optional: Arc<dyn SinkFactory>, good: &Arc<Shelf>) -> PipelinePlan {
    let sinks: Vec<(Arc<dyn SinkFactory>, bool)> = vec![(onto(good), true), (optional, false)];
    PipelinePlan { max_memory_bytes: 20_000, max_inflight: 64, ..plan(numbers, sinks) }
}

#[tokio::test]
async fn an_optional_sink_that_hangs_does_not_hold_the_memory_that_others_need() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let pipeline = Pipeline::start(tight(&numbers, hung(), &good), services);
    numbers.bound.send_replace(2_000);
    within("the other one has it all", async || is_at(&pipeline, "s0", 2_000).await).await;
    assert!(pipeline.status().sinks[1].spill_bytes > 0);
    pipeline.shutdown().await;
}

/// Says nothing of what it was given until it is let go, well or not.
#[derive(Clone)]
struct Mute {
    word: watch::Receiver<Option<bool>>,
    got: Arc<Mutex<Vec<u64>>>,
    through: u64,
}

#[async_trait]
impl Sink for Mute {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        let rows = delivery.messages().map(|(_, message)| {
            serde_json::from_slice::<Value>(message.body.unwrap()).unwrap()["n"].as_u64().unwrap()
        });
        self.got.lock().extend(rows);
        self.through = delivery.seq;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        let word = *self.word.wait_for(Option::is_some).await.unwrap();
        match word {
            Some(true) => Ok(Durable { through: self.through, state: None }),
            _ => Err(SinkError::retry("mute", "sync", "the disk is gone")),
        }
    }
}

struct Muted {
    word: watch::Sender<Option<bool>>,
    got: Arc<Mutex<Vec<u64>>>,
    factory: Arc<dyn SinkFactory>,
}

impl Muted {
    fn new() -> Self {
        let word = watch::Sender::new(None);
        let mute = Mute { word: word.subscribe(), got: Arc::default(), through: 0 };
        let got = mute.got.clone();
        Self { word, got, factory: opens(move |_| Ok(Box::new(mute.clone()))) }
    }
}

#[tokio::test]
async fn an_optional_sink_that_never_says_what_is_durable_does_not_hold_the_memory_that_others_need() {
    for well in [true, false] {
        let (services, _spill) = setup::services(Duration::from_millis(300));
        let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
        let mute = Muted::new();
        let pipeline = Pipeline::start(tight(&numbers, mute.factory.clone(), &good), services);
        numbers.bound.send_replace(2_000);
        within("the other one has it all", async || is_at(&pipeline, "s0", 2_000).await).await;
        assert!(!mute.got.lock().is_empty());
        mute.word.send_replace(Some(well));
        if !well {
            within("it fails", async || pipeline.status().sinks[1].error.is_some()).await;
            mute.word.send_replace(Some(true));
        }
        within("it has all of it", async || is_at(&pipeline, "s1", 2_000).await).await;
        let got = std::mem::take(&mut *mute.got.lock());
        if well {
            assert_eq!(got, (0..2_000).collect::<Vec<_>>(), "each once, in order");
        } else {
            let last = |n: u64| got.iter().rposition(|one| *one == n).unwrap();
            assert!((1..2_000).all(|n| last(n - 1) < last(n)), "the newest state came last: {got:?}");
        }
        pipeline.shutdown().await;
    }
}

#[tokio::test]
async fn sinks_that_go_to_disk_and_come_back_pass_the_budget_by_a_known_number_of_batches() {
    /// Ten numbers.
    const BATCH: usize = 2_200;
    const LIMIT: usize = 20_000;
    const SINKS: usize = 6;
    let (mut services, _spill) = setup::services(Duration::from_millis(300));
    services.budget = Budget::new(64 << 20, None);
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let mutes: Vec<Muted> = (0..SINKS).map(|_| Muted::new()).collect();
    let mut sinks: Vec<(Arc<dyn SinkFactory>, bool)> = vec![(onto(&good), true)];
    sinks.extend(mutes.iter().map(|mute| (mute.factory.clone(), false)));
    let plan = PipelinePlan { max_memory_bytes: LIMIT, max_inflight: 64, ..plan(&numbers, sinks) };
    let pipeline = Pipeline::start(plan, services.clone());
    numbers.bound.send_replace(2_000);
    within("the other one has it all", async || is_at(&pipeline, "s0", 2_000).await).await;
    let peak = services.budget.peak();
    assert!(peak > LIMIT / 2, "there was something to bound: {peak}");
    assert!(peak <= LIMIT + 2 * BATCH, "one at a time is written to a spill: {peak}");
    for mute in &mutes {
        mute.word.send_replace(Some(true));
    }
    for sink in 1..=SINKS {
        let sink = format!("s{sink}");
        within("it has all of it", async || is_at(&pipeline, &sink, 2_000).await).await;
    }
    let peak = services.budget.peak();
    assert!(peak <= LIMIT + (2 + SINKS * 3) * BATCH, "and one for each sink is read from there: {peak}");
    pipeline.shutdown().await;
}

#[tokio::test]
async fn an_optional_sink_that_hangs_while_it_catches_up_does_not_hold_the_memory_that_others_need() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let dead = opens(|_| Err(SinkError::retry("dead", "open", "not yet")));
    let pipeline = Pipeline::start(tight(&numbers, dead, &good), services.clone());
    numbers.bound.send_replace(500);
    within("the other one has it all", async || is_at(&pipeline, "s0", 500).await).await;
    pipeline.shutdown().await;

    // It comes back and takes its first deliveries from its spill, and not a word after that.
    let mute = Muted::new();
    let pipeline = Pipeline::start(tight(&numbers, mute.factory.clone(), &good), services);
    within("it catches up", async || !mute.got.lock().is_empty()).await;
    numbers.bound.send_replace(2_000);
    within("the other one has it all", async || is_at(&pipeline, "s0", 2_000).await).await;
    mute.word.send_replace(Some(true));
    within("it has all of it", async || is_at(&pipeline, "s1", 2_000).await).await;
    assert_eq!(*mute.got.lock(), (0..2_000).collect::<Vec<_>>(), "each once, in order");
    pipeline.shutdown().await;
}

#[tokio::test]
async fn an_optional_sink_that_waits_for_the_dead_letter_queue_holds_nobody_up() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let picky = Arc::new(Shelf { refuse: Some(1), ..Shelf::default() });
    let plan = PipelinePlan { dlq: Some(setup::dlq(3)), ..tight(&numbers, onto(&picky), &good) };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(2_000);
    within("the other one has it all", async || is_at(&pipeline, "s0", 2_000).await).await;
    let status = pipeline.status();
    assert_eq!((status.status, status.waits[0].code.as_str()), (State::Running, "dlq_full"));
    pipeline.shutdown().await;
}
