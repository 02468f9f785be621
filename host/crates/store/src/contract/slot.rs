//! Slots with compare-and-set, and leases.

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::state::{Lease, Slot, StateStore};

use super::{Backend, LONG, SHORT, wait_until};

const OK: &str = "the store answers";

async fn set(store: &Arc<dyn StateStore>, expected: Option<u64>, value: &[u8]) -> Option<Slot> {
    store.slot_set("s", expected, value.to_vec()).await.expect(OK)
}

async fn get(store: &Arc<dyn StateStore>) -> Option<Slot> {
    store.slot_get("s").await.expect(OK)
}

fn slot(version: u64, value: &[u8]) -> Option<Slot> {
    Some(Slot { version, value: value.to_vec() })
}

async fn acquire(store: &Arc<dyn StateStore>, owner: &str, ttl: Duration) -> Option<Lease> {
    store.lease_acquire("l", owner, ttl).await.expect(OK)
}

async fn holder(store: &Arc<dyn StateStore>) -> Option<Lease> {
    store.lease_get("l").await.expect(OK)
}

/// The epoch under which `owner` now gets the lease.
async fn epoch(store: &Arc<dyn StateStore>, owner: &str, ttl: Duration) -> u64 {
    acquire(store, owner, ttl).await.expect("the lease is free").epoch
}

pub(super) async fn a_slot_changes_only_from_the_expected_version(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert_eq!(get(&store).await, None);
    assert_eq!(set(&store, Some(1), b"x").await, None, "there is nothing to change yet");
    assert_eq!(set(&store, Some(0), b"x").await, None, "no version is 0");
    assert_eq!(set(&store, None, b"a").await, slot(1, b"a"));
    assert_eq!(set(&store, None, b"x").await, None, "it exists");
    assert_eq!(set(&store, Some(2), b"x").await, None);
    assert_eq!(get(&store).await, slot(1, b"a"), "a refused change leaves no trace");
    assert_eq!(set(&store, Some(1), b"b").await, slot(2, b"b"));
    assert_eq!(set(&store, Some(1), b"x").await, None);
    assert_eq!(set(&store, Some(2), b"b").await, slot(3, b"b"), "the same value is a change, too");
    assert_eq!(set(&store, Some(u64::MAX), b"x").await, None);
    assert_eq!(get(&store).await, slot(3, b"b"));
    assert_eq!(store.slot_get("other").await.expect(OK), None);
}

/// Runs `attempts` tasks at once; answers what those got that got something.
async fn race<T: Send + 'static, F: Future<Output = Option<T>> + Send + 'static>(
    attempts: u8,
    attempt: impl Fn(u8) -> F,
) -> Vec<T> {
    let tasks: Vec<_> = (0..attempts).map(|number| tokio::spawn(attempt(number))).collect();
    let mut won = Vec::new();
    for task in tasks {
        won.extend(task.await.expect("the task ends well"));
    }
    won
}

pub(super) async fn a_race_has_one_winner(backend: &mut dyn Backend) {
    let store = backend.open().await;
    let mut expected = None;
    for version in 1..=20 {
        let won = race(16, |number| {
            let store = Arc::clone(&store);
            async move { set(&store, expected, &[number]).await }
        })
        .await;
        assert_eq!(won.len(), 1, "one of sixteen wins");
        assert_eq!(won[0].version, version);
        assert_eq!(get(&store).await.as_ref(), won.first());
        expected = Some(version);
    }
}

pub(super) async fn concurrent_increments_lose_nothing(backend: &mut dyn Backend) {
    let store = backend.open().await;
    set(&store, None, &0_u64.to_le_bytes()).await;
    race(8, |_| {
        let store = Arc::clone(&store);
        async move {
            let mut left = 10;
            while left > 0 {
                let now = get(&store).await?;
                let count = u64::from_le_bytes(now.value.try_into().expect("eight bytes")) + 1;
                if set(&store, Some(now.version), &count.to_le_bytes()).await.is_some() {
                    left -= 1;
                }
            }
            Some(())
        }
    })
    .await;
    assert_eq!(get(&store).await, slot(81, &80_u64.to_le_bytes()));
}

pub(super) async fn slots_survive_reopening(backend: &mut dyn Backend) {
    let store = backend.open().await;
    set(&store, None, b"a").await;
    set(&store, Some(1), b"b").await;
    drop(store);
    let store = backend.open().await;
    assert_eq!(get(&store).await, slot(2, b"b"));
    assert_eq!(set(&store, None, b"x").await, None);
    assert_eq!(set(&store, Some(2), b"c").await, slot(3, b"c"));
}

