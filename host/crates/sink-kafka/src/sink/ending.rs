//! How a delivery is given back, and how a producer is given up.

use std::time::{Duration, Instant};

use deltaforge_engine::message::Message;
use deltaforge_engine::sink::SinkError;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{Producer, PurgeConfig};
use tracing::{debug, warn};

use super::handover::Unsent;
use super::{KafkaSink, Records};
use crate::error::{KafkaSinkError, is_too_large};
use crate::in_flight::Refused;
use crate::lessons::Refusal;
use crate::transactions::{Left, Transactions};

/// How long records that are given up may take to come back.
const PURGED_WITHIN: Duration = Duration::from_secs(2);
/// How long brokers may take to say whether a topic is there.
const ASKED_WITHIN: Duration = Duration::from_secs(2);
/// How long the brokers may take to give up a transaction. Until then, or until they do so by themselves, nobody reads on
/// behind it.
const ABORTED_WITHIN: Duration = Duration::from_secs(5);
/// How long one call for that may take.
const ABORT_ASKED_EVERY: Duration = Duration::from_millis(200);

impl KafkaSink {
    /// A record can never be delivered, and goes elsewhere.
    pub(super) async fn reject(
        &mut self,
        place: usize,
        topic: &str,
        message: &Message<'_>,
        refusal: Refusal,
    ) -> SinkError {
        match self.give_back().await {
            Ok(()) => rejection(place, topic, message, refusal),
            Err(error) => error.into(),
        }
    }

    /// Gives the rest of a delivery back. What went before is delivered first, so that it is known to be; or it waits in its
    /// transaction for the rest.
    pub(super) async fn give_back(&mut self) -> Result<(), KafkaSinkError> {
        if self.transactions.is_some() {
            self.in_flight.whole();
            return Ok(());
        }
        self.settle().await?;
        self.in_flight.give_back();
        Ok(())
    }

    /// Why a record was not handed over, as far as the producer says.
    pub(super) fn why(&self, unsent: Unsent) -> KafkaSinkError {
        let refused = |why: String| KafkaSinkError::Refused { topic: self.topic.to_string(), why };
        match unsent {
            Unsent::Failed(error) => error,
            Unsent::Broken if self.transactions.is_some() => {
                KafkaSinkError::Transaction { why: self.producer().client().context().why() }
            }
            Unsent::Broken => KafkaSinkError::Fatal { why: "it says nothing more".to_owned() },
            Unsent::Refused(Refusal::TooLarge) => refused("it is too large".to_owned()),
            Unsent::Refused(Refusal::ByBroker(code)) => refused(code.to_string()),
        }
    }

    /// A delivery cannot go on. The producer can, with what it has; a transaction cannot.
    pub(super) async fn unable(&mut self, error: KafkaSinkError) -> KafkaSinkError {
        if self.transactions.is_some() { self.lost(error).await } else { error }
    }

    /// What this error means, once all records have come back.
    pub(super) async fn lost(&mut self, error: KafkaSinkError) -> KafkaSinkError {
        self.in_flight.fault(error);
        self.give_up().await
    }

