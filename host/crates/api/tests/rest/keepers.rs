//! Sinks that keep where they stand themselves: whatever fails, each event counts once.

mod again;
mod reordered;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::error::{ConfigError, Next};
use deltaforge_engine::ledger::CommitPolicy;
use deltaforge_engine::plan::PipelinePlan;
use deltaforge_engine::sink::{
    Addressing, Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory, Wants,
};
use deltaforge_engine::status::State;
use deltaforge_testkit::random::{Random, seed};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Barrier;
use tokio::time::Instant;

use crate::parts::{Numbers, Shelf, number, onto};
use crate::setup::{self, within};

/// What is committed, and by whom more may be.
#[derive(Default)]
struct Kept {
    numbers: Vec<u64>,
    stands: Option<Arc<[u8]>>,
    /// The last that was opened.
    epoch: u64,
    /// How often something fails, out of a hundred times.
    fails: u64,
    /// How often a commit came true that was answered with an error.
    doubts: u64,
    random: Option<Random>,
    /// Who is opened waits for others that are.
    together: Option<Arc<Barrier>>,
}

impl Kept {
    fn fails(&mut self) -> bool {
        let fails = self.fails;
        self.random.as_mut().is_some_and(|random| random.chance(fails))
    }
}

struct Keeper {
    kept: Arc<Mutex<Kept>>,
    epoch: u64,
    /// What is in the open transaction, and where it ends.
    open: Vec<u64>,
    deliveries: usize,
    last: Option<(u64, Arc<[u8]>)>,
}

fn down(what: &str) -> SinkError {
    SinkError::retry("keeper_down", what, "it is down")
}

#[async_trait]
impl Sink for Keeper {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        for (place, message) in delivery.messages() {
            let n = number(&message);
            if n.is_multiple_of(7) {
                let (kind, code, message) =
                    ("other", "keeper_refused", format!("{n} is a multiple of seven"));
                return Err(SinkError::Rejected { place, kind, code, message });
            }
            self.open.push(n);
            if n % 10 == 3 && self.kept.lock().fails() {
                return Err(down("write"));
            }
        }
        self.deliveries += 1;
        self.last = Some((delivery.seq, delivery.stands.clone().expect("it is told where it stands")));
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        let mut kept = self.kept.lock();
        if kept.epoch != self.epoch {
            let (next, code, message) = (Next::Stop, "keeper_fenced", "another is at work".to_owned());
            return Err(SinkError::Failed {
                next,
                code,
                message,
                delivered: 0,
                wait: None,
                learned: false,
                cause: None,
            });
        }
        if kept.fails() {
            return Err(down("begin to commit"));
        }
        let (through, stands) = self.last.clone().expect("it was asked for something");
        kept.numbers.append(&mut self.open);
        kept.stands = Some(stands.clone());
        self.deliveries = 0;
        if kept.fails() {
            kept.doubts += 1;
            return Err(down("hear that it is committed"));
        }
        Ok(Durable { through, state: Some(stands.to_vec()) })
    }

    fn wants(&self) -> Option<Wants> {
        match self.deliveries {
            0 => None,
            1..6 => Some(Wants::More(Instant::now() + Duration::from_millis(5))),
            _ => Some(Wants::Enough),
        }
    }

    fn stands(&self) -> Option<Arc<[u8]>> {
        self.kept.lock().stands.clone()
    }
}

#[derive(Clone)]
struct Keepers(Arc<Mutex<Kept>>);

#[async_trait]
impl SinkFactory for Keepers {
    fn kind(&self) -> &'static str {
        "keeper"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::Schema::default()
    }

    fn validate(&self, _: &Value) -> Result<(), Vec<ConfigError>> {
        Ok(())
    }

    fn addressing(&self, _: &Value) -> Addressing {
        Addressing::default()
    }

    fn keeps_position(&self, _: &Value) -> bool {
        true
    }

    async fn open(&self, _: &Value, _: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        let together = self.0.lock().together.clone();
        if let Some(together) = together {
            together.wait().await;
        }
        let mut kept = self.0.lock();
        if kept.fails() {
            return Err(down("open"));
        }
        kept.epoch += 1;
        let epoch = kept.epoch;
        Ok(Box::new(Keeper { kept: self.0.clone(), epoch, open: Vec::new(), deliveries: 0, last: None }))
    }

    async fn forget_position(&self, _: &Value, _: SinkContext) -> Result<(), SinkError> {
        self.0.lock().stands = None;
        Ok(())
    }
}

