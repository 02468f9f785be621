//! The sink's transactions: begun with a delivery, committed when it is asked what is durable.

use std::time::Duration;

use deltaforge_engine::failpoint;
use deltaforge_engine::sink::Durable;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;
use tokio::time::Instant;

use super::handover::{Parts, Unsent};
use super::{KafkaSink, Records, blocking};
use crate::checkpoints::{PARTITION, TOPIC};
use crate::error::KafkaSinkError;
use crate::lessons::Refusal;
use crate::quiet::SIGN_OF_LIFE;
use crate::transactions::{TIMEOUT, Transactions};

/// When no more of a transaction is under way, nothing of it may linger: this much may be in requests that are on their way.
const TAIL: usize = 8 << 20;

impl KafkaSink {
    /// Begins a transaction for a delivery, where there are any and none is open.
    pub(super) async fn join_transaction(&mut self) -> Result<(), KafkaSinkError> {
        if !self.transactions.as_mut().is_some_and(Transactions::joins) {
            return Ok(());
        }
        if let Some(marked) = self.transactions.as_ref().and_then(Transactions::may_begin) {
            tokio::time::sleep_until(marked).await;
        }
        let producer = self.producer().clone();
        let begun = blocking(move || producer.begin_transaction()).await?;
        begun.map_err(|error| self.of_transaction(&error))
    }

    /// The open transaction has so many bytes of records more.
    pub(super) fn grows(&mut self, bytes: usize) {
        if let Some(transactions) = &mut self.transactions {
            transactions.grows(bytes);
        }
    }

    /// Commits the open transaction: what it holds, and where the sink stands with that.
    pub(super) async fn commit(&mut self) -> Result<Durable, KafkaSinkError> {
        let transactions = self.transactions.as_ref().expect("only a sink with transactions commits");
        let key = transactions.identity.key.clone();
        let Some(last) = transactions.last() else {
            // The engine calls for what it has handed over whole.
            let why = "a delivery is in it only in part".to_owned();
            return Err(KafkaSinkError::Transaction { why });
        };
        let position = Parts {
            topic: TOPIC,
            partition: Some(PARTITION),
            key: Some(key.as_bytes()),
            body: Some(&last.stands),
            headers: &[],
        };
        let bytes = key.len() + last.stands.len();
        self.send(last.number, position).await.map_err(|unsent| match unsent {
            Unsent::Refused(Refusal::TooLarge) => KafkaSinkError::PositionTooLarge {
                bytes,
                limit: "`message.max.bytes` in `client_conf`".to_owned(),
            },
            unsent => self.why(unsent),
        })?;
        failpoint::hit("kafka.commit");
        let began = Instant::now();
        self.arrive().await?;
        self.commit_until_answered().await?;
        failpoint::hit("kafka.committed");
        self.in_flight.take_durable();
        self.found.forget_told();
        self.hold();
        let state = Some(last.stands.to_vec());
        if let Some(transactions) = &mut self.transactions {
            transactions.committed(last.stands, began);
        }
        Ok(Durable { through: last.seq, state })
    }

    /// Has the last of what was handed over sent at once, and waits until it has arrived. The client's own way to wait for that looks ten
    /// times a second only, which would be the length of a commit.
    async fn arrive(&mut self) -> Result<(), KafkaSinkError> {
        let (mut quiet, mut is_sent) = (self.quiet(), false);
        while !self.in_flight.is_settled() && !self.in_flight.is_broken() {
            if !is_sent && self.in_flight.under_way() < TAIL {
                self.send_now(SIGN_OF_LIFE);
                is_sent = true;
            }
            self.in_flight.wants_each(!is_sent);
            quiet.wait(self.producer().client().context()).await?;
        }
        self.in_flight.wants_each(false);
        Ok(())
    }

    /// Asks for the same commit again while no answer comes.
    async fn commit_until_answered(&mut self) -> Result<(), KafkaSinkError> {
        let mut quiet = self.quiet();
        self.doubt(true);
        loop {
            let producer = self.producer().clone();
            let error = match blocking(move || flush_and_commit(&producer)).await? {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let waits = match &error {
                // Its records are on their way still.
                KafkaError::Flush(code) => *code == Code::OperationTimedOut,
                KafkaError::Transaction(error) if error.txn_requires_abort() => {
                    self.doubt(false);
                    false
                }
                // So is the answer.
                KafkaError::Transaction(error) => error.is_retriable(),
                _ => false,
            };
            if !waits || self.in_flight.is_broken() {
                return Err(self.of_transaction(&error));
            }
            let looked = quiet.look(self.producer().client().context());
            looked.map_err(|silence| match (silence, &error) {
                (KafkaSinkError::Timeout { after, why, .. }, KafkaError::Transaction(_)) => {
                    let waits = " of the commit of a transaction".to_owned();
                    KafkaSinkError::Timeout { after, waits, why }
                }
                (silence, _) => silence,
            })?;
        }
    }

    fn doubt(&mut self, is_in_doubt: bool) {
        if let Some(transactions) = &mut self.transactions {
            transactions.in_doubt(is_in_doubt);
        }
    }

    /// What a failure of a transaction means.
    pub(super) fn of_transaction(&self, error: &KafkaError) -> KafkaSinkError {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let id = self.transactions.as_ref().map(|own| own.identity.transactional_id.as_str());
        KafkaSinkError::of_transaction(code, &error.to_string(), id.unwrap_or_default())
    }

    /// Whether the brokers shut this producer out: another one of its name is at work, or its transaction took too long.
    pub(super) fn shut_out(&self) -> Option<KafkaSinkError> {
        let transactions = self.transactions.as_ref()?;
        let (code, _) = self.producer.as_ref()?.client().fatal_error()?;
        if !matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) {
            return None;
        }
        Some(if transactions.may_be_too_old() {
            KafkaSinkError::Transaction { why: format!("it took longer than {} s", TIMEOUT.as_secs()) }
        } else {
            KafkaSinkError::Fenced { transactional_id: transactions.identity.transactional_id.clone() }
        })
    }
}

/// How often is looked whether the client has let go of the last acknowledgements.
const LOOKS_EVERY: Duration = Duration::from_micros(500);

/// Commits what has arrived.
fn flush_and_commit(producer: &Records) -> Result<(), KafkaError> {
    let until = std::time::Instant::now() + SIGN_OF_LIFE;
    while let Err(error) = producer.flush(Duration::ZERO) {
        if std::time::Instant::now() >= until {
            return Err(error);
        }
        std::thread::sleep(LOOKS_EVERY);
    }
    producer.commit_transaction(SIGN_OF_LIFE)
}
