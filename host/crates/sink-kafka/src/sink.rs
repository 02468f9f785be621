//! The sink: records handed over in order, and what is durable of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::budget::Reservation;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::message::Message;
use deltaforge_engine::sink::{
    Addressing, Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory, Trouble,
};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::client_conf::{Sizes, client_config, patience};
use crate::config::KafkaConfig;
use crate::context::Context;
use crate::error::KafkaSinkError;
use crate::in_flight::InFlight;
use crate::lessons::{BATCH, Lessons, Mark, Refusal, School};
use crate::topics::{Maker, check_name};

/// How long the first answer of a broker may take.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// How long a topic that brokers make by themselves may take to be there, and how often they are asked.
const MADE_WITHIN: Duration = Duration::from_secs(3);
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long records that are given up may take to come back.
const PURGED_WITHIN: Duration = Duration::from_secs(2);
/// A sink that waits longer says whether it gets on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// What librdkafka keeps of a record besides key, body and headers.
const RECORD_BYTES: usize = 256;
/// After so many records others get their turn on this thread.
const TURN: usize = 256;

type Records = ThreadedProducer<Context>;

/// Makes Kafka sinks.
#[derive(Debug, Clone, Default)]
pub struct KafkaSinkFactory {
    school: School,
}

#[async_trait]
impl SinkFactory for KafkaSinkFactory {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(KafkaConfig)
    }

    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        KafkaConfig::read(config).map(drop)
    }

    fn addressing(&self, config: &Value) -> Addressing {
        let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
        Addressing {
            destination: text("topic"),
            key: text("key"),
            ignores_routed: false,
            tombstones: config.get("tombstones").and_then(Value::as_bool).unwrap_or_default(),
        }
    }

    async fn open(&self, config: &Value, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        let config = KafkaConfig::read(config).map_err(|problems| {
            let texts: Vec<_> =
                problems.iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect();
            KafkaSinkError::Config(texts.join("; "))
        })?;
        let name = format!("{}/{}/{}", context.tenant, context.pipeline, context.sink_id);
        Ok(Box::new(KafkaSink::open(config, context, self.school.of(&name)).await?))
    }
}

struct KafkaSink {
    /// `None`: it was given up.
    producer: Option<Records>,
    /// Why it was.
    ended: Option<KafkaSinkError>,
    in_flight: Arc<InFlight>,
    topic: Arc<str>,
    /// The last topic written to, whose name is one, and which is there.
    known: Option<Arc<str>>,
    maker: Option<Maker>,
    lessons: Arc<Mutex<Lessons>>,
    /// What batches may be without lessons.
    batch: usize,
    patience: Duration,
    trouble: Trouble,
    /// What the producer's queue holds.
    held: Reservation,
    queue: usize,
}

impl KafkaSink {
    async fn open(
        config: KafkaConfig,
        context: SinkContext,
        lessons: Arc<Mutex<Lessons>>,
    ) -> Result<Self, KafkaSinkError> {
        let sizes = Sizes::of(&config, context.budget.limit(), lessons.lock().batch);
        let name = format!("deltaforge-{}-{}", context.pipeline, context.sink_id);
        let settings = client_config(&config, &name, &context.base_dir, sizes);
        let in_flight = Arc::new(InFlight::default());
        let listener = Context::new(
            &config.brokers,
            in_flight.clone(),
            context.trouble.clone(),
            &context.pipeline,
            &context.sink_id,
        );
        let producer: Records = settings.create_with_context(listener).map_err(refused_settings)?;
        let mut sink = Self {
            producer: Some(producer),
            ended: None,
            in_flight,
            topic: config.topic.as_str().into(),
            known: None,
            maker: None,
            lessons,
            batch: settings.get("batch.size").and_then(|bytes| bytes.parse().ok()).unwrap_or(BATCH),
            patience: patience(&config),
            trouble: context.trouble,
            held: context.budget.take(0),
            queue: sizes.queue,
        };
        sink.connect(&config, &settings).await?;
        sink.producer().client().context().opened();
        info!(brokers = config.brokers, queue_bytes = sizes.queue, "connected to Kafka");
        Ok(sink)
    }

