//! Exactly once: which records of what was under way brokers refuse.
//!
//! In a transaction nothing counts any more once a record of it came back, and which one is to blame shows only where each goes
//! alone, which takes too long for a large transaction. So all of it is tried one by one first, in transactions that are aborted
//! whatever becomes of them; the next producer then sends it in large batches, without those that are known by then.

use deltaforge_engine::sink::{Delivery, SinkError};
use rdkafka::producer::Producer;

use super::alone::{MOST, unknown_record};
use super::ending::abort;
use super::{KafkaSink, blocking};
use crate::error::KafkaSinkError;
use crate::in_flight::Refused;
use crate::lessons::Refusal;

impl KafkaSink {
    /// Tries a delivery. What is found is for the next producer, which comes when all that was under way was tried.
    pub(super) async fn probe(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        let mut from = delivery.done;
        while from < delivery.indexes.len() {
            if let Err(error) = self.join_transaction().await {
                return Err(self.lost(error).await.into());
            }
            let number = self.in_flight.begin(delivery.seq);
            let stretch = self.send_stretch(number, delivery, from, MOST).await?;
            let refused = self.aborted().await?;
            self.in_flight.give_back();
            match refused {
                None => from = stretch.next,
                Some(refused) => self.learn(refused).await?,
            }
        }
        self.probed += delivery.len();
        let is_over = self.probed >= self.lessons.lock().alone;
        if is_over { Err(self.end_probing().into()) } else { Ok(()) }
    }

    /// All that was under way was tried, or no more of it comes.
    pub(super) fn end_probing(&mut self) -> KafkaSinkError {
        let found = std::mem::take(&mut self.found).tried();
        let mut lessons = self.lessons.lock();
        lessons.went(usize::MAX, self.batch);
        let is_smaller = lessons.batch.is_some_and(|batch| batch < self.batch);
        let error = KafkaSinkError::Sifted { found: found.len(), of: self.probed, is_smaller };
        lessons.keep(found);
        error
    }

    /// Waits until what became of the records handed over is known, and aborts their transaction. Answers those that are
    /// refused, where any came back. That may be for none that is, once, after one that was: the client counts it as sent, and
    /// makes up for that only when the next record goes to its partition.
    async fn aborted(&mut self) -> Result<Option<Vec<Refused>>, KafkaSinkError> {
        let mut quiet = self.quiet();
        while !self.in_flight.is_settled() && !self.in_flight.is_broken() {
            if let Err(error) = quiet.wait(self.producer().client().context()).await {
                return Err(self.lost(error).await);
            }
        }
        let producer = self.producer().clone();
        if let Err(error) = blocking(move || abort(&producer)).await? {
            let error = self.of_transaction(&error);
            return Err(self.lost(error).await);
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.aborted();
        }
        if !self.in_flight.is_broken() {
            return Ok(None);
        }
        match self.in_flight.take_refused(true) {
            Some(refused) if self.is_skewed || !refused.is_empty() => {
                self.is_skewed = !refused.is_empty();
                Ok(Some(refused))
            }
            _ => Err(self.give_up().await),
        }
    }

    /// Keeps in mind which records are refused.
    async fn learn(&mut self, refused: Vec<Refused>) -> Result<(), KafkaSinkError> {
        let (is_any, known) = (!refused.is_empty(), self.found.len());
        for Refused { mark, code, bytes, .. } in refused {
            let refusal = Refusal::from(code);
            if refusal == Refusal::TooLarge {
                self.lessons.lock().too_large(bytes);
            }
            self.found.insert(mark, refusal);
        }
        if is_any && self.found.len() == known {
            return Err(self.lost(unknown_record()).await);
        }
        Ok(())
    }
}
