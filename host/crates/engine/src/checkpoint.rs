//! Writing checkpoints: those of all pipelines and sinks go to the store together.
//!
//! A checkpoint is stored after its sink said *durable* and before the source is told that it may forget.
//! An fsync costs milliseconds and pays for any number of keys, so one task writes what has come in at most
//! once per interval, in one commit. Only the newest value of a key matters; older ones that were not
//! written yet are left out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::state::{StateError, StateStore};

/// Counts checkpoints that were made durable, by `pipeline`.
pub const CHECKPOINTS_TOTAL: &str = "deltaforge_checkpoints_total";

/// How long the first retry waits after the store has failed; each further one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// The longest that a retry waits.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Whose checkpoint it is.
///
/// Shown, it is the key in the store: `checkpoint/{tenant}/{pipeline}/{source_id}/{sink_id}`, where `/` and
/// `%` inside a name are written `%2F` and `%25`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckpointKey {
    /// The pipeline's tenant.
    pub tenant: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The source whose position it is.
    pub source_id: String,
    /// The sink that has everything up to there.
    pub sink_id: String,
}

impl CheckpointKey {
    /// What the keys of one pipeline start with.
    pub fn prefix(tenant: &str, pipeline: &str) -> String {
        format!("checkpoint/{}/{}/", escape(tenant), escape(pipeline))
    }

    /// Reads a key of the store; `None` if it is not a checkpoint's.
    pub fn parse(key: &str) -> Option<Self> {
        let mut names = key.strip_prefix("checkpoint/")?.split('/').map(unescape);
        let mut name = || names.next();
        let parsed = Self { tenant: name()?, pipeline: name()?, source_id: name()?, sink_id: name()? };
        names.next().is_none().then_some(parsed)
    }
}

impl fmt::Display for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = Self::prefix(&self.tenant, &self.pipeline);
        write!(f, "{prefix}{}/{}", escape(&self.source_id), escape(&self.sink_id))
    }
}

fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

fn unescape(name: &str) -> String {
    name.replace("%2F", "/").replace("%25", "%")
}

/// The writer ended before the checkpoint was durable: the host shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint writer has ended")]
pub struct CheckpointsEnded;

/// Stores checkpoints, many in one commit.
///
/// Dropping it makes its task try once more to write what is left, and end.
pub struct Checkpoints {
    store: Arc<dyn StateStore>,
    shared: Arc<Shared>,
}

impl Checkpoints {
    /// At most one commit in this time is a good balance of fsyncs and of how far a source lags behind.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(20);

    /// Starts the writer, which commits at most once per `interval`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(store: Arc<dyn StateStore>, interval: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        tokio::spawn(run(Arc::clone(&store), EndOnDrop(Arc::clone(&shared)), interval));
        Self { store, shared }
    }

    /// Hands in the newest value for `key`. The future resolves when this value, or a later one that took
    /// its place, is durable; until then the store may fail and is tried again, for as long as it takes.
    /// The value is written also if the future is dropped.
    ///
    /// # Errors
    /// [`CheckpointsEnded`], never before the writer has ended.
    pub fn put(
        &self,
        key: &CheckpointKey,
        bytes: Vec<u8>,
    ) -> impl Future<Output = Result<(), CheckpointsEnded>> + Send + use<> {
        let handed_in = self.shared.put(key, bytes);
        self.shared.wake.notify_one();
        async move { handed_in?.durable().await }
    }

    /// Waits until everything handed in before is durable. It waits as long as the store fails: a shutdown
    /// puts its own deadline around it.
    ///
    /// # Errors
    /// [`CheckpointsEnded`], never before the writer has ended.
    pub async fn flush(&self) -> Result<(), CheckpointsEnded> {
        let unwritten = self.shared.all_unwritten()?;
        for waiting in unwritten {
            waiting.durable().await?;
        }
        Ok(())
    }

    /// The durable value of `key`, which may be older than what was handed in.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        self.store.get(&key.to_string()).await
    }

    /// The durable checkpoints of one pipeline.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(
        &self,
        tenant: &str,
        pipeline: &str,
    ) -> Result<Vec<(CheckpointKey, Vec<u8>)>, StateError> {
        let stored = self.store.list(&CheckpointKey::prefix(tenant, pipeline)).await?;
        Ok(stored.into_iter().filter_map(|(key, bytes)| Some((CheckpointKey::parse(&key)?, bytes))).collect())
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_one();
    }
}

/// What callers and the writing task share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was handed in, or nothing will be anymore.
    wake: Notify,
}

#[derive(Default)]
struct State {
    keys: HashMap<CheckpointKey, Newest>,
    /// Nobody can hand in more.
    closing: bool,
    /// Nothing more is written.
    ended: bool,
}

