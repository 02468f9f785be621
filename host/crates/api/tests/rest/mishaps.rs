//! Disks, stores, sinks and operators at the worst moment: nothing is lost, nobody else is held up, and it shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::checkpoint::Checkpoints;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::{PipelinePlan, SinkPlan};
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkError, SinkFactory};
use deltaforge_engine::stage::StageCode;
use deltaforge_engine::stages::OnError;
use deltaforge_engine::state::StateStore;
use deltaforge_engine::status::State;
use deltaforge_engine::swap::{Note, Swappable};
use serde_json::json;

use crate::full_store::FullStore;
use crate::parts::{Numbers, Shelf, ShelfSink, onto, opens};
use crate::setup::{self, is_at, within};

/// Hangs, or fails for good, until it works.
#[derive(Clone, Default)]
struct Moody {
    works: Arc<AtomicBool>,
    fails: bool,
    sink: ShelfSink,
}

#[async_trait]
impl Sink for Moody {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        if !self.works.load(Ordering::SeqCst) {
            if self.fails {
                return Err(SinkError::operator("moody", "no right"));
            }
            std::future::pending::<()>().await;
        }
        self.sink.write(delivery).await
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        self.sink.durable().await
    }
}

impl Moody {
    fn factory(&self) -> Arc<dyn SinkFactory> {
        let own = self.clone();
        opens(move |_| Ok(Box::new(own.clone())))
    }

    fn numbers(&self) -> Vec<u64> {
        self.sink.shelf.numbers()
    }
}

fn plan(
    numbers: &Arc<Numbers>,
    good: &Arc<Shelf>,
    second: Arc<dyn SinkFactory>,
    policy: CommitPolicy,
    required: bool,
) -> PipelinePlan {
    PipelinePlan {
        sinks: vec![setup::sink("p", "s0", onto(good), true), setup::sink("p", "s1", second, required)],
        policy,
        ..setup::plan("p", numbers)
    }
}

async fn a_push_fails_once(policy: CommitPolicy, required: bool) {
    let (services, spill) = setup::services(Duration::from_secs(3));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let moody = Moody::default();
    let pipeline = Pipeline::start(plan(&numbers, &good, moody.factory(), policy, required), services);
    within("it runs", async || pipeline.status().status == State::Running).await;
    // As a disk that is full for the first of the queue's batches, and not for the next ones.
    let dir = spill.path().join("spill/acme/p/s1");
    let away = spill.path().join("away");
    std::fs::rename(&dir, &away).unwrap();
    numbers.bound.send_replace(200);
    // A push has failed, and the others end what they are at.
    within("the source is let go", async || numbers.bound.receiver_count() == 0).await;
    std::fs::rename(&away, &dir).unwrap();
    within("it fails", async || pipeline.status().status == State::Failed).await;
    assert_eq!(pipeline.status().error.unwrap().code, "spill_failed");
    moody.works.store(true, Ordering::SeqCst);
    within("it has all of it", async || is_at(&pipeline, "s1", 200).await).await;
    let got = moody.numbers();
    let missing: Vec<u64> = (0..200).filter(|n| !got.contains(n)).collect();
    let gaps = pipeline.status().sinks[1].gaps.clone();
    pipeline.shutdown().await;
    assert!(missing.is_empty(), "missing {missing:?}, gaps {gaps:?}");
}

#[tokio::test]
async fn a_spill_that_fails_once_loses_nothing_of_an_optional_sink() {
    a_push_fails_once(CommitPolicy::Required, false).await;
}

#[tokio::test]
async fn a_spill_that_fails_once_loses_nothing_of_a_quorum() {
    a_push_fails_once(CommitPolicy::Quorum(1), true).await;
}

#[test]
fn a_stop_while_memory_goes_to_disk_loses_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (services, _spill) = setup::services(Duration::from_millis(1500));
        let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
        let moody = Moody::default();
        let plan = || plan(&numbers, &good, moody.factory(), CommitPolicy::Required, false);
        let pipeline = Pipeline::start(plan(), services.clone());
        within("it runs", async || pipeline.status().status == State::Running).await;
        numbers.bound.send_replace(50);
        within("s0 has it", async || is_at(&pipeline, "s0", 50).await).await;
        tokio::time::sleep(Duration::from_millis(4_700)).await;
        // A disk that is busy for a moment.
        let busy = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1_000)));
        pipeline.shutdown().await;
        busy.await.unwrap();
        moody.works.store(true, Ordering::SeqCst);
        let pipeline = Pipeline::start(plan(), services);
        within("it has all of it", async || is_at(&pipeline, "s1", 50).await).await;
        let got = moody.numbers();
        let missing: Vec<u64> = (0..50).filter(|n| !got.contains(n)).collect();
        let gaps = pipeline.status().sinks[1].gaps.clone();
        pipeline.shutdown().await;
        assert!(missing.is_empty(), "missing {missing:?}, gaps {gaps:?}");
    });
}

