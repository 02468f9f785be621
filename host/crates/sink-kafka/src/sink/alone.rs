//! Deliveries of which brokers refuse some records: sent one by one, each of the others once.
//!
//! Each record is a batch by itself, so those that come back are the ones to blame. At least once, the producer goes on
//! without them; that one of a key is not on its way before the one before it has its answer keeps the order whatever comes
//! back. In a transaction nothing counts any more once a record of it came back: it is aborted, and begun again without the
//! records that are known by then, so that a delivery is in it whole in the end.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use deltaforge_engine::message::Message;
use deltaforge_engine::sink::{Delivery, SinkError, Wants};
use rdkafka::producer::Producer;

use super::ending::{abort, no_topic, rejection};
use super::handover::{Parts, Unsent};
use super::{KafkaSink, blocking};
use crate::error::KafkaSinkError;
use crate::in_flight::{InFlight, Refused};
use crate::lessons::{Mark, Refusal};

/// Most records that wait for their answers together.
const STRETCH: usize = 256;

/// A delivery that was sent, but for records that can never be.
pub(super) struct Alone {
    seq: u64,
    /// What is to be said of those, in order.
    rejected: VecDeque<SinkError>,
}

/// Records that were handed over, and their places.
type Sent = Vec<(Mark, usize)>;
/// Records that are refused, by whom and why.
type Found = HashMap<Mark, (Arc<str>, Refusal)>;

impl KafkaSink {
    /// Takes a delivery, one by one. All of it was tried before anything is said of the first record that is refused: what
    /// comes after that one is not sent again when the rest of the delivery comes.
    pub(super) async fn write_alone(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        if self.alone.as_ref().is_none_or(|alone| alone.seq != delivery.seq) {
            let rejected = self.sift(delivery).await?.into_values().collect();
            self.alone = Some(Alone { seq: delivery.seq, rejected });
        }
        if let Some(rejected) = self.alone.as_mut().and_then(|alone| alone.rejected.pop_front()) {
            let is_last =
                matches!(&rejected, SinkError::Rejected { place, .. } if place + 1 == delivery.indexes.len());
            if is_last && self.transactions.is_none() {
                // No rest of it comes.
                self.alone = None;
            }
            return Err(rejected);
        }
        self.alone = None;
        let number = self.in_flight.begin(delivery.seq);
        self.in_flight.whole();
        self.hold();
        if let Some(transactions) = &mut self.transactions {
            transactions.joined(number, delivery);
        }
        Ok(())
    }

    /// Before the next delivery what there is of a transaction is committed; and once all that was under way went one by one,
    /// an ordinary producer goes on.
    pub(super) fn wants_alone(&self) -> Option<Wants> {
        if let Some(transactions) = &self.transactions
            && let Some(wants) = transactions.wants()
        {
            return Some(if transactions.last().is_some() { Wants::Enough } else { wants });
        }
        (self.alone.is_none() && !self.lessons.lock().sends_alone()).then_some(Wants::Anew)
    }

    /// Sends all that brokers take of a delivery. Answers what is to be said of the other records, by their places.
    async fn sift(&mut self, delivery: &Delivery) -> Result<BTreeMap<usize, SinkError>, KafkaSinkError> {
        let (mut rejected, mut from, mut found) = (BTreeMap::new(), delivery.done, false);
        loop {
            if let Err(error) = self.join_transaction().await {
                return Err(self.lost(error).await);
            }
            let number = self.in_flight.begin(delivery.seq);
            let (sent, next) = self.send_stretch(number, delivery, from, &mut rejected).await?;
            let (refused, is_aborted) = self.answers(found).await?;
            for (mark, place) in &sent {
                if let Some((topic, refusal)) = refused.get(mark) {
                    let event = delivery.messages.get(delivery.indexes[*place] as usize);
                    rejected.insert(*place, rejection(*place, topic, &event, *refusal));
                }
            }
            if is_aborted {
                self.in_flight.give_back();
                found = !refused.is_empty();
                continue;
            }
            if self.transactions.is_some() {
                self.in_flight.whole();
            } else {
                self.in_flight.give_back();
            }
            from = next;
            if from == delivery.indexes.len() {
                break;
            }
        }
        self.lessons.lock().went(delivery.len(), self.batch);
        Ok(rejected)
    }

