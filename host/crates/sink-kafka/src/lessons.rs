//! What a producer learned about batches that brokers refuse, for the one after it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;
use serde_json::Value;

use crate::error::is_too_large;

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
    /// Of a record for this topic, with this key, this body and these headers.
    pub fn of<'a>(
        topic: &str,
        key: &[u8],
        body: &[u8],
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        (topic, key, body).hash(&mut hasher);
        headers.for_each(|header| header.hash(&mut hasher));
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

impl From<RDKafkaErrorCode> for Refusal {
    fn from(code: RDKafkaErrorCode) -> Self {
        if is_too_large(code) { Self::TooLarge } else { Self::ByBroker(code) }
    }
}

/// What one sink's producers learned.
///
/// Which records of a refused batch are to blame shows when each of them is sent alone. So everything that was under way then
/// is, and nothing else: that is slow.
#[derive(Debug, Default)]
pub(crate) struct Lessons {
    /// Batches must be smaller than the settings say.
    pub batch: Option<usize>,
    /// So many records more go one by one.
    pub alone: usize,
    /// That is because of the size of batches.
    is_of_size: bool,
    /// The smallest of those records that was too large by itself, in bytes.
    smallest: Option<usize>,
    /// Records of what was under way that are not worth sending in a transaction.
    found: Found,
    /// Of which block of the document all this is.
    block: u64,
}

/// What was found is not true for ever: topics change.
const TRUE_FOR: Duration = Duration::from_secs(120);

/// Records that are refused. More than one may bear the same mark.
#[derive(Debug, Default)]
pub(crate) struct Found {
    marks: HashMap<Mark, (Refusal, bool)>,
    /// When the last one was.
    at: Option<Instant>,
}

impl Found {
    /// This one is.
    pub fn insert(&mut self, mark: Mark, why: Refusal) {
        self.marks.insert(mark, (why, false));
        self.at = Some(Instant::now());
    }

    pub fn contains(&self, mark: &Mark) -> bool {
        self.marks.contains_key(mark)
    }

    pub fn len(&self) -> usize {
        self.marks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Why it is refused, if it is; that is told now.
    pub fn tell(&mut self, mark: &Mark) -> Option<Refusal> {
        let (why, is_told) = self.marks.get_mut(mark)?;
        *is_told = true;
        Some(*why)
    }

    /// All that was under way was tried by now, however long that took.
    pub fn tried(self) -> Self {
        Self { at: self.at.map(|_| Instant::now()), ..self }
    }

    /// What was told is over.
    pub fn forget_told(&mut self) {
        self.marks.retain(|_, (_, is_told)| !*is_told);
    }
}

impl Lessons {
    /// Some of so many records under way came back, in batches that were refused; because of their size, or not.
    pub fn refused(&mut self, under_way: usize, is_of_size: bool) {
        self.alone = self.alone.max(under_way).max(1);
        self.is_of_size |= is_of_size;
    }

    /// Whether records go one by one.
    pub fn sends_alone(&self) -> bool {
        self.alone > 0
    }

    /// Keeps what was found for the next producer.
    pub fn keep(&mut self, found: Found) {
        self.found = found;
    }

    /// What was found not long ago.
    pub fn take_found(&mut self) -> Found {
        let found = std::mem::take(&mut self.found);
        if found.at.is_some_and(|at| at.elapsed() < TRUE_FOR) { found } else { Found::default() }
    }

    /// A record was too large by itself.
    pub fn too_large(&mut self, bytes: usize) {
        self.smallest = Some(self.smallest.map_or(bytes, |smallest| smallest.min(bytes)));
    }

