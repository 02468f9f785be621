//! Readers that the log waits for.

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_source_sqlite::{LogReader, SqliteConfig, forget_reader, install, readers};
use serde_json::json;

use crate::harness::{DEADLINE, Db, Reader};

fn row(name: &str, confirmed: i64, behind: u64) -> LogReader {
    LogReader { name: name.to_owned(), confirmed, behind }
}

async fn confirm(reader: &mut Reader) {
    let through = reader.through.clone().unwrap();
    reader.inner.confirm(&through).await.unwrap();
}

#[tokio::test]
async fn a_reader_left_behind_is_listed_and_can_be_forgotten_so_that_the_log_shrinks() {
    let db = Db::with("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    let config: SqliteConfig = serde_json::from_value(db.config()).unwrap();
    assert_eq!(readers(&config).unwrap(), None);
    assert!(!forget_reader(&config, "t/left/shop").unwrap());
    install(&config).unwrap();
    assert_eq!(readers(&config).unwrap(), Some(Vec::new()));

    let mut reader = db.reader().await;
    let live = readers(&config).unwrap().unwrap().remove(0).name;
    db.run("INSERT INTO _df_cdc_readers VALUES ('t/left/shop', 1)");
    db.run("INSERT INTO t (id) VALUES (1), (2), (3)");
    reader.events(3).await;
    // The marker of the installation is the first row.
    assert_eq!(readers(&config).unwrap().unwrap(), [row(&live, 0, 4), row("t/left/shop", 1, 3)]);
    confirm(&mut reader).await;
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !done() {
            assert!(began.elapsed() < DEADLINE, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    until("it is confirmed", &|| readers(&config).unwrap().unwrap()[1] == row(&live, 4, 0));
    let kept =
        || db.app.query_row("SELECT count(*) FROM _df_cdc_log", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(kept(), 4, "the other one may still want them");

    assert!(forget_reader(&config, "t/left/shop").unwrap());
    assert!(!forget_reader(&config, "t/left/shop").unwrap());
    db.run("INSERT INTO t (id) VALUES (4)");
    reader.events(4).await;
    confirm(&mut reader).await;
    until("the log shrinks", &|| kept() == 1);
}

fn count(reader: &Reader, op: &str, table: &str) -> usize {
    reader.seen.iter().filter(|seen| seen.op == op && seen.table == table).count()
}

#[tokio::test]
async fn a_table_that_another_pipeline_installs_is_copied_by_the_one_that_stood_still() {
    for mode in ["initial", "always", "never"] {
        let db = Db::with("CREATE TABLE old (id INTEGER PRIMARY KEY); INSERT INTO old VALUES (1)");
        let mut a = db.reader().await;
        db.run("INSERT INTO old VALUES (2)");
        a.events(1).await;
        let through = a.through.clone();
        drop(a);
        db.run("CREATE TABLE new (id INTEGER PRIMARY KEY); INSERT INTO new VALUES (1), (2)");

        let mut config = db.config();
        config["snapshot"] = json!({"mode": mode});
        let mut b = Reader::connect_as("b", config, None, BatchLimits::default()).await.unwrap();
        if mode != "never" {
            b.until("its own copy", |seen| seen.iter().filter(|seen| seen.op == "r").count() == 4).await;
        }
        db.run("INSERT INTO new VALUES (3)");
        let lines = b.all(&db).await;
        assert_eq!(lines.last().unwrap(), "c new id=Int(3)");
        let copied = if mode == "never" { 0 } else { 2 };
        assert_eq!((count(&b, "r", "new"), count(&b, "ddl", "new")), (copied, 0), "{mode}: {lines:?}");

        let mut a = Reader::connect(db.config(), through).await.unwrap();
        a.until("the copy", |seen| seen.iter().any(|seen| seen.line() == "r new id=Int(3)")).await;
        assert_eq!((count(&a, "r", "new"), count(&a, "ddl", "new")), (3, 1), "{mode}");
        assert_eq!(count(&a, "r", "old"), 0, "{mode}: it knows this one");
    }
}

#[tokio::test]
async fn a_reader_without_a_copy_remembers_over_restarts_what_was_there_when_it_began() {
    let db = Db::with("CREATE TABLE old (id INTEGER PRIMARY KEY)");
    let a = db.reader().await;
    db.run("INSERT INTO old VALUES (1)");
    drop(a);
    db.run("CREATE TABLE new (id INTEGER PRIMARY KEY); INSERT INTO new VALUES (1)");
    let one = BatchLimits { max_events: 1, ..BatchLimits::default() };
    let mut b = Reader::connect_as("b", db.config(), None, one).await.unwrap();
    b.batch().await.unwrap();
    assert_eq!(b.lines(), ["c old id=Int(1)"], "the marker of the new table is not read yet");
    let through = b.through.clone();
    assert!(through.as_ref().unwrap().as_str().contains("\"began\""));
    drop(b);
    let mut b = Reader::connect_as("b", db.config(), through, BatchLimits::default()).await.unwrap();
    db.run("INSERT INTO new VALUES (2)");
    assert_eq!(b.all(&db).await, ["c new id=Int(2)"]);
    assert!(!b.through.as_ref().unwrap().as_str().contains("\"began\""), "it is passed");
    // What is created from here on is new to it.
    db.run("BEGIN; CREATE TABLE late (id INTEGER PRIMARY KEY); INSERT INTO late VALUES (7); COMMIT");
    b.until("the copy", |seen| seen.iter().any(|seen| seen.line() == "r late id=Int(7)")).await;
}
