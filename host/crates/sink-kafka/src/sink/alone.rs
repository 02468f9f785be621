//! Deliveries of which brokers refuse some records, sent one by one: those that come back are the ones to blame.
//!
//! No record of a key goes before the one before it has its answer, and none after one that is refused before that was told
//! and taken elsewhere. So the order holds whatever comes back, and each of the others is sent once.

use std::collections::{BTreeMap, HashSet, VecDeque};

use deltaforge_engine::message::Message;
use deltaforge_engine::sink::{Delivery, SinkError, Wants};
use rdkafka::producer::Producer;

use super::KafkaSink;
use super::ending::{no_topic, rejection};
use super::handover::{Parts, Unsent};
use crate::error::KafkaSinkError;
use crate::in_flight::Refused;
use crate::lessons::{Mark, Refusal};

/// Most records that wait for their answers together: few enough that a transaction of them is not too old for the brokers, however
/// slow these are.
pub(super) const MOST: usize = 256;

/// How far a delivery is sent.
pub(super) struct Alone {
    seq: u64,
    /// The place after those that have their answers.
    next: usize,
    /// What is to be said of some before that, in order.
    rejected: VecDeque<SinkError>,
}

/// Records that were handed over together.
pub(super) struct Stretch {
    /// Each with its place.
    sent: Vec<(Mark, usize)>,
    /// The place after them.
    pub next: usize,
    /// What is to be said of those that are never handed over, by their places.
    rejected: BTreeMap<usize, SinkError>,
}

impl KafkaSink {
    /// Takes a delivery, as far as nothing has to be said of a record.
    pub(super) async fn write_alone(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        let len = delivery.indexes.len();
        let begun = self.alone.take().filter(|alone| alone.seq == delivery.seq);
        let mut alone = begun.unwrap_or_else(|| Alone {
            seq: delivery.seq,
            next: delivery.done,
            rejected: VecDeque::new(),
        });
        while alone.next < len || !alone.rejected.is_empty() {
            if let Some(rejected) = alone.rejected.pop_front() {
                let is_last = matches!(&rejected, SinkError::Rejected { place, .. } if place + 1 == len);
                // Else the rest of it comes.
                self.alone = (!is_last).then_some(alone);
                return Err(rejected);
            }
            // While the first one is on its way nothing else of the delivery is out.
            let most = if alone.next == 0 { 1 } else { MOST };
            let number = self.in_flight.begin(delivery.seq);
            let stretch = self.send_stretch(number, delivery, alone.next, most).await?;
            let went = stretch.next - alone.next;
            if went == 0 && stretch.sent.is_empty() && stretch.rejected.is_empty() {
                // The producer takes nothing more, and has not said why.
                return Err(self.lost(self.why(Unsent::Broken)).await.into());
            }
            alone.next = stretch.next;
            alone.rejected = self.answered(delivery, stretch).await?;
            self.lessons.lock().went(went, self.batch);
            self.in_flight.give_back();
        }
        self.in_flight.begin(delivery.seq);
        self.in_flight.whole();
        self.hold();
        Ok(())
    }

    /// Once all that was under way went one by one, an ordinary producer goes on.
    pub(super) fn wants_alone(&self) -> Option<Wants> {
        (self.alone.is_none() && !self.lessons.lock().sends_alone()).then_some(Wants::Anew)
    }

    /// Hands over so many records, from a place on, or fewer where one has to wait for another.
    pub(super) async fn send_stretch(
        &mut self,
        number: usize,
        delivery: &Delivery,
        from: usize,
        most: usize,
    ) -> Result<Stretch, KafkaSinkError> {
        let next = delivery.indexes.len();
        let mut stretch = Stretch { sent: Vec::new(), next, rejected: BTreeMap::new() };
        let keeps_order = self.transactions.is_none();
        let mut keys = HashSet::new();
        for (place, message) in delivery.messages().skip(from - delivery.done) {
            let waits = keeps_order && message.key.is_some_and(|key| !keys.insert(key));
            if waits || stretch.sent.len() + stretch.rejected.len() == most {
                stretch.next = place;
                break;
            }
            let topic = message.meta.destination.as_ref().unwrap_or(&self.topic).clone();
            let mark = mark(&topic, &message);
            if self.found.contains(&mark) {
                continue;
            }
            match self.turn_to(&topic).await {
                Err(error) => return Err(self.unable(error).await),
                Ok(Err(why)) => {
                    stretch.rejected.insert(place, no_topic(place, &topic, why));
                    continue;
                }
                Ok(Ok(())) => {}
            }
            match self.send(number, Parts::of(&topic, &message)).await {
                Ok(()) => stretch.sent.push((mark, place)),
                Err(Unsent::Refused(refusal)) => {
                    stretch.rejected.insert(place, rejection(place, &topic, &message, refusal));
                }
                Err(Unsent::Broken) => {
                    // Something came back.
                    stretch.next = place;
                    break;
                }
                Err(Unsent::Failed(error)) => return Err(self.lost(error).await),
            }
        }
        self.hold();
        Ok(stretch)
    }

    /// Waits until what became of each record of a stretch is known. Answers what is to be said, in order.
    async fn answered(
        &mut self,
        delivery: &Delivery,
        stretch: Stretch,
    ) -> Result<VecDeque<SinkError>, KafkaSinkError> {
        let Stretch { sent, mut rejected, .. } = stretch;
        let mut quiet = self.quiet();
        while !self.in_flight.is_settled() && !self.in_flight.is_lost() {
            if let Err(error) = quiet.wait(self.producer().client().context()).await {
                return Err(self.lost(error).await);
            }
        }
        let Some(refused) = self.in_flight.take_refused(false) else { return Err(self.give_up().await) };
        for Refused { mark, code, topic, bytes } in refused {
            let refusal = Refusal::from(code);
            if refusal == Refusal::TooLarge {
                self.lessons.lock().too_large(bytes);
            }
            let mut is_one = false;
            for (_, place) in sent.iter().filter(|(of, _)| *of == mark) {
                is_one = true;
                let message = delivery.messages.get(delivery.indexes[*place] as usize);
                rejected.insert(*place, rejection(*place, &topic, &message, refusal));
            }
            if !is_one {
                return Err(self.lost(unknown_record()).await);
            }
        }
        Ok(rejected.into_values().collect())
    }
}

/// Some record came back of which nobody knows which one it is.
pub(super) fn unknown_record() -> KafkaSinkError {
    KafkaSinkError::Fatal { why: "a record that was not sent came back".to_owned() }
}

/// What a record that comes back is known by.
pub(super) fn mark(topic: &str, message: &Message<'_>) -> Mark {
    // The client gives names of headers back as C has texts.
    let name = |name: &'_ str| name.find('\0').unwrap_or(name.len());
    let headers = message.meta.headers.iter();
    let headers = headers.map(|(text, value)| (&text[..name(text)], value.as_bytes()));
    Mark::of(topic, message.key.unwrap_or_default(), message.body.unwrap_or_default(), headers)
}