pub(super) async fn a_lease_keeps_others_out(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert_eq!(holder(&store).await, None);
    let lease = acquire(&store, "a", LONG).await.expect("the lease is free");
    assert_eq!((lease.owner.as_str(), lease.epoch), ("a", 1));
    assert!(lease.remaining <= LONG && lease.remaining > LONG / 2, "{lease:?}");
    assert_eq!(acquire(&store, "b", LONG).await, None);
    let held = holder(&store).await.expect("it is held");
    assert_eq!((held.owner.as_str(), held.epoch), ("a", 1));
    assert!(held.remaining <= LONG && held.remaining > LONG / 2, "{held:?}");
    assert!(store.lease_acquire("other", "b", LONG).await.expect(OK).is_some(), "leases are apart");
}

pub(super) async fn a_lease_is_renewed_by_its_owner_alone(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert_eq!(epoch(&store, "a", LONG).await, 1);
    let renewed = acquire(&store, "a", 2 * LONG).await.expect("the owner may renew");
    assert_eq!(renewed.epoch, 1, "renewing keeps the epoch");
    assert!(renewed.remaining > LONG, "{renewed:?}");
    assert!(acquire(&store, "a", Duration::MAX).await.expect("the owner may renew").remaining > LONG);
    assert_eq!(acquire(&store, "b", LONG).await, None);
    acquire(&store, "a", SHORT).await.expect("the owner may renew, also to end sooner");
    wait_until(async || holder(&store).await.is_none()).await;
}

pub(super) async fn a_lease_ends_by_itself(backend: &mut dyn Backend) {
    let store = backend.open().await;
    epoch(&store, "a", SHORT).await;
    wait_until(async || acquire(&store, "b", LONG).await.is_some()).await;
    let held = holder(&store).await.expect("it is held");
    assert_eq!((held.owner.as_str(), held.epoch), ("b", 2));
    assert_eq!(acquire(&store, "a", LONG).await, None, "who lost it has to wait like everyone");
    assert!(!store.lease_release("l", "a").await.expect(OK), "and has nothing to give back");
}

pub(super) async fn a_released_lease_is_free(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert!(!store.lease_release("l", "a").await.expect(OK));
    epoch(&store, "a", LONG).await;
    assert!(!store.lease_release("l", "b").await.expect(OK));
    assert!(holder(&store).await.is_some(), "who does not hold it cannot give it back");
    assert!(store.lease_release("l", "a").await.expect(OK));
    assert_eq!(holder(&store).await, None);
    assert!(!store.lease_release("l", "a").await.expect(OK));
    assert_eq!(epoch(&store, "b", LONG).await, 2);
}

pub(super) async fn epochs_grow_and_are_remembered(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert_eq!(epoch(&store, "a", LONG).await, 1);
    store.lease_release("l", "a").await.expect(OK);
    assert_eq!(epoch(&store, "a", SHORT).await, 2, "who comes back is a new holder");
    wait_until(async || holder(&store).await.is_none()).await;
    assert_eq!(epoch(&store, "a", LONG).await, 3, "who comes back too late is one, too");
    drop(store);
    let store = backend.open().await;
    assert_eq!(acquire(&store, "b", LONG).await, None, "a lease outlives the store's process");
    assert_eq!(epoch(&store, "a", LONG).await, 3);
    store.lease_release("l", "a").await.expect(OK);
    drop(store);
    let store = backend.open().await;
    assert_eq!(holder(&store).await, None);
    assert_eq!(epoch(&store, "b", LONG).await, 4);
}

pub(super) async fn a_lease_race_has_one_winner(backend: &mut dyn Backend) {
    let store = backend.open().await;
    for epoch in 1..=20 {
        let won = race(16, |number| {
            let store = Arc::clone(&store);
            async move { acquire(&store, &format!("owner {number}"), LONG).await }
        })
        .await;
        assert_eq!(won.len(), 1, "one of sixteen wins");
        assert_eq!(won[0].epoch, epoch);
        assert!(store.lease_release("l", &won[0].owner).await.expect(OK));
    }
}

pub(super) async fn slots_and_leases_are_apart(backend: &mut dyn Backend) {
    let store = backend.open().await;
    store.lease_acquire("s", "a", LONG).await.expect(OK);
    assert_eq!(get(&store).await, None);
    assert_eq!(set(&store, None, b"v").await, slot(1, b"v"));
    store.lease_release("s", "a").await.expect(OK);
    assert_eq!(get(&store).await, slot(1, b"v"));
    assert_eq!(store.get("s").await.expect(OK), None, "and from keys");
}
