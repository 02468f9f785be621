//! What several sinks of one pipeline get when one of them fails, falls behind, or comes back after a restart.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::{PipelinePlan, Services};
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory, Wants};
use deltaforge_engine::status::State;
use deltaforge_engine::swap::{Note, Swappable};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::parts::{Numbers, Shelf, ShelfSink, number, onto, opens};
use crate::setup::{self, checkpointed, within};

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
        let (services, _spill) = setup::services(Duration::from_millis(300));
        Self { numbers: Arc::default(), services, max_memory_bytes: 16 << 20, max_inflight: 2, _spill }
    }

    /// Sinks `s0`, `s1`, …, each required or not.
    fn start(&self, policy: CommitPolicy, sinks: Vec<(Arc<dyn SinkFactory>, bool)>) -> Pipeline {
        let sinks = sinks.into_iter().enumerate();
        let plan = PipelinePlan {
            sinks: sinks
                .map(|(at, (sink, required))| setup::sink("p", &format!("s{at}"), sink, required))
                .collect(),
            max_inflight: self.max_inflight,
            policy,
            max_memory_bytes: self.max_memory_bytes,
            ..setup::plan("p", &self.numbers)
        };
        Pipeline::start(plan, self.services.clone())
    }
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
    within("the rows arrive", async || bad.numbers().len() >= 20).await;
    checkpointed(&pipeline, "s1", 20).await;
    assert_eq!(bad.numbers(), (0..20).collect::<Vec<_>>());
    assert_eq!(good.numbers(), (0..20).collect::<Vec<_>>(), "it had them");
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
    within("the rows arrive", async || slow.numbers().last() == Some(&199)).await;
    assert_eq!(slow.numbers(), (0..200).collect::<Vec<_>>());
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
    assert_eq!(slow.numbers(), (0..300).collect::<Vec<_>>());
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
    within("the rows arrive", async || dead.numbers().last() == Some(&29)).await;
    assert_eq!(dead.numbers(), (0..30).collect::<Vec<_>>());
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
    assert_eq!(dead.numbers(), (0..2_000).collect::<Vec<_>>());
    assert_eq!(good.numbers(), (0..2_000).collect::<Vec<_>>());
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_failure_does_not_undo_the_deliveries_before_it() {
    let host = Host::new();
    let double = Arc::new(Shaky { fail_at: Some(15), ..Shaky::default() });
    host.numbers.bound.send_replace(40);
    let pipeline = host.start(CommitPolicy::All, vec![(shaky(&double), true)]);
    checkpointed(&pipeline, "s0", 40).await;
    let again = double.got.lock().iter().filter(|n| **n < 10).count();
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
    within("it runs anew", async || host.numbers.connects.load(Ordering::SeqCst) == 2).await;
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

fn shaky(shaky: &Arc<Shaky>) -> Arc<dyn SinkFactory> {
    let shaky = shaky.clone();
    opens(move |_| {
        let left = shaky.opens_to_fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match left {
            Ok(_) => Err(SinkError::retry("shaky", "open", "not yet")),
            Err(_) => Ok(Box::new(ShakySink(shaky.clone(), 0))),
        }
    })
}

#[tokio::test]
async fn what_is_sent_again_is_followed_by_all_that_came_after_it() {
    let host = Host::new();
    let double = Arc::new(Shaky { fail_at: Some(15), ..Shaky::default() });
    host.numbers.bound.send_replace(40);
    let pipeline = host.start(CommitPolicy::All, vec![(shaky(&double), true)]);
    checkpointed(&pipeline, "s0", 40).await;
    let got = double.got.lock().clone();
    let last = |n: u64| got.iter().rposition(|one| *one == n).unwrap();
    assert!((1..40).all(|n| last(n - 1) < last(n)), "the newest state came last: {got:?}");
    pipeline.shutdown().await;
}

/// A shelf that would have much before it is asked what is durable, and takes no 25.
struct PatientSink(ShelfSink);

#[async_trait]
impl Sink for PatientSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        match delivery.messages().find(|(_, message)| number(message) == 25) {
            Some((place, _)) => {
                let (kind, code, message) = ("other", "shelf_refused", "it is 25".to_owned());
                Err(SinkError::Rejected { place, kind, code, message })
            }
            None => self.0.write(delivery).await,
        }
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        self.0.durable().await
    }

    fn wants(&self) -> Option<Wants> {
        Some(Wants::More(tokio::time::Instant::now() + Duration::from_secs(60)))
    }
}

