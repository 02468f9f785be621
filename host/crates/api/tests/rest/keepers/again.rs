//! What a sink has taken is held as the batch it was made of, and made into messages again if the sink fails.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::Pipeline;
use deltaforge_engine::budget::Budget;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::message::MessageBatch;
use deltaforge_engine::plan::PipelinePlan;
use deltaforge_engine::sink::{
    Addressing, Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory, Wants,
};
use deltaforge_engine::stage::{StageCode, StageSpec};
use deltaforge_engine::swap::{Note, Swappable};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::down;
use crate::parts::{Numbers, number_and_mark};
use crate::setup::{self, within};

/// Commits so many deliveries at a time, once it may. Else it waits for more.
#[derive(Clone)]
struct Vault(Arc<Inside>, usize);

#[derive(Default)]
struct Inside {
    /// How many commits were asked for, and how many may be answered.
    asked: watch::Sender<usize>,
    answers: watch::Sender<usize>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    rows: Vec<(u64, String)>,
    stands: Option<Arc<[u8]>>,
    budget: Option<Budget>,
    /// The next commits fail.
    fails: usize,
    /// How many deliveries were in memory as messages when a commit was asked for.
    in_memory: Vec<usize>,
}

struct Open {
    vault: Vault,
    rows: Vec<(u64, String)>,
    taken: Vec<Weak<MessageBatch>>,
    last: Option<(u64, Arc<[u8]>)>,
}

#[async_trait]
impl Sink for Open {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        self.rows.extend(delivery.messages().map(|(_, message)| number_and_mark(&message)));
        self.taken.push(Arc::downgrade(&delivery.messages));
        self.last = Some((delivery.seq, delivery.stands.clone().expect("it is told where it stands")));
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        let Inside { asked, answers, kept } = &*self.vault.0;
        kept.lock().in_memory.push(self.taken.drain(..).filter(|taken| taken.strong_count() > 0).count());
        let mut this = 0;
        asked.send_modify(|asked| {
            this = *asked;
            *asked += 1;
        });
        answers.subscribe().wait_for(|answers| *answers > this).await.expect("the vault is there");
        let mut kept = kept.lock();
        if kept.fails > 0 {
            kept.fails -= 1;
            return Err(down("commit"));
        }
        let (through, stands) = self.last.clone().expect("it was asked for something");
        kept.rows.append(&mut self.rows);
        kept.stands = Some(stands.clone());
        Ok(Durable { through, state: Some(stands.to_vec()) })
    }

    fn wants(&self) -> Option<Wants> {
        match self.taken.len() {
            0 => None,
            taken if taken >= self.vault.1 => Some(Wants::Enough),
            _ => Some(Wants::More(Instant::now() + Duration::from_secs(3_600))),
        }
    }

    fn stands(&self) -> Option<Arc<[u8]>> {
        self.vault.0.kept.lock().stands.clone()
    }
}

#[async_trait]
impl SinkFactory for Vault {
    fn kind(&self) -> &'static str {
        "vault"
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

    async fn open(&self, _: &Value, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        self.0.kept.lock().budget = Some(context.budget);
        Ok(Box::new(Open { vault: self.clone(), rows: Vec::new(), taken: Vec::new(), last: None }))
    }