    /// Hands over what may be under way together, from a place on. Answers what that is, and the place after it.
    async fn send_stretch(
        &mut self,
        number: usize,
        delivery: &Delivery,
        from: usize,
        rejected: &mut BTreeMap<usize, SinkError>,
    ) -> Result<(Sent, usize), KafkaSinkError> {
        let (mut sent, mut keys) = (Vec::new(), HashSet::new());
        for (place, message) in delivery.messages().skip(from - delivery.done) {
            if rejected.contains_key(&place) {
                continue;
            }
            let waits = sent.len() == STRETCH || message.key.is_some_and(|key| !keys.insert(key));
            if waits && self.transactions.is_none() {
                return Ok((sent, place));
            }
            let topic = message.meta.destination.as_ref().unwrap_or(&self.topic).clone();
            match self.turn_to(&topic).await {
                Err(error) => return Err(self.unable(error).await),
                Ok(Err(why)) => {
                    rejected.insert(place, no_topic(place, &topic, why));
                    continue;
                }
                Ok(Ok(())) => {}
            }
            let parts = Parts::of(&topic, &message);
            match self.send(number, parts).await {
                Ok(()) => {
                    self.grows(parts.payload());
                    sent.push((mark(&topic, &message), place));
                }
                Err(Unsent::Refused(refusal)) => {
                    rejected.insert(place, rejection(place, &topic, &message, refusal));
                }
                // Something came back.
                Err(Unsent::Broken) => return Ok((sent, place)),
                Err(Unsent::Failed(error)) => return Err(self.lost(error).await),
            }
        }
        Ok((sent, delivery.indexes.len()))
    }

    /// Waits until it is known what became of the records handed over. Answers those that are refused, and whether the
    /// transaction that they were in was aborted for that. The one after such a transaction may have to be, too, without one
    /// that is refused (`may_find_none`): the client counts what was refused as sent, and only then makes up for it.
    async fn answers(&mut self, may_find_none: bool) -> Result<(Found, bool), KafkaSinkError> {
        self.hold();
        let in_transaction = self.transactions.is_some();
        let is_over = |in_flight: &InFlight| {
            in_flight.is_settled() || in_flight.is_lost() || in_transaction && in_flight.is_broken()
        };
        let mut quiet = self.quiet();
        while !is_over(&self.in_flight) {
            if let Err(error) = quiet.wait(self.producer().client().context()).await {
                return Err(self.lost(error).await);
            }
        }
        if !self.in_flight.is_broken() {
            return Ok((HashMap::new(), false));
        }
        if in_transaction {
            self.abort().await?;
        }
        let refused = match self.in_flight.take_refused(in_transaction) {
            Some(refused) if may_find_none || !refused.is_empty() => refused,
            _ => return Err(self.give_up().await),
        };
        let mut lessons = self.lessons.lock();
        let answer = |one: Refused| {
            let refusal = Refusal::from(one.code);
            if refusal == Refusal::TooLarge {
                lessons.too_large(one.bytes);
            }
            (one.mark, (one.topic.into(), refusal))
        };
        Ok((refused.into_iter().map(answer).collect(), in_transaction))
    }

    /// Aborts the open transaction, so that another one may begin.
    async fn abort(&mut self) -> Result<(), KafkaSinkError> {
        let producer = self.producer().clone();
        if let Err(error) = blocking(move || abort(&producer)).await? {
            let error = self.of_transaction(&error);
            return Err(self.lost(error).await);
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.aborted();
        }
        Ok(())
    }
}

/// What a record that comes back is known by.
fn mark(topic: &str, message: &Message<'_>) -> Mark {
    Mark::of(topic, message.key.unwrap_or_default(), message.body.unwrap_or_default())
}
