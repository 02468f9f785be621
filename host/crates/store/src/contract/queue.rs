//! Bounded queues.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::state::{
    Pushed, QueueEntry, QueueFilter, QueueItem, QueueOverflow, StateError, StateStore,
};

use super::Backend;
use QueueOverflow::{DropOldest, Fail, Reject};

const OK: &str = "the store answers";

/// Enough for every test that is not about the bound.
const MANY: u64 = 1_000;

fn item(key: &str, labels: &[(&str, &str)]) -> QueueItem {
    QueueItem { unique_key: key.into(), labels: map(labels), payload: format!("payload of {key}").into() }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn items(keys: &[&str]) -> Vec<QueueItem> {
    keys.iter().map(|key| item(key, &[])).collect()
}

async fn push(store: &Arc<dyn StateStore>, keys: &[&str], max: u64, overflow: QueueOverflow) -> Pushed {
    let pushed = store.queue_push("q", items(keys), max, overflow).await.expect(OK);
    assert_eq!(pushed.added_at.len() as u64, pushed.added);
    Pushed { added_at: Vec::new(), ..pushed }
}

async fn peek(
    store: &Arc<dyn StateStore>,
    filter: &QueueFilter,
    after: u64,
    limit: usize,
) -> Vec<QueueEntry> {
    store.queue_peek("q", filter, after, limit).await.expect(OK)
}

/// All entries as `number:key`; checks that the count agrees.
async fn all(store: &Arc<dyn StateStore>) -> Vec<String> {
    let entries = peek(store, &QueueFilter::new(), 0, usize::MAX).await;
    let count = store.queue_count("q", &QueueFilter::new()).await.expect(OK);
    assert_eq!(count, entries.len() as u64);
    entries.iter().map(|entry| format!("{}:{}", entry.seq, entry.item.unique_key)).collect()
}

pub(super) async fn entries_come_out_as_they_went_in(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert_eq!(all(&store).await, [""; 0]);
    let first = item("a", &[("kind", "x"), ("größe", "it's \"quoted\"\n"), ("", "")]);
    let second = QueueItem { payload: Vec::new(), ..item("b", &[]) };
    let pushed = store.queue_push("q", vec![first.clone(), second.clone()], MANY, Reject).await.expect(OK);
    assert_eq!(pushed, Pushed { added: 2, added_at: vec![0, 1], ..Pushed::default() });
    let entries = peek(&store, &QueueFilter::new(), 0, 9).await;
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(entries.iter().map(|entry| &entry.item).collect::<Vec<_>>(), [&first, &second]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let now = i64::try_from(now.as_millis()).expect("before the year 292 million");
    assert!(entries.iter().all(|entry| (entry.pushed_ms - now).abs() < 60_000), "{entries:?}");
    assert_eq!(peek(&store, &QueueFilter::new(), 1, 9).await, entries[1..], "peeking leaves entries there");
    assert_eq!(peek(&store, &QueueFilter::new(), u64::MAX, 9).await, []);
    assert_eq!(peek(&store, &QueueFilter::new(), 0, 0).await, []);
}

pub(super) async fn a_key_is_held_once(backend: &mut dyn Backend) {
    let store = backend.open().await;
    push(&store, &["a", "b"], MANY, Reject).await;
    let again = QueueItem { payload: b"other".to_vec(), ..item("a", &[("other", "label")]) };
    let pushed = store.queue_push("q", vec![again], MANY, Reject).await.expect(OK);
    assert_eq!(pushed, Pushed { duplicate: 1, ..Pushed::default() });
    assert_eq!(peek(&store, &QueueFilter::new(), 0, 1).await[0].item, item("a", &[]), "the first one stays");
    let pushed = push(&store, &["b", "c", "c"], MANY, Reject).await;
    assert_eq!(pushed, Pushed { added: 1, duplicate: 2, ..Pushed::default() }, "also within one push");
    assert_eq!(all(&store).await, ["1:a", "2:b", "3:c"]);
    store.queue_ack("q", 1).await.expect(OK);
    assert_eq!(push(&store, &["a"], MANY, Reject).await.added, 1, "what has left may come again");
    assert_eq!(all(&store).await, ["2:b", "3:c", "4:a"]);
}

pub(super) async fn filters_apply_before_the_limit(backend: &mut dyn Backend) {
    let store = backend.open().await;
    let labelled = (0..60).map(|n| {
        let (sink, kind) = (["a", "b", "c"][n % 3], ["x", "y"][n % 2]);
        item(&n.to_string(), &[("sink", sink), ("kind", kind)])
    });
    store.queue_push("q", labelled.collect(), MANY, Reject).await.expect(OK);
    let seqs = |entries: Vec<QueueEntry>| entries.into_iter().map(|entry| entry.seq).collect::<Vec<_>>();
    let sink_c = map(&[("sink", "c")]);
    assert_eq!(seqs(peek(&store, &sink_c, 0, 3).await), [3, 6, 9]);
    assert_eq!(seqs(peek(&store, &sink_c, 9, 2).await), [12, 15]);
    let both = map(&[("sink", "c"), ("kind", "y")]);
    assert_eq!(seqs(peek(&store, &both, 0, 2).await), [6, 12], "an entry must have all of them");
    for (filter, expected) in [
        (sink_c, 20),
        (both, 10),
        (QueueFilter::new(), 60),
        (map(&[("sink", "C")]), 0),
        (map(&[("nothing", "")]), 0),
    ] {
        assert_eq!(store.queue_count("q", &filter).await.expect(OK), expected, "{filter:?}");
        assert_eq!(peek(&store, &filter, 0, usize::MAX).await.len() as u64, expected, "{filter:?}");
    }
}

pub(super) async fn acknowledging_removes_up_to_a_number(backend: &mut dyn Backend) {
    let store = backend.open().await;
    push(&store, &["a", "b", "c", "d"], MANY, Reject).await;
    assert_eq!(store.queue_ack("q", 0).await.expect(OK), 0);
    assert_eq!(store.queue_ack("q", 2).await.expect(OK), 2);
    assert_eq!(store.queue_ack("q", 2).await.expect(OK), 0);
    assert_eq!(all(&store).await, ["3:c", "4:d"]);
    assert_eq!(store.queue_ack("q", u64::MAX).await.expect(OK), 2);
    assert_eq!(all(&store).await, [""; 0]);
    assert_eq!(store.queue_ack("unknown", 7).await.expect(OK), 0);
}

pub(super) async fn purging_empties(backend: &mut dyn Backend) {
    let store = backend.open().await;
    push(&store, &["a", "b", "c"], MANY, Reject).await;
    assert_eq!(store.queue_purge("q").await.expect(OK), 3);
    assert_eq!(all(&store).await, [""; 0]);
    assert_eq!(store.queue_purge("q").await.expect(OK), 0);
    assert_eq!(store.queue_purge("unknown").await.expect(OK), 0);
}

pub(super) async fn expiring_removes_the_old(backend: &mut dyn Backend) {
    let store = backend.open().await;
    push(&store, &["a", "b"], MANY, Reject).await;
    let old_ms = peek(&store, &QueueFilter::new(), 0, 1).await[0].pushed_ms;
    // A millisecond has to pass, or the two pushes are of the same age.
    tokio::time::sleep(Duration::from_millis(5)).await;
    push(&store, &["c"], MANY, Reject).await;
    assert_eq!(store.queue_expire("q", old_ms).await.expect(OK), 0, "what was pushed just then stays");
    assert_eq!(store.queue_expire("q", old_ms + 1).await.expect(OK), 2);
    assert_eq!(all(&store).await, ["3:c"]);
    assert_eq!(store.queue_expire("q", i64::MAX).await.expect(OK), 1);
    assert_eq!(all(&store).await, [""; 0]);
    assert_eq!(store.queue_expire("unknown", i64::MAX).await.expect(OK), 0);
}

pub(super) async fn numbers_of_entries_are_never_used_again(backend: &mut dyn Backend) {
    let mut store = backend.open().await;
    push(&store, &["a", "b"], MANY, Reject).await;
    store.queue_purge("q").await.expect(OK);
    push(&store, &["a"], MANY, Reject).await;
    assert_eq!(all(&store).await, ["3:a"]);
    store.queue_ack("q", 3).await.expect(OK);
    push(&store, &["a"], MANY, Reject).await;
    assert_eq!(all(&store).await, ["4:a"]);
    store.queue_expire("q", i64::MAX).await.expect(OK);
    push(&store, &["a", "b"], 1, DropOldest).await;
    assert_eq!(all(&store).await, ["6:b"]);
    store.queue_purge("q").await.expect(OK);
    drop(store);
    store = backend.open().await;
    push(&store, &["a"], MANY, Reject).await;
    assert_eq!(all(&store).await, ["7:a"]);
}

pub(super) async fn drop_oldest_makes_room(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert_eq!(push(&store, &["a", "b"], 3, DropOldest).await, Pushed { added: 2, ..Pushed::default() });
    let pushed = push(&store, &["c", "d", "b"], 3, DropOldest).await;
    assert_eq!(pushed, Pushed { added: 2, evicted: 1, duplicate: 1, ..Pushed::default() });
    assert_eq!(all(&store).await, ["2:b", "3:c", "4:d"]);
    assert_eq!(push(&store, &["a"], 1, DropOldest).await.evicted, 3, "the bound may have become smaller");
    assert_eq!(all(&store).await, ["5:a"], "an evicted key may come again");
    assert_eq!(
        push(&store, &["a", "z"], 0, DropOldest).await,
        Pushed { duplicate: 1, rejected: 1, ..Pushed::default() }
    );
    assert_eq!(all(&store).await, ["5:a"], "a queue for nothing takes nothing");
}

pub(super) async fn reject_keeps_what_fits(backend: &mut dyn Backend) {
    let store = backend.open().await;
    let keys = items(&["a", "b", "a", "c", "d", "b"]);
    let pushed = store.queue_push("q", keys, 3, Reject).await.expect(OK);
    let added_at = vec![0, 1, 3];
    assert_eq!(pushed, Pushed { added: 3, added_at, duplicate: 2, evicted: 0, rejected: 1 });
    assert_eq!(push(&store, &["e"], 3, Reject).await, Pushed { rejected: 1, ..Pushed::default() });
    assert_eq!(push(&store, &["e"], 1, Reject).await, Pushed { rejected: 1, ..Pushed::default() });
    assert_eq!(all(&store).await, ["1:a", "2:b", "3:c"]);
    store.queue_ack("q", 1).await.expect(OK);
    assert_eq!(push(&store, &["e"], 3, Reject).await.added, 1);
}

pub(super) async fn fail_pushes_nothing(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert_eq!(push(&store, &["a", "b"], 3, Fail).await.added, 2);
    let error = store.queue_push("q", items(&["c", "d"]), 3, Fail).await.expect_err("there is no room");
    assert!(
        matches!(&error, StateError::QueueFull { queue, entries: 2, max_entries: 3, more: 2 } if queue == "q"),
        "{error:?}"
    );
    assert_eq!(all(&store).await, ["1:a", "2:b"], "not even the one that fits");
    assert_eq!(
        push(&store, &["a", "c", "c", "b"], 3, Fail).await,
        Pushed { added: 1, duplicate: 3, ..Pushed::default() },
        "what is there already needs no room"
    );
    assert_eq!(push(&store, &["a"], 1, Fail).await.duplicate, 1);
    assert_eq!(push(&store, &[], 0, Fail).await, Pushed::default());
    assert_eq!(all(&store).await, ["1:a", "2:b", "3:c"]);
}

pub(super) async fn concurrent_pushes_of_one_key_add_it_once(backend: &mut dyn Backend) {
    let store = backend.open().await;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut sum = Pushed::default();
                for round in 0..20 {
                    let keys = [format!("shared {round}"), format!("{task} {round}")];
                    let items = keys.iter().map(|key| item(key, &[])).collect();
                    let pushed = store.queue_push("q", items, MANY, Fail).await.expect(OK);
                    sum.added += pushed.added;
                    sum.duplicate += pushed.duplicate;
                }
                sum
            })
        })
        .collect();
    let mut sum = Pushed::default();
    for task in tasks {
        let pushed = task.await.expect("the task ends well");
        sum.added += pushed.added;
        sum.duplicate += pushed.duplicate;
    }
    assert_eq!(sum, Pushed { added: 180, duplicate: 140, ..Pushed::default() });
    let entries = peek(&store, &QueueFilter::new(), 0, usize::MAX).await;
    assert!(entries.iter().map(|entry| entry.seq).eq(1..=180), "numbers in push order, each once");
}

