//! The state store that lives as long as the process.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deltaforge_engine::state::{
    Lease, Pushed, QueueEntry, QueueFilter, QueueItem, QueueOverflow, Slot, StateError, StateStore,
};
use parking_lot::Mutex;

use crate::clock::{expiry_ms, now_ms, remaining};

/// How often keys that have expired, and that nobody asked for, are let go.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Keeps state in memory; nothing of it survives the process.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    kv: BTreeMap<String, Value>,
    next_sweep: Instant,
    logs: HashMap<String, Log>,
    slots: HashMap<String, Slot>,
    leases: HashMap<String, Held>,
    queues: HashMap<String, Queue>,
}

#[derive(Debug)]
struct Value {
    bytes: Vec<u8>,
    expires_ms: Option<i64>,
}

impl Value {
    fn is_live(&self, now_ms: i64) -> bool {
        self.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms)
    }
}

/// `last` numbers have been given out so far.
#[derive(Debug, Default)]
struct Log {
    last: u64,
    records: BTreeMap<u64, Vec<u8>>,
}

#[derive(Debug)]
struct Held {
    owner: String,
    epoch: u64,
    expires_ms: i64,
}

#[derive(Debug, Default)]
struct Queue {
    last: u64,
    entries: BTreeMap<u64, QueueEntry>,
    by_key: HashMap<String, u64>,
}

impl Queue {
    fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    fn add(&mut self, pushed_ms: i64, item: QueueItem) {
        self.last += 1;
        self.by_key.insert(item.unique_key.clone(), self.last);
        self.entries.insert(self.last, QueueEntry { seq: self.last, pushed_ms, item });
    }

    fn drop_oldest(&mut self) {
        if let Some((_, entry)) = self.entries.pop_first() {
            self.by_key.remove(&entry.item.unique_key);
        }
    }

    /// Removes the entries that `gone` picks; answers how many.
    fn remove(&mut self, gone: impl Fn(&QueueEntry) -> bool) -> u64 {
        let before = self.count();
        self.entries.retain(|_, entry| {
            let keep = !gone(entry);
            if !keep {
                self.by_key.remove(&entry.item.unique_key);
            }
            keep
        });
        before - self.count()
    }

