//! What a pipeline waits for that somebody has to bring about: room in a full queue, a stage that is not available.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::status::Failure;

/// All that a pipeline waits for now. Clones are the same list.
#[derive(Clone, Default)]
pub struct Waits(Arc<Mutex<List>>);

#[derive(Default)]
struct List {
    next: u64,
    waiting: BTreeMap<u64, Wait>,
}

#[derive(Clone)]
struct Wait {
    failure: Failure,
    since: Instant,
    patience: Option<Duration>,
}

/// Something is waited for until this is dropped.
pub struct Waiting {
    waits: Waits,
    number: u64,
}

impl Waits {
    /// Says that something is waited for, and why. The pipeline is degraded at once; after `patience` it counts as
    /// failed. `None`: what waits holds nothing else up.
    pub fn begin(&self, failure: Failure, patience: Option<Duration>) -> Waiting {
        let mut list = self.0.lock();
        let number = list.next;
        list.next += 1;
        list.waiting.insert(number, Wait { failure, since: Instant::now(), patience });
        Waiting { waits: self.clone(), number }
    }

    /// Everything that is waited for.
    pub(crate) fn list(&self) -> Vec<Failure> {
        self.0.lock().waiting.values().map(|wait| wait.failure.clone()).collect()
    }

    /// What has been waited for too long, if anything.
    pub(crate) fn overdue(&self) -> Option<Failure> {
        let list = self.0.lock();
        let overdue = |wait: &&Wait| wait.patience.is_some_and(|patience| wait.since.elapsed() > patience);
        list.waiting.values().find(overdue).map(|wait| wait.failure.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waits.0.lock().waiting.remove(&self.number);
    }
}
