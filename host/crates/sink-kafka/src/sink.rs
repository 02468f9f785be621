//! The sink: records handed over in order, and what is durable of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::budget::Reservation;
use deltaforge_engine::message::Message;
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkContext, SinkError, Trouble, Wants};
use parking_lot::Mutex;
use rdkafka::producer::{Producer, ThreadedProducer};
use tracing::info;

use crate::client_conf::{Sizes, client_config, patience, says_linger};
use crate::config::KafkaConfig;
use crate::context::Context;
use crate::error::KafkaSinkError;
use crate::in_flight::InFlight;
use crate::lessons::{BATCH, Lessons, Refusal};
use crate::quiet::LINGER;
use crate::topics::Maker;
use crate::transactions::Transactions;
use crate::turns::Turns;

mod commit;
mod connection;
mod ending;
mod handover;

use ending::mark;
use handover::{Parts, Unsent};

/// Less than this is not worth waiting for more, when a sink has nothing more to write.
const LITTLE: usize = 48 << 10;
/// After so many records others get their turn on this thread.
const TURN: usize = 256;

pub(crate) type Records = ThreadedProducer<Context>;

pub(crate) struct KafkaSink {
    /// `None`: it was given up.
    producer: Option<Records>,
    /// Why it was.
    ended: Option<KafkaSinkError>,
    in_flight: Arc<InFlight>,
    topic: Arc<str>,
    /// The last topic written to, whose name is one, and which is there.
    known: Option<Arc<str>>,
    maker: Option<Maker>,
    /// Where each event is to be in its topic once.
    transactions: Option<Transactions>,
    lessons: Arc<Mutex<Lessons>>,
    /// What batches may be without lessons.
    batch: usize,
    patience: Duration,
    trouble: Trouble,
    /// Nobody said how long records linger: no longer than more come.
    is_prompt: bool,
    /// What the producer's queue holds.
    held: Reservation,
    queue: usize,
}

impl KafkaSink {
    pub(crate) async fn open(
        config: KafkaConfig,
        context: SinkContext,
        lessons: Arc<Mutex<Lessons>>,
        turns: &Turns,
    ) -> Result<Self, KafkaSinkError> {
        let sizes = Sizes::of(&config, context.budget.limit(), lessons.lock().batch);
        let settings = client_config(&config, &context, sizes);
        let in_flight = Arc::new(InFlight::default());
        let listener = Context::new(&config, in_flight.clone(), &context);
        let mut sink = Self {
            producer: Some(connection::create(&settings, listener)?),
            ended: None,
            in_flight,
            topic: config.topic.as_str().into(),
            known: None,
            maker: None,
            transactions: None,
            lessons,
            batch: settings.get("batch.size").and_then(|bytes| bytes.parse().ok()).unwrap_or(BATCH),
            patience: patience(&config),
            trouble: context.trouble.clone(),
            is_prompt: !says_linger(&config.client_conf),
            held: context.budget.take(0),
            queue: sizes.queue,
        };
        sink.connect(&config, &settings).await?;
        if config.exactly_once {
            sink.take_over(&settings, &context, turns).await?;
        }
        sink.producer().client().context().opened();
        info!(
            brokers = config.brokers,
            queue_bytes = sizes.queue,
            exactly_once = config.exactly_once,
            "connected to Kafka"
        );
        if let Some(wanted) = sizes.wanted.filter(|wanted| *wanted > sizes.queue) {
            info!(
                wanted,
                queue_bytes = sizes.queue,
                "queue.buffering.max.kbytes is bounded by an eighth of spec.max_memory_bytes"
            );
        }
        Ok(sink)
    }

    fn producer(&self) -> &Records {
        self.producer.as_ref().expect("a sink that failed is not called again")
    }

    /// Whether a producer before this one learned that a record cannot be delivered.
    fn known_refusal(&self, message: &Message<'_>) -> Option<Refusal> {
        let lessons = self.lessons.lock();
        if lessons.is_empty() { None } else { lessons.refusal(mark(message)) }
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        if let Some(error) = &self.ended {
            return Err(error.clone().into());
        }
        if let Err(error) = self.join_transaction().await {
            return Err(self.lost(error).await.into());
        }
        let number = self.in_flight.begin(delivery.seq);
        for (handed, (place, message)) in delivery.messages().enumerate() {
            let topic = message.meta.destination.as_ref().unwrap_or(&self.topic).clone();
            let is_topic = match self.turn_to(&topic).await {
                Ok(is_topic) => is_topic,
                Err(error) => return Err(self.unable(error).await.into()),
            };
            if let Err(why) = is_topic {
                self.give_back().await?;
                let message = format!("the topic {topic:?} {why}");
                return Err(SinkError::Rejected { place, kind: "routing", code: "kafka_bad_topic", message });
            }
            if let Some(refusal) = self.known_refusal(&message) {
                return Err(self.reject(place, &topic, &message, refusal).await);
            }
            let parts = Parts::of(&topic, &message);
            match self.send(number, parts).await {
                Ok(()) => self.grows(parts.payload()),
                Err(Unsent::Refused(refusal)) => {
                    return Err(self.reject(place, &topic, &message, refusal).await);
                }
                Err(unsent) => return Err(self.lost(self.why(unsent)).await.into()),
            }
            if handed % TURN == TURN - 1 {
                self.hold();
                tokio::task::yield_now().await;
            }
        }
        self.in_flight.whole();
        self.hold();
        if let Some(transactions) = &mut self.transactions {
            transactions.joined(number, delivery);
        }
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        if self.transactions.is_some() {
            if let Some(error) = &self.ended {
                return Err(error.clone().into());
            }
            return match self.commit().await {
                Ok(durable) => Ok(durable),
                Err(error) => Err(self.lost(error).await.into()),
            };
        }
        if self.is_prompt && (1..LITTLE).contains(&self.in_flight.bytes()) {
            self.send_now(LINGER);
        }
        let mut quiet = self.quiet();
        loop {
            if let Some(through) = self.in_flight.take_durable() {
                self.hold();
                return Ok(Durable { through, state: None });
            }
            if let Some(error) = &self.ended {
                return Err(error.clone().into());
            }
            if self.in_flight.is_broken() {
                return Err(self.give_up().await.into());
            }
            if let Err(error) = quiet.wait(self.producer().client().context()).await {
                return Err(self.lost(error).await.into());
            }
        }
    }

    fn wants(&self) -> Option<Wants> {
        self.transactions.as_ref()?.wants()
    }

    fn stands(&self) -> Option<Arc<[u8]>> {
        self.transactions.as_ref()?.stands.clone()
    }
}

/// Waits for a call that blocks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, KafkaSinkError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| KafkaSinkError::Fatal { why: error.to_string() })
}
