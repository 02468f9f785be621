//! Deliveries as the engine makes them, and a sink that gets them as it gives them.

use std::sync::Arc;

use deltaforge_engine::error::Next;
use deltaforge_engine::sink::{Delivery, Sink, SinkContext, SinkError, SinkFactory, Wants};
use deltaforge_sink_kafka::KafkaSinkFactory;
use deltaforge_testkit::kafka::Kafka;
use deltaforge_testkit::sinks::{self, Draft};
use serde_json::{Value, json};

/// So many messages of ten keys, numbered from `first`.
pub fn numbered(first: usize, count: usize) -> Vec<Draft> {
    (first..first + count).map(|n| Draft::new(format!("k{}", n % 10), format!("{n}"))).collect()
}

pub fn delivery(seq: u64, drafts: &[Draft]) -> Delivery {
    sinks::delivery(seq, sinks::JSON, drafts)
}

/// A block for that broker and topic, with `more` of its settings.
pub fn block(kafka: &Kafka, topic: &str, more: Value) -> Value {
    let mut block = json!({ "brokers": kafka.brokers(), "topic": topic });
    block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    block
}

/// What a sink for that block is opened with. It is told from others by its topic.
pub fn context(config: &Value) -> SinkContext {
    SinkContext { sink_id: config["topic"].as_str().unwrap().to_owned(), ..sinks::context() }
}

pub async fn open(factory: &KafkaSinkFactory, config: &Value) -> Result<Box<dyn Sink>, SinkError> {
    factory.open(config, context(config)).await
}

/// What a sink that keeps its position is told of it with a delivery.
pub fn stands(seq: u64) -> Option<Arc<[u8]>> {
    Some(seq.to_string().into_bytes().into())
}

/// What happened to deliveries.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rejected messages: delivery, place, code.
    pub rejected: Vec<(u64, usize, &'static str)>,
    /// The codes of failures in between.
    pub failures: Vec<&'static str>,
}

/// A delivery, and what of it is not set aside.
struct Item {
    delivery: Delivery,
    wanted: Arc<[u32]>,
}

/// Delivers as the engine does: four deliveries ahead, or as many as the sink wants; a failed sink is opened anew, and gets
/// again what is not durable; a rejected message is set aside.
pub async fn deliver(factory: &KafkaSinkFactory, config: &Value, deliveries: Vec<Delivery>) -> Outcome {
    let keeps = factory.keeps_position(config);
    let item = |mut delivery: Delivery| {
        delivery.stands = stands(delivery.seq);
        Item { wanted: delivery.indexes.clone(), delivery }
    };
    let mut pending: Vec<Item> = deliveries.into_iter().map(item).collect();
    let (mut outcome, mut state) = (Outcome::default(), None);
    'open: while !pending.is_empty() {
        assert!(outcome.failures.len() < 20, "it fails again and again: {:?}", outcome.failures);
        let context = SinkContext { state: state.clone(), ..context(config) };
        let mut sink = match factory.open(config, context).await {
            Ok(sink) => sink,
            Err(error) => {
                outcome.failures.push(error.code());
                continue;
            }
        };
        if let Some(stands) = sink.stands() {
            let through: u64 = std::str::from_utf8(&stands).unwrap().parse().unwrap();
            pending.retain(|item| item.delivery.seq > through);
            state = Some(stands.to_vec());
        }
        let mut written = 0;
        while !pending.is_empty() {
            let has_room = |sink: &dyn Sink, written| match sink.wants() {
                None => written < 4,
                Some(wants) => matches!(wants, Wants::More(_)),
            };
            if sink.wants() == Some(Wants::Anew) && written == 0 {
                continue 'open;
            }
            while written < pending.len() && has_room(&*sink, written) {
                let Item { delivery, wanted } = &mut pending[written];
                if delivery.is_empty() && (delivery.indexes.is_empty() || !keeps) {
                    delivery.indexes = Arc::new([]);
                    delivery.done = 0;
                    written += 1;
                    continue;
                }
                match sink.write(delivery).await {
                    Ok(()) => written += 1,
                    Err(SinkError::Rejected { place, code, .. }) => {
                        outcome.rejected.push((delivery.seq, place, code));
                        let index = delivery.indexes[place];
                        delivery.done = place + 1;
                        *wanted = wanted.iter().copied().filter(|at| *at != index).collect();
                    }
                    Err(error) => {
                        outcome.failures.push(error.code());
                        rewind(&mut pending, written, keeps);
                        continue 'open;
                    }
                }
            }
            if pending.iter().take(written).all(|item| item.delivery.indexes.is_empty()) {
                pending.drain(..written);
                written = 0;
                continue;
            }
            match sink.durable().await {
                Ok(durable) => {
                    let before = pending.len();
                    pending.retain(|item| item.delivery.seq > durable.through);
                    written -= before - pending.len();
                    state = durable.state.or(state);
                }
                Err(error) => {
                    outcome.failures.push(error.code());
                    rewind(&mut pending, written, keeps);
                    continue 'open;
                }
            }
        }
        sink.close().await.unwrap();
    }
    outcome
}

/// As the engine has it: where whole deliveries are sent again, so is all after them.
fn rewind(pending: &mut [Item], written: usize, keeps: bool) {
    if written > 0 || keeps {
        for Item { delivery, wanted } in pending {
            delivery.indexes = wanted.clone();
            delivery.done = 0;
        }
    }
}

/// A sink's answer that is an error: its code, and what is next.
pub fn failure<T>(answer: Result<T, SinkError>) -> (&'static str, Next) {
    match answer.err() {
        Some(SinkError::Failed { code, next, .. }) => (code, next),
        other => panic!("no failure: {other:?}"),
    }
}
