use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;
use crate::state::{Lease, Pushed, QueueEntry, QueueFilter, QueueItem, QueueOverflow, Slot};

type Commit = Vec<(String, Vec<u8>)>;

/// Keys in memory, with faults: it fails as often as told and commits only as often as permitted.
struct FaultyStore {
    kv: Mutex<BTreeMap<String, Vec<u8>>>,
    commits: Mutex<Vec<Commit>>,
    failures_left: AtomicU64,
    permitted: Semaphore,
}

impl FaultyStore {
    fn new(failures: u64, permitted: usize) -> Arc<Self> {
        Arc::new(Self {
            kv: Mutex::default(),
            commits: Mutex::default(),
            failures_left: AtomicU64::new(failures),
            permitted: Semaphore::new(permitted),
        })
    }

    fn commits(&self) -> Vec<Commit> {
        self.commits.lock().clone()
    }
}

const UNLIMITED: usize = Semaphore::MAX_PERMITS;

fn no_such_shape<T>() -> Result<T, StateError> {
    Err(StateError::backend("use the faulty store", "it has keys only"))
}

#[async_trait]
impl StateStore for FaultyStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.kv.lock().get(key).cloned())
    }
    async fn put_many(&self, entries: Vec<(String, Vec<u8>)>, _: Option<Duration>) -> Result<(), StateError> {
        self.permitted.acquire().await.unwrap().forget();
        let left =
            self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if left.is_ok() {
            return Err(StateError::backend("write", "the disk is full"));
        }
        self.kv.lock().extend(entries.iter().cloned());
        self.commits.lock().push(entries);
        Ok(())
    }
    async fn delete(&self, key: &str) -> Result<bool, StateError> {
        Ok(self.kv.lock().remove(key).is_some())
    }
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let kv = self.kv.lock();
        let found = kv.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
    async fn log_append(&self, _: &str, _: Vec<Vec<u8>>) -> Result<u64, StateError> {
        no_such_shape()
    }
    async fn log_read(&self, _: &str, _: u64, _: usize) -> Result<Vec<(u64, Vec<u8>)>, StateError> {
        no_such_shape()
    }
    async fn log_truncate(&self, _: &str, _: u64) -> Result<(), StateError> {
        no_such_shape()
    }
    async fn slot_get(&self, _: &str) -> Result<Option<Slot>, StateError> {
        no_such_shape()
    }
    async fn slot_set(&self, _: &str, _: Option<u64>, _: Vec<u8>) -> Result<Option<Slot>, StateError> {
        no_such_shape()
    }
    async fn lease_acquire(&self, _: &str, _: &str, _: Duration) -> Result<Option<Lease>, StateError> {
        no_such_shape()
    }
    async fn lease_get(&self, _: &str) -> Result<Option<Lease>, StateError> {
        no_such_shape()
    }
    async fn lease_release(&self, _: &str, _: &str) -> Result<bool, StateError> {
        no_such_shape()
    }
    async fn queue_push(
        &self,
        _: &str,
        _: Vec<QueueItem>,
        _: u64,
        _: QueueOverflow,
    ) -> Result<Pushed, StateError> {
        no_such_shape()
    }
    async fn queue_peek(
        &self,
        _: &str,
        _: &QueueFilter,
        _: u64,
        _: usize,
    ) -> Result<Vec<QueueEntry>, StateError> {
        no_such_shape()
    }
    async fn queue_count(&self, _: &str, _: &QueueFilter) -> Result<u64, StateError> {
        no_such_shape()
    }
    async fn queue_ack(&self, _: &str, _: u64) -> Result<u64, StateError> {
        no_such_shape()
    }
    async fn queue_purge(&self, _: &str) -> Result<u64, StateError> {
        no_such_shape()
    }
    async fn queue_expire(&self, _: &str, _: i64) -> Result<u64, StateError> {
        no_such_shape()
    }
}

const INTERVAL: Duration = Duration::from_millis(20);

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(10);

/// Long enough to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(60);

fn start(store: &Arc<FaultyStore>) -> Checkpoints {
    Checkpoints::start(Arc::clone(store) as _, INTERVAL)
}

fn key(sink: &str) -> CheckpointKey {
    CheckpointKey {
        tenant: "acme".into(),
        pipeline: "orders".into(),
        source_id: "db".into(),
        sink_id: sink.into(),
    }
}

fn stored(sink: &str, value: &[u8]) -> (String, Vec<u8>) {
    (format!("checkpoint/acme/orders/db/{sink}"), value.to_vec())
}

#[test]
fn a_key_is_readable_and_never_ambiguous() {
    assert_eq!(key("file").to_string(), "checkpoint/acme/orders/db/file");
    for sink in ["file", "a/b", "%2F", "100%", "", "ü"] {
        assert_eq!(CheckpointKey::parse(&key(sink).to_string()), Some(key(sink)), "{sink}");
    }
    assert_eq!(CheckpointKey::parse("checkpoint/a/b/c"), None);
    assert_eq!(CheckpointKey::parse("checkpoint/a/b/c/d/e"), None);
    assert_eq!(CheckpointKey::parse("other/a/b/c/d"), None);
}

