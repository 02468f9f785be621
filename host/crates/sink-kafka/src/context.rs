//! What librdkafka tells: acknowledgements, failures, what it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use deltaforge_engine::sink::{SinkContext, Trouble};
use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::statistics::Statistics;
use tracing::debug;

use crate::checkpoints::TOPIC;
use crate::config::KafkaConfig;
use crate::error::{KafkaSinkError, is_too_large};
use crate::in_flight::InFlight;
use crate::lessons::Mark;
use crate::turns::Turn;

/// Most characters of a text of librdkafka's that a message quotes.
const MOST_QUOTED: usize = 300;

/// Where librdkafka's log tells of a transaction that failed.
const TRANSACTION_ERROR: &str = "TXNERR";

/// Listens to one producer, on its own thread.
pub(crate) struct Context {
    brokers: String,
    pub in_flight: Arc<InFlight>,
    trouble: Trouble,
    has_transactions: bool,
    /// The producer was given up.
    is_retired: AtomicBool,
    /// Why the last connection failed, while none has worked since.
    why: Mutex<String>,
    /// Why the last transaction failed.
    aborted: Mutex<String>,
    /// There is something to clear of connections once one works.
    has_trouble: AtomicBool,
    /// No broker is connected. So it is, too, when all of them closed connections that nobody used.
    is_down: AtomicBool,
    /// Some broker has answered.
    is_open: AtomicBool,
    queued: [Gauge; 2],
    retries: Counter,
    /// How often this producer tried again, as far as that is counted.
    counted: AtomicI64,
    /// It may be about to become the only one of its name. This ends with the client at the latest.
    turn: Mutex<Option<Turn>>,
}

impl Context {
    pub fn new(config: &KafkaConfig, in_flight: Arc<InFlight>, context: &SinkContext) -> Self {
        let labels = [("pipeline", context.pipeline.clone()), ("sink", context.sink_id.clone())];
        Self {
            brokers: config.brokers.clone(),
            in_flight,
            trouble: context.trouble.clone(),
            has_transactions: config.exactly_once,
            is_retired: AtomicBool::new(false),
            why: Mutex::default(),
            aborted: Mutex::default(),
            has_trouble: AtomicBool::new(false),
            is_down: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            queued: [
                gauge!("deltaforge_kafka_producer_queue_messages", &labels),
                gauge!("deltaforge_kafka_producer_queue_bytes", &labels),
            ],
            retries: counter!("deltaforge_kafka_produce_retries_total", &labels),
            counted: AtomicI64::new(0),
            turn: Mutex::default(),
        }
    }

    /// The producer is about to become the only one of its name; `None`: it is.
    pub fn takes(&self, turn: Option<Turn>) {
        *self.turn.lock() = turn;
    }

    /// The producer is given up: what it says from now on concerns nobody.
    pub fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    /// Why the last transaction failed, or else the last connection, if one did.
    pub fn why(&self) -> String {
        let aborted = self.aborted.lock().clone();
        if aborted.is_empty() { self.why.lock().clone() } else { aborted }
    }

    /// A broker is connected: what was wrong before is over.
    fn connected(&self) {
        if self.has_trouble.swap(false, Ordering::Relaxed) {
            self.is_down.store(false, Ordering::Relaxed);
            self.why.lock().clear();
        }
    }

    /// A connection failed.
    fn disconnected(&self, why: String) {
        *self.why.lock() = why;
        self.has_trouble.store(true, Ordering::Relaxed);
    }

    /// A broker has answered: from now on it is no trouble that none is connected, while nothing is to be sent.
    pub fn opened(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Why records wait, when no broker is connected.
    pub fn down(&self) -> Option<KafkaSinkError> {
        self.is_down.load(Ordering::Relaxed).then(|| self.error_of(RDKafkaErrorCode::AllBrokersDown))
    }

    /// What a failed request means, with what is known of the connections.
    pub fn error_of(&self, code: RDKafkaErrorCode) -> KafkaSinkError {
        let why = self.why();
        let why = if why.is_empty() { code.to_string() } else { why };
        KafkaSinkError::of_client(code, &self.brokers, &why)
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        // What matters of it comes as an error, too: but for why a transaction cannot be committed.
        debug!(target: "librdkafka", facility, "{text}");
        if facility == TRANSACTION_ERROR {
            *self.aborted.lock() = text.chars().take(MOST_QUOTED).collect();
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.connected();
        }
        self.queued[0].set(statistics.msg_cnt as f64);
        self.queued[1].set(statistics.msg_size as f64);
        let retries = statistics.brokers.values().map(|broker| broker.txretries).sum::<u64>() as i64;
        let before = self.counted.swap(retries, Ordering::Relaxed);
        self.retries.increment((retries - before).max(0) as u64);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        if self.is_retired.load(Ordering::Relaxed) {
            return;
        }
        let why: String = reason.chars().take(MOST_QUOTED).collect();
        debug!(target: "librdkafka", ?code, why, "a client has trouble");
        match code {
            // It goes on by itself, and finds a broker that is back.
            RDKafkaErrorCode::AllBrokersDown => {
                self.is_down.store(true, Ordering::Relaxed);
                self.has_trouble.store(true, Ordering::Relaxed);
                if !self.is_open.load(Ordering::Relaxed) || !self.in_flight.is_settled() {
                    self.trouble.tell(&self.error_of(code).into());
                }
            }
            // What it means is known where the producer is given up.
            RDKafkaErrorCode::Fatal if self.has_transactions => {
                self.in_flight.fault(KafkaSinkError::Transaction { why });
            }
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::Fatal => {
                let error = KafkaSinkError::of_client(code, &self.brokers, &why);
                self.trouble.tell(&error.clone().into());
                self.in_flight.fault(error);
            }
            _ => self.disconnected(why),
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        match result {
            Ok(_) => {
                self.connected();
                self.in_flight.acked(number);
            }
            Err((error, record)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                let (key, body) = (record.key().unwrap_or_default(), record.payload().unwrap_or_default());
                let headers = || record.headers().into_iter().flat_map(|headers| headers.iter());
                let texts = || headers().map(|header| (header.key, header.value.unwrap_or_default()));
                let of_headers: usize = texts().map(|(name, value)| name.len() + value.len()).sum();
                let bytes = key.len() + body.len() + of_headers;
                if record.topic() == TOPIC && is_too_large(code) {
                    let limit = format!("`max.message.bytes` of topic {TOPIC}");
                    return self
                        .in_flight
                        .position_refused(KafkaSinkError::PositionTooLarge { bytes, limit });
                }
                let mark = || Mark::of(record.topic(), key, body, texts());
                self.in_flight.failed(number, code, (record.topic(), record.partition()), bytes, mark);
            }
        }
    }
}
