//! Definitions that change under a running, or an absent, reader.

use deltaforge_engine::error::Next;
use deltaforge_source_sqlite::{Keep, SqliteConfig, install, uninstall};
use serde_json::json;

use crate::harness::{Db, Reader, Seen, content};

const T: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)";

/// What an installation says of each table.
fn told(config: &SqliteConfig) -> Vec<String> {
    install(config).unwrap().into_iter().map(|(table, what)| format!("{table}: {what}")).collect()
}

fn ops(seen: &[Seen], op: &str) -> usize {
    seen.iter().filter(|seen| seen.op == op).count()
}

#[tokio::test]
async fn a_column_added_while_reading_comes_with_its_ddl() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'x')");
    reader.events(1).await;
    db.run("ALTER TABLE t ADD COLUMN b DEFAULT 5");
    reader.until("the DDL", |seen| ops(seen, "ddl") == 1).await;
    assert!(reader.seen[1].note.as_ref().unwrap().contains("b DEFAULT 5"), "{:?}", reader.seen[1]);
    db.run("INSERT INTO t VALUES (2, 'y', 6)");
    assert_eq!(reader.events(3).await[2], "c t id=Int(2) a='y' b=Int(6)");
    assert_eq!(ops(&reader.seen, "m"), 0, "nothing was missed");
}

#[tokio::test]
async fn changes_between_a_new_column_and_its_capture_say_unavailable_and_the_table_is_read_again() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'x')");
    reader.events(1).await;
    let through = reader.through.clone();
    drop(reader);
    db.run("ALTER TABLE t ADD COLUMN b; INSERT INTO t VALUES (2, 'y', 7); UPDATE t SET b = 8 WHERE id = 1");
    let mut reader = Reader::connect(db.config(), through).await.unwrap();
    let lines = reader.events(6).await;
    assert_eq!(
        lines[..4],
        [
            "c t id=Int(2) a='y' b=Unavailable",
            "u t [id=Int(1) a='x' b=Unavailable] id=Int(1) a='x' b=Unavailable",
            "ddl t",
            "m t",
        ]
    );
    assert_eq!(lines[4..], ["r t id=Int(1) a='x' b=Int(8)", "r t id=Int(2) a='y' b=Int(7)"]);
    let gap: serde_json::Value = serde_json::from_str(reader.seen[3].note.as_ref().unwrap()).unwrap();
    assert_eq!(gap["type"], "capture_gap");
    assert_eq!(gap["table"], "shop.t");
}

#[tokio::test]
async fn a_migration_that_copies_drops_and_renames_is_a_gap_that_is_read_again() {
    for reading in [true, false] {
        let db = Db::with(T);
        let mut config = db.config();
        config["tables"] = json!(["t"]);
        let mut reader = Reader::connect(config.clone(), None).await.unwrap();
        db.run("INSERT INTO t VALUES (1, 'x')");
        reader.events(1).await;
        if !reading {
            let through = reader.through.clone();
            drop(reader);
            reader = Reader::connect(config.clone(), through.clone()).await.unwrap();
            drop(reader);
            migrate(&db);
            reader = Reader::connect(config.clone(), through).await.unwrap();
        } else {
            migrate(&db);
        }
        reader.until("the copy", |seen| ops(seen, "r") == 2).await;
        db.run("UPDATE t SET n = 9 WHERE id = 1");
        reader.until("a change", |seen| ops(seen, "u") == 1).await;
        assert_eq!(ops(&reader.seen, "m"), 1);
        assert_eq!(ops(&reader.seen, "ddl"), 1);
        assert_eq!(reader.state(), content(&db, &["t"]).await);
    }
}

fn migrate(db: &Db) {
    db.run(
        "BEGIN; CREATE TABLE t2 (id INTEGER PRIMARY KEY, a TEXT NOT NULL, n INT DEFAULT 1);
         INSERT INTO t2 (id, a) SELECT * FROM t; DROP TABLE t; ALTER TABLE t2 RENAME TO t;
         INSERT INTO t VALUES (2, 'missed', 2); COMMIT;",
    );
}

#[tokio::test]
async fn renames_keep_capture_whole() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'x')");
    reader.events(1).await;
    db.run("ALTER TABLE t RENAME COLUMN a TO name; UPDATE t SET name = 'y'; ALTER TABLE t RENAME TO people; INSERT INTO people VALUES (2, 'z')");
    let lines = reader.all(&db).await;
    assert!(lines.iter().any(|line| line.ends_with("id=Int(2) name='z'")), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("id=Int(1) name='y'")), "{lines:?}");
    assert_eq!(ops(&reader.seen, "m"), 0, "no change was missed: {lines:?}");
    db.run("UPDATE people SET name = 'last'");
    let lines = reader.all(&db).await;
    assert_eq!(lines.last().unwrap(), "u people [id=Int(2) name='z'] id=Int(2) name='last'");
}

#[tokio::test]
async fn a_dropped_table_says_so_and_a_new_one_is_read_whole() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'x'); DROP TABLE t");
    reader.until("the drop", |seen| ops(seen, "ddl") == 1).await;
    assert_eq!(reader.lines(), ["c t id=Int(1) a='x'", "ddl t"]);
    assert_eq!(reader.seen[1].note.as_deref(), Some("DROP TABLE \"t\""));
    db.run("BEGIN; CREATE TABLE n (id INTEGER PRIMARY KEY); INSERT INTO n VALUES (1), (2); COMMIT");
    reader.until("its rows", |seen| ops(seen, "r") == 2).await;
    db.run("INSERT INTO n VALUES (3)");
    reader.until("a change", |seen| seen.last().unwrap().line() == "c n id=Int(3)").await;
}