    async fn forget_position(&self, _: &Value, _: SinkContext) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Vault {
    fn of(deliveries: usize) -> Self {
        Self(Arc::default(), deliveries)
    }

    async fn is_asked(&self, commits: usize) {
        let mut asked = self.0.asked.subscribe();
        let asked = asked.wait_for(|asked| *asked >= commits);
        tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it is asked to commit").unwrap();
    }

    fn answers(&self, commits: usize) {
        self.0.answers.send_replace(commits);
    }
}

/// A pipeline `p` into this vault, by an envelope.
fn plan(numbers: &Arc<Numbers>, vault: &Vault, envelope: &str) -> PipelinePlan {
    let mut sink = setup::sink("p", "s0", Arc::new(vault.clone()), true);
    sink.envelope.code = StageCode::Plugin(envelope.to_owned());
    // With it batches stay, however small messages are.
    PipelinePlan { sinks: vec![sink], dlq: Some(setup::dlq(100)), ..setup::plan("p", numbers) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sink_has_taken_is_made_again_by_the_envelope_of_its_time_if_it_fails() {
    let (services, _spill) = setup::services(Duration::from_secs(5));
    let numbers: Arc<Numbers> = Arc::default();
    let vault = Vault::of(2);
    vault.0.kept.lock().fails = 1;
    let pipeline = Pipeline::start(plan(&numbers, &vault, "rows@1"), services);
    numbers.bound.send_replace(20);
    vault.is_asked(1).await;
    let spec = StageSpec {
        code: StageCode::Plugin("rows@2".to_owned()),
        ..pipeline.plan().sinks[0].envelope.clone()
    };
    pipeline.swap(Swappable::Envelope("s0"), spec, None, 0, Note::new("test", "")).await.unwrap();
    numbers.bound.send_replace(40);
    // The first commit fails, the second is of the same rows, the third of those that the other envelope shapes.
    for commits in 1..=3 {
        vault.is_asked(commits).await;
        vault.answers(commits);
    }
    let expected = |n| (n, format!("none as {}", if n < 20 { 1 } else { 2 }));
    let expected: Vec<_> = (0..40).map(expected).collect();
    within("all is there", async || vault.0.kept.lock().rows.len() >= 40).await;
    assert_eq!(vault.0.kept.lock().rows, expected);
    // What was made again stays, in case that something is known of single messages by now.
    assert_eq!(vault.0.kept.lock().in_memory, [0, 2, 0]);
    let budget = vault.0.kept.lock().budget.clone().unwrap();
    within("nothing is held any more", async || budget.held() == 0).await;
    pipeline.shutdown().await;
}

#[tokio::test]
async fn an_envelope_that_makes_something_else_of_it_begins_anew() {
    let (services, _spill) = setup::services(Duration::from_secs(5));
    let (lines, _log) = setup::log();
    let numbers: Arc<Numbers> = Arc::default();
    let vault = Vault::of(2);
    vault.answers(1_000);
    vault.0.kept.lock().fails = 1;
    // As many messages as before, but of other rows.
    let pipeline = Pipeline::start(plan(&numbers, &vault, "rows@fickle"), services);
    numbers.bound.send_replace(20);
    within("all is there", async || !vault.0.kept.lock().rows.is_empty()).await;
    let expected: Vec<_> = (0..20).filter(|n| n % 7 != 0).collect();
    let rows: Vec<u64> = vault.0.kept.lock().rows.iter().map(|(n, _)| *n).collect();
    assert_eq!(rows, expected, "{:?}", pipeline.status());
    pipeline.shutdown().await;
    let log = String::from_utf8(lines.lock().clone()).unwrap();
    assert!(log.contains("envelope_differs"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_of_a_transaction_is_a_part_of_the_budget_also_when_it_is_made_again() {
    const BUDGET: usize = 64 << 10;
    let (services, _spill) = setup::services(Duration::from_secs(5));
    let numbers: Arc<Numbers> = Arc::default();
    // It never has enough by itself.
    let vault = Vault::of(usize::MAX);
    vault.answers(1_000);
    vault.0.kept.lock().fails = 3;
    let plan = PipelinePlan { max_memory_bytes: BUDGET, ..plan(&numbers, &vault, "rows@1") };
    let pipeline = Pipeline::start(plan, services);
    numbers.bound.send_replace(1_000);
    // The last ones would wait for company.
    within("nearly all is there", async || vault.0.kept.lock().rows.len() >= 900).await;
    let budget = vault.0.kept.lock().budget.clone().unwrap();
    assert!(budget.peak() < BUDGET + BUDGET / 2, "{} of {BUDGET}", budget.peak());
    pipeline.shutdown().await;
    let kept = vault.0.kept.lock();
    assert!(kept.rows.iter().map(|(n, _)| *n).eq(0..1_000), "each one once: {:?}", kept.rows.len());
}