    /// How many of `items` the queue does not hold yet.
    fn count_new(&self, items: &[QueueItem]) -> u64 {
        let mut keys: Vec<_> =
            items.iter().map(|i| &i.unique_key).filter(|&k| !self.by_key.contains_key(k)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len() as u64
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                kv: BTreeMap::new(),
                next_sweep: Instant::now() + SWEEP_EVERY,
                logs: HashMap::new(),
                slots: HashMap::new(),
                leases: HashMap::new(),
                queues: HashMap::new(),
            }),
        }
    }

    fn remove_entries(&self, queue: &str, gone: impl Fn(&QueueEntry) -> bool) -> u64 {
        self.state.lock().queues.get_mut(queue).map_or(0, |queue| queue.remove(gone))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let now = now_ms();
        let state = self.state.lock();
        Ok(state.kv.get(key).filter(|value| value.is_live(now)).map(|value| value.bytes.clone()))
    }

    async fn put_many(
        &self,
        entries: Vec<(String, Vec<u8>)>,
        ttl: Option<Duration>,
    ) -> Result<(), StateError> {
        let now = now_ms();
        let expires_ms = ttl.map(|ttl| expiry_ms(now, ttl));
        let mut state = self.state.lock();
        if Instant::now() >= state.next_sweep {
            state.next_sweep = Instant::now() + SWEEP_EVERY;
            state.kv.retain(|_, value| value.is_live(now));
        }
        state.kv.extend(entries.into_iter().map(|(key, bytes)| (key, Value { bytes, expires_ms })));
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<bool, StateError> {
        let now = now_ms();
        Ok(self.state.lock().kv.remove(key).is_some_and(|value| value.is_live(now)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let now = now_ms();
        let state = self.state.lock();
        let found = state.kv.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.filter(|(_, v)| v.is_live(now)).map(|(k, v)| (k.clone(), v.bytes.clone())).collect())
    }

    async fn log_append(&self, log: &str, records: Vec<Vec<u8>>) -> Result<u64, StateError> {
        let mut state = self.state.lock();
        let log = state.logs.entry(log.to_owned()).or_default();
        let first = log.last + 1;
        for record in records {
            log.last += 1;
            log.records.insert(log.last, record);
        }
        Ok(first)
    }

    async fn log_read(&self, log: &str, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StateError> {
        let state = self.state.lock();
        let Some(log) = state.logs.get(log) else { return Ok(Vec::new()) };
        Ok(log.records.range(from..).take(limit).map(|(seq, record)| (*seq, record.clone())).collect())
    }

    async fn log_truncate(&self, log: &str, below: u64) -> Result<(), StateError> {
        if let Some(log) = self.state.lock().logs.get_mut(log) {
            log.records = log.records.split_off(&below);
        }
        Ok(())
    }

    async fn slot_get(&self, slot: &str) -> Result<Option<Slot>, StateError> {
        Ok(self.state.lock().slots.get(slot).cloned())
    }

    async fn slot_set(
        &self,
        slot: &str,
        expected: Option<u64>,
        value: Vec<u8>,
    ) -> Result<Option<Slot>, StateError> {
        let mut state = self.state.lock();
        let present = state.slots.get(slot).map(|slot| slot.version);
        if present != expected {
            return Ok(None);
        }
        let new = Slot { version: present.unwrap_or(0) + 1, value };
        state.slots.insert(slot.to_owned(), new.clone());
        Ok(Some(new))
    }

    async fn lease_acquire(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>, StateError> {
        let now = now_ms();
        let mut state = self.state.lock();
        let epoch = match state.leases.get(name) {
            Some(held) if held.expires_ms <= now => held.epoch + 1,
            Some(held) if held.owner == owner => held.epoch,
            Some(_) => return Ok(None),
            None => 1,
        };
        let expires_ms = expiry_ms(now, ttl);
        state.leases.insert(name.to_owned(), Held { owner: owner.to_owned(), epoch, expires_ms });
        Ok(Some(Lease { owner: owner.to_owned(), epoch, remaining: remaining(now, expires_ms) }))
    }

    async fn lease_get(&self, name: &str) -> Result<Option<Lease>, StateError> {
        let now = now_ms();
        let state = self.state.lock();
        Ok(state.leases.get(name).filter(|held| held.expires_ms > now).map(|held| Lease {
            owner: held.owner.clone(),
            epoch: held.epoch,
            remaining: remaining(now, held.expires_ms),
        }))
    }

    async fn lease_release(&self, name: &str, owner: &str) -> Result<bool, StateError> {
        let now = now_ms();
        let mut state = self.state.lock();
        match state.leases.get_mut(name) {
            Some(held) if held.owner == owner && held.expires_ms > now => {
                held.expires_ms = 0;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn queue_push(
        &self,
        queue: &str,
        items: Vec<QueueItem>,
        max_entries: u64,
        overflow: QueueOverflow,
    ) -> Result<Pushed, StateError> {
        let pushed_ms = now_ms();
        let mut state = self.state.lock();
        let entries = state.queues.entry(queue.to_owned()).or_default();
        if overflow == QueueOverflow::Fail {
            let new = entries.count_new(&items);
            if new > 0 && entries.count() + new > max_entries {
                let (queue, entries) = (queue.to_owned(), entries.count());
                return Err(StateError::QueueFull { queue, entries, max_entries, more: new });
            }
        }
        let mut pushed = Pushed::default();
        for (at, item) in items.into_iter().enumerate() {
            if entries.by_key.contains_key(&item.unique_key) {
                pushed.duplicate += 1;
                continue;
            }
            while overflow == QueueOverflow::DropOldest && max_entries > 0 && entries.count() >= max_entries {
                entries.drop_oldest();
                pushed.evicted += 1;
            }
            if entries.count() < max_entries {
                entries.add(pushed_ms, item);
                pushed.added += 1;
                pushed.added_at.push(at);
            } else {
                pushed.rejected += 1;
            }
        }
        Ok(pushed)
    }

    async fn queue_peek(
        &self,
        queue: &str,
        filter: &QueueFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<QueueEntry>, StateError> {
        let Some(from) = after.checked_add(1) else { return Ok(Vec::new()) };
        let state = self.state.lock();
        let Some(queue) = state.queues.get(queue) else { return Ok(Vec::new()) };
        let matching = queue.entries.range(from..).filter(|(_, entry)| matches(filter, &entry.item.labels));
        Ok(matching.take(limit).map(|(_, entry)| entry.clone()).collect())
    }

    async fn queue_count(&self, queue: &str, filter: &QueueFilter) -> Result<u64, StateError> {
        let state = self.state.lock();
        let Some(queue) = state.queues.get(queue) else { return Ok(0) };
        Ok(queue.entries.values().filter(|entry| matches(filter, &entry.item.labels)).count() as u64)
    }

    async fn queue_ack(&self, queue: &str, up_to: u64) -> Result<u64, StateError> {
        Ok(self.remove_entries(queue, |entry| entry.seq <= up_to))
    }

    async fn queue_purge(&self, queue: &str) -> Result<u64, StateError> {
        Ok(self.remove_entries(queue, |_| true))
    }

    async fn queue_expire(&self, queue: &str, before_ms: i64) -> Result<u64, StateError> {
        Ok(self.remove_entries(queue, |entry| entry.pushed_ms < before_ms))
    }
}

/// Whether an entry with these labels passes the filter.
pub(crate) fn matches(filter: &QueueFilter, labels: &BTreeMap<String, String>) -> bool {
    filter.iter().all(|(name, value)| labels.get(name) == Some(value))
}
