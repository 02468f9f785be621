//! What a producer learned about records that brokers refuse, for the one after it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;

use crate::error::is_too_large;
use crate::in_flight::Failed;

/// Batches of one record each.
const SINGLE: usize = 1;
/// By how much batches shrink while they are too large: to what all but the smallest topics take, then to single records.
const SHRINK: usize = 64;
/// What batches begin with.
pub(crate) const BATCH: usize = 1 << 20;

/// A record, told from others by what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mark(u64);

impl Mark {
    /// Of a record with this key and body.
    pub fn of(key: &[u8], body: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        (key, body).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Why a record can never be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is larger than its topic takes.
    TooLarge,
    /// The broker says so.
    ByBroker(RDKafkaErrorCode),
}

/// What one sink's producers learned.
#[derive(Debug, Default)]
pub(crate) struct Lessons {
    refused: HashMap<Mark, Refusal>,
    /// Batches must be smaller than the settings say.
    pub batch: Option<usize>,
}

impl Lessons {
    /// Learns from the records that came back. Answers whether a batch of several was too large.
    pub fn learn(&mut self, failed: &Failed, batch: usize) -> bool {
        let (mut large, mut refused, mut found) = (false, false, false);
        let were_single = self.batch == Some(SINGLE);
        for (code, marks) in failed.suspects.values() {
            // Several batches of a partition are under way at once, so several that were alone may come back.
            if marks.len() == 1 || were_single {
                let refusal = if is_too_large(*code) { Refusal::TooLarge } else { Refusal::ByBroker(*code) };
                self.refused.extend(marks.iter().map(|mark| (*mark, refusal)));
                found = true;
            } else if is_too_large(*code) {
                large = true;
            } else {
                refused = true;
            }
        }
        if refused {
            self.batch = Some(SINGLE);
        } else if large {
            self.batch = Some((self.batch.unwrap_or(batch) / SHRINK).max(SINGLE));
        } else if found {
            // It was that one, most likely, and not the others' size.
            self.batch = None;
        }
        large
    }

    /// Whether nothing is known to be refused.
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }

    /// Why this record cannot be delivered.
    pub fn refusal(&self, mark: Mark) -> Option<Refusal> {
        self.refused.get(&mark).copied()
    }

    /// The pipeline knows of it, and will not send it again.
    pub fn told(&mut self, mark: Mark) {
        self.refused.remove(&mark);
    }
}

/// The lessons of every sink that this host opened, by its name.
#[derive(Debug, Clone, Default)]
pub(crate) struct School(Arc<Mutex<HashMap<String, Arc<Mutex<Lessons>>>>>);

impl School {
    /// One sink's.
    pub fn of(&self, sink: &str) -> Arc<Mutex<Lessons>> {
        self.0.lock().entry(sink.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: RDKafkaErrorCode, batches: &[&[u64]]) -> Failed {
        let mark = |n: &u64| Mark::of(&n.to_le_bytes(), b"");
        let of = |(at, marks): (usize, &&[u64])| {
            (("t".to_owned(), at as i32), (code, marks.iter().map(mark).collect::<Vec<_>>()))
        };
        Failed { suspects: batches.iter().enumerate().map(of).collect(), ..Failed::default() }
    }

    #[test]
    fn batches_shrink_until_the_record_that_is_to_blame_was_alone() {
        let mark = Mark::of(&2_u64.to_le_bytes(), b"");
        let (large, invalid) = (RDKafkaErrorCode::MessageSizeTooLarge, RDKafkaErrorCode::InvalidRecord);
        let mut lessons = Lessons::default();
        assert!(lessons.learn(&failed(large, &[&[1, 2, 3]]), BATCH));
        assert_eq!((lessons.batch, lessons.is_empty()), (Some(BATCH / 64), true));
        assert!(lessons.learn(&failed(large, &[&[1, 2], &[3]]), BATCH));
        assert_eq!(lessons.batch, Some(BATCH / 64 / 64));
        assert!(!lessons.learn(&failed(large, &[&[2]]), BATCH));
        assert_eq!((lessons.batch, lessons.refusal(mark)), (None, Some(Refusal::TooLarge)));
        lessons.told(mark);
        assert_eq!(lessons.refusal(mark), None);
        assert!(!lessons.learn(&failed(large, &[]), BATCH));
        assert!(!lessons.learn(&failed(invalid, &[&[1, 2]]), BATCH));
        assert_eq!(lessons.batch, Some(1));
        assert!(!lessons.learn(&failed(invalid, &[&[2]]), BATCH));
        assert_eq!((lessons.batch, lessons.refusal(mark)), (None, Some(Refusal::ByBroker(invalid))));
    }

    #[test]
    fn of_batches_of_one_record_each_is_to_blame() {
        let (large, invalid) = (RDKafkaErrorCode::MessageSizeTooLarge, RDKafkaErrorCode::InvalidRecord);
        for (code, refusal) in [(large, Refusal::TooLarge), (invalid, Refusal::ByBroker(invalid))] {
            let mut lessons = Lessons::default();
            for _ in 0..5 {
                lessons.learn(&failed(code, &[&[1, 2]]), BATCH);
            }
            for n in [1_u64, 2] {
                assert_eq!(lessons.refusal(Mark::of(&n.to_le_bytes(), b"")), Some(refusal), "{n}");
            }
        }
    }
}
