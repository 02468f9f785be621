//! Restarts, and databases that are not what the checkpoint remembers.

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_engine::error::Next;
use deltaforge_engine::source::{SourceContext, SourceFactory};
use deltaforge_source_sqlite::SqliteSource;

use crate::harness::{DEADLINE, Db, Reader, context};

const T: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)";

#[tokio::test]
async fn a_restart_anywhere_loses_nothing_and_repeats_with_equal_ids() {
    let db = Db::with(T);
    let limits = BatchLimits { max_events: 7, ..BatchLimits::default() };
    let mut all = Reader::connect_as("p", db.config(), None, limits).await.unwrap();
    db.run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO t SELECT i, 'x' FROM n");
    db.run("UPDATE t SET id = id + 1000, a = 'moved' WHERE id % 10 = 0; DELETE FROM t WHERE id % 7 = 0");
    let mut positions = vec![None];
    while all.seen.len() < 133 {
        all.batch().await.unwrap();
        positions.push(all.through.clone());
        assert!(positions.len() < 200, "{:?}", all.lines());
    }
    let total = all.seen.len();
    for position in positions {
        let done = position.as_ref().map_or(0, |position| {
            let parsed: serde_json::Value = serde_json::from_str(position.as_str()).unwrap();
            all.seen.iter().filter(|seen| seen.pos <= parsed["sequence"].as_u64().unwrap()).count()
        });
        let mut again = Reader::connect_as("again", db.config(), position, limits).await.unwrap();
        again.until("the rest", |seen| seen.len() >= total - done).await;
        assert_eq!(again.seen, all.seen[done..]);
    }
}

#[tokio::test]
async fn rows_through_counts_what_a_sink_has_already() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("BEGIN; INSERT INTO t VALUES (1, 'a'), (2, 'b'); UPDATE t SET id = 9 WHERE id = 1; INSERT INTO t VALUES (3, 'c'); COMMIT");
    let batch = reader.batch().await.unwrap();
    assert_eq!(batch.batch.len(), 5);
    let source = SqliteSource::new();
    let at = |event: usize| {
        let text = batch.covers.through.as_str();
        let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
        json["sequence"] = batch.batch.event(event).pos().into();
        deltaforge_model::Position::new(json.to_string())
    };
    assert_eq!(source.rows_through(&batch.batch, &batch.covers.from), 0);
    assert_eq!(source.rows_through(&batch.batch, &at(0)), 1);
    assert_eq!(source.rows_through(&batch.batch, &at(2)), 4, "both halves of a moved row");
    assert_eq!(source.rows_through(&batch.batch, &batch.covers.through), 5);
}

#[tokio::test]
async fn a_database_that_went_back_is_refused_with_the_phantom_range() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'a')");
    reader.events(1).await;
    let low = reader.through.clone().unwrap();
    let backup = db.dir.path().join("backup.db");
    db.app.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    db.run("INSERT INTO t VALUES (2, 'b'), (3, 'c')");
    reader.events(3).await;
    let through = reader.through.clone();
    let mut config = db.config();
    config["path"] = backup.to_str().unwrap().into();
    let error = Reader::connect(config.clone(), through.clone()).await.err().unwrap();
    assert_eq!((error.code, error.next), ("source_rewound", Next::Operator));
    assert!(
        error.message.contains("changes 3 to 4 were delivered") || error.message.contains("to"),
        "{error}"
    );
    // Also where the last of the sinks is not past it.
    let context = SourceContext {
        stands: vec![low.clone(), through.clone().unwrap()],
        ..context("p", Some(low), BatchLimits::default())
    };
    let error = SqliteSource::new().connect(&config, context).await.err().unwrap();
    assert_eq!(error.code, "source_rewound");
    // The same number of other changes: the sequence alone would not tell.
    let other = rusqlite::Connection::open(&backup).unwrap();
    other.execute_batch("INSERT INTO t VALUES (5, 'q'), (6, 'r')").unwrap();
    assert_eq!(Reader::connect(config, through).await.err().unwrap().code, "source_rewound");
}