/// The newest value of a key. Values are numbered from 1 on, per key.
struct Newest {
    number: u64,
    bytes: Vec<u8>,
    /// Up to which number the key is durable.
    durable: watch::Sender<u64>,
    written: Counter,
}

impl Newest {
    fn is_durable(&self) -> bool {
        *self.durable.borrow() >= self.number
    }

    fn waiting(&self) -> Waiting {
        Waiting { number: self.number, durable: self.durable.subscribe() }
    }
}

/// Waits for one value to be durable.
struct Waiting {
    number: u64,
    durable: watch::Receiver<u64>,
}

impl Waiting {
    async fn durable(mut self) -> Result<(), CheckpointsEnded> {
        let reached = self.durable.wait_for(|durable| *durable >= self.number).await;
        reached.map(drop).map_err(|_| CheckpointsEnded)
    }
}

/// A value on its way to the store.
struct Unwritten {
    key: CheckpointKey,
    number: u64,
    bytes: Vec<u8>,
}

impl Shared {
    fn put(&self, key: &CheckpointKey, bytes: Vec<u8>) -> Result<Waiting, CheckpointsEnded> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(CheckpointsEnded);
        }
        let newest = match state.keys.entry(key.clone()) {
            Entry::Occupied(present) => {
                let newest = present.into_mut();
                newest.number += 1;
                newest.bytes = bytes;
                newest
            }
            Entry::Vacant(vacant) => vacant.insert(Newest {
                number: 1,
                bytes,
                durable: watch::Sender::new(0),
                written: metrics::counter!(CHECKPOINTS_TOTAL, "pipeline" => key.pipeline.clone()),
            }),
        };
        Ok(newest.waiting())
    }

    fn all_unwritten(&self) -> Result<Vec<Waiting>, CheckpointsEnded> {
        let state = self.state.lock();
        if state.ended {
            return Err(CheckpointsEnded);
        }
        Ok(state.keys.values().filter(|newest| !newest.is_durable()).map(Newest::waiting).collect())
    }

    fn take_unwritten(&self) -> Vec<Unwritten> {
        let state = self.state.lock();
        let unwritten = state.keys.iter().filter(|(_, newest)| !newest.is_durable());
        unwritten
            .map(|(key, newest)| Unwritten {
                key: key.clone(),
                number: newest.number,
                bytes: newest.bytes.clone(),
            })
            .collect()
    }

    fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    fn mark_durable(&self, written: Vec<Unwritten>) {
        let mut state = self.state.lock();
        for Unwritten { key, number, .. } in written {
            if let Some(newest) = state.keys.get(&key) {
                newest.durable.send_replace(number);
                newest.written.increment(1);
            }
        }
        // A removed pipeline's keys are not kept forever. A key that comes back is numbered from 1 again,
        // which nobody notices: nobody waits for its old numbers.
        state.keys.retain(|_, newest| !newest.is_durable() || newest.durable.receiver_count() > 0);
    }
}

/// However the task ends, everyone who waits is told so.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.ended = true;
        state.keys.clear();
    }
}

/// The writing task.
async fn run(store: Arc<dyn StateStore>, shared: EndOnDrop, interval: Duration) {
    let shared = &shared.0;
    let mut next_commit = Instant::now();
    loop {
        shared.wake.notified().await;
        if !shared.is_closing() {
            sleep_until(next_commit).await;
        }
        next_commit = Instant::now() + interval;
        // Before writing: what is handed in afterwards comes with a wake-up of its own.
        let closing = shared.is_closing();
        write(&*store, shared).await;
        if closing {
            return;
        }
    }
}

/// Writes everything that is not durable yet. Tries again until that has succeeded, or until nobody can
/// hand in more and so nobody waits for the store to recover.
async fn write(store: &dyn StateStore, shared: &Shared) {
    let mut retry_in = FIRST_RETRY;
    loop {
        let unwritten = shared.take_unwritten();
        if unwritten.is_empty() {
            return;
        }
        let entries = unwritten.iter().map(|value| (value.key.to_string(), value.bytes.clone())).collect();
        match store.put_many(entries, None).await {
            Ok(()) => {
                if retry_in > FIRST_RETRY {
                    info!(checkpoints = unwritten.len(), "checkpoints are stored again");
                }
                return shared.mark_durable(unwritten);
            }
            Err(error) => {
                let error = &error as &(dyn Error + Send + Sync);
                let checkpoints = unwritten.len();
                if shared.is_closing() {
                    return warn!(
                        error,
                        checkpoints, "checkpoints are left unstored: their events will come again"
                    );
                }
                if retry_in == FIRST_RETRY {
                    warn!(error, checkpoints, "checkpoints wait for the state store");
                }
                sleep(retry_in).await;
                retry_in = (retry_in * 2).min(LAST_RETRY);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
