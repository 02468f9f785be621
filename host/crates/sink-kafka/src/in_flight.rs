//! What is handed to the producer and not acknowledged yet.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::Notify;

use crate::error::{KafkaSinkError, is_refused, is_too_large};
use crate::lessons::Mark;

/// Deliveries under way, in order, and what became of their records. The producer's thread tells, the sink looks.
#[derive(Default)]
pub(crate) struct InFlight {
    state: Mutex<State>,
    /// Something that the sink waits for may have come about.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The number of the first of `taken`.
    first: usize,
    taken: VecDeque<Taken>,
    acked: u64,
    wants_room: bool,
    fault: Option<KafkaSinkError>,
    failed: Failed,
}

/// One call of `write`.
struct Taken {
    seq: u64,
    sent: usize,
    acked: usize,
    bytes: usize,
    /// All of the delivery was handed over.
    whole: bool,
}

impl Taken {
    fn is_done(&self) -> bool {
        self.acked == self.sent
    }
}

/// Records that came back.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    /// The first failure that says why, and of which topic.
    pub first: Option<(RDKafkaErrorCode, String)>,
    /// Those of batches that can never be written, by topic and partition, and why. Where it is one, it is to blame.
    pub suspects: HashMap<(String, i32), (RDKafkaErrorCode, Vec<Mark>)>,
}

impl InFlight {
    /// Begins a delivery; its number goes with each of its records.
    pub fn begin(&self, seq: u64) -> usize {
        let mut state = self.state.lock();
        state.taken.push_back(Taken { seq, sent: 0, acked: 0, bytes: 0, whole: false });
        state.first + state.taken.len() - 1
    }

    /// A record is about to be handed over: its acknowledgement may be here before the call for it returns. False: the
    /// producer is at its end.
    pub fn sending(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        if state.fault.is_some() {
            return false;
        }
        if let Some(taken) = state.taken.back_mut() {
            taken.sent += 1;
            taken.bytes += bytes;
        }
        true
    }

    /// It was not taken.
    pub fn not_sent(&self, bytes: usize) {
        if let Some(taken) = self.state.lock().taken.back_mut() {
            taken.sent -= 1;
            taken.bytes -= bytes;
        }
    }

    /// All records of the newest delivery are handed over.
    pub fn whole(&self) {
        if let Some(taken) = self.state.lock().taken.back_mut() {
            taken.whole = true;
        }
    }

    /// The newest delivery is handed over again from a later record on, and all before that is acknowledged.
    pub fn give_back(&self) {
        self.state.lock().taken.pop_back();
    }

