//! Deliveries as the engine makes them, and a sink that gets them as it gives them.

use std::path::PathBuf;
use std::sync::Arc;

use deltaforge_engine::budget::Budget;
use deltaforge_engine::message::{Bodies, MessageBatch};
use deltaforge_engine::sink::{Delivery, Sink, SinkContext, SinkError, SinkFactory, Trouble};
use deltaforge_model::{BatchBuilder, EventHead, EventId, Op, SnapshotMark, SourceInfo, TableSchema};
use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_testkit::kafka::Kafka;
use serde_json::{Value, json};

/// A message to be.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    pub key: Option<String>,
    pub body: Option<String>,
    pub topic: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl Draft {
    pub fn new(key: impl Into<String>, body: impl Into<String>) -> Self {
        Self { key: Some(key.into()), body: Some(body.into()), ..Self::default() }
    }

    pub fn to(mut self, topic: &str) -> Self {
        self.topic = Some(topic.to_owned());
        self
    }
}

/// So many messages of ten keys, numbered from `first`.
pub fn numbered(first: usize, count: usize) -> Vec<Draft> {
    (first..first + count).map(|n| Draft::new(format!("k{}", n % 10), format!("{n}"))).collect()
}

pub fn delivery(seq: u64, drafts: &[Draft]) -> Delivery {
    let mut builder = BatchBuilder::new(Arc::new(SourceInfo {
        connector: "sqlite".into(),
        version: "0".into(),
        pipeline: "p".into(),
        tenant: "t".into(),
        source_id: "s".into(),
        pos_name: String::new(),
        pos_is_lsn: false,
    }));
    let table = builder.table(&TableSchema::new("shop", None, "orders", Vec::new(), &[]));
    let mut bodies = Bodies::default();
    for (ordinal, draft) in drafts.iter().enumerate() {
        builder.event(EventHead {
            id: EventId::derive(0, &[&seq.to_le_bytes(), &ordinal.to_le_bytes()]),
            op: Op::Create,
            table,
            transaction: None,
            ordinal: ordinal as u32,
            ts_us: 0,
            pos: seq,
            last: true,
            snapshot: SnapshotMark::No,
        });
        match &draft.body {
            Some(body) => {
                bodies.buffer().extend_from_slice(body.as_bytes());
                bodies.end();
            }
            None => bodies.absent(),
        }
    }
    let batch = builder.finish();
    let mut messages = MessageBatch::new("application/json", bodies);
    for (row, (event, draft)) in batch.events().zip(drafts).enumerate() {
        let (key, topic) = (draft.key.as_deref().map(str::as_bytes), draft.topic.as_deref().map(Arc::from));
        messages.push(&event, row as u32, row as u32, key, topic, draft.headers.clone().into());
    }
    Delivery { seq, messages: Arc::new(messages), indexes: (0..drafts.len() as u32).collect(), done: 0 }
}

/// A block for that broker and topic, with `more` of its settings.
pub fn block(kafka: &Kafka, topic: &str, more: Value) -> Value {
    let mut block = json!({ "brokers": kafka.brokers(), "topic": topic });
    block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    block
}

pub fn context(budget: &Budget, trouble: Trouble) -> SinkContext {
    SinkContext {
        pipeline: "p".into(),
        tenant: "t".into(),
        sink_id: "s".into(),
        state: None,
        base_dir: PathBuf::from("."),
        trouble,
        hurry: Default::default(),
        budget: budget.clone(),
    }
}

pub async fn open(factory: &KafkaSinkFactory, config: &Value) -> Result<Box<dyn Sink>, SinkError> {
    factory.open(config, context(&Budget::new(64 << 20, None), Trouble::default())).await
}

/// What happened to deliveries.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rejected messages: delivery, place, code.
    pub rejected: Vec<(u64, usize, &'static str)>,
    /// The codes of failures in between.
    pub failures: Vec<&'static str>,
}

/// Delivers as the engine does: four deliveries ahead; a failed sink is opened anew, and gets again what is not durable; a
/// rejected message is set aside.
pub async fn deliver(factory: &KafkaSinkFactory, config: &Value, mut pending: Vec<Delivery>) -> Outcome {
    let mut outcome = Outcome::default();
    'open: while !pending.is_empty() {
        assert!(outcome.failures.len() < 20, "it fails again and again: {:?}", outcome.failures);
        let mut sink = match open(factory, config).await {
            Ok(sink) => sink,
            Err(error) => {
                outcome.failures.push(error.code());
                continue;
            }
        };
        let mut written = 0;
        while !pending.is_empty() {
            while written < pending.len().min(4) {
                let delivery = &mut pending[written];
                if delivery.is_empty() {
                    written += 1;
                    continue;
                }
                match sink.write(delivery).await {
                    Ok(()) => written += 1,
                    Err(SinkError::Rejected { place, code, .. }) => {
                        outcome.rejected.push((delivery.seq, place, code));
                        let index = delivery.indexes[place];
                        let wanted: Arc<[u32]> =
                            delivery.indexes.iter().copied().filter(|at| *at != index).collect();
                        delivery.done = place;
                        delivery.indexes = wanted;
                    }
                    Err(error) => {
                        outcome.failures.push(error.code());
                        rewind(&mut pending, written);
                        continue 'open;
                    }
                }
            }
            if pending.iter().take(written).all(Delivery::is_empty) {
                pending.drain(..written);
                written = 0;
                continue;
            }
            match sink.durable().await {
                Ok(durable) => {
                    let before = pending.len();
                    pending.retain(|delivery| delivery.seq > durable.through);
                    written -= before - pending.len();
                }
                Err(error) => {
                    outcome.failures.push(error.code());
                    rewind(&mut pending, written);
                    continue 'open;
                }
            }
        }
        sink.close().await.unwrap();
    }
    outcome
}

/// As the engine has it: where whole deliveries are sent again, so is all after them.
fn rewind(pending: &mut [Delivery], written: usize) {
    if written > 0 {
        pending.iter_mut().for_each(|delivery| delivery.done = 0);
    }
}