#[tokio::test]
async fn what_came_before_an_event_that_can_never_be_delivered_counts_as_delivered() {
    let host = Host::new();
    let shelf = Arc::new(Shelf::default());
    let onto = shelf.clone();
    let sink = opens(move |_| Ok(Box::new(PatientSink(ShelfSink { shelf: onto.clone(), through: 0 }))));
    let pipeline = host.start(CommitPolicy::All, vec![(sink, true)]);
    for bound in [10, 20] {
        host.numbers.bound.send_replace(bound);
        within("they are there", async || shelf.numbers().len() as u64 == bound).await;
    }
    host.numbers.bound.send_replace(30);
    within("it fails", async || pipeline.status().status == State::Failed).await;
    checkpointed(&pipeline, "s0", 20).await;
    pipeline.shutdown().await;
}

/// Takes a while, and then refuses whatever it is given.
struct RefusingSink;

#[async_trait]
impl Sink for RefusingSink {
    async fn write(&mut self, _: &Delivery) -> Result<(), SinkError> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (kind, code, message) = ("other", "refused", "it is refused".to_owned());
        Err(SinkError::Rejected { place: 0, kind, code, message })
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: 0, state: None })
    }
}

/// What is refused at one sink ends each try, whatever others have had by then.
async fn is_never_well(policy: CommitPolicy, others: Vec<(Arc<dyn SinkFactory>, bool)>) {
    let host = Host::new();
    let opened = Arc::new(AtomicUsize::new(0));
    let counts = opened.clone();
    let sink = opens(move |_| {
        counts.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(RefusingSink))
    });
    let is_required = others.is_empty();
    let pipeline = host.start(policy, others.into_iter().chain([(sink, is_required)]).collect());
    host.numbers.bound.send_replace(30);
    within("it fails", async || pipeline.status().status == State::Failed).await;
    let tries = opened.load(Ordering::SeqCst);
    within("it is tried twice more", async || {
        let status = pipeline.status();
        assert!(matches!(status.status, State::Failed | State::Starting), "{policy:?}: {:?}", status.status);
        assert_eq!(status.error.unwrap().code, "refused");
        opened.load(Ordering::SeqCst) >= tries + 2
    })
    .await;
    pipeline.resume();
    within("who mends it looks again", async || pipeline.status().status == State::Running).await;
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_pipeline_that_can_never_deliver_an_event_is_not_well_while_it_tries_again() {
    is_never_well(CommitPolicy::All, vec![]).await;
    let good = || -> (Arc<dyn SinkFactory>, bool) { (onto(&Arc::new(Shelf::default())), true) };
    is_never_well(CommitPolicy::Required, vec![good()]).await;
    is_never_well(CommitPolicy::Quorum(2), vec![good(), good()]).await;
}

#[tokio::test]
async fn a_swap_may_be_what_mends_a_pipeline() {
    let host = Host::new();
    let plan = PipelinePlan {
        stages: vec![setup::marker("1")],
        sinks: vec![setup::sink("p", "s0", opens(|_| Ok(Box::new(RefusingSink))), true)],
        ..setup::plan("p", &host.numbers)
    };
    let pipeline = Pipeline::start(plan, host.services.clone());
    host.numbers.bound.send_replace(30);
    within("it fails", async || pipeline.status().status == State::Failed).await;
    let spec = setup::marker("2").spec;
    pipeline.swap(Swappable::Stage("mark"), spec, None, 0, Note::default()).await.unwrap();
    within("it is looked at anew", async || pipeline.status().status == State::Running).await;
    pipeline.shutdown().await;
}

#[tokio::test]
async fn a_sink_that_opens_late_has_no_error_while_idle() {
    let host = Host::new();
    let double = Arc::new(Shaky { opens_to_fail: AtomicUsize::new(2), ..Shaky::default() });
    let pipeline = host.start(CommitPolicy::All, vec![(shaky(&double), true)]);
    within("it fails", async || pipeline.status().sinks[0].errors == 2).await;
    within("it is well", async || pipeline.status().sinks[0].error.is_none()).await;
    pipeline.shutdown().await;
}

/// Fails in the source at 20, while the sink still writes what came before. `got` shows what is cut off, too.
#[tokio::test]
async fn what_was_read_before_a_failure_is_delivered_once_however_often_it_is_tried_again() {
    let host = Host::new();
    let slow = Arc::new(Shaky::default());
    host.numbers.unreadable.store(20, Ordering::SeqCst);
    host.numbers.bound.send_replace(30);
    let pipeline = host.start(CommitPolicy::All, vec![(shaky(&slow), true)]);
    within("it fails", async || pipeline.status().status == State::Failed).await;
    assert_eq!(pipeline.status().error.unwrap().code, "source_broke");
    checkpointed(&pipeline, "s0", 20).await;
    within("it is tried again", async || host.numbers.connects.load(Ordering::SeqCst) >= 3).await;
    host.numbers.unreadable.store(u64::MAX, Ordering::SeqCst);
    checkpointed(&pipeline, "s0", 30).await;
    assert_eq!(*slow.got.lock(), (0..30).collect::<Vec<_>>());
    pipeline.shutdown().await;
}