async fn without_room_on_disk(second: Arc<dyn SinkFactory>, spill_max_bytes: u64) {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let mut plan = plan(&numbers, &good, second, CommitPolicy::Required, false);
    plan.sinks[1] = SinkPlan { spill_max_bytes, ..plan.sinks[1].clone() };
    let plan = PipelinePlan { max_memory_bytes: 20_000, max_inflight: 64, ..plan };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(2_000);
    within("the required sink has it all", async || is_at(&pipeline, "s0", 2_000).await).await;
    let status = pipeline.status();
    assert!(!status.sinks[1].gaps.is_empty(), "what the other one misses is recorded: {status:?}");
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_hanging_optional_sink_without_a_spill_holds_nobody_up() {
    without_room_on_disk(Moody::default().factory(), 0).await;
}

#[tokio::test]
async fn a_dead_optional_sink_with_a_small_spill_holds_nobody_up() {
    without_room_on_disk(opens(|_| Err(SinkError::retry("dead", "open", "not yet"))), 4_000).await;
}

#[tokio::test]
async fn a_swap_before_a_replay_leaves_each_event_its_version() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let moody = Moody { fails: true, ..Moody::default() };
    let code = |version: &str| StageCode::Plugin(format!("marker@{version}"));
    let plan = PipelinePlan {
        stages: vec![setup::marker("1")],
        ..plan(&numbers, &good, moody.factory(), CommitPolicy::All, true)
    };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(50);
    within("one sink has some", async || !good.rows.lock().is_empty()).await;
    within("the other fails", async || pipeline.status().status == State::Failed).await;
    pipeline.pause();
    within("it is paused", async || pipeline.status().status == State::Paused).await;
    let before = good.rows.lock().clone();
    let swapped = pipeline
        .swap(
            Swappable::Stage("mark"),
            setup::spec("p", "mark", code("2"), json!({})),
            None,
            1,
            Note::default(),
        )
        .await
        .unwrap();
    moody.works.store(true, Ordering::SeqCst);
    pipeline.resume();
    within("it has all of it", async || is_at(&pipeline, "s1", 50).await).await;
    pipeline.shutdown().await;
    let got = moody.sink.shelf.rows.lock().clone();
    for (n, mark) in &before {
        let other = got.iter().find(|(other, _)| other == n).unwrap();
        assert_eq!(&other.1, mark, "event {n}; swapped from {:?}", swapped.current.from);
    }
}

#[tokio::test]
async fn a_spill_that_the_sink_has_passed_is_not_sent_again() {
    let (services, _spill) = setup::services(Duration::from_millis(600));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let dead = opens(|_| Err(SinkError::retry("dead", "open", "not yet")));
    let start = |sink: Arc<dyn SinkFactory>, required| {
        Pipeline::start(plan(&numbers, &good, sink, CommitPolicy::Required, required), services.clone())
    };
    let pipeline = start(dead, false);
    numbers.bound.send_replace(200);
    within("s0 has it", async || is_at(&pipeline, "s0", 200).await).await;
    pipeline.shutdown().await;
    // The operator makes the sink a required one for a while.
    let shelf: Arc<Shelf> = Default::default();
    let pipeline = start(onto(&shelf), true);
    numbers.bound.send_replace(300);
    within("s1 has it", async || is_at(&pipeline, "s1", 300).await).await;
    pipeline.shutdown().await;
    let pipeline = start(onto(&shelf), false);
    numbers.bound.send_replace(310);
    within("s1 has more", async || is_at(&pipeline, "s1", 310).await).await;
    pipeline.shutdown().await;
    let got = shelf.numbers();
    assert_eq!(got, (0..310).collect::<Vec<_>>(), "first what was spilled, and each once");
}

