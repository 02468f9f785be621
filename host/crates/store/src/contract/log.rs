//! Append-only logs.

use std::sync::Arc;

use deltaforge_engine::state::StateStore;

use super::Backend;

const OK: &str = "the store answers";

fn records(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

async fn append(store: &Arc<dyn StateStore>, log: &str, texts: &[&str]) -> u64 {
    store.log_append(log, records(texts)).await.expect(OK)
}

/// The log from `from` on, as `number:text`.
async fn read(store: &Arc<dyn StateStore>, log: &str, from: u64, limit: usize) -> Vec<String> {
    let records = store.log_read(log, from, limit).await.expect(OK);
    records.into_iter().map(|(seq, record)| format!("{seq}:{}", String::from_utf8_lossy(&record))).collect()
}

pub(super) async fn numbers_start_at_one_and_have_no_holes(backend: &mut dyn Backend) {
    let store = backend.open().await;
    assert_eq!(append(&store, "a", &["x", "y"]).await, 1);
    assert_eq!(append(&store, "a", &["", "y"]).await, 3);
    assert_eq!(append(&store, "b", &["x"]).await, 1, "each log has its own numbers");
    assert_eq!(append(&store, "a", &[]).await, 5, "the number that the next record gets");
    assert_eq!(append(&store, "a", &["z"]).await, 5);
    assert_eq!(read(&store, "a", 0, 99).await, ["1:x", "2:y", "3:", "4:y", "5:z"]);
    assert_eq!(read(&store, "b", 0, 99).await, ["1:x"]);
}

pub(super) async fn reading_starts_where_asked_and_stops_at_the_limit(backend: &mut dyn Backend) {
    let store = backend.open().await;
    append(&store, "a", &["p", "q", "r", "s"]).await;
    assert_eq!(read(&store, "a", 2, 2).await, ["2:q", "3:r"]);
    assert_eq!(read(&store, "a", 4, usize::MAX).await, ["4:s"]);
    assert_eq!(read(&store, "a", 1, 0).await, [""; 0]);
    assert_eq!(read(&store, "a", 5, 9).await, [""; 0]);
    assert_eq!(read(&store, "a", u64::MAX, 9).await, [""; 0]);
    assert_eq!(read(&store, "unknown", 1, 9).await, [""; 0]);
}

pub(super) async fn truncating_forgets_what_is_below(backend: &mut dyn Backend) {
    let store = backend.open().await;
    append(&store, "a", &["p", "q", "r"]).await;
    append(&store, "b", &["p"]).await;
    store.log_truncate("a", 0).await.expect(OK);
    store.log_truncate("a", 1).await.expect(OK);
    assert_eq!(read(&store, "a", 1, 9).await, ["1:p", "2:q", "3:r"]);
    store.log_truncate("a", 3).await.expect(OK);
    assert_eq!(read(&store, "a", 1, 9).await, ["3:r"]);
    store.log_truncate("a", 2).await.expect(OK);
    assert_eq!(read(&store, "a", 1, 9).await, ["3:r"]);
    assert_eq!(read(&store, "b", 1, 9).await, ["1:p"]);
    store.log_truncate("unknown", 7).await.expect(OK);
}

pub(super) async fn numbers_are_never_used_again(backend: &mut dyn Backend) {
    let store = backend.open().await;
    append(&store, "a", &["p", "q", "r"]).await;
    store.log_truncate("a", 4).await.expect(OK);
    assert_eq!(append(&store, "a", &["s"]).await, 4);
    store.log_truncate("a", u64::MAX).await.expect(OK);
    drop(store);
    let store = backend.open().await;
    assert_eq!(read(&store, "a", 1, 9).await, [""; 0]);
    assert_eq!(append(&store, "a", &["t"]).await, 5, "truncating past the end leaves no hole either");
    assert_eq!(read(&store, "a", 1, 9).await, ["5:t"]);
}

pub(super) async fn concurrent_appends_keep_their_records_together(backend: &mut dyn Backend) {
    let store = backend.open().await;
    let tasks: Vec<_> = (0..8_u8)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut appended = Vec::new();
                for round in 0..20_u8 {
                    let batch = vec![vec![task, round, 0], vec![task, round, 1], vec![task, round, 2]];
                    let first = store.log_append("a", batch.clone()).await.expect(OK);
                    appended.extend((first..).zip(batch));
                }
                appended
            })
        })
        .collect();
    let mut appended = Vec::new();
    for task in tasks {
        let of_task = task.await.expect("the task ends well");
        assert!(of_task.is_sorted(), "a caller's later records come later");
        appended.extend(of_task);
    }
    appended.sort();
    assert!(appended.iter().map(|(seq, _)| *seq).eq(1..=8 * 20 * 3), "every number was given out once");
    assert_eq!(store.log_read("a", 1, usize::MAX).await.expect(OK), appended);
}

pub(super) async fn records_survive_reopening(backend: &mut dyn Backend) {
    let store = backend.open().await;
    append(&store, "a", &["p", "q"]).await;
    store.log_truncate("a", 2).await.expect(OK);
    drop(store);
    let store = backend.open().await;
    assert_eq!(append(&store, "a", &["r"]).await, 3);
    assert_eq!(read(&store, "a", 1, 9).await, ["2:q", "3:r"]);
}