    /// Ends the producer, with all that it holds, and tells why. What it has learned stays for the next one.
    pub(super) async fn give_up(&mut self) -> KafkaSinkError {
        let shut_out = self.shut_out();
        let (mut why, mut missing) = (String::new(), None);
        if let Some(producer) = self.producer.take() {
            let is_down = producer.client().context().down().is_some();
            let left = self.transactions.as_mut().map_or(Left::Nothing, Transactions::give_up);
            let in_flight = self.in_flight.clone();
            // Which records came back is known only when all have.
            let ended = tokio::task::spawn_blocking(move || {
                end(&producer, left);
                let waits = in_flight.waits_for_topic().filter(|_| !is_down);
                let missing = waits.filter(|topic| is_missing(&producer, topic));
                (producer.client().context().why(), missing)
            });
            (why, missing) = ended.await.unwrap_or_default();
        }
        let under_way = self.in_flight.handed_over();
        self.lessons.lock().keep(std::mem::take(&mut self.found));
        let (fault, failed) = self.in_flight.take_failure();
        // Where records go one by one, those that are refused are not why others do not get through.
        let refused =
            failed.refused.first().filter(|_| !self.is_alone || (failed.first.is_none() && fault.is_none()));
        let error = match (refused, failed.first.clone(), fault) {
            _ if shut_out.is_some() => shut_out,
            (_, None, Some(position @ KafkaSinkError::PositionTooLarge { .. })) => Some(position),
            (Some(Refused { code, topic, .. }), ..) => {
                let is_of_size = is_too_large(*code);
                self.lessons.lock().refused(under_way, is_of_size);
                Some(if is_of_size && failed.refused.len() > 1 {
                    KafkaSinkError::BatchTooLarge { topic: topic.clone() }
                } else {
                    KafkaSinkError::of_record(*code, topic)
                })
            }
            (None, Some((code, topic)), _) => Some(KafkaSinkError::of_record(code, &topic)),
            (None, None, Some(KafkaSinkError::Timeout { after, waits, why })) => Some(match missing {
                Some(topic) => KafkaSinkError::UnknownTopic { topic },
                None if waits.is_empty() => KafkaSinkError::Timeout { after, waits: failed.waits(), why },
                None => KafkaSinkError::Timeout { after, waits, why },
            }),
            (None, None, Some(fault)) => Some(fault),
            (None, None, None) if self.ended.is_some() => self.ended.clone(),
            // All came back because of something else, which is known by its text only.
            (None, None, None) if self.transactions.is_some() => Some(KafkaSinkError::Transaction { why }),
            (None, None, None) => (!why.is_empty()).then_some(KafkaSinkError::Fatal { why }),
        };
        let error = error.unwrap_or(KafkaSinkError::Fatal { why: "it says nothing more".to_owned() });
        self.ended = Some(error.clone());
        error
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        let left = self.transactions.as_mut().map_or(Left::Nothing, Transactions::give_up);
        producer.client().context().retire();
        if left == Left::Doubt {
            // The call that commits it is on its way, and has its own hold on the producer.
            std::thread::spawn(move || drop(producer));
            return;
        }
        // Nothing of it is sent from now on; its threads may take a while to end.
        producer.purge(PurgeConfig::default().queue().inflight());
        std::thread::spawn(move || end(&producer, left));
    }
}

/// Aborts the open transaction. Records that the client would send once more do not come back to a call for it that began
/// before that, and do to the next one.
pub(super) fn abort(producer: &Records) -> KafkaResult<()> {
    let until = Instant::now() + ABORTED_WITHIN;
    loop {
        match producer.abort_transaction(ABORT_ASKED_EVERY) {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < until => {}
            answer => return answer,
        }
    }
}

/// Whether brokers say that a topic is not there.
fn is_missing(producer: &Records, topic: &str) -> bool {
    let Ok(metadata) = producer.client().fetch_metadata(Some(topic), ASKED_WITHIN) else { return false };
    metadata.topics().iter().any(|topic| {
        let code = topic.error().map(Code::from);
        matches!(code, Some(Code::UnknownTopic | Code::UnknownTopicOrPartition))
    })
}

/// Gives up all that a producer holds, and waits for its answers.
fn end(producer: &Records, left: Left) {
    // Whatever else it says is about what was given up.
    producer.client().context().retire();
    if left == Left::Open
        && let Err(error) = abort(producer)
    {
        debug!(%error, "a transaction that was given up is left to the brokers");
    }
    producer.purge(PurgeConfig::default().queue().inflight());
    if let Err(error) = producer.flush(PURGED_WITHIN) {
        warn!(%error, "a producer that was given up does not let go of its records");
    }
}

/// What is said of a record that can never be delivered.
pub(super) fn rejection(place: usize, topic: &str, event: &Message<'_>, refusal: Refusal) -> SinkError {
    let code = match refusal {
        Refusal::TooLarge => "kafka_message_too_large",
        Refusal::ByBroker(_) => "kafka_refused",
    };
    let message = match refusal {
        Refusal::TooLarge => {
            format!("the event is larger than topic {topic}, or `message.max.bytes` in `client_conf`, allows")
        }
        Refusal::ByBroker(why) if event.key.is_none() => format!(
            "topic {topic} refuses the event, a {} without a key: {why}. A compacted topic takes no record without one: give the sink a \
             `key` or the table a primary key, or send such events to another topic",
            format!("{:?}", event.meta.op).to_lowercase()
        ),
        Refusal::ByBroker(why) => format!("topic {topic} refuses the event: {why}"),
    };
    SinkError::Rejected { place, kind: "other", code, message }
}

/// What is said of a record that goes to what is no topic.
pub(super) fn no_topic(place: usize, topic: &str, why: &str) -> SinkError {
    let message = format!("the topic {topic:?} {why}");
    SinkError::Rejected { place, kind: "routing", code: "kafka_bad_topic", message }
}
