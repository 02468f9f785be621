//! Copies of existing rows, in step with writers that do not stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_model::SnapshotMark;
use serde_json::json;

use crate::harness::{Db, Reader, Seen, content, state};

fn small() -> BatchLimits {
    BatchLimits { max_events: 10, ..BatchLimits::default() }
}

#[tokio::test]
async fn a_snapshot_marks_its_first_and_last_row_and_the_log_follows() {
    let db = Db::with(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, v); CREATE TABLE b (id TEXT PRIMARY KEY) WITHOUT ROWID; CREATE TABLE c (x)",
    );
    db.run("INSERT INTO a VALUES (1, 'x'), (2, 'y'), (3, 'z'); INSERT INTO b VALUES ('k'), ('l')");
    let mut config = db.config();
    config["snapshot"] = json!({"chunk_size": 2});
    let mut reader = Reader::connect(config.clone(), None).await.unwrap();
    let mut marks = Vec::new();
    while marks.len() < 5 {
        let batch = reader.batch().await.unwrap();
        assert!(batch.batch.len() <= 2);
        marks.extend(batch.batch.events().map(|event| event.snapshot()));
    }
    use SnapshotMark::{First, Last, True};
    assert_eq!(marks, [First, True, True, True, Last]);
    assert_eq!(
        reader.lines(),
        ["r a id=Int(1) v='x'", "r a id=Int(2) v='y'", "r a id=Int(3) v='z'", "r b id='k'", "r b id='l'",]
    );
    db.run("INSERT INTO a VALUES (4, 'w')");
    assert_eq!(reader.events(6).await[5], "c a id=Int(4) v='w'");
    // Initial is once: with a checkpoint nothing is copied.
    let mut again = Reader::connect(config.clone(), reader.through.clone()).await.unwrap();
    db.run("INSERT INTO a VALUES (5, 'u')");
    assert_eq!(again.events(1).await, ["c a id=Int(5) v='u'"]);
    config["snapshot"]["mode"] = json!("always");
    let mut always = Reader::connect(config, again.through.clone()).await.unwrap();
    assert_eq!(always.events(7).await.iter().filter(|line| line.starts_with("r ")).count(), 7);
}

/// Writers change rows of all kinds of tables while the copy runs and the reader is dropped and connected anew at
/// random; what the events add up to must be what the tables hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_add_up_to_the_tables_whatever_happens_meanwhile() {
    for (seed, journal) in [(1, "wal"), (2, "delete"), (3, "wal")] {
        handover(seed, journal).await;
    }
}

const TABLES: [&str; 3] = ["num", "txt", "two"];

async fn handover(seed: u64, journal: &str) {
    let db = Db::new(journal);
    db.run(
        "CREATE TABLE num (id INTEGER PRIMARY KEY, u INT UNIQUE, v TEXT);
         CREATE TABLE txt (id TEXT PRIMARY KEY NOT NULL, v);
         CREATE TABLE two (a INT, b TEXT, v, PRIMARY KEY (a, b)) WITHOUT ROWID;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
         INSERT INTO num SELECT i, i * 2, 'old' FROM n;
         INSERT INTO txt SELECT 'k' || id, 'old' FROM num; INSERT INTO two SELECT id % 5, id, 'old' FROM num;",
    );
    let mut config = db.config();
    config["tables"] = json!(TABLES);
    config["snapshot"] = json!({"mode": "initial", "chunk_size": 7});
    let stop = Arc::new(AtomicBool::new(false));
    let mut random = Random(seed);
    let mut reader = Reader::connect_as("p", config.clone(), None, small()).await.unwrap();
    let writer = {
        let (app, stop, mut random) = (db.connection(), stop.clone(), Random(seed + 100));
        std::thread::spawn(move || {
            app.execute_batch("PRAGMA synchronous = OFF").unwrap();
            let mut changes = 0;
            while !stop.load(Ordering::Relaxed) && changes < 4_000 {
                let _ = app.execute_batch(&random.statement());
                changes += 1;
            }
            changes
        })
    };
    let mut kept: Vec<Seen> = Vec::new();
    let mut rounds = 0;
    while rounds < 60 {
        for _ in 0..=random.below(4) {
            reader.batch().await.unwrap();
        }
        rounds += 1;
        if random.below(5) == 0 {
            // Killed: what was read after some earlier batch is read again.
            kept.append(&mut reader.seen);
            let through = reader.through.clone();
            drop(reader);
            reader = Reader::connect_as("p", config.clone(), through, small()).await.unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 0);
    db.run("INSERT INTO num VALUES (999999, -1, 'end')");
    reader.until("the end", |seen| seen.iter().any(|seen| seen.op == "c" && seen.key == "Int(999999)")).await;
    // The copy may still be under way.
    while reader.through.as_ref().unwrap().as_str().contains(r#""phase":"snapshot""#) {
        reader.batch().await.unwrap();
    }
    kept.append(&mut reader.seen);
    assert_eq!(state(&kept), content(&db, &TABLES).await, "seed {seed}");
    let mut ids = HashMap::new();
    for seen in &kept {
        assert!(ids.insert(seen.id.clone(), seen.line()).is_none(), "seed {seed}: {} twice", seen.line());
    }
}

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn statement(&mut self) -> String {
        let (a, b, v) = (self.below(200), self.below(200), self.below(1_000));
        let or = ["", " OR REPLACE", " OR IGNORE", " OR FAIL"][self.below(4) as usize];
        match self.below(14) {
            0 => format!("INSERT{or} INTO num VALUES ({a}, {b}, 'n{v}')"),
            1 => format!("INSERT{or} INTO num (u, v) VALUES ({b}, 'auto{v}')"),
            2 => format!("UPDATE{or} num SET v = 'u{v}' WHERE id BETWEEN {a} AND {a} + 3"),
            3 => format!("UPDATE{or} num SET id = {b}, u = {v} WHERE id = {a}"),
            4 => format!("DELETE FROM num WHERE id = {a}"),
            5 => format!("INSERT{or} INTO txt VALUES ('k{a}', {v})"),
            6 => format!("UPDATE{or} txt SET id = 'k{b}' WHERE id = 'k{a}'"),
            7 => format!("DELETE FROM txt WHERE id = 'k{a}'"),
            8 => format!("INSERT{or} INTO two VALUES ({a} % 5, {b}, {v})"),
            9 => format!("UPDATE{or} two SET a = (a + 1) % 5, v = {v} WHERE b = '{b}'"),
            10 => format!("DELETE FROM two WHERE b = '{b}'"),
            11 => format!(
                "INSERT INTO num VALUES ({a}, {b}, 'up') ON CONFLICT (id) DO UPDATE SET v = 'upserted'"
            ),
            12 => format!("BEGIN; UPDATE num SET v = 'no' WHERE id = {a}; DELETE FROM txt; ROLLBACK"),
            _ => format!(
                "BEGIN; DELETE FROM num WHERE id = {a}; INSERT OR IGNORE INTO num VALUES ({a}, {v}, 're'); UPDATE txt SET v = {v} WHERE id > 'k{a}' AND id < 'k{a}9'; COMMIT"
            ),
        }
    }
}

