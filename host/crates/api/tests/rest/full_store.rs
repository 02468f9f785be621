//! A state store whose disk is full for a while, or slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::state::{
    Lease, Pushed, QueueEntry, QueueFilter, QueueItem, QueueOverflow, Slot, StateError, StateStore,
};
use deltaforge_store::MemoryStore;
use tokio::sync::watch;

/// Takes no value while it is full, and no swap while it is slow.
pub struct FullStore {
    inner: MemoryStore,
    full: Arc<AtomicBool>,
    /// Whether it is slow.
    pub slow: watch::Sender<bool>,
}

impl FullStore {
    /// An empty one, that is full while that is set.
    pub fn new(full: &Arc<AtomicBool>) -> Self {
        Self { inner: MemoryStore::new(), full: full.clone(), slow: watch::Sender::new(false) }
    }
}

#[async_trait]
impl StateStore for FullStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        self.inner.get(key).await
    }
    async fn put_many(
        &self,
        entries: Vec<(String, Vec<u8>)>,
        ttl: Option<Duration>,
    ) -> Result<(), StateError> {
        if entries.iter().any(|(key, _)| key.starts_with("swap/")) {
            let _ = self.slow.subscribe().wait_for(|slow| !slow).await;
        }
        if self.full.load(Ordering::SeqCst) {
            return Err(StateError::backend("write", std::io::Error::other("disk full")));
        }
        self.inner.put_many(entries, ttl).await
    }
    async fn delete(&self, key: &str) -> Result<bool, StateError> {
        self.inner.delete(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        self.inner.list(prefix).await
    }
    async fn log_append(&self, log: &str, records: Vec<Vec<u8>>) -> Result<u64, StateError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StateError::backend("write", std::io::Error::other("disk full")));
        }
        self.inner.log_append(log, records).await
    }
    async fn log_read(&self, log: &str, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StateError> {
        self.inner.log_read(log, from, limit).await
    }
    async fn log_truncate(&self, log: &str, below: u64) -> Result<(), StateError> {
        self.inner.log_truncate(log, below).await
    }
    async fn slot_get(&self, slot: &str) -> Result<Option<Slot>, StateError> {
        self.inner.slot_get(slot).await
    }
    async fn slot_set(
        &self,
        slot: &str,
        expected: Option<u64>,
        value: Vec<u8>,
    ) -> Result<Option<Slot>, StateError> {
        self.inner.slot_set(slot, expected, value).await
    }
    async fn lease_acquire(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>, StateError> {
        self.inner.lease_acquire(name, owner, ttl).await
    }
    async fn lease_get(&self, name: &str) -> Result<Option<Lease>, StateError> {
        self.inner.lease_get(name).await
    }
    async fn lease_release(&self, name: &str, owner: &str) -> Result<bool, StateError> {
        self.inner.lease_release(name, owner).await
    }
    async fn queue_push(
        &self,
        queue: &str,
        items: Vec<QueueItem>,
        max_entries: u64,
        overflow: QueueOverflow,
    ) -> Result<Pushed, StateError> {
        self.inner.queue_push(queue, items, max_entries, overflow).await
    }
    async fn queue_peek(
        &self,
        queue: &str,
        filter: &QueueFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<QueueEntry>, StateError> {
        self.inner.queue_peek(queue, filter, after, limit).await
    }
    async fn queue_count(&self, queue: &str, filter: &QueueFilter) -> Result<u64, StateError> {
        self.inner.queue_count(queue, filter).await
    }
    async fn queue_ack(&self, queue: &str, up_to: u64) -> Result<u64, StateError> {
        self.inner.queue_ack(queue, up_to).await
    }
    async fn queue_purge(&self, queue: &str) -> Result<u64, StateError> {
        self.inner.queue_purge(queue).await
    }
    async fn queue_expire(&self, queue: &str, before_ms: i64) -> Result<u64, StateError> {
        self.inner.queue_expire(queue, before_ms).await
    }
}