#[tokio::test]
async fn a_checkpoint_is_stored_when_its_future_resolves() {
    let store = FaultyStore::new(0, UNLIMITED);
    let checkpoints = start(&store);
    checkpoints.put(&key("a"), vec![1]).await.unwrap();
    assert_eq!(store.commits(), [[stored("a", &[1])]]);
    assert_eq!(checkpoints.load(&key("a")).await.unwrap(), Some(vec![1]));
    assert_eq!(checkpoints.load(&key("b")).await.unwrap(), None);
    assert_eq!(checkpoints.list("acme", "orders").await.unwrap(), [(key("a"), vec![1])]);
    assert_eq!(checkpoints.list("acme", "order").await.unwrap(), []);
}

#[tokio::test]
async fn many_share_a_commit_and_only_the_newest_of_a_key_is_written() {
    let store = FaultyStore::new(0, UNLIMITED);
    let checkpoints = start(&store);
    let puts = [
        checkpoints.put(&key("a"), vec![1]),
        checkpoints.put(&key("b"), vec![1]),
        checkpoints.put(&key("a"), vec![2]),
        checkpoints.put(&key("a"), vec![3]),
    ];
    for put in puts {
        put.await.unwrap();
    }
    let mut commits = store.commits();
    commits[0].sort();
    assert_eq!(commits, [[stored("a", &[3]), stored("b", &[1])]]);
}

#[tokio::test]
async fn commits_keep_their_distance() {
    let store = FaultyStore::new(0, UNLIMITED);
    let checkpoints = start(&store);
    let started = Instant::now();
    for value in 0..5 {
        checkpoints.put(&key("a"), vec![value]).await.unwrap();
    }
    assert_eq!(store.commits().len(), 5);
    assert!(started.elapsed() >= INTERVAL * 4, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_failing_store_is_tried_again_and_nothing_is_called_durable_before() {
    let store = FaultyStore::new(2, UNLIMITED);
    let checkpoints = start(&store);
    let first = checkpoints.put(&key("a"), vec![1]);
    let mut first = Box::pin(first);
    timeout(A_WHILE, &mut first).await.expect_err("the store has failed");
    // The value that comes in meanwhile is the one that is written.
    let second = checkpoints.put(&key("a"), vec![2]);
    let other = checkpoints.put(&key("b"), vec![1]);
    timeout(DEADLINE, first).await.unwrap().unwrap();
    let mut commits = store.commits();
    commits[0].sort();
    assert_eq!(commits, [[stored("a", &[2]), stored("b", &[1])]]);
    second.await.unwrap();
    other.await.unwrap();
}

#[tokio::test]
async fn a_value_that_came_during_a_commit_waits_for_its_own() {
    let store = FaultyStore::new(0, 0);
    let checkpoints = start(&store);
    let first = checkpoints.put(&key("a"), vec![1]);
    tokio::time::sleep(A_WHILE).await; // it is on its way now
    let mut second = Box::pin(checkpoints.put(&key("a"), vec![2]));
    store.permitted.add_permits(1);
    timeout(DEADLINE, first).await.unwrap().unwrap();
    timeout(A_WHILE, &mut second).await.expect_err("only the first is written");
    assert_eq!(store.commits(), [[stored("a", &[1])]]);
    store.permitted.add_permits(1);
    timeout(DEADLINE, second).await.unwrap().unwrap();
    assert_eq!(store.commits(), [[stored("a", &[1])], [stored("a", &[2])]]);
}

#[tokio::test]
async fn flush_waits_for_what_was_handed_in() {
    let store = FaultyStore::new(1, 1);
    let checkpoints = start(&store);
    checkpoints.flush().await.unwrap();
    drop(checkpoints.put(&key("a"), vec![1]));
    drop(checkpoints.put(&key("b"), vec![1]));
    timeout(A_WHILE, checkpoints.flush()).await.expect_err("the store has failed");
    store.permitted.add_permits(1);
    timeout(DEADLINE, checkpoints.flush()).await.unwrap().unwrap();
    assert_eq!(store.kv.lock().len(), 2);
}

#[tokio::test]
async fn dropping_writes_what_is_left() {
    let store = FaultyStore::new(0, UNLIMITED);
    let checkpoints = start(&store);
    let put = checkpoints.put(&key("a"), vec![1]);
    drop(checkpoints);
    timeout(DEADLINE, put).await.unwrap().unwrap();
    assert_eq!(store.commits().len(), 1);
}

#[tokio::test]
async fn a_writer_that_ends_on_a_failing_store_says_so() {
    let store = FaultyStore::new(u64::MAX, UNLIMITED);
    let checkpoints = start(&store);
    let put = checkpoints.put(&key("a"), vec![1]);
    drop(checkpoints);
    assert_eq!(timeout(DEADLINE, put).await.unwrap(), Err(CheckpointsEnded));
    assert_eq!(store.commits().len(), 0);
}

#[tokio::test]
async fn keys_that_nobody_waits_for_are_not_kept() {
    let store = FaultyStore::new(0, UNLIMITED);
    let checkpoints = start(&store);
    for sink in 0..50 {
        checkpoints.put(&key(&sink.to_string()), vec![1]).await.unwrap();
    }
    checkpoints.put(&key("last"), vec![1]).await.unwrap();
    assert!(checkpoints.shared.state.lock().keys.len() <= 2);
    checkpoints.put(&key("0"), vec![2]).await.unwrap();
    assert_eq!(checkpoints.load(&key("0")).await.unwrap(), Some(vec![2]));
}
