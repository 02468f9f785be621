//! Rows of transactional outboxes are marked, and nothing else is.

use deltaforge_model::OUTBOX_MARK;
use serde_json::{Value, json};

use crate::harness::{Db, Reader, Seen};

const TABLES: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, total);
     CREATE TABLE outbox (id INTEGER PRIMARY KEY, payload TEXT);
     CREATE TABLE eu_outbox (id TEXT PRIMARY KEY, payload TEXT) WITHOUT ROWID;";

fn config(db: &Db) -> Value {
    let mut config = db.config();
    config["outbox"] = json!({ "tables": ["shop.outbox", "*_outbox"] });
    config
}

/// The lines of the marked events, and of the others.
fn split(reader: &Reader) -> (Vec<String>, Vec<String>) {
    let mark = Some(vec![OUTBOX_MARK.to_owned()]);
    let (marked, others): (Vec<_>, Vec<_>) = reader.seen.iter().partition(|seen| seen.tags == mark);
    assert!(others.iter().all(|seen| seen.tags.is_none()), "{others:?}");
    let lines = |seen: Vec<&Seen>| seen.into_iter().map(Seen::line).collect();
    (lines(marked), lines(others))
}

#[tokio::test]
async fn every_change_of_an_outbox_is_marked_and_no_other_one() {
    let db = Db::with(TABLES);
    let mut reader = Reader::connect(config(&db), None).await.unwrap();
    db.run(
        "BEGIN; INSERT INTO orders VALUES (1, 5); INSERT INTO outbox VALUES (1, '{}'); COMMIT;
         INSERT INTO eu_outbox VALUES ('a', '{}');
         UPDATE outbox SET payload = '[]'; UPDATE outbox SET id = 2; DELETE FROM outbox; DELETE FROM orders;",
    );
    reader.all(&db).await;
    let (marked, others) = split(&reader);
    assert_eq!(
        marked,
        [
            "c outbox id=Int(1) payload='{}'",
            "c eu_outbox id='a' payload='{}'",
            "u outbox [id=Int(1) payload='{}'] id=Int(1) payload='[]'",
            "d outbox [id=Int(1) payload='[]']",
            "c outbox id=Int(2) payload='[]'",
            "d outbox [id=Int(2) payload='[]']",
        ]
    );
    assert_eq!(others[..2], ["c orders id=Int(1) total=Int(5)", "d orders [id=Int(1) total=Int(5)]"]);
    let halves: Vec<_> = reader.seen.iter().flat_map(|seen| &seen.headers).map(|(name, _)| name).collect();
    assert_eq!(halves, ["__debezium.newkey", "__debezium.oldkey"], "a moved row still says so");
}

#[tokio::test]
async fn rows_that_a_copy_finds_in_an_outbox_are_marked_and_so_are_those_of_one_that_is_made_later() {
    let db = Db::with(TABLES);
    db.run("INSERT INTO orders VALUES (1, 5); INSERT INTO outbox VALUES (1, '{}')");
    let mut with_copy = config(&db);
    with_copy["snapshot"] = json!({});
    let mut reader = Reader::connect(with_copy, None).await.unwrap();
    reader.events(2).await;
    db.run(
        "BEGIN; CREATE TABLE us_outbox (id INTEGER PRIMARY KEY); INSERT INTO us_outbox VALUES (7); COMMIT",
    );
    reader.events(4).await;
    let (marked, others) = split(&reader);
    assert_eq!(marked, ["r outbox id=Int(1) payload='{}'", "r us_outbox id=Int(7)"]);
    // What is told about a table is none of its rows.
    assert_eq!(others, ["r orders id=Int(1) total=Int(5)", "ddl us_outbox"]);
}

#[tokio::test]
async fn what_is_told_of_a_gap_in_an_outbox_is_no_message_of_the_application() {
    let db = Db::with(TABLES);
    let mut reader = Reader::connect(config(&db), None).await.unwrap();
    db.run("INSERT INTO outbox VALUES (1, '{}')");
    reader.events(1).await;
    db.run(
        "BEGIN; DROP TABLE outbox; CREATE TABLE outbox (id INTEGER PRIMARY KEY, other TEXT);
         INSERT INTO outbox VALUES (2, 'x'); COMMIT",
    );
    reader.until("the row anew", |seen| seen.iter().any(|seen| seen.op == "r")).await;
    let notes: Vec<_> = reader.seen.iter().filter(|seen| seen.op == "m" || seen.op == "ddl").collect();
    assert!(notes.iter().any(|seen| seen.op == "m"), "{notes:?}");
    assert!(notes.iter().all(|seen| seen.tags.is_none()), "{notes:?}");
}

#[tokio::test]
async fn polled_rows_of_an_outbox_are_marked() {
    let db = Db::with(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY); CREATE TABLE outbox (id INTEGER PRIMARY KEY)",
    );
    let mut config = config(&db);
    config["cdc_mode"] = json!("polling");
    config["lossy"] = json!("accept");
    let mut reader = Reader::connect(config, None).await.unwrap();
    db.run("INSERT INTO orders VALUES (1); INSERT INTO outbox VALUES (2)");
    reader.events(2).await;
    let (marked, others) = split(&reader);
    assert_eq!(
        (marked, others),
        (vec!["c outbox id=Int(2)".to_owned()], vec!["c orders id=Int(1)".to_owned()])
    );
}
