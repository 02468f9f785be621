//! How a delivery is given back, and how a producer is given up.

use std::time::Duration;

use deltaforge_engine::message::Message;
use deltaforge_engine::sink::SinkError;
use rdkafka::producer::{Producer, PurgeConfig};
use tracing::{debug, warn};

use super::handover::Unsent;
use super::{KafkaSink, Records};
use crate::error::KafkaSinkError;
use crate::lessons::{Mark, Refusal};
use crate::transactions::{Left, Transactions};

/// How long records that are given up may take to come back.
const PURGED_WITHIN: Duration = Duration::from_secs(2);
/// How long the brokers may take to give up a transaction. Until then, or until they do so by themselves, nobody reads on
/// behind it.
const ABORTED_WITHIN: Duration = Duration::from_secs(5);

impl KafkaSink {
    /// A record can never be delivered, and goes elsewhere.
    pub(super) async fn reject(
        &mut self,
        place: usize,
        topic: &str,
        message: &Message<'_>,
        refusal: Refusal,
    ) -> SinkError {
        if let Err(error) = self.give_back().await {
            return error.into();
        }
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
        if let Some(producer) = self.producer.take() {
            let left = self.transactions.as_mut().map_or(Left::Nothing, Transactions::give_up);
            // Which records came back is known only when all have.
            let ended = tokio::task::spawn_blocking(move || end(&producer, left));
            let _ = ended.await;
        }
        let (fault, failed) = self.in_flight.take_failure();
        let several = self.lessons.lock().learn(&failed, self.batch);
        let error = match (failed.suspects.keys().next(), failed.first, fault) {
            _ if shut_out.is_some() => shut_out,
            (Some((topic, _)), ..) if several => Some(KafkaSinkError::BatchTooLarge { topic: topic.clone() }),
            (_, Some((code, topic)), _) => Some(KafkaSinkError::of_record(code, &topic)),
            (_, None, Some(fault)) => Some(fault),
            (_, None, None) => self.ended.clone(),
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
            return;
        }
        // Nothing of it is sent from now on; its threads may take a while to end.
        producer.purge(PurgeConfig::default().queue().inflight());
        std::thread::spawn(move || end(&producer, left));
    }
}

/// Gives up all that a producer holds, and waits for its answers.
fn end(producer: &Records, left: Left) {
    // Whatever else it says is about what was given up.
    producer.client().context().retire();
    if left == Left::Open
        && let Err(error) = producer.abort_transaction(ABORTED_WITHIN)
    {
        debug!(%error, "a transaction that was given up is left to the brokers");
    }
    producer.purge(PurgeConfig::default().queue().inflight());
    if let Err(error) = producer.flush(PURGED_WITHIN) {
        warn!(%error, "a producer that was given up does not let go of its records");
    }
}

/// What a record is known by to the next producer.
pub(super) fn mark(message: &Message<'_>) -> Mark {
    Mark::of(message.key.unwrap_or_default(), message.body.unwrap_or_default())
}