#[tokio::test]
async fn what_waits_on_disk_is_not_delivered_again_and_again_while_the_source_is_away() {
    let host = Host::new();
    let (good, slow) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    slow.broken.store(true, Ordering::SeqCst);
    let sinks = || vec![(onto(&good), true), (onto(&slow), false)];
    let pipeline = host.start(CommitPolicy::Required, sinks());
    host.numbers.bound.send_replace(200);
    checkpointed(&pipeline, "s0", 200).await;
    pipeline.shutdown().await;

    slow.broken.store(false, Ordering::SeqCst);
    host.numbers.broken.store(true, Ordering::SeqCst);
    let connects = host.numbers.connects.load(Ordering::SeqCst);
    let pipeline = host.start(CommitPolicy::Required, sinks());
    within("it is tried again", async || host.numbers.connects.load(Ordering::SeqCst) >= connects + 3).await;
    host.numbers.broken.store(false, Ordering::SeqCst);
    checkpointed(&pipeline, "s1", 200).await;
    assert_eq!(slow.numbers(), (0..200).collect::<Vec<_>>());
    pipeline.shutdown().await;
}

/// Cannot be opened until an operator helps.
fn locked() -> Arc<dyn SinkFactory> {
    opens(|_| Err(SinkError::operator("locked", "open")))
}

#[tokio::test]
async fn nothing_is_read_for_a_sink_that_cannot_be_opened() {
    let host = Host::new();
    let good = Arc::new(Shelf::default());
    host.numbers.bound.send_replace(20);
    let pipeline = host.start(CommitPolicy::All, vec![(onto(&good), true), (locked(), true)]);
    within("it fails", async || pipeline.status().status == State::Failed).await;
    assert_eq!(pipeline.status().error.unwrap().code, "locked");
    assert_eq!(host.numbers.connects.load(Ordering::SeqCst), 0, "the source is not touched");
    assert!(good.numbers().is_empty());
    pipeline.shutdown().await;
}

#[tokio::test]
async fn an_optional_sink_that_cannot_be_opened_stops_nobody() {
    for policy in [CommitPolicy::All, CommitPolicy::Required] {
        let host = Host::new();
        let good = Arc::new(Shelf::default());
        host.numbers.bound.send_replace(20);
        let pipeline = host.start(policy, vec![(onto(&good), true), (locked(), false)]);
        checkpointed(&pipeline, "s0", 20).await;
        let status = pipeline.status();
        assert_eq!((status.status, status.degraded), (State::Running, true));
        assert_eq!(status.sinks[1].error.as_ref().unwrap().code, "locked");
        assert_eq!(good.numbers(), (0..20).collect::<Vec<_>>());
        pipeline.shutdown().await;
    }
}

/// Fails, tells so, and tries again by itself when it is let; then everything gets through.
struct StubbornSink {
    let_go: watch::Receiver<bool>,
    context: SinkContext,
    through: u64,
}

#[async_trait]
impl Sink for StubbornSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        if !*self.let_go.borrow() {
            self.context.trouble.tell(&SinkError::retry("stubborn", "write", "not yet"));
            self.let_go.wait_for(|let_go| *let_go).await.unwrap();
        }
        self.through = delivery.seq;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.through, state: None })
    }
}

#[tokio::test]
async fn a_sink_that_tries_again_by_itself_shows_its_failure_meanwhile() {
    let host = Host::new();
    let (let_go, wait) = watch::channel(false);
    let stubborn =
        opens(move |context| Ok(Box::new(StubbornSink { let_go: wait.clone(), context, through: 0 })));
    host.numbers.bound.send_replace(10);
    let pipeline = host.start(CommitPolicy::All, vec![(stubborn, true)]);
    within("it shows", async || pipeline.status().sinks[0].error.is_some()).await;
    let status = pipeline.status();
    assert!(status.degraded);
    assert_eq!(
        (status.sinks[0].errors, status.sinks[0].error.clone().unwrap().code.as_str()),
        (1, "stubborn")
    );
    let_go.send_replace(true);
    checkpointed(&pipeline, "s0", 10).await;
    within("it is well", async || pipeline.status().sinks[0].error.is_none()).await;
    assert!(!pipeline.status().degraded);
    pipeline.shutdown().await;
}
