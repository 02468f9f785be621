//! What a state backend must do: four small shapes that every durable fact of the host is kept in.
//!
//! * **KV** with a time to live: checkpoints, swap records, pipeline overrides.
//! * **Log**, append-only: histories.
//! * **Slot** with compare-and-set and a lease: who owns what.
//! * **Queue**: the dead-letter queue.
//!
//! One contract, one test suite (`deltaforge-store`'s `contract` module), many backends. Every method is
//! durable when it returns `Ok` (for the memory backend: for the life of the process), and atomic: it happens
//! whole or not at all. Names are free text without NUL; a backend keeps the four shapes apart.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

/// A state backend failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The backend could not be reached or could not write (disk full, locked, connection lost).
    #[error("state store: {action}")]
    Backend {
        /// What was being done.
        action: String,
        /// Why it failed.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The queue's bound would be passed and its owner asked for that to be an error.
    #[error("queue {queue} holds {entries} of at most {max_entries} entries, and {more} more do not fit")]
    QueueFull {
        /// The queue's name.
        queue: String,
        /// How many entries it holds.
        entries: u64,
        /// Its bound.
        max_entries: u64,
        /// How many new ones were to be pushed.
        more: u64,
    },
}

impl StateError {
    /// Wraps a backend's own error.
    pub fn backend(
        action: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Backend { action: action.into(), cause: cause.into() }
    }
}

/// A versioned value that changes only by compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Grows by one with every change; starts at 1.
    pub version: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// The right to act under a name until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub owner: String,
    /// Grows with every new holder and never goes back, so a holder that lost it can be told from its successor.
    pub epoch: u64,
    /// How long it still holds when this was read.
    pub remaining: Duration,
}

/// An entry to be put into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueItem {
    /// Two items of one queue with the same key are one: the second push is ignored (and not counted) while
    /// the first is still there.
    pub unique_key: String,
    /// What entries can be filtered by.
    pub labels: BTreeMap<String, String>,
    /// The entry itself.
    pub payload: Vec<u8>,
}

/// An entry of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueEntry {
    /// Its number; grows in push order and is never used again, also after a purge.
    pub seq: u64,
    /// When it was pushed, milliseconds since the Unix epoch.
    pub pushed_ms: i64,
    /// What was pushed.
    pub item: QueueItem,
}

/// What a push does when the queue would pass its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueOverflow {
    /// The oldest entries make room. A queue whose bound is 0 rejects instead.
    DropOldest,
    /// Items that do not fit are refused and counted; those that fit are kept.
    Reject,
    /// Nothing is pushed and [`StateError::QueueFull`] comes back.
    Fail,
}

/// The outcome of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Items that are new in the queue.
    pub added: u64,
    /// Which ones: their places in what was pushed, ascending.
    pub added_at: Vec<usize>,
    /// Items that were there already.
    pub duplicate: u64,
    /// Old entries that made room.
    pub evicted: u64,
    /// Items that were refused.
    pub rejected: u64,
}

/// Label values that an entry must have, all of them. Empty: every entry.
pub type QueueFilter = BTreeMap<String, String>;

/// A state backend. See the module's documentation for the contract that all methods share.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// The value under `key`, unless there is none or it has expired.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError>;
    /// Sets several keys in one commit. Without `ttl` a key stays until it is deleted.
    async fn put_many(
        &self,
        entries: Vec<(String, Vec<u8>)>,
        ttl: Option<Duration>,
    ) -> Result<(), StateError>;
    /// Removes a key; tells whether it was there.
    async fn delete(&self, key: &str) -> Result<bool, StateError>;
    /// All live keys that start with `prefix`, in key order.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StateError>;

    /// Appends records to a log; answers the sequence number of the first. Numbers start at 1, have no holes
    /// and are never used again, also after a truncation. Without records: the number that the next one gets.
    async fn log_append(&self, log: &str, records: Vec<Vec<u8>>) -> Result<u64, StateError>;
    /// Records from `from` on, at most `limit`, in order.
    async fn log_read(&self, log: &str, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StateError>;
    /// Forgets records below `below`.
    async fn log_truncate(&self, log: &str, below: u64) -> Result<(), StateError>;

    /// A slot's present value.
    async fn slot_get(&self, slot: &str) -> Result<Option<Slot>, StateError>;
    /// Sets the slot if its version is `expected` (`None`: it must not exist). `Ok(None)` when it is not.
    async fn slot_set(
        &self,
        slot: &str,
        expected: Option<u64>,
        value: Vec<u8>,
    ) -> Result<Option<Slot>, StateError>;
    /// Takes or renews the lease. `Ok(None)` when another owner holds it. Renewing keeps the epoch; who comes
    /// back after the lease had ended or was released is a new holder, also under the same name.
    async fn lease_acquire(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>, StateError>;
    /// Who holds the lease now.
    async fn lease_get(&self, name: &str) -> Result<Option<Lease>, StateError>;
    /// Gives the lease back; tells whether `owner` held it. The epoch is remembered.
    async fn lease_release(&self, name: &str, owner: &str) -> Result<bool, StateError>;

    /// Pushes items in order, as one commit.
    async fn queue_push(
        &self,
        queue: &str,
        items: Vec<QueueItem>,
        max_entries: u64,
        overflow: QueueOverflow,
    ) -> Result<Pushed, StateError>;
    /// Entries with `seq > after` that match `filter`, oldest first, at most `limit` *matching* ones.
    async fn queue_peek(
        &self,
        queue: &str,
        filter: &QueueFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<QueueEntry>, StateError>;
    /// How many entries match.
    async fn queue_count(&self, queue: &str, filter: &QueueFilter) -> Result<u64, StateError>;
    /// Removes all entries with `seq <= up_to`; answers how many there were.
    async fn queue_ack(&self, queue: &str, up_to: u64) -> Result<u64, StateError>;
    /// Removes every entry; answers how many there were.
    async fn queue_purge(&self, queue: &str) -> Result<u64, StateError>;
    /// Removes entries pushed before `before_ms`; answers how many there were.
    async fn queue_expire(&self, queue: &str, before_ms: i64) -> Result<u64, StateError>;
}
