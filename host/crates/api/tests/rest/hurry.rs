//! A resume makes whatever waits for its next try try at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::plan::PipelinePlan;
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkError};
use deltaforge_engine::status::State;
use tokio::time::Instant;

use crate::parts::{Numbers, Shelf, doors, onto, opens};
use crate::setup::{self, within};

/// Much less than a pause after many failures.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Fails until it works; asks for a minute's pause then, or for none.
struct Later {
    works: Arc<AtomicBool>,
    asks: Option<Duration>,
    through: Arc<AtomicU64>,
}

#[async_trait]
impl Sink for Later {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        if !self.works.load(Ordering::SeqCst) {
            return Err(SinkError::retry("later", "write", "not yet").waiting(self.asks));
        }
        self.through.store(delivery.seq, Ordering::SeqCst);
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.through.load(Ordering::SeqCst), state: None })
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_tries_at_once_also_where_it_was_asked_to_wait() {
    for (asks, errors) in [(None, 9), (Some(Duration::from_secs(60)), 1)] {
        let (services, _spill) = setup::services(Duration::from_millis(300));
        let (works, through): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let (own, last) = (works.clone(), through.clone());
        let sink = opens(move |_| Ok(Box::new(Later { works: own.clone(), asks, through: last.clone() })));
        let numbers: Arc<Numbers> = Arc::default();
        let sinks = vec![setup::sink("p", "s0", sink, true)];
        let pipeline = Pipeline::start(PipelinePlan { sinks, ..setup::plan("p", &numbers) }, services);
        numbers.bound.send_replace(5);
        while pipeline.status().sinks[0].errors < errors {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        works.store(true, Ordering::SeqCst);
        let began = Instant::now();
        pipeline.resume();
        within("it is delivered", async || through.load(Ordering::SeqCst) == 1).await;
        assert!(began.elapsed() < AT_ONCE, "{asks:?}: after {:?}", began.elapsed());
        pipeline.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stage_tries_at_once() {
    let (mut services, _spill) = setup::services(Duration::from_millis(300));
    let is_open: Arc<AtomicBool> = Arc::default();
    services.stages = vec![doors(&is_open)];
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    let sinks = vec![setup::sink("p", "s0", onto(&shelf), true)];
    let plan = PipelinePlan { sinks, stages: vec![setup::stage("door")], ..setup::plan("p", &numbers) };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(5);
    within("it waits", async || pipeline.status().degraded).await;
    // By then the pauses are a minute long.
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(shelf.rows.lock().is_empty());
    is_open.store(true, Ordering::SeqCst);
    let began = Instant::now();
    pipeline.resume();
    within("it is delivered", async || shelf.rows.lock().len() == 5).await;
    assert!(began.elapsed() < AT_ONCE, "after {:?}", began.elapsed());
    pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_pipeline_tries_at_once() {
    let (services, _spill) = setup::services(Duration::from_millis(300));
    let (numbers, shelf): (Arc<Numbers>, Arc<Shelf>) = Default::default();
    numbers.broken.store(true, Ordering::SeqCst);
    let sinks = vec![setup::sink("p", "s0", onto(&shelf), true)];
    let pipeline = Pipeline::start(PipelinePlan { sinks, ..setup::plan("p", &numbers) }, services);
    while numbers.connects.load(Ordering::SeqCst) < 8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    within("it waits", async || pipeline.status().status == State::Failed).await;
    numbers.broken.store(false, Ordering::SeqCst);
    numbers.bound.send_replace(5);
    let began = Instant::now();
    pipeline.resume();
    within("it is delivered", async || shelf.rows.lock().len() == 5).await;
    assert!(began.elapsed() < AT_ONCE, "after {:?}", began.elapsed());
    pipeline.shutdown().await;
}
