//! Handing records to the producer, and waiting for what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::message::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use super::KafkaSink;
use crate::error::KafkaSinkError;
use crate::lessons::Refusal;
use crate::prompt::send_now;
use crate::quiet::Quiet;
use crate::topics::check_name;

/// What librdkafka keeps of a record besides key, body and headers.
const RECORD_BYTES: usize = 256;

/// A record to be.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub topic: &'a str,
    /// `None`: as its key says.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub body: Option<&'a [u8]>,
    pub headers: &'a [(String, String)],
}

impl<'a> Parts<'a> {
    /// Of a message for this topic.
    pub fn of(topic: &'a str, message: &Message<'a>) -> Self {
        let Message { key, body, meta } = *message;
        Self { topic, partition: None, key, body, headers: &meta.headers }
    }

    /// Bytes of key and body.
    pub fn payload(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.body.map_or(0, <[u8]>::len)
    }

    fn record(self, number: usize) -> BaseRecord<'a, [u8], [u8], usize> {
        let Self { topic, partition, key, body: payload, headers } = self;
        let insert = |made: OwnedHeaders, (key, value): &(String, String)| {
            made.insert(Header { key, value: Some(value) })
        };
        BaseRecord {
            topic,
            partition,
            payload,
            key,
            timestamp: None,
            headers: (!headers.is_empty())
                .then(|| headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), insert)),
            delivery_opaque: number,
        }
    }
}

/// Why a record was not handed over.
pub(super) enum Unsent {
    /// It can never be.
    Refused(Refusal),
    /// The producer is at its end, and says why.
    Broken,
    /// The sink does not work.
    Failed(KafkaSinkError),
}

impl KafkaSink {
    /// Hands one record of a delivery over, when there is room for it.
    pub(super) async fn send(&mut self, number: usize, parts: Parts<'_>) -> Result<(), Unsent> {
        let bytes = parts.payload() + RECORD_BYTES;
        let mut quiet = None;
        loop {
            let record = parts.record(number);
            if !self.in_flight.sending(bytes) {
                return Err(Unsent::Broken);
            }
            let Err((error, _)) = self.producer().send(record) else { return Ok(()) };
            self.in_flight.not_sent(bytes);
            match error {
                KafkaError::MessageProduction(Code::QueueFull) => {
                    self.hold();
                    self.in_flight.wants_each(true);
                    let quiet = quiet.get_or_insert_with(|| self.quiet());
                    let waited = quiet.wait(self.producer().client().context()).await;
                    self.in_flight.wants_each(false);
                    waited.map_err(Unsent::Failed)?;
                }
                KafkaError::MessageProduction(Code::MessageSizeTooLarge) => {
                    return Err(Unsent::Refused(Refusal::TooLarge));
                }
                KafkaError::MessageProduction(Code::Fatal | Code::Fenced | Code::State) => {
                    return Err(Unsent::Broken);
                }
                KafkaError::MessageProduction(code) => {
                    return Err(Unsent::Failed(KafkaSinkError::of_record(code, parts.topic)));
                }
                // Only a topic's name can be the reason, and names are checked.
                other => return Err(Unsent::Failed(KafkaSinkError::Fatal { why: other.to_string() })),
            }
        }
    }

    /// Has what lingers sent, without waiting for it.
    pub(super) fn send_now(&self, within: Duration) {
        let producer = self.producer().clone();
        tokio::task::spawn_blocking(move || send_now(&producer, within));
    }

    /// Waits until every record handed over is durable.
    pub(super) async fn settle(&mut self) -> Result<(), KafkaSinkError> {
        let mut quiet = self.quiet();
        loop {
            if self.in_flight.is_broken() {
                return Err(self.give_up().await);
            }
            if self.in_flight.is_settled() {
                return Ok(());
            }
            if let Err(error) = quiet.wait(self.producer().client().context()).await {
                return Err(self.lost(error).await);
            }
        }
    }

    /// Looks at a topic that another one than the record before goes to: its name, and whether it is there. `Err`: its
    /// name is none.
    pub(super) async fn turn_to(
        &mut self,
        topic: &Arc<str>,
    ) -> Result<Result<(), &'static str>, KafkaSinkError> {
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

    /// Takes from the budget what the queue holds now.
    pub(super) fn hold(&mut self) {
        let bytes = self.in_flight.bytes().min(self.queue);
        self.held.resize(bytes);
    }

    /// Looks whether records get through.
    pub(super) fn quiet(&self) -> Quiet {
        let prompt = self.producer.as_ref().filter(|_| self.is_prompt);
        Quiet::new(&self.in_flight, self.patience, &self.trouble, prompt)
    }
}