    /// Waits for the first answer of a broker, and looks whether the topic is there.
    async fn connect(&mut self, config: &KafkaConfig, settings: &ClientConfig) -> Result<(), KafkaSinkError> {
        let fixed = !self.topic.contains("${");
        // Asking for one topic may make brokers make it, with settings that nobody chose.
        let topic = (fixed && config.create_topics.is_none()).then(|| config.topic.clone());
        let producer = self.producer().clone();
        let asked = tokio::task::spawn_blocking(move || topics(&producer, topic.as_deref()));
        let broken = async {
            while !self.in_flight.is_broken() {
                self.in_flight.changed().await;
            }
        };
        // Wrong credentials are known before the time for an answer is over.
        let answer = tokio::select! {
            biased;
            () = broken => None,
            answer = asked => Some(answer.map_err(|error| KafkaSinkError::Fatal { why: error.to_string() })?),
        };
        let topics = match answer {
            None => return Err(self.give_up().await),
            Some(Err(error)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::BrokerTransportFailure);
                return Err(self.producer().client().context().error_of(code));
            }
            Some(Ok(topics)) => topics,
        };
        if let Some(create) = &config.create_topics {
            let known: HashSet<String> =
                topics.into_iter().filter(|(_, error)| error.is_none()).map(|(name, _)| name).collect();
            let mut maker = Maker::new(settings, create, known)?;
            if fixed {
                maker.ensure(&self.topic).await?;
            }
            self.maker = Some(maker);
            return Ok(());
        }
        let wrong =
            topics.into_iter().filter(|(name, _)| fixed && *name == *self.topic).find_map(|(_, error)| error);
        match wrong {
            // It is being made just now.
            None | Some(Code::LeaderNotAvailable) => Ok(()),
            Some(code) => Err(KafkaSinkError::of_record(code, &self.topic)),
        }
    }

    fn producer(&self) -> &Records {
        self.producer.as_ref().expect("a sink that failed is not called again")
    }

    /// Hands one record over, when there is room for it.
    async fn send(&mut self, number: usize, topic: &str, message: &Message<'_>) -> Result<(), Unsent> {
        let bytes = message.key.map_or(0, <[u8]>::len) + message.body.map_or(0, <[u8]>::len) + RECORD_BYTES;
        let mut quiet = None;
        loop {
            let record = record(topic, message, number);
            if !self.in_flight.sending(bytes) {
                return Err(Unsent::Broken);
            }
            let Err((error, _)) = self.producer().send(record) else { return Ok(()) };
            self.in_flight.not_sent(bytes);
            match error {
                KafkaError::MessageProduction(Code::QueueFull) => {
                    self.in_flight.wants_room(true);
                    let waited = quiet.get_or_insert_with(|| Quiet::new(self)).wait(self).await;
                    self.in_flight.wants_room(false);
                    waited.map_err(Unsent::Failed)?;
                }
                KafkaError::MessageProduction(Code::MessageSizeTooLarge) => {
                    return Err(Unsent::Refused(Refusal::TooLarge));
                }
                KafkaError::MessageProduction(Code::Fatal) => return Err(Unsent::Broken),
                KafkaError::MessageProduction(code) => {
                    return Err(Unsent::Failed(KafkaSinkError::of_record(code, topic)));
                }
                // Only a topic's name can be the reason, and names are checked.
                other => return Err(Unsent::Failed(KafkaSinkError::Fatal { why: other.to_string() })),
            }
        }
    }

    /// Waits until every record handed over is durable.
    async fn settle(&mut self) -> Result<(), KafkaSinkError> {
        let mut quiet = Quiet::new(self);
        loop {
            if self.in_flight.is_broken() {
                return Err(self.give_up().await);
            }
            if self.in_flight.is_settled() {
                return Ok(());
            }
            if let Err(error) = quiet.wait(self).await {
                return Err(self.lost(error).await);
            }
        }
    }

    /// Those before a record that can never be delivered are delivered first: then it is known that they are.
    async fn reject(
        &mut self,
        place: usize,
        topic: &str,
        message: &Message<'_>,
        refusal: Refusal,
    ) -> SinkError {
        if let Err(error) = self.settle().await {
            return error.into();
        }
        self.in_flight.give_back();
        self.lessons.lock().told(mark(message));
        let code = match refusal {
            Refusal::TooLarge => "kafka_message_too_large",
            Refusal::ByBroker(_) => "kafka_refused",
        };
        let message = match refusal {
            Refusal::TooLarge => {
                format!(
                    "the event is larger than topic {topic}, or `message.max.bytes` in `client_conf`, allows"
                )
            }
            Refusal::ByBroker(why) => format!("topic {topic} refuses the event: {why}"),
        };
        SinkError::Rejected { place, kind: "other", code, message }
    }

    /// What this error means, once all records have come back.
    async fn lost(&mut self, error: KafkaSinkError) -> KafkaSinkError {
        self.in_flight.fault(error);
        self.give_up().await
    }

    /// Ends the producer, with all that it holds, and tells why. What it has learned stays for the next one.
    async fn give_up(&mut self) -> KafkaSinkError {
        if let Some(producer) = self.producer.take() {
            // Which records came back is known only when all have.
            let ended = tokio::task::spawn_blocking(move || purge(&producer));
            let _ = ended.await;
        }
        let (fault, failed) = self.in_flight.take_failure();
        let several = self.lessons.lock().learn(&failed, self.batch);
        let error = match (failed.suspects.keys().next(), failed.first, fault) {
            (Some((topic, _)), ..) if several => KafkaSinkError::BatchTooLarge { topic: topic.clone() },
            (_, Some((code, topic)), _) => KafkaSinkError::of_record(code, &topic),
            (_, None, Some(fault)) => fault,
            (_, None, None) => {
                self.ended.clone().unwrap_or(KafkaSinkError::Fatal { why: "it says nothing more".to_owned() })
            }
        };
        self.ended = Some(error.clone());
        error
    }

    /// Looks at a topic that another one than the record before goes to: its name, and whether it is there. `Err`: its
    /// name is none.
    async fn turn_to(&mut self, topic: &Arc<str>) -> Result<Result<(), &'static str>, KafkaSinkError> {
        if self.known.as_ref() == Some(topic) {
            return Ok(Ok(()));
        }
        if let Err(why) = check_name(topic) {
            return Ok(Err(why));
        }
        if let Some(maker) = &mut self.maker {
            maker.ensure(topic).await?;
        }
        self.known = Some(topic.clone());
        Ok(Ok(()))
    }

    /// Whether a producer before this one learned that a record cannot be delivered.
    fn known_refusal(&self, message: &Message<'_>) -> Option<Refusal> {
        let lessons = self.lessons.lock();
        if lessons.is_empty() { None } else { lessons.refusal(mark(message)) }
    }

    /// Takes from the budget what the queue holds now.
    fn hold(&mut self) {
        let bytes = self.in_flight.bytes().min(self.queue);
        self.held.resize(bytes);
    }
}