    /// A record is durable.
    pub fn acked(&self, number: usize) {
        let mut state = self.state.lock();
        state.acked += 1;
        let at = number.wrapping_sub(state.first);
        let done = state.taken.get_mut(at).is_some_and(|taken| {
            taken.acked += 1;
            taken.is_done()
        });
        let wakes = done || state.wants_room;
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// A record came back.
    pub fn failed(&self, code: RDKafkaErrorCode, topic: &str, partition: i32, mark: impl FnOnce() -> Mark) {
        use RDKafkaErrorCode as Code;
        let mut state = self.state.lock();
        let failed = &mut state.failed;
        if is_too_large(code) || is_refused(code) {
            let suspects = failed.suspects.entry((topic.to_owned(), partition));
            suspects.or_insert_with(|| (code, Vec::new())).1.push(mark());
        }
        // These came back because others did.
        let is_consequence = matches!(
            code,
            Code::PurgeQueue | Code::PurgeInflight | Code::Fatal | Code::InvalidDifferentRecord
        );
        if !is_consequence && state.failed.first.is_none() {
            state.failed.first = Some((code, topic.to_owned()));
        }
        if state.fault.is_none() {
            state.fault = Some(KafkaSinkError::of_record(code, topic));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The producer as a whole failed.
    pub fn fault(&self, error: KafkaSinkError) {
        self.state.lock().fault.get_or_insert(error);
        self.changed.notify_one();
    }

    /// The record that says where the sink stands was refused. Whatever else came back did so for that.
    pub fn position_refused(&self, error: KafkaSinkError) {
        self.state.lock().fault = Some(error);
        self.changed.notify_one();
    }

    /// Whether something failed.
    pub fn is_broken(&self) -> bool {
        self.state.lock().fault.is_some()
    }

    /// What failed, with all the records that came back.
    pub fn take_failure(&self) -> (Option<KafkaSinkError>, Failed) {
        let mut state = self.state.lock();
        (state.fault.take(), std::mem::take(&mut state.failed))
    }

    /// The newest delivery with which all before it are durable; they are forgotten.
    pub fn take_durable(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let mut through = None;
        while state.taken.front().is_some_and(|taken| taken.whole && taken.is_done()) {
            through = state.taken.pop_front().map(|taken| taken.seq);
            state.first += 1;
        }
        through
    }

    /// Whether every record that was handed over is durable.
    pub fn is_settled(&self) -> bool {
        self.state.lock().taken.iter().all(Taken::is_done)
    }

    /// Records acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.state.lock().acked
    }

    /// Bytes handed over with deliveries that are not durable.
    pub fn bytes(&self) -> usize {
        self.state.lock().taken.iter().map(|taken| taken.bytes).sum()
    }

    /// Bytes of the deliveries that are not acknowledged whole.
    pub fn under_way(&self) -> usize {
        self.state.lock().taken.iter().filter(|taken| !taken.is_done()).map(|taken| taken.bytes).sum()
    }

    /// Whether each acknowledgement wakes who waits: there is no room for the next record.
    pub fn wants_room(&self, wants: bool) {
        self.state.lock().wants_room = wants;
    }

    /// Waits until something may have come about since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_durable_when_it_and_all_before_it_are_acknowledged_whole() {
        let in_flight = InFlight::default();
        let mut numbers = Vec::new();
        for seq in [7, 8] {
            numbers.push(in_flight.begin(seq));
            in_flight.sending(10);
            in_flight.sending(20);
            in_flight.whole();
        }
        assert_eq!((in_flight.bytes(), in_flight.is_settled()), (60, false));
        in_flight.acked(numbers[1]);
        in_flight.acked(numbers[1]);
        in_flight.acked(numbers[0]);
        assert_eq!(in_flight.take_durable(), None, "the first is not");
        in_flight.acked(numbers[0]);
        assert_eq!(in_flight.take_durable(), Some(8));
        assert_eq!((in_flight.bytes(), in_flight.acknowledged()), (0, 4));
        let third = in_flight.begin(9);
        in_flight.sending(1);
        in_flight.acked(third);
        assert_eq!(in_flight.take_durable(), None, "there is more to come of it");
        assert!(in_flight.is_settled());
        in_flight.give_back();
        in_flight.begin(9);
        in_flight.whole();
        assert_eq!(in_flight.take_durable(), Some(9), "what is left of it is nothing");
    }

    #[test]
    fn what_came_back_only_because_others_did_is_not_the_reason() {
        let in_flight = InFlight::default();
        in_flight.begin(1);
        let mark = |n: u64| move || Mark::of(&n.to_le_bytes(), b"");
        in_flight.failed(RDKafkaErrorCode::PurgeQueue, "a", 0, mark(1));
        in_flight.failed(RDKafkaErrorCode::MessageSizeTooLarge, "b", 1, mark(2));
        in_flight.failed(RDKafkaErrorCode::InvalidRecord, "c", 0, mark(3));
        assert!(in_flight.is_broken());
        let (fault, failed) = in_flight.take_failure();
        assert!(fault.is_some());
        assert_eq!(failed.first, Some((RDKafkaErrorCode::MessageSizeTooLarge, "b".to_owned())));
        let suspects = |topic: &str, partition| failed.suspects[&(topic.to_owned(), partition)].clone();
        assert_eq!(suspects("b", 1), (RDKafkaErrorCode::MessageSizeTooLarge, vec![mark(2)()]));
        assert_eq!(suspects("c", 0), (RDKafkaErrorCode::InvalidRecord, vec![mark(3)()]));
        assert_eq!(failed.suspects.len(), 2);
        assert!(!in_flight.is_broken());
    }
}
