//! What a reader does to the application that writes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Db, Reader};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_is_never_held_up_for_longer_than_a_short_transaction() {
    for journal in ["wal", "delete"] {
        let db = Db::new(journal);
        db.run("PRAGMA synchronous = OFF; CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT);");
        db.run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t SELECT i, 'x' FROM n");
        let mut config = db.config();
        config["snapshot"] = json!({"mode": "initial"});
        let mut reader = Reader::connect(config, None).await.unwrap();
        let app = db.connection();
        app.execute_batch("PRAGMA synchronous = OFF").unwrap();
        let writer = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            for i in 0..2_000 {
                let began = Instant::now();
                app.execute("INSERT INTO t VALUES (?1, 'new')", [100_000 + i]).unwrap();
                longest = longest.max(began.elapsed());
            }
            longest
        });
        while reader.seen.len() < 22_000 {
            reader.batch().await.unwrap();
            let through = reader.through.clone().unwrap();
            reader.inner.confirm(&through).await.unwrap();
        }
        let longest = writer.join().unwrap();
        assert!(longest < Duration::from_millis(500), "{journal}: {longest:?}");
    }
}

#[tokio::test]
async fn a_lone_change_arrives_at_once_though_the_poll_interval_is_long() {
    let db = Db::with("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    let mut config = db.config();
    config["poll_interval_ms"] = json!(60_000);
    let mut reader = Reader::connect(config, None).await.unwrap();
    let mut waits = Vec::new();
    for i in 1..=50 {
        let began = Instant::now();
        db.run(&format!("INSERT INTO t VALUES ({i})"));
        reader.events(i).await;
        waits.push(began.elapsed());
    }
    waits.sort();
    assert!(waits[48] < Duration::from_millis(500), "{waits:?}");
}

#[tokio::test]
async fn a_locked_database_is_waited_for() {
    let db = Db::new("delete");
    db.run("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    let mut reader = db.reader().await;
    db.run("BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)");
    assert!(tokio::time::timeout(Duration::from_millis(100), reader.inner.next_batch()).await.is_err());
    db.run("COMMIT");
    assert_eq!(reader.events(1).await, ["c t id=Int(1)"]);
}

#[tokio::test]
async fn a_long_log_makes_writes_no_slower() {
    let db = Db::with("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b)");
    db.run("PRAGMA synchronous = OFF");
    let _reader = db.reader().await;
    let statements = |from: i64| {
        let began = Instant::now();
        db.run("BEGIN");
        for id in from..from + 300 {
            db.run(&format!(
                "INSERT INTO t VALUES ({id}, 'a{id}', 0); UPDATE t SET b = 1 WHERE id = {id};
                 REPLACE INTO t VALUES ({id}, 'a{id}', 2); INSERT OR IGNORE INTO t VALUES ({id}, 'x', 3)"
            ));
            if id % 3 == 0 {
                db.run(&format!("DELETE FROM t WHERE id = {id}"));
            }
        }
        db.run("COMMIT");
        began.elapsed()
    };
    let short = statements(0);
    db.run("WITH RECURSIVE n(i) AS (SELECT 10000 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) INSERT INTO t SELECT i, i, i FROM n");
    let long = statements(1_000);
    assert!(
        long < 6 * short + Duration::from_millis(50),
        "{short:?}, and with 50,000 rows in the log {long:?}"
    );
}

#[tokio::test]
async fn a_large_table_makes_writes_no_slower() {
    let db = Db::with(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b, c UNIQUE);
         CREATE UNIQUE INDEX live ON t (a) WHERE t.b IS NOT NULL;
         CREATE TABLE w (id, k, a UNIQUE, b, PRIMARY KEY (id, k)) WITHOUT ROWID;",
    );
    db.run("PRAGMA synchronous = OFF");
    let _reader = db.reader().await;
    let statements = |from: i64| {
        let began = Instant::now();
        db.run("BEGIN");
        for id in from..from + 300 {
            db.run(&format!(
                "INSERT INTO t VALUES ({id}, 'a{id}', 0, {id}); UPDATE t SET b = 1 WHERE id = {id};
                 INSERT INTO w VALUES ({id}, 0, {id}, 0); UPDATE w SET k = 1 WHERE id = {id} AND k = 0"
            ));
        }
        db.run("COMMIT");
        began.elapsed()
    };
    let small = statements(0);
    db.run("WITH RECURSIVE n(i) AS (SELECT 10000 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) INSERT INTO t SELECT i, i, i, i FROM n");
    db.run("WITH RECURSIVE n(i) AS (SELECT 10000 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) INSERT INTO w SELECT i, i, i, i FROM n");
    let large = statements(1_000);
    assert!(
        large < 6 * small + Duration::from_millis(50),
        "{small:?}, and with 30,000 rows in the tables {large:?}"
    );
}

#[tokio::test]
async fn transactions_that_read_before_they_write_are_left_alone() {
    let db = Db::with("CREATE TABLE t (id INTEGER PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 0)");
    let mut reader = db.reader().await;
    let mut failed = 0;
    for _ in 0..50 {
        db.run("BEGIN; SELECT v FROM t WHERE id = 1");
        // What was committed before is read and confirmed meanwhile.
        let patience = Duration::from_millis(20);
        while tokio::time::timeout(patience, reader.batch()).await.is_ok() {}
        if let Some(through) = reader.through.clone() {
            reader.inner.confirm(&through).await.unwrap();
            let _ = tokio::time::timeout(patience, reader.batch()).await;
        }
        match db.app.execute_batch("UPDATE t SET v = v + 1 WHERE id = 1; COMMIT") {
            Ok(()) => {}
            Err(_) => {
                failed += 1;
                db.run("ROLLBACK");
            }
        }
    }
    // Before, every second one did.
    assert!(failed <= 2, "{failed} of 50");
}