fn keepers(seed: u64, fails: u64) -> Keepers {
    let random = Some(Random::new(seed));
    Keepers(Arc::new(Mutex::new(Kept { fails, random, ..Kept::default() })))
}

/// A keeper `s0`, which counts or not, beside a shelf that does.
fn plan(numbers: &Arc<Numbers>, keepers: &Keepers, shelf: &Arc<Shelf>, required: bool) -> PipelinePlan {
    PipelinePlan {
        sinks: vec![
            setup::sink("p", "s0", Arc::new(keepers.clone()), required),
            setup::sink("p", "s1", onto(shelf), true),
        ],
        policy: CommitPolicy::Required,
        dlq: Some(setup::dlq(10_000)),
        ..setup::plan("p", numbers)
    }
}

fn expected(count: u64) -> Vec<u64> {
    (0..count).filter(|n| !n.is_multiple_of(7)).collect()
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_each_event_counts_once_also_over_lost_stores() {
    let seed = seed("whatever_fails_each_event_counts_once_also_over_lost_stores");
    let mut doubts = 0;
    for (round, required) in [true, false, true].into_iter().enumerate() {
        let keepers = keepers(seed + round as u64, 8);
        let numbers: Arc<Numbers> = Arc::default();
        let shelf = Arc::new(Shelf::default());
        let mut count = 0;
        for life in 0..4 {
            // Each life has a store that knows nothing, as when the data directory was lost.
            let (services, _spill) = setup::services(Duration::from_millis(50));
            let pipeline = Pipeline::start(plan(&numbers, &keepers, &shelf, required), services);
            count += 500;
            numbers.bound.send_replace(count);
            let enough = if life % 2 == 0 { expected(count - 250).len() } else { expected(count).len() };
            // Tries are far apart after many failures.
            for _ in 0..36_000 {
                if keepers.0.lock().numbers.len() >= enough {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if life % 2 == 1 {
                assert_eq!(keepers.0.lock().numbers, expected(count), "{:?}", pipeline.status());
            }
            pipeline.shutdown().await;
        }
        let kept = keepers.0.lock();
        assert_eq!(kept.numbers, expected(count), "round {round}");
        doubts += kept.doubts;
    }
    assert!(doubts > 0, "some commit was in doubt");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_was_shut_out_waits_for_a_resume() {
    let keepers = keepers(1, 0);
    let numbers: Arc<Numbers> = Arc::default();
    let shelf = Arc::new(Shelf::default());
    let (services, _spill) = setup::services(Duration::from_millis(50));
    let pipeline = Pipeline::start(plan(&numbers, &keepers, &shelf, true), services);
    numbers.bound.send_replace(10);
    within("it works", async || !keepers.0.lock().numbers.is_empty()).await;
    keepers.0.lock().epoch += 1;
    numbers.bound.send_replace(20);
    within("it is shut out", async || pipeline.status().sinks[0].error.is_some()).await;
    let epoch = keepers.0.lock().epoch;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let status = pipeline.status();
    let error = status.sinks[0].error.clone().unwrap();
    assert_eq!((error.code.as_str(), error.retriable), ("keeper_fenced", false));
    assert_eq!(keepers.0.lock().epoch, epoch, "it did not shut the other one out");
    pipeline.resume();
    within("it goes on", async || keepers.0.lock().numbers == expected(20)).await;
    pipeline.shutdown().await;
}

/// What ends an attempt, and what opens sinks again in one, is no reason to shut the other host out.
#[tokio::test(start_paused = true)]
async fn a_sink_that_was_shut_out_waits_for_a_resume_also_when_something_else_fails() {
    let (first, second) = (keepers(1, 0), keepers(2, 0));
    let numbers: Arc<Numbers> = Arc::default();
    let shelf = Arc::new(Shelf::default());
    let (services, _spill) = setup::services(Duration::from_millis(50));
    let mut plan = plan(&numbers, &first, &shelf, true);
    plan.sinks.push(setup::sink("p", "s2", Arc::new(second.clone()), true));
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(10);
    within("it works", async || second.0.lock().numbers == expected(10)).await;
    within("both do", async || first.0.lock().numbers == expected(10)).await;
    // Another host has taken one of the two, and the other one fails by itself.
    first.0.lock().epoch += 1;
    let epochs = || (first.0.lock().epoch, second.0.lock().epoch);
    let before = epochs();
    second.0.lock().fails = 100;
    numbers.bound.send_replace(20);
    within("it is shut out", async || pipeline.status().sinks[0].error.is_some()).await;
    within("the other one fails", async || pipeline.status().sinks[2].error.is_some()).await;
    second.0.lock().fails = 0;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(epochs(), before, "neither was opened again");
    let says_so = || {
        let sinks = pipeline.status().sinks;
        let errors: Vec<_> = [0, 2].iter().filter_map(|at| sinks[*at].error.clone()).collect();
        assert!(errors.iter().all(|error| error.code == "keeper_fenced" && !error.retriable), "{errors:?}");
        assert!(errors.len() == 2 && errors[1].message.contains("another exactly-once sink"), "{errors:?}");
        assert!(errors[1].message.contains("sink s0: another is at work"), "{errors:?}");
    };
    says_so();
    // The attempt ends.
    numbers.unreadable.store(20, Ordering::SeqCst);
    numbers.bound.send_replace(30);
    within("it has failed", async || {
        let status = pipeline.status();
        status.status == State::Failed && status.error.is_some_and(|error| error.code == "keeper_fenced")
    })
    .await;
    numbers.unreadable.store(u64::MAX, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(epochs(), before, "nor in another attempt");
    says_so();
    pipeline.resume();
    within("it goes on", async || first.0.lock().numbers == expected(30)).await;
    within("so does the other", async || second.0.lock().numbers == expected(30)).await;
    within("and nobody says else", async || pipeline.status().sinks.iter().all(|sink| sink.error.is_none()))
        .await;
    pipeline.shutdown().await;
}

/// What one of them left open may hide where the other one stands, until that is opened too.
#[tokio::test(start_paused = true)]
async fn two_of_them_are_opened_at_once() {
    let (first, second) = (keepers(1, 0), keepers(2, 0));
    let numbers: Arc<Numbers> = Arc::default();
    let shelf = Arc::new(Shelf::default());
    let together = Arc::new(Barrier::new(2));
    first.0.lock().together = Some(together.clone());
    second.0.lock().together = Some(together);
    let (services, _spill) = setup::services(Duration::from_millis(50));
    let mut plan = plan(&numbers, &first, &shelf, true);
    plan.sinks.push(setup::sink("p", "s2", Arc::new(second.clone()), true));
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(10);
    within("both work", async || {
        [&first, &second].iter().all(|keepers| keepers.0.lock().numbers == expected(10))
    })
    .await;
    pipeline.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_checkpoint_is_deleted_at_the_sink() {
    let keepers = keepers(1, 0);
    let numbers: Arc<Numbers> = Arc::default();
    let shelf = Arc::new(Shelf::default());
    let (services, _spill) = setup::services(Duration::from_millis(50));
    let pipeline = Pipeline::start(plan(&numbers, &keepers, &shelf, true), services);
    numbers.bound.send_replace(20);
    within("they are there", async || keepers.0.lock().numbers == expected(20)).await;
    pipeline.stop().await;
    assert_eq!(pipeline.forget_checkpoints(None).await.unwrap(), ["s0", "s1"]);
    assert_eq!(keepers.0.lock().stands, None);
    pipeline.resume();
    within("they come again", async || keepers.0.lock().numbers.len() == 2 * expected(20).len()).await;
    pipeline.shutdown().await;
}