pub(super) async fn entries_survive_reopening(backend: &mut dyn Backend) {
    let mut store = backend.open().await;
    let pushed = vec![item("a", &[("sink", "x")]), item("b", &[("sink", "y")]), item("c", &[("sink", "x")])];
    store.queue_push("q", pushed, MANY, Reject).await.expect(OK);
    let before = peek(&store, &QueueFilter::new(), 0, 9).await;
    drop(store);
    store = backend.open().await;
    assert_eq!(peek(&store, &QueueFilter::new(), 0, 9).await, before);
    assert_eq!(store.queue_count("q", &map(&[("sink", "x")])).await.expect(OK), 2);
    assert_eq!(push(&store, &["a", "d"], MANY, Reject).await.duplicate, 1);
    assert_eq!(all(&store).await, ["1:a", "2:b", "3:c", "4:d"]);
}

pub(super) async fn queues_are_apart(backend: &mut dyn Backend) {
    let store = backend.open().await;
    push(&store, &["a"], MANY, Reject).await;
    let other = store.queue_push("other", items(&["a", "b"]), MANY, Reject).await.expect(OK);
    assert_eq!(other.added, 2);
    assert_eq!(store.queue_purge("q").await.expect(OK), 1);
    let left = store.queue_peek("other", &QueueFilter::new(), 0, 9).await.expect(OK);
    assert_eq!(left.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(store.log_read("other", 1, 9).await.expect(OK), [], "and from logs of the same name");
}
