//! What the log is told of a dead-letter queue: what happens once at once, and what happens often summed up.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::counter;
use parking_lot::Mutex;
use tracing::{Instrument, error, warn};

use super::Letter;
use crate::narrate::help;
use crate::secrets::Secrets;
use crate::tally::{PAUSE, Tally};

#[cfg(test)]
mod tests;

/// How an entry is lost.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loss {
    /// A newer one took its place.
    Evicted,
    /// It was a new one, and there was no room.
    Rejected,
    /// It was older than it may get.
    Expired,
}

impl Loss {
    fn counter(self) -> &'static str {
        match self {
            Self::Evicted => "deltaforge_dlq_evicted_total",
            Self::Rejected => "deltaforge_dlq_rejected_total",
            Self::Expired => "deltaforge_dlq_expired_total",
        }
    }

    fn say(self, count: u64) {
        let how = match self {
            Self::Evicted => "evicted",
            Self::Rejected => "rejected",
            Self::Expired => {
                return warn!(count, "dead-letter entries nobody acknowledged are gone, by max_age_secs");
            }
        };
        error!(count, how, "dead-letter entries are lost, as overflow_policy asks");
    }
}

/// The lines of one queue.
#[derive(Clone, Default)]
pub(super) struct Told {
    /// Entries lost to the bound. A queue has one policy, so it loses them one way.
    losses: Line,
    /// Entries that went by their age.
    expired: Line,
    /// New entries.
    letters: Arc<Mutex<BTreeMap<Refused, Line>>>,
}

impl Told {
    /// So many entries were lost.
    pub fn lost(&self, pipeline: &str, how: Loss, count: u64) {
        if count == 0 {
            return;
        }
        counter!(how.counter(), "pipeline" => pipeline.to_owned()).increment(count);
        let line = match how {
            Loss::Evicted | Loss::Rejected => &self.losses,
            Loss::Expired => &self.expired,
        };
        line.add(count, move |count| how.say(count));
    }

    /// These events are in the queue. In `secrets` is what the log must not say.
    pub fn stored(&self, letters: &[&Letter<'_>], secrets: &Secrets) {
        let mut alike: BTreeMap<(&str, &str, &str), Vec<&Letter<'_>>> = BTreeMap::new();
        for letter in letters {
            alike.entry((letter.sink_id, letter.stage_id, letter.code)).or_default().push(letter);
        }
        for ((sink, stage, code), alike) in alike {
            let Some(newest) = alike.last() else { continue };
            let text = secrets.hide(newest.message);
            let what = Refused { sink: sink.into(), stage: stage.into(), code: code.into() };
            let line = self.letters.lock().entry(what.clone()).or_default().clone();
            line.add(alike.len() as u64, move |events| what.say(events, &text));
        }
    }
}

/// Who could not take an event, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Refused {
    /// Empty: a stage.
    sink: String,
    /// Empty: a sink.
    stage: String,
    code: String,
}

impl Refused {
    fn say(&self, events: u64, error: &str) {
        let Self { sink, stage, code } = self;
        let help = help(code);
        if sink.is_empty() {
            warn!(stage, code, events, error, help, "events go to the dead-letter queue");
        } else {
            warn!(sink, code, events, error, help, "events go to the dead-letter queue");
        }
    }
}

/// A line that is said at once the first time. What comes sooner than the next one may be said is in that one, which is
/// said when it is due, also if nothing more comes.
#[derive(Clone, Default)]
struct Line(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    tally: Tally,
    /// The newest words for what is not said yet, while somebody waits to say them.
    later: Option<Box<dyn Fn(u64) + Send>>,
}

impl Line {
    fn add(&self, count: u64, say: impl Fn(u64) + Send + 'static) {
        let mut held = self.0.lock();
        held.tally.add(count);
        if let Some(count) = held.tally.due() {
            return say(count);
        }
        if held.later.replace(Box::new(say)).is_some() {
            return;
        }
        let line = self.0.clone();
        let later = async move {
            tokio::time::sleep(PAUSE).await;
            let mut held = line.lock();
            let say = held.later.take();
            if let (Some(say), Some(count)) = (say, held.tally.rest()) {
                say(count);
            }
        };
        tokio::spawn(later.in_current_span());
    }
}
