//! What is handed to the producer and not acknowledged yet.

use std::collections::{BTreeMap, VecDeque};

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
    answered: u64,
    wants_each: bool,
    /// Records came back.
    is_broken: bool,
    fault: Option<KafkaSinkError>,
    failed: Failed,
}

impl State {
    /// Whether something failed beside records that brokers refuse.
    fn has_other_reasons(&self) -> bool {
        self.fault.is_some() || self.failed.first.is_some()
    }
}

/// One call of `write`.
struct Taken {
    seq: u64,
    sent: usize,
    acked: usize,
    /// How many came back.
    failed: usize,
    bytes: usize,
    /// All of the delivery was handed over.
    whole: bool,
}

impl Taken {
    fn is_done(&self) -> bool {
        self.acked == self.sent
    }

    /// So many bytes of it are not acknowledged, were its records of one size.
    fn under_way(&self) -> usize {
        self.bytes / self.sent.max(1) * (self.sent - self.acked)
    }

    /// What became of each of its records is known.
    fn is_settled(&self) -> bool {
        self.acked + self.failed == self.sent
    }
}

/// Records that came back.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    /// Those of batches that can never be written. Where one was alone in its batch, it is to blame.
    pub refused: Vec<Refused>,
    /// The first other failure that says why, and of which topic.
    pub first: Option<(RDKafkaErrorCode, String)>,
    /// How many came back without an answer of their own, by topic and partition: the producer gave them up.
    pub unanswered: BTreeMap<String, BTreeMap<i32, usize>>,
}

impl Failed {
    /// What waited for an answer: how many records, and where the first of them was to go.
    pub fn waits(&self) -> String {
        let places = || {
            let of = |(topic, partitions): (_, &BTreeMap<i32, usize>)| {
                partitions.iter().map(move |(at, count)| (topic, *at, *count)).collect::<Vec<_>>()
            };
            self.unanswered.iter().flat_map(of)
        };
        let Some((topic, partition, _)): Option<(&String, i32, usize)> = places().next() else {
            return String::new();
        };
        let records: usize = places().map(|(_, _, count)| count).sum();
        let more = match places().count() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(" of {records} records for topic {topic}, partition {partition}{more}")
    }

    /// A topic that records waited for without knowing any partition of it.
    fn without_partitions(&self) -> Option<&str> {
        let of = self.unanswered.iter().find(|(_, partitions)| partitions.contains_key(&UNASSIGNED));
        of.map(|(topic, _)| topic.as_str())
    }
}

/// The partition of a record while those of its topic are not known.
const UNASSIGNED: i32 = -1;

/// A record of a batch that can never be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Which one.
    pub mark: Mark,
    /// Why.
    pub code: RDKafkaErrorCode,
    /// Where it was to go.
    pub topic: String,
    /// Of key, body and headers.
    pub bytes: usize,
}

impl InFlight {
    /// Begins a delivery; its number goes with each of its records.
    pub fn begin(&self, seq: u64) -> usize {
        let mut state = self.state.lock();
        state.taken.push_back(Taken { seq, sent: 0, acked: 0, failed: 0, bytes: 0, whole: false });
        state.first + state.taken.len() - 1
    }