#[tokio::test]
async fn a_store_that_takes_nothing_shows_while_events_flow() {
    let (mut services, _spill) = setup::services(Duration::from_millis(300));
    let full = Arc::new(AtomicBool::new(false));
    let store: Arc<dyn StateStore> = Arc::new(FullStore::new(&full));
    services.store = store.clone();
    services.checkpoints = Arc::new(Checkpoints::start(store, Duration::from_millis(1)));
    let numbers: Arc<Numbers> = Arc::default();
    let good: Arc<Shelf> = Arc::default();
    let sinks = vec![setup::sink("p", "s0", onto(&good), true)];
    let plan = PipelinePlan { sinks, policy: CommitPolicy::Required, ..setup::plan("p", &numbers) };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(10);
    within("it is stored", async || is_at(&pipeline, "s0", 10).await).await;
    full.store(true, Ordering::SeqCst);
    within("it shows", async || {
        // Something is always under way.
        numbers.bound.send_modify(|bound| *bound += 1);
        pipeline.status().degraded
    })
    .await;
    assert_eq!(pipeline.status().waits[0].code, "state_store");
    full.store(false, Ordering::SeqCst);
    within("it is over", async || !pipeline.status().degraded).await;
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_quorum_does_without_a_sink_that_only_a_person_can_mend() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let moody = Moody { fails: true, ..Moody::default() };
    let plan = plan(&numbers, &good, moody.factory(), CommitPolicy::Quorum(1), true);
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(100);
    within("one of them has it all", async || is_at(&pipeline, "s0", 100).await).await;
    within("the other one has failed", async || pipeline.status().sinks[1].error.is_some()).await;
    let status = pipeline.status();
    assert_eq!(
        (status.status, status.sinks[1].error.clone().unwrap().code.as_str()),
        (State::Running, "moody")
    );
    moody.works.store(true, Ordering::SeqCst);
    within("it is mended", async || is_at(&pipeline, "s1", 100).await).await;
    assert_eq!(moody.numbers(), (0..100).collect::<Vec<_>>());
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_swap_that_waits_does_not_keep_a_stopped_pipeline_from_going_on() {
    use deltaforge_engine::control::{Change, Control};
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let plan = PipelinePlan {
        stages: vec![setup::marker("1")],
        ..plan(&numbers, &good, Moody::default().factory(), CommitPolicy::All, true)
    };
    let control = Control::new();
    let pipeline = Pipeline::start(plan, services);
    control.add(pipeline.clone(), json!({}), None).unwrap();
    numbers.bound.send_replace(2_000);
    within("it is held up", async || good.rows.lock().len() >= 30).await;
    let own = control.clone();
    let swap = tokio::spawn(async move {
        own.swap(
            "p",
            Swappable::Stage("mark"),
            Change::Plugin { plugin: Some("marker@2".into()), config: None },
            1,
            Note::default(),
        )
        .await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    control.stop("p").await.unwrap();
    let stopped = pipeline.status().status;
    let resumed = tokio::time::timeout(Duration::from_secs(8), control.resume("p")).await;
    let waits = !swap.is_finished();
    swap.abort();
    pipeline.shutdown().await;
    assert!(resumed.is_ok(), "it was {stopped:?} and cannot be resumed; the swap still waits: {waits}");
}

/// Events that no message can be made of, of a sink that has had them before a restart at another one's checkpoint.
async fn poison_that_was_told(on_error: OnError) {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, good): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let moody = Moody::default();
    let start = |max_events: usize, on_error: OnError| {
        let mut plan = plan(&numbers, &good, moody.factory(), CommitPolicy::All, true);
        plan.sinks[0].envelope.code = StageCode::Plugin("rows@picky".into());
        plan.sinks[0].on_error = on_error;
        plan.limits.max_events = max_events;
        plan.dlq = Some(setup::dlq(1_000));
        Pipeline::start(plan, services.clone())
    };
    moody.works.store(true, Ordering::SeqCst);
    let pipeline = start(10, OnError::Dlq);
    numbers.bound.send_replace(10);
    within("both have ten", async || is_at(&pipeline, "s0", 10).await && is_at(&pipeline, "s1", 10).await)
        .await;
    moody.works.store(false, Ordering::SeqCst);
    numbers.bound.send_replace(50);
    within("one has more", async || is_at(&pipeline, "s0", 50).await).await;
    let dlq = pipeline.dlq().unwrap();
    assert_eq!(dlq.count().await.unwrap(), 8);
    // Somebody has seen to them.
    dlq.purge().await.unwrap();
    pipeline.shutdown().await;

    moody.works.store(true, Ordering::SeqCst);
    // The last batch begins before where the first sink is.
    let pipeline = start(15, on_error);
    numbers.bound.send_replace(55);
    within("both have it all", async || {
        assert_eq!(pipeline.status().error.map(|error| error.message), None);
        is_at(&pipeline, "s0", 55).await && is_at(&pipeline, "s1", 55).await
    })
    .await;
    assert_eq!(dlq.count().await.unwrap(), 0, "nobody is told again");
    pipeline.shutdown().await;
    let got = good.numbers();
    assert_eq!(got, (0..55).filter(|n| n % 7 > 0).collect::<Vec<_>>());
    assert_eq!(moody.numbers(), (0..55).collect::<Vec<_>>());
}

#[tokio::test]
async fn poison_that_a_sink_has_passed_is_not_queued_again() {
    poison_that_was_told(OnError::Dlq).await;
}

#[tokio::test]
async fn poison_that_a_sink_has_passed_is_not_its_end() {
    poison_that_was_told(OnError::Fail).await;
}
