//! Taps: copies of the events that enter a stage or an envelope, for whoever asks.
//!
//! Nobody asks most of the time, and that costs a batch one load. Who does gets copies of so many events from then on, taken
//! before the code runs, and of no more bytes than are reserved for them and for the answer. The stream waits for nobody: what a tap has
//! asked for is copied in passing, and a tap whose asker is gone is forgotten.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deltaforge_model::{Batch, Event, EventId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::budget::{Budget, Reservation};
use crate::status::Failure;

/// Most events of one tap: what a stage is shown at once.
pub const MOST_EVENTS: usize = 500;
/// Most bytes of them, in rows.
pub const MOST_BYTES: usize = 1 << 20;
/// Most bytes of them as a text. A row of nulls takes more than in memory: each column's name.
pub const MOST_TEXT: usize = 4 << 20;
/// What a tap may hold until its answer is read: the rows, their masked form, and the text.
pub const RESERVED: usize = 2 * MOST_BYTES + MOST_TEXT;
/// Longest wait for them.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Most taps of a pipeline at once.
const AT_ONCE: usize = 4;

/// What is tapped, by its place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A stage.
    Stage(usize),
    /// The envelope of a sink.
    Envelope(usize),
}

/// Why a tap has no more events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It has all that were asked for.
    Full,
    /// The next one would pass [`MOST_BYTES`].
    Bytes,
    /// No more came in time.
    Time,
    /// The pipeline was stopped.
    Stopped,
}

/// What a tap got.
pub struct Tapped {
    /// The events, in order, and each once: those that a retry brings again are not there again.
    pub events: Vec<Batch>,
    /// Why there are no more.
    pub ended: Ended,
    /// The stages that have hidden values in them, which stand behind what was tapped.
    pub masked_by: Vec<String>,
    /// It counts as a tap until this is dropped.
    pub open: Tapping,
}

/// The taps of a pipeline. Clones are the same ones.
#[derive(Clone, Default)]
pub(crate) struct Taps(Arc<Inner>);

#[derive(Default)]
struct Inner {
    open: AtomicUsize,
    taps: Mutex<Vec<Arc<Tap>>>,
}

struct Tap {
    place: Place,
    taken: Mutex<Taken>,
    ended: Notify,
    _held: Reservation,
}

struct Taken {
    batches: Vec<Batch>,
    seen: HashSet<EventId>,
    /// Events yet wanted.
    wanted: usize,
    /// Bytes that there is room for.
    room: usize,
    ended: Option<Ended>,
}

/// A tap that somebody waits for; forgotten when this is dropped.
pub struct Tapping {
    taps: Taps,
    tap: Arc<Tap>,
}

impl Taps {
    /// Copies `events` that enter a place from now on.
    ///
    /// # Errors
    ///
    /// When there are too many taps, or no memory for another one.
    pub fn open(&self, place: Place, events: usize, budget: &Budget) -> Result<Tapping, Failure> {
        let busy = |message: String| Failure { code: "taps_busy".into(), message, retriable: true };
        let mut taps = self.0.taps.lock();
        if taps.len() >= AT_ONCE {
            return Err(busy(format!(
                "the pipeline has {AT_ONCE} taps, the most at once: try again in a moment"
            )));
        }
        let held = budget.try_reserve(RESERVED);
        let held = held.ok_or_else(|| {
            busy("the host's memory is in use (--memory-budget), so there is none for a tap now".to_owned())
        })?;
        let taken = Taken {
            batches: Vec::new(),
            seen: HashSet::new(),
            wanted: events,
            room: MOST_BYTES,
            ended: None,
        };
        let tap = Arc::new(Tap { place, taken: Mutex::new(taken), ended: Notify::new(), _held: held });
        taps.push(tap.clone());
        self.0.open.store(taps.len(), Ordering::Relaxed);
        Ok(Tapping { taps: self.clone(), tap })
    }

    /// Copies what taps of this place want of a batch before it goes in. `admits`: what the code there is shown.
    pub fn enter(&self, place: Place, batch: &Batch, admits: impl Fn(&Event<'_>) -> bool) {
        if self.0.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        for tap in self.0.taps.lock().iter().filter(|tap| tap.place == place) {
            let mut taken = tap.taken.lock();
            taken.take(batch, &admits);
            if taken.ended.is_some() {
                tap.ended.notify_one();
            }
        }
    }
}

impl Taken {
    fn take(&mut self, batch: &Batch, admits: impl Fn(&Event<'_>) -> bool) {
        let mut rows = Vec::new();
        for (row, event) in batch.events().enumerate() {
            if self.ended.is_some() {
                break;
            }
            if !admits(&event) || self.seen.contains(&event.id()) {
                continue;
            }
            let bytes = event.byte_size();
            if bytes > self.room {
                self.ended = Some(Ended::Bytes);
                break;
            }
            self.seen.insert(event.id());
            rows.push(row);
            self.room -= bytes;
            self.wanted -= 1;
            if self.wanted == 0 {
                self.ended = Some(Ended::Full);
            }
        }
        if !rows.is_empty() {
            self.batches.push(batch.pick(&rows));
        }
    }
}

impl Tapping {
    /// Waits until nothing more is copied.
    pub(crate) async fn ended(&self) {
        self.tap.ended.notified().await;
    }

    /// Takes what was copied; nothing more is. `otherwise`: why not, where the tap itself does not know.
    pub(crate) fn close(&self, otherwise: Ended) -> (Vec<Batch>, Ended) {
        let mut taken = self.tap.taken.lock();
        let ended = *taken.ended.get_or_insert(otherwise);
        (std::mem::take(&mut taken.batches), ended)
    }
}

impl Drop for Tapping {
    fn drop(&mut self) {
        let mut taps = self.taps.0.taps.lock();
        taps.retain(|tap| !Arc::ptr_eq(tap, &self.tap));
        self.taps.0.open.store(taps.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