#[tokio::test]
async fn a_backup_put_back_under_a_running_reader_is_noticed() {
    let db = Db::new("delete");
    db.run(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'a')");
    reader.events(1).await;
    let backup = db.dir.path().join("backup.db");
    db.app.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    db.run("INSERT INTO t VALUES (2, 'b')");
    reader.events(2).await;
    // Put back in place, as `cp` does: the file stays the same one.
    let before = std::fs::read(&backup).unwrap();
    std::fs::write(db.path(), before).unwrap();
    let error = loop {
        match reader.batch().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    // It may have seen the file half written, and then it is the next start that knows for sure.
    assert_ne!(error.code, "source_changed");
    assert_eq!(
        Reader::connect(db.config(), reader.through.clone()).await.err().unwrap().code,
        "source_rewound"
    );
}

#[tokio::test]
async fn another_file_in_the_databases_place_means_connecting_anew() {
    let db = Db::new("delete");
    db.run(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'a')");
    reader.events(1).await;
    std::fs::copy(db.path(), db.dir.path().join("copy.db")).unwrap();
    std::fs::rename(db.dir.path().join("copy.db"), db.path()).unwrap();
    let error = loop {
        match reader.batch().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((error.code, error.next), ("source_replaced", Next::Retry));
    Reader::connect(db.config(), reader.through.clone()).await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_of_another_database_is_unrelated() {
    let (one, two) = (Db::with(T), Db::with(T));
    let mut reader = one.reader().await;
    one.run("INSERT INTO t VALUES (1, 'a')");
    reader.events(1).await;
    let error = Reader::connect(two.config(), reader.through.clone()).await.err().unwrap();
    assert_eq!((error.code, error.next), ("source_changed", Next::Operator));
}

#[tokio::test]
async fn confirmed_changes_leave_the_log_but_never_the_last_and_never_what_another_reader_needs() {
    let db = Db::with(T);
    let mut fast = db.reader().await;
    let mut slow = Reader::connect_as("slow", db.config(), None, BatchLimits::default()).await.unwrap();
    db.run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, 'x' FROM n");
    fast.events(5_000).await;
    slow.events(5_000).await;
    let kept =
        || db.app.query_row("SELECT count(*) FROM _df_cdc_log", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = kept();
    fast.inner.confirm(fast.through.as_ref().unwrap()).await.unwrap();
    until(|| confirmed(&db, "t/p/s") > 0).await;
    assert_eq!(kept(), before, "the slow reader has confirmed nothing");
    slow.inner.confirm(slow.through.as_ref().unwrap()).await.unwrap();
    until(|| kept() == 1).await;
    db.run("INSERT INTO t VALUES (0, 'y')");
    fast.events(5_001).await;
    let mut again = Reader::connect(db.config(), fast.through.clone()).await.unwrap();
    db.run("DELETE FROM t WHERE id = 0");
    again.events(1).await;
}

fn confirmed(db: &Db, reader: &str) -> i64 {
    db.app
        .query_row("SELECT confirmed FROM _df_cdc_readers WHERE reader = ?1", [reader], |row| row.get(0))
        .unwrap()
}

async fn until(done: impl Fn() -> bool) {
    tokio::time::timeout(DEADLINE, async {
        while !done() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("in time");
}

#[tokio::test]
async fn a_row_beyond_its_share_of_the_budget_stops_the_pipeline_and_names_it() {
    let db = Db::with(T);
    let limits = BatchLimits { hard_bytes: 64 << 10, ..BatchLimits::default() };
    let mut reader = Reader::connect_as("p", db.config(), None, limits).await.unwrap();
    db.run("INSERT INTO t VALUES (1, hex(zeroblob(20000))), (2, hex(zeroblob(20000)))");
    reader.events(2).await;
    db.run("INSERT INTO t VALUES (3, hex(zeroblob(40000)))");
    let error = reader.batch().await.err().unwrap();
    assert_eq!((error.code, error.next), ("row_too_large", Next::Operator));
    assert!(error.message.contains("spec.max_memory_bytes"), "{error}");
}