/// Why a record was not handed over.
enum Unsent {
    /// It can never be.
    Refused(Refusal),
    /// The producer is at its end, and says why.
    Broken,
    /// The sink does not work.
    Failed(KafkaSinkError),
}

/// Nothing has been acknowledged for so long.
struct Quiet {
    since: Instant,
    seen: u64,
}

impl Quiet {
    fn new(sink: &KafkaSink) -> Self {
        Self { since: Instant::now(), seen: sink.in_flight.acknowledged() }
    }

    /// Waits until something may have come about, but not for long; an error when there was no progress for too long.
    async fn wait(&mut self, sink: &KafkaSink) -> Result<(), KafkaSinkError> {
        let until = self.since + sink.patience;
        let changed = timeout_at(until.min(Instant::now() + SIGN_OF_LIFE), sink.in_flight.changed()).await;
        let acknowledged = sink.in_flight.acknowledged();
        if acknowledged != self.seen {
            (self.seen, self.since) = (acknowledged, Instant::now());
            sink.trouble.works();
            return Ok(());
        }
        if changed.is_ok() {
            return Ok(());
        }
        let context = sink.producer().client().context();
        if Instant::now() >= until {
            return Err(KafkaSinkError::Timeout { after: sink.patience, why: context.why() });
        }
        if let Some(error) = context.down() {
            sink.trouble.tell(&error.into());
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        if let Some(error) = &self.ended {
            return Err(error.clone().into());
        }
        let number = self.in_flight.begin(delivery.seq);
        for (handed, (place, message)) in delivery.messages().enumerate() {
            let topic = message.meta.destination.as_ref().unwrap_or(&self.topic).clone();
            if let Err(why) = self.turn_to(&topic).await? {
                self.settle().await?;
                self.in_flight.give_back();
                let message = format!("the topic {topic:?} {why}");
                return Err(SinkError::Rejected { place, kind: "routing", code: "kafka_bad_topic", message });
            }
            if let Some(refusal) = self.known_refusal(&message) {
                return Err(self.reject(place, &topic, &message, refusal).await);
            }
            match self.send(number, &topic, &message).await {
                Ok(()) => {}
                Err(Unsent::Refused(refusal)) => {
                    return Err(self.reject(place, &topic, &message, refusal).await);
                }
                Err(Unsent::Broken) => return Err(self.give_up().await.into()),
                Err(Unsent::Failed(error)) => return Err(self.lost(error).await.into()),
            }
            if handed % TURN == TURN - 1 {
                self.hold();
                tokio::task::yield_now().await;
            }
        }
        self.in_flight.whole();
        self.hold();
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        let mut quiet = Quiet::new(self);
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
            if let Err(error) = quiet.wait(self).await {
                return Err(self.lost(error).await.into());
            }
        }
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        // Nothing of it is sent from now on; its threads may take a while to end.
        producer.purge(PurgeConfig::default().queue().inflight());
        std::thread::spawn(move || drop(producer));
    }
}