    /// So many records went one by one. After the last of them batches are below what proved to be too large: a single
    /// record, or else the batches themselves, which were `batch` bytes without lessons.
    pub fn went(&mut self, records: usize, batch: usize) {
        self.alone = self.alone.saturating_sub(records);
        if self.alone > 0 {
            return;
        }
        let (is_of_size, smallest) = (std::mem::take(&mut self.is_of_size), self.smallest.take());
        if !is_of_size {
            return;
        }
        let before = self.batch.unwrap_or(batch);
        let most = smallest.unwrap_or(before - 1).max(SINGLE);
        let mut now = before;
        while now > most {
            now = (now / SHRINK).max(SINGLE);
        }
        if now < before {
            self.batch = Some(now);
        }
    }
}

/// The lessons of every sink that this host opened, by its name.
#[derive(Debug, Clone, Default)]
pub(crate) struct School(Arc<Mutex<HashMap<String, Arc<Mutex<Lessons>>>>>);

impl School {
    /// One sink's, as far as they are of the block that it has now.
    pub fn of(&self, sink: &str, block: &Value) -> Arc<Mutex<Lessons>> {
        let mut hasher = DefaultHasher::new();
        block.to_string().hash(&mut hasher);
        let block = hasher.finish();
        let lessons = self.0.lock().entry(sink.to_owned()).or_default().clone();
        let mut known = lessons.lock();
        if known.block != block {
            *known = Lessons { block, ..Lessons::default() };
        }
        drop(known);
        lessons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_under_way_goes_alone_and_nothing_after_it() {
        let mut lessons = Lessons::default();
        assert!(!lessons.sends_alone());
        lessons.refused(10, false);
        lessons.went(4, BATCH);
        assert!(lessons.sends_alone());
        lessons.refused(3, false);
        lessons.went(6, BATCH);
        assert!(!lessons.sends_alone());
        assert_eq!(lessons.batch, None, "their size was not why");
    }

    #[test]
    fn lessons_are_of_the_block_that_a_sink_has() {
        let (school, block) = (School::default(), serde_json::json!({ "topic": "a" }));
        school.of("t/p/out", &block).lock().refused(3, true);
        assert!(school.of("t/p/out", &block).lock().sends_alone());
        assert!(!school.of("t/p/out", &serde_json::json!({ "topic": "b" })).lock().sends_alone());
        let mut found = Found::default();
        found.insert(Mark::of("", b"", b"", std::iter::empty()), Refusal::TooLarge);
        let mut lessons = Lessons::default();
        lessons.keep(found);
        assert_eq!((lessons.take_found().len(), lessons.take_found().len()), (1, 0));
    }

    #[test]
    fn what_was_found_is_not_younger_for_being_kept_again() {
        let (mut lessons, mut found) = (Lessons::default(), Found::default());
        found.insert(Mark::of("", b"", b"", std::iter::empty()), Refusal::TooLarge);
        found.at = Instant::now().checked_sub(TRUE_FOR / 2);
        lessons.keep(found);
        let mut found = lessons.take_found();
        assert_eq!(found.len(), 1);
        found.at = found.at.and_then(|at| at.checked_sub(TRUE_FOR / 2));
        lessons.keep(found);
        assert_eq!(lessons.take_found().len(), 0, "the topic may take it by now");

        let mut found = Found::default();
        found.insert(Mark::of("", b"", b"", std::iter::empty()), Refusal::TooLarge);
        found.at = Instant::now().checked_sub(TRUE_FOR);
        lessons.keep(found.tried());
        assert_eq!(lessons.take_found().len(), 1, "it took long to try all that was under way");
    }

    #[test]
    fn batches_shrink_below_what_was_too_large() {
        let mut lessons = Lessons::default();
        let mut refused = |smallest: Option<usize>| {
            lessons.refused(2, true);
            if let Some(bytes) = smallest {
                lessons.too_large(bytes + 1);
                lessons.too_large(bytes);
            }
            lessons.went(2, BATCH);
            lessons.batch
        };
        assert_eq!(refused(Some(BATCH)), None, "it was that one, and not the others' size");
        assert_eq!(refused(Some(40_000)), Some(BATCH / 64), "no batch of that size can pass");
        assert_eq!(refused(Some(40_000)), Some(BATCH / 64), "these are smaller");
        assert_eq!(refused(None), Some(BATCH / 64 / 64), "none was too large by itself");
        assert_eq!((refused(None), refused(None), refused(None)), (Some(4), Some(1), Some(1)));
    }
}