#[tokio::test]
async fn a_copy_that_is_interrupted_goes_on_and_one_without_a_key_begins_again() {
    let db = Db::with("CREATE TABLE k (id INTEGER PRIMARY KEY); CREATE TABLE n (x)");
    db.run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25) INSERT INTO k SELECT i FROM n");
    db.run("INSERT INTO n SELECT id FROM k");
    let mut config = db.config();
    config["snapshot"] = json!({"mode": "initial"});
    let mut first = Reader::connect_as("p", config.clone(), None, small()).await.unwrap();
    first.batch().await.unwrap();
    let mut second = Reader::connect_as("p", config.clone(), first.through.clone(), small()).await.unwrap();
    second.batch().await.unwrap();
    second.batch().await.unwrap();
    assert_eq!(second.seen[0].line(), "r k id=Int(11)");
    assert_eq!(second.seen[19].line(), "r n x=Int(5)");
    let mut third = Reader::connect_as("p", config, second.through.clone(), small()).await.unwrap();
    third.events(25).await;
    assert_eq!(third.seen[0].line(), "r n x=Int(1)");
    assert_ne!(third.seen[0].id, second.seen[15].id, "another generation");
}

#[tokio::test]
async fn keys_are_copied_in_the_order_of_their_own_index() {
    for table in ["t", "w"] {
        let db = Db::with(
            "CREATE TABLE t (a TEXT COLLATE NOCASE NOT NULL, v, PRIMARY KEY (a COLLATE BINARY));
             CREATE TABLE w (a TEXT COLLATE NOCASE NOT NULL, v, PRIMARY KEY (a COLLATE BINARY)) WITHOUT ROWID;
             INSERT INTO t VALUES ('a', 1), ('A', 2), ('b', 3), ('B', 4);
             INSERT INTO w SELECT a, v FROM t;",
        );
        let mut config = db.config();
        config["tables"] = json!([table]);
        config["snapshot"] = json!({ "mode": "initial", "chunk_size": 1 });
        let mut reader = Reader::connect(config, None).await.unwrap();
        reader.until("all rows", |seen| seen.len() >= 4).await;
        let mut keys: Vec<String> = reader.seen.iter().map(|seen| seen.key.clone()).collect();
        keys.sort();
        assert_eq!(keys, ["'A'", "'B'", "'a'", "'b'"], "{table}");
        db.run("REPLACE INTO w VALUES ('A', 5)");
        if table == "w" {
            reader.until("the replaced row", |seen| seen.len() >= 6).await;
            let lines = reader.lines();
            assert_eq!(lines[4..], ["d w [a='A' v=Int(2)]", "c w a='A' v=Int(5)"]);
        }
    }
}
