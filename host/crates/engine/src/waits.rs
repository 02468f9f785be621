//! What a pipeline waits for that somebody has to bring about: room in a full queue, a stage that is not available.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::retry::Hurry;
use crate::status::Failure;

/// All that a pipeline waits for now. Clones are the same list.
#[derive(Clone, Default)]
pub struct Waits {
    list: Arc<Mutex<List>>,
    /// How many commands wait for the next batch boundary.
    commands: Arc<watch::Sender<usize>>,
    /// None is carried out there.
    takes_none: Arc<AtomicBool>,
    /// What waited made room for one of them.
    made_room: Arc<AtomicBool>,
    /// The pipeline is to end.
    ending: Arc<watch::Sender<bool>>,
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
    /// Since when it has held the pipeline up, if it does.
    holding: Option<Instant>,
    /// It is part of the day's work until it is overdue.
    usual: bool,
    retry_at: Option<Instant>,
}

impl Wait {
    fn is_overdue(&self) -> bool {
        let holding = self.holding.map(|since| since.elapsed());
        self.patience.is_some_and(|patience| holding.is_some_and(|holding| holding > patience))
    }

    /// Whether it is worth a line in the log.
    fn is_worth_telling(&self) -> bool {
        if self.usual { self.is_overdue() } else { self.since.elapsed() >= PASSES_WITHIN }
    }

    fn shown(&self) -> Awaited {
        let Failure { code, message, retriable } = self.failure.clone();
        Awaited { code, message, retriable, retry_in_ms: self.retry_at.map(ms_until) }
    }
}

/// What passes sooner need not be told.
const PASSES_WITHIN: Duration = Duration::from_secs(1);

/// Milliseconds from now.
pub(crate) fn ms_until(at: Instant) -> u64 {
    at.saturating_duration_since(Instant::now()).as_millis() as u64
}

/// Something that a pipeline waits for.
#[derive(Debug, Clone, Serialize)]
pub struct Awaited {
    /// A stable code with a page in docs/errors.
    pub code: String,
    /// What is waited for and why.
    pub message: String,
    /// Whether waiting may help without anybody doing anything.
    pub retriable: bool,
    /// When it is tried again, milliseconds from now; `None`: it goes on by itself as soon as it can.
    pub retry_in_ms: Option<u64>,
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
        self.add(failure, patience, false)
    }

    /// The same for what is part of the day's work, as back-pressure is: the log tells of it after `patience` only.
    pub(crate) fn begin_usual(&self, failure: Failure, patience: Duration) -> Waiting {
        self.add(failure, Some(patience), true)
    }

    fn add(&self, failure: Failure, patience: Option<Duration>, usual: bool) -> Waiting {
        let since = Instant::now();
        let wait = Wait { failure, since, patience, holding: patience.map(|_| since), usual, retry_at: None };
        let mut list = self.list.lock();
        let number = list.next;
        list.next += 1;
        list.waiting.insert(number, wait);
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

    /// Waits until a command waits for the next batch boundary, which whoever waits for this makes room for: the attempt ends, and
    /// the next one begins with it.
    pub(crate) async fn commanded(&self) {
        self.command_waits().await;
        self.made_room.store(true, Ordering::SeqCst);
    }

    /// Whether a command is carried out at the batch boundary that the next attempt begins with: not inside a transaction of which a
    /// part was handed out, nor where what was processed before is processed again.
    pub(crate) fn set_takes_commands(&self, takes: bool) {
        self.takes_none.store(!takes, Ordering::SeqCst);
    }

    /// The same for work that no command has to wait for.
    pub(crate) fn aside(&self) -> Self {
        Self { takes_none: Arc::new(AtomicBool::new(true)), ..self.clone() }
    }

    async fn command_waits(&self) {
        if self.takes_none.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        // It cannot fail: this holds the sender.
        let _ = self.commands.subscribe().wait_for(|commands| *commands > 0).await;
    }

    /// Says whether the pipeline is to end with what it has read.
    pub(crate) fn set_ending(&self, ending: bool) {
        self.ending.send_replace(ending);
    }

    /// Waits until somebody waits for the batch: a command for its end, or whoever ends the pipeline.
    pub(crate) async fn wanted(&self) {
        let mut ending = self.ending.subscribe();
        tokio::select! {
            () = self.command_waits() => {}
            // It cannot fail: this holds the sender.
            _ = ending.wait_for(|ending| *ending) => {}
        }
    }

    /// Whether the attempt that has just ended made room for a command; once.
    pub(crate) fn made_room(&self) -> bool {
        self.made_room.swap(false, Ordering::SeqCst)
    }

    /// For how long the pipeline has been waiting for something that holds it up.
    pub(crate) fn longest(&self) -> Option<Duration> {
        let list = self.list.lock();
        list.waiting.values().filter_map(|wait| wait.holding).map(|since| since.elapsed()).max()
    }

    /// Everything that is waited for.
    pub(crate) fn list(&self) -> Vec<Awaited> {
        self.list.lock().waiting.values().map(Wait::shown).collect()
    }

    /// What has been waited for too long, if anything, and when it is tried again.
    pub(crate) fn overdue(&self) -> Option<(Failure, Option<u64>)> {
        let list = self.list.lock();
        let overdue = list.waiting.values().find(|wait| wait.is_overdue())?;
        Some((overdue.failure.clone(), overdue.retry_at.map(ms_until)))
    }

    /// What the log is to tell of.
    pub(crate) fn worth_telling(&self) -> Vec<Failure> {
        let list = self.list.lock();
        let worth = list.waiting.values().filter(|wait| wait.is_worth_telling());
        worth.map(|wait| wait.failure.clone()).collect()
    }
}

impl Waiting {
    /// It holds the pipeline up, or does no longer: then it is not overdue either.
    pub(crate) fn holds_up(&self, holds: bool) {
        if let Some(wait) = self.waits.list.lock().waiting.get_mut(&self.number) {
            wait.holding = holds.then(|| wait.holding.unwrap_or_else(Instant::now));
        }
    }

    /// It is tried again after so long.
    pub(crate) fn again_in(&self, pause: Duration) {
        if let Some(wait) = self.waits.list.lock().waiting.get_mut(&self.number) {
            wait.retry_at = Some(Instant::now() + pause);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waits.list.lock().waiting.remove(&self.number);
    }
}
