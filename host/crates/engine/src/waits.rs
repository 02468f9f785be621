//! What a pipeline waits for that somebody has to bring about: room in a full queue, a stage that is not available.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::retry::Hurry;
use crate::status::Failure;

/// All that a pipeline waits for now. Clones are the same list.
#[derive(Clone, Default)]
pub struct Waits {
    list: Arc<Mutex<List>>,
    /// How many commands wait for the next batch boundary.
    commands: Arc<watch::Sender<usize>>,
    hurry: Hurry,
}

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

/// A command waits for the next batch boundary until this is dropped.
pub(crate) struct Commanding(Waits);

impl Drop for Commanding {
    fn drop(&mut self) {
        self.0.commands.send_modify(|commands| *commands -= 1);
    }
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
        let mut list = self.list.lock();
        let number = list.next;
        list.next += 1;
        list.waiting.insert(number, Wait { failure, since: Instant::now(), patience });
        Waiting { waits: self.clone(), number }
    }

    /// What an operator hurries with a resume: all that waits for its next try.
    pub fn hurry(&self) -> &Hurry {
        &self.hurry
    }

    /// Says that a command waits for the next batch boundary: what only waits for better times makes room for it.
    pub(crate) fn command(&self) -> Commanding {
        self.commands.send_modify(|commands| *commands += 1);
        Commanding(self.clone())
    }

    /// Waits until a command waits for the next batch boundary.
    pub(crate) async fn commanded(&self) {
        // It cannot fail: this holds the sender.
        let _ = self.commands.subscribe().wait_for(|commands| *commands > 0).await;
    }

    /// For how long the pipeline has been waiting for something that holds it up.
    pub(crate) fn longest(&self) -> Option<Duration> {
        let list = self.list.lock();
        let holding = list.waiting.values().filter(|wait| wait.patience.is_some());
        holding.map(|wait| wait.since.elapsed()).max()
    }

    /// Everything that is waited for.
    pub(crate) fn list(&self) -> Vec<Failure> {
        self.list.lock().waiting.values().map(|wait| wait.failure.clone()).collect()
    }

    /// What has been waited for too long, if anything.
    pub(crate) fn overdue(&self) -> Option<Failure> {
        let list = self.list.lock();
        let overdue = |wait: &&Wait| wait.patience.is_some_and(|patience| wait.since.elapsed() > patience);
        list.waiting.values().find(overdue).map(|wait| wait.failure.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waits.list.lock().waiting.remove(&self.number);
    }
}
