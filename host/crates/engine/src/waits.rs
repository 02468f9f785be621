//! What a pipeline waits for that somebody has to bring about: room in a full queue, a stage that is not available.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::status::Failure;

/// All that a pipeline waits for now. Clones are the same list.
#[derive(Clone, Default)]
pub struct Waits(Arc<Mutex<BTreeMap<String, (Failure, Instant)>>>);

/// Something is waited for until this is dropped.
pub(crate) struct Waiting {
    waits: Waits,
    who: String,
}

impl Waits {
    /// Says that `who` waits, and why.
    pub(crate) fn begin(&self, who: String, failure: Failure) -> Waiting {
        self.0.lock().insert(who.clone(), (failure, Instant::now()));
        Waiting { waits: self.clone(), who }
    }

    /// Why the one waits that has waited longest, and since when.
    pub(crate) fn longest(&self) -> Option<(Failure, Instant)> {
        self.0.lock().values().min_by_key(|(_, since)| *since).cloned()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waits.0.lock().remove(&self.who);
    }
}