#[tokio::test]
async fn a_new_unique_index_is_learned() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'x')");
    reader.events(1).await;
    db.run("CREATE UNIQUE INDEX a ON t (a)");
    reader.until("the definition", |seen| ops(seen, "ddl") == 1).await;
    db.run("REPLACE INTO t VALUES (2, 'x')");
    let lines = reader.events(4).await;
    assert_eq!(lines[2..], ["d t [id=Int(1) a='x']", "c t id=Int(2) a='x'"]);
}

#[tokio::test]
async fn halt_stops_at_drift_until_somebody_installs_anew() {
    let db = Db::with(T);
    let mut config = db.config();
    config["on_schema_drift"] = json!("halt");
    let mut reader = Reader::connect(config.clone(), None).await.unwrap();
    db.run("INSERT INTO t VALUES (1, 'x')");
    reader.events(1).await;
    db.run("ALTER TABLE t ADD COLUMN b");
    let error = loop {
        match reader.batch().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((error.code, error.next), ("schema_drift", Next::Operator));
    let through = reader.through.clone();
    let parsed: SqliteConfig = serde_json::from_value(config.clone()).unwrap();
    assert_eq!(Reader::connect(config.clone(), through.clone()).await.err().unwrap().code, "schema_drift");
    assert_eq!(told(&parsed), ["t: re-installed, because the table's definition changed"]);
    let mut reader = Reader::connect(config, through).await.unwrap();
    db.run("INSERT INTO t VALUES (2, 'y', 3)");
    reader.until("the change", |seen| seen.iter().any(|s| s.line() == "c t id=Int(2) a='y' b=Int(3)")).await;
}

#[tokio::test]
async fn install_logs_before_the_first_reader_and_uninstall_leaves_nothing() {
    let db = Db::with(T);
    let config: SqliteConfig = serde_json::from_value(db.config()).unwrap();
    assert_eq!(uninstall(&config, Keep::Log).unwrap().to_string(), "nothing was installed");
    assert_eq!(told(&config), ["t: installed"]);
    assert_eq!(told(&config), ["t: already installed, unchanged"]);
    db.run("CREATE TABLE second (id INTEGER PRIMARY KEY); DROP TRIGGER _df_cdc_1_au");
    let again = told(&config);
    assert_eq!(again[0], "second: installed");
    assert!(
        again[1].starts_with("t: re-installed, because its triggers were missing or changed"),
        "{again:?}"
    );
    db.run("DROP TABLE second");
    assert_eq!(
        told(&config),
        ["second: ended, because the table is gone", "t: already installed, unchanged"]
    );
    db.run("INSERT INTO t VALUES (1, 'x')");
    let mut reader = db.reader().await;
    reader.until("the change", |seen| seen.iter().any(|seen| seen.line() == "c t id=Int(1) a='x'")).await;
    assert_eq!(uninstall(&config, Keep::Nothing).unwrap().to_string(), "6 triggers and the log removed");
    let left: i64 = db
        .app
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%_df_%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
    let error = loop {
        match reader.batch().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((error.code, error.next), ("source_replaced", Next::Retry));
    let error = Reader::connect(db.config(), reader.through.clone()).await.err().unwrap();
    assert_eq!((error.code, error.next), ("source_changed", Next::Operator));
    db.run("INSERT INTO t VALUES (2, 'free')");
}

#[tokio::test]
async fn a_column_can_be_dropped_once_the_triggers_are_out_of_the_way() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'x')");
    reader.events(1).await;
    assert!(db.app.execute_batch("ALTER TABLE t DROP COLUMN a").is_err());
    let through = reader.through.clone();
    drop(reader);
    let config: SqliteConfig = serde_json::from_value(db.config()).unwrap();
    assert_eq!(uninstall(&config, Keep::Log).unwrap().to_string(), "6 triggers removed; the log is kept");
    db.run("ALTER TABLE t DROP COLUMN a; INSERT INTO t VALUES (2)");
    let mut reader = Reader::connect(db.config(), through).await.unwrap();
    assert_eq!(reader.events(4).await, ["ddl t", "m t", "r t id=Int(1)", "r t id=Int(2)"]);
}

#[tokio::test]
async fn a_unique_index_made_while_nobody_reads_is_a_gap() {
    let db = Db::with(T);
    let mut reader = db.reader().await;
    db.run("INSERT INTO t VALUES (1, 'x')");
    reader.events(1).await;
    let through = reader.through.clone();
    drop(reader);
    // The triggers know nothing of the index yet: the row that is replaced goes unseen.
    db.run("CREATE UNIQUE INDEX a ON t (a); REPLACE INTO t VALUES (2, 'x')");
    let mut reader = Reader::connect(db.config(), through).await.unwrap();
    reader.until("the gap is told", |seen| ops(seen, "m") == 1).await;
    let anew = |seen: &[Seen]| seen.iter().any(|seen| seen.line() == "r t id=Int(2) a='x'");
    reader.until("the table is read anew", anew).await;
}
