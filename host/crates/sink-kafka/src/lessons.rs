//! What a producer learned about records that brokers refuse, for the one after it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;

use crate::in_flight::Failed;

/// The least that a batch is made.
const LEAST_BATCH: usize = 1;
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
        self.refused.extend(failed.refused.iter().map(|(mark, code)| (*mark, Refusal::ByBroker(*code))));
        let mut several = false;
        for marks in failed.too_large.values() {
            match marks.as_slice() {
                // It was alone in its batch.
                [mark] => {
                    self.refused.insert(*mark, Refusal::TooLarge);
                }
                _ => several = true,
            }
        }
        if several {
            self.batch = Some((self.batch.unwrap_or(batch) / 8).max(LEAST_BATCH));
        } else if !failed.too_large.is_empty() {
            // It was that one, most likely, and not the others' size.
            self.batch = None;
        }
        several
    }

    /// Whether nothing is known to be refused.
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }

    /// Why this record cannot be delivered; once it is told it is forgotten.
    pub fn take(&mut self, mark: Mark) -> Option<Refusal> {
        self.refused.remove(&mark)
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

    fn failed(too_large: &[&[u64]]) -> Failed {
        let mark = |n: &u64| Mark::of(&n.to_le_bytes(), b"");
        let of = |(at, marks): (usize, &&[u64])| {
            (("t".to_owned(), at as i32), marks.iter().map(mark).collect::<Vec<_>>())
        };
        Failed { too_large: too_large.iter().enumerate().map(of).collect(), ..Failed::default() }
    }

    #[test]
    fn batches_shrink_until_the_record_that_is_too_large_was_alone() {
        let mut lessons = Lessons::default();
        assert!(lessons.learn(&failed(&[&[1, 2, 3]]), BATCH));
        assert_eq!((lessons.batch, lessons.is_empty()), (Some(BATCH / 8), true));
        assert!(lessons.learn(&failed(&[&[1, 2]]), BATCH));
        assert_eq!(lessons.batch, Some(BATCH / 64));
        assert!(!lessons.learn(&failed(&[&[2]]), BATCH));
        let mark = Mark::of(&2_u64.to_le_bytes(), b"");
        assert_eq!((lessons.batch, lessons.take(mark)), (None, Some(Refusal::TooLarge)));
        assert_eq!(lessons.take(mark), None, "it was told");
        assert!(!lessons.learn(&failed(&[]), BATCH));
    }
}