/// The topic, or all of them, each with what is wrong with it. One that brokers begin to make because it is asked for gets
/// some time to be there.
fn topics(producer: &Records, topic: Option<&str>) -> Result<Vec<(String, Option<Code>)>, KafkaError> {
    let until = std::time::Instant::now() + MADE_WITHIN;
    loop {
        let metadata = producer.client().fetch_metadata(topic, CONNECTED_WITHIN)?;
        let found = metadata.topics().iter();
        let found: Vec<_> =
            found.map(|topic| (topic.name().to_owned(), topic.error().map(Code::from))).collect();
        let is_missing = found.iter().any(|(_, error)| *error == Some(Code::UnknownTopicOrPartition));
        if topic.is_none() || !is_missing || std::time::Instant::now() >= until {
            return Ok(found);
        }
        std::thread::sleep(ASKED_AGAIN_AFTER);
    }
}

/// Gives up all that a producer holds, and waits for its answers.
fn purge(producer: &Records) {
    producer.purge(PurgeConfig::default().queue().inflight());
    if let Err(error) = producer.flush(PURGED_WITHIN) {
        warn!(%error, "a producer that was given up does not let go of its records");
    }
}

fn mark(message: &Message<'_>) -> Mark {
    Mark::of(message.key.unwrap_or_default(), message.body.unwrap_or_default())
}

fn record<'a>(topic: &'a str, message: &Message<'a>, number: usize) -> BaseRecord<'a, [u8], [u8], usize> {
    let headers = &message.meta.headers;
    let insert =
        |made: OwnedHeaders, (key, value): &(String, String)| made.insert(Header { key, value: Some(value) });
    BaseRecord {
        topic,
        partition: None,
        payload: message.body,
        key: message.key,
        timestamp: None,
        headers: (!headers.is_empty())
            .then(|| headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), insert)),
        delivery_opaque: number,
    }
}

fn refused_settings(error: KafkaError) -> KafkaSinkError {
    // The value may be a secret.
    let text = match error {
        KafkaError::ClientConfig(_, why, key, _) => format!("client_conf.{key} {why}"),
        other => other.to_string(),
    };
    KafkaSinkError::Config(text)
}
