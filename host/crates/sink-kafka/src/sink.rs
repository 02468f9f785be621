//! The sink: records handed over in order, and what is durable of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::budget::Reservation;
use deltaforge_engine::sink::{Delivery, Durable, Sink, SinkContext, SinkError, Trouble, Wants};
use parking_lot::Mutex;
use rdkafka::producer::{Producer, ThreadedProducer};
use tokio::time::Instant;
use tracing::info;

use crate::client_conf::{Sizes, client_config, patience, says_linger};
use crate::config::KafkaConfig;
use crate::context::Context;
use crate::error::KafkaSinkError;
use crate::in_flight::InFlight;
use crate::lessons::{BATCH, Found, Lessons};
use crate::linger::LINGER;
use crate::topics::Maker;
use crate::transactions::Transactions;
use crate::turns::Turns;

mod alone;
mod commit;
mod connection;
mod ending;
mod handover;
mod probe;

use alone::{Alone, mark};
use ending::no_topic;
use handover::{Parts, Unsent};

/// Less than this is not worth waiting for more, when a sink has nothing more to write.
const LITTLE: usize = 48 << 10;
/// After so many records others get their turn on this thread.
const TURN: usize = 256;

/// Whoever drops the last one waits for its threads: not a thread that others need.
pub(crate) type Records = Arc<ThreadedProducer<Context>>;

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
    /// What batches may be without further lessons.
    batch: usize,
    /// This producer sends records one by one.
    is_alone: bool,
    /// The delivery that is sent so.
    alone: Option<Alone>,
    /// So many were tried before a transaction.
    probed: usize,
    /// Those that are refused, and not told yet.
    found: Found,
    /// The client counts one of them as sent.
    is_skewed: bool,
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
        let sizes = Sizes::of(&config, context.budget.limit(), &lessons.lock());
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
            is_alone: sizes.alone,
            alone: None,
            probed: 0,
            found: Found::default(),
            is_skewed: false,
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
        sink.found = sink.lessons.lock().take_found();
        info!(
            brokers = config.brokers,
            queue_bytes = sizes.queue,
            exactly_once = config.exactly_once,
            one_by_one = sizes.alone,
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
}

#[async_trait]
impl Sink for KafkaSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        if let Some(error) = &self.ended {
            return Err(error.clone().into());
        }
        match (self.is_alone, &self.transactions) {
            (true, Some(_)) => return self.probe(delivery).await,
            (true, None) => return self.write_alone(delivery).await,
            (false, _) => {}
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
                return Err(no_topic(place, &topic, why));
            }
            if !self.found.is_empty()
                && let Some(refusal) = self.found.tell(&mark(&topic, &message))
            {
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
            if self.is_alone {
                return Err(self.end_probing().into());
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
        match &self.transactions {
            // All of it, and nothing is waited for.
            Some(_) if self.is_alone => Some(Wants::More(Instant::now())),
            Some(transactions) => transactions.wants(),
            None if self.is_alone => self.wants_alone(),
            None => None,
        }
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
