//! Keys and values.

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::state::StateStore;

use super::{Backend, LONG, SHORT, wait_until};

const OK: &str = "the store answers";

async fn put(store: &Arc<dyn StateStore>, key: &str, value: &[u8], ttl: Option<Duration>) {
    store.put_many(vec![(key.to_owned(), value.to_vec())], ttl).await.expect(OK);
}

async fn get(store: &Arc<dyn StateStore>, key: &str) -> Option<Vec<u8>> {
    store.get(key).await.expect(OK)
}

async fn keys(store: &Arc<dyn StateStore>, prefix: &str) -> Vec<String> {
    store.list(prefix).await.expect(OK).into_iter().map(|(key, _)| key).collect()
}

pub(super) async fn keys_hold_their_last_value(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert_eq!(get(&store, "a").await, None);
    put(&store, "a", b"one", None).await;
    assert_eq!(get(&store, "a").await.as_deref(), Some(&b"one"[..]));
    put(&store, "a", b"two", None).await;
    assert_eq!(get(&store, "a").await.as_deref(), Some(&b"two"[..]));
    put(&store, "a", b"", None).await;
    assert_eq!(get(&store, "a").await.as_deref(), Some(&b""[..]), "an empty value is a value");
    store.put_many(vec![("b".into(), vec![1]), ("b".into(), vec![2])], None).await.expect(OK);
    assert_eq!(get(&store, "b").await, Some(vec![2]), "of one key given twice the last counts");
    store.put_many(Vec::new(), None).await.expect(OK);
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    put(&store, "large", &large, None).await;
    assert!(get(&store, "large").await == Some(large), "three megabytes come back as they went in");
}

pub(super) async fn names_are_free_text(backend: &mut dyn Backend) {
    let store = backend.open().await;
    let names = ["", " ", "a/b", "A/b", "a%b", "a_b", "it's; drop table kv", "größe", "漢字", "😀", "x\ny"];
    for name in names {
        put(&store, name, name.as_bytes(), None).await;
        store.log_append(name, vec![name.into()]).await.expect(OK);
        store.slot_set(name, None, name.into()).await.expect(OK);
    }
    for name in names {
        assert_eq!(get(&store, name).await.as_deref(), Some(name.as_bytes()));
        assert_eq!(store.log_read(name, 1, 9).await.expect(OK), [(1, name.into())]);
        assert_eq!(store.slot_get(name).await.expect(OK).map(|slot| slot.value), Some(name.into()));
    }
    let mut sorted = names.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(keys(&store, "").await, sorted);
}

pub(super) async fn put_many_is_one_commit(backend: &mut dyn Backend) {
    let store = backend.open().await;
    let pair = |n: u8| vec![("pair/left".to_owned(), vec![n]), ("pair/right".to_owned(), vec![n])];
    store.put_many(pair(0), None).await.expect(OK);
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 1..=100 {
                store.put_many(pair(n), None).await.expect(OK);
            }
        }
    });
    while !writer.is_finished() {
        let seen = store.list("pair/").await.expect(OK);
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].1, seen[1].1, "half a commit was seen");
        tokio::task::yield_now().await; // a store that never waits would keep the writer from running
    }
    writer.await.expect("the writer ends well");
    assert_eq!(get(&store, "pair/left").await, Some(vec![100]));
}

pub(super) async fn a_prefix_lists_its_keys_in_order(backend: &mut dyn Backend) {
    let store = backend.open().await;
    for key in ["b/2", "b/10", "b", "b/1", "a", "c", "B/1", "b/ü", "b0", "b%", "b_1"] {
        put(&store, key, key.as_bytes(), None).await;
    }
    assert_eq!(keys(&store, "b/").await, ["b/1", "b/10", "b/2", "b/ü"]);
    assert_eq!(keys(&store, "b%").await, ["b%"], "a prefix is text, not a pattern");
    assert_eq!(keys(&store, "b_").await, ["b_1"]);
    assert_eq!(keys(&store, "nothing").await, [""; 0]);
    assert_eq!(store.list("c").await.expect(OK), [("c".to_owned(), b"c".to_vec())]);
}

pub(super) async fn deleting_tells_whether_the_key_was_there(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert!(!store.delete("a").await.expect(OK));
    put(&store, "a", b"1", None).await;
    put(&store, "ab", b"1", None).await;
    assert!(store.delete("a").await.expect(OK));
    assert!(!store.delete("a").await.expect(OK));
    assert_eq!(keys(&store, "").await, ["ab"]);
    put(&store, "gone", b"1", Some(Duration::ZERO)).await;
    assert!(!store.delete("gone").await.expect(OK), "what has expired is not there");
}

pub(super) async fn a_key_with_a_time_to_live_goes_away(backend: &mut dyn Backend) {
    let store = backend.open().await;
    put(&store, "k/short", b"1", Some(SHORT)).await;
    put(&store, "k/long", b"1", Some(LONG)).await;
    put(&store, "k/longest", b"1", Some(Duration::MAX)).await;
    put(&store, "k/forever", b"1", None).await;
    put(&store, "k/never", b"1", Some(Duration::ZERO)).await;
    wait_until(async || get(&store, "k/short").await.is_none()).await;
    assert_eq!(keys(&store, "k/").await, ["k/forever", "k/long", "k/longest"]);
}

pub(super) async fn a_later_put_decides_the_time_to_live(backend: &mut dyn Backend) {
    let store = backend.open().await;
    put(&store, "kept", b"1", Some(SHORT)).await;
    put(&store, "kept", b"2", None).await;
    put(&store, "dropped", b"1", None).await;
    put(&store, "dropped", b"2", Some(SHORT)).await;
    put(&store, "deleted", b"1", Some(SHORT)).await;
    store.delete("deleted").await.expect(OK);
    put(&store, "deleted", b"2", None).await;
    wait_until(async || get(&store, "dropped").await.is_none()).await;
    tokio::time::sleep(SHORT).await;
    assert_eq!(get(&store, "kept").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(get(&store, "deleted").await.as_deref(), Some(&b"2"[..]));
}

pub(super) async fn values_survive_reopening(backend: &mut dyn Backend) {
    let store = backend.open().await;
    store.put_many(vec![("a".into(), vec![1]), ("b".into(), vec![2])], None).await.expect(OK);
    put(&store, "c", b"3", Some(LONG)).await;
    store.delete("b").await.expect(OK);
    drop(store);
    let store = backend.open().await;
    let expected = [("a".to_owned(), vec![1]), ("c".to_owned(), b"3".to_vec())];
    assert_eq!(store.list("").await.expect(OK), expected);
}

pub(super) async fn an_expired_key_stays_away_after_reopening(backend: &mut dyn Backend) {
    let store = backend.open().await;
    put(&store, "a", b"1", Some(SHORT)).await;
    drop(store);
    let store = backend.open().await;
    wait_until(async || get(&store, "a").await.is_none()).await;
    drop(store);
    let store = backend.open().await;
    assert_eq!(get(&store, "a").await, None);
}
