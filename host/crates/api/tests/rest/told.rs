//! What holds a pipeline up: the log tells of it once when it begins and once when it is over, and the status says when
//! it is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::dlq::DlqLimits;
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::{PipelinePlan, StagePlan};
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory};
use deltaforge_engine::stage::{StageCode, StageSpec};
use deltaforge_engine::stages::OnError;
use deltaforge_engine::status::{StageStatus, State};
use deltaforge_engine::swap::{Note, Swappable};
use metrics_exporter_prometheus::PrometheusBuilder;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;

use crate::parts::{Numbers, Shelf, doors, onto, opens, refusers};
use crate::setup::{self, within};

/// The lines that were logged with this text.
fn lines(log: &Mutex<Vec<u8>>, text: &str) -> Vec<String> {
    let all = String::from_utf8(log.lock().clone()).unwrap();
    all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

fn has(line: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn plan(numbers: &Arc<Numbers>, sink: Arc<dyn SinkFactory>) -> PipelinePlan {
    PipelinePlan { sinks: vec![setup::sink("p", "s0", sink, true)], ..setup::plan("p", numbers) }
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_is_not_available() {
    let (log, _log) = setup::log();
    let (mut services, _spill) = setup::services(Duration::from_millis(300));
    let is_open: Arc<AtomicBool> = Arc::default();
    services.stages = vec![doors(&is_open)];
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let plan = plan(&numbers, onto(&shelf));
    let pipeline = Pipeline::start(PipelinePlan { stages: vec![setup::stage("door")], ..plan }, services);
    numbers.bound.send_replace(5);
    pass(300).await;
    let waits = lines(&log, ": pipeline waits");
    assert_eq!(waits.len(), 1, "{waits:?}");
    has(&waits[0], &["WARN", "code=\"door\"", "processor door: it is shut", "deltaforge explain door"]);
    let held_up = lines(&log, "counts as failed");
    assert_eq!(held_up.len(), 1, "{held_up:?}");
    has(&held_up[0], &["ERROR", "code=\"door\"", "processor door: it is shut"]);
    assert_eq!(lines(&log, "door").len(), 2, "and no line a try");
    let status = pipeline.status();
    assert_eq!(status.status, State::Failed);
    assert!(status.retry_in_ms.is_some_and(|ms| ms <= 60_000), "{status:?}");
    assert_eq!(status.waits[0].retry_in_ms, status.retry_in_ms);
    assert!(lines(&log, "goes on").is_empty());
    is_open.store(true, Ordering::SeqCst);
    pipeline.resume();
    within("it is delivered", async || shelf.rows.lock().len() == 5).await;
    pass(10).await;
    let over = lines(&log, "pipeline no longer waits");
    assert_eq!(over.len(), 1, "{over:?}");
    has(&over[0], &["INFO", "code=\"door\"", "waited_seconds=29"]);
    assert_eq!(lines(&log, "pipeline goes on").len(), 1);
    pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_swap_into_a_stage_that_waits() {
    let (log, _log) = setup::log();
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let plan = plan(&numbers, onto(&shelf));
    let pipeline = Pipeline::start(PipelinePlan { stages: vec![setup::marker("later")], ..plan }, services);
    numbers.bound.send_replace(5);
    pass(5).await;
    assert_eq!(lines(&log, ": pipeline waits").len(), 1);
    let spec = setup::spec("p", "mark", StageCode::Plugin("marker@1.2.0".into()), json!({}));
    pipeline.swap(Swappable::Stage("mark"), spec, None, 0, Note::default()).await.unwrap();
    within("it is delivered", async || shelf.rows.lock().len() == 5).await;
    assert_eq!(lines(&log, "ERROR"), [""; 0], "nothing has failed");
    let anew = lines(&log, "with the command that came");
    assert_eq!(anew.len(), 1, "{anew:?}");
    has(&anew[0], &["INFO", "not yet"]);
    pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_leaves_something_undelivered() {
    for (broken, drained) in [(false, true), (true, false)] {
        let (log, _log) = setup::log();
        let (services, _spill) = setup::services(Duration::from_millis(300));
        let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
        shelf.broken.store(broken, Ordering::SeqCst);
        let pipeline = Pipeline::start(plan(&numbers, onto(&shelf)), services);
        numbers.bound.send_replace(5);
        within("it is at work", async || pipeline.status().events == 5).await;
        assert_eq!(pipeline.shutdown().await, drained, "broken: {broken}");
        assert_eq!(lines(&log, "will be read again").len(), usize::from(broken));
        assert!(pipeline.shutdown().await, "what had ended before leaves nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_what_has_failed_leaves_what_it_had_read() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let plan = PipelinePlan { stages: vec![setup::marker("bad")], ..plan(&numbers, onto(&shelf)) };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(5);
    within("it fails", async || pipeline.status().status == State::Failed).await;
    // And again: what was read then is not read any more, and still not delivered.
    numbers.broken.store(true, Ordering::SeqCst);
    within("it fails", async || numbers.connects.load(Ordering::SeqCst) > 1).await;
    within("it fails", async || pipeline.status().status == State::Failed).await;
    assert_eq!((pipeline.status().events, shelf.rows.lock().len()), (5, 0));
    assert!(!pipeline.shutdown().await, "it was read, and not delivered");

    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    numbers.unreadable.store(5, Ordering::SeqCst);
    let pipeline = Pipeline::start(self::plan(&numbers, onto(&shelf)), services);
    numbers.bound.send_replace(5);
    within("it is delivered", async || shelf.rows.lock().len() == 5).await;
    numbers.bound.send_replace(6);
    within("it fails", async || pipeline.status().status == State::Failed).await;
    assert!(pipeline.shutdown().await, "what it had read was delivered");
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_a_command_that_came_too_late_is_told_as_one() {
    let (log, _log) = setup::log();
    let (services, _spill) = setup::services(Duration::from_secs(5));
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let plan = PipelinePlan { stages: vec![setup::marker("later")], ..plan(&numbers, onto(&shelf)) };
    let pipeline = Arc::new(Pipeline::start(plan, services));
    numbers.bound.send_replace(5);
    within("it waits", async || !pipeline.status().waits.is_empty()).await;
    // What waits makes room for the swap, but there is nothing to begin anew.
    let spec = setup::spec("p", "mark", StageCode::Plugin("marker@1.2.0".into()), json!({}));
    let stopping = pipeline.clone();
    let swapping = pipeline.clone();
    let (swapped, ()) = tokio::join!(
        async move { swapping.swap(Swappable::Stage("mark"), spec, None, 0, Note::default()).await },
        async move { stopping.stop().await },
    );
    assert!(swapped.is_err(), "{swapped:?}");
    assert_eq!(lines(&log, "it failed while it was stopped").len(), 1, "it made room");
    numbers.broken.store(true, Ordering::SeqCst);
    pipeline.resume();
    within("it fails", async || pipeline.status().status == State::Failed).await;
    assert_eq!(lines(&log, "with the command that came"), [""; 0]);
    assert_eq!(lines(&log, "pipeline failed").len(), 1);
    pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn which_stage_lets_nothing_through() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let refuses = |id: &str, version: &str| {
        let StagePlan { spec, .. } = setup::marker(version);
        StagePlan {
            spec: StageSpec { id: id.into(), ..spec },
            on_error: OnError::Skip,
            ..setup::marker(version)
        }
    };
    let stages = vec![refuses("one", "refuses-early"), refuses("other", "refuses")];
    let limits = BatchLimits { max_events: 30, ..BatchLimits::default() };
    let pipeline = Pipeline::start(PipelinePlan { stages, limits, ..plan(&numbers, onto(&shelf)) }, services);
    let told = || -> Vec<Option<u64>> {
        let rows = |stage: &StageStatus| stage.refuses_all.as_ref().map(|all| all.rows);
        pipeline.status().stages.iter().map(rows).collect()
    };
    for (bound, refused) in [(30, [Some(30), None]), (60, [None, Some(30)]), (90, [None, Some(60)])] {
        numbers.bound.send_replace(bound);
        within("it is read", async || pipeline.status().events == bound).await;
        pass(5).await;
        assert_eq!(told(), refused, "after {bound}");
    }
    pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_is_paused() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let pipeline = Pipeline::start(plan(&numbers, onto(&shelf)), services);
    numbers.bound.send_replace(5);
    within("it is delivered", async || shelf.rows.lock().len() == 5).await;
    pass(5).await;
    assert!(pipeline.status().lag_seconds.is_some_and(|lag| lag < 1.0), "all is delivered");
    pipeline.pause();
    pass(60).await;
    let lag = pipeline.status().lag_seconds;
    assert!(lag.is_some_and(|lag| lag >= 60.0), "what it does not read may be as old: {lag:?}");
    pipeline.resume();
    pass(5).await;
    assert!(pipeline.status().lag_seconds.is_some_and(|lag| lag < 1.0));
    pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_queue_without_room() {
    let (log, _log) = setup::log();
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let numbers: Arc<Numbers> = Arc::default();
    let shelf = Arc::new(Shelf { refuse: Some(1), ..Shelf::default() });
    let dlq = setup::dlq(2);
    let plan = PipelinePlan { dlq: Some(dlq), ..plan(&numbers, onto(&shelf)) };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(10);
    pass(100).await;
    // Somebody makes room for a few at a time, and each one that comes waits anew.
    for up_to in [2, 4, 6] {
        pipeline.dlq().unwrap().ack(up_to).await.unwrap();
        pass(100).await;
    }
    let waits = lines(&log, ": pipeline waits");
    assert_eq!(waits.len(), 1, "{waits:?}");
    has(
        &waits[0],
        &[
            "WARN",
            "code=\"dlq_full\"",
            "holds 2 of at most 2 entries, and 1 more do not fit",
            "acknowledged or purged",
        ],
    );
    let held_up = lines(&log, "counts as failed").len();
    assert_eq!(held_up, 4, "as often as that showed");
    assert!(lines(&log, "no longer waits").is_empty());
    pipeline.dlq().unwrap().ack(8).await.unwrap();
    pass(10).await;
    assert_eq!(lines(&log, "pipeline no longer waits").len(), 1);
    assert_eq!(lines(&log, "pipeline goes on").len(), held_up);
    pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_queue_with_room_for_fewer_than_want_in() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let (mut services, _spill) = setup::services(Duration::from_millis(300));
    services.stages = vec![refusers()];
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let dlq = setup::dlq(15);
    let stage = StagePlan { on_error: OnError::Dlq, ..setup::stage("refuse") };
    let plan = plan(&numbers, onto(&shelf));
    let plan = PipelinePlan { dlq: Some(dlq), stages: vec![stage], ..plan };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(20);
    within("it waits", async || !pipeline.status().waits.is_empty()).await;
    let wait = pipeline.status().waits.remove(0);
    assert_eq!(wait.code, "dlq_full");
    has(&wait.message, &["holds 10 of at most 15 entries", "10 more do not fit"]);
    let counted = || {
        recorder
            .handle()
            .render()
            .lines()
            .any(|line| line.starts_with("deltaforge_dlq_events_total{") && line.ends_with(" 10"))
    };
    assert!(counted(), "what is stored is counted, and nothing else: {}", recorder.handle().render());
    pipeline.dlq().unwrap().ack(10).await.unwrap();
    within("it goes on", async || pipeline.status().waits.is_empty()).await;
    assert!(!counted());
    pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails() {
    let (log, _log) = setup::log();
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    shelf.broken.store(true, Ordering::SeqCst);
    let pipeline = Pipeline::start(plan(&numbers, onto(&shelf)), services);
    numbers.bound.send_replace(5);
    pass(300).await;
    let failed = lines(&log, "sink failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    has(&failed[0], &["WARN", "sink=\"s0\"", "code=\"shelf_down\"", "retry_in_ms=", "it is down"]);
    assert_eq!(lines(&log, "counts as failed").len(), 1);
    let status = pipeline.status();
    assert!(status.sinks[0].errors > 10);
    assert!(status.sinks[0].retry_in_ms.is_some_and(|ms| ms <= 30_000), "{status:?}");
    assert_eq!(status.retry_in_ms, status.sinks[0].retry_in_ms, "that is why it counts as failed");
    shelf.broken.store(false, Ordering::SeqCst);
    pipeline.resume();
    within("it is delivered", async || shelf.rows.lock().len() == 5).await;
    assert_eq!(pipeline.status().sinks[0].retry_in_ms, None);
    pass(10).await;
    let works = lines(&log, "sink works again");
    assert_eq!(works.len(), 1, "{works:?}");
    has(&works[0], &["INFO", "sink=\"s0\"", "failed_seconds=30"]);
    assert_eq!(lines(&log, "pipeline goes on").len(), 1);
    pipeline.shutdown().await;
}

/// Works on its first delivery until it is let go, and says that it gets on.
struct Slow {
    context: SinkContext,
    free: watch::Receiver<bool>,
    through: u64,
}

#[async_trait]
impl Sink for Slow {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        while !*self.free.borrow() {
            self.context.trouble.works();
            let _ = tokio::time::timeout(Duration::from_secs(5), self.free.changed()).await;
        }
        self.through = delivery.seq;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.through, state: None })
    }
}

#[tokio::test(start_paused = true)]
async fn memory_that_others_hold_for_longer_than_back_pressure_does() {
    let (log, _log) = setup::log();
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let numbers: Arc<Numbers> = Arc::default();
    let free = watch::Sender::new(false);
    let is_free = free.subscribe();
    let sink = opens(move |context| Ok(Box::new(Slow { context, free: is_free.clone(), through: 0 })));
    let plan = PipelinePlan { max_memory_bytes: 20_000, max_inflight: 64, ..plan(&numbers, sink) };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(2_000);
    within("it waits", async || pipeline.status().degraded).await;
    pass(50).await;
    assert!(lines(&log, "memory_budget").is_empty(), "a slow sink makes it wait");
    pass(20).await;
    let held_up = lines(&log, "counts as failed");
    assert_eq!(held_up.len(), 1, "{held_up:?}");
    has(&held_up[0], &["ERROR", "code=\"memory_budget\"", "the sinks do not keep up"]);
    free.send_replace(true);
    pass(20).await;
    assert_eq!(lines(&log, "pipeline goes on").len(), 1);
    assert_eq!(lines(&log, "counts as failed").len(), 1);
    pipeline.shutdown().await;
}

#[tokio::test]
async fn an_optional_sink_that_the_policy_waits_for_all_the_same() {
    for (policy, told) in [(CommitPolicy::All, 1), (CommitPolicy::Required, 0)] {
        let (log, _log) = setup::log();
        let (services, _spill) = setup::services(Duration::from_millis(300));
        let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
        let shelf: Arc<dyn SinkFactory> = onto(&shelf);
        let mut plan = PipelinePlan { policy, ..plan(&numbers, shelf.clone()) };
        plan.sinks.push(setup::sink("p", "s1", shelf, false));
        let pipeline = Pipeline::start(plan, services);
        within("it runs", async || pipeline.status().status == State::Running).await;
        pipeline.stop().await;
        pipeline.resume();
        within("it runs again", async || pipeline.status().status == State::Running).await;
        let lines = lines(&log, "waits for every one");
        assert_eq!(lines.len(), told, "{lines:?}");
        lines.iter().for_each(|line| has(line, &["WARN", "sink=\"s1\"", "required: false"]));
        pipeline.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_pipeline_that_cannot_deliver_what_it_has_read() {
    let (mut services, _spill) = setup::services(Duration::from_millis(300));
    let is_open: Arc<AtomicBool> = Arc::default();
    services.stages = vec![doors(&is_open)];
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let plan = plan(&numbers, onto(&shelf));
    let pipeline =
        Pipeline::start(PipelinePlan { stages: vec![setup::stage("door")], ..plan }, services.clone());
    numbers.bound.send_replace(5);
    within("it waits", async || pipeline.status().degraded).await;
    pipeline.pause();
    let status = pipeline.status();
    assert_eq!((status.status, status.waits[0].code.as_str()), (State::Paused, "door"));
    pass(60).await;
    let status = pipeline.status();
    assert_eq!(status.status, State::Paused);
    let error = status.error.expect("it says what it waits for");
    assert_eq!((error.code.as_str(), error.message.as_str()), ("door", "processor door: it is shut"));
    assert!(status.retry_in_ms.is_some());
    is_open.store(true, Ordering::SeqCst);
    within("what it has read is delivered", async || shelf.rows.lock().len() == 5).await;
    within("all is well", async || pipeline.status().error.is_none()).await;
    assert_eq!(pipeline.status().status, State::Paused);
    pipeline.shutdown().await;
}

#[tokio::test]
async fn dead_letters_that_grew_too_old() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let (log, _log) = setup::log();
    let (mut services, _spill) = setup::services(Duration::from_millis(300));
    services.stages = vec![refusers()];
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let max_age = Duration::from_millis(1);
    let dlq = DlqLimits { max_age, ..setup::dlq(15) };
    let plan = plan(&numbers, onto(&shelf));
    let stages = vec![StagePlan { on_error: OnError::Dlq, ..setup::stage("refuse") }];
    let pipeline = Pipeline::start(PipelinePlan { dlq: Some(dlq), stages, ..plan }, services);
    let queue = pipeline.dlq().unwrap();
    numbers.bound.send_replace(2);
    within("two are rejected", async || queue.count().await.unwrap() == 2).await;
    let rejected = std::time::SystemTime::now();
    within("they are old", async || rejected.elapsed().is_ok_and(|age| age > 10 * max_age)).await;
    assert_eq!(pipeline.status().dead_letters_lost, 0);
    numbers.bound.send_replace(3);
    within("they go when another one comes", async || pipeline.status().dead_letters_lost == 2).await;
    assert!(pipeline.status().degraded);
    let told = lines(&log, "nobody acknowledged");
    assert_eq!(told.len(), 1, "{told:?}");
    has(&told[0], &["WARN", "count=2", "max_age_secs"]);
    let metrics = recorder.handle().render();
    assert!(metrics.contains("deltaforge_dlq_expired_total{pipeline=\"p\"} 2"), "{metrics}");
    pipeline.shutdown().await;
}