    /// A record is about to be handed over: its acknowledgement may be here before the call for it returns. False: the
    /// producer is at its end.
    pub fn sending(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        if state.is_broken || state.fault.is_some() {
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
        state.answered += 1;
        let at = number.wrapping_sub(state.first);
        let done = state.taken.get_mut(at).is_some_and(|taken| {
            taken.acked += 1;
            taken.is_settled()
        });
        let wakes = done || state.wants_each;
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// A record of so many bytes came back.
    pub fn failed(
        &self,
        number: usize,
        code: RDKafkaErrorCode,
        (topic, partition): (&str, i32),
        bytes: usize,
        mark: impl FnOnce() -> Mark,
    ) {
        use RDKafkaErrorCode as Code;
        let mut state = self.state.lock();
        state.is_broken = true;
        let at = number.wrapping_sub(state.first);
        if let Some(taken) = state.taken.get_mut(at) {
            taken.failed += 1;
        }
        // These came back because others did.
        let is_consequence = matches!(
            code,
            Code::PurgeQueue | Code::PurgeInflight | Code::Fatal | Code::InvalidDifferentRecord
        );
        if is_too_large(code) || is_refused(code) {
            state.answered += 1;
            state.failed.refused.push(Refused { mark: mark(), code, topic: topic.to_owned(), bytes });
        } else if is_consequence {
            if !state.failed.unanswered.contains_key(topic) {
                state.failed.unanswered.insert(topic.to_owned(), BTreeMap::new());
            }
            let partitions = state.failed.unanswered.get_mut(topic).expect("it was just put there");
            *partitions.entry(partition).or_default() += 1;
        } else {
            state.failed.first.get_or_insert_with(|| (code, topic.to_owned()));
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
        let state = self.state.lock();
        state.is_broken || state.fault.is_some()
    }

    /// Whether something failed beside records that brokers refuse, or records came back for nobody knows what.
    pub fn is_lost(&self) -> bool {
        let state = self.state.lock();
        state.has_other_reasons() || !state.failed.unanswered.is_empty()
    }

    /// The topic that records waited for in vain without knowing any partition of it.
    pub fn waits_for_topic(&self) -> Option<String> {
        let state = self.state.lock();
        let is_silence = matches!(state.fault, Some(KafkaSinkError::Timeout { .. }));
        state.failed.without_partitions().filter(|_| is_silence).map(str::to_owned)
    }

    /// What failed, with all the records that came back.
    pub fn take_failure(&self) -> (Option<KafkaSinkError>, Failed) {
        let mut state = self.state.lock();
        state.is_broken = false;
        (state.fault.take(), std::mem::take(&mut state.failed))
    }

    /// The records that brokers refuse, if nothing else is why any came back. `None`: something is, and nothing is taken.
    /// Those of a transaction that was given up come back because of others.
    pub fn take_refused(&self, was_given_up: bool) -> Option<Vec<Refused>> {
        let mut state = self.state.lock();
        if state.has_other_reasons() || !(was_given_up || state.failed.unanswered.is_empty()) {
            return None;
        }
        state.is_broken = false;
        Some(std::mem::take(&mut state.failed).refused)
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

    /// Whether what became of every record that was handed over is known.
    pub fn is_settled(&self) -> bool {
        self.state.lock().taken.iter().all(Taken::is_settled)
    }

    /// How many records were handed over with deliveries that are not durable.
    pub fn handed_over(&self) -> usize {
        self.state.lock().taken.iter().map(|taken| taken.sent).sum()
    }

    /// Records that were handed over so far.
    pub fn handed_over_ever(&self) -> u64 {
        let state = self.state.lock();
        let open: usize =
            state.taken.iter().map(|taken| taken.sent.saturating_sub(taken.acked + taken.failed)).sum();
        state.answered + open as u64
    }

    /// Records that brokers answered so far.
    pub fn answered(&self) -> u64 {
        self.state.lock().answered
    }

    /// Bytes handed over with deliveries that are not durable.
    pub fn bytes(&self) -> usize {
        self.state.lock().taken.iter().map(|taken| taken.bytes).sum()
    }

    /// About so many bytes of records are not acknowledged.
    pub fn under_way(&self) -> usize {
        self.state.lock().taken.iter().map(Taken::under_way).sum()
    }

    /// Whether each acknowledgement wakes who waits.
    pub fn wants_each(&self, wants: bool) {
        self.state.lock().wants_each = wants;
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
        assert_eq!(in_flight.under_way(), 45, "half of the second one has arrived");
        in_flight.acked(numbers[1]);
        in_flight.acked(numbers[0]);
        assert_eq!(in_flight.take_durable(), None, "the first is not");
        in_flight.acked(numbers[0]);
        assert_eq!(in_flight.take_durable(), Some(8));
        assert_eq!((in_flight.bytes(), in_flight.answered()), (0, 4));
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
        use RDKafkaErrorCode as Code;
        let in_flight = InFlight::default();
        let mark = |n: u64| Mark::of("", &n.to_le_bytes(), b"", std::iter::empty());
        let number = in_flight.begin(1);
        let fails = |code, topic, partition, n| {
            in_flight.sending(1);
            in_flight.failed(number, code, (topic, partition), 9, || mark(n));
        };
        fails(Code::MessageSizeTooLarge, "b", 1, 2);
        assert!(!in_flight.sending(1), "nothing goes after it");
        assert!(in_flight.is_broken() && in_flight.is_settled());
        let refused = in_flight.take_refused(false);
        let large = |n| {
            let (mark, code) = (mark(n), Code::MessageSizeTooLarge);
            Refused { mark, code, topic: "b".to_owned(), bytes: 9 }
        };
        assert_eq!(refused, Some(vec![large(2)]));
        assert!(!in_flight.is_broken());
        fails(Code::PurgeQueue, "a", 3, 1);
        fails(Code::MessageSizeTooLarge, "b", 1, 2);
        assert_eq!(in_flight.take_refused(false), None, "why did the other one come back?");
        assert_eq!(in_flight.take_refused(true), Some(vec![large(2)]), "it was given up");
        fails(Code::PurgeQueue, "a", 3, 1);
        fails(Code::TopicAuthorizationFailed, "c", 0, 3);
        assert_eq!(in_flight.take_refused(true), None);
        let (fault, failed) = in_flight.take_failure();
        assert_eq!(fault, None);
        assert_eq!(failed.first, Some((Code::TopicAuthorizationFailed, "c".to_owned())));
        assert_eq!(failed.waits(), " of 1 records for topic a, partition 3");
        assert_eq!(failed.without_partitions(), None);
        fails(Code::PurgeQueue, "a", -1, 1);
        fails(Code::PurgeInflight, "b", 0, 1);
        let (_, failed) = in_flight.take_failure();
        assert_eq!(failed.waits(), " of 2 records for topic a, partition -1 and 1 more");
        assert_eq!(failed.without_partitions(), Some("a"));
        assert!(!in_flight.is_broken());
    }
}
